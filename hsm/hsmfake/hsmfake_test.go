package hsmfake_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/hsm/hsmtest"
)

func stream(name string) *rand.ChaCha8 { return rand.NewChaCha8(sha256.Sum256([]byte(name))) }

func TestConformance(t *testing.T) {
	t.Parallel()
	hsmtest.Run(t, func(t *testing.T) hsmtest.Device { return hsmfake.New(stream(t.Name())) })
}

func mustKey(t *testing.T, c hsm.Class) hsm.Key {
	t.Helper()
	k, err := hsm.NewKey("test", c, "1")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSameStreamSameToken(t *testing.T) {
	t.Parallel()
	run := func(seed string) (trace string) {
		tok := hsmfake.New(stream(seed))
		eum, log := mustKey(t, hsm.ClassEUM), mustKey(t, hsm.ClassLog)
		for _, k := range []hsm.Key{eum, log} {
			if err := tok.Generate(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				sig, err := tok.SignMessage(t.Context(), k, []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				trace += string(sig)
			}
		}
		return trace
	}
	first := run("a")
	if again := run("a"); again != first {
		t.Error("same stream, other signatures")
	}
	if first == run("b") {
		t.Error("other stream, same signatures")
	}
}

func TestInjectedFaults(t *testing.T) {
	t.Parallel()
	boom := hsm.Error{Op: "C_GenerateKey", CKR: 0x30}
	k := mustKey(t, hsm.ClassLot)
	for _, test := range []struct {
		name  string
		fault hsmfake.Fault
		done  bool
	}{
		{"failed, not done", hsmfake.Fault{Before: boom}, false},
		{"failed, but done", hsmfake.Fault{After: boom}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tok := hsmfake.New(stream(test.name))
			tok.Inject(func(n uint64, v hsm.Verb, _ hsm.Key) hsmfake.Fault {
				if n == 1 && v == hsm.VerbGenerate {
					return test.fault
				}
				return hsmfake.Fault{}
			})
			if err := tok.Generate(t.Context(), k); !errors.Is(err, hsm.ErrTokenGone) {
				t.Errorf("got %v", err)
			}
			if has, err := tok.Has(t.Context(), k); err != nil || has != test.done {
				t.Errorf("Has: %v, %v", has, err)
			}
		})
	}
}

func TestSlowCallHoldsOnlyItself(t *testing.T) {
	t.Parallel()
	tok := hsmfake.New(stream("slow"))
	entered, release := make(chan struct{}), make(chan struct{})
	tok.Inject(func(n uint64, _ hsm.Verb, _ hsm.Key) hsmfake.Fault {
		if n > 1 {
			return hsmfake.Fault{}
		}
		return hsmfake.Fault{Slow: func() { close(entered); <-release }}
	})
	done := make(chan error)
	go func() {
		_, err := tok.Random(context.Background(), 8)
		done <- err
	}()
	<-entered
	if _, err := tok.Random(t.Context(), 8); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
