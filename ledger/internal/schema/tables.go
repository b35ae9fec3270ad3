package schema

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// Table is one table of the ledger, as the migrations make it.
type Table struct {
	Name    string
	Columns []string
	Order   string // the column that numbers its rows, if there is one: they are read in this order
}

// Made says which migrations make a ledger of this program: how many, and a hash over their names and texts.
type Made struct {
	Migrations int
	Sum        [sha256.Size]byte
}

const (
	createTable = "CREATE TABLE IF NOT EXISTS "
	addColumn   = " ADD COLUMN IF NOT EXISTS "
	alterTable  = "ALTER TABLE "
	// numberedRows begins what is said of a column that numbers rows.
	numberedRows = "BIGINT PRIMARY KEY"
)

// Tables lists the ledger's tables in the order in which the migrations make them, so that no row comes before one that it
// refers to. The table of versions is not among them: it says what a database is, not what it holds.
func Tables() ([]Table, Made, error) {
	all, err := load(files)
	if err != nil {
		return nil, Made{}, err
	}
	sum := sha256.New()
	var tables []Table
	for _, m := range all {
		fmt.Fprintf(sum, "%s %x\n", m.name, m.sum)
		for _, stmt := range split(m.text) {
			if tables, err = learn(tables, stmt); err != nil {
				return nil, Made{}, fmt.Errorf("reading migration %q: %w", m.name, err)
			}
		}
	}
	return tables, Made{Migrations: len(all), Sum: [sha256.Size]byte(sum.Sum(nil))}, nil
}

// learn takes in what one statement does to the tables. What it can't read it refuses: a backup that lacks a column is none.
func learn(tables []Table, stmt string) ([]Table, error) {
	switch {
	case strings.HasPrefix(stmt, createTable):
		name, body, ok := strings.Cut(strings.TrimPrefix(stmt, createTable), "(")
		if !ok {
			return nil, fmt.Errorf("a table without columns: %.60q", stmt)
		}
		t := Table{Name: strings.TrimSpace(name)}
		for line := range strings.Lines(body) {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !isColumn(word) {
				continue
			}
			t.Columns = append(t.Columns, word)
			if strings.HasPrefix(strings.TrimSpace(rest), numberedRows) {
				t.Order = word
			}
		}
		return append(tables, t), nil
	case strings.HasPrefix(stmt, alterTable):
		name, column, ok := strings.Cut(strings.TrimPrefix(stmt, alterTable), addColumn)
		word, _, _ := strings.Cut(column, " ")
		for i := range tables {
			if ok && tables[i].Name == name && isColumn(word) {
				tables[i].Columns = append(tables[i].Columns, word)
				return tables, nil
			}
		}
		return nil, fmt.Errorf("what it does to which table is not to be read: %.60q", stmt)
	case strings.HasPrefix(stmt, "DROP"):
		return nil, fmt.Errorf("nothing is dropped: %.60q", stmt)
	}
	return tables, nil // an index, or rows
}

// isColumn tells a column's name, in small letters, from the words of SQL, in capitals.
func isColumn(word string) bool {
	return word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
