package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// TestOneChip drives one virtual chip through ledger and vault without a bus: the zones mean the same by the same words.
func TestOneChip(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kmc := bytes.Repeat([]byte{0x40}, 16)
	w := newChain(t, kmc)
	chip, chipHex := newChip(t, kmc, 1)
	w.receive(t, chipHex)
	lot := w.order(t)

	ch, err := w.ledger.Challenges(ctx, bus.ChallengesRequest{Lot: lot, Line: "line-1", Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	work, err := w.ledger.WorkOrders(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := script.Decode(work[0].Script)
	if err != nil {
		t.Fatal(err)
	}
	chip.PowerOn()
	play := func(window []bus.Play) (out [][]byte) {
		for _, p := range window {
			resp, _ := chip.Process(p.APDU)
			out = append(out, resp)
			t.Logf("%x -> %x", p.APDU, resp)
		}
		return out
	}
	var identify []bus.Play
	for _, p := range s.IdentifyWindow() {
		identify = append(identify, bus.Play(p))
	}
	q := bus.ActRequest{Lot: lot, Present: perso.Presentation{Line: "line-1", Head: 0, Number: 1}, Serial: ch.First}
	q.Identify = play(identify)
	isd := append([]byte{0x00, 0xA4, 0x04, 0x00, byte(len(work[0].Order.ISD))}, work[0].Order.ISD...)
	play([]bus.Play{{APDU: append(isd, 0)}})
	q.Command = scp.InitUpdateCommand(0, ch.Values[0]).Bytes()
	q.Answer = play([]bus.Play{{APDU: q.Command}})[0]
	q.Session = entry.SessionOf(q.Command, q.Answer)
	for {
		a, err := w.ledger.Act(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		if a.Verdict != nil {
			if a.Verdict.Verdict != perso.VerdictGood {
				t.Fatalf("verdict %s, reason %s: %s\n%s", a.Verdict.Verdict, a.Verdict.Reason, a.Verdict.Text, a.Verdict.Entry)
			}
			t.Logf("%s", a.Verdict.Entry)
			break
		}
		q = bus.ActRequest{Lot: lot, Present: q.Present, N: q.N + 1, Session: q.Session, Responses: play(a.Window)}
	}
}

type chain struct {
	ledger   *ledger.Ledger
	officers map[perso.Name]ed25519.PrivateKey
}

func newChain(t *testing.T, kmc []byte) *chain {
	t.Helper()
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "vault")
	token := hsmfake.New(rand.Reader)
	c := &chain{officers: map[perso.Name]ed25519.PrivateKey{}}
	plan := ceremony.Plan{Env: perso.EnvTest, Site: "sim", Vault: "vault-1", Origin: "persoline.example/sim",
		EUM: ceremony.EUM{Name: "Demonstration EUM", Country: "DE", OID: "2.999.1.1", IIN: "89049099"}, Dir: dir, Now: time.Now(), Rand: rand.Reader,
		KMCs:          map[perso.Name]secret.Bytes{"kmc-m2m-200s": secret.New(bytes.Clone(kmc))},
		TransportKeys: map[perso.Name]secret.Bytes{"tk-auc-demo": secret.New(bytes.Repeat([]byte{1}, 16))},
		WrapKeys:      map[perso.Name]secret.Bytes{"wk-smsr-demo": secret.New(bytes.Repeat([]byte{2}, 16))},
		OPs:           map[perso.Name]secret.Bytes{"op-demo-1": secret.New(bytes.Repeat([]byte{3}, 16))}}
	for i, role := range []statement.Role{statement.RoleProduction, statement.RoleSecurity} {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		name := perso.Name(fmt.Sprintf("officer-%d", i))
		c.officers[name] = key
		plan.Officers = append(plan.Officers, statement.Officer{ID: name, Person: "Person " + string(role), Role: role, Key: pub})
	}
	made, err := ceremony.MakeTest(ctx, token, plan)
	if err != nil {
		t.Fatal(err)
	}
	jour, err := journal.Open(made.JournalDir)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := journal.OpenMemory(made.MemoryDir)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	v, err := keygen.New(ctx, keygen.Config{Env: perso.EnvTest, Site: "sim", Name: "vault-1", Origin: plan.Origin, Token: token, Keys: made.Keys,
		Journal: jour, Memory: mem, OPs: journal.OPFolder(made.OPDir), RegisterPin: made.RegisterPin, EUMCert: made.EUMCert, EISCert: made.EISCert, CAID: made.CAID,
		Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range c.officers {
		made.Register.Sign(name, key)
	}
	db, err := ledgertest.Memory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	g := entry.Genesis{Env: perso.EnvTest, Site: "sim", Origin: plan.Origin, At: time.Now(), Register: made.RegisterPin, LogKey: made.LogKey, StmtKey: made.StmtKey,
		EUMCert: sha256.Sum256(made.EUMCert), EISCert: sha256.Sum256(made.EISCert)}
	if err := ledger.Init(ctx, db, g, []statement.Signed{made.Register}); err != nil {
		t.Fatal(err)
	}
	products, err := product.LoadDir(os.DirFS("../../deploy/products"))
	if err != nil {
		t.Fatal(err)
	}
	partners, err := order.LoadSite(os.DirFS("../../deploy/partners"))
	if err != nil {
		t.Fatal(err)
	}
	c.ledger, err = ledger.Open(ctx, ledger.Config{DB: db, Vault: v, Signer: v, Now: time.Now, Rand: rand.Reader, Log: log,
		Catalogues: ledger.Catalogues{Order: order.Catalogue{Products: products, Site: partners}, Scripts: os.DirFS("../../deploy/products"), CertBytes: keygen.CertValueBytes}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newChip(t *testing.T, kmc []byte, n uint32) (*cardsim.Chip, string) {
	t.Helper()
	p := cardsim.Personality{ATR: []byte{0x3B, 0x00}, KVN: 0xFF}
	copy(p.CPLC[:], []byte{0x4A, 0x50, 0x12, 0x34})
	binary.BigEndian.PutUint32(p.CPLC[12:], n)
	p.CPLC[16], p.CPLC[17] = 1, 2
	var err error
	if p.Keys, err = scp.DiversifyKDF3(kmc, p.ChipID()); err != nil {
		t.Fatal(err)
	}
	chip, err := cardsim.New(p, &cardsim.Memory{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return chip, fmt.Sprintf("%x", p.ChipID())
}

func (c *chain) receive(t *testing.T, chips ...string) {
	t.Helper()
	file, err := json.Marshal(map[string]any{"version": 1, "reel": "R-1", "product": "m2m-200s-mff2", "os": "M2M-OS 2.0", "atr": "", "kmc": "kmc-m2m-200s", "kvn": 255,
		"count": len(chips), "chips": chips})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ledger.Receive(t.Context(), bus.ReceiveRequest{File: file}); err != nil {
		t.Fatal(err)
	}
}

func (c *chain) order(t *testing.T) perso.Name {
	t.Helper()
	file, err := os.ReadFile("../../deploy/samples/orders/small-20.json")
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.ledger.Submit(t.Context(), bus.SubmitRequest{File: file})
	if err != nil || len(a.Faults) > 0 {
		t.Fatal(err, a.Faults)
	}
	d, err := c.ledger.Draft(t.Context(), bus.DraftRequest{Order: a.Order})
	if err != nil {
		t.Fatal(err)
	}
	s := statement.Signed{Body: d.Body}
	for name, key := range c.officers {
		s.Sign(name, key)
	}
	r, err := c.ledger.Release(t.Context(), bus.SignedRequest{Signed: s.Encode()})
	if err != nil {
		t.Fatal(err)
	}
	return r.Lot
}
