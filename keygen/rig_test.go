package keygen_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

const (
	testLot  = perso.Name("LOT-1")
	smsrAddr = "A30F1234"
)

var (
	ctx     = context.Background()
	testKMC = bytes.Repeat([]byte{0x4B}, 16)
	testK4  = bytes.Repeat([]byte{0x54}, 32)
	testKW  = bytes.Repeat([]byte{0x57}, 16)
	testRK  = bytes.Repeat([]byte{0x52}, 16)
	testOP  = []byte("operator key OP!")
	start   = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
)

// device is what the ceremony and the vault need.
type device interface {
	ceremony.Token
	Stats() hsm.Stats
}

// rig is a vault with a ledger that does what it is told.
type rig struct {
	t       testing.TB
	token   device
	made    *ceremony.Made
	cfg     keygen.Config
	vault   *keygen.Vault
	journal *journal.Journal
	now     time.Time
	tick    time.Duration // of the clock, for each act; a second when 0
	log     *logDouble
	lot     perso.Name
	name    perso.Name                 // of the vault; V1 when empty
	lives   map[perso.Name]*lifeDouble // by vault; apart from the memory, which tests exchange

	officers map[perso.Name]ed25519.PrivateKey
	enlisted []statement.Officer
	register statement.Signed
	release  statement.Release
	signed   statement.Signed
	script   *script.Script
	customer func(perso.Unit) *bus.CustomerKi // of a lot with the customer's own Ki
	product  string                           // its script's name; the first product's when empty
	plain    bool                             // SIMs, without EID and certificate (sims)
	scp02    bool                             // SIMs whose chips speak SCP02 (sims02)
	packages [][]byte                         // of the last catalogue
	// two says that the lot has an operational profile as well (operational_test.go).
	two bool
	// ownPackages leaves what a release says of packages as the test made it.
	ownPackages bool
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigOn(t, hsmfake.New(mrand.NewChaCha8([32]byte{1})), "S1")
}

func newRigOn(t testing.TB, token device, site perso.Name) *rig {
	t.Helper()
	r := newRigWith(t, token)
	lend := func(b []byte) secret.Bytes { return secret.New(bytes.Clone(b)) }
	var err error
	r.made, err = ceremony.MakeTest(ctx, token, ceremony.Plan{
		Env: perso.EnvTest, Site: site, Vault: "V1", Origin: "factory.example/test", Officers: r.enlisted,
		EUM:  ceremony.EUM{Name: "Test EUM", Country: "CH", OID: "2.999.5", IIN: "89049032"},
		KMCs: map[perso.Name]secret.Bytes{"kmc-1": lend(testKMC)}, TransportKeys: map[perso.Name]secret.Bytes{"k4-1": lend(testK4)},
		WrapKeys: map[perso.Name]secret.Bytes{"smsr-1": lend(testKW)}, ReceiveKeys: map[perso.Name]secret.Bytes{"rk-1": lend(testRK), "rk-2": lend(testKMC)}, OPs: map[perso.Name]secret.Bytes{"op-1": lend(testOP)},
		Dir: t.TempDir() + "/vault", Now: start, Rand: mrand.NewChaCha8([32]byte{2}),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.begin(site)
	return r
}

// newRigWith is a rig whose site is still to be made, or was made by another process.
func newRigWith(t testing.TB, token device) *rig {
	r := &rig{t: t, token: token, now: start, log: &logDouble{t: t}, lot: testLot, officers: map[perso.Name]ed25519.PrivateKey{}, lives: map[perso.Name]*lifeDouble{}}
	for i, o := range []statement.Officer{
		{ID: "ann", Person: "Ann", Role: statement.RoleProduction}, {ID: "bob", Person: "Bob", Role: statement.RoleSecurity},
		{ID: "cid", Person: "Cid", Role: statement.RoleProduction},
	} {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, 32))
		o.Key, r.officers[o.ID] = key.Public().(ed25519.PublicKey), key
		r.enlisted = append(r.enlisted, o)
	}
	return r
}

// begin starts the vault of a site that was made, with a release to sign.
func (r *rig) begin(site perso.Name) {
	r.t.Helper()
	r.register = r.made.Register
	for _, o := range r.enlisted {
		r.register.Sign(o.ID, r.officers[o.ID])
	}
	r.cfg = r.config(site)
	r.reopenVault()
	r.compile()
	r.release = r.newRelease(site)
	r.signed = r.sign(r.release, "ann", "bob")
}

func (r *rig) config(site perso.Name) keygen.Config {
	memory, err := journal.OpenMemory(r.made.MemoryDir)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.journal, err = journal.Open(r.made.JournalDir); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = r.journal.Close() })
	return keygen.Config{Env: perso.EnvTest, Site: site, Name: cmp.Or(r.name, "V1"), Origin: "factory.example/test", Token: r.token, Keys: r.made.Keys,
		Journal: r.journal, Memory: memory, KiSets: memory, Words: memory, OPs: journal.OPFolder(r.made.OPDir), RegisterPin: r.made.RegisterPin,
		EUMCert: r.made.EUMCert, EISCert: r.made.EISCert, CAID: r.made.CAID,
		Now: func() time.Time { return r.now }, Side: sideBySide, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// sideBySide is a goroutine for each call.
func sideBySide(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// reopenVault starts the vault process anew.
func (r *rig) reopenVault() {
	r.t.Helper()
	r.beginLife()
	v, err := keygen.New(ctx, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.vault = v
	r.tell()
}

// tell tells the vault of the officer register, as a ledger does before all else, which one that knows it already does not take; and
// then what officers said since.
func (r *rig) tell(words ...statement.Signed) {
	r.t.Helper()
	_, err := r.vault.Heed(ctx, bus.HeedRequest{Words: [][]byte{r.register.Encode()}})
	if err == nil {
		err = r.heed(words...)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// heed tells the vault words after those that it knows.
func (r *rig) heed(words ...statement.Signed) error {
	heard := r.heard()
	q := bus.HeedRequest{Known: heard.Count, Chain: heard.Chain}
	for _, w := range words {
		q.Words = append(q.Words, w.Encode())
	}
	a, err := r.vault.Heed(ctx, q)
	if err == nil && !(a.Taken && a.Same && a.Known == q.Known+uint64(len(words))) {
		err = fmt.Errorf("%d words after %d were not taken: %+v", len(words), q.Known, a)
	}
	return err
}

// heard names the words that the vault remembers.
func (r *rig) heard() (heard statement.Words) {
	r.t.Helper()
	words, err := r.cfg.Words.Heard()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, w := range words {
		s, err := statement.DecodeSigned(w)
		if err != nil {
			r.t.Fatal(err)
		}
		heard = heard.And(s.Hash())
	}
	return heard
}

// source is the script of the product.
func (r *rig) source() string {
	src, err := os.ReadFile("../deploy/products/" + cmp.Or(r.product, "m2m-200s") + ".script")
	if err != nil {
		r.t.Fatal(err)
	}
	return string(src)
}

func (r *rig) compile() { r.compileSource(r.source()) }

// compileSource compiles a script as the ledger does for a lot with the rig's package.
func (r *rig) compileSource(src string) {
	r.t.Helper()
	var err error
	if r.script, err = script.Compile([]byte(src), r.catalogue()); err != nil {
		r.t.Fatal(err)
	}
}

// catalogue is that of a lot with the package of the rig's release, of the usual algorithm.
func (r *rig) catalogue() script.Catalogue { return r.catalogueFor(auth.Default()) }

func (r *rig) catalogueFor(a auth.Algorithm) script.Catalogue {
	r.packages = [][]byte{r.shippedPackage(a)}
	all := script.StandardCatalogue(len(smsrAddr), keygen.CertValueBytes).For(len(a.Parameters()), a.KBytes(), a.OPBytes()).WithPackage(script.PackageBootstrap, len(r.packages[0]))
	if r.two {
		r.packages = append(r.packages, r.shippedPackage(auth.Default()))
		all = all.WithPackage(script.PackageOperational, len(r.packages[1]))
	}
	return all
}

// shippedPackage is the bootstrap profile, prepared for the network of the rig's numbers.
func (r *rig) shippedPackage(a auth.Algorithm) []byte {
	r.t.Helper()
	b, err := os.ReadFile("../deploy/profiles/bootstrap.der")
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := saip.Decode(b)
	if err != nil {
		r.t.Fatal(err)
	}
	lot, err := saip.ProviderLot(p, saip.Network{MCC: "901", MNC: "70"}, "Test")
	if err != nil {
		r.t.Fatal(err)
	}
	if p, err = saip.Prepare(p, lot); err == nil {
		p, err = profile.Prepare(p, profile.Terms{Algorithm: a})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Bytes()
}

// named puts into a release what its script loads: the rig's package, or nothing.
func (r *rig) named(rel *statement.Release) {
	rel.Packages = nil
	if len(r.script.Packages()) > 0 {
		rel.Packages = []statement.Package{{Variable: script.PackageBootstrap, Name: "bootstrap", Bytes: uint64(len(r.packages[0])), Hash: sha256.Sum256(r.packages[0])}}
	}
	if r.two {
		rel.Packages = append(rel.Packages, statement.Package{Variable: script.PackageOperational, Name: "second", Bytes: uint64(len(r.packages[1])), Hash: sha256.Sum256(r.packages[1])})
	}
}

func (r *rig) newRelease(site perso.Name) statement.Release {
	must := func(err error) {
		if err != nil {
			r.t.Fatal(err)
		}
	}
	eid, err := id.ParseEID("89049032123451234512345678901235")
	must(err)
	iccid, err := id.ParseICCID("8988247000100003319")
	must(err)
	imsi, err := id.ParseIMSI("901700000000001", 2)
	must(err)
	rel := statement.Release{Env: perso.EnvTest, Site: site, Lot: r.lot, Order: "O-1", At: start, Expires: start.Add(30 * 24 * time.Hour), Nonce: [32]byte{9},
		OrderHash: [32]byte{1}, Product: "m2m-200s-mff2", ProductHash: [32]byte{2}, ScriptHash: r.script.Hash(), Good: 2, Spares: 1,
		Remake: "same-identity", KiSource: "derived", KeyOrigin: "card", Algorithm: "milenage", ChipID: "cplc", Channel: "scp03", FactoryKVN: 0xFF, CardKVN: 0x30,
		Proof:     "scp-reopen, rmac-readback, authenticate",
		AuthProof: "auts", KMC: "kmc-1", OP: "op-1", TransportKey: "k4-1", WrapKey: "smsr-1", SMSR: "smsr-x", Delivery: "auc-x"}
	rel.EIDs, err = id.NewEIDRange(eid, 3)
	must(err)
	rel.ICCIDs, err = id.NewICCIDRange(iccid, 3)
	must(err)
	rel.IMSIs, err = id.NewIMSIRange(imsi, 3)
	must(err)
	for name, value := range map[string][]byte{"AID.ISD": aidISD, "AID.ISDR": aidISDR, "AID.ECASD": aidECASD, "AID.ISDP": aidISDP,
		"AID.LOADFILE": sgpAID(0x0D00), "AID.MODULE": sgpAID(0x0E00), "AID.USIM": aidUSIM, "AD": {0, 0, 0, 2},
		"SPN": bytes.Repeat([]byte{0x41}, 17), "SMSR.ADDR": []byte(smsrAddr), "PROFILE.POL1": {0}} {
		rel.Constants = append(rel.Constants, statement.Constant{Name: name, Value: value})
	}
	return rel
}

func (r *rig) sign(rel statement.Release, officers ...perso.Name) statement.Signed {
	r.t.Helper()
	if !r.ownPackages {
		r.named(&rel)
	}
	return r.signWord(rel, officers...)
}

func (r *rig) openRequest() bus.OpenLotRequest {
	q := bus.OpenLotRequest{Register: [][]byte{r.register.Encode()}, Release: r.signed.Encode(), Script: r.script.Encode()}
	if len(r.script.Packages()) > 0 {
		q.Packages = r.packages
	}
	return q
}

func (r *rig) openLot() {
	r.t.Helper()
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); err != nil {
		r.t.Fatal(err)
	}
}

// logDouble is a log without tiles.
type logDouble struct {
	t       testing.TB
	entries [][]byte
	hashes  []tlog.Hash
}

func (l *logDouble) reset() { l.entries, l.hashes = nil, nil }

func (l *logDouble) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		out[i] = l.hashes[x]
	}
	return out, nil
}

func (l *logDouble) add(e interface{ Encode() ([]byte, error) }) int64 {
	b, err := e.Encode()
	if err != nil {
		l.t.Fatal(err)
	}
	n := int64(len(l.entries))
	stored, err := tlog.StoredHashes(n, b, l)
	if err != nil {
		l.t.Fatal(err)
	}
	l.entries, l.hashes = append(l.entries, b), append(l.hashes, stored...)
	return n
}

func (l *logDouble) root(size int64) [32]byte {
	if size == 0 {
		return [32]byte{}
	}
	h, err := tlog.TreeHash(size, l)
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

func (l *logDouble) request(old int64) bus.CheckpointRequest {
	size := int64(len(l.entries))
	q := bus.CheckpointRequest{Old: old, Size: size, Root: l.root(size)}
	if old > 0 && old < size {
		proof, err := tlog.ProveTree(size, old, l)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, h := range proof {
			q.Proof = append(q.Proof, h)
		}
	}
	return q
}

func (l *logDouble) prove(seq int64) bus.Proven {
	proof, err := tlog.ProveRecord(int64(len(l.entries)), seq, l)
	if err != nil {
		l.t.Fatal(err)
	}
	p := bus.Proven{Entry: l.entries[seq], Seq: seq}
	for _, h := range proof {
		p.Proof = append(p.Proof, h)
	}
	return p
}

// note has the log as it is now signed.
func (r *rig) note() []byte {
	r.t.Helper()
	info, err := r.vault.Info(ctx, bus.Empty{})
	if err != nil {
		r.t.Fatal(err)
	}
	reply, err := r.vault.Checkpoint(ctx, r.log.request(info.LogSize))
	if err != nil || reply.Note == nil {
		r.t.Fatalf("signing checkpoint: %v, last %d", err, reply.Last)
	}
	if _, err := checkpoint.Open(reply.Note, info.Origin, info.LogKey); err != nil {
		r.t.Fatal(err)
	}
	return reply.Note
}

// unit is one claim at work.
type unit struct {
	*rig
	card     *card
	claim    entry.Claim
	seq      int64
	loss     *int64
	stored   bus.Stored
	receipts [][]byte
	ops      []uint64 // HSM operations of each act of the last session
	items    []bus.ServeItem
	results  []bus.ServeResult
	serial   uint64
}

// claimUnit logs a claim of a card.
func (r *rig) claimUnit(c *card, u perso.Unit, index perso.EIDIndex, change ...func(*entry.Claim)) *unit {
	r.t.Helper()
	chip, err := id.ChipIDFromBytes(c.kdd[:])
	if err != nil {
		r.t.Fatal(err)
	}
	var eid id.EID
	if n := r.release.EIDs.Count(); n > 0 {
		if eid, err = r.release.EIDs.At(uint64(index) % n); err != nil {
			r.t.Fatal(err)
		}
	}
	claim := entry.Claim{Lot: r.lot, Unit: u, Index: index, EID: eid, Chip: chip, Release: r.signed.Hash(),
		Present: perso.Presentation{Line: "L1", Head: 1, Number: 1}, At: r.now}
	for _, f := range change {
		f(&claim)
	}
	return &unit{rig: r, card: c, claim: claim, seq: r.log.add(claim), serial: 1000 * uint64(len(r.log.entries))}
}

// session puts the card under the head and serves acts until there is no window.
func (u *unit) session() bus.ServeResult {
	u.t.Helper()
	u.ops, u.items, u.results = nil, nil, nil
	item := u.begin()
	for {
		result := u.serve(item)
		u.keep(result.Stored)
		if len(result.Window) == 0 {
			return result
		}
		item = u.next(item, result)
	}
}

// keep does as the ledger: each part that is new goes into the claim.
func (u *unit) keep(s *bus.Stored) {
	if s != nil && s.Cert != nil {
		u.stored.Cert, u.stored.Key, u.stored.Pair = s.Cert, s.Key, s.Pair
	}
	if s != nil && s.Ki != nil {
		u.stored.Ki = s.Ki
	}
}

// begin is what the line does before act 0.
func (u *unit) begin() bus.ServeItem {
	u.t.Helper()
	u.serial++
	challenges, err := u.vault.Challenges(ctx, bus.VaultChallengesRequest{Lot: u.lot, First: u.serial, Count: 1})
	if err != nil {
		u.t.Fatal(err)
	}
	var item bus.ServeItem
	for _, p := range u.script.IdentifyWindow() {
		item.Responses = append(item.Responses, u.card.transmit(p.APDU))
	}
	item.Command = scp.InitUpdateCommand(0, challenges.Values[0]).Bytes()
	item.Answer = u.card.transmit(item.Command)
	return u.logged(item, 0)
}

// next plays a window and makes the item of the next act.
func (u *unit) next(item bus.ServeItem, result bus.ServeResult) bus.ServeItem {
	u.t.Helper()
	n := u.actOf(item).N + 1
	item.Responses, item.State, item.Stored = nil, result.State, u.stored
	for _, p := range result.Window {
		answer := u.card.transmit(p.APDU)
		if answer == nil {
			break
		}
		item.Responses = append(item.Responses, answer)
		mask, err := apdu.ParseMask(p.SW)
		if err != nil {
			u.t.Fatal(err)
		}
		if _, sw, err := apdu.SWOf(answer); err != nil || !mask.Match(sw) {
			break
		}
	}
	return u.logged(item, n)
}

// logged writes the act entry of an item.
func (u *unit) logged(item bus.ServeItem, n uint8) bus.ServeItem {
	u.now = u.now.Add(cmp.Or(u.tick, time.Second))
	item.At, item.Stored = u.now, u.stored
	if u.customer != nil {
		item.Customer = u.customer(u.claim.Unit)
	}
	item.Act.Seq = u.log.add(entry.Act{Lot: u.lot, Unit: u.claim.Unit, Gen: u.claim.Gen, Session: entry.SessionOf(item.Command, item.Answer), N: n,
		Responses: entry.ResponsesHash(item.Responses), Serial: u.serial, Present: u.claim.Present, At: item.At})
	return item
}

// serve proves an item against the log as it is now and has it served.
func (u *unit) serve(item bus.ServeItem) bus.ServeResult {
	u.t.Helper()
	note := u.note()
	item.Claim, item.Act = u.log.prove(u.seq), u.log.prove(item.Act.Seq)
	if u.loss != nil {
		p := u.log.prove(*u.loss)
		item.Loss = &p
	}
	before := u.token.Stats().Total()
	reply, err := u.vault.Serve(ctx, bus.ServeRequest{Lot: u.lot, Checkpoint: note, Items: []bus.ServeItem{item}})
	if err != nil {
		u.t.Fatal(err)
	}
	u.ops = append(u.ops, u.token.Stats().Total()-before)
	u.items, u.results = append(u.items, item), append(u.results, reply.Results[0])
	if reply.Results[0].Receipt != nil {
		u.receipts = append(u.receipts, reply.Results[0].Receipt)
	}
	return reply.Results[0]
}

func (u *unit) actOf(item bus.ServeItem) entry.Act {
	u.t.Helper()
	a, err := entry.ParseAct(u.log.entries[item.Act.Seq])
	if err != nil {
		u.t.Fatal(err)
	}
	return a
}

// good logs the good outcome of a unit.
func (u *unit) good(change ...func(*entry.Outcome)) int64 {
	o := entry.Outcome{Lot: u.lot, Unit: u.claim.Unit, Gen: u.claim.Gen, EID: u.claim.EID, Chip: u.claim.Chip, Verdict: perso.VerdictGood, Reason: perso.ReasonNone,
		Session: perso.Session{1}, Receipt: [32]byte{1}, Present: u.claim.Present, At: u.now}
	if len(u.stored.Cert) > 0 {
		o.Cert = sha256.Sum256(u.stored.Cert)
	}
	for _, f := range change {
		f(&o)
	}
	return u.log.add(o)
}
