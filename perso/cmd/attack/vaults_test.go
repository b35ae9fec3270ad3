package attack

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// secondVault gives the site a vault beside the log vault, on the same token, with a memory and receipts of its own.
func (s *site) secondVault() {
	s.Helper()
	dir := filepath.Join(s.TempDir(), "vault-2")
	s.must(os.MkdirAll(filepath.Join(dir, "journal"), 0o700))
	receipts, err := journal.Open(filepath.Join(dir, "journal"))
	s.must(err)
	s.Cleanup(func() { _ = receipts.Close() })
	memory, err := journal.CreateMemory(filepath.Join(dir, "memory"))
	s.must(err)
	two := s.cfg
	two.Name, two.LogVault, two.Journal, two.Memory = "vault-2", s.cfg.Name, receipts, memory
	s.cfg2 = &two
	first, err := journal.OpenMemory(s.made.MemoryDir)
	s.must(err)
	s.cfg.Assignments = first
}

// newTwoVaultSite is a site whose second lot, of the second vault, has one good chip. It gives the first lot.
func newTwoVaultSite(t *testing.T) (s *site, first perso.Name) {
	t.Helper()
	db, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s = newSiteOf(t, db, true)
	s.orderLot(nil)
	first = s.lot
	s.must(s.orderMore(second))
	s.makeGood(newChip(t, 1))
	if at, err := s.ledger.VaultOf(s.ctx, s.lot); err != nil || at != s.cfg2.Name {
		t.Fatalf("the second lot is vault %q's, %v", at, err)
	}
	return s, first
}

var second = map[string]any{"order": "DEMO-2027-0099", "eid": "allocate", "iccid": "allocate", "imsi": "allocate"}

// TestHonestVaults: without an attack both vaults work, side by side and after a restart.
func TestHonestVaults(t *testing.T) {
	t.Parallel()
	s, first := newTwoVaultSite(t)
	hers := s.lot
	for i, lot := range []perso.Name{first, hers, first} {
		s.restart()
		s.lot = lot
		s.makeGood(newChip(t, uint32(2+i)))
	}
}

// TestLotMovedToAnotherVault: who may write every row of the database has no lot made by two vaults, nor by another one than the
// log vault gave it to.
func TestLotMovedToAnotherVault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attack func(s *site, first perso.Name)
		want   string
	}{
		"I1: to the log vault": {func(s *site, _ perso.Name) {
			s.sql(`UPDATE assignment SET vault = 'vault-1' WHERE lot = $1`, string(s.lot))
		}, `is vault "vault-2"'s, this is vault "vault-1"`},
		"I1: from the log vault, with its own words": {func(s *site, first perso.Name) {
			s.lot = first
			s.makeGood(newChip(s.T, 2))
			s.sql(`UPDATE assignment SET vault = 'vault-2' WHERE lot = $1`, string(first))
		}, `is vault "vault-1"'s, this is vault "vault-2"`},
		"I1: with words that he signed himself": {func(s *site, first perso.Name) {
			s.lot = first
			body, err := statement.Assigned{Env: perso.EnvTest, Site: "site-1", Lot: first, Release: s.releaseOf(first), Vault: "vault-2", Birth: s.cfg2.Life.Birth(), At: s.now}.Encode()
			s.must(err)
			forged := statement.Signed{Body: body}
			_, key, err := ed25519.GenerateKey(rand.Reader)
			s.must(err)
			forged.Sign("vault-1", key)
			hash := forged.Hash()
			s.sql(`INSERT INTO statement (hash, kind, ord, lot, signed) VALUES ($1, $2, 4, $3, $4)`, hash[:], statement.KindAssigned, string(first), forged.Encode())
			s.sql(`UPDATE assignment SET vault = 'vault-2', statement = $1 WHERE lot = $2`, hash[:], string(first))
		}, "is not signed by vault"},
		"I1: forgotten, to be given away again": {func(s *site, _ perso.Name) {
			s.sql(`DELETE FROM assignment WHERE lot = $1`, string(s.lot))
			s.sql(`UPDATE lot SET state = 'complete' WHERE lot <> $1`, string(s.lot)) // so that the log vault is the idlest
			s.restart()
			s.must(s.ledger.OpenLot(s.ctx, s.lot)) // has it assigned
			if at, err := s.ledger.VaultOf(s.ctx, s.lot); err != nil || at != "vault-2" {
				s.Errorf("the log vault gave lot %s to %q as well, %v", s.lot, at, err)
			}
			s.sql(`UPDATE assignment SET vault = 'vault-1' WHERE lot = $1`, string(s.lot))
		}, `is vault "vault-2"'s`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, first := newTwoVaultSite(t)
			c.attack(s, first)
			s.restart()
			if got := s.wantNotGood(newChip(t, 5)); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want a refusal with %q", got, c.want)
			}
		})
	}
}

// TestIdentitiesReleasedTwice: a database that forgot which numbers were issued has officers sign them again, for the other
// vault. The log vault did not forget (I1).
func TestIdentitiesReleasedTwice(t *testing.T) {
	t.Parallel()
	db, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOf(t, db, true)
	s.orderLot(nil)
	s.sql(`DELETE FROM issued_range`)
	refused(t, s.orderMore(map[string]any{"order": "DEMO-2027-0099"}), `of lot "L-DEMO-2027-0002"`)
}

// releaseOf is the hash of a lot's release.
func (s *site) releaseOf(lot perso.Name) (hash [32]byte) {
	s.Helper()
	var raw []byte
	s.scan(`SELECT release_hash FROM lot WHERE lot = $1`, []any{string(lot)}, &raw)
	copy(hash[:], raw)
	return hash
}
