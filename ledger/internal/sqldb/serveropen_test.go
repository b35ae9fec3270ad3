package sqldb_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
)

// A server that can't be reached, or lets nobody in, is told of with what to do, in one line and without the password.
func TestNotOpened(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	conn, err := pgx.Connect(t.Context(), c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var hba string
	if err := conn.QueryRow(t.Context(), `SHOW hba_file`).Scan(&hba); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hba, []byte("local all weak scram-sha-256\nlocal all barred reject\nlocal all all trust\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`CREATE ROLE weak LOGIN PASSWORD 'right'`, `CREATE ROLE barred LOGIN`, `SELECT pg_reload_conf()`, `CREATE DATABASE shut`, `REVOKE CONNECT ON DATABASE shut FROM PUBLIC`,
		`CREATE ROLE guest LOGIN`, `SELECT pg_sleep(0.3)`} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("Sesame-42"), 0o600); err != nil {
		t.Fatal(err)
	}
	as := func(user, database string) string {
		return strings.Replace(strings.Replace(c.URL(), "perso@", user+"@", 1), "/postgres?", "/"+database+"?", 1)
	}
	refused := func(at sqldb.Server, kind error, want string) {
		t.Helper()
		db, err := sqldb.OpenServer(t.Context(), at)
		if err == nil {
			t.Errorf("%s: opened", at.URL)
			_ = db.Close()
			return
		}
		if text := err.Error(); !errors.Is(err, kind) || !strings.Contains(text, want) || strings.ContainsAny(text, "\n\t") || strings.Contains(text, "Sesame") || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", at.URL, err)
		}
	}
	refused(sqldb.Server{URL: as("weak", "postgres"), PasswordFile: password}, sqldb.ErrDenied, "the password is wrong")
	refused(sqldb.Server{URL: as("barred", "postgres")}, sqldb.ErrDenied, "pg_hba.conf")
	refused(sqldb.Server{URL: as("nobody-here", "postgres")}, sqldb.ErrDenied, "createuser")
	refused(sqldb.Server{URL: as("perso", "nowhere")}, sqldb.ErrDenied, "createdb")
	refused(sqldb.Server{URL: as("guest", "shut")}, sqldb.ErrDenied, "must own the database")
	refused(sqldb.Server{URL: "postgres://perso@/ledger?host=/nonexistent"}, sqldb.ErrUnavailable, "does the server run")
	refused(sqldb.Server{URL: "postgres://perso@localhost:1/ledger"}, sqldb.ErrUnavailable, "does the server run")
	if err := c.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	refused(sqldb.Server{URL: c.URL()}, sqldb.ErrUnavailable, "does the server run")
}
