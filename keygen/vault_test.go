package keygen_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/membus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

func code(err error) bus.FaultCode {
	var f *bus.Fault
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}

// A release is worth two officers of different person and role, in its own words, on this site (I7).
func TestRefusesReleases(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	signedBy := func(officers ...perso.Name) func() bus.OpenLotRequest {
		return func() bus.OpenLotRequest {
			q := r.openRequest()
			q.Release = r.sign(r.release, officers...).Encode()
			return q
		}
	}
	changed := func(f func(*statement.Release)) func() bus.OpenLotRequest {
		return func() bus.OpenLotRequest {
			rel := r.release
			f(&rel)
			q := r.openRequest()
			q.Release = r.sign(rel, "ann", "bob").Encode()
			return q
		}
	}
	terms := statement.CustomerKi{Root: [32]byte{1}, Rows: 3, ReceiveKey: "rk-1", Mode: "AES-ECB", Output: "wrapped"}
	customer := func(f func(*statement.CustomerKi)) func() bus.OpenLotRequest {
		return changed(func(s *statement.Release) {
			s.KiSource, s.Customer = "customer", terms
			f(&s.Customer)
		})
	}
	laid := r.release
	laid.Customer = terms
	r.plant(laid)
	for name, c := range map[string]struct {
		make func() bus.OpenLotRequest
		want string
	}{
		"one officer":       {signedBy("ann"), "different person and role"},
		"one role":          {signedBy("ann", "cid"), "different person and role"},
		"one officer twice": {signedBy("ann", "ann"), "signed twice"},
		"forged signature": {func() bus.OpenLotRequest {
			q, s := r.openRequest(), r.sign(r.release, "ann")
			s.Sign("bob", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)))
			q.Release = s.Encode()
			return q
		}, "does not verify"},
		"edited after signing": {func() bus.OpenLotRequest {
			q := r.openRequest()
			q.Release = bytes.Replace(q.Release, []byte("good 2"), []byte("good 3"), 1)
			return q
		}, "does not verify"},
		"another register": {func() bus.OpenLotRequest {
			q := r.openRequest()
			q.Register[0] = bytes.Replace(q.Register[0], []byte("Cid"), []byte("Dan"), 1)
			return q
		}, "pinned"},
		"no register":    {func() bus.OpenLotRequest { q := r.openRequest(); q.Register = nil; return q }, "no genesis"},
		"another script": {func() bus.OpenLotRequest { q := r.openRequest(); q.Script = append(q.Script, 0); return q }, "not the one released"},
		"production":     {changed(func(s *statement.Release) { s.Env = perso.EnvProduction }), "environment"},
		"another site":   {changed(func(s *statement.Release) { s.Site = "S2" }), "site"},
		"expired":        {changed(func(s *statement.Release) { s.At, s.Expires = start.Add(-2*time.Hour), start.Add(-time.Hour) }), "expired"},
		"unknown Ki":     {changed(func(s *statement.Release) { s.KiSource = "found" }), "ki source"},
		"Ki of no file":  {changed(func(s *statement.Release) { s.KiSource = "customer" }), "parsing release"},
		"Ki, other rows": {customer(func(k *statement.CustomerKi) { k.Rows = 4 }), "4 Ki of the customer for 3 units"},
		"Ki, other mode": {customer(func(k *statement.CustomerKi) { k.Mode = "DES" }), "receive mode"},
		"Ki of 32 bytes": {changed(func(s *statement.Release) { s.KiSource, s.Customer, s.Algorithm = "customer", terms, "tuak k=256" }), "a customer's Ki of 16 bytes for tuak k=256"},
		"Ki left out of an envelope": {changed(func(s *statement.Release) {
			s.KiSource, s.Customer, s.TransportMode, s.ReceiverKey = "customer", terms, "RSA-OAEP-AES", "7/"+strings.Repeat("5a", 32)
			s.Customer.Output = "omitted"
		}), "an envelope without Ki"},
		"Ki, other place": {customer(func(k *statement.CustomerKi) { k.Output = "clear" }), `output "clear"`},
		"Ki, no key":      {customer(func(k *statement.CustomerKi) { k.ReceiveKey = "rk-9" }), `receive key "rk-9" of lot "LOT-1" is not on the token`},
		"no key origin":   {changed(func(s *statement.Release) { s.KeyOrigin = "chip" }), "key origin"},
		"injected keys":   {changed(func(s *statement.Release) { s.KeyOrigin = "hsm" }), "unknown"},
		"TUAK":            {changed(func(s *statement.Release) { s.Algorithm = "tuak" }), "algorithm"},
		"RES":             {changed(func(s *statement.Release) { s.AuthProof = "res" }), "authentication"},
		"one key version": {changed(func(s *statement.Release) { s.CardKVN = s.FactoryKVN }), "key version"},
		"missing constant": {changed(func(s *statement.Release) {
			s.Constants = slices.DeleteFunc(slices.Clone(s.Constants), func(c statement.Constant) bool { return c.Name == "AID.ISDR" })
		}), "neither the vault's nor a constant"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.vault.OpenLot(ctx, c.make())
			if code(err) != bus.FaultRefused || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a refusal with %q", err, c.want)
			}
		})
	}
	if n := r.token.Stats()[hsm.VerbGenerate]; n != 9 {
		t.Errorf("%d keys were made, 7 by the ceremony, 2 for the vault's life, which turned when it was told the officer register", n)
	}
}

// A lot key is made once and serves one release.
func TestOneReleasePerLot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if reply, err := r.vault.OpenLot(ctx, r.openRequest()); err != nil || !reply.Created {
		t.Fatal(reply, err)
	}
	if reply, err := r.vault.OpenLot(ctx, r.openRequest()); err != nil || reply.Created {
		t.Error(reply, err)
	}
	other := r.release
	other.Nonce[0] ^= 1
	q := r.openRequest()
	q.Release = r.sign(other, "ann", "bob").Encode()
	for range 2 {
		if _, err := r.vault.OpenLot(ctx, q); code(err) != bus.FaultConflict {
			t.Errorf("second release: %v", err)
		}
		r.reopenVault()
	}
	// A lot that was opened in time can be opened for its exports later, but takes no new session.
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	r.now = r.release.Expires.Add(time.Hour)
	r.reopenVault()
	r.openLot()
	if got := u.session(); !strings.Contains(got.Refused, "expired") {
		t.Errorf("session after the release's end: %+v", got)
	}
}

// later is the release with the i-th ranges after its own.
func (r *rig) later(i uint64) statement.Release {
	rel := r.release
	rel.EIDs, rel.ICCIDs, rel.IMSIs = shifted(r.t, rel.EIDs, i), shifted(r.t, rel.ICCIDs, i), shifted(r.t, rel.IMSIs, i)
	return rel
}

func shifted[T id.Number[T]](t testing.TB, r id.Range[T], i uint64) id.Range[T] {
	t.Helper()
	all, err := id.NewRange(r.First(), (i+1)*r.Count())
	if err != nil {
		t.Fatal(err)
	}
	first, err := all.At(i * r.Count())
	if err != nil {
		t.Fatal(err)
	}
	out, err := id.NewRange(first, r.Count())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// I1: officers sign the ranges that a ledger shows them; the vault knows which ones it issued, also after a restart.
func TestIssuesAnIdentityOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	r.reopenVault()
	open := func(f func(*statement.Release)) error {
		rel, q := r.later(1), r.openRequest()
		rel.Lot = "LOT-2"
		f(&rel)
		q.Release = r.sign(rel, "ann", "bob").Encode()
		_, err := r.vault.OpenLot(ctx, q)
		return err
	}
	for name, f := range map[string]func(*statement.Release){
		"EIDs":   func(s *statement.Release) { s.EIDs = r.release.EIDs },
		"ICCIDs": func(s *statement.Release) { s.ICCIDs = r.release.ICCIDs },
		"IMSIs":  func(s *statement.Release) { s.IMSIs = r.release.IMSIs },
	} {
		if err := open(f); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), name+" of lot") {
			t.Errorf("%s of another lot: %v", name, err)
		}
	}
	if err := open(func(*statement.Release) {}); err != nil {
		t.Errorf("ranges of its own: %v", err)
	}
}

// I7: a register that is shorter than one that was in force, or another, lets nobody release: officers who were
// dismissed would be officers again.
func TestRegisterOnlyGrows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	change := r.change
	key := ed25519.NewKeyFromSeed(make32(9))
	dan := statement.Officer{ID: "dan", Person: "Dan", Role: statement.RoleQuality, Key: key.Public().(ed25519.PublicKey)}
	r.officers["dan"] = key
	bob := r.officers["bob"].Public().(ed25519.PublicKey)
	added := change(statement.KindAdd, r.register, dan, "ann", "bob")
	dismissed := change(statement.KindRevoke, added, statement.Officer{ID: "bob", Person: "Bob", Role: statement.RoleSecurity, Key: bob}, "ann", "dan")
	open := func(i uint64, officers []perso.Name, chain ...statement.Signed) error {
		rel, q := r.later(i), r.openRequest()
		rel.Lot, q.Register = perso.Name(fmt.Sprintf("LOT-%d", i)), nil
		for _, s := range chain {
			q.Register = append(q.Register, s.Encode())
		}
		q.Release = r.sign(rel, officers...).Encode()
		_, err := r.vault.OpenLot(ctx, q)
		return err
	}
	if err := open(3, []perso.Name{"ann", "bob"}, r.register); err != nil {
		t.Fatal(err)
	}
	if err := open(1, []perso.Name{"ann", "dan"}, r.register, added, dismissed); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "hear the others first") {
		t.Errorf("a register that the vault was not told of: %v", err)
	}
	r.tell(added, dismissed)
	r.reopenVault() // no lot was opened since: the word alone binds it
	if err := open(3, []perso.Name{"ann", "bob"}, r.register, added, dismissed); err != nil {
		t.Errorf("a lot that he released before he was dismissed: %v", err)
	}
	for name, chain := range map[string][]statement.Signed{"cut short": {r.register}, "without the dismissal": {r.register, added}} {
		if err := open(2, []perso.Name{"ann", "bob"}, chain...); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "it is an older one") {
			t.Errorf("a dismissed officer with the register %s: %v", name, err)
		}
	}
	if err := open(2, []perso.Name{"ann", "bob"}, r.register, added, dismissed); code(err) != bus.FaultRefused {
		t.Errorf("a dismissed officer: %v", err)
	}
	if err := open(1, []perso.Name{"ann", "dan"}, r.register, added, dismissed); err != nil {
		t.Fatal(err)
	}
	forged := change(statement.KindAdd, dismissed, statement.Officer{ID: "eve", Person: "Eve", Role: statement.RoleSecurity, Key: bob}, "ann", "cid")
	if err := open(2, []perso.Name{"ann", "dan"}, r.register, added, dismissed, forged); code(err) != bus.FaultRefused {
		t.Errorf("an addition by one role: %v", err)
	}
	if err := open(2, []perso.Name{"ann", "dan"}, r.register, added, dismissed); err != nil {
		t.Error(err)
	}
}

// A second vault on the token, or one whose memory was lost, has no receipts of what was made: it makes nothing.
func TestTakesNoLotKeyThatItDidNotMake(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	s := newStore()
	r.cfg.Name, r.cfg.Journal, r.cfg.Memory = "V2", s, s
	r.reopenVault()
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultConflict {
		t.Errorf("a second vault: %v", err)
	}
	if len(s.memory.Lots) != 0 {
		t.Errorf("it remembers %v", s.memory.Lots)
	}
}

func TestAsksForALotThatIsNotOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.log.add(entry.Stock{Reel: "R1", File: [32]byte{1}, Chips: 1, At: start})
	note := r.note()
	_, serve := r.vault.Serve(ctx, bus.ServeRequest{Lot: testLot, Checkpoint: note, Items: make([]bus.ServeItem, 1)})
	_, export := r.vault.Export(ctx, bus.ExportRequest{Lot: testLot, Checkpoint: note, Items: make([]bus.ExportItem, 1)})
	_, challenges := r.vault.Challenges(ctx, bus.VaultChallengesRequest{Lot: testLot, Count: 1})
	_, receipts := r.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot})
	for _, err := range []error{serve, export, challenges, receipts} {
		if code(err) != bus.FaultLotNotOpen {
			t.Errorf("got %v", err)
		}
	}
}

// The log can grow and can be asked for again; it cannot be forked, not even across a restart.
func TestNeverSignsTwoLogs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stock := func(n uint64) entry.Stock { return entry.Stock{Reel: "R1", File: [32]byte{1}, Chips: n, At: start} }
	for n := range uint64(5) {
		r.log.add(stock(n))
	}
	first := r.note()
	again, err := r.vault.Checkpoint(ctx, r.log.request(0)) // the reply was lost: asked again from the old size
	if err != nil || !bytes.Equal(again.Note, first) {
		t.Errorf("asked again: %q, %v", again.Note, err)
	}
	fork := &logDouble{t: t}
	for n := range uint64(9) {
		fork.add(stock(100 + n))
	}
	for range 2 {
		for name, q := range map[string]bus.CheckpointRequest{
			"a fork of the same size": {Old: 5, Size: 5, Root: fork.root(5)},
			"a fork that grew":        fork.request(5),
			"a log cut short":         {Old: 5, Size: 3, Root: r.log.root(3)},
			"no log":                  {Old: 5},
		} {
			if reply, err := r.vault.Checkpoint(ctx, q); err == nil || reply.Note != nil {
				t.Errorf("%s: signed %q", name, reply.Note)
			}
		}
		if reply, err := r.vault.Checkpoint(ctx, fork.request(0)); err != nil || reply.Note != nil || reply.Last != 5 {
			t.Errorf("from another size: %+v, %v", reply, err)
		}
		r.reopenVault()
	}
	r.log.add(stock(5))
	r.note()
}

// Memory: failed and not written, failed but written. In neither case two inconsistent notes can exist.
func TestCheckpointThatCouldNotBeRemembered(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		r := newRig(t)
		s := r.withoutDisk()
		r.log.add(entry.Stock{Reel: "R1", File: [32]byte{1}, Chips: 1, At: start})
		s.fail, s.after = true, after
		if reply, err := r.vault.Checkpoint(ctx, r.log.request(0)); !errors.Is(err, errDisk) || reply.Note != nil {
			t.Errorf("after=%v: %v, signed %q", after, err, reply.Note)
		}
		s.fail = false
		r.reopenVault() // a crash: what is on the disk counts
		q := r.log.request(0)
		if reply, err := r.vault.Checkpoint(ctx, q); err != nil || reply.Note == nil {
			t.Errorf("after=%v: the same log afterwards: %+v, %v", after, reply, err)
		}
	}
}

// Journal: failed and not written, failed but written. Nothing leaves; afterwards the act is served, with one receipt.
func TestReceiptThatCouldNotBeStored(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		r := newRig(t)
		s := r.withoutDisk()
		r.openLot()
		u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
		item, note := u.begin(), r.note()
		item.Claim, item.Act = r.log.prove(u.seq), r.log.prove(item.Act.Seq)
		q := bus.ServeRequest{Lot: testLot, Checkpoint: note, Items: []bus.ServeItem{item}}
		s.fail, s.after = true, after
		if reply, err := r.vault.Serve(ctx, q); !errors.Is(err, errDisk) || reply.Results != nil {
			t.Errorf("after=%v: %v, %+v", after, err, reply)
		}
		s.fail = false
		if _, err := r.vault.Serve(ctx, q); code(err) != bus.FaultLotNotOpen {
			t.Errorf("after=%v: the lot was not closed: %v", after, err)
		}
		r.openLot()
		reply, err := r.vault.Serve(ctx, q)
		if err != nil || len(reply.Results[0].Window) == 0 {
			t.Fatalf("after=%v: %v", after, err)
		}
		checkReceipts(t, r, [][]byte{reply.Results[0].Receipt}, []string{"script"})
	}
}

// A journal that was edited does not open its lot.
func TestRefusesAnEditedJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.withoutDisk()
	r.openLot()
	r.claimUnit(newCard(t, testKMC, 1), 0, 0).session()
	whole := s.journal[testLot]
	for name, edited := range map[string][][]byte{
		"first cut":     whole[1:],
		"middle cut":    append(append([][]byte{}, whole[0]), whole[2:]...),
		"result edited": {bytes.Replace(whole[0], []byte("result script"), []byte("result status"), 1)},
	} {
		s.journal[testLot] = edited
		r.reopenVault()
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// The destruction of a lot key is final: the lot is not opened with a new one.
func TestDestroyedLotStaysDestroyed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	r.claimUnit(newCard(t, testKMC, 1), 0, 0).session()
	r.destroyLot()
	r.reopenVault()
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
		t.Errorf("opened a destroyed lot: %v", err)
	}
}

func TestSealsBundlesOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	seal := func(kind, env, site string, lot perso.Name) []byte {
		b, err := record.New(kind).Str("env", env).Str("site", site).Str("lot", string(lot)).Uint("files", 3).Hex("manifest", make32(7)).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := seal("bundle-seal", "test", "S1", testLot)
	reply, err := r.vault.SealBundle(ctx, bus.SealBundleRequest{Lot: testLot, Manifest: good})
	if err != nil || !ed25519.Verify(r.made.StmtKey, good, reply.Signature) {
		t.Errorf("sealing: %v", err)
	}
	for name, q := range map[string]bus.SealBundleRequest{
		"a receipt head":      {Lot: testLot, Manifest: seal(entry.KindReceiptHead, "test", "S1", testLot)},
		"any text":            {Lot: testLot, Manifest: []byte("00 file\n")},
		"nothing":             {Lot: testLot},
		"more than a seal":    {Lot: testLot, Manifest: append(bytes.Clone(good), "lot L9\n"...)},
		"another environment": {Lot: testLot, Manifest: seal("bundle-seal", "production", "S1", testLot)},
		"another site":        {Lot: testLot, Manifest: seal("bundle-seal", "test", "S2", testLot)},
		"another lot":         {Lot: testLot, Manifest: seal("bundle-seal", "test", "S1", "LOT-2")},
		"a lot never made":    {Lot: "LOT-2", Manifest: seal("bundle-seal", "test", "S1", "LOT-2")},
	} {
		if reply, err := r.vault.SealBundle(ctx, q); code(err) != bus.FaultRefused || reply.Signature != nil {
			t.Errorf("%s: sealed, %v", name, err)
		}
	}
}

func make32(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func TestNewRefusesPartsThatDoNotBelongTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, f := range map[string]func(*keygen.Config){
		"no pin":                  func(c *keygen.Config) { c.RegisterPin = [32]byte{} },
		"no clock":                func(c *keygen.Config) { c.Now = nil },
		"production":              func(c *keygen.Config) { c.Env = perso.EnvProduction },
		"certificates swapped":    func(c *keygen.Config) { c.EUMCert, c.EISCert = c.EISCert, c.EUMCert },
		"certificate of the CI":   func(c *keygen.Config) { c.EUMCert = r.made.CICert },
		"a P-256 key for the log": func(c *keygen.Config) { c.Keys.Log = c.Keys.EUM },
		"no name":                 func(c *keygen.Config) { c.Name = "" },
	} {
		cfg := r.cfg
		f(&cfg)
		if _, err := keygen.New(ctx, cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOnTheBus(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := membus.New(membus.Config{})
	stop, err := keygen.Register(b, r.vault)
	if err != nil {
		t.Fatal(err)
	}
	info, err := bus.Call[bus.VaultInfoReply](ctx, b, bus.VaultSubject(r.cfg.Name, bus.VaultInfo), bus.Empty{})
	want, _ := r.vault.Info(ctx, bus.Empty{})
	if err != nil || !reflect.DeepEqual(info, want) || !bytes.Equal(info.LogKey, r.made.LogKey) {
		t.Errorf("info %+v, %v", info, err)
	}
	if _, err := bus.Call[bus.VaultChallengesReply](ctx, b, bus.VaultSubject(r.cfg.Name, bus.VaultChallenges), bus.VaultChallengesRequest{Lot: "X", Count: 1}); code(err) != bus.FaultLotNotOpen {
		t.Errorf("challenges: %v", err)
	}
	r.token.(*hsmfake.Token).Inject(func(uint64, hsm.Verb, hsm.Key) hsmfake.Fault { return hsmfake.Fault{Before: hsm.ErrBusy} })
	if _, err := bus.Call[bus.OpenLotReply](ctx, b, bus.VaultSubject(r.cfg.Name, bus.VaultOpenLot), r.openRequest()); code(err) != bus.FaultBusy {
		t.Errorf("with a busy HSM: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Many lots are opened in a year; the one opened longest ago gives way, and can be opened again.
func TestClosesTheOldestLot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withoutDisk()
	var requests []bus.OpenLotRequest
	for i := range keygen.MaxOpenLots + 1 {
		rel, q := r.later(uint64(i)), r.openRequest()
		rel.Lot = perso.Name(fmt.Sprintf("L%d", i))
		q.Release = r.sign(rel, "ann", "bob").Encode()
		if reply, err := r.vault.OpenLot(ctx, q); err != nil || !reply.Created || reply.Lot != rel.Lot {
			t.Fatal(reply, err)
		}
		requests = append(requests, q)
	}
	ask := bus.VaultChallengesRequest{Lot: "L0", Count: 1}
	if _, err := r.vault.Challenges(ctx, ask); code(err) != bus.FaultLotNotOpen {
		t.Errorf("the first lot: %v", err)
	}
	if reply, err := r.vault.OpenLot(ctx, requests[0]); err != nil || reply.Created {
		t.Error(reply, err)
	}
	if _, err := r.vault.Challenges(ctx, ask); err != nil {
		t.Error(err)
	}
}

// Requests may come at the same time, on the same lot and while it is closed and opened again.
func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withoutDisk()
	r.openLot()
	units := []*unit{r.claimUnit(newCard(t, testKMC, 1), 0, 0), r.claimUnit(newCard(t, testKMC, 2), 1, 1)}
	items := []bus.ServeItem{units[0].begin(), units[1].begin()}
	note := r.note()
	var wg sync.WaitGroup
	for i, u := range units {
		items[i].Claim, items[i].Act = r.log.prove(u.seq), r.log.prove(items[i].Act.Seq)
		wg.Go(func() {
			for range 20 {
				reply, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: testLot, Checkpoint: note, Items: items[i : i+1]})
				if err != nil || len(reply.Results[0].Window) == 0 {
					t.Errorf("serving unit %d: %v", i, err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			_, err := r.vault.OpenLot(ctx, r.openRequest())
			_, err2 := r.vault.Checkpoint(ctx, r.log.request(0))
			_, err3 := r.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot})
			if err := errors.Join(err, err2, err3); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if reply, err := r.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot}); err != nil || len(reply.Receipts) != 2 {
		t.Errorf("%d receipts, %v", len(reply.Receipts), err)
	}
}
