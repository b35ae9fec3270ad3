package pgtest_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
)

// TestImages runs the suite on the databases' own images, where Docker and the images are on this machine; none is fetched.
func TestImages(t *testing.T) {
	t.Parallel()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("of-a-container"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repository string
		options    dockertest.RunOptions
		port       string
		user       string
	}{
		{"postgres", dockertest.RunOptions{Env: []string{"POSTGRES_PASSWORD=of-a-container"}}, "5432/tcp", "postgres"},
		{"cockroachdb/cockroach", dockertest.RunOptions{Cmd: []string{"start-single-node", "--insecure"}}, "26257/tcp", "root"},
	} {
		t.Run(c.repository, func(t *testing.T) {
			t.Parallel()
			pool, tag := image(t, c.repository)
			c.options.Repository, c.options.Tag = c.repository, tag
			box, err := pool.RunWithOptions(&c.options, func(h *docker.HostConfig) { h.AutoRemove = true })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := pool.Purge(box); err != nil {
					t.Error(err)
				}
			})
			at := sqldb.Server{URL: fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", c.user, box.GetHostPort(c.port), "postgres"), PasswordFile: password}
			if err := pool.Retry(func() error {
				db, err := sqldb.OpenServer(context.Background(), at)
				if err == nil {
					err = db.Close()
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			var n atomic.Int64
			ledgertest.Run(t, func(t *testing.T) ledgertest.DB {
				return inSchema(t, at, fmt.Sprintf("s%d", n.Add(1)))
			})
		})
	}
}

// inSchema gives a database in which nothing is yet.
func inSchema(t *testing.T, at sqldb.Server, name string) ledgertest.DB {
	t.Helper()
	db, err := sqldb.OpenServer(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), func(tx sqldb.Tx) error { _, err := tx.Exec(t.Context(), `CREATE SCHEMA `+name); return err }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	at.URL = pgtest.In(t, at.URL, "search_path", url.QueryEscape(name))
	if db, err = sqldb.OpenServer(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	return db
}

// image finds an image of a repository on this machine.
func image(t *testing.T, repository string) (*dockertest.Pool, string) {
	t.Helper()
	pool, err := dockertest.NewPool("")
	if err == nil {
		err = pool.Client.Ping()
	}
	if err != nil {
		t.Skipf("SKIP: no Docker: %v", err)
	}
	images, err := pool.Client.ListImages(docker.ListImagesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		for _, name := range i.RepoTags {
			if tag, ok := strings.CutPrefix(name, repository+":"); ok {
				return pool, tag
			}
		}
	}
	t.Skipf("SKIP: no image of %s on this machine", repository)
	return nil, ""
}
