package hsmtest

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/secret"
)

// concurrency: sixteen goroutines do everything at once, keys coming and going.
func concurrency(f *fixture) {
	const workers, rounds = 16, 10
	keys := sharedKeys{eum: f.generated(hsm.ClassEUM, "many"), seal: f.generated(hsm.ClassSeal, "many")}
	keys.lot, keys.lotValue = f.imported(hsm.ClassLot, 32)
	var err error
	keys.pub, err = f.dev.Public(f.Context(), keys.eum)
	f.ok(err, "Public")
	own := make([]hsm.Key, workers)
	for w := range own {
		own[w] = f.key(hsm.ClassKMC, fmt.Sprint("own-", w))
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for r := range rounds {
				msg := fmt.Appendf(nil, "worker %d round %d", w, r)
				if err := f.round(keys, own[w], msg); err != nil {
					f.Errorf("%s: %v", msg, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// sharedKeys are what all workers of the concurrency test use at once.
type sharedKeys struct {
	lot      hsm.Key
	lotValue []byte // the same in software
	eum      hsm.Key
	pub      crypto.PublicKey // its public half
	seal     hsm.Key
}

// round is one worker's turn in the concurrency test: shared keys for use, a
// key of its own to make and destroy; every result checked in software.
func (f *fixture) round(k sharedKeys, own hsm.Key, msg []byte) error {
	ctx := f.Context()
	mac, err := f.dev.MAC(ctx, k.lot, msg)
	if err != nil {
		return err
	}
	h := hmac.New(sha256.New, k.lotValue)
	h.Write(msg)
	if !bytes.Equal(mac[:], h.Sum(nil)) {
		return errors.New("wrong MAC")
	}
	sig, err := f.dev.SignMessage(ctx, k.eum, msg)
	if err != nil {
		return err
	}
	if !Verify(k.pub, msg, sig) {
		return errors.New("wrong signature")
	}
	sealed, err := f.dev.Seal(ctx, k.seal, secret.New(slices.Clone(msg)), msg)
	if err != nil {
		return err
	}
	back, err := f.dev.Unseal(ctx, k.seal, sealed, msg)
	if err != nil {
		return err
	}
	if !back.Equal(secret.New(slices.Clone(msg))) {
		return errors.New("wrong plaintext")
	}
	if err := f.dev.Generate(ctx, own); err != nil {
		return err
	}
	if _, err := f.dev.EncryptECB(ctx, own, make([]byte, 48)); err != nil {
		return err
	}
	if err := f.dev.Destroy(ctx, own); err != nil {
		return err
	}
	if _, err := f.dev.EncryptECB(ctx, own, make([]byte, 48)); !errors.Is(err, hsm.ErrNotFound) {
		return fmt.Errorf("a destroyed key: %w", err)
	}
	return nil
}
