package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/product"
)

// MaxGoodsInChips bounds one goods-in file: a reel of MFF2 holds a few thousand, a wafer lot some ten thousand, and the
// list fits one message of the bus.
const MaxGoodsInChips = 30_000

// goodsIn is the chip maker's list of one reel or wafer lot.
type goodsIn struct {
	Version int      `json:"version"`
	Reel    string   `json:"reel"`
	Product string   `json:"product"`
	OS      string   `json:"os"`
	ATR     string   `json:"atr"`
	KMC     string   `json:"kmc"`
	KVN     int      `json:"kvn"`
	Count   int      `json:"count"`
	Chips   []string `json:"chips"`

	// ChipKeys is what a list of chips has whose keys are not derived from a master key. No product of this release has such chips.
	ChipKeys json.RawMessage `json:"chip_keys"`
}

// Receive takes a goods-in list into stock. The same file again is known already; a chip that is in stock refuses the file.
func (l *Ledger) Receive(ctx context.Context, q bus.ReceiveRequest) (bus.ReceiveReply, error) {
	reel, chips, sku, err := l.readGoodsIn(q.File)
	if err != nil {
		return bus.ReceiveReply{}, bus.Refuse(bus.FaultRefused, "goods-in list: %v", err)
	}
	sum := sha256.Sum256(q.File)
	reply := bus.ReceiveReply{Reel: reel, Chips: uint64(len(chips))}
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) error {
		fault, reply.Duplicate = nil, false
		var before []byte
		var created int64
		err := b.QueryRow(ctx, sqlReel, string(reel)).Scan(&before, &created)
		if err == nil {
			if reply.Duplicate = !b.ours(fromMicros(created)); !bytes.Equal(before, sum[:]) {
				fault = bus.Refuse(bus.FaultConflict, "reel %q was received with another list", reel)
			}
			return nil
		}
		if !errors.Is(err, sqldb.ErrNoRows) {
			return err
		}
		if fault, err = notInStock(ctx, b, chips); err != nil || fault != nil {
			return err
		}
		return stock(ctx, b, reel, sku, sum, chips)
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return bus.ReceiveReply{}, fmt.Errorf("receiving reel %q: %w", reel, err)
	}
	return reply, nil
}

func notInStock(ctx context.Context, b *Batch, chips []id.ChipID) (fault, err error) {
	for _, c := range chips {
		err := b.QueryRow(ctx, sqlChip, c.Bytes()).Scan(new(string))
		if err == nil {
			return bus.Refuse(bus.FaultConflict, "chip %s is in stock already", c), nil
		}
		if !errors.Is(err, sqldb.ErrNoRows) {
			return nil, err
		}
	}
	return nil, nil
}

func stock(ctx context.Context, b *Batch, reel perso.Name, sku product.SKU, sum [32]byte, chips []id.ChipID) error {
	if _, err := b.Exec(ctx, sqlAddReel, string(reel), sum[:], string(sku), int64(len(chips)), b.At.UnixMicro()); err != nil {
		return err
	}
	for _, c := range chips {
		if _, err := b.Exec(ctx, sqlAddChip, c.Bytes(), string(reel)); err != nil {
			return err
		}
	}
	if err := post(ctx, b, posting{string(sku), reel, perso.AccountSupplier, perso.AccountStore, uint64(len(chips))}); err != nil {
		return err
	}
	_, _, err := b.append(entry.KindStock, siteSubject(), entry.Stock{Reel: reel, File: sum, Chips: uint64(len(chips)), At: b.At})
	return err
}

// readGoodsIn parses the list and holds it against the product: another OS, ATR, key or version is another chip.
func (l *Ledger) readGoodsIn(file []byte) (perso.Name, []id.ChipID, product.SKU, error) {
	var g goodsIn
	d := json.NewDecoder(bytes.NewReader(file))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			err = fmt.Errorf("line %d: %w", 1+bytes.Count(file[:min(int(syntax.Offset), len(file))], []byte("\n")), err)
		}
		return "", nil, "", fmt.Errorf("this is no goods-in list: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", nil, "", fmt.Errorf("text after the list")
	}
	reel, err := perso.ParseName(g.Reel)
	if err != nil {
		return "", nil, "", fmt.Errorf("reel: %w", err)
	}
	p, ok := l.cat.Order.Products.Get(product.SKU(g.Product))
	switch {
	case g.Version != 1:
		return reel, nil, "", fmt.Errorf("version is %d, this release reads 1", g.Version)
	case !ok:
		return reel, nil, "", fmt.Errorf("product %q is not in the catalogue", g.Product)
	case g.KMC != string(p.Factory.KMC) || g.KVN != int(p.Factory.KVN):
		return reel, nil, "", fmt.Errorf("keys %s version %d are not the product's %s version %d", g.KMC, g.KVN, p.Factory.KMC, p.Factory.KVN)
	case g.ChipKeys != nil:
		return reel, nil, "", fmt.Errorf("chip_keys: chips with a key each are not taken: the keys of product %q are derived from %s by chip id; ask the chip maker for those", p.SKU, p.Factory.KMC)
	case g.OS != p.ChipOS:
		return reel, nil, "", fmt.Errorf("chip OS is %q, the product's is %q", g.OS, p.ChipOS)
	case !sameATR(g.ATR, p.ATR):
		return reel, nil, "", fmt.Errorf("ATR %q is not the product's %s", g.ATR, p.ATR)
	case g.Count != len(g.Chips) || g.Count == 0 || g.Count > MaxGoodsInChips:
		return reel, nil, "", fmt.Errorf("count is %d, the list has %d chips (1 to %d)", g.Count, len(g.Chips), MaxGoodsInChips)
	}
	chips, seen := make([]id.ChipID, 0, g.Count), make(map[id.ChipID]int, g.Count)
	for i, text := range g.Chips {
		c, err := id.ParseChipID(text)
		if err != nil {
			return reel, nil, "", fmt.Errorf("chips[%d]: %w", i, err)
		}
		if first, twice := seen[c]; twice {
			return reel, nil, "", fmt.Errorf("chips[%d] repeats chips[%d]: %s", i, first, c)
		}
		seen[c] = i
		chips = append(chips, c)
	}
	return reel, chips, p.SKU, nil
}

// sameATR holds the list's ATR against the product's. A list may leave it out: each head looks at the ATR that the chip gives.
func sameATR(listed string, want product.ATR) bool {
	answer, err := hex.DecodeString(listed)
	return listed == "" || err == nil && want.Match(answer)
}
