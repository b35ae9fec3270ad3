// Package rows copies tables without knowing what they mean: it reads every row of one, and writes rows into an empty one of
// the same columns, on whatever database either is.
//
// It exists for backups and for the move from one database to another, which must not forget a table that somebody adds
// later: what there is comes from the migrations (schema.Tables). Only packages under ledger import it.
package rows

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// Read calls each with the rows of a table, in the order of their numbers, if they have any: int64, string, []byte, bool, or nil for NULL. The slice is used again,
// what is in it is not.
func Read(ctx context.Context, tx sqldb.Tx, t schema.Table, each func(row []any) error) error {
	row, dest := make([]any, len(t.Columns)), make([]any, len(t.Columns))
	for i := range row {
		dest[i] = &row[i]
	}
	query := "SELECT " + strings.Join(t.Columns, ", ") + " FROM " + t.Name
	if t.Order != "" {
		query += " ORDER BY " + t.Order
	}
	err := tx.Each(ctx, func(r sqldb.Row) error {
		if err := r.Scan(dest...); err != nil {
			return err
		}
		return each(row)
	}, query)
	if err != nil {
		return fmt.Errorf("reading table %s: %w", t.Name, err)
	}
	return nil
}

// Clear empties a table: the migrations put rows into some.
func Clear(ctx context.Context, tx sqldb.Tx, t schema.Table) error {
	if _, err := tx.Exec(ctx, "DELETE FROM "+t.Name); err != nil {
		return fmt.Errorf("emptying table %s: %w", t.Name, err)
	}
	return nil
}

// Write adds rows to a table.
func Write(ctx context.Context, tx sqldb.Tx, t schema.Table, rows [][]any) error {
	places := make([]string, len(t.Columns))
	for i := range places {
		places[i] = "$" + strconv.Itoa(i+1)
	}
	insert := "INSERT INTO " + t.Name + " (" + strings.Join(t.Columns, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")"
	for _, row := range rows {
		if len(row) != len(t.Columns) {
			return fmt.Errorf("writing table %s: a row of %d columns, not %d", t.Name, len(row), len(t.Columns))
		}
		if _, err := tx.Exec(ctx, insert, row...); err != nil {
			return fmt.Errorf("writing table %s: %w", t.Name, err)
		}
	}
	return nil
}
