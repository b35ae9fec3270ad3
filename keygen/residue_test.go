//go:build goexperiment.runtimesecret && linux

package keygen_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/secret"
)

// residues are the secrets of cards, as hashes of each run of 8 bytes: this process must not hold them to look for them.
type residues struct {
	seed  maphash.Seed
	names map[uint64]string
}

const pieceBytes = 8

func (r *residues) add(name string, value []byte) {
	for i := 0; i+pieceBytes <= len(value); i++ {
		r.names[maphash.Bytes(r.seed, value[i:i+pieceBytes])] = name
	}
}

// scan looks for pieces at each multiple of 8 in all of the process' own writable memory but the buffer that it reads into.
// A secret of 15 bytes or more has one there, however it lies.
func (r *residues) scan(t *testing.T, buf []byte) (found []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	own := uint64(uintptr(unsafe.Pointer(&buf[0])))
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		for at := from; at < to; at += uint64(len(buf)) {
			n, err := mem.ReadAt(buf[:min(uint64(len(buf)), to-at)], int64(at))
			if err != nil && n == 0 {
				break // reserved and never used
			}
			for i := 0; i+pieceBytes <= n; i += pieceBytes {
				here := at + uint64(i)
				if binary.LittleEndian.Uint64(buf[i:]) == 0 || here >= own && here < own+uint64(len(buf)) {
					continue
				}
				if name := r.names[maphash.Bytes(r.seed, buf[i:i+pieceBytes])]; name != "" {
					found = append(found, fmt.Sprintf("%s at %x", name, here))
				}
			}
		}
	}
	return found
}

// TestMemoryAfterServing has the vault serve 1,000 cards and then looks for what they hold in this process' own memory (I2).
// What the test does with keys, as their chips, it does in secret.Do; what the vault does, the vault must.
func TestMemoryAfterServing(t *testing.T) {
	memoryAfterServing(t, newRig(t), 1_000)
}

// TestMemoryAfterGivingKeys looks for private keys of chips that were given theirs. The token draws from the system: the
// generator of other tests keeps what it is about to give, and what it gave.
func TestMemoryAfterGivingKeys(t *testing.T) {
	memoryAfterServing(t, newRigOn(t, hsmfake.New(rand.Reader), "S1").injecting(), 300)
}

// TestMemoryAfterDrawingKi and the next one look for Ki that sessions carried.
func TestMemoryAfterDrawingKi(t *testing.T) {
	memoryAfterServing(t, newRigOn(t, hsmfake.New(rand.Reader), "S1").of("random", "hsm"), 300)
}

func TestMemoryAfterOpeningKi(t *testing.T) {
	r := newRig(t)
	r.enlarge(customerCards)
	secret.Do(func() { r.of("customer", "card") }) // the operator's own work is none of the vault's
	memoryAfterServing(t, r, customerCards)
}

// customerCards are few: the test makes a proof of each row for each act.
const customerCards = 60

func memoryAfterServing(t *testing.T, r *rig, cards uint16) {
	t.Helper()
	r.enlarge(uint64(cards))
	r.openLot()
	lotKey, err := hsm.NewKey(string(perso.EnvTest), hsm.ClassLot, string(testLot))
	if err != nil {
		t.Fatal(err)
	}
	find := residues{seed: maphash.MakeSeed(), names: make(map[uint64]string, 1<<17)}
	for n := range cards {
		var u *unit
		var item bus.ServeItem
		secret.Do(func() {
			c := newCardAs(t, testKMC, [10]byte{0x47, 0x90, 0x6D, 0x20, 0, 1, 0x0A, 0x0B, byte(n >> 8), byte(n)})
			u = r.claimUnit(c, perso.Unit(n), perso.EIDIndex(n))
			item = u.begin()
		})
		for {
			result := u.serve(item)
			u.keep(result.Stored)
			if len(result.Window) == 0 {
				if !result.Good {
					t.Fatalf("card %d: %+v", n, result.Failed)
				}
				break
			}
			secret.Do(func() { item = u.next(item, result) })
		}
		secret.Do(func() {
			seed, err := r.token.MAC(ctx, lotKey, keygen.SeedInput(u.claim))
			if err != nil {
				t.Error(err)
			}
			isd := u.card.keys[r.release.CardKVN]
			for name, value := range map[string][]byte{"seed": seed[:], "Ki": u.card.ki, "OPc": u.card.opc, "ISD.ENC": isd.ENC, "ISD.MAC": isd.MAC, "ISD.DEK": isd.DEK} {
				if len(value) < 16 {
					t.Errorf("card %d has no %s", n, name)
				}
				find.add(name, value)
				clear(value)
			}
			for _, given := range u.card.given {
				find.add("private key", given)
				clear(given)
			}
			if r.release.KeyOrigin == "hsm" && len(u.card.given) != 1 {
				t.Errorf("card %d was given %d keys", n, len(u.card.given))
			}
			u.card = nil
		})
	}
	buf := make([]byte, 1<<20)
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	if found := find.scan(t, buf); len(found) > 0 {
		t.Errorf("%d pieces of secrets are left in memory: %q …", len(found), found[:min(len(found), 12)])
	}
	planted := []byte("a key that is not one: planted.")
	find.add("planted", planted)
	if found := find.scan(t, buf); len(found) == 0 {
		t.Error("what was planted is not found")
	}
	runtime.KeepAlive(planted)
}
