package tree

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso/checkpoint"
)

// Prove gives the inclusion proof of entry seq in the log of Size entries (RFC 6962, section 2.1.1). For the last
// thousand entries it needs no SQL, and tx may then be nil.
func (l *Log) Prove(ctx context.Context, tx sqldb.Tx, seq int64) ([][32]byte, error) {
	if seq < 0 || seq >= l.size {
		return nil, fmt.Errorf("proving entry %d in %d: %w", seq, l.size, ErrRange)
	}
	p, err := tlog.ProveRecord(l.size, seq, l.reader(ctx, tx))
	if err != nil {
		return nil, fmt.Errorf("proving entry %d in %d: %w", seq, l.size, err)
	}
	return plain(p), nil
}

// ProveConsistency gives the proof that the log of old entries is the beginning of this one (RFC 6962, section 2.1.2).
// From 0 and from Size it is empty.
func (l *Log) ProveConsistency(ctx context.Context, tx sqldb.Tx, old int64) ([][32]byte, error) {
	if old < 0 || old > l.size {
		return nil, fmt.Errorf("proving %d to be the beginning of %d: %w", old, l.size, ErrRange)
	}
	if old == 0 || old == l.size {
		return nil, nil
	}
	p, err := tlog.ProveTree(l.size, old, l.reader(ctx, tx))
	if err != nil {
		return nil, fmt.Errorf("proving %d to be the beginning of %d: %w", old, l.size, err)
	}
	return plain(p), nil
}

// RootAt is the root that the log had at an earlier size; a signed checkpoint must say the same.
func (l *Log) RootAt(ctx context.Context, tx sqldb.Tx, size int64) (checkpoint.Hash, error) {
	if size < 0 || size > l.size {
		return checkpoint.Hash{}, fmt.Errorf("hashing the first %d of %d entries: %w", size, l.size, ErrRange)
	}
	h, err := tlog.TreeHash(size, l.reader(ctx, tx))
	if err != nil {
		return checkpoint.Hash{}, fmt.Errorf("hashing the first %d of %d entries: %w", size, l.size, err)
	}
	return h, nil
}

// Entries calls f for each entry of [from, to), in order. A missing one is ErrUnfit. f must run no statement on tx.
func (l *Log) Entries(ctx context.Context, tx sqldb.Tx, from, to int64, f func(seq int64, kind string, body []byte) error) error {
	if from < 0 || to < from || to > l.size {
		return fmt.Errorf("reading entries %d to %d of %d: %w", from, to, l.size, ErrRange)
	}
	want := from
	err := tx.Each(ctx, func(row sqldb.Row) error {
		var seq int64
		var kind string
		var body []byte
		if err := row.Scan(&seq, &kind, &body); err != nil {
			return err
		}
		if seq != want {
			return fmt.Errorf("%w: entry %d is missing", ErrUnfit, want)
		}
		want++
		return f(seq, kind, body)
	}, selectEntries, from, to)
	if err == nil && want != to {
		err = fmt.Errorf("%w: entry %d is missing", ErrUnfit, want)
	}
	if err != nil {
		return fmt.Errorf("reading entries %d to %d: %w", from, to, err)
	}
	return nil
}

// EntryAt reads one entry.
func (l *Log) EntryAt(ctx context.Context, tx sqldb.Tx, seq int64) (kind string, body []byte, err error) {
	err = l.Entries(ctx, tx, seq, seq+1, func(_ int64, k string, b []byte) error {
		kind, body = k, b
		return nil
	})
	return kind, body, err
}

// Tile gives the bytes of a tile file: w hashes of a level, or for tilepath.Entries w entries, each after its length in
// two bytes, big-endian. Any width that some size of the log had can be asked for.
func (l *Log) Tile(ctx context.Context, tx sqldb.Tx, t tilepath.Tile) ([]byte, error) {
	level := max(t.Level, 0)
	if t.Level < tilepath.Entries || level > maxLevel || t.N < 0 || t.Width < 1 || t.Width > width ||
		t.N > l.size/width || t.N*width+int64(t.Width) > l.size>>(height*level) {
		return nil, fmt.Errorf("reading %q of %d entries: %w", t.Path(), l.size, ErrRange)
	}
	if t.Level == tilepath.Entries {
		return l.entryTile(ctx, tx, t)
	}
	r := l.reader(ctx, tx)
	found, err := r.tile(t.Level, t.N)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", t.Path(), err)
	}
	return found.data(t.Width), nil
}

func (l *Log) entryTile(ctx context.Context, tx sqldb.Tx, t tilepath.Tile) ([]byte, error) {
	var out []byte
	from := t.N * width
	err := l.Entries(ctx, tx, from, from+int64(t.Width), func(_ int64, _ string, body []byte) error {
		out = binary.BigEndian.AppendUint16(out, uint16(len(body))) // Append admits no longer one
		out = append(out, body...)
		return nil
	})
	return out, err
}

// maxLevel is the last level that a size in an int64 can reach.
const maxLevel = 7

// reader serves tlog's algorithms from the edge, else from stored full tiles, each read once.
type reader struct {
	ctx  context.Context
	log  *Log
	tx   sqldb.Tx
	read map[[2]int64]*tile
}

func (l *Log) reader(ctx context.Context, tx sqldb.Tx) *reader {
	return &reader{ctx: ctx, log: l, tx: tx}
}

// ReadHashes implements tlog.HashReader.
func (r *reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		p := placeOf(index)
		t, err := r.tile(p.level, p.tile)
		if err != nil {
			return nil, err
		}
		out[i] = t.node(p.up, p.n)
	}
	return out, nil
}

func (r *reader) tile(level int, n int64) (*tile, error) {
	if t := r.log.rows[level].at(n); t != nil {
		return t, nil
	}
	key := [2]int64{int64(level), n}
	if t := r.read[key]; t != nil {
		return t, nil
	}
	if r.tx == nil {
		return nil, errors.New("tile is not in memory and there is no transaction to read it")
	}
	var data []byte
	err := r.tx.QueryRow(r.ctx, selectTile, int64(level), n).Scan(&data)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = fmt.Errorf("%w: it is not stored", ErrUnfit)
	}
	var t *tile
	if err == nil {
		t, err = readTile(data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading tile %d of level %d: %w", n, level, err)
	}
	if r.read == nil {
		r.read = make(map[[2]int64]*tile)
	}
	r.read[key] = t
	return t, nil
}

// edgeHashes serves what is in memory, which is all that the root needs.
func (l *Log) edgeHashes(indexes []int64) ([]tlog.Hash, error) {
	return (&reader{log: l}).ReadHashes(indexes)
}

// place is where a stored hash lies: node n of height up in a tile.
type place struct {
	level int
	tile  int64
	up    int
	n     int64
}

func placeOf(index int64) place {
	level, n := tlog.SplitStoredHashIndex(index)
	up := level % height
	perTile := int64(width >> up)
	return place{level: level / height, tile: n / perTile, up: up, n: n % perTile}
}

func plain(p []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(p))
	for i, h := range p {
		out[i] = h
	}
	return out
}
