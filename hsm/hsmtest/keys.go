package hsmtest

import (
	"crypto/aes"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/secret"
)

func lifeOfAKey(f *fixture) {
	ctx := f.Context()
	for _, c := range f.classes() {
		k := f.key(c, "life")
		has, err := f.dev.Has(ctx, k)
		f.ok(err, "Has before")
		if has {
			f.Errorf("%s: there before it was made", c)
		}
		f.ok(f.dev.Generate(ctx, k), "Generate")
		if has, err = f.dev.Has(ctx, k); err != nil || !has {
			f.Errorf("%s: Has after Generate: %v, %v", c, has, err)
		}
		if local, err := f.dev.Local(ctx, k); err != nil || !local {
			f.Errorf("%s: Local of a generated key: %v, %v", c, local, err)
		}
		list, err := f.dev.List(ctx)
		f.ok(err, "List")
		if !slices.Contains(list, k) {
			f.Errorf("%s: not listed", c)
		}
		f.ok(f.dev.Destroy(ctx, k), "Destroy")
		if has, err = f.dev.Has(ctx, k); err != nil || has {
			f.Errorf("%s: Has after Destroy: %v, %v", c, has, err)
		}
		f.want(f.dev.Destroy(ctx, k), hsm.ErrNotFound, "Destroy again")
		f.ok(f.dev.Generate(ctx, k), "Generate after Destroy")
	}
}

func importing(f *fixture) {
	ctx := f.Context()
	sizes := map[hsm.Class][]int{
		hsm.ClassLot: {32}, hsm.ClassReceipt: {32}, hsm.ClassKiPrint: {32}, hsm.ClassSeal: {32}, hsm.ClassSMSR: {16},
		hsm.ClassTransport: {16, 24, 32}, hsm.ClassKMC: {16, 24, 32},
		hsm.ClassTransport3DES: {16, 24}, hsm.ClassKMCEMV: {16, 24}, hsm.ClassKMCVISA2: {16, 24}, hsm.ClassReceive: {16, 24, 32},
	}
	for _, c := range hsm.Classes() {
		for _, n := range []int{0, 8, 16, 24, 31, 32, 33} {
			k := f.key(c, "sized")
			err := f.dev.Import(ctx, k, secret.New(known("import", n)))
			if !slices.Contains(sizes[c], n) {
				f.want(err, hsm.ErrRefused, c.String()+": wrong size")
				continue
			}
			f.ok(err, "Import")
			if local, err := f.dev.Local(ctx, k); err != nil || local {
				f.Errorf("%s: Local of an imported key: %v, %v", c, local, err)
			}
			f.ok(f.dev.Destroy(ctx, k), "Destroy")
		}
	}
}

func labelTwice(f *fixture) {
	ctx := f.Context()
	k := f.generated(hsm.ClassLot, "twice")
	before, err := f.dev.MAC(ctx, k, []byte("x"))
	f.ok(err, "MAC")
	f.want(f.dev.Generate(ctx, k), hsm.ErrExists, "Generate over a key")
	f.want(f.dev.Import(ctx, k, secret.New(known("x", 32))), hsm.ErrExists, "Import over a key")
	pair := f.generated(hsm.ClassEUM, "twice")
	f.want(f.dev.Generate(ctx, pair), hsm.ErrExists, "Generate over a pair")
	after, err := f.dev.MAC(ctx, k, []byte("x"))
	f.ok(err, "MAC")
	if before != after {
		f.Error("the key changed")
	}
}

func missingKey(f *fixture) {
	ctx := f.Context()
	_, err := f.dev.MAC(ctx, f.key(hsm.ClassLot, "none"), []byte("x"))
	f.want(err, hsm.ErrNotFound, "MAC")
	_, err = f.dev.Public(ctx, f.key(hsm.ClassEUM, "none"))
	f.want(err, hsm.ErrNotFound, "Public")
	_, err = f.dev.Local(ctx, f.key(hsm.ClassKMC, "none"))
	f.want(err, hsm.ErrNotFound, "Local")
	_, err = f.dev.KCV(ctx, f.key(hsm.ClassKMC, "none"))
	f.want(err, hsm.ErrNotFound, "KCV")
}

func checkValues(f *fixture) {
	ctx := f.Context()
	k, value := f.imported(hsm.ClassKMC, 16)
	block, err := aes.NewCipher(value)
	f.ok(err, "software AES")
	ones := slices.Repeat([]byte{1}, 16)
	block.Encrypt(ones, ones)
	got, err := f.dev.KCV(ctx, k)
	f.ok(err, "KCV")
	if !slices.Equal(got[:], ones[:3]) {
		f.Errorf("KCV of an AES key is %x, want %x", got, ones[:3])
	}

	k, value = f.imported(hsm.ClassTransport3DES, 24)
	triple, err := des.NewTripleDESCipher(value)
	f.ok(err, "software 3DES")
	zeros := make([]byte, 8)
	triple.Encrypt(zeros, zeros)
	got, err = f.dev.KCV(ctx, k)
	f.ok(err, "KCV")
	if !slices.Equal(got[:], zeros[:3]) {
		f.Errorf("KCV of a 3DES key is %x, want %x", got, zeros[:3])
	}

	k, value = f.imported(hsm.ClassReceive, 32)
	block, err = aes.NewCipher(value)
	f.ok(err, "software AES")
	ones = slices.Repeat([]byte{1}, 16)
	block.Decrypt(ones, ones)
	got, err = f.dev.KCV(ctx, k)
	f.ok(err, "KCV")
	if !slices.Equal(got[:], ones[:3]) {
		f.Errorf("KCV of a receive key is %x, want %x", got, ones[:3])
	}

	k, value = f.imported(hsm.ClassReceipt, 32)
	h := hmac.New(sha256.New, value)
	h.Write([]byte("persoline key check value v1"))
	got, err = f.dev.KCV(ctx, k)
	f.ok(err, "KCV")
	if want := h.Sum(nil)[:3]; !slices.Equal(got[:], want) {
		f.Errorf("KCV of a MAC key is %x, want %x", got, want)
	}
}

func random(f *fixture) {
	seen := map[string]bool{}
	for _, n := range []int{16, 16, 16, 32, 1024} {
		b, err := f.dev.Random(f.Context(), n)
		f.ok(err, "Random")
		if len(b) != n || seen[string(b)] {
			f.Errorf("Random(%d): %d bytes, seen before: %v", n, len(b), seen[string(b)])
		}
		seen[string(b)] = true
	}
	for _, n := range []int{-1, 0, 1025} {
		_, err := f.dev.Random(f.Context(), n)
		f.want(err, hsm.ErrRefused, "Random of a wrong size")
	}
}

// cardPair: scalar and point belong together, and no two pairs are alike.
func cardPair(f *fixture) {
	ctx := f.Context()
	seen := map[string]bool{}
	for range 10 {
		pair, err := f.dev.CardPair(ctx)
		f.ok(err, "CardPair")
		err = pair.Private.Reveal(func(b []byte) error {
			own, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b)
			if err == nil && !own.PublicKey.Equal(pair.Public) {
				err = errors.New("the scalar is that of another point")
			}
			seen[string(b)] = true
			return err
		})
		f.ok(err, "the pair in software")
		pair.Private.Wipe()
	}
	if len(seen) != 10 {
		f.Errorf("%d pairs of 10 are different", len(seen))
	}
}
