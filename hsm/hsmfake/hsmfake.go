// Package hsmfake is a token in plain software: the double of hsm.Token for
// tests and for the simulator, never for the product. It passes the same
// conformance suite (hsmtest), keeps its keys in clear memory, needs no cgo
// call, and can be told to fail.
//
// It is deterministic: the same random stream and the same calls give the same
// keys, nonces and signatures. As a token does, it signs the same digest with
// different ECDSA signatures, so that code which expects to see one twice fails
// here too.
package hsmfake

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/internal/brainpool"
	"github.com/persoline/persoline/perso/secret"
)

// A Fault is what an injected failure does to one call.
type Fault struct {
	// Before is returned instead of doing anything: failed, and not done.
	Before error
	// After is returned although the verb was done: failed, but done.
	After error
	// Slow is called before the verb, if set; it may block.
	Slow func()
}

// A Plan decides over each call; n counts calls of all verbs from 1. It is
// called from the calling goroutine and must be safe for concurrent use.
type Plan func(n uint64, v hsm.Verb, k hsm.Key) Fault

// Token is the double. Make it with New; it is safe for concurrent use.
type Token struct {
	counter hsm.Counter

	mu     sync.Mutex
	random io.Reader
	plan   Plan
	calls  uint64
	keys   map[string]*key
}

// A key holds what its class needs: bytes, or one of the pairs.
type key struct {
	name  hsm.Key
	local bool
	value []byte
	ec    *ecdsa.PrivateKey
	ed    ed25519.PrivateKey
	brain *big.Int // on brainpoolP256r1
	rsa   *rsa.PrivateKey
}

// New returns an empty token that draws all its randomness from random.
func New(random io.Reader) *Token {
	return &Token{random: random, keys: map[string]*key{}}
}

// Inject sets the plan for later calls; nil ends all failures.
func (t *Token) Inject(p Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan = p
}

// Stats returns how often each verb was used.
func (t *Token) Stats() hsm.Stats { return t.counter.Stats() }

// Generate is as hsm.Token.Generate. Log and statement keys are Ed25519.
func (t *Token) Generate(ctx context.Context, k hsm.Key) error {
	return t.run(ctx, hsm.VerbGenerate, k, 0, func() error {
		if t.keys[k.Label] != nil {
			return hsm.ErrExists
		}
		made, err := t.generate(k)
		if err == nil {
			t.keys[k.Label] = made
		}
		return err
	})
}

func (t *Token) generate(k hsm.Key) (*key, error) {
	size := 32
	switch k.Class {
	case hsm.ClassSMSR:
		size = 16
	case hsm.ClassTransport3DES, hsm.ClassKMCEMV, hsm.ClassKMCVISA2:
		size = 24
	}
	seed, err := t.draw(size)
	if err != nil {
		return nil, err
	}
	made := &key{name: k, local: true}
	switch k.Class {
	case hsm.ClassLog, hsm.ClassStatement:
		made.ed = ed25519.NewKeyFromSeed(seed)
	case hsm.ClassEUM, hsm.ClassEIS:
		made.ec, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), seed) // refuses one seed in 2^32
	case hsm.ClassEUMBrainpool:
		made.brain = scalar(seed)
	case hsm.ClassEnvelope:
		made.rsa, err = rsaPair([32]byte(seed))
	default:
		made.value = seed
	}
	return made, err
}

// Import is as hsm.Token.Import.
func (t *Token) Import(ctx context.Context, k hsm.Key, value secret.Bytes) error {
	return t.run(ctx, hsm.VerbImport, k, value.Len(), func() error {
		if t.keys[k.Label] != nil {
			return hsm.ErrExists
		}
		return value.Reveal(func(b []byte) error {
			if k.Class.TDES() && singleDES(b) {
				return hsm.ErrRefused
			}
			t.keys[k.Label] = &key{name: k, value: slices.Clone(b)}
			return nil
		})
	})
}

// Destroy is as hsm.Token.Destroy.
func (t *Token) Destroy(ctx context.Context, k hsm.Key) error {
	return t.with(ctx, hsm.VerbDestroy, k, 0, func(found *key) error {
		clear(found.value)
		delete(t.keys, k.Label)
		return nil
	})
}

// Has is as hsm.Token.Has.
func (t *Token) Has(ctx context.Context, k hsm.Key) (has bool, err error) {
	err = t.run(ctx, hsm.VerbHas, k, 0, func() error {
		has = t.keys[k.Label] != nil
		return nil
	})
	return has, err
}

// List is as hsm.Token.List.
func (t *Token) List(ctx context.Context) (list []hsm.Key, err error) {
	err = t.call(ctx, hsm.VerbList, hsm.Key{}, func() error {
		for _, k := range t.keys {
			list = append(list, k.name)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b hsm.Key) int { return strings.Compare(a.Label, b.Label) })
	return list, err
}

// Local is as hsm.Token.Local.
func (t *Token) Local(ctx context.Context, k hsm.Key) (local bool, err error) {
	err = t.with(ctx, hsm.VerbLocal, k, 0, func(found *key) error {
		local = found.local
		return nil
	})
	return local, err
}

// Public is as hsm.Token.Public.
func (t *Token) Public(ctx context.Context, k hsm.Key) (pub crypto.PublicKey, err error) {
	err = t.with(ctx, hsm.VerbPublic, k, 0, func(found *key) error {
		switch {
		case found.ed != nil:
			pub = found.ed.Public()
		case found.brain != nil:
			pub = hsm.BrainpoolKey(brainpool.P256r1().BaseMult(found.brain).Bytes())
		case found.rsa != nil:
			pub = &found.rsa.PublicKey
		default:
			pub = &found.ec.PublicKey
		}
		return nil
	})
	return pub, err
}

// MAC is as hsm.Token.MAC.
func (t *Token) MAC(ctx context.Context, k hsm.Key, msg []byte) (mac [32]byte, err error) {
	err = t.with(ctx, hsm.VerbMAC, k, len(msg), func(found *key) error {
		mac = found.mac(msg)
		return nil
	})
	return mac, err
}

// EncryptECB is as hsm.Token.EncryptECB.
func (t *Token) EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) (out []byte, err error) {
	err = t.with(ctx, hsm.VerbEncryptECB, k, len(blocks), func(found *key) error {
		out, err = found.ecb(blocks)
		return err
	})
	return out, err
}

// DecryptECB is as hsm.Token.DecryptECB.
func (t *Token) DecryptECB(ctx context.Context, k hsm.Key, blocks []byte) (out []byte, err error) {
	err = t.with(ctx, hsm.VerbDecryptECB, k, len(blocks), func(found *key) error {
		out, err = found.unecb(blocks)
		return err
	})
	return out, err
}

// SignDigest is as hsm.Token.SignDigest.
func (t *Token) SignDigest(ctx context.Context, k hsm.Key, digest []byte) (sig []byte, err error) {
	err = t.with(ctx, hsm.VerbSignDigest, k, len(digest), func(found *key) error {
		sig, err = t.ecdsa(found, digest)
		return err
	})
	return sig, err
}

// SignMessage is as hsm.Token.SignMessage.
func (t *Token) SignMessage(ctx context.Context, k hsm.Key, msg []byte) (sig []byte, err error) {
	err = t.with(ctx, hsm.VerbSignMessage, k, len(msg), func(found *key) error {
		if found.ed != nil {
			sig = ed25519.Sign(found.ed, msg)
			return nil
		}
		if found.rsa != nil {
			digest := sha512.Sum512(msg)
			sig, err = rsa.SignPKCS1v15(nil, found.rsa, crypto.SHA512, digest[:])
			return err
		}
		digest := sha256.Sum256(msg)
		sig, err = t.ecdsa(found, digest[:])
		return err
	})
	return sig, err
}

// Random is as hsm.Token.Random.
func (t *Token) Random(ctx context.Context, n int) (out []byte, err error) {
	if err := hsm.AdmitSize(hsm.VerbRandom, n); err != nil {
		return nil, err
	}
	err = t.call(ctx, hsm.VerbRandom, hsm.Key{}, func() error {
		out, err = t.draw(n)
		return err
	})
	return out, err
}

// CardPair is as hsm.Token.CardPair.
func (t *Token) CardPair(ctx context.Context) (pair hsm.CardPair, err error) {
	err = t.call(ctx, hsm.VerbCardPair, hsm.Key{}, func() error {
		seed, err := t.draw(32)
		if err != nil {
			return err
		}
		made, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed) // refuses one seed in 2^32
		if err == nil {
			pair = hsm.CardPair{Public: &made.PublicKey, Private: secret.New(seed)}
		}
		return err
	})
	return pair, err
}

// KCV is as hsm.Token.KCV.
func (t *Token) KCV(ctx context.Context, k hsm.Key) (kcv [hsm.KCVBytes]byte, err error) {
	err = t.with(ctx, hsm.VerbKCV, k, 0, func(found *key) error {
		if k.Class == hsm.ClassLot || k.Class == hsm.ClassReceipt || k.Class == hsm.ClassKiPrint {
			mac := found.mac([]byte("persoline key check value v1"))
			copy(kcv[:], mac[:])
			return nil
		}
		block := []byte(strings.Repeat("\x01", aes.BlockSize))
		if k.Class.TDES() {
			block = make([]byte, des.BlockSize)
		}
		crypt := found.ecb
		if k.Class == hsm.ClassReceive {
			crypt = found.unecb
		}
		out, err := crypt(block)
		copy(kcv[:], out)
		return err
	})
	return kcv, err
}

// with runs a verb that needs the key to be there.
func (t *Token) with(ctx context.Context, v hsm.Verb, k hsm.Key, size int, f func(*key) error) error {
	return t.run(ctx, v, k, size, func() error {
		found := t.keys[k.Label]
		if found == nil {
			return hsm.ErrNotFound
		}
		return f(found)
	})
}

// run runs a verb with a key through the same gate as the token's.
func (t *Token) run(ctx context.Context, v hsm.Verb, k hsm.Key, size int, f func() error) error {
	if err := k.Admit(v, size); err != nil {
		return fmt.Errorf("%s with %q: %w", v, k, err)
	}
	return t.call(ctx, v, k, f)
}

// call counts, injects and runs.
func (t *Token) call(ctx context.Context, v hsm.Verb, k hsm.Key, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s with %q: %w", v, k, err)
	}
	t.counter.Add(v)
	planned := t.next(v, k)
	if planned.Slow != nil {
		planned.Slow()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err := planned.Before
	if err == nil {
		err = f()
	}
	if err == nil {
		err = planned.After
	}
	if err != nil {
		return fmt.Errorf("%s with %q: %w", v, k, err)
	}
	return nil
}

func (t *Token) next(v hsm.Verb, k hsm.Key) Fault {
	t.mu.Lock()
	t.calls++
	n, plan := t.calls, t.plan
	t.mu.Unlock()
	if plan == nil {
		return Fault{}
	}
	return plan(n, v, k)
}

// draw returns n random bytes; the lock is held.
func (t *Token) draw(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(t.random, b); err != nil {
		return nil, fmt.Errorf("drawing randomness: %w", err)
	}
	return b, nil
}

func (k *key) mac(msg []byte) (mac [32]byte) {
	h := hmac.New(sha256.New, k.value)
	h.Write(msg)
	h.Sum(mac[:0])
	return mac
}

func (k *key) cipher() (cipher.Block, error) {
	if k.name.Class.TDES() {
		return des.NewTripleDESCipher(slices.Concat(k.value, k.value)[:24])
	}
	return aes.NewCipher(k.value)
}

func (k *key) ecb(blocks []byte) ([]byte, error) {
	block, err := k.cipher()
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(blocks))
	for i := 0; i < len(blocks); i += block.BlockSize() {
		block.Encrypt(out[i:], blocks[i:])
	}
	return out, nil
}

func (k *key) unecb(blocks []byte) ([]byte, error) {
	block, err := k.cipher()
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(blocks))
	for i := 0; i < len(blocks); i += block.BlockSize() {
		block.Decrypt(out[i:], blocks[i:])
	}
	return out, nil
}

func (k *key) gcm() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.value)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ecdsa signs by RFC 6979, then turns s into n-s for every other bit of the
// random stream: the other valid signature under the same nonce.
func (t *Token) ecdsa(k *key, digest []byte) ([]byte, error) {
	if k.brain != nil {
		nonce, err := t.draw(32)
		if err != nil {
			return nil, err
		}
		return signBrainpool(k.brain, scalar(nonce), digest), nil
	}
	der, err := k.ec.Sign(nil, digest, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return nil, err
	}
	coin, err := t.draw(1)
	if err != nil {
		return nil, err
	}
	if coin[0]&1 == 1 {
		sig.S.Sub(elliptic.P256().Params().N, sig.S)
	}
	out := make([]byte, 64)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}
