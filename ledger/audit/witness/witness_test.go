package witness_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/audit/witness"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// grown is a site's log, and a request to cosign its growth from a size.
func grown(t *testing.T, s *Site, old int64) checkpoint.Request {
	t.Helper()
	log, err := audit.OpenLog(s.Bundle("L1"), Public(s.LogKey))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := log.Consistency(old)
	if err != nil {
		t.Fatal(err)
	}
	q, err := checkpoint.ParseRequest(checkpoint.Request{Old: old, Proof: proof, Note: log.Note}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func newWitness(t *testing.T) (witness.Witness, witness.Known, *Site) {
	t.Helper()
	s := New()
	s.Release("L1", 0, 3, 2)
	return witness.Witness{Dir: t.TempDir(), Key: Must(checkpoint.NewWitnessKey("auditor.example", bytes.Repeat([]byte{3}, 32))),
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}, witness.Known{Origin: Origin, Key: Public(s.LogKey)}, s
}

func more(s *Site, name string) int64 {
	return s.Append(entry.Order{Commit: Hash("%s", name), Good: 1, At: s.Tick()}) + 1
}

// TestCosign: from the first checkpoint on, step by step, and again what was cosigned already.
func TestCosign(t *testing.T) {
	t.Parallel()
	w, known, s := newWitness(t)
	if _, err := w.Cosign(known, grown(t, s, 0), false); !errors.Is(err, witness.ErrUnknown) {
		t.Errorf("never seen: %v", err)
	}
	size := int64(len(s.Entries))
	for i, begin := range []bool{true, false, false} {
		q := grown(t, s, size)
		if begin {
			q = grown(t, s, 0)
		}
		size = int64(len(s.Entries))
		for range 2 { // a crash after remembering: the same is asked again
			signed, err := w.Cosign(known, q, begin)
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			c, words, err := checkpoint.OpenCosigned(signed, known.Origin, known.Key, []checkpoint.Witness{w.Key.Witness})
			if err != nil || c.Size != size || len(words) != 1 {
				t.Errorf("step %d: %v, %v, %v", i, c, words, err)
			}
			begin = false
		}
		more(s, "more")
		more(s, "yet more")
	}
	if _, err := w.Cosign(known, grown(t, s, 0), true); !errors.Is(err, witness.ErrBegun) {
		t.Errorf("begun twice: %v", err)
	}
}

// TestRefuses: whoever rules the site with its log key shows a shorter log, another one of the same length, or a longer one that
// is not the old one grown.
func TestRefuses(t *testing.T) {
	t.Parallel()
	w, known, s := newWitness(t)
	short := grown(t, s, 0)
	fork := *s
	fork.Entries = append([][]byte{}, s.Entries...)
	size := more(s, "one")
	if _, err := w.Cosign(known, grown(t, s, 0), true); err != nil {
		t.Fatal(err)
	}
	more(&fork, "another")
	same := grown(t, &fork, size)
	more(&fork, "and on")
	longer := grown(t, &fork, size)
	more(s, "two")
	late := grown(t, s, size-1)
	spoilt := grown(t, s, size)
	spoilt.Proof[0][0] ^= 1
	for name, c := range map[string]struct {
		q    checkpoint.Request
		want error
	}{"rolled back": {short, witness.ErrRollback}, "forked": {same, witness.ErrFork}, "forked and grown": {longer, witness.ErrFork}, "from elsewhere": {late, witness.ErrBehind}, "proof spoilt": {spoilt, witness.ErrFork}} {
		before, _ := w.Last(known)
		if _, err := w.Cosign(known, c.q, false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := w.Last(known); err != nil || after != before {
			t.Errorf("%s: remembered %v, %v", name, after, err)
		}
	}
	if _, err := w.Cosign(witness.Known{Origin: Origin, Key: Public(Key("other"))}, grown(t, s, size), false); err == nil {
		t.Error("cosigned for another log key")
	}
	if _, err := w.Cosign(known, grown(t, s, size), false); err != nil {
		t.Errorf("after all that, the true log: %v", err)
	}
}

// TestRemembersFirst: a memory that can't be written gives no cosignature; one that was written without an answer gives it the
// next time.
func TestRemembersFirst(t *testing.T) {
	t.Parallel()
	w, known, s := newWitness(t)
	q := grown(t, s, 0)
	gone := w
	gone.Dir = filepath.Join(t.TempDir(), "none")
	if _, err := gone.Cosign(known, q, true); err == nil {
		t.Error("failed, not written: cosigned")
	}
	dead := w
	dead.Now = func() time.Time { panic("power cut") }
	func() {
		defer func() { _ = recover() }()
		_, _ = dead.Cosign(known, q, true)
	}()
	if last, err := w.Last(known); err != nil || last.Size != int64(len(s.Entries)) {
		t.Fatalf("failed, but written: %v, %v", last, err)
	}
	if _, err := w.Cosign(known, q, false); err != nil {
		t.Errorf("asked again: %v", err)
	}
	file := Must(filepath.Glob(filepath.Join(w.Dir, "*.checkpoint")))[0]
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Cosign(known, q, false); err == nil || errors.Is(err, witness.ErrUnknown) {
		t.Errorf("a damaged memory: %v", err)
	}
}

// TestTwoAtOnce: of two forks that are shown at the same time one is cosigned.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	w, known, s := newWitness(t)
	if _, err := w.Cosign(known, grown(t, s, 0), true); err != nil {
		t.Fatal(err)
	}
	size := int64(len(s.Entries))
	fork := *s
	fork.Entries = append([][]byte{}, s.Entries...)
	more(s, "one")
	more(&fork, "another")
	var errs [2]error
	requests := []checkpoint.Request{grown(t, s, size), grown(t, &fork, size)}
	var wait sync.WaitGroup
	for i := range requests {
		wait.Go(func() { _, errs[i] = w.Cosign(known, requests[i], false) })
	}
	wait.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("of two histories were cosigned: %v", errs)
	}
}
