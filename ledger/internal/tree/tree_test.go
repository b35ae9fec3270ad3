package tree

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/record"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLog(t testing.TB, db sqldb.DB) *Log {
	t.Helper()
	var l *Log
	must(t, db.View(context.Background(), func(tx sqldb.Tx) (err error) {
		l, err = Open(context.Background(), tx)
		return err
	}))
	return l
}

func appendTo(t testing.TB, db sqldb.DB, l *Log, items []Item) *Log {
	t.Helper()
	ctx := context.Background()
	var next *Log
	must(t, db.Update(ctx, func(tx sqldb.Tx) error {
		first, n, err := l.Append(ctx, tx, items)
		if err == nil && first != l.Size() {
			t.Errorf("first of %d entries is %d", l.Size(), first)
		}
		next = n
		return err
	}))
	return next
}

func body(seq int64) []byte { return fmt.Appendf(nil, "entry %d", seq) }

func batch(from int64, n int) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{Kind: "test", Subject: []byte("s"), Body: body(from + int64(i))}
	}
	return items
}

// naive is RFC 6962, section 2.1, word by word.
func naive(leaves [][]byte) checkpoint.Hash {
	switch len(leaves) {
	case 0:
		return checkpoint.EmptyRoot()
	case 1:
		return tlog.RecordHash(leaves[0])
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	return tlog.NodeHash(naive(leaves[:k]), naive(leaves[k:]))
}

// TestRFC6962Anchors: the inputs that every implementation of certificate transparency is tested with.
func TestRFC6962Anchors(t *testing.T) {
	t.Parallel()
	inputs := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	db := ledgertest.PreparedMemory(t)
	l := openLog(t, db)
	for i, want := range roots {
		if root := l.Root(); hex.EncodeToString(root[:]) != want {
			t.Errorf("root of %d is %x, want %s", i, root, want)
		}
		if i < len(inputs) {
			b, err := hex.DecodeString(inputs[i])
			must(t, err)
			l = appendTo(t, db, l, []Item{{Kind: "anchor", Body: b}})
		}
	}
}

// TestProofs grows a log in uneven batches and checks every proof at many sizes, from memory and after reopening.
func TestProofs(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := openLog(t, db)
	var leaves [][]byte
	roots := []checkpoint.Hash{l.Root()}
	for n := 0; l.Size() < 600; n++ {
		from := l.Size()
		l = appendTo(t, db, l, batch(from, 1+n%7))
		for seq := from; seq < l.Size(); seq++ {
			leaves = append(leaves, body(seq))
			roots = append(roots, naive(leaves))
		}
		if l.Root() != roots[l.Size()] {
			t.Fatalf("root of %d differs", l.Size())
		}
		must(t, db.View(ctx, func(tx sqldb.Tx) error {
			if n%9 == 0 || l.Size() > 590 {
				checkAll(t, tx, openLog2(t, tx), roots)
			}
			checkAll(t, nil, l, roots)
			return nil
		}))
	}
}

func openLog2(t *testing.T, tx sqldb.Tx) *Log {
	l, err := Open(t.Context(), tx)
	must(t, err)
	return l
}

func checkAll(t *testing.T, tx sqldb.Tx, l *Log, roots []checkpoint.Hash) {
	t.Helper()
	ctx, now := t.Context(), checkpoint.Checkpoint{Origin: "log", Size: l.Size(), Root: l.Root()}
	for seq := range l.Size() {
		p, err := l.Prove(ctx, tx, seq)
		must(t, err)
		must(t, checkpoint.CheckInclusion(now, seq, body(seq), hashes(p)))
	}
	for old := range l.Size() + 1 {
		p, err := l.ProveConsistency(ctx, tx, old)
		must(t, err)
		then := checkpoint.Checkpoint{Origin: "log", Size: old, Root: roots[old]}
		must(t, checkpoint.CheckConsistency(then, now, hashes(p)))
		root, err := l.RootAt(ctx, tx, old)
		must(t, err)
		if root != roots[old] {
			t.Fatalf("root of %d seen from %d differs", old, l.Size())
		}
	}
}

func hashes(p [][32]byte) []checkpoint.Hash {
	out := make([]checkpoint.Hash, len(p))
	for i, h := range p {
		out[i] = h
	}
	return out
}

// TestLevels crosses the end of a level-1 tile (65,536 entries), where three levels change at once, and the reach of
// what is in memory.
func TestLevels(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := openLog(t, db)
	for l.Size() < 65_536+300 {
		l = appendTo(t, db, l, batch(l.Size(), MaxItems-5))
	}
	again := openLog(t, db)
	if again.Root() != l.Root() || again.Size() != l.Size() {
		t.Fatalf("reopened log of %d differs", l.Size())
	}
	must(t, db.View(ctx, func(tx sqldb.Tx) error {
		now := checkpoint.Checkpoint{Origin: "log", Size: l.Size(), Root: l.Root()}
		for _, from := range []*Log{l, again} {
			for _, seq := range []int64{0, 255, 256, 40_000, 65_535, 65_536, l.Size() - 1} {
				p, err := from.Prove(ctx, tx, seq)
				must(t, err)
				must(t, checkpoint.CheckInclusion(now, seq, body(seq), hashes(p)))
			}
			p, err := from.ProveConsistency(ctx, tx, 65_535)
			must(t, err)
			root, err := from.RootAt(ctx, tx, 65_535)
			must(t, err)
			must(t, checkpoint.CheckConsistency(checkpoint.Checkpoint{Origin: "log", Size: 65_535, Root: root}, now, hashes(p)))
		}
		return nil
	}))
	if _, err := l.Prove(ctx, nil, l.Size()-1000); err != nil {
		t.Errorf("proof of a recent entry needs SQL: %v", err)
	}
	if _, err := l.Prove(ctx, nil, 0); err == nil {
		t.Error("an old entry was proved from nothing")
	}
	checkTiles(t, db, l)
}

// checkTiles reads the log as an auditor does: every file of its size, hashes recomputed from the entries.
func checkTiles(t *testing.T, db sqldb.DB, l *Log) {
	t.Helper()
	ctx := t.Context()
	level := map[int][]byte{}
	must(t, db.View(ctx, func(tx sqldb.Tx) error {
		for _, name := range tilepath.Cover(l.Size()) {
			data, err := l.Tile(ctx, tx, name)
			must(t, err)
			level[name.Level] = append(level[name.Level], data...)
		}
		return nil
	}))
	var leaves []byte
	for rest := level[tilepath.Entries]; len(rest) > 0; {
		n := 2 + int(binary.BigEndian.Uint16(rest))
		h := tlog.RecordHash(rest[2:n])
		leaves, rest = append(leaves, h[:]...), rest[n:]
	}
	for i := 0; len(leaves) > 0; i++ {
		if !bytes.Equal(leaves, level[i]) {
			t.Fatalf("tiles of level %d are not the hashes of what lies below", i)
		}
		var up []byte
		for len(leaves) >= tileBytes {
			full, err := readTile(leaves[:tileBytes])
			must(t, err)
			h := full.root()
			up, leaves = append(up, h[:]...), leaves[tileBytes:]
		}
		leaves = up
	}
}

func TestTileRanges(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := appendTo(t, db, openLog(t, db), batch(0, 300))
	must(t, db.View(ctx, func(tx sqldb.Tx) error {
		for _, c := range []struct {
			tile tilepath.Tile
			ok   bool
		}{
			{tilepath.Tile{Level: 0, N: 0, Width: 256}, true}, {tilepath.Tile{Level: 0, N: 0, Width: 17}, true},
			{tilepath.Tile{Level: 0, N: 1, Width: 44}, true}, {tilepath.Tile{Level: 0, N: 1, Width: 45}, false},
			{tilepath.Tile{Level: 1, N: 0, Width: 1}, true}, {tilepath.Tile{Level: 1, N: 0, Width: 2}, false},
			{tilepath.Tile{Level: 2, N: 0, Width: 1}, false}, {tilepath.Tile{Level: tilepath.Entries, N: 1, Width: 44}, true},
			{tilepath.Tile{Level: tilepath.Entries, N: 1, Width: 45}, false}, {tilepath.Tile{Level: -2, N: 0, Width: 1}, false},
			{tilepath.Tile{Level: 0, N: -1, Width: 1}, false}, {tilepath.Tile{Level: 0, N: 0, Width: 0}, false},
			{tilepath.Tile{Level: 9, N: 0, Width: 1}, false}, {tilepath.Tile{Level: 0, N: 1 << 62, Width: 1}, false},
		} {
			data, err := l.Tile(ctx, tx, c.tile)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRange) {
				t.Errorf("%q: %v", c.tile.Path(), err)
			}
			if c.ok && c.tile.Level >= 0 && len(data) != c.tile.Width*32 {
				t.Errorf("%q has %d bytes", c.tile.Path(), len(data))
			}
		}
		return nil
	}))
	for _, err := range []error{
		second(l.Prove(ctx, nil, 300)), second(l.Prove(ctx, nil, -1)), second(l.ProveConsistency(ctx, nil, 301)),
		second(l.RootAt(ctx, nil, -1)), l.Entries(ctx, nil, 5, 4, nil), l.Entries(ctx, nil, 0, 301, nil),
	} {
		if !errors.Is(err, ErrRange) {
			t.Errorf("out of range: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestEntryAt(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := appendTo(t, db, openLog(t, db), batch(0, 3))
	must(t, db.View(ctx, func(tx sqldb.Tx) error {
		kind, b, err := l.EntryAt(ctx, tx, 2)
		if err != nil || kind != "test" || !bytes.Equal(b, body(2)) {
			t.Errorf("got %q, %q, %v", kind, b, err)
		}
		return nil
	}))
}

// TestTwoWriters: of two Logs of one size only one may append, and the loser has written nothing.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := appendTo(t, db, openLog(t, db), batch(0, 10))
	won := appendTo(t, db, l, batch(10, 5))
	err := db.Update(ctx, func(tx sqldb.Tx) error {
		_, _, err := l.Append(ctx, tx, batch(10, 7))
		return err
	})
	if !errors.Is(err, ErrHeadMoved) {
		t.Errorf("second writer: %v", err)
	}
	if got := openLog(t, db); got.Size() != 15 || got.Root() != won.Root() {
		t.Errorf("log has %d entries", got.Size())
	}
}

// TestForksShareNothing: two continuations of one Log, of which only one may come true, do not disturb each other.
func TestForksShareNothing(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := appendTo(t, db, openLog(t, db), batch(0, 250))
	before := l.Root()
	var lost *Log
	undo := errors.New("undo")
	err := db.Update(ctx, func(tx sqldb.Tx) (err error) {
		other := batch(1000, 600)
		if _, lost, err = l.Append(ctx, tx, other); err != nil {
			return err
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	lostRoot := lost.Root()
	next := appendTo(t, db, l, batch(250, 600))
	if l.Root() != before || lost.Root() != lostRoot || next.Root() == lostRoot {
		t.Error("a fork changed another")
	}
	if openLog(t, db).Root() != next.Root() {
		t.Error("the committed fork is not what is stored")
	}
}

// TestDurablePairs: each fault of the commit, after which the log opened again is whole and of one of the two sizes.
func TestDurablePairs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault   ledgertest.Fault
		written bool
		fails   bool
	}{
		{ledgertest.Lost, false, true}, {ledgertest.AmbiguousLost, false, true}, {ledgertest.AmbiguousWritten, true, true},
		{ledgertest.Written, true, true}, {ledgertest.Twice, true, false},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			db := ledgertest.WithFaults(ledgertest.PreparedMemory(t), ledgertest.At(2, c.fault))
			l := appendTo(t, db, openLog(t, db), batch(0, 200))
			var next *Log
			err := db.Update(ctx, func(tx sqldb.Tx) (err error) {
				_, next, err = l.Append(ctx, tx, batch(200, 100))
				return err
			})
			if (err != nil) != c.fails {
				t.Fatalf("reported %v", err)
			}
			want := l
			if c.written {
				want = next
			}
			got := openLog(t, db)
			if got.Size() != want.Size() || got.Root() != want.Root() {
				t.Fatalf("opened %d entries, want %d", got.Size(), want.Size())
			}
			got = appendTo(t, db, got, batch(got.Size(), 100))
			if got.Root() != openLog(t, db).Root() {
				t.Error("log does not go on")
			}
		})
	}
}

// TestOpenRefuses what no commit can have left.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"head too small":    `UPDATE log_head SET size = size - 1`,
		"head too large":    `UPDATE log_head SET size = size + 1`,
		"tail entry gone":   `DELETE FROM log_entry WHERE seq = 650`,
		"tile gone":         `DELETE FROM log_tile WHERE level = 0 AND n = 1`,
		"tile cut":          `UPDATE log_tile SET data = subject FROM log_entry WHERE seq = 1`,
		"tile after end":    `INSERT INTO log_tile (level, n, data) SELECT 0, 2, data FROM log_tile WHERE n = 0`,
		"tile of no level":  `INSERT INTO log_tile (level, n, data) SELECT 1, 0, data FROM log_tile WHERE n = 0`,
		"last entry gone":   `DELETE FROM log_entry WHERE seq = 699`,
		"entry after end":   `INSERT INTO log_entry (seq, kind, subject, body) SELECT 900, kind, subject, body FROM log_entry WHERE seq = 1`,
		"everything erased": `DELETE FROM log_entry`,
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, ctx := ledgertest.PreparedMemory(t), t.Context()
			appendTo(t, db, openLog(t, db), batch(0, 700))
			must(t, db.Update(ctx, func(tx sqldb.Tx) error { _, err := tx.Exec(ctx, damage); return err }))
			err := db.View(ctx, func(tx sqldb.Tx) error { return second(Open(ctx, tx)) })
			if !errors.Is(err, ErrUnfit) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

func TestAppendLimits(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := openLog(t, db)
	for name, items := range map[string][]Item{
		"body": {{Kind: "big", Body: make([]byte, record.MaxRecordBytes+1)}}, "items": batch(0, MaxItems+1),
	} {
		err := db.Update(ctx, func(tx sqldb.Tx) error {
			_, _, err := l.Append(ctx, tx, items)
			return err
		})
		if err == nil {
			t.Errorf("no limit on %s", name)
		}
	}
	if same := appendTo(t, db, l, nil); same != l {
		t.Error("appending nothing made another log")
	}
}

func TestSigned(t *testing.T) {
	t.Parallel()
	db, ctx := ledgertest.PreparedMemory(t), t.Context()
	l := appendTo(t, db, openLog(t, db), batch(0, 4))
	set := func(l *Log, before int64, note string) error {
		return db.Update(ctx, func(tx sqldb.Tx) error { return l.SetSigned(ctx, tx, before, []byte(note)) })
	}
	must(t, set(l, 0, "first"))
	next := appendTo(t, db, l, batch(4, 4))
	must(t, set(next, 4, "second"))
	if err := set(next, 4, "third"); !errors.Is(err, ErrHeadMoved) {
		t.Errorf("second note of one size: %v", err)
	}
	if err := set(l, 8, "back"); !errors.Is(err, ErrRange) {
		t.Errorf("older note: %v", err)
	}
	must(t, db.View(ctx, func(tx sqldb.Tx) error {
		size, note, err := Signed(ctx, tx)
		if err != nil || size != 8 || string(note) != "second" {
			t.Errorf("got %d, %q, %v", size, note, err)
		}
		return nil
	}))
}

func BenchmarkAppend256(b *testing.B) {
	ctx := context.Background()
	db, err := ledgertest.Create(ctx, filepath.Join(b.TempDir(), "ledger.db"))
	must(b, err)
	must(b, ledgertest.Init(ctx, db))
	l := openLog(b, db)
	for b.Loop() {
		l = appendTo(b, db, l, batch(l.Size(), 256))
	}
	must(b, db.Close())
}

// discard is a Tx that takes everything, to measure what Append costs besides SQL.
type discard struct{ sqldb.Tx }

func (discard) Exec(context.Context, string, ...any) (int64, error) { return 1, nil }

func BenchmarkAppend256WithoutSQL(b *testing.B) {
	l := &Log{}
	items := batch(0, 256)
	for b.Loop() {
		_, next, err := l.Append(context.Background(), discard{}, items)
		must(b, err)
		l = next
	}
}

func BenchmarkProveRecent(b *testing.B) {
	l := &Log{}
	for l.Size() < 100_000 {
		_, next, err := l.Append(context.Background(), discard{}, batch(l.Size(), 1000))
		must(b, err)
		l = next
	}
	i := int64(0)
	for b.Loop() {
		i++
		_, err := l.Prove(context.Background(), nil, l.Size()-1-i%900)
		must(b, err)
	}
}
