package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/fxamacker/cbor/v2"

	"github.com/persoline/persoline/ledger/internal/rows"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// The file of tables is a CBOR sequence (RFC 8742) of items: per table one that begins it, its rows, and one that ends it; then the end of
// all.
type item struct {
	_       struct{} `cbor:",toarray"`
	Kind    uint8
	Table   string
	Columns []string
	Row     []any
}

const (
	itemTable = 1 // Table, Columns
	itemRow   = 2 // Row
	itemEnd   = 3 // Table
	itemAll   = 4
)

// Integers are int64, whatever their sign.
var (
	encoding = must(cbor.CoreDetEncOptions().EncMode())
	decoding = must(cbor.DecOptions{IntDec: cbor.IntDecConvertSignedOrFail, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxArrayElements: 1 << 10}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const bufferBytes = 1 << 20

// counted counts and hashes what is written through it.
type counted struct {
	to  io.Writer
	n   int64
	sum hash.Hash
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n += int64(n)
	c.sum.Write(b[:n])
	return n, err
}

// writeTables writes all tables of a transaction's snapshot.
func writeTables(ctx context.Context, tx sqldb.Tx, to io.Writer, tables []schema.Table, told func(rows uint64)) (sums []TableSum, err error) {
	out := bufio.NewWriterSize(to, bufferBytes)
	put := func(i item) ([]byte, error) {
		b, err := encoding.Marshal(i)
		if err == nil {
			_, err = out.Write(b)
		}
		return b, err
	}
	for _, t := range tables {
		if _, err := put(item{Kind: itemTable, Table: t.Name, Columns: t.Columns}); err != nil {
			return nil, err
		}
		s, sum := TableSum{Name: t.Name}, sha256.New()
		err := rows.Read(ctx, tx, t, func(row []any) error {
			b, err := put(item{Kind: itemRow, Row: row})
			sum.Write(b)
			s.Rows++
			told(1)
			return err
		})
		if err == nil {
			_, err = put(item{Kind: itemEnd, Table: t.Name})
		}
		if err != nil {
			return nil, err
		}
		s.Sum = [sha256.Size]byte(sum.Sum(nil))
		sums = append(sums, s)
	}
	_, err = put(item{Kind: itemAll})
	return sums, errors.Join(err, out.Flush())
}

// sink takes what a file of tables holds.
type sink interface {
	table(t schema.Table) error
	row(t schema.Table, row []any) error
	end(t schema.Table) error
}

// readTables reads a file of tables, holds it against its manifest, and tells the sinks. What they were told holds only when it
// returns nil.
func readTables(from io.Reader, m Manifest, told func(rows uint64), to ...sink) error {
	whole := &counted{to: io.Discard, sum: sha256.New()}
	in := io.TeeReader(bufio.NewReaderSize(from, bufferBytes), whole)
	r := &reader{in: decoding.NewDecoder(in), to: to, told: told}
	err := r.all(m)
	// What is behind the last item counts as well.
	if _, rest := io.Copy(io.Discard, in); rest != nil {
		return fmt.Errorf("reading %s: %w", tablesFile, rest)
	}
	if whole.n != m.Bytes || [sha256.Size]byte(whole.sum.Sum(nil)) != m.Sum {
		return errors.Join(damaged("%s is not the file of the manifest: %d bytes, of %d", tablesFile, whole.n, m.Bytes), err)
	}
	return err
}

type reader struct {
	in   *cbor.Decoder
	to   []sink
	told func(uint64)
}

func (r *reader) next() (i item, raw []byte, err error) {
	var b cbor.RawMessage
	if err = r.in.Decode(&b); err == nil {
		err = decoding.Unmarshal(b, &i)
	}
	if err != nil {
		return i, nil, damaged("reading %s at byte %d: %v", tablesFile, r.in.NumBytesRead(), err)
	}
	return i, b, nil
}

func (r *reader) all(m Manifest) error {
	for _, want := range m.Tables {
		if err := r.table(want); err != nil {
			return err
		}
	}
	last, _, err := r.next()
	if err == nil && last.Kind != itemAll {
		err = damaged("table %s is not in the manifest", last.Table)
	}
	return err
}

// table reads one table.
func (r *reader) table(want TableSum) error {
	head, _, err := r.next()
	if err != nil {
		return err
	}
	if head.Kind != itemTable || head.Table != want.Name {
		return damaged("table %s is missing", want.Name)
	}
	t := schema.Table{Name: head.Table, Columns: head.Columns}
	got, sum := TableSum{Name: t.Name}, sha256.New()
	if err := r.tell(func(s sink) error { return s.table(t) }); err != nil {
		return err
	}
	for {
		i, raw, err := r.next()
		if err != nil {
			return err
		}
		if i.Kind != itemRow {
			if i.Kind != itemEnd || i.Table != t.Name {
				return damaged("table %s does not end", t.Name)
			}
			break
		}
		sum.Write(raw)
		got.Rows++
		r.told(1)
		if err := r.tell(func(s sink) error { return s.row(t, i.Row) }); err != nil {
			return err
		}
	}
	if got.Sum = [sha256.Size]byte(sum.Sum(nil)); got != want {
		return damaged("table %s is another one than the manifest says: %d rows, of %d", t.Name, got.Rows, want.Rows)
	}
	return r.tell(func(s sink) error { return s.end(t) })
}

func (r *reader) tell(what func(sink) error) error {
	for _, s := range r.to {
		if err := what(s); err != nil {
			return err
		}
	}
	return nil
}

// ErrDamaged says that a backup is not what was written: a file is changed, cut off, missing, or of another backup.
var ErrDamaged = errors.New("the backup is damaged")

// ErrNoBackup says that a folder holds no backup at all, whole or damaged.
var ErrNoBackup = errors.New("there is no backup")

func damaged(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, a...))
}
