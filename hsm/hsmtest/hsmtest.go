// Package hsmtest says what a token must do, as a test suite: Run it against
// hsm.Token on real modules and against hsmfake.Token. Whatever a token returns
// is checked with the independent software of the standard library.
//
// It also lends tokens of two real modules to tests of other packages (SoftHSM,
// NSS). Only tests import it.
package hsmtest

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/secret"
)

// Keeper makes, finds and destroys keys.
type Keeper interface {
	Generate(context.Context, hsm.Key) error
	Import(context.Context, hsm.Key, secret.Bytes) error
	Destroy(context.Context, hsm.Key) error
	List(context.Context) ([]hsm.Key, error)
	Has(context.Context, hsm.Key) (bool, error)
	Local(context.Context, hsm.Key) (bool, error)
	KCV(context.Context, hsm.Key) ([hsm.KCVBytes]byte, error)
}

// Signer uses key pairs.
type Signer interface {
	Public(context.Context, hsm.Key) (crypto.PublicKey, error)
	SignDigest(ctx context.Context, k hsm.Key, digest []byte) ([]byte, error)
	SignMessage(ctx context.Context, k hsm.Key, msg []byte) ([]byte, error)
}

// Cipherer uses secret keys.
type Cipherer interface {
	MAC(ctx context.Context, k hsm.Key, msg []byte) ([32]byte, error)
	EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error)
	DecryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error)
	Seal(ctx context.Context, k hsm.Key, plaintext secret.Bytes, aad []byte) ([]byte, error)
	Unseal(ctx context.Context, k hsm.Key, sealed, aad []byte) (secret.Bytes, error)
}

// Device is all that a token can do: the subject of the suite. Users of a
// token declare the two or three methods that they need.
type Device interface {
	Keeper
	Signer
	Cipherer
	Random(ctx context.Context, n int) ([]byte, error)
	CardPair(ctx context.Context) (hsm.CardPair, error)
	Stats() hsm.Stats
}

// Run runs the suite. open is called once per test and may give the same token
// each time; keys of the suite have ids of their own and are destroyed.
func Run(t *testing.T, open func(t *testing.T) Device) { RunWithout(t, nil, open) }

// RunWithout is Run for a module without what some classes need: making their
// keys must be refused with ErrUnsupported.
func RunWithout(t *testing.T, lacks []hsm.Class, open func(t *testing.T) Device) {
	for _, test := range []struct {
		name string
		run  func(*fixture)
	}{
		{"life of a key", lifeOfAKey},
		{"import", importing},
		{"label twice", labelTwice},
		{"missing key", missingKey},
		{"MAC", macs},
		{"EncryptECB", ecb},
		{"DecryptECB", unECB},
		{"3DES", tripleDES},
		{"certificate signatures", certificateSignatures},
		{"message signatures", messageSignatures},
		{"envelope signatures", envelopeSignatures},
		{"seal", seals},
		{"seal broken", sealBroken},
		{"random", random},
		{"card pair", cardPair},
		{"KCV", checkValues},
		{"class refuses", classRefuses},
		{"size refused", sizeRefused},
		{"malformed key", malformedKey},
		{"cancelled", cancelled},
		{"lacking", lacking},
		{"concurrency", concurrency},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(&fixture{T: t, dev: open(t), lacks: lacks})
		})
	}
	// Not parallel: it counts every call of the device.
	t.Run("stats", func(t *testing.T) { stats(&fixture{T: t, dev: open(t), lacks: lacks}) })
}

// A fixture is one test at one device.
type fixture struct {
	*testing.T
	dev   Device
	lacks []hsm.Class
}

// classes are those that the device can have.
func (f *fixture) classes() []hsm.Class {
	return slices.DeleteFunc(hsm.Classes(), func(c hsm.Class) bool { return slices.Contains(f.lacks, c) })
}

// lacking: what a device cannot make it refuses to make, and leaves nothing.
func lacking(f *fixture) {
	for _, c := range f.lacks {
		k := f.key(c, "lacking")
		err := f.dev.Generate(f.Context(), k)
		f.want(err, hsm.ErrUnsupported, c.String())
		f.want(err, hsm.ErrRefused, c.String())
		if has, err := f.dev.Has(f.Context(), k); has || err != nil {
			f.Errorf("%s: there after it was refused: %v", c, err)
		}
	}
}

// key names a key of this test; it does not exist yet.
func (f *fixture) key(c hsm.Class, name string) hsm.Key {
	f.Helper()
	sum := sha256.Sum256([]byte(f.Name()))
	k, err := hsm.NewKey("test", c, hex.EncodeToString(sum[:8])+"-"+name)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := f.dev.Destroy(context.Background(), k); err != nil && !errors.Is(err, hsm.ErrNotFound) {
			f.Errorf("cleaning up: %v", err)
		}
	})
	return k
}

// generated makes a key of this test.
func (f *fixture) generated(c hsm.Class, name string) hsm.Key {
	f.Helper()
	k := f.key(c, name)
	if err := f.dev.Generate(f.Context(), k); err != nil {
		f.Fatal(err)
	}
	return k
}

// imported puts n known bytes in as a key of this test.
func (f *fixture) imported(c hsm.Class, n int) (hsm.Key, []byte) {
	f.Helper()
	k := f.key(c, "in")
	value := known(f.Name(), n)
	if err := f.dev.Import(f.Context(), k, secret.New(known(f.Name(), n))); err != nil {
		f.Fatal(err)
	}
	return k, value
}

// want fails the test unless err is the wanted one.
func (f *fixture) want(err, wanted error, what string) {
	f.Helper()
	if !errors.Is(err, wanted) {
		f.Errorf("%s: got %v, want %v", what, err, wanted)
	}
}

func (f *fixture) ok(err error, what string) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", what, err)
	}
}

// known returns n bytes that depend on the name.
func known(name string, n int) []byte {
	var out []byte
	for i := byte(0); len(out) < n; i++ {
		sum := sha256.Sum256(append([]byte(name), i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}
