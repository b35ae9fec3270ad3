// Package kirow reads a unit's row of the file of Ki that a customer sent, and makes its proof for the vault.
//
// It exists because acts and exports both bring it; each does so in its own transaction. What it reads is encrypted as it was
// received. Callers: the ledger and its exports.
package kirow

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order/kifile"
)

const sqlPage = `SELECT eki, hashes FROM customer_ki_page WHERE order_id = $1 AND page = $2`

// ErrGone says that the order has no such row, or none any more: rows are deleted with the lot's key.
var ErrGone = errors.New("the customer's Ki is not in the ledger")

// Read gives the row of an order's unit.
func Read(ctx context.Context, tx sqldb.Tx, order string, u perso.Unit) (*bus.CustomerKi, error) {
	number := kifile.PageOf(u)
	var rows, hashes []byte
	err := tx.QueryRow(ctx, sqlPage, order, int64(number)).Scan(&rows, &hashes)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("reading Ki of unit %d of order %q: %w", u, order, err)
	}
	page, err := kifile.ParsePage(number, rows, hashes)
	if err != nil {
		return nil, fmt.Errorf("reading Ki of order %q: %w", order, err)
	}
	row, proof, err := page.Prove(u)
	if err != nil {
		return nil, fmt.Errorf("reading Ki of order %q: %w", order, err)
	}
	return &bus.CustomerKi{Row: row.Bytes(), Proof: proof}, nil
}
