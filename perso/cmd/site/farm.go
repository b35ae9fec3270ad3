package site

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/secret"
)

// FarmPlan says what virtual chips to make.
type FarmPlan struct {
	Product product.SKU
	Line    perso.Name // whose farm; empty: the first line's
	Reel    perso.Name
	Chips   uint32
	Seed    uint64
	Scale   float64 // of chip time: 1 is as slow as real chips, 0 takes none
	Faults  []chipfarm.FaultSpec
}

// indexMS is what a pick-and-place handler takes to bring the next chip under a head.
const indexMS = 300

// MakeFarm makes the site's virtual chips, under the chip maker's key of the product, and gives the goods-in files to be
// received. A line has one farm, made once. What is refused leaves nothing behind.
func (s *Site) MakeFarm(p FarmPlan) (goodsIn []string, err error) {
	products, err := product.LoadDir(os.DirFS(s.Catalogue("products")))
	if err != nil {
		return nil, err
	}
	prod, ok := products.Get(p.Product)
	if !ok || !prod.Makeable {
		return nil, fmt.Errorf("making virtual chips: product %q is not in the catalogue, or cannot be made", p.Product)
	}
	kmc, err := s.readPartnerKey(prod.Factory.KMC)
	if err != nil {
		return nil, err
	}
	defer kmc.Wipe()
	options, err := cardsim.OptionsOf(prod)
	if err != nil {
		return nil, err
	}
	spec := chipfarm.Spec{Reel: p.Reel, Options: options, Product: string(prod.SKU), OS: prod.ChipOS, ATR: prod.ATR.String(), KMC: prod.Factory.KMC, KVN: prod.Factory.KVN,
		Chips: p.Chips, Seed: p.Seed, MasterKey: kmc, Timing: chipfarm.Timing{Scale: p.Scale, IndexMS: indexMS}, Faults: p.Faults}
	line, err := s.lineOf(p.Line)
	if err != nil {
		return nil, err
	}
	dir := s.FarmDirOf(line.Name)
	_, before := os.Stat(dir)
	lists, err := chipfarm.Create(dir, spec)
	if err != nil {
		return nil, err
	}
	goodsIn, err = s.writeLists(lists)
	if err != nil && errors.Is(before, fs.ErrNotExist) {
		err = errors.Join(err, os.RemoveAll(dir)) // chips on no list could never be used, and a line gets one farm
	}
	return goodsIn, err
}

// NextReel is the reel that a line's farm is made of when nobody names one, and the seed of its chips: those of the line's
// place. Each seed makes other chip ids, and a chip id is in stock once.
func (s *Site) NextReel(line perso.Name) (reel perso.Name, seed uint64, err error) {
	l, err := s.lineOf(line)
	if err != nil {
		return "", 0, err
	}
	place := 1 + slices.IndexFunc(s.Config.Lines, func(other Line) bool { return other.Name == l.Name })
	return perso.Name(fmt.Sprintf("R-%d", place)), uint64(place), nil
}

// writeLists writes all goods-in lists, or none.
func (s *Site) writeLists(lists []chipfarm.GoodsIn) (goodsIn []string, err error) {
	defer func() {
		if err != nil {
			for _, path := range goodsIn {
				err = errors.Join(err, os.Remove(path))
			}
			goodsIn = nil
		}
	}()
	for _, g := range lists {
		raw, err := json.MarshalIndent(g, "", " ")
		if err != nil {
			return goodsIn, fmt.Errorf("writing a goods-in list: %w", err)
		}
		path := s.path("goods-in-" + g.Reel + ".json")
		if err := writeFile(path, append(raw, '\n'), 0o644); err != nil {
			return goodsIn, err
		}
		goodsIn = append(goodsIn, path)
	}
	return goodsIn, nil
}

// readPartnerKey reads a key that the test site made up for a partner.
func (s *Site) readPartnerKey(name perso.Name) (secret.Bytes, error) {
	text, err := os.ReadFile(s.PartnerKey(name))
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading partner key %q: %w", name, err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading partner key %q: %q is not hex", name, filepath.Base(s.PartnerKey(name)))
	}
	return secret.New(raw), nil
}
