package sqldb_test

import (
	"errors"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
)

// cutting stands between a ledger and its server, and breaks each connection off instead of the nth thing that the ledger says on it.
func cutting(t *testing.T, server string, nth *atomic.Int64) (folder string) {
	t.Helper()
	folder = t.TempDir()
	l, err := net.Listen("unix", filepath.Join(folder, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	serve := func(client net.Conn) {
		defer func() { _ = client.Close() }()
		there, err := net.Dial("unix", filepath.Join(server, ".s.PGSQL.5432"))
		if err != nil {
			return
		}
		defer func() { _ = there.Close() }()
		go func() {
			_, _ = io.Copy(client, there)
			_ = client.Close() // as the server's end is
		}()
		for buffer, n := make([]byte, 1<<16), nth.Load(); n > 1; n-- {
			said, err := client.Read(buffer)
			if err != nil {
				return
			}
			if _, err := there.Write(buffer[:said]); err != nil {
				return
			}
		}
		_, _ = client.Read(make([]byte, 1))
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return folder
}

// TestBrokenWhileOpening: a server that goes away at any moment while its database is opened is not available, and may be asked again; it is
// nothing that people must mend.
func TestBrokenWhileOpening(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	var nth atomic.Int64
	q := u.Query()
	q.Set("host", cutting(t, q.Get("host"), &nth))
	u.RawQuery = q.Encode()
	for nth.Store(1); nth.Load() < 200; nth.Add(1) {
		db, err := sqldb.OpenServer(t.Context(), sqldb.Server{URL: u.String()})
		if err == nil {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			break
		}
		if !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("broken off at message %d: %v", nth.Load(), err)
		}
	}
	if n := nth.Load(); n < 5 || n == 200 {
		t.Errorf("it was opened when nothing was broken off before message %d", n)
	}
}
