// Package tree is the ledger's Merkle log: entries in the database, their hash tree in C2SP tlog-tiles form, proofs for
// whoever was told a root.
//
// A Log is a value of one size. Append returns the next one and leaves the old as it is, because only the commit decides
// which of the two is true: the caller swaps after it. A Log may be used by many goroutines, each with a Tx of its own
// that sees at least the Log's size (entries and full tiles are never changed, so a newer snapshot serves too).
//
// In memory is the right edge only: per level the partial tile and the last full ones, so that proofs of recent entries
// need no SQL. Hashing is RFC 6962, by golang.org/x/mod/sumdb/tlog. Only packages under ledger import it.
package tree

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/record"
)

// MaxItems bounds one Append: the ledger commits groups of at most 256 acts, each of which may add a few entries.
const MaxItems = 2_048

// What callers act on.
var (
	// ErrHeadMoved: another writer advanced the log since this Log was opened or appended; open it again.
	ErrHeadMoved = errors.New("log head moved")
	// ErrUnfit: the stored rows are not a log of the stored size. Nobody may append to it.
	ErrUnfit = errors.New("stored log does not fit together")
	// ErrRange: a number or size is not within this Log.
	ErrRange = errors.New("not within the log")
)

// The log's SQL.
const (
	headTable     = `log_head`
	touchHead     = `UPDATE log_head SET size = size WHERE id = 1`
	selectHead    = `SELECT size FROM log_head WHERE id = 1`
	advanceHead   = `UPDATE log_head SET size = $1 WHERE id = 1 AND size = $2`
	insertEntry   = `INSERT INTO log_entry (seq, kind, subject, body) VALUES ($1, $2, $3, $4)`
	insertTile    = `INSERT INTO log_tile (level, n, data) VALUES ($1, $2, $3)`
	selectTile    = `SELECT data FROM log_tile WHERE level = $1 AND n = $2`
	selectTiles   = `SELECT n, data FROM log_tile WHERE level = $1 AND n >= $2 ORDER BY n LIMIT $3`
	selectEntries = `SELECT seq, kind, body FROM log_entry WHERE seq >= $1 AND seq < $2 ORDER BY seq`
	selectLast    = `SELECT seq FROM log_entry ORDER BY seq DESC LIMIT 1`
	selectSigned  = `SELECT signed_size, note FROM log_head WHERE id = 1`
	updateSigned  = `UPDATE log_head SET signed_size = $1, note = $2 WHERE id = 1 AND signed_size = $3 AND size >= $1`
)

// Item is one entry to append: Body is hashed and stored as it is, Kind and Subject are its index.
type Item struct {
	Kind    string
	Subject []byte
	Body    []byte
}

// Log is the log at one size.
type Log struct {
	size int64
	rows []row // per tile level; level L has a row when it has a leaf
}

// Open reads the head, the full tiles on the right edge and the entries after the last full tile, and refuses with
// ErrUnfit when they are not one log. What lies left of the edge is proved by audit, not here.
func Open(ctx context.Context, tx sqldb.Tx) (*Log, error) {
	size, err := Size(ctx, tx)
	if err != nil {
		return nil, err
	}
	l := &Log{size: size}
	if err := l.checkEnds(ctx, tx); err != nil {
		return nil, fmt.Errorf("opening log of %d entries: %w", l.size, err)
	}
	return openAt(ctx, tx, l.size)
}

// Take begins a transaction that appends: it waits for other processes' appends and gives the size at which they left the
// log. It must be the transaction's first statement.
func Take(ctx context.Context, tx sqldb.Tx) (size int64, err error) {
	if err := sqldb.TakeTurn(ctx, tx, headTable, touchHead); err != nil {
		return 0, fmt.Errorf("waiting for the log's head: %w", err)
	}
	return Size(ctx, tx)
}

// Size reads how many entries the stored log has.
func Size(ctx context.Context, tx sqldb.Tx) (size int64, err error) {
	if err := tx.QueryRow(ctx, selectHead).Scan(&size); err != nil {
		return 0, fmt.Errorf("reading log head: %w", err)
	}
	return size, nil
}

// CatchUp gives the log at a larger size, with what other processes appended. l stays as it is.
func (l *Log) CatchUp(ctx context.Context, tx sqldb.Tx, size int64) (*Log, error) {
	switch {
	case size == l.size:
		return l, nil
	case size < l.size:
		return nil, fmt.Errorf("%w: it has %d entries and had %d: the database was put back to an earlier state", ErrUnfit, size, l.size)
	case size-l.size > MaxItems:
		return openAt(ctx, tx, size)
	}
	next := l.fork()
	err := tx.Each(ctx, func(row sqldb.Row) error {
		var seq int64
		var body []byte
		if err := row.Scan(&seq, new(string), &body); err != nil {
			return err
		}
		if seq != next.size {
			return fmt.Errorf("%w: entry %d follows %d", ErrUnfit, seq, next.size-1)
		}
		next.size++
		h := checkpoint.Leaf(body)
		for level := 0; ; level++ {
			done := next.grow(level, h)
			if done == nil {
				return nil
			}
			h = done.root()
		}
	}, selectEntries, l.size, size)
	if err == nil && next.size != size {
		err = fmt.Errorf("%w: entry %d is missing", ErrUnfit, next.size)
	}
	if err != nil {
		return nil, fmt.Errorf("catching up from %d to %d entries: %w", l.size, size, err)
	}
	return next, nil
}

// Replay computes the log of a size from its entries alone, one by one.
func Replay(ctx context.Context, tx sqldb.Tx, size int64) (*Log, error) {
	l := &Log{}
	for l.size < size {
		next, err := l.CatchUp(ctx, tx, min(size, l.size+MaxItems))
		if err != nil {
			return nil, err
		}
		l = next
	}
	return l, nil
}

// openAt reads the edge that the log had at a size.
func openAt(ctx context.Context, tx sqldb.Tx, size int64) (*Log, error) {
	l := &Log{size: size}
	for level := 0; l.size>>(height*level) > 0; level++ {
		r, err := l.openRow(ctx, tx, level)
		if err != nil {
			return nil, fmt.Errorf("opening log of %d entries: level %d: %w", l.size, level, err)
		}
		l.rows = append(l.rows, r)
	}
	return l, nil
}

// checkEnds refuses entries or full tiles after the ends that follow from the size.
func (l *Log) checkEnds(ctx context.Context, tx sqldb.Tx) error {
	last := int64(-1)
	if err := tx.QueryRow(ctx, selectLast).Scan(&last); err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return fmt.Errorf("reading last entry: %w", err)
	}
	if last != l.size-1 {
		return fmt.Errorf("%w: last entry is %d", ErrUnfit, last)
	}
	for level := 0; level == 0 || l.size>>(height*level) > 0; level++ {
		full := l.size >> (height * (level + 1))
		err := tx.Each(ctx, func(sqldb.Row) error {
			return fmt.Errorf("%w: level %d has more than %d full tiles", ErrUnfit, level, full)
		}, selectTiles, int64(level), full, int64(1))
		if err != nil {
			return err
		}
	}
	return nil
}

// openRow rebuilds one level's partial tile: from entries at level 0, above from the full tiles one level down.
func (l *Log) openRow(ctx context.Context, tx sqldb.Tx, level int) (row, error) {
	count := l.size >> (height * level)
	r := row{next: count / width}
	r.edge = &tile{nodes: make([]tlog.Hash, 0, fullNodes)}
	from := r.next * width
	if level == 0 {
		err := l.Entries(ctx, tx, from, count, func(_ int64, _ string, body []byte) error {
			r.edge.add(checkpoint.Leaf(body))
			return nil
		})
		return r, err
	}
	err := tx.Each(ctx, func(row sqldb.Row) error {
		var n int64
		var data []byte
		if err := row.Scan(&n, &data); err != nil {
			return err
		}
		t, err := readTile(data)
		if err != nil || n != from+int64(r.edge.leaves) {
			return fmt.Errorf("%w: full tile %d of level %d: %v", ErrUnfit, n, level-1, err)
		}
		r.edge.add(t.root())
		return nil
	}, selectTiles, int64(level-1), from, count-from)
	if err == nil && int64(r.edge.leaves) != count-from {
		err = fmt.Errorf("%w: level %d lacks full tiles from %d", ErrUnfit, level-1, from+int64(r.edge.leaves))
	}
	return r, err
}

// Append adds items to the log in tx and returns the number of the first. The head is moved first, so that of two
// writers one gets ErrHeadMoved before it has written a row. l stays as it is; next is true once tx is committed.
func (l *Log) Append(ctx context.Context, tx sqldb.Tx, items []Item) (first int64, next *Log, err error) {
	if len(items) > MaxItems {
		return 0, nil, fmt.Errorf("appending to log: %d items exceed %d", len(items), MaxItems)
	}
	if len(items) == 0 {
		return l.size, l, nil
	}
	size := l.size + int64(len(items))
	moved, err := tx.Exec(ctx, advanceHead, size, l.size)
	if err != nil {
		return 0, nil, fmt.Errorf("moving log head: %w", err)
	}
	if moved != 1 {
		return 0, nil, fmt.Errorf("appending to log of %d entries: %w", l.size, ErrHeadMoved)
	}
	next = l.fork()
	for _, it := range items {
		if err := next.append(ctx, tx, it); err != nil {
			return 0, nil, fmt.Errorf("appending entry %d: %w", next.size, err)
		}
	}
	return l.size, next, nil
}

// fork copies what grows: the edge of level 0. Edges above are copied when a tile below them completes.
func (l *Log) fork() *Log {
	next := &Log{size: l.size, rows: append([]row(nil), l.rows...)}
	if len(next.rows) > 0 {
		next.rows[0].edge = next.rows[0].edge.clone()
	}
	return next
}

func (l *Log) append(ctx context.Context, tx sqldb.Tx, it Item) error {
	if len(it.Body) > record.MaxRecordBytes {
		return fmt.Errorf("body of %d bytes exceeds %d", len(it.Body), record.MaxRecordBytes)
	}
	if _, err := tx.Exec(ctx, insertEntry, l.size, it.Kind, notNull(it.Subject), notNull(it.Body)); err != nil {
		return fmt.Errorf("storing entry: %w", err)
	}
	l.size++
	h := checkpoint.Leaf(it.Body)
	for level := 0; ; level++ {
		done := l.grow(level, h)
		if done == nil {
			return nil
		}
		n := l.rows[level].next - 1
		if _, err := tx.Exec(ctx, insertTile, int64(level), n, done.data(width)); err != nil {
			return fmt.Errorf("storing tile %d of level %d: %w", n, level, err)
		}
		h = done.root()
	}
}

// notNull: nil is NULL to a database, and an empty subject is not.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// grow adds one leaf to a level and returns the tile that it completed, or nil.
func (l *Log) grow(level int, h tlog.Hash) *tile {
	if level == len(l.rows) {
		l.rows = append(l.rows, row{edge: &tile{nodes: make([]tlog.Hash, 0, fullNodes)}})
	}
	r := &l.rows[level]
	if level > 0 {
		r.edge = r.edge.clone() // may be shared with older Logs
	}
	r.edge.add(h)
	if !r.edge.full() {
		return nil
	}
	return r.push()
}

// Size is the number of entries.
func (l *Log) Size() int64 { return l.size }

// Root is the root hash of the log at its size.
func (l *Log) Root() checkpoint.Hash {
	h, err := tlog.TreeHash(l.size, tlog.HashReaderFunc(l.edgeHashes))
	if err != nil {
		panic(fmt.Sprintf("tree: root of %d entries is not on the edge: %v", l.size, err))
	}
	return h
}

// Signed returns the last stored checkpoint note and the size that it signs; note is nil before the first.
func Signed(ctx context.Context, tx sqldb.Tx) (size int64, note []byte, err error) {
	if err := tx.QueryRow(ctx, selectSigned).Scan(&size, &note); err != nil {
		return 0, nil, fmt.Errorf("reading signed checkpoint: %w", err)
	}
	return size, note, nil
}

// SetSigned stores the note that signs this Log, by compare-and-set on the size signed before it; ErrHeadMoved says that
// another writer stored one.
func (l *Log) SetSigned(ctx context.Context, tx sqldb.Tx, before int64, note []byte) error {
	if l.size < before {
		return fmt.Errorf("storing signed checkpoint of %d entries after %d: %w", l.size, before, ErrRange)
	}
	n, err := tx.Exec(ctx, updateSigned, l.size, note, before)
	if err != nil {
		return fmt.Errorf("storing signed checkpoint of %d entries: %w", l.size, err)
	}
	if n != 1 {
		return fmt.Errorf("storing signed checkpoint of %d entries after %d: %w", l.size, before, ErrHeadMoved)
	}
	return nil
}
