package life_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

var (
	ctx     = context.Background()
	errDisk = errors.New("disk")
	owner   = life.Owner{Env: perso.EnvTest, Site: "site-1", Vault: "vault-1"}
)

// disk is a vault's state: the real file, whose writes can fail before or after they were done.
type disk struct {
	*journal.Memory
	t      *testing.T
	dir    string
	writes int
	fail   int // the write that fails, from 1; 0: none
	after  bool
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "memory")
	m, err := journal.CreateMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{Memory: m, t: t, dir: dir}
}

func (d *disk) RememberLife(r life.Record) error {
	if d.writes++; d.writes != d.fail {
		return d.Memory.RememberLife(r)
	}
	if d.after {
		return errors.Join(errDisk, d.Memory.RememberLife(r))
	}
	return errDisk
}

// copied is what somebody has who copies the folder now.
func (d *disk) copied() *disk {
	d.t.Helper()
	dir := filepath.Join(d.t.TempDir(), "memory")
	if err := os.CopyFS(dir, os.DirFS(d.dir)); err != nil {
		d.t.Fatal(err)
	}
	m, err := journal.OpenMemory(dir)
	if err != nil {
		d.t.Fatal(err)
	}
	return &disk{Memory: m, t: d.t, dir: dir}
}

// world is a token and a clock.
type world struct {
	token *hsmfake.Token
	now   time.Time
}

func newWorld() *world {
	return &world{token: hsmfake.New(mrand.NewChaCha8([32]byte{1})), now: time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)}
}

func (w *world) config(d life.Store) life.Config {
	return life.Config{Owner: owner, Token: w.token, Store: d, Folder: "vault", Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func (w *world) begin(t *testing.T, d life.Store) *life.Life {
	t.Helper()
	l, err := life.Begin(ctx, w.config(d))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (w *world) keys(t *testing.T) (labels []string) {
	t.Helper()
	all, err := w.token.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		labels = append(labels, k.Label)
	}
	return labels
}

func ended(l *life.Life) bool {
	select {
	case <-l.Ended():
		return true
	default:
		return false
	}
}

// helps checks that a person is told what to do.
func helps(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "start it from the folder in which it ran last") || !strings.Contains(err.Error(), `vault "vault-1"`) {
		t.Errorf("nobody learns from it what to do: %v", err)
	}
}

// From life to life the birth stays, the token holds one key, and each restart is a life.
func TestLives(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), newDisk(t)
	l := w.begin(t, d)
	birth, before := l.Birth(), w.keys(t)
	for n := uint64(2); n < 6; n++ {
		if n%2 == 0 {
			l = w.begin(t, d)
		} else if err := l.Turn(ctx); err != nil {
			t.Fatal(err)
		}
		r, found, err := d.Life()
		if err != nil || !found || r.Count != n || r.Birth != birth || l.Birth() != birth {
			t.Errorf("life %d: %+v, %v", n, r, err)
		}
		after := w.keys(t)
		if len(after) != 1 || slices.Equal(after, before) || !strings.HasPrefix(after[0], "persoline/test/life/vault-1.") {
			t.Errorf("life %d: %q after %q", n, after, before)
		}
		before = after
	}
	if err := errors.Join(l.Present(ctx), l.Look(ctx)); err != nil || ended(l) {
		t.Error(err)
	}
}

// A copied folder is refused when the original went on; when the copy was started first, the original ends at its next look.
func TestCopiedFolder(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), newDisk(t)
	original := w.begin(t, d)
	stale := d.copied()
	if err := original.Turn(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := life.Begin(ctx, w.config(stale))
	if !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("an older copy began: %v", err)
	}
	helps(t, err)
	if err := original.Look(ctx); err != nil {
		t.Fatalf("the refused copy did harm: %v", err)
	}

	fresh := w.begin(t, d.copied()) // to the hour like the original: it is the vault now
	if err := original.Present(ctx); err != nil {
		t.Errorf("before it looks: %v", err)
	}
	w.now = w.now.Add(life.DefaultCheck)
	for range 2 {
		err = original.Present(ctx)
		if !errors.Is(err, life.ErrOvertaken) || !ended(original) {
			t.Errorf("the original serves on: %v", err)
		}
		helps(t, err)
	}
	for name, f := range map[string]func() error{"Look": func() error { return original.Look(ctx) }, "Turn": func() error { return original.Turn(ctx) },
		"a restart": func() error { _, err := life.Begin(ctx, w.config(d)); return err }} {
		if err := f(); !errors.Is(err, life.ErrOvertaken) {
			t.Errorf("%s of the original: %v", name, err)
		}
	}
	w.now = w.now.Add(life.DefaultRenew)
	if err := fresh.Present(ctx); err != nil {
		t.Errorf("the copy: %v", err)
	}
}

// A machine that is resumed from a snapshot has its old memory and its old disk, and ends: at once when its clock was set
// right, and when it was not, within Check of its own.
func TestResumedSnapshot(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), newDisk(t)
	past := w.begin(t, d)
	w.now = w.now.Add(life.DefaultRenew)
	if err := w.begin(t, d.copied()).Present(ctx); err != nil { // what really went on
		t.Fatal(err)
	}
	w.now = w.now.Add(-2 * life.DefaultRenew)
	if err := past.Present(ctx); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("resumed: %v", err)
	}
	if _, err := life.Begin(ctx, w.config(d)); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("and started again: %v", err)
	}
}

// Two processes that got into one folder, past its lock, are two all the same.
func TestOneFolder(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), newDisk(t)
	first := w.begin(t, d)
	second := w.begin(t, d)
	if err := first.Turn(ctx); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("the first goes on: %v", err)
	}
	if err := errors.Join(second.Turn(ctx), second.Look(ctx)); err != nil {
		t.Error(err)
	}
}

// Renew turns by itself, so that a state older than that is refused although nothing was done.
func TestOldStateIsRefusedAfterRenew(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), newDisk(t)
	l := w.begin(t, d)
	old := d.copied()
	w.now = w.now.Add(life.DefaultRenew)
	if err := l.Present(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := life.Begin(ctx, w.config(old)); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("began: %v", err)
	}
}

// An empty state, of a vault that the token knows, begins nothing; nor does one that kept something and does not know itself.
func TestLostState(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), newDisk(t)
	w.begin(t, d)
	before := w.keys(t)
	_, err := life.Begin(ctx, w.config(newDisk(t)))
	if !errors.Is(err, life.ErrLost) || !slices.Equal(before, w.keys(t)) {
		t.Errorf("an empty state: %v, %q then %q", err, before, w.keys(t))
	}
	helps(t, err)
	other := newWorld()
	c := other.config(newDisk(t))
	c.Used = true
	if _, err := life.Begin(ctx, c); !errors.Is(err, life.ErrLost) || other.keys(t) != nil {
		t.Errorf("a used state, and a token that knows nothing: %v", err)
	}
	if _, err := life.Begin(ctx, other.config(d)); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("another token: %v", err)
	}
}

// Vaults and sites on one token do not see one another.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	w := newWorld()
	first := w.begin(t, newDisk(t))
	for _, o := range []life.Owner{{Env: perso.EnvTest, Site: "site-1", Vault: "vault-2"}, {Env: perso.EnvTest, Site: "site-2", Vault: "vault-1"},
		{Env: perso.EnvProduction, Site: "site-1", Vault: "vault-1"},
		{Env: perso.EnvProduction, Site: perso.Name(strings.Repeat("s", perso.MaxNameChars)), Vault: perso.Name(strings.Repeat("v", perso.MaxNameChars))}} {
		c := w.config(newDisk(t))
		c.Owner = o
		l, err := life.Begin(ctx, c)
		if err != nil || l.Birth() == first.Birth() {
			t.Fatalf("%+v: %v", o, err)
		}
	}
	all, err := w.token.List(ctx)
	if err != nil || len(all) != 5 {
		t.Fatal(all, err)
	}
	seen := map[perso.Name]int{}
	for _, k := range all {
		v, ok := life.VaultOf(k)
		if !ok {
			t.Errorf("%q is of no vault", k)
		}
		seen[v]++
	}
	if seen["vault-1"] != 3 || seen["vault-2"] != 1 {
		t.Errorf("%v", seen)
	}
	if err := errors.Join(first.Look(ctx), first.Turn(ctx)); err != nil {
		t.Error(err)
	}
}

// TestTurnBreaks: whatever fails in a turn, on the disk or on the token, undone or done, this vault begins its next life from
// what is left, in the same process or in a new one; the token ends with one key; and who copied the folder before is refused.
func TestTurnBreaks(t *testing.T) {
	t.Parallel()
	type point struct {
		verb hsm.Verb // 0: the disk
		n    int      // which of them
	}
	reached := map[point]bool{}
	for _, verb := range []hsm.Verb{0, hsm.VerbList, hsm.VerbMAC, hsm.VerbRandom, hsm.VerbGenerate, hsm.VerbDestroy} {
		for n := 1; n <= 3; n++ {
			for _, done := range []bool{false, true} {
				for _, anew := range []bool{false, true} {
					if turnBreaks(t, verb, n, done, anew) {
						reached[point{verb, n}] = true
					}
				}
			}
		}
	}
	want := map[point]bool{{0, 1}: true, {0, 2}: true, {hsm.VerbList, 1}: true, {hsm.VerbList, 2}: true, {hsm.VerbList, 3}: true,
		{hsm.VerbMAC, 1}: true, {hsm.VerbMAC, 2}: true, {hsm.VerbRandom, 1}: true, {hsm.VerbGenerate, 1}: true, {hsm.VerbDestroy, 1}: true}
	if !maps.Equal(reached, want) {
		t.Errorf("points of failure reached: %v, want %v", reached, want)
	}
}

// turnBreaks breaks one turn at its n-th use of a verb, and reports whether it came so far.
func turnBreaks(t *testing.T, verb hsm.Verb, n int, done, anew bool) (reached bool) {
	t.Helper()
	w, d := newWorld(), newDisk(t)
	l := w.begin(t, d)
	before := d.copied()
	if verb == 0 {
		d.writes, d.fail, d.after = 0, n, done
	} else {
		w.token.Inject(func(_ uint64, v hsm.Verb, _ hsm.Key) (f hsmfake.Fault) {
			if v != verb {
				return f
			}
			if n--; n != 0 {
				return f
			}
			if done {
				return hsmfake.Fault{After: hsm.ErrSessionLost}
			}
			return hsmfake.Fault{Before: hsm.ErrSessionLost}
		})
	}
	err := l.Turn(ctx)
	if err == nil {
		return false
	}
	if errors.Is(err, life.ErrOvertaken) || ended(l) {
		t.Errorf("%v %d done=%v: a device's failure reads as %v", verb, n, done, err)
	}
	w.token.Inject(nil)
	d.fail = 0
	if anew {
		l = w.begin(t, d)
	} else if err := l.Present(ctx); err != nil {
		t.Errorf("%v %d done=%v: it does not go on: %v", verb, n, done, err)
	}
	if err := l.Look(ctx); err != nil || len(w.keys(t)) != 1 {
		t.Errorf("%v %d done=%v anew=%v: %v, keys %q", verb, n, done, anew, err, w.keys(t))
	}
	if _, err := life.Begin(ctx, w.config(before)); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("%v %d done=%v anew=%v: the folder as it was before begins: %v", verb, n, done, anew, err)
	}
	return true
}

// TestTwoTurnAtOnce: at whatever step of one process's turn another one, with a copy of the folder of any moment of that turn,
// begins, one of them is the vault afterwards and the other is not.
func TestTwoTurnAtOnce(t *testing.T) {
	t.Parallel()
	for taken := uint64(1); taken < 12; taken++ { // the copy is taken before this call of the turn
		for begun := taken; begun < 12; begun++ { // and started before this one
			w, d := newWorld(), &inMemory{}
			first := w.begin(t, d)
			var copied inMemory
			var second *life.Life
			var secondErr error
			var calls uint64
			inside := false
			w.token.Inject(func(uint64, hsm.Verb, hsm.Key) (f hsmfake.Fault) {
				if inside {
					return f
				}
				calls++
				at := calls
				f.Slow = func() {
					inside = true
					defer func() { inside = false }()
					if at == taken {
						copied = *d
					}
					if at == begun {
						second, secondErr = life.Begin(ctx, w.config(&copied))
					}
				}
				return f
			})
			firstErr := first.Turn(ctx)
			w.token.Inject(nil)
			if begun > calls {
				continue // the turn was over
			}
			one, two := firstErr == nil && first.Look(ctx) == nil, secondErr == nil && second.Look(ctx) == nil
			if one && two {
				t.Errorf("copied at %d, begun at %d: both are the vault", taken, begun)
			}
			if !one && !two {
				t.Errorf("copied at %d, begun at %d: neither is: %v; %v", taken, begun, firstErr, secondErr)
			}
		}
	}
}

// inMemory is a state that costs no disk.
type inMemory struct {
	record life.Record
	found  bool
}

func (s *inMemory) Life() (life.Record, bool, error) { return s.record, s.found, nil }

func (s *inMemory) RememberLife(r life.Record) error {
	s.record, s.found = r, true
	return nil
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if _, found, err := d.Life(); found || err != nil {
		t.Fatal(found, err)
	}
	for _, r := range []life.Record{
		{Birth: life.Birth{1}, Also: []life.Nonce{{2}}},
		{Birth: life.Birth{1}, Count: 7, Now: life.Nonce{3}, Proof: [32]byte{4}},
		{Birth: life.Birth{1}, Count: 7, Now: life.Nonce{3}, Proof: [32]byte{4}, Words: statement.Words{Count: 5, Chain: [32]byte{6}}},
		{Birth: life.Birth{1}, Count: 8, Now: life.Nonce{3}, Proof: [32]byte{4}, Also: slices.Repeat([]life.Nonce{{9}}, life.MaxAlso)},
	} {
		if err := d.RememberLife(r); err != nil {
			t.Fatal(err)
		}
		got, found, err := d.Life()
		if err != nil || !found || got.Birth != r.Birth || got.Count != r.Count || got.Now != r.Now || got.Proof != r.Proof || got.Words != r.Words || !slices.Equal(got.Also, r.Also) {
			t.Errorf("%+v read back as %+v, %v", r, got, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "another kind": "persoline/1 vault-lot\n",
		"a short birth": "persoline/1 vault-life\nbirth 01\ncount 0\nnow -\nalso -\nproof -\n",
		"more":          "persoline/1 vault-life\nbirth 01000000000000000000000000000000\ncount 0\nnow -\nalso -\nproof -\nx y\n",
		"no nonce":      "persoline/1 vault-life\nbirth 01000000000000000000000000000000\ncount 0\nnow 12\nalso -\nproof -\n"} {
		if err := os.WriteFile(filepath.Join(d.dir, "life"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, _, err := d.Life(); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}
