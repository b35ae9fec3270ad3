package site

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
// received. A line has one farm, made once.
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
	options, err := cardsim.OptionsOf(prod.Factory.SCP, prod.Factory.I)
	if err != nil {
		return nil, err
	}
	spec := chipfarm.Spec{Reel: p.Reel, Options: options, Product: string(prod.SKU), OS: prod.ChipOS, ATR: prod.ATR.String(), KMC: prod.Factory.KMC, KVN: prod.Factory.KVN,
		Chips: p.Chips, Seed: p.Seed, MasterKey: kmc, Timing: chipfarm.Timing{Scale: p.Scale, IndexMS: indexMS}, Faults: p.Faults}
	line, err := s.lineOf(p.Line)
	if err != nil {
		return nil, err
	}
	lists, err := chipfarm.Create(s.FarmDirOf(line.Name), spec)
	if err != nil {
		return nil, err
	}
	for _, g := range lists {
		raw, err := json.MarshalIndent(g, "", " ")
		if err != nil {
			return nil, fmt.Errorf("writing a goods-in list: %w", err)
		}
		path := s.path("goods-in-" + g.Reel + ".json")
		if err := writeFile(path, append(raw, '\n'), 0o644); err != nil {
			return nil, err
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
