package lineside

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

const (
	testATR  = "3B9F96801F878031E073FE2113674D324D3230305A"
	testLine = perso.Name("line-1")
	testLot  = perso.Name("lot-1")
	testLog  = "log.test"
)

const testScript = `.SCRIPT t 1
.CHANNEL SCP03 LEVEL=33
.PHASE identify
isd:  00A40400 <A000000151000000> 00 (9000)
cplc: 80CA9F7F 00 (9000) => chip
.PHASE open
p.a: 80E29100 <5C <E0>> 00 (9000) => probe
.PHASE write
.SECTION one REDO=safe DONE=p.a[E000]
80E62000 <0000 <A000000151000000> 000000> 00 (9000)
80E28800 <0070 <42 <01>>> 00 (9000)
.PHASE verify
80E62000 <0000 <A000000151000000> 000000> 00 (9000)
80E29100 <5C <42>> 00 [42 <01>] (9000)`

func mustDo[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// testOrder is a work order with its compiled script.
func testOrder(quantity uint64, trust Trust) (bus.WorkOrder, []byte) {
	compiled := mustDo(script.Compile([]byte(testScript), script.Catalogue{})).Encode()
	return bus.WorkOrder{ID: "order-1", Lot: testLot, Product: "m2m", Script: sha256.Sum256(compiled), Quantity: quantity,
		ATR: "3B9F96801F878031E073FE2113674D324D323030XX", ISD: unhex("A000000151000000"), ChipID: "kdd", Env: perso.EnvTest,
		LogKey: trust.Key, Origin: trust.Origin}, compiled
}

func testJob(quantity uint64) *Job {
	return mustDo(NewJob(testOrder(quantity, Trust{})))
}

func unhex(s string) []byte { return mustDo(hex.DecodeString(s)) }

func testTime() time.Time { return time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC) }

// ledgerLog is a log with its key: what proofs come from.
type ledgerLog struct {
	mu      sync.Mutex
	key     ed25519.PrivateKey
	hashes  []tlog.Hash
	entries int64
}

func newLog(seed byte) *ledgerLog {
	return &ledgerLog{key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
}

func (l *ledgerLog) trust() Trust {
	return Trust{Origin: testLog, Key: l.key.Public().(ed25519.PublicKey)}
}

// prove appends an entry and gives a verdict that rests on it.
func (l *ledgerLog) prove(v perso.Verdict, r perso.Reason, body []byte) bus.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, l.hashes[i])
		}
		return out, nil
	})
	seq := l.entries
	l.hashes = append(l.hashes, mustDo(tlog.StoredHashes(seq, body, reader))...)
	l.entries++
	note := mustDo(checkpoint.Checkpoint{Origin: testLog, Size: l.entries, Root: mustDo(tlog.TreeHash(l.entries, reader))}.Seal(
		l.trust().Key, func(text []byte) ([]byte, error) { return ed25519.Sign(l.key, text), nil }))
	out := bus.Verdict{Verdict: v, Reason: r, Entry: body, Seq: seq, Checkpoint: note}
	for _, h := range mustDo(tlog.ProveRecord(l.entries, seq, reader)) {
		out.Proof = append(out.Proof, h)
	}
	return out
}

func (l *ledgerLog) outcome(v perso.Verdict, r perso.Reason, chip id.ChipID, p perso.Presentation) bus.Verdict {
	e := entry.Outcome{Lot: testLot, EID: mustDo(id.ParseEID("89049032123451234512345678901235")), Chip: chip, Verdict: v, Reason: r, Present: p, At: testTime()}
	return l.prove(v, r, mustDo(e.Encode()))
}

func (l *ledgerLog) present(v perso.Verdict, r perso.Reason, chip id.ChipID, p perso.Presentation) bus.Verdict {
	e := entry.Present{Lot: testLot, Present: p, Chip: chip, Verdict: v, Reason: r, At: testTime()}
	return l.prove(v, r, mustDo(e.Encode()))
}

// chipNo is the identity of the n-th chip, and updateAnswer what it says to INITIALIZE UPDATE.
func chipNo(n uint32) id.ChipID {
	return mustDo(id.ChipIDFromBytes([]byte{0x47, 0x90, 0x50, 0x11, 0, 1, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
}

func updateAnswer(n, counter uint32) []byte {
	update := scp.InitUpdate{KDD: [10]byte(chipNo(n).Bytes()), KVN: 0xFF, I: 0x70, CardChallenge: make([]byte, 8), CardCryptogram: make([]byte, 8), Seq: counter, HasSeq: true}
	return append(update.Append(nil), 0x90, 0x00)
}

func ok(data ...byte) []byte { return append(data, 0x90, 0x00) }
