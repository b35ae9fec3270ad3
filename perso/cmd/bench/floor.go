package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
)

// How long the floors are measured over.
const (
	fsyncTries = 200
	tokenCards = 200
	keyBytes   = 16
)

// fsyncFloor is the median time of a small durable append, in milliseconds.
func fsyncFloor(path string) (float64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page := make([]byte, 4096) // a database page
	times := make([]time.Duration, fsyncTries)
	for i := range times {
		began := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return milliseconds(times[len(times)/2]), nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// tokenFloor does to another token what the vault did to its own for one card, and nothing else, and gives the CPU time
// of one card in milliseconds.
func tokenFloor(ctx context.Context, dir, module string, perCard map[string]float64) (ms float64, err error) {
	raw := make([]byte, keyBytes)
	if _, err := rand.Read(raw); err != nil {
		return 0, err
	}
	pin := secret.New([]byte(hex.EncodeToString(raw)))
	defer pin.Wipe()
	const label = "persoline-bench-floor"
	if err := softhsm.Init(dir, label, pin, pin); err != nil {
		return 0, err
	}
	t, err := hsm.Open(ctx, hsm.Config{Module: module, TokenLabel: label, PIN: pin})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	verbs, err := floorVerbs(ctx, t)
	if err != nil {
		return 0, err
	}
	before, err := ownCPU()
	if err != nil {
		return 0, err
	}
	for verb, do := range verbs {
		for range int(perCard[verb.String()] * tokenCards) {
			if err := do(); err != nil {
				return 0, fmt.Errorf("%s: %w", verb, err)
			}
		}
	}
	after, err := ownCPU()
	return milliseconds(after-before) / tokenCards, err
}

// floorVerbs makes the keys, and what the vault does with each kind of them for a card.
func floorVerbs(ctx context.Context, t *hsm.Token) (map[hsm.Verb]func() error, error) {
	key := func(c hsm.Class) (hsm.Key, error) { return hsm.NewKey(string(perso.EnvTest), c, "floor") }
	lot, err := key(hsm.ClassLot)
	kmc, kmcErr := key(hsm.ClassKMC)
	eum, eumErr := key(hsm.ClassEUM)
	log, logErr := key(hsm.ClassLog)
	if err = errors.Join(err, kmcErr, eumErr, logErr); err != nil {
		return nil, err
	}
	master := secret.New([]byte("0123456789abcdef"))
	defer master.Wipe()
	if err := errors.Join(t.Generate(ctx, lot), t.Import(ctx, kmc, master), t.Generate(ctx, eum), t.Generate(ctx, log)); err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	text, blocks, digest := make([]byte, 64), make([]byte, 6*keyBytes), make([]byte, 32)
	return map[hsm.Verb]func() error{
		hsm.VerbMAC:         func() error { _, err := t.MAC(ctx, lot, text); return err },
		hsm.VerbEncryptECB:  func() error { _, err := t.EncryptECB(ctx, kmc, blocks); return err },
		hsm.VerbSignDigest:  func() error { _, err := t.SignDigest(ctx, eum, digest); return err },
		hsm.VerbSignMessage: func() error { _, err := t.SignMessage(ctx, log, text); return err },
	}, nil
}
