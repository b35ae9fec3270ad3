package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
)

// Keys of the table meta, by which a database says that it is no ledger to be served.
const (
	metaMoved  = "moved"  // its content was copied and goes on elsewhere (Moved)
	metaCopied = "copied" // it is being filled from another one, or is full and waits for that one to be given up
)

// Moved is what a database keeps of itself when its ledger goes on in another one. It has no head of the log any more, so that
// nothing can be appended to it, by whatever process.
type Moved struct {
	To     string    `json:"to"` // for people
	At     time.Time `json:"at"`
	Size   int64     `json:"log_size"`
	Root   []byte    `json:"log_root"`
	Signed int64     `json:"signed_size"`
	Note   []byte    `json:"note,omitempty"`
}

// ErrMoved says that a database is not, or not yet, the one to serve its ledger from.
var ErrMoved = errors.New("this database does not serve its ledger")

// Description is how a database stands that holds, held or will hold a ledger.
type Description struct {
	Kind       string `json:"database"`
	Migrations int    `json:"migrations"`
	Known      int    `json:"migrations_known"` // to this program
	Entries    int64  `json:"log_entries"`
	Signed     int64  `json:"signed_entries"`
	Moved      *Moved `json:"moved,omitempty"`
	Copying    bool   `json:"copy_unfinished,omitempty"`
	Restored   bool   `json:"restored_unsigned,omitempty"` // from a backup, and officers have not signed what was restored
	Restoring  bool   `json:"restore_unfinished,omitempty"`
}

// Describe looks at a database and changes nothing. One without tables is sqldb.ErrMissing.
func Describe(ctx context.Context, db DB) (d Description, err error) {
	d.Kind = string(sqldb.KindOf(db))
	if d.Known, err = schema.Known(); err != nil {
		return d, err
	}
	if d.Migrations, err = schema.Has(ctx, db); err != nil || d.Migrations == 0 {
		return d, err
	}
	err = db.View(ctx, func(tx sqldb.Tx) error {
		if d.Moved, err = readMoved(ctx, tx); err != nil {
			return err
		}
		mark, err := readMeta(ctx, tx, metaCopied)
		if err != nil {
			return err
		}
		d.Copying = mark != nil
		if _, d.Restored, err = restored.Read(ctx, tx); err != nil {
			return err
		}
		if d.Restoring, err = restored.Unfinished(ctx, tx); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, sqlHead).Scan(&d.Entries, &d.Signed, new([]byte))
		if errors.Is(err, sqldb.ErrNoRows) && d.Moved != nil {
			d.Entries, d.Signed = d.Moved.Size, d.Moved.Signed
		}
		if errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return d, fmt.Errorf("describing the database: %w", err)
	}
	return d, nil
}

// Upgrade applies the migrations that a ledger lacks; InitTables makes those of a database that has none, and goes on with one
// whose making was interrupted. Entry 0 comes from the key ceremony, or with a copy.
func Upgrade(ctx context.Context, db DB) error    { return schema.Upgrade(ctx, db) }
func InitTables(ctx context.Context, db DB) error { return schema.Init(ctx, db) }

// mayServe refuses a database whose ledger went elsewhere, or has not quite come.
func mayServe(ctx context.Context, db DB) error {
	return db.View(ctx, func(tx sqldb.Tx) error {
		m, err := readMoved(ctx, tx)
		switch {
		case err != nil:
			return err
		case m != nil:
			return fmt.Errorf("%w: with %d entries it was moved to %s on %s; it is kept to be read, and two that go on would be two histories", ErrMoved, m.Size, m.To, m.At.Format(time.RFC3339))
		}
		mark, err := readMeta(ctx, tx, metaCopied)
		if err == nil && mark != nil {
			err = fmt.Errorf("%w: copying into it was not finished; run 'perso ledger copy' again", ErrMoved)
		}
		if err != nil {
			return err
		}
		half, err := restored.Unfinished(ctx, tx)
		if half {
			err = fmt.Errorf("%w: %w", ErrMoved, restored.ErrUnfinished)
		}
		return err
	})
}

// Continues refuses a database that is not the one that an old one's ledger was moved to: its log must have the old one's root at
// the old one's size.
func Continues(ctx context.Context, old, next DB) error {
	was, err := Describe(ctx, old)
	if err != nil {
		return err
	}
	if was.Moved == nil {
		return fmt.Errorf("%w: the ledger was not moved out of the database that it is in; 'perso ledger copy' does that", ErrRefused)
	}
	if err := mayServe(ctx, next); err != nil {
		return err
	}
	return next.View(ctx, func(tx sqldb.Tx) error {
		log, err := tree.Open(ctx, tx)
		if err != nil {
			return err
		}
		if log.Size() < was.Moved.Size {
			return fmt.Errorf("%w: that database has a log of %d entries, the one that was moved had %d", ErrRefused, log.Size(), was.Moved.Size)
		}
		root, err := log.RootAt(ctx, tx, was.Moved.Size)
		if err == nil && !bytes.Equal(root[:], was.Moved.Root) {
			err = fmt.Errorf("%w: that database holds another log than the one that was moved", ErrRefused)
		}
		return err
	})
}

func readMoved(ctx context.Context, tx sqldb.Tx) (*Moved, error) {
	text, err := readMeta(ctx, tx, metaMoved)
	if err != nil || text == nil {
		return nil, err
	}
	var m Moved
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("reading where the ledger was moved to: %w", err)
	}
	return &m, nil
}

func readMeta(ctx context.Context, tx sqldb.Tx, key string) (value []byte, err error) {
	err = tx.QueryRow(ctx, sqlMeta, key).Scan(&value)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	return value, err
}

func writeMeta(ctx context.Context, tx sqldb.Tx, key string, value []byte) error {
	if _, err := tx.Exec(ctx, sqlCutMeta, key); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sqlAddMeta, key, value)
	return err
}
