package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
)

// Limits of a copy.
const (
	// copyRows and copyBytes bound what is in memory, and one transaction of the target.
	copyRows  = 2_000
	copyBytes = 4 << 20
	// copyTogether is how many rows one statement inserts: more gain nothing.
	copyTogether = 20
)

// notCopied are the tables that are a database's own: which processes ran on it.
var notCopied = []string{"process"}

// headTable is written last: without its row nothing is a ledger.
const headTable = "log_head"

// TableProof is one table as it is in both databases: how many rows, and the sum, modulo 2^256, of SHA-256 over each row.
type TableProof struct {
	Table string   `json:"table"`
	Rows  int64    `json:"rows"`
	Sum   [32]byte `json:"-"`
}

// CopyProof says in what a copy equals its source.
type CopyProof struct {
	Entries int64        `json:"log_entries"`
	Root    []byte       `json:"log_root"` // computed from the entries of either
	Tables  []TableProof `json:"tables"`
}

// CopyPlan is one copy.
type CopyPlan struct {
	From, To DB
	Name     string // of the target, for people
	Now      func() time.Time
	// Progress hears how many rows of all are done; nil: nobody asks.
	Progress func(table string, done, total int64)
}

// copier carries a plan out.
type copier struct {
	CopyPlan
	tables      []schema.Table
	done, total int64
}

// Copy moves a ledger that nobody serves into an empty database, proves that both are equal, and gives the source up: it can't be
// served or appended to any more (ErrMoved). Until then the target can't be served either, so that at no time there are two.
//
// Rows pass in bounded memory. A copy that broke off is begun anew by the same call, unless it had come to giving the source up:
// then that is completed.
func Copy(ctx context.Context, p CopyPlan) (CopyProof, error) {
	c := &copier{CopyPlan: p}
	proof, err := c.run(ctx)
	if err != nil {
		return proof, fmt.Errorf("copying the ledger to %s: %w", p.Name, err)
	}
	return proof, nil
}

func (c *copier) run(ctx context.Context) (proof CopyProof, err error) {
	all, _, err := schema.Tables()
	if err != nil {
		return proof, err
	}
	c.tables = slices.DeleteFunc(all, func(t schema.Table) bool { return slices.Contains(notCopied, t.Name) || t.Name == headTable })
	if err := schema.Check(ctx, c.From); err != nil {
		return proof, fmt.Errorf("the source: %w", err)
	}
	if err := schema.Init(ctx, c.To); err != nil && !errors.Is(err, schema.ErrExists) {
		return proof, fmt.Errorf("the target: %w", err)
	}
	given, err := c.givenUp(ctx)
	if err != nil {
		return proof, err
	}
	if given == nil {
		if err := c.begin(ctx); err != nil {
			return proof, err
		}
		if proof, given, err = c.copyAll(ctx); err != nil {
			return proof, err
		}
		if err := c.giveUp(ctx, *given); err != nil {
			return proof, err
		}
	}
	proof.Entries, proof.Root = given.Size, given.Root
	return proof, c.install(ctx, *given)
}

// givenUp finds out whether an earlier run gave the source up to this very target.
func (c *copier) givenUp(ctx context.Context) (given *Moved, err error) {
	var mark []byte
	err = errors.Join(
		c.From.View(ctx, func(tx sqldb.Tx) (err error) { given, err = readMoved(ctx, tx); return err }),
		c.To.View(ctx, func(tx sqldb.Tx) (err error) { mark, err = readMeta(ctx, tx, metaCopied); return err }))
	if err != nil || given == nil {
		return nil, err
	}
	if !bytes.Equal(mark, given.Root) {
		return nil, fmt.Errorf("%w: the source was moved to %s on %s already, and this target does not wait for the rest of that copy: it is complete, or went elsewhere", ErrMoved, given.To, given.At.Format(time.RFC3339))
	}
	return given, nil
}

// begin refuses a target that holds anything but what an earlier run left, which it empties.
func (c *copier) begin(ctx context.Context) error {
	return c.write(ctx, func(tx sqldb.Tx) error {
		mark, err := readMeta(ctx, tx, metaCopied)
		if err != nil {
			return err
		}
		for _, t := range slices.Backward(c.tables) {
			if mark == nil {
				var held int64
				if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM `+t.Name).Scan(&held); err != nil {
					return err
				}
				if held > 0 {
					return fmt.Errorf("%w: the target's table %s has %d rows; a copy goes into an empty database", ErrRefused, t.Name, held)
				}
			} else if _, err := tx.Exec(ctx, `DELETE FROM `+t.Name); err != nil {
				return err
			}
		}
		if mark == nil {
			if size, err := tree.Size(ctx, tx); err != nil || size != 0 {
				return errors.Join(err, fmt.Errorf("%w: the target holds a log of %d entries", ErrRefused, size))
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM `+headTable); err != nil {
			return err
		}
		return writeMeta(ctx, tx, metaCopied, []byte("begun"))
	})
}

// copyAll copies from one snapshot of the source and compares both. What it returns is to be written into the source.
func (c *copier) copyAll(ctx context.Context) (proof CopyProof, given *Moved, err error) {
	sums := map[string]TableProof{}
	given = &Moved{To: c.Name, At: c.Now().UTC().Truncate(time.Second)}
	runs := 0
	err = c.From.View(ctx, func(tx sqldb.Tx) error {
		if runs++; runs > 1 {
			return errors.New("the source asked for a second run: is it served by somebody?")
		}
		if err := c.count(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlHead).Scan(&given.Size, &given.Signed, &given.Note); err != nil {
			return fmt.Errorf("reading the source's head: %w", err)
		}
		for _, t := range c.tables {
			p, err := c.table(ctx, tx, t)
			if err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
			sums[t.Name] = p
		}
		log, err := tree.Open(ctx, tx)
		if err == nil {
			root := log.Root()
			given.Root = root[:]
		}
		return err
	})
	if err != nil {
		return proof, nil, err
	}
	proof, err = c.compare(ctx, sums, *given)
	return proof, given, err
}

func (c *copier) count(ctx context.Context, tx sqldb.Tx) error {
	c.done, c.total = 0, 0
	for _, t := range c.tables {
		var n int64
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM `+t.Name).Scan(&n); err != nil {
			return fmt.Errorf("counting table %s: %w", t.Name, err)
		}
		c.total += 2 * n // written, and read back
	}
	return nil
}

// table copies one table.
func (c *copier) table(ctx context.Context, from sqldb.Tx, t schema.Table) (p TableProof, err error) {
	p.Table = t.Name
	var rows [][]any
	size := 0
	flush := func() error {
		if err := c.insert(ctx, t, rows); err != nil {
			return err
		}
		rows, size = rows[:0], 0
		return nil
	}
	if err := c.read(ctx, from, t, func(row []any) error {
		p.Rows++
		p.Sum = added(p.Sum, rowSum(row))
		rows = append(rows, row)
		for _, v := range row {
			switch v := v.(type) {
			case []byte:
				size += len(v)
			case string:
				size += len(v)
			}
		}
		if len(rows) < copyRows && size < copyBytes {
			return nil
		}
		return flush()
	}); err != nil {
		return p, err
	}
	return p, flush()
}

// read gives every row of a table, in any order. The row is the callee's.
func (c *copier) read(ctx context.Context, tx sqldb.Tx, t schema.Table, f func(row []any) error) error {
	return tx.Each(ctx, func(r sqldb.Row) error {
		row := make([]any, len(t.Columns))
		into := make([]any, len(row))
		for i := range row {
			into[i] = &row[i]
		}
		if err := r.Scan(into...); err != nil {
			return err
		}
		if c.done++; c.Progress != nil {
			c.Progress(t.Name, c.done, c.total)
		}
		return f(row)
	}, `SELECT `+strings.Join(t.Columns, ", ")+` FROM `+t.Name)
}

// insert writes rows in one transaction, which may have been written already by a try whose outcome was unknown.
func (c *copier) insert(ctx context.Context, t schema.Table, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	return c.write(ctx, func(tx sqldb.Tx) error {
		for left := rows; len(left) > 0; {
			n := 1
			if len(left) >= copyTogether {
				n = copyTogether
			}
			if _, err := tx.Exec(ctx, insertRows(t, n), slices.Concat(left[:n]...)...); err != nil {
				return err
			}
			left = left[n:]
		}
		return nil
	})
}

func insertRows(t schema.Table, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", t.Name, strings.Join(t.Columns, ", "))
	for i := range n * len(t.Columns) {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%len(t.Columns) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	b.WriteString(") ON CONFLICT DO NOTHING")
	return b.String()
}

// compare reads the target back: rows and sums of each table, and the root of the log from its entries one by one.
func (c *copier) compare(ctx context.Context, sums map[string]TableProof, given Moved) (proof CopyProof, err error) {
	err = c.To.View(ctx, func(tx sqldb.Tx) error {
		proof = CopyProof{Entries: given.Size, Root: given.Root}
		c.done = c.total / 2
		for _, t := range c.tables {
			p := TableProof{Table: t.Name}
			if err := c.read(ctx, tx, t, func(row []any) error {
				if t.Name == "meta" && row[0] == metaCopied {
					return nil
				}
				p.Rows++
				p.Sum = added(p.Sum, rowSum(row))
				return nil
			}); err != nil {
				return fmt.Errorf("reading table %s back: %w", t.Name, err)
			}
			if p != sums[t.Name] {
				return fmt.Errorf("table %s differs: %d rows here, %d there, or other content", t.Name, p.Rows, sums[t.Name].Rows)
			}
			proof.Tables = append(proof.Tables, p)
		}
		log, err := tree.Replay(ctx, tx, given.Size)
		if err != nil {
			return fmt.Errorf("computing the log's root from its entries: %w", err)
		}
		if root := log.Root(); !bytes.Equal(root[:], given.Root) {
			return fmt.Errorf("the log's root differs: %x here, %x there", root, given.Root)
		}
		return nil
	})
	if err != nil {
		return proof, err
	}
	return proof, c.write(ctx, func(tx sqldb.Tx) error { return writeMeta(ctx, tx, metaCopied, given.Root) })
}

// giveUp takes the head from the source, if its log is still what was copied: from here on nothing is appended to it.
func (c *copier) giveUp(ctx context.Context, given Moved) error {
	text, err := json.Marshal(given)
	if err != nil {
		return err
	}
	err = mend(ctx, c.From, func(tx sqldb.Tx) error {
		if before, err := readMoved(ctx, tx); err != nil || before != nil {
			return err // by a try whose outcome was unknown
		}
		size, err := tree.Take(ctx, tx)
		if err != nil {
			return err
		}
		if size != given.Size {
			return fmt.Errorf("%w: the source grew from %d to %d entries meanwhile: stop its ledger, and copy again", ErrRefused, given.Size, size)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM `+headTable); err != nil {
			return err
		}
		return writeMeta(ctx, tx, metaMoved, text)
	})
	if err != nil {
		return fmt.Errorf("giving the source up: %w", err)
	}
	return nil
}

// install gives the target its head: from here on it is the ledger.
func (c *copier) install(ctx context.Context, given Moved) error {
	err := c.write(ctx, func(tx sqldb.Tx) error {
		if _, err := tx.Exec(ctx, sqlCutMeta, metaCopied); err != nil {
			return err
		}
		if err := redo.ForgetIn(ctx, tx); err != nil { // the source's, which knows nothing of what happens here
			return err
		}
		_, err := tx.Exec(ctx, sqlAddHead, given.Size, given.Signed, given.Note)
		return err
	})
	if err != nil {
		return fmt.Errorf("giving the target its head: %w", err)
	}
	return nil
}

func (c *copier) write(ctx context.Context, f func(sqldb.Tx) error) error { return mend(ctx, c.To, f) }

// rowSum hashes a row: each value with its type and length before it.
func rowSum(row []any) [32]byte {
	h := sha256.New()
	put := func(kind byte, b []byte) {
		h.Write(append(binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(b))), b...))
	}
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			put('n', nil)
		case int64:
			put('i', binary.BigEndian.AppendUint64(nil, uint64(v)))
		case bool:
			put('b', fmt.Append(nil, v))
		case string:
			put('t', []byte(v))
		case []byte:
			put('x', v)
		}
	}
	return [32]byte(h.Sum(nil))
}

// added adds modulo 2^256, so that the order of rows does not matter, and a row that is there twice counts twice.
func added(a, b [32]byte) (sum [32]byte) {
	var carry uint64
	for i := 24; i >= 0; i -= 8 {
		var word uint64
		word, carry = bits.Add64(binary.BigEndian.Uint64(a[i:]), binary.BigEndian.Uint64(b[i:]), carry)
		binary.BigEndian.PutUint64(sum[i:], word)
	}
	return sum
}
