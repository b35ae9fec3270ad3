package bundle

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
)

const (
	sqlStatement = `SELECT signed FROM statement WHERE hash = $1`
	sqlForgotten = `SELECT seq FROM forgotten WHERE hash = $1`
)

// Signer has the log signed as it is now, or gives what was signed last if nothing was added since.
type Signer interface {
	Signed(ctx context.Context) (log *tree.Log, note []byte, err error)
}

// FromDB is a Source that reads a ledger's database. It serves one bundle.
func FromDB(db sqldb.DB, s Signer) Source { return &dbSource{db: db, signer: s} }

type dbSource struct {
	db     sqldb.DB
	signer Signer
	log    *tree.Log
}

func (s *dbSource) Checkpoint(ctx context.Context) (size int64, note []byte, err error) {
	if s.log, note, err = s.signer.Signed(ctx); err != nil {
		return 0, nil, err
	}
	return s.log.Size(), note, nil
}

func (s *dbSource) Tile(ctx context.Context, t tilepath.Tile) (data []byte, err error) {
	err = s.db.View(ctx, func(tx sqldb.Tx) error {
		data, err = s.log.Tile(ctx, tx, t)
		return err
	})
	return data, err
}

func (s *dbSource) Statement(ctx context.Context, hash [32]byte) (signed []byte, err error) {
	err = s.db.View(ctx, func(tx sqldb.Tx) error {
		err := tx.QueryRow(ctx, sqlStatement, hash[:]).Scan(&signed)
		if errors.Is(err, sqldb.ErrNoRows) {
			signed = nil
			return s.forgotten(ctx, tx, hash)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading statement %x: %w", hash[:8], err)
	}
	return signed, nil
}

// forgotten refuses to leave out words that were deleted after the log was signed that this bundle has: it does not say so. Words that
// are gone without anybody's word are left out, and found by who verifies the bundle.
func (s *dbSource) forgotten(ctx context.Context, tx sqldb.Tx, hash [32]byte) error {
	var seq int64
	err := tx.QueryRow(ctx, sqlForgotten, hash[:]).Scan(&seq)
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		return nil
	case err == nil && seq >= s.log.Size():
		return errors.New("it was deleted on two officers' word while the bundle was written: write the bundle anew")
	}
	return err
}
