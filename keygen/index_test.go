package keygen

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// A challenge is taken once. Of two in one place of the index the lower one is not taken any more.
func TestIndexForgetsTheOldest(t *testing.T) {
	t.Parallel()
	const places = 1000
	x := newIndex([]byte("key"), 2*places, places, usualPaging(noRoom))
	session := func(i uint64) (s perso.Session) { binary.BigEndian.PutUint64(s[:], i+1); return s }
	for i := range uint64(places + 2) {
		err := x.add(rendered{Serial: 10 + i, Index: uint32(i), receipt: entry.Receipt{Unit: perso.Unit(i), Session: session(i), Result: entry.ResultScript}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for serial, want := range map[uint64]string{10: "older", 11: "older", 12: "was used", 10 + places + 1: "was used", 1 << 40: ""} {
		err := x.admitSession(session(1<<50), serial)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("challenge %d for a new session: %v", serial, err)
		}
	}
	_, known, err1 := x.act(session(5), 15, 0)
	_, forgotten, err2 := x.act(session(0), 10, 0)
	if err := errors.Join(err1, err2, x.admitSession(session(5), 15)); err != nil || !known || forgotten {
		t.Errorf("a remembered session: %v, %v, %v", err, known, forgotten)
	}
	if err := x.admitSession(session(5), 16); err == nil {
		t.Error("a session under another challenge")
	}
}

func TestIndexRefusesReceiptsOfNoUnit(t *testing.T) {
	t.Parallel()
	x := newIndex([]byte("key"), 3, 10, usualPaging(noRoom))
	for name, r := range map[string]rendered{
		"unit": {receipt: entry.Receipt{Unit: 3}}, "EID": {Index: 3}, "act": {receipt: entry.Receipt{N: perso.MaxActs}},
		"number": {receipt: entry.Receipt{Seq: maxReceipts + 1}},
	} {
		if err := x.add(r); err == nil {
			t.Errorf("%s out of range was taken", name)
		}
	}
}

// plainIndex is the index without any economy: maps of whole values.
type plainIndex struct {
	places   uint64
	units    map[perso.Unit]*plainUnit
	eids     map[perso.EIDIndex][32]byte
	serials  map[uint64]perso.Session
	highest  map[uint64]uint64 // by place
	acts     map[plainAct]uint64
	goods    uint64
	anything map[uint64]bool // places that were used
}

type plainUnit struct {
	claim, cert          [32]byte
	gen                  perso.Generation
	session, goodAt      uint64
	wrote, secrets, good bool
}

type plainAct struct {
	session perso.Session
	serial  uint64
	n       uint8
}

func (p *plainIndex) add(r rendered) {
	e := r.receipt
	p.serials[r.Serial], p.highest[r.Serial%p.places], p.anything[r.Serial%p.places] = e.Session, r.Serial, true
	p.acts[plainAct{e.Session, r.Serial, e.N}] = e.Seq
	u := p.units[e.Unit]
	if u == nil || u.claim != e.Claim {
		u = &plainUnit{claim: e.Claim, gen: e.Gen}
		p.units[e.Unit] = u
	}
	p.eids[perso.EIDIndex(r.Index)] = e.Claim
	if e.Result == entry.ResultScript && !u.wrote {
		u.session, u.wrote = r.Serial, e.N > 0
	}
	u.secrets = u.secrets || r.Secrets
	if e.Result == entry.ResultGood && !u.good {
		u.good, u.goodAt, u.cert = true, e.Seq, sha256.Sum256(r.Cert)
		p.goods++
	}
}

func (p *plainIndex) act(s perso.Session, serial uint64, n uint8) (uint64, bool) {
	seq, known := p.acts[plainAct{s, serial, n}]
	return seq, known && p.highest[serial%p.places] == serial
}

func (p *plainIndex) admitsSession(s perso.Session, serial uint64) bool {
	if !p.anything[serial%p.places] || p.highest[serial%p.places] < serial {
		return true
	}
	return p.highest[serial%p.places] == serial && p.serials[serial] == s
}

func (p *plainIndex) admitsClaim(c entry.Claim, hash [32]byte) bool {
	if other, used := p.eids[c.Index]; used && other != hash {
		return false
	}
	u := p.units[c.Unit]
	return u == nil || u.claim == hash || u.gen < c.Gen && !u.good
}

func (p *plainIndex) history(c entry.Claim, hash [32]byte) history {
	u := p.units[c.Unit]
	if u == nil || u.claim != hash {
		return history{}
	}
	return history{wrote: u.wrote, secrets: u.secrets, good: u.good, goodAt: u.goodAt, session: u.session}
}

// drawnAct is one request as a ledger could make it.
type drawnAct struct {
	claim entry.Claim
	hash  [32]byte
	r     rendered
}

// draw makes an act from few values, so that all collisions come about.
func draw(rng *rand.Rand, units, serials uint64, seq uint64) drawnAct {
	c := entry.Claim{Unit: perso.Unit(rng.Uint64N(units)), Gen: perso.Generation(rng.Uint64N(3))}
	c.Index = perso.EIDIndex((uint64(c.Unit) + 5*uint64(c.Gen)) % units)
	if rng.Uint64N(5) == 0 {
		c.Index = perso.EIDIndex(rng.Uint64N(units))
	}
	variant := rng.Uint64N(2) // two chips
	hash := sha256.Sum256([]byte{byte(c.Unit), byte(c.Gen), byte(c.Index), byte(variant)})
	serial := rng.Uint64N(serials)
	session := perso.Session(sha256.Sum256([]byte{byte(serial), byte(serial >> 8), byte(rng.Uint64N(20) / 19)}))
	result := []string{entry.ResultScript, entry.ResultScript, entry.ResultScript, "status", entry.ResultGood}[rng.Uint64N(5)]
	return drawnAct{c, hash, rendered{Serial: serial, Index: uint32(c.Index), Secrets: rng.Uint64N(4) == 0, Cert: []byte{byte(rng.Uint64N(3))},
		receipt: entry.Receipt{Unit: c.Unit, Gen: c.Gen, Claim: hash, Session: session, N: uint8(rng.Uint64N(perso.MaxActs)), Seq: seq, Result: result}}}
}

// The index answers as maps of whole values would, whatever comes in whatever order.
func TestIndexIsLikeAPlainOne(t *testing.T) {
	t.Parallel()
	const units, places, serials = 12, 64, 300
	var refused, taken, replayed int
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		x := newIndex([]byte{byte(seed)}, units, places, paging{items: 1 + seed%5, resident: 1 + int(seed/5)%4, room: (&rooms{}).make})
		p := &plainIndex{places: places, units: map[perso.Unit]*plainUnit{}, eids: map[perso.EIDIndex][32]byte{}, serials: map[uint64]perso.Session{},
			highest: map[uint64]uint64{}, acts: map[plainAct]uint64{}, anything: map[uint64]bool{}}
		for seq := range uint64(600) {
			d := draw(rng, units, serials, seq)
			e := d.r.receipt
			admitted := errors.Join(x.admitClaim(d.claim, d.hash), x.admitSession(e.Session, d.r.Serial))
			if want := p.admitsClaim(d.claim, d.hash) && p.admitsSession(e.Session, d.r.Serial); (admitted == nil) != want {
				t.Fatalf("seed %d, act %d: %v, the plain index says %v", seed, seq, admitted, want)
			}
			if admitted != nil {
				refused++
				continue
			}
			had, known, err := x.act(e.Session, d.r.Serial, e.N)
			if err != nil {
				t.Fatal(err)
			}
			if wantSeq, wantKnown := p.act(e.Session, d.r.Serial, e.N); known != wantKnown || known && had != wantSeq {
				t.Fatalf("seed %d, act %d: known %v as %d, the plain index has %v as %d", seed, seq, known, had, wantKnown, wantSeq)
			}
			if known {
				replayed++
			}
			if err := x.add(d.r); err != nil {
				t.Fatal(err)
			}
			p.add(d.r)
			taken++
			cert := sha256.Sum256([]byte{byte(rng.Uint64N(3))})
			got, err1 := x.history(d.claim, d.hash)
			good, withCert, err2 := x.proven(d.claim, d.hash, cert)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			want := p.history(d.claim, d.hash)
			if got != want || x.goods != p.goods || good != want.good || withCert != (good && p.units[d.claim.Unit].cert == cert) {
				t.Fatalf("seed %d, act %d: %+v, %d good, proven %v %v; the plain index has %+v, %d", seed, seq, got, x.goods, good, withCert, want, p.goods)
			}
		}
	}
	if refused < 1000 || taken < 1000 || replayed < 20 {
		t.Errorf("%d refused, %d taken, %d of them again: the draw is too tame", refused, taken, replayed)
	}
}

// What the vault keeps in memory of a lot does not grow with the lot: the tags of the pages aside, 16 bytes for 256 units.
func TestIndexIsSmall(t *testing.T) { // not parallel: it reads the heap of the process
	few, many := heapOfIndex(t, 20_000), heapOfIndex(t, 400_000)
	t.Logf("20,000 units: %.2f MiB, 400,000 units: %.2f MiB", float64(few)/(1<<20), float64(many)/(1<<20))
	if grown := many - few; grown > 64<<10 || many > 1<<20 {
		t.Errorf("the index has %d bytes, and %d of a lot that is larger by 380,000 units", few, many)
	}
}

func heapOfIndex(t *testing.T, units uint64) int64 {
	t.Helper()
	before := heap()
	x := newIndex([]byte("key"), units, MaxRememberedSessions, usualPaging((&rooms{dir: t.TempDir()}).make))
	for u := range units {
		d := rendered{Serial: u, Index: uint32(u), Cert: []byte{1}}
		binary.BigEndian.PutUint64(d.receipt.Claim[:], u)
		binary.BigEndian.PutUint64(d.receipt.Session[:], u)
		d.receipt.Unit = perso.Unit(u)
		for n, result := range []string{entry.ResultScript, entry.ResultGood} {
			d.receipt.N, d.receipt.Seq, d.receipt.Result = uint8(n), 2*u+uint64(n), result
			if err := x.add(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := int64(heap()) - int64(before)
	for _, u := range []uint64{0, 700, units / 2, units - 1} {
		c, hash := entry.Claim{Unit: perso.Unit(u), Index: perso.EIDIndex(u)}, [32]byte{}
		binary.BigEndian.PutUint64(hash[:], u)
		if good, withCert, err := x.proven(c, hash, sha256.Sum256([]byte{1})); !good || !withCert || err != nil {
			t.Errorf("unit %d of %d: proven %v, %v, %v", u, units, good, withCert, err)
		}
	}
	if x.goods != units {
		t.Errorf("%d good", x.goods)
	}
	if err := x.close(); err != nil {
		t.Error(err)
	}
	return used
}

// A page that the disk lost, changed or gave back from earlier is an error, and never an item.
func TestPagesTrustNoDisk(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(r *room, before []byte){
		"one bit":       func(r *room, _ []byte) { r.b[9] ^= 4 },
		"all zero":      func(r *room, _ []byte) { clear(r.b) },
		"an older page": func(r *room, before []byte) { copy(r.b, before) },
		"cut short":     func(r *room, _ []byte) { r.b = r.b[:5] },
		"unreadable":    func(r *room, _ []byte) { r.fails = true },
	} {
		var made room
		x := newPages(100, tagLayout(), hmac.New(sha256.New, []byte("key")), paging{items: 4, resident: 1, room: func() (Scratch, error) { return &made, nil }})
		set := func(i, to uint64) error { return x.set(i, to) }
		if err := errors.Join(set(1, 7), set(50, 1)); err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(made.b)
		if err := errors.Join(set(1, 8), set(50, 2)); err != nil {
			t.Fatal(err)
		}
		if got, err := x.get(1); err != nil || got != 8 {
			t.Fatalf("unspoilt: %d, %v", got, err)
		}
		if _, err := x.get(50); err != nil {
			t.Fatal(err)
		}
		spoil(&made, before)
		if got, err := x.get(1); err == nil {
			t.Errorf("%s: read %d", name, got)
		}
	}
}

// A full disk is an error of the one who asked, and what is in memory stays right.
func TestPagesWithoutRoom(t *testing.T) {
	t.Parallel()
	x := newPages(100, tagLayout(), hmac.New(sha256.New, []byte("key")), paging{items: 4, resident: 1, room: noRoom})
	if err := x.set(1, 7); err != nil {
		t.Fatal(err)
	}
	if err := x.set(50, 1); !errors.Is(err, errNoRoom) {
		t.Errorf("another page: %v", err)
	}
	if got, err := x.get(1); err != nil || got != 7 {
		t.Errorf("the page in memory: %d, %v", got, err)
	}
	if err := x.set(100, 1); err == nil {
		t.Error("an item beyond the end was taken")
	}
	if got, err := x.get(100); err != nil || got != 0 {
		t.Errorf("an item beyond the end: %d, %v", got, err)
	}
}

var errNoRoom = errors.New("disk full")

func noRoom() (Scratch, error) { return nil, errNoRoom }

// rooms makes scratches: files in a folder, or memory without one.
type rooms struct{ dir string }

func (r *rooms) make() (Scratch, error) {
	if r.dir == "" {
		return &room{}, nil
	}
	return os.CreateTemp(r.dir, "scratch")
}

// room is a scratch in memory.
type room struct {
	b     []byte
	fails bool
}

func (r *room) ReadAt(p []byte, off int64) (int, error) {
	if r.fails {
		return 0, errNoRoom
	}
	n := copy(p, r.b[min(off, int64(len(r.b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (r *room) WriteAt(p []byte, off int64) (int, error) {
	if short := int(off) + len(p) - len(r.b); short > 0 {
		r.b = append(r.b, make([]byte, short)...)
	}
	return copy(r.b[off:], p), nil
}

func (r *room) Close() error { return nil }

// heap is how many bytes are in use after everything else was swept.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
