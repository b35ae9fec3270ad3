package backup

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// logCheck is a sink that computes the log's tiles and root from its entries alone, and holds the stored tiles, the head and the
// checkpoints against them.
type logCheck struct {
	at      []int64 // sizes whose roots are wanted
	genesis entry.Genesis
	log     *tree.Log
	roots   map[int64]checkpoint.Hash
	tiles   map[[2]int64][sha256.Size]byte // full ones, by level and number, that are not yet seen stored
}

func newLogCheck(at ...int64) *logCheck {
	return &logCheck{at: at, log: new(tree.Log), roots: map[int64]checkpoint.Hash{}, tiles: map[[2]int64][sha256.Size]byte{}}
}

func (c *logCheck) table(schema.Table) error { return nil }

// tables and columns that it knows.
const (
	tableEntries = "log_entry"
	tableTiles   = "log_tile"
	tableHead    = "log_head"
)

func (c *logCheck) row(t schema.Table, row []any) error {
	switch t.Name {
	case tableEntries:
		seq, body, ok := int64(-1), []byte(nil), false
		if len(row) == 4 {
			seq, _ = row[0].(int64)
			body, ok = row[3].([]byte)
		}
		if !ok || seq != c.log.Size() {
			return damaged("log entry %d is not behind entry %d", seq, c.log.Size()-1)
		}
		return c.entry(body)
	case tableTiles:
		return c.tile(row)
	}
	return nil
}

// entry takes the next one.
func (c *logCheck) entry(body []byte) (err error) {
	if c.log.Size() == 0 {
		if c.genesis, err = entry.ParseGenesis(body); err != nil {
			return damaged("log entry 0: %v", err)
		}
	}
	c.log.Add(body, func(level, n int64, data []byte) { c.tiles[[2]int64{level, n}] = sha256.Sum256(data) })
	for _, size := range c.at {
		if size == c.log.Size() {
			c.roots[size] = c.log.Root()
		}
	}
	return nil
}

func (c *logCheck) tile(row []any) error {
	if len(row) != 3 {
		return damaged("a tile of %d columns", len(row))
	}
	level, _ := row[0].(int64)
	n, _ := row[1].(int64)
	data, _ := row[2].([]byte)
	want, ok := c.tiles[[2]int64{level, n}]
	if !ok || sha256.Sum256(data) != want {
		return damaged("tile %d of level %d of the log is not that of its entries", n, level)
	}
	delete(c.tiles, [2]int64{level, n})
	return nil
}

func (c *logCheck) end(t schema.Table) error {
	if t.Name == tableTiles && len(c.tiles) > 0 {
		return damaged("%d tiles of the log are missing", len(c.tiles))
	}
	return nil
}

// holds checks a signed checkpoint against the log.
func (c *logCheck) holds(note []byte) error {
	cp, err := checkpoint.Open(note, c.genesis.Origin, c.genesis.LogKey)
	if err != nil {
		return err
	}
	return c.continues(cp)
}

// ErrRolledBack and ErrForked are what a checkpoint that was held outside tells of a log.
var (
	ErrRolledBack = fmt.Errorf("the log was rolled back")
	ErrForked     = fmt.Errorf("the log was forked")
)

func (c *logCheck) continues(cp checkpoint.Checkpoint) error {
	root, known := c.roots[cp.Size]
	switch {
	case cp.Size > c.log.Size():
		return fmt.Errorf("%w: a checkpoint of %d entries was signed, and there are %d", ErrRolledBack, cp.Size, c.log.Size())
	case !known:
		return fmt.Errorf("root of %d entries was not computed", cp.Size)
	case !bytes.Equal(root[:], cp.Root[:]):
		return fmt.Errorf("%w: its first %d entries have another root than a signed checkpoint says", ErrForked, cp.Size)
	}
	return nil
}
