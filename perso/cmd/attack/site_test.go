// Package attack plays the enemies of the factory against its real vault, ledger and virtual chips: a database
// administrator who may write every row, a ledger process that lies, a line that lies, and officers who sign too little.
//
// It exists because each invariant I1 to I9 deserves somebody who wants to break it. Every test says who attacks, what he
// has, and what stops him; where nothing stops him at once, that the audit finds him. The package holds tests only.
package attack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

const deploy = "../../../deploy"

var kmc = bytes.Repeat([]byte{0x40}, 16)

// site is a small factory. Its lot is of two units and one spare.
type site struct {
	*testing.T
	ctx      context.Context
	now      time.Time
	token    *hsmfake.Token
	made     *ceremony.Made
	cfg      keygen.Config
	vault    *keygen.Vault
	db       ledgertest.DB
	ledger   *ledger.Ledger
	officers map[perso.Name]ed25519.PrivateKey
	lot      perso.Name
	release  statement.Release
	signed   statement.Signed
	script   []byte
	pkg      []byte // the lot's profile package
	plain    bool   // the lot's chips have no secure channel
	contacts uint64
	ki       *kifile.File // of a lot with the customer's own Ki

	cfg2   *keygen.Config // of the second vault, where there is one
	vault2 *keygen.Vault
}

const good, spares = 2, 1

func newSite(t *testing.T) *site {
	t.Helper()
	db, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return newSiteOn(t, db)
}

func newSiteOn(t *testing.T, db ledgertest.DB) *site {
	t.Helper()
	s := bareSite(t, db)
	s.orderLot(nil)
	return s
}

// bareSite is a site with chips in stock and no order.
func bareSite(t *testing.T, db ledgertest.DB) *site {
	return newSiteOf(t, db, false)
}

// newSiteOf makes a site with one vault, or with two on one token. It has chips in stock and no order.
func newSiteOf(t *testing.T, db ledgertest.DB, two bool) *site {
	t.Helper()
	s := &site{T: t, ctx: context.Background(), now: time.Now().UTC().Truncate(time.Microsecond), token: hsmfake.New(rand.Reader), officers: map[perso.Name]ed25519.PrivateKey{}, db: db}
	s.ceremony()
	if two {
		s.secondVault()
	}
	s.startVault()
	t.Cleanup(func() { _ = s.db.Close() })
	register := s.made.Register
	for _, name := range []perso.Name{"ann", "bob", "cid"} {
		register.Sign(name, s.officers[name])
	}
	s.must(ledger.Init(s.ctx, db, entry.Genesis{Env: perso.EnvTest, Site: "site-1", Origin: s.cfg.Origin, At: s.now, Register: s.made.RegisterPin,
		LogKey: s.made.LogKey, StmtKey: s.made.StmtKey, EUMCert: sha256.Sum256(s.made.EUMCert), EISCert: sha256.Sum256(s.made.EISCert)}, []statement.Signed{register}))
	s.startLedger()
	s.goodsIn(6)
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) ceremony() {
	lend := func(b byte) secret.Bytes { return secret.New(bytes.Repeat([]byte{b}, 16)) }
	p := ceremony.Plan{Env: perso.EnvTest, Site: "site-1", Vault: "vault-1", Origin: "persoline.example/attack", Now: s.now, Rand: rand.Reader,
		EUM: ceremony.EUM{Name: "Demonstration EUM", Country: "DE", OID: "2.999.1.1", IIN: "89049099"}, Dir: filepath.Join(s.TempDir(), "vault"),
		KMCs: map[perso.Name]secret.Bytes{"kmc-m2m-200s": secret.New(bytes.Clone(kmc)), "kmc-basic-100s": secret.New(bytes.Clone(kmc))}, TransportKeys: map[perso.Name]secret.Bytes{"tk-auc-demo": lend(1)},
		WrapKeys: map[perso.Name]secret.Bytes{"wk-smsr-demo": lend(2)}, ReceiveKeys: map[perso.Name]secret.Bytes{receiveKey: lend(receiveByte)}, OPs: map[perso.Name]secret.Bytes{"op-demo-1": lend(3)}}
	for _, o := range []statement.Officer{{ID: "ann", Person: "Ann", Role: statement.RoleProduction}, {ID: "bob", Person: "Bob", Role: statement.RoleSecurity},
		{ID: "cid", Person: "Cid", Role: statement.RoleProduction}} {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		s.must(err)
		o.Key, s.officers[o.ID] = pub, key
		p.Officers = append(p.Officers, o)
	}
	var err error
	s.made, err = ceremony.MakeTest(s.ctx, s.token, p)
	s.must(err)
	receipts, err := journal.Open(s.made.JournalDir)
	s.must(err)
	s.Cleanup(func() { _ = receipts.Close() })
	memory, err := journal.OpenMemory(s.made.MemoryDir)
	s.must(err)
	s.cfg = keygen.Config{Env: p.Env, Site: p.Site, Name: p.Vault, Origin: p.Origin, Token: s.token, Keys: s.made.Keys, Journal: receipts, Memory: memory, KiSets: memory, Words: memory,
		OPs: journal.OPFolder(s.made.OPDir), RegisterPin: s.made.RegisterPin, EUMCert: s.made.EUMCert, EISCert: s.made.EISCert, CAID: s.made.CAID,
		Now: func() time.Time { return s.now }, Log: slog.New(slog.DiscardHandler)}
}

// startVault starts the vault, or starts it again.
func (s *site) startVault() {
	s.Helper()
	var err error
	s.cfg.Life = s.lifeOf(s.cfg)
	s.vault, err = keygen.New(s.ctx, s.cfg)
	s.must(err)
	if s.cfg2 != nil {
		s.cfg2.Life = s.lifeOf(*s.cfg2)
		s.vault2, err = keygen.New(s.ctx, *s.cfg2)
		s.must(err)
	}
}

// lifeOf begins a life of a vault, as its start does.
func (s *site) lifeOf(cfg keygen.Config) *life.Life {
	s.Helper()
	l, err := life.Begin(s.ctx, life.Config{Owner: life.Owner{Env: cfg.Env, Site: cfg.Site, Vault: cfg.Name}, Token: s.token, Store: cfg.Memory.(life.Store),
		Folder: string(cfg.Name), Now: cfg.Now, Log: cfg.Log})
	s.must(err)
	return l
}

// startLedger starts the ledger, or starts it again, on whatever the database holds now.
func (s *site) startLedger() {
	s.Helper()
	products, err := product.LoadDir(os.DirFS(deploy + "/products"))
	s.must(err)
	partners, err := order.LoadSite(os.DirFS(deploy + "/partners"))
	s.must(err)
	c := ledger.Config{DB: s.db, Vault: s.vault, Signer: s.vault, LogVault: s.cfg.Name, Now: func() time.Time { return s.now }, Rand: rand.Reader,
		Log: slog.New(slog.DiscardHandler), Catalogues: ledger.Catalogues{Order: order.Catalogue{Products: products, Site: partners, Profiles: profile.Open(os.DirFS(deploy + "/profiles"))},
			Scripts: os.DirFS(deploy + "/products"), CertBytes: keygen.CertValueBytes}}
	if s.cfg2 != nil {
		c.Assigner, c.Others = s.vault, []ledger.OtherVault{{Name: s.cfg2.Name, Vault: s.vault2, Follower: s.vault2}}
	}
	s.ledger, err = ledger.Open(s.ctx, c)
	s.must(err)
}

// sql is what a database administrator types.
func (s *site) sql(query string, args ...any) {
	s.Helper()
	s.must(s.db.Update(s.ctx, func(tx ledgertest.Tx) error {
		n, err := tx.Exec(s.ctx, query, args...)
		if err == nil && n == 0 {
			err = errors.New("no row was changed: the attack missed")
		}
		return err
	}))
}

// scan reads one row.
func (s *site) scan(query string, args []any, into ...any) {
	s.Helper()
	s.must(s.db.View(s.ctx, func(tx ledgertest.Tx) error { return tx.QueryRow(s.ctx, query, args...).Scan(into...) }))
}

// restart is what a careful attacker does after he edited the database: nothing in memory contradicts him.
func (s *site) restart() {
	s.Helper()
	s.startVault()
	s.startLedger()
}

// personality is virtual chip n as its maker ships it.
func personality(t *testing.T, n uint32) cardsim.Personality {
	t.Helper()
	p := cardsim.Personality{ATR: []byte{0x3B, 0x00}, KVN: 0xFF}
	copy(p.CPLC[:], []byte{0x4A, 0x50, 0x12, 0x34})
	binary.BigEndian.PutUint32(p.CPLC[12:], n)
	p.CPLC[16], p.CPLC[17] = 1, 2
	var err error
	if p.Keys, err = scp.DiversifyKDF3(kmc, p.ChipID()); err != nil {
		t.Fatal(err)
	}
	return p
}

// goodsIn receives chips 1 to n.
func (s *site) goodsIn(n uint32) {
	s.Helper()
	var chips []string
	for i := range n {
		p := personality(s.T, i+1)
		chips = append(chips, fmt.Sprintf("%x", p.ChipID()))
	}
	s.receive(map[string]any{"reel": "R-1", "product": "m2m-200s-mff2", "os": "M2M-OS 2.0", "kmc": "kmc-m2m-200s", "kvn": 255, "chips": chips})
}

// receive takes a reel into stock.
func (s *site) receive(list map[string]any) {
	s.Helper()
	list["version"], list["atr"], list["count"] = 1, "", len(list["chips"].([]string))
	file, err := json.Marshal(list)
	s.must(err)
	_, err = s.ledger.Receive(s.ctx, bus.ReceiveRequest{File: file})
	s.must(err)
}

// orderLot takes an order in, the sample with some fields changed, and has officers release it.
func (s *site) orderLot(change map[string]any) {
	s.Helper()
	s.must(s.orderMore(change))
}

// orderMore takes in an order with other fields, and has officers release what the ledger shows them.
func (s *site) orderMore(fields map[string]any) error {
	s.Helper()
	file, err := os.ReadFile(deploy + "/samples/orders/small-20.json")
	s.must(err)
	var o map[string]any
	s.must(json.Unmarshal(file, &o))
	o["quantity"], o["spares"] = good, spares
	maps.Copy(o, fields)
	maps.DeleteFunc(o, func(_ string, v any) bool { return v == nil })
	file, err = json.Marshal(o)
	s.must(err)
	a, err := s.ledger.Submit(s.ctx, bus.SubmitRequest{File: file, Ki: s.sendKi(file)})
	if err != nil || len(a.Faults)+len(a.KiFaults) > 0 {
		s.Fatal(err, a.Faults, a.KiFaults)
	}
	d, err := s.ledger.Draft(s.ctx, bus.DraftRequest{Order: a.Order})
	s.must(err)
	s.release, err = statement.ParseRelease(d.Body)
	s.must(err)
	s.signed = s.sign(s.release, "ann", "bob")
	r, err := s.ledger.Release(s.ctx, bus.SignedRequest{Signed: s.signed.Encode()})
	if err != nil {
		return err
	}
	work, err := s.ledger.WorkOrders(s.ctx)
	s.must(err)
	s.lot, s.script = r.Lot, work[0].Script
	if s.plain = o["product"] == plainProduct; !s.plain { // whose profile its commands write
		s.scan(`SELECT data FROM package_blob`, nil, &s.pkg)
	}
	return nil
}

func (s *site) sign(r statement.Release, officers ...perso.Name) statement.Signed {
	s.Helper()
	body, err := r.Encode()
	s.must(err)
	signed := statement.Signed{Body: body}
	for _, name := range officers {
		signed.Sign(name, s.officers[name])
	}
	return signed
}

// opening is what the ledger hands the vault to open a lot.
func (s *site) opening(signed statement.Signed) bus.OpenLotRequest {
	s.Helper()
	register := s.made.Register
	for _, name := range []perso.Name{"ann", "bob", "cid"} {
		register.Sign(name, s.officers[name])
	}
	return bus.OpenLotRequest{Register: [][]byte{register.Encode()}, Release: signed.Encode(), Script: s.script, Packages: [][]byte{s.pkg}}
}

// refused demands that somebody said no, and in which words.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want a refusal with %q", err, words)
	}
}
