package hsmtest

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"
	"slices"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/internal/brainpool"
	"github.com/persoline/persoline/perso/secret"
)

func macs(f *fixture) {
	for _, c := range []hsm.Class{hsm.ClassLot, hsm.ClassReceipt} {
		k, value := f.imported(c, 32)
		for _, n := range []int{1, 55, 64, 1000, 1 << 16} {
			msg := known("msg", n)
			got, err := f.dev.MAC(f.Context(), k, msg)
			f.ok(err, "MAC")
			h := hmac.New(sha256.New, value)
			h.Write(msg)
			if !hmac.Equal(got[:], h.Sum(nil)) {
				f.Errorf("%s: MAC of %d bytes differs from software", c, n)
			}
		}
	}
}

func ecb(f *fixture) {
	ctx := f.Context()
	for _, c := range []hsm.Class{hsm.ClassTransport, hsm.ClassKMC, hsm.ClassSMSR} {
		for _, size := range []int{16, 24, 32} {
			if c == hsm.ClassSMSR && size != 16 {
				continue
			}
			k, value := f.imported(c, size)
			block, err := aes.NewCipher(value)
			f.ok(err, "software AES")
			plain := known("plain", 48)
			got, err := f.dev.EncryptECB(ctx, k, plain)
			f.ok(err, "EncryptECB")
			want := make([]byte, len(plain))
			for i := 0; i < len(plain); i += 16 {
				block.Encrypt(want[i:], plain[i:])
			}
			if !bytes.Equal(got, want) {
				f.Errorf("%s, %d bytes: differs from software", c, size)
			}
			f.ok(f.dev.Destroy(ctx, k), "Destroy")
		}
	}
}

// unECB: what the operator encrypted in software is opened, one block or as many as a call takes, and blocks of zeros too.
func unECB(f *fixture) {
	ctx := f.Context()
	for _, size := range []int{16, 24, 32} {
		k, value := f.imported(hsm.ClassReceive, size)
		block, err := aes.NewCipher(value)
		f.ok(err, "software AES")
		for _, plain := range [][]byte{known("ki", 16), known("ki", 32), known("ki", 4096), make([]byte, 32)} {
			sealed := make([]byte, len(plain))
			for i := 0; i < len(plain); i += 16 {
				block.Encrypt(sealed[i:], plain[i:])
			}
			got, err := f.dev.DecryptECB(ctx, k, sealed)
			f.ok(err, "DecryptECB")
			if !bytes.Equal(got, plain) {
				f.Errorf("%d bytes under a key of %d: differs from software", len(plain), size)
			}
		}
		for _, n := range []int{0, 15, 17, 4112} {
			_, err := f.dev.DecryptECB(ctx, k, make([]byte, n))
			f.want(err, hsm.ErrRefused, "DecryptECB of a wrong size")
		}
		f.ok(f.dev.Destroy(ctx, k), "Destroy")
	}
}

// tripleDES: blocks of 8 bytes under keys of both lengths, also without parity.
func tripleDES(f *fixture) {
	ctx := f.Context()
	for _, size := range []int{16, 24} {
		k, value := f.imported(hsm.ClassTransport3DES, size)
		block, err := des.NewTripleDESCipher(slices.Concat(value, value)[:24])
		f.ok(err, "software 3DES")
		plain := known("plain", 24)
		got, err := f.dev.EncryptECB(ctx, k, plain)
		f.ok(err, "EncryptECB")
		want := make([]byte, len(plain))
		for i := 0; i < len(plain); i += 8 {
			block.Encrypt(want[i:], plain[i:])
		}
		if !bytes.Equal(got, want) {
			f.Errorf("3DES with %d bytes: differs from software", size)
		}
		f.ok(f.dev.Destroy(ctx, k), "Destroy")
	}
	one := known("one", 8)
	for name, value := range map[string][]byte{
		"K1 twice":        slices.Concat(one, one),
		"K1 K1 K2":        slices.Concat(one, one, known("two", 8)),
		"K1 K2 K2":        slices.Concat(known("two", 8), one, one),
		"but for parity":  slices.Concat(one, []byte{one[0] ^ 1}, one[1:]),
		"K1, three times": slices.Concat(one, one, one),
	} {
		f.want(f.dev.Import(ctx, f.key(hsm.ClassTransport3DES, "weak"), secret.New(value)), hsm.ErrRefused, name)
	}
}

func certificateSignatures(f *fixture) {
	ctx := f.Context()
	for _, c := range []hsm.Class{hsm.ClassEUM, hsm.ClassEIS, hsm.ClassEUMBrainpool} {
		if slices.Contains(f.lacks, c) {
			continue
		}
		k := f.generated(c, "sign")
		pub, err := f.dev.Public(ctx, k)
		f.ok(err, "Public")
		if _, p256 := pub.(*ecdsa.PublicKey); p256 == (c == hsm.ClassEUMBrainpool) {
			f.Fatalf("%s: public key is a %T", c, pub)
		}
		digest := sha256.Sum256([]byte("tbs"))
		seen := map[string]bool{}
		for range 20 {
			sig, err := f.dev.SignDigest(ctx, k, digest[:])
			f.ok(err, "SignDigest")
			if !verifyDigest(pub, digest[:], sig) {
				f.Fatalf("%s: software refuses the signature", c)
			}
			seen[string(sig)] = true
		}
		if len(seen) < 2 {
			f.Errorf("%s: signatures are not randomized", c)
		}
		sig, err := f.dev.SignMessage(ctx, k, []byte("tbs"))
		f.ok(err, "SignMessage")
		if !verifyDigest(pub, digest[:], sig) {
			f.Errorf("%s: software refuses the message's signature", c)
		}
	}
}

func messageSignatures(f *fixture) {
	ctx := f.Context()
	for _, c := range []hsm.Class{hsm.ClassLog, hsm.ClassStatement} {
		k := f.generated(c, "sign")
		pub, err := f.dev.Public(ctx, k)
		f.ok(err, "Public")
		msg := known("statement", 700)
		sig, err := f.dev.SignMessage(ctx, k, msg)
		f.ok(err, "SignMessage")
		if !Verify(pub, msg, sig) {
			f.Errorf("%s: software refuses the signature", c)
		}
		msg[0] ^= 1
		if Verify(pub, msg, sig) {
			f.Errorf("%s: signature of another message", c)
		}
	}
}

// envelopeSignatures: RSA of 3072 bits, checked in software; the same message
// has the same signature, so that an export made again is the same.
func envelopeSignatures(f *fixture) {
	if slices.Contains(f.lacks, hsm.ClassEnvelope) {
		return // lacking asserts that
	}
	ctx := f.Context()
	k := f.generated(hsm.ClassEnvelope, "sign")
	pub, err := f.dev.Public(ctx, k)
	f.ok(err, "Public")
	key, ok := pub.(*rsa.PublicKey)
	if !ok || key.N.BitLen() != 3072 || key.E != 65537 {
		f.Fatalf("public key is a %T", pub)
	}
	for _, n := range []int{1, 384, 1 << 16} {
		msg := known("sealed", n)
		sig, err := f.dev.SignMessage(ctx, k, msg)
		f.ok(err, "SignMessage")
		digest := sha512.Sum512(msg)
		if err := rsa.VerifyPKCS1v15(key, crypto.SHA512, digest[:], sig); err != nil {
			f.Errorf("%d bytes: software refuses the signature: %v", n, err)
		}
		again, err := f.dev.SignMessage(ctx, k, msg)
		if err != nil || !bytes.Equal(again, sig) {
			f.Errorf("%d bytes: signed again it differs: %v", n, err)
		}
	}
}

// Verify checks a signature of SignMessage in software.
func Verify(pub any, msg, sig []byte) bool {
	if ed, ok := pub.(ed25519.PublicKey); ok {
		return ed25519.Verify(ed, msg, sig)
	}
	digest := sha256.Sum256(msg)
	return verifyDigest(pub, digest[:], sig)
}

func verifyDigest(pub any, digest, sig []byte) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return len(sig) == 64 && ecdsa.Verify(pub, digest,
			new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case hsm.BrainpoolKey:
		curve := brainpool.P256r1()
		q, err := curve.Parse(pub[:])
		return err == nil && curve.Verify(q, digest, sig)
	}
	return false
}

func seals(f *fixture) {
	ctx := f.Context()
	k, value := f.imported(hsm.ClassSeal, 32)
	gcm := f.gcm(value)
	for _, n := range []int{1, 16, 32, 1 << 16} {
		for _, aad := range [][]byte{nil, []byte("claim 7")} {
			plain := known("plain", n)
			sealed, err := f.dev.Seal(ctx, k, secret.New(slices.Clone(plain)), aad)
			f.ok(err, "Seal")
			if len(sealed) != n+29 || sealed[0] != 1 {
				f.Fatalf("%d bytes sealed are %d bytes of version %d", n, len(sealed), sealed[0])
			}
			soft, err := gcm.Open(nil, sealed[1:13], sealed[13:], aad)
			if err != nil || !bytes.Equal(soft, plain) {
				f.Errorf("%d bytes: software reads another plaintext: %v", n, err)
			}
			back, err := f.dev.Unseal(ctx, k, sealed, aad)
			f.ok(err, "Unseal")
			if !back.Equal(secret.New(slices.Clone(plain))) {
				f.Errorf("%d bytes: Unseal gives another plaintext", n)
			}
		}
	}
	a, err := f.dev.Seal(ctx, k, secret.New([]byte("same")), nil)
	f.ok(err, "Seal")
	b, err := f.dev.Seal(ctx, k, secret.New([]byte("same")), nil)
	f.ok(err, "Seal")
	if bytes.Equal(a[:13], b[:13]) {
		f.Error("a nonce was used twice")
	}
}

func (f *fixture) gcm(value []byte) cipher.AEAD {
	block, err := aes.NewCipher(value)
	f.ok(err, "software AES")
	gcm, err := cipher.NewGCM(block)
	f.ok(err, "software GCM")
	return gcm
}

func sealBroken(f *fixture) {
	ctx := f.Context()
	k, other := f.generated(hsm.ClassSeal, "a"), f.generated(hsm.ClassSeal, "b")
	aad := []byte("claim 7")
	sealed, err := f.dev.Seal(ctx, k, secret.New(known("op", 16)), aad)
	f.ok(err, "Seal")
	for i := range sealed {
		bad := slices.Clone(sealed)
		bad[i] ^= 0x40
		_, err := f.dev.Unseal(ctx, k, bad, aad)
		f.want(err, hsm.ErrSealBroken, "flipped bit")
	}
	_, err = f.dev.Unseal(ctx, k, sealed, []byte("claim 8"))
	f.want(err, hsm.ErrSealBroken, "other aad")
	_, err = f.dev.Unseal(ctx, k, sealed, nil)
	f.want(err, hsm.ErrSealBroken, "no aad")
	_, err = f.dev.Unseal(ctx, k, sealed[:len(sealed)-1], aad)
	f.want(err, hsm.ErrSealBroken, "cut short")
	_, err = f.dev.Unseal(ctx, other, sealed, aad)
	f.want(err, hsm.ErrSealBroken, "other key")
	_, err = f.dev.Unseal(ctx, k, sealed, aad)
	f.ok(err, "Unseal afterwards")
}
