package bundle_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// house is a ledger's database and a vault that tell the story of an audittest.Site.
type house struct {
	*audittest.Site
	db      sqldb.DB
	log     *tree.Log
	closed  map[perso.Name]bool // lots that the vault has forgotten
	portion int
	broken  error // of the vault, when it is to seal
}

func newHouse(t *testing.T, s *audittest.Site) *house {
	t.Helper()
	db, err := sqldb.OpenMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := schema.Init(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	h := &house{Site: s, db: db, closed: map[perso.Name]bool{}, portion: 3}
	if err := db.Update(t.Context(), func(tx sqldb.Tx) error { return h.load(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) load(ctx context.Context, tx sqldb.Tx) (err error) {
	if h.log, err = tree.Open(ctx, tx); err != nil {
		return err
	}
	for _, e := range h.Entries {
		kind, err := record.Kind(e)
		if err != nil {
			return err
		}
		if _, h.log, err = h.log.Append(ctx, tx, []tree.Item{{Kind: kind, Subject: []byte{}, Body: e}}); err != nil {
			return err
		}
	}
	for i, s := range append(append([]statement.Signed{}, h.Register...), h.Openings...) {
		hash := s.Hash()
		if _, err := tx.Exec(ctx, `INSERT INTO statement (hash, kind, ord, lot, signed) VALUES ($1, '', $2, '', $3)`, hash[:], int64(i), s.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// Signed implements bundle.Signer.
func (h *house) Signed(context.Context) (*tree.Log, []byte, error) { return h.log, h.Checkpoint(), nil }

// Info implements bundle.Vault.
func (h *house) Info(context.Context) (bus.VaultInfoReply, error) {
	return bus.VaultInfoReply{Vault: audittest.Vault, EUMCert: h.EUMCert, EISCert: h.EISCert}, nil
}

// Receipts gives three at a time.
func (h *house) Receipts(_ context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error) {
	chain := h.Chains[q.Lot]
	if chain == nil || h.closed[q.Lot] {
		return bus.ReceiptsReply{}, fmt.Errorf("asking: %w", bus.Refuse(bus.FaultLotNotOpen, "lot %q", q.Lot))
	}
	end := min(q.From+uint64(h.portion), uint64(len(chain.Receipts)))
	reply := bus.ReceiptsReply{Vault: audittest.Vault, Receipts: chain.Receipts[q.From:end]}
	if end < uint64(len(chain.Receipts)) {
		return reply, nil
	}
	head, err := entry.ReceiptHead{Env: perso.EnvTest, Vault: audittest.Vault, Lot: q.Lot, Count: end, Head: chain.Head, At: time.Unix(0, 0)}.Encode()
	reply.Head, reply.Signature = head, ed25519.Sign(h.StmtKey, head)
	return reply, err
}

// SealBundle signs what it is shown.
func (h *house) SealBundle(_ context.Context, q bus.SealBundleRequest) (bus.SealBundleReply, error) {
	return bus.SealBundleReply{Signature: ed25519.Sign(h.StmtKey, q.Manifest)}, h.broken
}

func (h *house) config() bundle.Config {
	return bundle.Config{Source: bundle.FromDB(h.db, h), Vault: h,
		OpenLot: func(_ context.Context, lot perso.Name) error { h.closed[lot] = false; return nil },
		Delivered: func(lot perso.Name, what string) ([]byte, error) {
			if m, ok := h.Exports[layout.Export(lot, what)]; ok {
				return m, nil
			}
			return nil, fmt.Errorf("no such export: %w", fs.ErrNotExist)
		}}
}

func (h *house) pins() audit.Options {
	return audit.Options{RegisterPin: h.Register[0].Hash(), LogKey: audittest.Public(h.LogKey), StatementKey: audittest.Public(h.StmtKey)}
}

// twoLots is a site with officers that changed, a finished lot and one at work, under a policy that came between.
func twoLots() *audittest.Site {
	s := audittest.New()
	s.Enlist("qual", statement.RoleQuality)
	s.Release("L1", 0, 20, 2).Finish()
	policy := statement.Policy{Header: statement.Header{Env: perso.EnvTest, Site: audittest.SiteName, At: s.Tick(), Nonce: audittest.Hash("policy")}, FirstArticle: 3}
	s.Word(audittest.Sign(audittest.Must(policy.Encode()), "prod", "sec"), "")
	s.Release("L2", 1, 5, 1).Claim(0, 0, 0, audittest.Chip(77)).Run()
	s.Release("L3", 2, 5, 1)
	return s
}

func TestWriteVerifies(t *testing.T) {
	t.Parallel()
	h := newHouse(t, twoLots())
	h.closed["L1"] = true // the vault was restarted
	target := filepath.Join(t.TempDir(), "L1.bundle")
	if err := bundle.Write(t.Context(), h.config(), "L1", target); err != nil {
		t.Fatal(err)
	}
	r, err := audit.Verify(os.DirFS(target), h.pins())
	if err != nil || !r.OK() || r.Lot != "L1" || len(r.Notes) != 0 {
		t.Fatalf("%v, lot %q, notes %v, findings %v", err, r.Lot, r.Notes, r.Findings)
	}
	if err := bundle.Write(t.Context(), h.config(), "L1", target); !errors.Is(err, bundle.ErrExists) {
		t.Errorf("over an existing bundle: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(target))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, beside the bundle lies %v", err, left)
	}
}

// TestSameBytes: the bundle is a function of the log and of the vault's answers, however the answers are cut.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, twoLots())
	var before map[string][]byte
	for i, portion := range []int{1, 1000} {
		h.portion = portion
		target := filepath.Join(t.TempDir(), "b")
		if err := bundle.Write(t.Context(), h.config(), "L1", target); err != nil {
			t.Fatal(err)
		}
		got := readAll(t, target)
		if i > 0 && len(got) != len(before) {
			t.Errorf("%d files, then %d", len(before), len(got))
		}
		for path, data := range before {
			if !bytes.Equal(got[path], data) {
				t.Errorf("%s differs", path)
			}
		}
		before = got
	}
	for path, f := range h.Bundle("L1") {
		if _, ok := before[path]; !ok && path != layout.Receipts(audittest.Vault, "L3") && path != layout.ReceiptHead(audittest.Vault, "L3") &&
			path != layout.ReceiptHeadSig(audittest.Vault, "L3") {
			t.Errorf("%s (%d bytes) is not in the bundle", path, len(f.Data))
		}
	}
}

func readAll(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		out[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNothingHalf: whatever fails, nothing lies at the target or beside it.
func TestNothingHalf(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		lot   perso.Name
		spoil func(*house, *bundle.Config)
	}{
		"no such lot":          {"L9", func(*house, *bundle.Config) {}},
		"seal refused":         {"L1", func(h *house, _ *bundle.Config) { h.broken = broken }},
		"lot cannot be opened": {"L1", func(h *house, c *bundle.Config) { h.closed["L2"] = true; c.OpenLot = nil }},
		"no head":              {"L1", func(h *house, _ *bundle.Config) { h.portion = 0 }},
		"register lost":        {"L1", func(_ *house, c *bundle.Config) { c.Source = forgetful{c.Source} }},
		"tile unreadable":      {"L1", func(_ *house, c *bundle.Config) { c.Source = unreadable{c.Source, broken} }},
		"export unreadable": {"L1", func(_ *house, c *bundle.Config) {
			c.Delivered = func(perso.Name, string) ([]byte, error) { return nil, broken }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, twoLots())
			cfg, dir := h.config(), t.TempDir()
			c.spoil(h, &cfg)
			if err := bundle.Write(t.Context(), cfg, c.lot, filepath.Join(dir, "b")); err == nil {
				t.Error("written")
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%v, left behind: %v", err, left)
			}
		})
	}
}

type forgetful struct{ bundle.Source }

func (forgetful) Statement(context.Context, [32]byte) ([]byte, error) { return nil, nil }

type unreadable struct {
	bundle.Source
	err error
}

func (u unreadable) Tile(_ context.Context, t tilepath.Tile) ([]byte, error) { return nil, u.err }
