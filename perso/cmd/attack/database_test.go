package attack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// TestHonestSite: without an attack everything works. What is refused below is refused because of the attack.
func TestHonestSite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.makeGood(newChip(t, 1))
	torn := newChip(t, 2)
	if v, err := s.head(torn).tear(30).run(); err != nil || v.Verdict != perso.VerdictRecontact {
		t.Errorf("a chip that was taken away: %+v, %v", v, err)
	}
	s.restart()
	s.makeGood(torn)
	if v, err := s.head(newChip(t, 3)).run(); err != nil || v.Verdict != perso.VerdictReturn {
		t.Errorf("a third chip of two: %+v, %v", v, err)
	}
}

// wantNotGood presents chips until one is answered with something that is neither good nor a hold, and gives its words.
func (s *site) wantNotGood(chip *cardsim.Chip) string {
	s.Helper()
	v, err := s.head(chip).run()
	switch {
	case err != nil:
		return err.Error()
	case v.Verdict == perso.VerdictGood:
		s.Errorf("the chip is good: the attack worked")
	}
	return string(v.Verdict) + " " + string(v.Reason) + ": " + v.Text
}

// TestEditedRows: who may write every row of the database gets no card out of the vault that the officers did not allow.
func TestEditedRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attack func(*site) (next *cardsim.Chip)
		want   string
	}{
		"I7: the good count raised": {func(s *site) *cardsim.Chip {
			s.makeGood(newChip(s.T, 1))
			s.makeGood(newChip(s.T, 2))
			s.sql(`UPDATE lot SET good = 3, spares = 0, state = 'running'`)
			return newChip(s.T, 3)
		}, "no more were released"},
		"I1: a unit used again for another chip": {func(s *site) *cardsim.Chip {
			s.makeGood(newChip(s.T, 1))
			s.sql(`DELETE FROM claim`)
			s.sql(`UPDATE lot SET good_count = 0, next_unit = 0, next_eid = 0`)
			return newChip(s.T, 2)
		}, "claimed otherwise"},
		"I1: a claim moved to another chip": {func(s *site) *cardsim.Chip {
			s.tornChip(1)
			p := personality(s.T, 2)
			chip := p.ChipID()
			s.sql(`UPDATE claim SET chip = $1, last_counter = 0, line = 'line-9'`, chip[:])
			return newChip(s.T, 2)
		}, "not the claimed one"},
		"I1: a claim pointed at another's entry": {func(s *site) *cardsim.Chip {
			chip := s.tornChip(1)
			s.makeGood(newChip(s.T, 2))
			s.sql(`UPDATE claim SET seq = (SELECT seq FROM claim WHERE unit = 1) WHERE unit = 0`)
			return chip
		}, "vault-refused"},
		"I7: the release exchanged for one that nobody signed": {func(s *site) *cardsim.Chip {
			r := s.release
			r.Spares--
			r.Good++
			forged := s.sign(r, "ann")
			hash := forged.Hash()
			s.sql(`INSERT INTO statement (hash, kind, ord, lot, signed) VALUES ($1, $2, 0, $3, $4)`, hash[:], statement.KindRelease, string(s.lot), forged.Encode())
			s.sql(`UPDATE lot SET release_hash = $1`, hash[:])
			s.restart()
			return newChip(s.T, 1)
		}, "different person and role"},
		"I7: the release's text edited": {func(s *site) *cardsim.Chip {
			s.sql(`UPDATE statement SET signed = $1 WHERE kind = 'release'`, bytes.Replace(s.signed.Encode(), []byte("\ngood 2\nspares 1"), []byte("\ngood 3\nspares 0"), 1))
			s.restart()
			return newChip(s.T, 1)
		}, "not the one that the lot was released by"},
		"I7: the officers' register exchanged": {func(s *site) *cardsim.Chip {
			s.sql(`UPDATE statement SET signed = $1 WHERE lot = ''`, bytes.Replace(s.opening(s.signed).Register[0], []byte("role security"), []byte("role quality"), 1))
			s.restart()
			return newChip(s.T, 1)
		}, "do not agree what officers said"},
		"I7: another script": {func(s *site) *cardsim.Chip {
			s.sql(`UPDATE script_blob SET data = $1`, append(bytes.Clone(s.script), 0))
			s.restart()
			return newChip(s.T, 1)
		}, "not the one released"},
		"I7: another profile package": {func(s *site) *cardsim.Chip {
			s.sql(`UPDATE package_blob SET data = $1`, append(bytes.Clone(s.pkg), 0))
			s.restart()
			return newChip(s.T, 1)
		}, "not the one released"},
		"I1: a certificate of the attacker's": {func(s *site) *cardsim.Chip {
			chip := s.tornChip(66)
			var cert, key []byte
			s.scan(`SELECT cert, cert_key FROM claim`, nil, &cert, &key)
			cert[len(cert)-1] ^= 1
			s.sql(`UPDATE claim SET cert = $1`, cert)
			return chip
		}, "not signed here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			got := s.wantNotGood(c.attack(s))
			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

// tornChip is a chip that was taken away after some commands, with an open claim.
func (s *site) tornChip(after int) *cardsim.Chip {
	s.Helper()
	chip := newChip(s.T, 1)
	if v, err := s.head(chip).tear(max(after, 20)).run(); err != nil || v.Verdict != perso.VerdictRecontact {
		s.Fatalf("torn after %d: %+v, %v", after, v, err)
	}
	return chip
}

// TestEditedLog (I5): the log is what it was signed as. Whoever changes an entry, cuts entries off and writes others, or
// brings back yesterday's database, gets nothing signed and nothing served any more.
func TestEditedLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attack func(*site)
		want   string
	}{
		"an outcome rewritten": {func(s *site) {
			s.edit("outcome", "verdict good", "verdict reject-live")
		}, "two roots"},
		"a claim rewritten": {func(s *site) {
			s.edit("claim", "unit 0", "unit 1")
		}, "two roots"},
		"cut short and written again": {func(s *site) {
			var size int64
			s.scan(`SELECT size FROM log_head`, nil, &size)
			s.sql(`DELETE FROM log_entry WHERE seq >= $1`, size-2)
			e := entry.Alarm{Lot: s.lot, Reason: perso.ReasonTwin, Present: perso.Presentation{Line: "line-1"}, At: s.now}
			for i := range int64(2) {
				e.Present.Number++
				body, err := e.Encode()
				s.must(err)
				s.sql(`INSERT INTO log_entry (seq, kind, subject, body) VALUES ($1, 'alarm', $2, $3)`, size-2+i, []byte("x"), body)
			}
		}, "two roots"},
		"cut short": {func(s *site) {
			var size int64
			s.scan(`SELECT size FROM log_head`, nil, &size)
			s.sql(`DELETE FROM log_entry WHERE seq >= $1`, size-2)
			s.sql(`UPDATE log_head SET size = $1, signed_size = 0, note = NULL`, size-2)
		}, "rolled back"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.makeGood(newChip(t, 1))
			c.attack(s)
			s.restart()
			for range 3 {
				if got := s.wantNotGood(newChip(t, 2)); !strings.Contains(got, c.want) && !strings.Contains(got, "checking consistency") {
					t.Errorf("got %q, want %q in it", got, c.want)
				}
			}
		})
	}
}

// edit rewrites an entry of a kind.
func (s *site) edit(kind, from, to string) {
	s.Helper()
	var body []byte
	var seq int64
	s.scan(`SELECT seq, body FROM log_entry WHERE kind = $1`, []any{kind}, &seq, &body)
	if !strings.Contains(string(body), from) {
		s.Fatalf("no %q in %s", from, body)
	}
	s.sql(`UPDATE log_entry SET body = $1 WHERE seq = $2`, bytes.Replace(body, []byte(from), []byte(to), 1), seq)
}

// TestDatabaseOfYesterday (I5): a copy of the database that was made earlier is put back. The units made since would be made
// again; the vault knows how long the log was.
func TestDatabaseOfYesterday(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := ledgertest.Create(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOn(t, db)
	s.makeGood(newChip(t, 1))
	s.must(s.db.Close())
	yesterday, err := os.ReadFile(path)
	s.must(err)
	open := func(path string) {
		s.db, err = ledgertest.Open(s.ctx, path)
		s.must(err)
		s.startLedger()
	}
	open(path)
	s.makeGood(newChip(t, 2))
	s.must(s.db.Close())
	old := filepath.Join(t.TempDir(), "ledger.db")
	s.must(os.WriteFile(old, yesterday, 0o600))
	s.startVault()
	open(old)
	for range 3 {
		if got := s.wantNotGood(newChip(t, 3)); !strings.Contains(got, "rolled back") && !strings.Contains(got, "checking consistency") {
			t.Errorf("got %q", got)
		}
	}
}

// TestOldSessionInNewRows (I4): the line brings the state of another session with the next act, and the database says that
// this is what went out.
func TestOldSessionInNewRows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	chip := newChip(t, 1)
	before := s.head(chip).tear(30)
	s.must(discard(before.run()))
	old := before.sent[len(before.sent)-1].State
	if len(old) == 0 {
		t.Fatal("the session before has no state")
	}
	h := s.head(chip)
	q, err := h.open()
	s.must(err)
	a, err := h.ask(q)
	s.must(err)
	s.sql(fmt.Sprintf(`UPDATE act SET served = x'%x' WHERE seq = (SELECT MAX(seq) FROM act)`, sha256.Sum256(old)))
	b, err := h.ask(bus.ActRequest{Lot: s.lot, Present: h.at, N: 1, Session: q.Session, Responses: h.play(a.Window), State: old})
	if err != nil || b.Verdict == nil || b.Verdict.Reason != perso.ReasonVaultRefused || !strings.Contains(b.Verdict.Text, "state is not of session") {
		t.Errorf("got %+v, %v", b.Verdict, err)
	}
}

func discard(v bus.Verdict, err error) error {
	if err == nil && v.Verdict == perso.VerdictGood {
		return errors.New("good")
	}
	return err
}
