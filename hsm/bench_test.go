package hsm_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
)

// The benchmarks report the verb's time as a ratio to the bare PKCS#11 calls
// in one session with a known handle, measured in the same run: what the pool,
// the gate and the counting cost.

func BenchmarkMAC(b *testing.B) {
	msg := make([]byte, 64)
	bench(b, hsm.ClassLot, func(tok *hsm.Token, k hsm.Key) error {
		_, err := tok.MAC(b.Context(), k, msg)
		return err
	}, func(m *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) error {
		if err := m.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_SHA256_HMAC, nil)}, h); err != nil {
			return err
		}
		_, err := m.Sign(s, msg)
		return err
	})
}

func BenchmarkEncryptECB(b *testing.B) {
	blocks := make([]byte, 48)
	bench(b, hsm.ClassKMC, func(tok *hsm.Token, k hsm.Key) error {
		_, err := tok.EncryptECB(b.Context(), k, blocks)
		return err
	}, func(m *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) error {
		if err := m.EncryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_ECB, nil)}, h); err != nil {
			return err
		}
		_, err := m.Encrypt(s, blocks)
		return err
	})
}

func BenchmarkSignDigest(b *testing.B) {
	digest := make([]byte, 32)
	bench(b, hsm.ClassEUM, func(tok *hsm.Token, k hsm.Key) error {
		_, err := tok.SignDigest(b.Context(), k, digest)
		return err
	}, func(m *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) error {
		if err := m.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, h); err != nil {
			return err
		}
		_, err := m.Sign(s, digest)
		return err
	})
}

// floorCalls is how many bare calls the floor is measured over.
const floorCalls = 2000

func bench(b *testing.B, c hsm.Class, verb func(*hsm.Token, hsm.Key) error, bare func(*pkcs11.Ctx, pkcs11.SessionHandle, pkcs11.ObjectHandle) error) {
	tok := hsmtest.SoftHSM(b)
	k := generated(b, tok, c, "bench")
	var floor time.Duration
	err := tok.Raw(b.Context(), k, func(m *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
		start := time.Now()
		for range floorCalls {
			if err := bare(m, s, h); err != nil {
				b.Fatal(err)
			}
		}
		floor = time.Since(start) / floorCalls
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := verb(tok, k); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
}

// BenchmarkLatency is the pool before a device of 2 ms per operation, with 32
// sessions and twice as many callers. Its ratio is the rate of the verb to that
// of the bare operation, each in a goroutine of its own for every session,
// measured in the same run: what waiting in our queue costs.
func BenchmarkLatency(b *testing.B) {
	const sessions, latency, floorFor = 32, 2 * time.Millisecond, time.Second
	cfg := freshSoftHSM(b)
	cfg.MaxSessions = sessions
	var f hsm.Faulty
	tok, err := hsm.Open(b.Context(), f.Put(cfg))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := tok.Close(); err != nil {
			b.Error(err)
		}
	}()
	k := key(b, hsm.ClassLot, "latency")
	if err := tok.Generate(b.Context(), k); err != nil {
		b.Fatal(err)
	}
	f.Before(func(op string) error {
		if op == "C_Sign" {
			time.Sleep(latency)
		}
		return nil
	})
	msg := make([]byte, 64)
	verb := func() {
		if _, err := tok.MAC(b.Context(), k, msg); err != nil {
			b.Error(err)
		}
	}
	bare, err := tok.Bare(b.Context(), k, msg, sessions, floorFor)
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism((2*sessions + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			verb()
		}
	})
	b.StopTimer() // the floor's second is not the verb's: with it one call would fill the benchmark's time
	rate := float64(b.N) / b.Elapsed().Seconds()
	again, err := tok.Bare(b.Context(), k, msg, sessions, floorFor)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(rate/((bare+again)/2), "of-bare")
	b.ReportMetric(rate/(sessions/latency.Seconds()), "of-sessions/latency")
}
