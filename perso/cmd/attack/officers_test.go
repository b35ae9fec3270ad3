package attack

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// TestReleasesThatNobodyMayGive (I7): two officers of different person and role, over exactly these bytes; nothing less, and
// nothing that merely reads like it, opens a lot at the vault, whatever the ledger says.
func TestReleasesThatNobodyMayGive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.token.Inject(nil)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	s.must(err)
	r := s.release
	r.Lot, r.EIDs, r.ICCIDs, r.IMSIs = "LOT-2", behind(t, r.EIDs), behind(t, r.ICCIDs), behind(t, r.IMSIs)
	edited := func(from, to string) func() bus.OpenLotRequest {
		return func() bus.OpenLotRequest {
			q := s.opening(s.sign(r, "ann", "bob"))
			q.Release = bytes.Replace(q.Release, []byte(from), []byte(to), 1)
			return q
		}
	}
	for name, c := range map[string]struct {
		ask  func() bus.OpenLotRequest
		want string
	}{
		"no officer":        {func() bus.OpenLotRequest { return s.opening(s.sign(r)) }, "different person and role"},
		"one officer":       {func() bus.OpenLotRequest { return s.opening(s.sign(r, "bob")) }, "different person and role"},
		"one officer twice": {func() bus.OpenLotRequest { return s.opening(s.sign(r, "bob", "bob")) }, "signed twice"},
		"one role":          {func() bus.OpenLotRequest { return s.opening(s.sign(r, "ann", "cid")) }, "different person and role"},
		"a stranger's signature in an officer's name": {func() bus.OpenLotRequest {
			signed := s.sign(r, "ann")
			signed.Sign("bob", stranger)
			return s.opening(signed)
		}, "does not verify"},
		"a stranger": {func() bus.OpenLotRequest {
			signed := s.sign(r, "ann", "bob")
			signed.Sign("eve", stranger)
			return s.opening(signed)
		}, "no officer"},
		"signatures of another release": {func() bus.OpenLotRequest {
			signed := s.sign(r, "ann", "bob")
			signed.Signatures = s.signed.Signatures
			return s.opening(signed)
		}, "does not verify"},
		"more good units":  {edited("\ngood 2", "\ngood 3"), "does not verify"},
		"another receiver": {edited("delivery auc-demo", "delivery auc-evil"), "does not verify"},
		"a closing for a release": {func() bus.OpenLotRequest {
			body, err := statement.Close{Env: perso.EnvTest, Lot: "LOT-2", At: s.now, Nonce: [32]byte{1}}.Encode()
			s.must(err)
			signed := statement.Signed{Body: body}
			signed.Sign("ann", s.officers["ann"])
			signed.Sign("bob", s.officers["bob"])
			return s.opening(signed)
		}, "kind"},
		"a constant with two values": {func() bus.OpenLotRequest {
			twice := r
			twice.Constants = append(twice.Constants[:len(twice.Constants):len(twice.Constants)], twice.Constants[0])
			return s.opening(s.sign(twice, "ann", "bob"))
		}, "two values"},
		"another environment": {func() bus.OpenLotRequest {
			other := r
			other.Env = perso.EnvProduction
			return s.opening(s.sign(other, "ann", "bob"))
		}, "environment"},
		"a register of the attacker's": {func() bus.OpenLotRequest {
			q := s.opening(s.sign(r, "ann", "bob"))
			q.Register = [][]byte{s.ownRegister(stranger)}
			return q
		}, "pinned"},
		"an addition that one officer signed": {func() bus.OpenLotRequest {
			q := s.opening(s.sign(r, "ann", "bob"))
			q.Register = append(q.Register, s.change(statement.KindAdd, "eve", stranger, "ann"))
			return q
		}, "different person and role"},
		"an addition from before the register": {func() bus.OpenLotRequest {
			q := s.opening(s.sign(r, "ann", "bob"))
			add := s.change(statement.KindAdd, "eve", stranger, "ann", "bob")
			q.Register = append(q.Register, add, s.change(statement.KindAdd, "eva", stranger, "ann", "bob"))
			return q
		}, "it follows"},
		"an addition of a known key": {func() bus.OpenLotRequest {
			q := s.opening(s.sign(r, "ann", "bob"))
			q.Register = append(q.Register, s.change(statement.KindAdd, "eve", s.officers["ann"], "ann", "bob"))
			return q
		}, "same key"},
	} {
		_, err := s.vault.OpenLot(s.ctx, c.ask())
		if refused(t, err, c.want); t.Failed() {
			t.Fatalf("%s", name)
		}
	}
	if _, err := s.vault.OpenLot(s.ctx, s.opening(s.sign(r, "ann", "bob"))); err != nil {
		t.Errorf("the true release: %v", err)
	}
}

// ownRegister is a register of two people that the attacker made up.
func (s *site) ownRegister(key ed25519.PrivateKey) []byte {
	s.Helper()
	_, other, err := ed25519.GenerateKey(rand.Reader)
	s.must(err)
	g := statement.Genesis{Env: perso.EnvTest, Site: "site-1", At: s.now, Nonce: [32]byte{1}, Officers: []statement.Officer{
		{ID: "ann", Person: "Eve", Role: statement.RoleProduction, Key: key.Public().(ed25519.PublicKey)},
		{ID: "bob", Person: "Eva", Role: statement.RoleSecurity, Key: other.Public().(ed25519.PublicKey)}}}
	body, err := g.Encode()
	s.must(err)
	signed := statement.Signed{Body: body}
	signed.Sign("ann", key)
	signed.Sign("bob", other)
	return signed.Encode()
}

// change is a statement that follows the register's genesis.
func (s *site) change(kind string, who perso.Name, key ed25519.PrivateKey, by ...perso.Name) []byte {
	s.Helper()
	body, err := statement.Change{Kind: kind, Prev: s.made.RegisterPin, At: s.now, Nonce: [32]byte{2},
		Officer: statement.Officer{ID: who, Person: "Person " + string(who), Role: statement.RoleSecurity, Key: key.Public().(ed25519.PublicKey)}}.Encode()
	s.must(err)
	signed := statement.Signed{Body: body}
	for _, name := range by {
		signed.Sign(name, s.officers[name])
	}
	return signed.Encode()
}

// TestVaultSignsNothingElse: the statement key says two things, receipt heads and bundle seals, and nobody on the bus can
// have it say a third.
func TestVaultSignsNothingElse(t *testing.T) {
	t.Parallel()
	l := opened(t)
	for _, kind := range []string{"receipt-head", "release", "officer-register", "log-genesis", "outcome"} {
		body, err := record.New(kind).Str("env", "test").Str("site", "site-1").Str("lot", string(l.lot)).Uint("files", 1).Hex("manifest", bytes.Repeat([]byte{1}, 32)).Bytes()
		l.must(err)
		_, err = l.vault.SealBundle(l.ctx, bus.SealBundleRequest{Lot: l.lot, Manifest: body})
		refused(t, err, "kind")
	}
	_, err := l.vault.SealBundle(l.ctx, bus.SealBundleRequest{Lot: l.lot, Manifest: []byte(l.cfg.Origin + "\n1\nAAAA\n")})
	refused(t, err, "sealing bundle")
}
