// Package audittest makes small, valid histories of a factory with software keys: log, officers' statements, vault
// receipts, and the bundle of a lot. Tests of the auditor and of the bundle writer begin with one and then spoil it.
// Everything in it is fixed: the same calls give the same bytes. The product does not import it.
package audittest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// Names of the one site.
const (
	SiteName = perso.Name("site-1")
	Vault    = perso.Name("vault-1")
	Origin   = "log.example/site-1"
)

// Site is a factory's history so far.
type Site struct {
	LogKey, StmtKey  ed25519.PrivateKey
	EUMCert, EISCert []byte
	Register         []statement.Signed
	Openings         []statement.Signed // releases and closings
	Entries          [][]byte
	Chains           map[perso.Name]*Chain     // the vault's receipts by lot
	Exports          map[string][]byte         // export manifests by their path in a bundle
	Vaults           map[perso.Name]perso.Name // lots of other vaults than Vault

	texts  *texts // of Entries and Chains; a copy of the site goes on in the same
	now    time.Time
	number uint64 // of the last presentation
	serial uint64
}

// texts keeps encoded records close together: a million cards have ten million of them, and each by itself would be one more piece
// of memory to look after.
type texts struct{ page []byte }

func (t *texts) keep(b []byte) []byte {
	const pageBytes = 64 << 10
	if len(t.page)+len(b) > cap(t.page) {
		t.page = make([]byte, 0, max(pageBytes, len(b)))
	}
	from := len(t.page)
	t.page = append(t.page, b...)
	return t.page[from:len(t.page):len(t.page)]
}

// Chain is the vault's receipts of one lot.
type Chain struct {
	Receipts [][]byte
	Head     [32]byte
}

// Must unwraps what cannot fail in a test that is right.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Key is a software key that depends on its name only.
func Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("audittest key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Public is its public half.
func Public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// Hash is a hash that depends on its name only.
func Hash(format string, args ...any) [32]byte {
	return sha256.Sum256(fmt.Appendf([]byte("audittest "), format, args...))
}

func officer(name perso.Name, role statement.Role) statement.Officer {
	return statement.Officer{ID: name, Person: "Person " + string(name), Role: role, Key: Public(Key(string(name)))}
}

// Sign signs a body in the names of officers.
func Sign(body []byte, officers ...perso.Name) statement.Signed {
	s := statement.Signed{Body: body}
	for _, o := range officers {
		s.Sign(o, Key(string(o)))
	}
	return s
}

// New is a site with two officers, "prod" and "sec", and one reel of a hundred thousand chips.
func New() *Site {
	s := &Site{LogKey: Key("log"), StmtKey: Key("statement"), EUMCert: []byte("EUM certificate"), EISCert: []byte("EIS certificate"),
		Chains: map[perso.Name]*Chain{}, Exports: map[string][]byte{}, Vaults: map[perso.Name]perso.Name{}, texts: &texts{}, now: time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)}
	g := statement.Genesis{Env: perso.EnvTest, Site: SiteName, At: s.now, Nonce: Hash("register"),
		Officers: []statement.Officer{officer("prod", statement.RoleProduction), officer("sec", statement.RoleSecurity)}}
	register := Sign(Must(g.Encode()), "prod", "sec")
	s.Register = []statement.Signed{register}
	s.Append(entry.Genesis{Env: perso.EnvTest, Site: SiteName, Origin: Origin, At: s.now, Register: register.Hash(), LogKey: Public(s.LogKey),
		StmtKey: Public(s.StmtKey), EUMCert: sha256.Sum256(s.EUMCert), EISCert: sha256.Sum256(s.EISCert)})
	s.Append(entry.Statement{What: statement.KindGenesis, Hash: register.Hash(), At: s.Tick()})
	s.Append(entry.Stock{Reel: "reel-1", File: Hash("reel"), Chips: 100_000, At: s.Tick()})
	return s
}

// Tick lets a millisecond pass.
func (s *Site) Tick() time.Time {
	s.now = s.now.Add(time.Millisecond)
	return s.now
}

// Append logs an entry and returns its number.
func (s *Site) Append(e interface{ Encode() ([]byte, error) }) int64 {
	s.Entries = append(s.Entries, s.texts.keep(Must(e.Encode())))
	return int64(len(s.Entries)) - 1
}

// Enlist adds an officer to the register.
func (s *Site) Enlist(name perso.Name, role statement.Role) {
	prev := s.Register[len(s.Register)-1].Hash()
	c := statement.Change{Kind: statement.KindAdd, Prev: prev, At: s.Tick(), Nonce: Hash("add %s", name), Officer: officer(name, role)}
	s.change(c)
}

// Dismiss revokes an officer.
func (s *Site) Dismiss(name perso.Name, role statement.Role, signers ...perso.Name) {
	prev := s.Register[len(s.Register)-1].Hash()
	c := statement.Change{Kind: statement.KindRevoke, Prev: prev, At: s.Tick(), Nonce: Hash("revoke %s", name), Officer: officer(name, role)}
	s.change(c, signers...)
}

func (s *Site) change(c statement.Change, signers ...perso.Name) {
	if len(signers) == 0 {
		signers = []perso.Name{"prod", "sec"}
	}
	signed := Sign(Must(c.Encode()), signers...)
	s.Register = append(s.Register, signed)
	s.Append(entry.Statement{What: c.Kind, Hash: signed.Hash(), At: s.Tick()})
}

// Lot is a released lot.
type Lot struct {
	Site    *Site
	Release statement.Release
	Hash    [32]byte
	Bins    map[perso.Verdict]uint64
	index   uint64
}

// NewRelease is a release of good units and spares that nobody has signed. ord sets lots apart: each has its own ranges.
func (s *Site) NewRelease(lot perso.Name, ord, good, spares uint64) statement.Release {
	const apart = 100_000
	span := good + spares
	eids := Must(id.NewEIDRange(Must(id.ParseEID("89049099001000000000000000000034")), apart*(ord+1)))
	iccids := Must(id.NewICCIDRange(Must(id.ParseICCID("8988001010000000006")), apart*(ord+1)))
	imsis := Must(id.NewIMSIRange(Must(id.ParseIMSI("001010100000000", 2)), apart*(ord+1)))
	return statement.Release{
		Env: perso.EnvTest, Site: SiteName, Lot: lot, Order: "DEMO-" + string(lot), At: s.Tick(), Expires: s.now.AddDate(0, 3, 0), Nonce: Hash("release %s", lot),
		OrderHash: Hash("order %s", lot), Product: "m2m-200s-mff2", ProductHash: Hash("product"), ScriptHash: Hash("script"), Good: good, Spares: spares,
		EIDs:   Must(id.NewEIDRange(Must(eids.At(apart*ord)), span)),
		ICCIDs: Must(id.NewICCIDRange(Must(iccids.At(apart*ord)), span)),
		IMSIs:  Must(id.NewIMSIRange(Must(imsis.At(apart*ord)), span)),
		Remake: "same-identity", KiSource: "derived", KeyOrigin: "card", Algorithm: "milenage", ChipID: "kdd", Channel: "scp03", FactoryKVN: 0xFF, CardKVN: 0x30,
		Proof:     "scp-reopen, rmac-readback, authenticate",
		AuthProof: "auts", KMC: "kmc", OP: "op", TransportKey: "tk", WrapKey: "wk", SMSR: "smsr", Delivery: "auc",
	}
}

// NewSIMs is a release of SIMs, without EID, certificate and SM-SR: over a secure channel, or without one.
func (s *Site) NewSIMs(lot perso.Name, ord, good, spares uint64, channel bool) statement.Release {
	r := s.NewRelease(lot, ord, good, spares)
	r.Product, r.EIDs, r.KeyOrigin, r.WrapKey, r.SMSR = "basic-100m-mff2", id.EIDRange{}, "", "", ""
	if !channel {
		r.Product, r.ChipID, r.Channel, r.FactoryKVN, r.CardKVN, r.Proof = "basic-100s-2ff", "cplc", "adm", 0, 0, "authenticate (trusts the line)"
	}
	return r
}

// Release has two officers sign a release and logs it.
func (s *Site) Release(lot perso.Name, ord, good, spares uint64) *Lot {
	return s.Admit(s.NewRelease(lot, ord, good, spares), "prod", "sec")
}

// Admit logs a release with the signatures of the named officers.
func (s *Site) Admit(r statement.Release, signers ...perso.Name) *Lot {
	signed := Sign(Must(r.Encode()), signers...)
	s.Append(entry.Order{Commit: Hash("commit %s", r.Lot), Good: r.Good, Spares: r.Spares, At: s.Tick()})
	s.Openings = append(s.Openings, signed)
	s.Append(entry.Statement{What: statement.KindRelease, Hash: signed.Hash(), Lot: r.Lot, At: s.Tick()})
	s.Chains[r.Lot] = &Chain{}
	return &Lot{Site: s, Release: r, Hash: signed.Hash(), Bins: map[perso.Verdict]uint64{}}
}

// VaultOf is the vault that makes a lot.
func (s *Site) VaultOf(lot perso.Name) perso.Name {
	if v, other := s.Vaults[lot]; other {
		return v
	}
	return Vault
}

// Assign logs the log vault's word that a lot is a vault's, which makes it from now on.
func (l *Lot) Assign(to perso.Name) {
	l.Site.Vaults[l.Release.Lot] = to
	l.AssignAs(statement.Assigned{Env: perso.EnvTest, Site: SiteName, Lot: l.Release.Lot, Release: l.Hash, Vault: to, At: l.Site.Tick()}, Vault, l.Site.StmtKey)
}

// AssignAs logs such a word as it is given.
func (l *Lot) AssignAs(word statement.Assigned, by perso.Name, key ed25519.PrivateKey) {
	signed := statement.Signed{Body: Must(word.Encode())}
	signed.Sign(by, key)
	l.Site.Openings = append(l.Site.Openings, signed)
	l.Site.Append(entry.Statement{What: statement.KindAssigned, Hash: signed.Hash(), Lot: l.Release.Lot, At: l.Site.Tick()})
}

// Chip is a chip id that depends on its number only.
func Chip(n uint32) id.ChipID {
	return Must(id.ChipIDFromBytes(binary.BigEndian.AppendUint32([]byte{0x47, 0x90, 0x12, 0x34, 0x00, 0x01}, n)))
}

// Finish makes the whole lot: all units good, the first one after a loss; binned, counted, exported and closed.
func (l *Lot) Finish() {
	s, first := l.Site, uint32(binary.BigEndian.Uint16(l.Hash[:]))<<16
	var loss int64
	for u := range perso.Unit(l.Release.Good) {
		if u == 0 && l.Release.Spares > 0 {
			lost := l.Claim(u, 0, 0, Chip(first))
			lost.Act("identify")
			loss = lost.Lose()
			lost.Bin()
		}
		gen := perso.Generation(0)
		if loss > 0 {
			gen = 1
		}
		c := l.Claim(u, gen, loss, Chip(first+1+uint32(u)))
		loss = 0
		c.Run()
		c.Bin()
	}
	l.Count(entry.SourceHandler)
	l.Count(entry.SourceHand)
	l.Close()
	if l.Release.EUICC() {
		l.Export("eis", "smsr", fmt.Appendf(nil, "%x 3 eis/one.xml\n", Hash("one.xml")))
	} else {
		l.Export("cards", "auc", fmt.Appendf(nil, "%x 3 cards/one.csv\n", Hash("one.csv")))
	}
	l.Export("output", "auc", nil)
	s.Tick()
}

// Review has officers sign off entries, each with the same finding, and logs it.
func (s *Site) Review(finding string, signers []perso.Name, entries ...int64) statement.Review {
	v := statement.Review{Env: perso.EnvTest, Site: SiteName, At: s.Tick(), Nonce: Hash("review %d", len(s.Entries))}
	for _, seq := range entries {
		v.Items = append(v.Items, statement.Reviewed{Entry: uint64(seq), Hash: entry.Hash(s.Entries[seq]), Finding: finding})
	}
	s.EnterReview(v, signers...)
	return v
}

// EnterReview logs a review as it is given.
func (s *Site) EnterReview(v statement.Review, signers ...perso.Name) {
	signed := Sign(Must(v.Encode()), signers...)
	s.Openings = append(s.Openings, signed)
	s.Append(entry.Statement{What: statement.KindReview, Hash: signed.Hash(), At: s.Tick()})
}

// Word logs people's signed statement, about a lot or (empty) about none, and gives its hash.
func (s *Site) Word(signed statement.Signed, lot perso.Name) [32]byte {
	kind := Must(record.Kind(signed.Body))
	s.Openings = append(s.Openings, signed)
	s.Append(entry.Statement{What: kind, Hash: signed.Hash(), Lot: lot, At: s.Tick()})
	return signed.Hash()
}
