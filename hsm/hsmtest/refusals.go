package hsmtest

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/secret"
)

// useVerbs are the verbs that a class may or may not allow, each with a
// well-formed argument.
func useVerbs(dev Device) map[hsm.Verb]func(context.Context, hsm.Key) error {
	digest := sha256.Sum256(nil)
	return map[hsm.Verb]func(context.Context, hsm.Key) error{
		hsm.VerbPublic: func(ctx context.Context, k hsm.Key) error { _, err := dev.Public(ctx, k); return err },
		hsm.VerbMAC:    func(ctx context.Context, k hsm.Key) error { _, err := dev.MAC(ctx, k, []byte("x")); return err },
		hsm.VerbEncryptECB: func(ctx context.Context, k hsm.Key) error {
			_, err := dev.EncryptECB(ctx, k, make([]byte, 16))
			return err
		},
		hsm.VerbDecryptECB: func(ctx context.Context, k hsm.Key) error {
			_, err := dev.DecryptECB(ctx, k, make([]byte, 16))
			return err
		},
		hsm.VerbSignDigest: func(ctx context.Context, k hsm.Key) error {
			_, err := dev.SignDigest(ctx, k, digest[:])
			return err
		},
		hsm.VerbSignMessage: func(ctx context.Context, k hsm.Key) error {
			_, err := dev.SignMessage(ctx, k, []byte("x"))
			return err
		},
		hsm.VerbSeal: func(ctx context.Context, k hsm.Key) error {
			_, err := dev.Seal(ctx, k, secret.New([]byte("x")), nil)
			return err
		},
		hsm.VerbUnseal: func(ctx context.Context, k hsm.Key) error {
			_, err := dev.Unseal(ctx, k, make([]byte, 45), nil)
			return err
		},
		hsm.VerbKCV: func(ctx context.Context, k hsm.Key) error { _, err := dev.KCV(ctx, k); return err },
	}
}

// allowed is the whole policy of use, written down a second time.
func allowed() map[hsm.Class][]hsm.Verb {
	mac := []hsm.Verb{hsm.VerbMAC, hsm.VerbKCV}
	message := []hsm.Verb{hsm.VerbPublic, hsm.VerbSignMessage}
	cert := []hsm.Verb{hsm.VerbPublic, hsm.VerbSignMessage, hsm.VerbSignDigest}
	ecb := []hsm.Verb{hsm.VerbEncryptECB, hsm.VerbKCV}
	return map[hsm.Class][]hsm.Verb{
		hsm.ClassLot: mac, hsm.ClassReceipt: mac,
		hsm.ClassLog: message, hsm.ClassStatement: message,
		hsm.ClassEUM: cert, hsm.ClassEIS: cert,
		hsm.ClassTransport: ecb, hsm.ClassSMSR: ecb, hsm.ClassKMC: ecb,
		hsm.ClassSeal:         {hsm.VerbSeal},
		hsm.ClassEUMBrainpool: cert, hsm.ClassTransport3DES: ecb, hsm.ClassKMCEMV: ecb, hsm.ClassKMCVISA2: ecb, hsm.ClassEnvelope: message,
		hsm.ClassReceive: {hsm.VerbDecryptECB, hsm.VerbKCV}, hsm.ClassLife: mac, hsm.ClassKiPrint: mac,
	}
}

func classRefuses(f *fixture) {
	for _, c := range f.classes() {
		k := f.generated(c, "use")
		verbs := useVerbs(f.dev)
		for _, v := range allowed()[c] {
			f.ok(verbs[v](f.Context(), k), fmt.Sprintf("%s with %s", v, c))
			delete(verbs, v)
		}
		if c == hsm.ClassSeal { // the 45 zero bytes do not open
			f.want(verbs[hsm.VerbUnseal](f.Context(), k), hsm.ErrSealBroken, "Unseal of zeros")
			delete(verbs, hsm.VerbUnseal)
		}
		for v, call := range verbs {
			f.want(call(f.Context(), k), hsm.ErrRefused, fmt.Sprintf("%s with %s", v, c))
		}
	}
}

func sizeRefused(f *fixture) {
	ctx := f.Context()
	lot, kmc := f.generated(hsm.ClassLot, "size"), f.generated(hsm.ClassKMC, "size")
	eum, seal := f.generated(hsm.ClassEUM, "size"), f.generated(hsm.ClassSeal, "size")
	for _, n := range []int{0, 1<<16 + 1} {
		_, err := f.dev.MAC(ctx, lot, make([]byte, n))
		f.want(err, hsm.ErrRefused, "MAC")
		_, err = f.dev.SignMessage(ctx, eum, make([]byte, n))
		f.want(err, hsm.ErrRefused, "SignMessage")
		_, err = f.dev.Seal(ctx, seal, secret.New(make([]byte, n)), nil)
		f.want(err, hsm.ErrRefused, "Seal")
		_, err = f.dev.Unseal(ctx, seal, make([]byte, 29+n), nil)
		f.want(err, hsm.ErrRefused, "Unseal")
	}
	_, err := f.dev.Seal(ctx, seal, secret.New([]byte{1}), make([]byte, 4097))
	f.want(err, hsm.ErrRefused, "Seal with long aad")
	for _, n := range []int{0, 15, 17, 4096 + 16} {
		_, err := f.dev.EncryptECB(ctx, kmc, make([]byte, n))
		f.want(err, hsm.ErrRefused, "EncryptECB")
	}
	des := f.generated(hsm.ClassTransport3DES, "size")
	for _, n := range []int{0, 4, 12, 4096 + 8} {
		_, err := f.dev.EncryptECB(ctx, des, make([]byte, n))
		f.want(err, hsm.ErrRefused, "EncryptECB with 3DES")
	}
	for _, n := range []int{0, 20, 31, 33, 64} {
		_, err := f.dev.SignDigest(ctx, eum, make([]byte, n))
		f.want(err, hsm.ErrRefused, "SignDigest")
	}
}

func malformedKey(f *fixture) {
	ctx := f.Context()
	good := f.key(hsm.ClassLot, "good")
	for _, k := range []hsm.Key{
		{},
		{Label: good.Label},
		{Label: good.Label, Class: hsm.ClassReceipt},
		{Label: good.Label, Class: 99},
		{Label: "other/test/lot/1", Class: hsm.ClassLot},
		{Label: good.Label + "/x", Class: hsm.ClassLot},
	} {
		f.want(f.dev.Generate(ctx, k), hsm.ErrRefused, "Generate")
		f.want(f.dev.Destroy(ctx, k), hsm.ErrRefused, "Destroy")
		_, err := f.dev.MAC(ctx, k, []byte("x"))
		f.want(err, hsm.ErrRefused, "MAC")
	}
}

func cancelled(f *fixture) {
	k := f.generated(hsm.ClassLot, "ctx")
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	_, err := f.dev.MAC(ctx, k, []byte("x"))
	f.want(err, context.Canceled, "MAC")
	_, err = f.dev.Random(ctx, 16)
	f.want(err, context.Canceled, "Random")
	_, err = f.dev.List(ctx)
	f.want(err, context.Canceled, "List")
}

// stats: each verb is counted once per call, a refused one not at all.
func stats(f *fixture) {
	ctx := f.Context()
	k, seal := f.generated(hsm.ClassLot, "stats"), f.generated(hsm.ClassSeal, "stats")
	before := f.dev.Stats()
	for range 3 {
		_, err := f.dev.MAC(ctx, k, []byte("x"))
		f.ok(err, "MAC")
	}
	_, err := f.dev.Seal(ctx, seal, secret.New([]byte("x")), nil)
	f.ok(err, "Seal")
	_, err = f.dev.EncryptECB(ctx, k, make([]byte, 16))
	f.want(err, hsm.ErrRefused, "EncryptECB")
	after := f.dev.Stats()
	for v, want := range map[hsm.Verb]uint64{
		hsm.VerbMAC: 3, hsm.VerbSeal: 1, hsm.VerbRandom: 1, hsm.VerbEncryptECB: 0, hsm.VerbGenerate: 0,
	} {
		if got := after[v] - before[v]; got != want {
			f.Errorf("%s counted %d times, want %d", v, got, want)
		}
	}
	if got := after.Total() - before.Total(); got != 5 {
		f.Errorf("%d operations in all, want 5", got)
	}
}
