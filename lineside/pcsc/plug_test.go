package pcsc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/card"
)

// plugFile, in a process of its own, is what testdata/plugged.c reads.
const plugFile = "PLUGGED"

// TestPlugging runs readersComeAndGo in a process whose libpcsclite is a double: readers cannot be plugged into a pcscd with virtual
// ones (theEnd), and what pcscd says of them is the library's own way to say it (header_test.go).
func TestPlugging(t *testing.T) {
	t.Parallel()
	if file := os.Getenv(plugFile); file != "" {
		readersComeAndGo(t, file)
		return
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skipf("SKIP: no C compiler to build a double of libpcsclite with: %v", err)
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), cc, "-shared", "-fPIC", "-o", filepath.Join(dir, libraryName), filepath.Join("testdata", "plugged.c")).CombinedOutput(); err != nil {
		t.Fatalf("building the double: %v\n%s", err, out)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestPlugging$", "-test.v")
	child.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir, plugFile+"="+filepath.Join(dir, "readers"))
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// plug writes which readers there are, all at once.
func plug(t *testing.T, file string, readers ...string) {
	t.Helper()
	text := ""
	for _, r := range readers {
		text += r + "\n"
	}
	if err := os.WriteFile(file+".next", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

func readersComeAndGo(t *testing.T, file string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	plug(t, file)
	s, err := Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	listed := func(want ...string) {
		t.Helper()
		if got, err := s.Readers(ctx); err != nil || !slices.Equal(got, want) {
			t.Errorf("readers %q, %v, want %q", got, err, want)
		}
	}
	listed()
	one, two := NewReader("One"), NewReader("Two")
	if _, err := one.Contact(ctx); !errors.Is(err, ErrReader) {
		t.Errorf("a reader that is still to come: %v", err)
	}
	awaitWhile(ctx, t, s, file, nil, func() { plug(t, file, "One", "Two") })
	listed("One", "Two")
	for _, r := range []*Reader{one, two} {
		if atr, err := r.Contact(ctx); err != nil || len(atr) == 0 {
			t.Fatalf("contact in a reader that has come: %X, %v", atr, err)
		}
	}
	known, err := s.States(ctx, "One", "Two")
	if err != nil {
		t.Fatal(err)
	}
	states := awaitWhile(ctx, t, s, file, known, func() { plug(t, file, "Two") })
	if len(states) != 2 || !states[0].Flags.Has(Unknown) || !states[1].Flags.Has(Present) {
		t.Errorf("one was pulled out: %+v", states)
	}
	if answer, err := one.Transmit(ctx, []byte{0, 0xA4, 0, 0}); !errors.Is(err, ErrReader) || errors.Is(err, card.ErrMute) {
		t.Errorf("a command to a reader that was pulled out: %X, %v", answer, err)
	}
	if _, err := two.Transmit(ctx, []byte{0, 0xA4, 0, 0}); err != nil {
		t.Errorf("the other reader: %v", err)
	}
	if _, err := one.Contact(ctx); !errors.Is(err, ErrReader) {
		t.Errorf("the next contact: %v", err)
	}
	plug(t, file, "Two", "One!")
	if _, err := one.Contact(ctx); !errors.Is(err, ErrBusy) {
		t.Errorf("plugged in again, and held by another program: %v", err)
	}
	plug(t, file, "Two", "One")
	if atr, err := one.Contact(ctx); err != nil || len(atr) == 0 {
		t.Errorf("let go: %X, %v", atr, err)
	}
	if err := errors.Join(one.Lift(ctx), two.Lift(ctx), one.Close(), two.Close()); err != nil {
		t.Error(err)
	}
	plug(t, file, "Two", "One?")
	if known, err = s.States(ctx, "Two", "One"); err != nil {
		t.Fatal(err)
	}
	states = awaitWhile(ctx, t, s, file, known, func() { plug(t, file, "Two", "One") })
	if len(states) != 2 || bytes.Equal(states[1].ATR, known[1].ATR) || !bytes.Equal(states[0].ATR, states[1].ATR) {
		t.Errorf("a chip came into a virtual reader: %+v", states)
	}
}

// awaitWhile does something while somebody waits for a change, and gives what he hears.
func awaitWhile(ctx context.Context, t *testing.T, s *Session, file string, known []State, do func()) []State {
	t.Helper()
	waiting := func() string {
		b, _ := os.ReadFile(file + ".waiting")
		return string(b)
	}
	before := waiting()
	heard := make(chan []State, 1)
	go func() {
		states, err := s.Await(ctx, known)
		if err != nil {
			t.Errorf("waiting for a change: %v", err)
		}
		heard <- states
	}()
	for waiting() == before && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	do()
	return <-heard
}
