package ledger

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
)

// Signed is the log as it is now, whoever wrote its last entry, with a signed checkpoint of it, for exports and bundles.
func (l *Ledger) Signed(ctx context.Context) (*tree.Log, []byte, error) {
	size, err := l.size(ctx)
	if err != nil {
		return nil, nil, err
	}
	return l.sign(ctx, size)
}

// size is that of the log in the database.
func (l *Ledger) size(ctx context.Context) (n int64, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		n, err = tree.Size(ctx, tx)
		return err
	})
	return n, err
}

// OpenLot opens a released lot at its vault, which has forgotten it when it was restarted.
func (l *Ledger) OpenLot(ctx context.Context, name perso.Name) error {
	lt, err := l.lot(ctx, name)
	if err != nil {
		return fmt.Errorf("opening lot %q at the vault: %w", name, err)
	}
	d, err := l.doorOf(ctx, lt)
	if err != nil {
		return err
	}
	return l.openAtVault(ctx, lt, d)
}
