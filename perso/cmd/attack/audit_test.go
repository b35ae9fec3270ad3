package attack

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/bundle"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// archivist is the vault as a bundle's writer sees it.
type archivist struct{ *keygen.Vault }

func (a archivist) Info(ctx context.Context) (bus.VaultInfoReply, error) {
	return a.Vault.Info(ctx, bus.Empty{})
}

// audit writes the lot's bundle and has it verified with the ceremony's pins.
func (s *site) audit() audit.Report {
	s.Helper()
	target := filepath.Join(s.TempDir(), "bundle")
	s.must(bundle.Write(s.ctx, bundle.Config{Source: bundle.FromDB(s.db, s.ledger), Vault: archivist{s.vault}, OpenLot: s.ledger.OpenLot,
		Delivered: func(perso.Name, string) ([]byte, error) { return nil, fs.ErrNotExist }}, s.lot, target))
	r, err := audit.Verify(os.DirFS(target), audit.Options{RegisterPin: s.made.RegisterPin, LogKey: s.made.LogKey, StatementKey: s.made.StmtKey})
	s.must(err)
	return r
}

// forge appends an entry as a database administrator does who knows the tables.
func (s *site) forge(e interface{ Encode() ([]byte, error) }, kind string) {
	s.Helper()
	body, err := e.Encode()
	s.must(err)
	var size int64
	s.scan(`SELECT size FROM log_head`, nil, &size)
	s.sql(`INSERT INTO log_entry (seq, kind, subject, body) VALUES ($1, $2, $3, $4)`, size, kind, []byte("x"), body)
	s.sql(`UPDATE log_head SET size = $1`, size+1)
	s.restart()
}

// claimOf reads the claim of the only chip.
func (s *site) claimOf() entry.Claim {
	s.Helper()
	var body []byte
	s.scan(`SELECT body FROM log_entry WHERE kind = 'claim'`, nil, &body)
	c, err := entry.ParseClaim(body)
	s.must(err)
	return c
}

// TestAuditFinds: some lies leave no trace that the vault could see when they are told. They are in the log for ever, and
// the auditor needs nothing but the bundle and three public keys.
func TestAuditFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attack func(*site)
		want   string // invariant, empty for nothing
	}{
		"nothing": {func(s *site) { s.makeGood(newChip(s.T, 1)) }, ""},
		"a good outcome that nobody proved": {func(s *site) {
			s.must(discard(s.head(newChip(s.T, 1)).tear(30).run()))
			c := s.claimOf()
			s.forge(entry.Outcome{Lot: c.Lot, EID: c.EID, Chip: c.Chip, Verdict: perso.VerdictGood, Reason: perso.ReasonNone, Session: perso.Session{1},
				Receipt: [32]byte{1}, Present: c.Present, At: s.now.Add(1e9)}, entry.KindOutcome)
		}, "I4"},
		"a lost claim opened again and finished": {func(s *site) {
			chip := s.tornChip(30)
			for range 2 { // the chip breaks off until it is given up
				s.must(discard(s.head(chip).tear(10).run()))
			}
			s.sql(`UPDATE claim SET state = 'open', outcome_seq = 0, failures = 0, sessions = 0`)
			s.sql(`UPDATE lot SET open_count = 1, lost_count = 0`)
			s.sql(`DELETE FROM lost_unit`)
			s.makeGood(chip)
		}, "I1"},
		"a chip claimed that never came in": {func(s *site) {
			s.sql(`DELETE FROM chip`)
			c := entry.Claim{Lot: s.lot, Unit: 0, Index: 0, EID: s.release.EIDs.First(), Release: s.signed.Hash(), Present: perso.Presentation{Line: "line-1"}, At: s.now.Add(1e9)}
			for n := range uint32(good + spares + 6) {
				c.Unit, c.Index = perso.Unit(n), perso.EIDIndex(n)
				c.Chip = chipID(s.T, 100+n)
				s.forge(c, entry.KindClaim)
			}
		}, "I7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.attack(s)
			r := s.audit()
			if c.want == "" {
				if !r.OK() || !r.Pinned() {
					t.Errorf("found %v", r.Findings)
				}
				return
			}
			var all []string
			for _, f := range r.Findings {
				all = append(all, f.String())
			}
			if !strings.Contains(strings.Join(all, "\n"), "["+c.want+"]") {
				t.Errorf("found %q, want something of %s", all, c.want)
			}
		})
	}
}
