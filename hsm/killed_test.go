package hsm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/secret"
)

const (
	envMaker = "PERSO_TEST_MAKER" // of a child: class of the key, how many were made before it, folder
	// envKill is of testdata/killwrite.c.
	envKill = "PERSO_TEST_KILL_WRITE"
	// maxWrites is more than SoftHSM needs for any key.
	maxWrites = 200
)

// left is what a child finds of the key that the child before it was killed over.
type left struct {
	Has, Local, Refused bool
	Use                 string // why it can't be used
	Barred              bool   // that is ErrRefused
}

// TestKilledMakers kills a process that makes a key before each of SoftHSM's writes, which come one by one. What is left either says that
// it was made inside, and then it is whole; or it can't be used, which is refused for good, and gives way to one that can: so whoever makes
// keys may trust Has and Local together, and Has alone not, and tells such a key from one that somebody imported.
func TestKilledMakers(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	reftest.RequireTool(t, "cc")
	preload := filepath.Join(t.TempDir(), "killwrite.so")
	if out, err := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-o", preload, "testdata/killwrite.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, class := range []hsm.Class{hsm.ClassLot, hsm.ClassSeal, hsm.ClassEUM} {
		t.Run(class.String(), func(t *testing.T) {
			t.Parallel()
			m := maker{t: t, class: class, preload: preload, dir: hsmtest.TempDir(t)}
			found := map[string]int{}
			for n := 1; found["whole"] == 0; n++ {
				if n > maxWrites {
					t.Fatalf("it is never made: %v", found)
				}
				l := m.killAt(n)
				what := "nothing"
				switch {
				case l.Has && l.Local:
					what = "whole"
				case l.Has:
					what = "not made inside"
				case l.Refused:
					what = "unfit"
				}
				found[what]++
				if (what == "whole") != (l.Use == "") || what == "not made inside" && !l.Barred {
					t.Errorf("killed before write %d: %+v", n-1, l)
				}
			}
			t.Logf("killed before each write: %v", found)
			if found["nothing"] < 3 { // the first of which was never begun
				t.Errorf("nobody was killed: %v", found)
			}
		})
	}
}

// maker makes keys of a class in processes that are killed.
type maker struct {
	t       *testing.T
	class   hsm.Class
	preload string
	dir     string
}

// killAt has a key made in a process that is killed before its nth write, after a look at the key before: nothing, when n is 1.
func (m maker) killAt(n int) (l left) {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Close()
	var said bytes.Buffer
	cmd := exec.CommandContext(m.t.Context(), self, "-test.run", "^$", "-test.bench", "^BenchmarkKilledMaker$", "-test.benchtime", "1x")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", envMaker, m.class, n, m.dir), "LD_PRELOAD="+m.preload)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &said, &said, []*os.File{w}
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		m.t.Fatal(err)
	}
	decoded := json.NewDecoder(r).Decode(&l)
	err = cmd.Wait()
	if decoded != nil || err != nil && cmd.ProcessState.Exited() {
		m.t.Fatalf("before write %d: %v, %v\n%s", n, decoded, err, &said)
	}
	return l
}

// BenchmarkKilledMaker is a child of TestKilledMakers.
func BenchmarkKilledMaker(b *testing.B) {
	var class, dir string
	var n int
	if _, err := fmt.Sscan(os.Getenv(envMaker), &class, &n, &dir); err != nil {
		b.Skip("SKIP: it is a child of TestKilledMakers")
	}
	err := softhsm.Use(dir)
	if n == 1 {
		err = hsmtest.NewSoftHSM(dir)
	}
	if err != nil {
		b.Fatal(err)
	}
	tok, err := hsm.Open(b.Context(), hsmtest.TestConfig(hsmtest.RequireSoftHSM(b)))
	if err != nil {
		b.Fatal(err)
	}
	c, err := hsm.ParseClass(class)
	if err != nil {
		b.Fatal(err)
	}
	l, err := found(b, tok, key(b, c, "k"+strconv.Itoa(n-1)))
	if err == nil {
		err = json.NewEncoder(os.NewFile(3, "answer")).Encode(l)
	}
	if err == nil {
		err = os.Setenv(envKill, strconv.Itoa(n))
	}
	if err == nil {
		err = tok.Generate(b.Context(), key(b, c, "k"+strconv.Itoa(n)))
	}
	if err != nil {
		b.Fatal(err)
	}
}

// found looks at what is left of a key, has it made anew if it is not whole, and takes it away: a full token is slow.
func found(b *testing.B, tok *hsm.Token, k hsm.Key) (l left, err error) {
	l.Has, err = tok.Has(b.Context(), k)
	if l.Refused = errors.Is(err, hsm.ErrRefused); l.Refused {
		err = nil
	}
	if l.Has {
		l.Local, err = tok.Local(b.Context(), k)
	}
	if err != nil {
		return l, err
	}
	use := used(b, tok, k)
	if use == nil {
		return l, nil
	}
	l.Use, l.Barred = use.Error(), errors.Is(use, hsm.ErrRefused)
	if err := tok.Destroy(b.Context(), k); err != nil && !errors.Is(err, hsm.ErrNotFound) {
		return l, err
	}
	return l, errors.Join(tok.Generate(b.Context(), k), used(b, tok, k), tok.Destroy(b.Context(), k))
}

// used uses a key in the way of its class.
func used(b *testing.B, tok *hsm.Token, k hsm.Key) (err error) {
	switch k.Class {
	case hsm.ClassLot:
		_, err = tok.MAC(b.Context(), k, []byte{1})
	case hsm.ClassSeal:
		_, err = tok.Seal(b.Context(), k, secret.New([]byte{1}), nil)
	default:
		_, err = tok.SignDigest(b.Context(), k, make([]byte, 32))
	}
	return err
}
