package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/statement"
)

const (
	testSite   perso.Name = "S1"
	testOrigin            = "factory.example/test"
	cardKVN    byte       = 0x30
	factoryKVN byte       = 0xFF
)

var testStart = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// bench is a site with one released lot: a ledger on a database in memory, officers, a scripted vault and made-up chips.
type bench struct {
	words    byte // statements that steer the work, so far
	t        testing.TB
	db       DB
	l        *Ledger
	vault    *vaultDouble
	second   *followerDouble // of a site with two vaults
	officers map[perso.Name]ed25519.PrivateKey
	lot      perso.Name
	release  statement.Signed

	mu     sync.Mutex
	now    time.Time
	orders int
	reels  int
	chips  uint32
	number uint64

	serialMu sync.Mutex
	serial   []uint64 // reserved and not used
}

// spec is what a test's order asks for.
type spec struct {
	good, spares int
	remake       order.Remake
	expires      string
	asks         string // demands of the order
	number       string
	eid          string // first of a given range; empty allocates
	iccid, imsi  string // likewise
}

// catalogues are the office's own data as they are deployed.
var catalogues = sync.OnceValues(func() (Catalogues, error) {
	scripts := os.DirFS("../deploy/products")
	products, err := product.LoadDir(scripts)
	if err != nil {
		return Catalogues{}, err
	}
	partners, err := order.LoadSite(os.DirFS("../deploy/partners"))
	return Catalogues{Order: order.Catalogue{Products: products, Site: partners, Profiles: profile.Open(os.DirFS("../deploy/profiles"))}, Scripts: scripts, CertBytes: 200}, err
})

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// emptyDB is where a test's ledger lives. The whole suite runs on PostgreSQL too, and on a database that runs every View
// twice, where PERSO_TEST_DB says so (make test does all).
func emptyDB(t testing.TB) DB {
	t.Helper()
	if os.Getenv("PERSO_TEST_DB") == "postgres" {
		return pgtest.Open(t, pgtest.URL(t))
	}
	db, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// newSite makes a site without a lot.
func newSite(t testing.TB) *bench {
	t.Helper()
	return newSiteOn(t, emptyDB(t))
}

func newSiteOn(t testing.TB, db DB) *bench {
	t.Helper()
	b := &bench{t: t, db: db, now: testStart, officers: map[perso.Name]ed25519.PrivateKey{}}
	t.Cleanup(func() { _ = b.db.Close() })
	g := statement.Genesis{Env: perso.EnvTest, Site: testSite, At: testStart, Nonce: [32]byte{1}}
	for i, o := range []statement.Officer{
		{ID: "ann", Person: "Ann", Role: statement.RoleProduction}, {ID: "bob", Person: "Bob", Role: statement.RoleSecurity},
		{ID: "cid", Person: "Cid", Role: statement.RoleProduction}, {ID: "qua", Person: "Qua", Role: statement.RoleQuality},
	} {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, 32))
		o.Key, b.officers[o.ID] = key.Public().(ed25519.PublicKey), key
		g.Officers = append(g.Officers, o)
	}
	register := b.sign(must(g.Encode()), "ann", "bob", "cid", "qua")
	b.vault = newVault(t, register.Hash())
	genesis := entry.Genesis{Env: perso.EnvTest, Site: testSite, Origin: testOrigin, At: testStart, Register: register.Hash(), LogKey: b.vault.pub,
		StmtKey: b.vault.pub, EUMCert: [32]byte{1}, EISCert: [32]byte{2}}
	if err := Init(t.Context(), b.db, genesis, []statement.Signed{register}); err != nil {
		t.Fatal(err)
	}
	b.open(b.db)
	return b
}

// newBench makes a site with a released lot.
func newBench(t testing.TB, s spec) *bench {
	t.Helper()
	b := newSite(t)
	b.makeLot(s)
	return b
}

// open starts the ledger anew, as after a crash, on the same data.
func (b *bench) open(db DB) {
	b.t.Helper()
	cats, err := catalogues()
	if err != nil {
		b.t.Fatal(err)
	}
	if os.Getenv("PERSO_TEST_DB") == "twice" {
		db = ledgertest.WithFaults(db, func(op ledgertest.Op) ledgertest.Fault {
			if op.Write { // single tests run these twice
				return ledgertest.None
			}
			return ledgertest.Twice
		})
	}
	c := Config{DB: db, Vault: b.vault, Signer: b.vault, LogVault: "V1", Now: b.clock, Rand: rand.NewChaCha8([32]byte{7}),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Catalogues: cats}
	if b.second != nil {
		c.Others, c.Assigner = []OtherVault{{Name: "V2", Vault: b.second, Follower: b.second}}, b.second
	}
	b.l, err = Open(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) sign(body []byte, officers ...perso.Name) statement.Signed {
	s := statement.Signed{Body: body}
	for _, o := range officers {
		s.Sign(o, b.officers[o])
	}
	return s
}

// orderFile writes an order.
func (b *bench) orderFile(s spec) []byte {
	b.orders++
	if s.number == "" {
		s.number = fmt.Sprintf("TEST-%04d", b.orders)
	}
	if s.remake == "" {
		s.remake = order.SameIdentity
	}
	content := map[string]any{"version": 1, "order": s.number, "customer": "Test Meters", "product": "m2m-200s-mff2", "quantity": s.good, "spares": s.spares,
		"eid": "allocate", "iccid": "allocate", "imsi": "allocate", "auth": map[string]any{"algorithm": "milenage", "op_key": "op-demo-1"},
		"transport_key": "tk-auc-demo", "sm_sr": "smsr-demo", "bootstrap_provider": "provider-demo", "delivery": map[string]any{"target": "auc-demo"},
		"remake": s.remake}
	if s.asks != "" {
		content["asks"] = s.asks
	}
	if s.expires != "" {
		content["expires"] = s.expires
	}
	for name, first := range map[string]string{"eid": s.eid, "iccid": s.iccid, "imsi": s.imsi} {
		if first == "" {
			continue
		}
		given := map[string]any{"first": first}
		if name == "imsi" {
			given["mnc_digits"] = 2
		}
		content[name] = given
	}
	return must(json.Marshal(content))
}

// draft submits an order and gives the release to sign.
func (b *bench) draft(s spec) statement.Release {
	b.t.Helper()
	a, err := b.l.Submit(b.t.Context(), bus.SubmitRequest{File: b.orderFile(s)})
	if err != nil || len(a.Faults) > 0 {
		b.t.Fatalf("submitting: %v, faults %v", err, a.Faults)
	}
	d, err := b.l.Draft(b.t.Context(), bus.DraftRequest{Order: a.Order})
	if err != nil {
		b.t.Fatal(err)
	}
	return must(statement.ParseRelease(d.Body))
}

func (b *bench) makeLot(s spec) {
	b.t.Helper()
	r := b.draft(s)
	b.release = b.sign(must(r.Encode()), "ann", "bob")
	a, err := b.l.Release(b.t.Context(), bus.SignedRequest{Signed: b.release.Encode()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.lot, b.serial = a.Lot, nil
}

// reel writes a goods-in list.
func (b *bench) reel(chips ...*chip) []byte {
	b.reels++
	list := make([]string, len(chips))
	for i, c := range chips {
		list[i] = c.id().String()
	}
	return must(json.Marshal(map[string]any{"version": 1, "reel": fmt.Sprintf("R%d", b.reels), "product": "m2m-200s-mff2", "os": "M2M-OS 2.0",
		"atr": "3B9F96801F878031E073FE2113674D324D3230300102", "kmc": "kmc-m2m-200s", "kvn": int(factoryKVN), "count": len(chips), "chips": list}))
}

// chip is a made-up chip with the maker's keys.
type chip struct {
	kdd [10]byte
	seq uint32
	kvn byte
}

func (c *chip) id() id.ChipID { return must(id.ChipIDFromBytes(c.kdd[:])) }

// newChips makes chips that no list names.
func (b *bench) newChips(n int) []*chip {
	out := make([]*chip, n)
	for i := range out {
		b.chips++
		out[i] = &chip{kvn: factoryKVN, kdd: [10]byte{0x4D, 0x32, 1, 2, 3, 4, byte(b.chips >> 24), byte(b.chips >> 16), byte(b.chips >> 8), byte(b.chips)}}
	}
	return out
}

// stock makes chips and receives them.
func (b *bench) stock(n int) []*chip {
	b.t.Helper()
	chips := b.newChips(n)
	if _, err := b.l.Receive(b.t.Context(), bus.ReceiveRequest{File: b.reel(chips...)}); err != nil {
		b.t.Fatal(err)
	}
	return chips
}

// one makes one chip and receives it.
func (b *bench) one() *chip { return b.stock(1)[0] }

// at gives the next presentation at a head of line-1.
func (b *bench) at(head uint16) perso.Presentation { return b.atLine("line-1", head) }

func (b *bench) atLine(line perso.Name, head uint16) perso.Presentation {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	return perso.Presentation{Line: line, Head: head, Number: b.number}
}

func (b *bench) challenge() uint64 {
	b.serialMu.Lock()
	defer b.serialMu.Unlock()
	for try := 0; len(b.serial) == 0; try++ {
		a, err := b.l.Challenges(b.t.Context(), bus.ChallengesRequest{Lot: b.lot, Line: "line-1", Count: 200})
		if err != nil && try == 10 { // a storm may cost some
			panic(err)
		}
		for i := range a.Values {
			b.serial = append(b.serial, a.First+uint64(i))
		}
	}
	s := b.serial[0]
	b.serial = b.serial[1:]
	return s
}

// begin opens a session on a chip and makes act 0 of it.
func (b *bench) begin(c *chip, p perso.Presentation) bus.ActRequest {
	b.t.Helper()
	c.seq++
	key := bytes.Repeat([]byte{c.kvn}, 16)
	serial := b.challenge()
	host := fmt.Appendf(nil, "%08d", serial)
	_, iu, err := scp.OpenCard(scp.CardConfig{Keys: scp.StaticKeys{ENC: key, MAC: key, DEK: key}, KVN: c.kvn, KDD: c.kdd, I: 0x70, Seq: c.seq, AID: []byte("isd")}, host)
	if err != nil {
		b.t.Fatal(err)
	}
	q := bus.ActRequest{Lot: b.lot, Present: p, Serial: serial, Command: scp.InitUpdateCommand(0, host).Bytes(), Answer: apdu.SWOK.Append(iu.Append(nil))}
	q.Session = entry.SessionOf(q.Command, q.Answer)
	return q
}

// next makes the following act of a session.
func next(q bus.ActRequest, responses ...string) bus.ActRequest {
	n := bus.ActRequest{Lot: q.Lot, Present: q.Present, N: q.N + 1, Session: q.Session, State: stateOf(q.Session, q.N)}
	for _, r := range responses {
		n.Responses = append(n.Responses, []byte(r))
	}
	return n
}

// act asks and demands an answer.
func (b *bench) act(q bus.ActRequest) bus.ActReply {
	b.t.Helper()
	a, err := b.l.Act(b.t.Context(), q)
	if err != nil {
		b.t.Fatalf("act %d of %s: %v", q.N, q.Present, err)
	}
	return a
}

// makeGood leads a chip to the end at a head; the vault's script wants two acts.
func (b *bench) makeGood(c *chip, head uint16) perso.Presentation {
	b.t.Helper()
	q := b.begin(c, b.at(head))
	if a := b.act(q); len(a.Window) == 0 {
		b.t.Fatalf("act 0: %+v", a.Verdict)
	}
	c.kvn = cardKVN
	b.want(b.act(next(q, "written")), perso.VerdictGood, perso.ReasonNone)
	return q.Present
}

// makeLost leads a chip to a reject.
func (b *bench) makeLost(c *chip, head uint16) perso.Presentation {
	b.t.Helper()
	b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonStatus, Step: "store", SW: 0x6A80}})
	q := b.begin(c, b.at(head))
	b.want(b.act(q), perso.VerdictRejectLive, perso.ReasonStatus)
	return q.Present
}

func (b *bench) bin(p perso.Presentation, bin perso.Verdict) error {
	_, err := b.l.Bin(b.t.Context(), bus.BinRequest{Lot: b.lot, Present: p, Bin: bin})
	return err
}

func (b *bench) mute(p perso.Presentation, tries uint8) bus.ActReply {
	b.t.Helper()
	a, err := b.l.Present(b.t.Context(), bus.PresentRequest{Lot: b.lot, Present: p, Reason: perso.ReasonMute, Tries: tries})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// want demands a verdict, with its proof when it is final.
func (b *bench) want(a bus.ActReply, v perso.Verdict, r perso.Reason) {
	b.t.Helper()
	if a.Verdict == nil || a.Verdict.Verdict != v || a.Verdict.Reason != r {
		b.t.Fatalf("got window of %d, verdict %+v; want %s/%s", len(a.Window), a.Verdict, v, r)
	}
	if v.Final() {
		if err := b.vault.proves(a.Verdict.Checkpoint, bus.Proven{Entry: a.Verdict.Entry, Seq: a.Verdict.Seq, Proof: a.Verdict.Proof}); err != nil {
			b.t.Fatalf("%s/%s without proof: %v", v, r, err)
		}
	}
}

func (b *bench) status() bus.StatusReply {
	b.t.Helper()
	s, err := b.l.Status(b.t.Context(), bus.LotRequest{Lot: b.lot})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// kinds counts the log's entries by kind.
func (b *bench) kinds() map[string]int {
	b.t.Helper()
	out := map[string]int{}
	err := b.db.View(context.Background(), func(tx ledgertest.Tx) error {
		return tx.Each(context.Background(), func(row ledgertest.Row) error {
			var kind string
			err := row.Scan(&kind)
			out[kind]++
			return err
		}, `SELECT kind FROM log_entry`)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// refused demands a fault of a code.
func (b *bench) refused(err error, code bus.FaultCode) {
	b.t.Helper()
	var fault *bus.Fault
	if !errors.As(err, &fault) || fault.Code != code {
		b.t.Errorf("got %v, want fault %s", err, code)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
