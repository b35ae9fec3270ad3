package ledger

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
)

// Signed is the log as it is now with a signed checkpoint of it, for exports and bundles.
func (l *Ledger) Signed(ctx context.Context) (*tree.Log, []byte, error) {
	return l.sign(ctx, l.head.get().Size())
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
