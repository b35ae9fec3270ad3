package hsm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persoline/persoline/hsm"
)

// These tests put a slow, failing or vanishing device before a real module. In
// all of them an answer is right or an error, nothing hangs, and the same Token
// works again when the device does. Time is the bubble's, not the clock's.

// onFaulty opens an empty token of each module behind a Faulty.
func onFaulty(t *testing.T, change func(*hsm.Config), test func(*testing.T, *hsm.Token, *hsm.Faulty)) {
	for _, m := range matrix {
		t.Run(m.name, func(t *testing.T) {
			cfg := m.fresh(t)
			cfg.WaitLimit = time.Second
			if change != nil {
				change(&cfg)
			}
			synctest.Test(t, func(t *testing.T) {
				var f hsm.Faulty
				tok, err := hsm.Open(t.Context(), f.Put(cfg))
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					f.Before(nil)
					f.After(nil)
					if err := tok.Close(); err != nil {
						t.Error(err)
					}
				}()
				test(t, tok, &f)
			})
		})
	}
}

// made makes a key that goes with its token.
func made(t *testing.T, tok *hsm.Token, c hsm.Class) hsm.Key {
	t.Helper()
	k := key(t, c, "fault")
	if err := tok.Generate(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return k
}

func mac(t *testing.T, tok *hsm.Token, k hsm.Key) [32]byte {
	t.Helper()
	m, err := tok.MAC(t.Context(), k, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestHangingDevice: calls that do not return cost each waiter its limit, then
// nobody anything, and the token is found again by itself.
func TestHangingDevice(t *testing.T) {
	const places = 2
	onFaulty(t, func(c *hsm.Config) { c.MaxSessions = places }, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
		k := made(t, tok, hsm.ClassLot)
		want := mac(t, tok, k)
		release := make(chan struct{})
		f.Before(func(op string) error {
			if op == "C_Sign" {
				<-release
			}
			return nil
		})
		var hung sync.WaitGroup
		for range places {
			hung.Go(func() {
				if err := sameMAC(t, tok, k, want); err != nil {
					t.Errorf("a call that came back late: %v", err)
				}
			})
		}
		synctest.Wait()
		for range hsm.BreakerFailures {
			began := time.Now()
			if _, err := tok.MAC(t.Context(), k, []byte("x")); !errors.Is(err, hsm.ErrBusy) || time.Since(began) != time.Second {
				t.Errorf("behind hanging calls: %v after %v", err, time.Since(began))
			}
		}
		began := time.Now()
		for range 100 {
			if _, err := tok.MAC(t.Context(), k, []byte("x")); !errors.Is(err, hsm.ErrTripped) || time.Since(began) != 0 {
				t.Fatalf("with the breaker open: %v after %v", err, time.Since(began))
			}
		}
		close(release)
		hung.Wait()
		if err := sameMAC(t, tok, k, want); err != nil {
			t.Errorf("after the hanging calls came back, which closes the breaker: %v", err)
		}
	})
}

// TestVanishingDevice: the device goes while sixteen use it, and comes back.
func TestVanishingDevice(t *testing.T) {
	for name, ckr := range map[string]uint{"DEVICE_ERROR": 0x30, "DEVICE_REMOVED": 0x32, "TOKEN_NOT_PRESENT": 0xE0} {
		t.Run(name, func(t *testing.T) { vanishing(t, ckr) })
	}
}

func vanishing(t *testing.T, ckr uint) {
	onFaulty(t, nil, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
		k := made(t, tok, hsm.ClassLot)
		want := mac(t, tok, k)
		var gone atomic.Bool
		var asked atomic.Int64
		f.Before(func(op string) error {
			if !gone.Load() {
				return nil
			}
			asked.Add(1)
			return hsm.Error{Op: op, CKR: ckr}
		})
		gone.Store(true)
		began := time.Now()
		sixteen(t, tok, k, want, func(err error) bool { return errors.Is(err, hsm.ErrTokenGone) })
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("sixteen callers were held up for %v", took)
		}
		before := asked.Load()
		for range 1000 {
			if _, err := tok.MAC(t.Context(), k, []byte("x")); !errors.Is(err, hsm.ErrTripped) || !errors.Is(err, hsm.ErrTokenGone) {
				t.Fatalf("while the device is gone: %v", err)
			}
		}
		if n := asked.Load() - before; n != 0 {
			t.Errorf("the device was asked %d times during its rest", n)
		}
		time.Sleep(hsm.BreakerRest)
		if _, err := tok.MAC(t.Context(), k, []byte("x")); !errors.Is(err, hsm.ErrTokenGone) || errors.Is(err, hsm.ErrTripped) {
			t.Errorf("the probe: %v", err)
		}
		gone.Store(false)
		time.Sleep(hsm.BreakerRest)
		sixteen(t, tok, k, want, func(err error) bool { return errors.Is(err, hsm.ErrTripped) }) // all but the probe may come too early
		sixteen(t, tok, k, want, func(error) bool { return false })
	})
}

// sixteen MACs at once: right, or wrong in an allowed way.
func sixteen(t *testing.T, tok *hsm.Token, k hsm.Key, want [32]byte, allowed func(error) bool) {
	t.Helper()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if err := sameMAC(t, tok, k, want); err != nil && !allowed(err) {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestErroringDevice: every fifth call fails with whatever there is.
func TestErroringDevice(t *testing.T) {
	codes := []uint{0x02, 0x05, 0x06, 0x30, 0x32, 0x50, 0x60, 0x62, 0x82, 0x90, 0x91, 0xB0, 0xB1, 0xB3, 0xE0, 0x101, 0x150, 0x190, 0x80000001}
	onFaulty(t, nil, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
		lot, kmc := made(t, tok, hsm.ClassLot), made(t, tok, hsm.ClassKMC)
		want := mac(t, tok, lot)
		block, err := tok.EncryptECB(t.Context(), kmc, make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		dice := rand.New(rand.NewPCG(1, 2))
		f.Before(func(op string) error {
			if dice.IntN(5) > 0 || op == "C_Login" {
				return nil
			}
			return hsm.Error{Op: op, CKR: codes[dice.IntN(len(codes))]}
		})
		failed, good := 0, 0
		for i := range 400 {
			got, err := tok.MAC(t.Context(), lot, []byte("x"))
			if i%2 == 1 {
				var out []byte
				out, err = tok.EncryptECB(t.Context(), kmc, make([]byte, 32))
				if err == nil && string(out) != string(block) {
					t.Fatal("another ciphertext")
				}
			} else if err == nil && got != want {
				t.Fatal("another MAC")
			}
			if err == nil {
				good++
			} else {
				failed++
				time.Sleep(hsm.BreakerRest / 4)
			}
		}
		if failed == 0 || good == 0 {
			t.Errorf("%d calls failed and %d did not: nothing was tried", failed, good)
		}
		f.Before(nil)
		time.Sleep(hsm.BreakerRest)
		if err := sameMAC(t, tok, lot, want); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestFailedButDone: what must not be repeated fails before or after the device
// did it; Has tells which.
func TestFailedButDone(t *testing.T) {
	lost := hsm.Error{Op: "C_Any", CKR: 0x32}
	for _, step := range []struct {
		op    string
		there bool // the key, at first
		do    func(context.Context, *hsm.Token, hsm.Key) error
	}{
		{"C_GenerateKey", false, func(ctx context.Context, tok *hsm.Token, k hsm.Key) error { return tok.Generate(ctx, k) }},
		{"C_CreateObject", false, func(ctx context.Context, tok *hsm.Token, k hsm.Key) error {
			return tok.Import(ctx, k, secretOf(32))
		}},
		{"C_DestroyObject", true, func(ctx context.Context, tok *hsm.Token, k hsm.Key) error { return tok.Destroy(ctx, k) }},
	} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprint(step.op, " done ", done), func(t *testing.T) {
				onFaulty(t, nil, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
					k := key(t, hsm.ClassKMC, "step")
					if step.there {
						k = made(t, tok, hsm.ClassKMC)
					}
					once := func(op string) error {
						if op != step.op {
							return nil
						}
						f.Before(nil)
						f.After(nil)
						return lost
					}
					if done {
						f.After(once)
					} else {
						f.Before(once)
					}
					if err := step.do(t.Context(), tok, k); !errors.Is(err, hsm.ErrTokenGone) {
						t.Errorf("got %v", err)
					}
					want := step.there != done
					if ok, err := tok.Has(t.Context(), k); err != nil || ok != want {
						t.Errorf("Has: %v, %v, want %v", ok, err, want)
					}
					if _, err := tok.EncryptECB(t.Context(), k, make([]byte, 16)); (err == nil) != want {
						t.Errorf("using it: %v", err)
					}
				})
			})
		}
	}
}

// TestMuteDevice: it says yes and writes nothing; zeros are no answer.
func TestMuteDevice(t *testing.T) {
	onFaulty(t, nil, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
		lot, kmc, eum := made(t, tok, hsm.ClassLot), made(t, tok, hsm.ClassKMC), made(t, tok, hsm.ClassEUM)
		f.Mute(true)
		for verb, call := range map[string]func() error{
			"MAC":        func() error { _, err := tok.MAC(t.Context(), lot, []byte("x")); return err },
			"EncryptECB": func() error { _, err := tok.EncryptECB(t.Context(), kmc, make([]byte, 16)); return err },
			"SignDigest": func() error { _, err := tok.SignDigest(t.Context(), eum, make([]byte, 32)); return err },
			"Random":     func() error { _, err := tok.Random(t.Context(), 16); return err },
			"CardPair":   func() error { _, err := tok.CardPair(t.Context()); return err },
		} {
			if err := call(); !errors.Is(err, hsm.ErrDevice) {
				t.Errorf("%s: %v", verb, err)
			}
		}
		f.Mute(false)
		time.Sleep(hsm.BreakerRest)
		mac(t, tok, lot)
	})
}

// TestAnotherToken: what answers after a loss has the label and another serial
// number. It may have keys of the same names; none of them is used.
func TestAnotherToken(t *testing.T) {
	onFaulty(t, nil, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
		k := made(t, tok, hsm.ClassLot)
		want := mac(t, tok, k)
		var gone atomic.Bool
		f.Before(func(op string) error {
			if gone.Load() && op != "C_GetTokenInfo" && op != "C_GetSlotList" {
				return hsm.Error{Op: op, CKR: 0xE0}
			}
			return nil
		})
		gone.Store(true)
		f.Serial("another")
		if _, err := tok.MAC(t.Context(), k, []byte("x")); !errors.Is(err, hsm.ErrRefused) || !strings.Contains(err.Error(), `serial number "another"`) {
			t.Errorf("another token: %v", err)
		}
		gone.Store(false)
		f.Serial("")
		if err := sameMAC(t, tok, k, want); err != nil {
			t.Errorf("the old token again: %v", err)
		}
	})
}

// TestSlowDevice: with 2 ms in each operation, every session works all the
// time: callers twice as many as sessions take exactly the operations' time
// divided by the sessions.
func TestSlowDevice(t *testing.T) {
	const sessions, callers, each, latency = 16, 32, 20, 2 * time.Millisecond
	onFaulty(t, func(c *hsm.Config) { c.MaxSessions = sessions }, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
		k := made(t, tok, hsm.ClassLot)
		want := mac(t, tok, k)
		var now, most atomic.Int64
		f.Before(func(op string) error {
			if op == "C_Sign" {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(latency)
				now.Add(-1)
			}
			return nil
		})
		began := time.Now()
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for range each {
					if err := sameMAC(t, tok, k, want); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if took, floor := time.Since(began), callers*each*latency/sessions; took != floor || most.Load() != sessions {
			t.Errorf("took %v with %d at once, want %v with %d", took, most.Load(), floor, sessions)
		}
	})
}
