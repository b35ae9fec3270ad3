package schema

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// What is read out of the migrations is what the database has.
func TestTablesAreTheDatabases(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := sqldb.OpenMemory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := Init(ctx, db); err != nil {
		t.Fatal(err)
	}
	tables, made, err := Tables()
	if err != nil || made.Migrations == 0 {
		t.Fatal(made, err)
	}
	var want, got []string
	for _, table := range tables {
		if (table.Order == "seq") != (table.Name == "log_entry") {
			t.Errorf("table %s is in the order of %q", table.Name, table.Order)
		}
		for _, c := range table.Columns {
			got = append(got, table.Name+"."+c)
		}
	}
	err = db.View(ctx, func(tx sqldb.Tx) error {
		return tx.Each(ctx, func(r sqldb.Row) error {
			var table, column string
			err := r.Scan(&table, &column)
			if !strings.HasPrefix(table, "sqlite_") && table != "schema_version" {
				want = append(want, table+"."+column)
			}
			return err
		}, `SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'`)
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if fmt.Sprint(want) != fmt.Sprint(got) {
		t.Errorf("read\n%v\nthe database has\n%v", got, want)
	}
}

func TestTablesRefuseWhatTheyCannotRead(t *testing.T) {
	t.Parallel()
	tables := []Table{{Name: "lot", Columns: []string{"lot"}}}
	got, err := learn(tables, `ALTER TABLE lot ADD COLUMN IF NOT EXISTS frozen BOOLEAN`)
	if err != nil || fmt.Sprint(got[0].Columns) != "[lot frozen]" {
		t.Errorf("%v, %v", got, err)
	}
	for _, stmt := range []string{`ALTER TABLE lot RENAME COLUMN lot TO name`, `ALTER TABLE reel ADD COLUMN IF NOT EXISTS x BIGINT`, `DROP TABLE lot`, `CREATE TABLE IF NOT EXISTS x`} {
		if got, err := learn(tables, stmt); err == nil {
			t.Errorf("%s: read as %v", stmt, got)
		}
	}
}
