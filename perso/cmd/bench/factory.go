package bench

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

const (
	// sku is the product that is made: the one whose script is the longest.
	sku product.SKU = "m2m-200s-mff2"
	// pollEvery is how often the lot is looked at; the time of a lot is the ledger's own, and needs no finer look.
	pollEvery = 200 * time.Millisecond
	// readyPatience is how long the zones may take to come up together.
	readyPatience = 60 * time.Second
	// stallPatience is how long a lot may stand still.
	stallPatience = 30 * time.Second
)

const lineName perso.Name = "line-1" // the only one, of a site with one vault

// Factory is a throw-away site whose zones run and whose office is at hand.
type Factory struct {
	Site    *site.Site
	product product.Product
	office  site.Office
	orders  int
}

// NewFactory makes a site in a folder that does not exist, with chips that take no time and have no faults. Each vault has a
// line of its own, with so many heads and chips.
func NewFactory(ctx context.Context, dir, catalogue string, vaults, heads, chips int) (*Factory, error) {
	s, err := site.Init(ctx, site.InitPlan{Dir: dir, Name: "bench", Lines: site.NumberedLines(vaults, heads, ""), Vaults: vaults, Catalogue: catalogue},
		slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	products, err := product.LoadDir(os.DirFS(s.Catalogue("products")))
	if err != nil {
		return nil, err
	}
	p, ok := products.Get(sku)
	if !ok {
		return nil, fmt.Errorf("the catalogue has no product %q", sku)
	}
	f := &Factory{Site: s, product: p}
	for _, l := range s.Config.Lines {
		if err := f.makeChips(l.Name, chips); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Factory) makeChips(line perso.Name, chips int) error {
	kmc, err := readHex(f.Site.PartnerKey(f.product.Factory.KMC))
	if err != nil {
		return err
	}
	defer kmc.Wipe()
	spec := specOf(f.product, chips, kmc)
	spec.Reel, spec.Chips, spec.Seed = perso.Name("R-BENCH-"+line), uint32(chips), uint64(len(line))+uint64(line[len(line)-1])
	lists, err := chipfarm.Create(f.Site.FarmDirOf(line), spec)
	if err != nil {
		return err
	}
	for _, g := range lists {
		raw, err := json.Marshal(g)
		if err != nil {
			return fmt.Errorf("writing goods-in list %q: %w", g.Reel, err)
		}
		if err := os.WriteFile(f.goodsIn(g.Reel), raw, 0o600); err != nil {
			return fmt.Errorf("writing goods-in list %q: %w", g.Reel, err)
		}
	}
	return nil
}

func (f *Factory) goodsIn(reel string) string {
	return filepath.Join(f.Site.Dir, "goods-in-"+reel+".json")
}

// specOf is a reel of one product whose chips take no time.
func specOf(p product.Product, chips int, kmc secret.Bytes) chipfarm.Spec {
	return chipfarm.Spec{Reel: "R-BENCH", Product: string(p.SKU), OS: p.ChipOS, ATR: p.ATR.String(), KMC: p.Factory.KMC, KVN: p.Factory.KVN,
		Chips: uint32(chips), Seed: 1, MasterKey: kmc}
}

func readHex(path string) (secret.Bytes, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading a partner's key: %w", err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading a partner's key from %q: it is not hex", path)
	}
	return secret.New(raw), nil
}

// Connect waits for the zones, then books the chips in.
func (f *Factory) Connect(ctx context.Context) error {
	ready, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		err := f.tryConnect(ready)
		if err == nil {
			return f.receive(ctx)
		}
		if pause(ready, pollEvery); ready.Err() != nil {
			return fmt.Errorf("waiting for the zones: %w", err)
		}
	}
}

func (f *Factory) tryConnect(ctx context.Context) (err error) {
	if f.office == nil {
		if f.office, err = f.Site.Office(ctx); err != nil {
			f.office = nil
			return err
		}
	}
	_, err = bus.Call[bus.LotsReply](ctx, f.office, bus.OfficeSubject(bus.OfficeLots), bus.Empty{})
	return err
}

func (f *Factory) receive(ctx context.Context) error {
	lists, err := filepath.Glob(f.goodsIn("*"))
	if err != nil {
		return err
	}
	for _, path := range lists {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := ask[bus.ReceiveReply](ctx, f, bus.OfficeReceive, bus.ReceiveRequest{File: raw}); err != nil {
			return fmt.Errorf("booking chips in: %w", err)
		}
	}
	return nil
}

// Close leaves the office.
func (f *Factory) Close() error {
	if f.office == nil {
		return nil
	}
	return f.office.Close()
}

// Release orders a lot of good units and has both officers release it.
func (f *Factory) Release(ctx context.Context, good int) (perso.Name, error) {
	f.orders++
	file, err := json.Marshal(map[string]any{"version": 1, "order": fmt.Sprintf("BENCH-%04d", f.orders), "customer": "Benchmark", "product": sku,
		"quantity": good, "spares": 0, "eid": "allocate", "iccid": "allocate", "imsi": "allocate", "auth": map[string]any{"algorithm": "milenage", "op_key": "op-demo-1"},
		"transport_key": "tk-auc-demo", "sm_sr": "smsr-demo", "bootstrap_provider": "provider-demo", "delivery": map[string]any{"target": "auc-demo"}})
	if err != nil {
		return "", err
	}
	a, err := ask[bus.SubmitReply](ctx, f, bus.OfficeSubmit, bus.SubmitRequest{File: file})
	if err != nil {
		return "", err
	}
	if len(a.Faults) > 0 {
		return "", fmt.Errorf("order refused: %s: %s", a.Faults[0].Field, a.Faults[0].Reason)
	}
	draft, err := ask[bus.DraftReply](ctx, f, bus.OfficeDraft, bus.DraftRequest{Order: a.Order})
	if err != nil {
		return "", err
	}
	signed, err := f.sign(draft.Body)
	if err != nil {
		return "", err
	}
	lot, err := ask[bus.LotReply](ctx, f, bus.OfficeRelease, bus.SignedRequest{Signed: signed.Encode()})
	return lot.Lot, err
}

func (f *Factory) sign(body []byte) (statement.Signed, error) {
	s := statement.Signed{Body: body}
	for _, o := range site.DemoOfficers {
		key, err := keyfile.Load(f.Site.OfficerKey(o.ID))
		if err != nil {
			return s, err
		}
		key.Sign(&s)
		key.Wipe()
	}
	return s, nil
}

// Status looks at a lot.
func (f *Factory) Status(ctx context.Context, lot perso.Name) (bus.StatusReply, error) {
	return ask[bus.StatusReply](ctx, f, bus.OfficeStatus, bus.LotRequest{Lot: lot})
}

// Wait returns the lot's status once it is complete.
func (f *Factory) Wait(ctx context.Context, lot perso.Name) (bus.StatusReply, error) {
	var last bus.StatusReply
	for moved := time.Now(); ; {
		s, err := f.Status(ctx, lot)
		switch {
		case err != nil && !errors.Is(err, bus.ErrNoAnswer):
			return s, err
		case err == nil && (s.State == perso.LotComplete || s.State == perso.LotClosed):
			return s, nil
		case err == nil && s.LogSize != last.LogSize:
			last, moved = s, time.Now()
		case time.Since(moved) > stallPatience:
			return last, fmt.Errorf("lot %s stands still: %d of %d good, %d in work", lot, last.Good, last.Ordered, last.Open)
		}
		if pause(ctx, pollEvery); ctx.Err() != nil {
			return last, ctx.Err()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func ask[A, Q any](ctx context.Context, f *Factory, verb string, q Q) (A, error) {
	return bus.Call[A](ctx, f.office, bus.OfficeSubject(verb), q)
}
