package hsm_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/hsm"
)

// mask hides what these tests look for, so that they do not find their notes.
const mask = 0x5AA5_3CC3_9669_0FF0

// pieces are 8-byte pieces of returned values, masked.
type pieces struct {
	all   map[uint64]bool
	quick [1 << 13]uint64 // a bit for the low 19 bits of each
}

func newPieces() *pieces { return &pieces{all: map[uint64]bool{}} }

// take notes a value and clears it.
func (p *pieces) take(b []byte) {
	for i := 0; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:]) ^ mask
		p.all[w] = true
		p.quick[w&0x7FFFF>>6] |= 1 << (w & 63)
	}
	clear(b)
}

// find counts pieces in a buffer, at any address.
func (p *pieces) find(b []byte) (n int) {
	for i := 0; i+8 <= len(b); i++ {
		w := binary.LittleEndian.Uint64(b[i:]) ^ mask
		if p.quick[w&0x7FFFF>>6]&(1<<(w&63)) != 0 && p.all[w] {
			n++
		}
	}
	return n
}

// A region is one line of the process's map of its memory.
type region struct {
	from, to uint64
	mode     string
	name     string
}

func parseRegion(line string) (r region, err error) {
	if _, err := fmt.Sscanf(line, "%x-%x %s", &r.from, &r.to, &r.mode); err != nil {
		return r, fmt.Errorf("reading map line %q: %w", line, err)
	}
	if f := strings.Fields(line); len(f) > 5 {
		r.name = strings.Join(f[5:], " ")
	}
	return r, nil
}

// The C library's shapes of memory: an arena of malloc begins at a multiple of
// 64 MiB, a thread's stack has 8 MiB.
const arenaAlign, stackBytes = 64 << 20, 8 << 20

// isC reports whether writable memory is C's: its heap, its arenas, its stacks,
// and the data of its libraries. What is left and has no name is Go's: its heap
// and stacks, and what its runtime keeps beside them (as the vector registers of
// a preempted goroutine). There lie results that are the caller's to clear.
func (r region) isC() bool {
	if r.name != "" && !strings.HasPrefix(r.name, "[anon: Go") {
		return true
	}
	const mapped = 0x7e // where the kernel puts what is mapped without an address
	return r.from>>40 >= mapped && (r.from%arenaAlign == 0 || r.to-r.from == stackBytes)
}

func TestRegions(t *testing.T) {
	t.Parallel()
	for line, c := range map[string]bool{
		"2757a000-275fc000 rw-p 00000000 00:00 0                  [heap]":               true,
		"7ffd1000-7ffd4000 rw-p 00000000 00:00 0                  [stack]":              true,
		"7f7214000000-7f7214072000 rw-p 00000000 00:00 0 ":                              true,
		"7fe58d8ff000-7fe58e0ff000 rw-p 00000000 00:00 0 ":                              true,
		"7f1908cb1000-7f1908cb3000 rw-p 0004f000 fe:00 1   /usr/lib/libsoftokn3.so":     true,
		"17ea0a400000-17ea0ac00000 rw-p 00000000 00:00 0 ":                              false,
		"7f21255c0000-7f2125600000 rw-p 00000000 00:00 0 ":                              false,
		"c000000000-c000400000 rw-p 00000000 00:00 0                  [anon: Go: heap]": false,
	} {
		if r, err := parseRegion(line); err != nil || r.isC() != c {
			t.Errorf("%q: %+v, %v", line, r, err)
		}
	}
}

// scan looks for pieces in the writable memory that is wanted and says where
// they are. Its own buffer is not among it: the map is read before it is made.
func scan(t *testing.T, p *pieces, wanted func(region) bool) (found []string) {
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
	buf, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(buf) }()
	lines := bufio.NewScanner(strings.NewReader(string(maps)))
	for lines.Scan() {
		r, err := parseRegion(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(r.mode, "rw") || !wanted(r) {
			continue
		}
		hits := 0
		for at := r.from; at < r.to; {
			n, err := mem.ReadAt(buf[:min(uint64(len(buf)), r.to-at)], int64(at))
			if n == 0 || err != nil {
				break // gone meanwhile
			}
			hits += p.find(buf[:n])
			if at += uint64(n); at < r.to {
				at -= 7 // a piece may lie across the edge
			}
		}
		if hits > 0 {
			found = append(found, fmt.Sprintf("%d pieces in %s", hits, lines.Text()))
		}
	}
	clear(buf)
	return found
}

// secretVerbs call what returns secrets, over and over, and take the results.
func secretVerbs(t *testing.T, m under, p *pieces) {
	ctx := context.Background()
	lot, kmc, seal := generated(t, m.tok, hsm.ClassLot, "memory"), generated(t, m.tok, hsm.ClassKMC, "memory"), generated(t, m.tok, hsm.ClassSeal, "memory")
	plain, err := m.tok.Random(ctx, 32)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := m.tok.Seal(ctx, seal, secretFrom(slices.Clone(plain)), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.take(plain)
	for i := range 200 {
		mac, err := m.tok.MAC(ctx, lot, binary.BigEndian.AppendUint32(nil, uint32(i)))
		if err != nil {
			t.Fatal(err)
		}
		p.take(mac[:])
		for _, call := range []func() ([]byte, error){
			func() ([]byte, error) {
				return m.tok.EncryptECB(ctx, kmc, binary.BigEndian.AppendUint32(make([]byte, 44), uint32(i)))
			},
			func() ([]byte, error) { return m.tok.Random(ctx, 32) },
		} {
			out, err := call()
			if err != nil {
				t.Fatal(err)
			}
			p.take(out)
		}
		opened, err := m.tok.Unseal(ctx, seal, sealed, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := opened.Reveal(func(b []byte) error { p.take(b); return nil }); err != nil {
			t.Fatal(err)
		}
		opened.Wipe()
	}
}

// TestMemoryOfAnswers: no 8 bytes of what the token returned are left in C's
// memory: not in buffers of ours, for there are none, nor on the stack that the
// module ran on. (SoftHSM and softoken share the C heap with us and clear what
// is theirs.) The binding, asked the same, does leave some, which shows that the
// test would see it.
func TestMemoryOfAnswers(t *testing.T) {
	onEachModule(t, func(t *testing.T, m under) {
		p := newPieces()
		secretVerbs(t, m, p)
		runtime.GC()
		if found := scan(t, p, region.isC); found != nil {
			t.Errorf("of %d pieces are left:\n%s", len(p.all), strings.Join(found, "\n"))
		}
		if clear, pages := m.tok.PagesAreClear(); !clear || pages == 0 {
			t.Errorf("locked memory of %d sessions is clear: %v", pages, clear)
		}
		for try := 0; ; try++ {
			if found := scan(t, byBinding(t, m), region.isC); found != nil {
				break
			}
			if try == 20 {
				t.Fatal("nothing is found of what the binding left in freed memory: is the scan blind?")
			}
		}
	})
}

// byBinding makes MACs as the shim does not.
func byBinding(t *testing.T, m under) *pieces {
	t.Helper()
	p := newPieces()
	k := generated(t, m.tok, hsm.ClassLot, "binding-"+rand6(t, m.tok))
	err := m.tok.Raw(t.Context(), k, func(b *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
		for i := range 100 {
			if err := b.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_SHA256_HMAC, nil)}, h); err != nil {
				t.Fatal(err)
			}
			mac, err := b.Sign(s, binary.BigEndian.AppendUint32(nil, uint32(i)))
			if err != nil {
				t.Fatal(err)
			}
			p.take(mac)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rand6(t *testing.T, tok *hsm.Token) string {
	t.Helper()
	b, err := tok.Random(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", b)
}

// TestScanFinds: a planted piece is found, at an odd address too.
func TestScanFinds(t *testing.T) {
	p := newPieces()
	p.take([]byte("12345678"))
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(page) }()
	for i := range 8 {
		page[2001+i] = "87654321"[7-i]
	}
	if found := scan(t, p, func(r region) bool { return r.name == "" }); found == nil {
		t.Error("the planted piece was not found")
	}
}
