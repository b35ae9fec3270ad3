// Package pgtest gives tests PostgreSQL: a cluster of their own from Debian's package, started when the first test asks for
// one and stopped at the end, or a server that the environment names. Only tests import it.
//
// PERSO_TEST_PG_URL and PERSO_TEST_CRDB_URL name servers that are there (passwords in .pgpass); tests make schemas of their
// own in the databases named, and drop them. Without the first, and without a PostgreSQL on this machine, a test is skipped,
// or fails where PERSO_TEST_REQUIRE names "postgres".
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest"
)

// startPatience bounds how long a cluster may take to answer; on a busy machine initdb alone takes seconds.
const startPatience = time.Minute

// Cluster is a PostgreSQL server of a test's own.
type Cluster struct {
	Dir    string // holds data, log and the socket
	bin    string
	owner  *syscall.Credential // whom the server runs as; nil is who runs the test
	server *exec.Cmd
	ended  chan struct{}
}

var own struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Main runs a package's tests and stops the cluster that they started.
func Main(m *testing.M) int {
	code := m.Run()
	if own.cluster != nil {
		if err := own.cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
			return 1
		}
	}
	return code
}

// Start makes a cluster in a new folder and starts it. A test that can't have one is skipped, or fails.
func Start(t testing.TB) *Cluster {
	t.Helper()
	c, err := start()
	if err != nil {
		cannot(t, err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// cannot ends a test that finds no PostgreSQL.
func cannot(t testing.TB, err error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "postgres") {
		t.Fatalf("PostgreSQL is required by PERSO_TEST_REQUIRE: %v", err)
	}
	t.Skipf("SKIP: no PostgreSQL: %v", err)
}

// Shared gives the package's cluster, which Main stops.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	own.once.Do(func() { own.cluster, own.err = start() })
	if own.err != nil {
		cannot(t, own.err)
	}
	return own.cluster
}

var schemas atomic.Int64

// URL gives an empty schema of its own on the server that the environment names, or on the package's cluster.
func URL(t testing.TB) string {
	t.Helper()
	base := os.Getenv("PERSO_TEST_PG_URL")
	if base == "" {
		base = Shared(t).URL()
	}
	return schema(t, base)
}

// CockroachURL gives an empty schema on the CockroachDB that the environment names.
func CockroachURL(t testing.TB) string {
	t.Helper()
	base := os.Getenv("PERSO_TEST_CRDB_URL")
	if base == "" {
		t.Skip("SKIP: PERSO_TEST_CRDB_URL names no CockroachDB")
	}
	return schema(t, base)
}

// schema makes an empty schema, which the test's end drops, and gives the way to it.
func schema(t testing.TB, base string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), schemas.Add(1))
	exec := func(text string) error {
		db, err := sqldb.OpenServer(context.Background(), sqldb.Server{URL: base})
		if err != nil {
			return err
		}
		err = db.Update(context.Background(), func(tx sqldb.Tx) error {
			_, err := tx.Exec(context.Background(), text)
			return err
		})
		return errors.Join(err, db.Close())
	}
	if err := exec(`CREATE SCHEMA ` + name); err != nil {
		t.Fatalf("making a schema on the server: %v", err)
	}
	t.Cleanup(func() {
		if err := exec(`DROP SCHEMA ` + name + ` CASCADE`); err != nil {
			t.Error(err)
		}
	})
	return In(t, base, "search_path", name)
}

// In adds a parameter to a database URL.
func In(t testing.TB, base, name, value string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// Open opens a database on a server.
func Open(t testing.TB, at string) ledgertest.DB {
	t.Helper()
	db, err := sqldb.OpenServer(t.Context(), sqldb.Server{URL: at})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// bins finds the newest PostgreSQL of this machine: Debian keeps versions side by side and puts none into PATH.
func bins() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	best, version := "", 0
	for _, path := range found {
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))); err == nil && n > version {
			best, version = filepath.Dir(path), n
		}
	}
	if best != "" {
		return best, nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("neither /usr/lib/postgresql/*/bin nor PATH has initdb (deploy/setup.sh installs it)")
	}
	return filepath.Dir(path), nil
}

// memoryFolder is where Linux keeps files in memory, and memoryNeeds what a test's clusters may take of it.
const (
	memoryFolder = "/dev/shm"
	memoryNeeds  = 1 << 30
)

// folder is where clusters go: into memory if there is room, because tests sync thousands of times what nobody will miss.
func folder() string {
	var fs syscall.Statfs_t
	if syscall.Statfs(memoryFolder, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= memoryNeeds {
		return memoryFolder
	}
	return ""
}

// start makes a cluster and runs its server.
func start() (*Cluster, error) {
	dir, err := os.MkdirTemp(folder(), "perso-pg-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir}
	if err := c.init(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.Run(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// init makes the cluster's files. PostgreSQL refuses to run as root: a test that does lends it another user.
func (c *Cluster) init() (err error) {
	if c.bin, err = bins(); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if c.owner, err = unprivileged(); err != nil {
			return err
		}
		if err := os.Chown(c.Dir, int(c.owner.Uid), int(c.owner.Gid)); err != nil {
			return err
		}
	}
	initdb := exec.Command(filepath.Join(c.bin, "initdb"), "--pgdata", c.data(), "--username", "perso", "--auth", "trust", "--encoding", "UTF8",
		"--locale", "C", "--no-sync", "--wal-segsize", "4")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: c.owner}
	initdb.Dir = c.Dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uerr, gerr)
	}
	return nil, errors.New("there is neither a user postgres nor nobody to run it as")
}

func (c *Cluster) data() string { return filepath.Join(c.Dir, "data") }

// SmallDisk makes a disk of so many bytes of its own for the cluster's tables, as the tablespace "small", until the test ends.
// It needs the right to mount; a test without it is skipped.
func (c *Cluster) SmallDisk(t testing.TB, size int) {
	t.Helper()
	dir := filepath.Join(c.Dir, "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("mode=0700,size=%d", size)
	if c.owner != nil {
		options += fmt.Sprintf(",uid=%d,gid=%d", c.owner.Uid, c.owner.Gid)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIP: a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { // before the cluster's own end, which removes the folder
		if err := errors.Join(c.Signal(syscall.SIGINT), syscall.Unmount(dir, 0)); err != nil {
			t.Error(err)
		}
	})
	conn, err := pgx.Connect(t.Context(), c.URL())
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), `CREATE TABLESPACE small LOCATION '`+dir+`'`)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// Socket is the file on which the server listens, and nowhere else.
func (c *Cluster) Socket() string { return filepath.Join(c.Dir, ".s.PGSQL.5432") }

// URL is the way to the server's database "postgres".
func (c *Cluster) URL() string { return "postgres://perso@/postgres?host=" + url.QueryEscape(c.Dir) }

// Run starts the server, also again after Kill, and waits until it answers. All that it shares between its processes lies in the cluster's
// folder: segments elsewhere would outlive a killed server.
func (c *Cluster) Run() error {
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), "-D", c.data(), "-k", c.Dir, "-c", "listen_addresses=", "-c", "max_connections=200",
		"-c", "shared_buffers=32MB", "-c", "log_min_messages=fatal", "-c", "dynamic_shared_memory_type=mmap")
	log, err := os.OpenFile(filepath.Join(c.Dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own copy
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.owner, Pdeathsig: syscall.SIGQUIT}
	ended := make(chan struct{}) // of this server: the next one has its own
	c.server, c.ended = cmd, ended
	began := make(chan error)
	go func() {
		runtime.LockOSThread() // the server gets its signal when this thread ends: with the process
		err := cmd.Start()
		began <- err
		if err == nil {
			_ = cmd.Wait() // how it ended shows in what the tests get from it
		}
		close(ended)
	}()
	if err := <-began; err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return c.wait()
}

// Set writes a setting into the cluster's configuration; the next Run reads it.
func (c *Cluster) Set(name, value string) error {
	f, err := os.OpenFile(filepath.Join(c.data(), "postgresql.auto.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s = '%s'\n", name, value)
	return errors.Join(err, f.Close())
}

// wait asks until the server answers.
func (c *Cluster) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	for {
		db, err := sqldb.OpenServer(ctx, sqldb.Server{URL: c.URL()})
		switch {
		case err == nil:
			return db.Close()
		case errors.Is(err, sqldb.ErrUnsafe):
			return err // it answers, and will not say anything else
		}
		select {
		case <-c.ended:
			text, _ := os.ReadFile(filepath.Join(c.Dir, "log"))
			return fmt.Errorf("PostgreSQL ended: %s", text)
		case <-ctx.Done():
			return fmt.Errorf("waiting for PostgreSQL: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Signal sends the server a signal and waits until it has ended: SIGINT stops it in order, SIGQUIT as a crash does.
func (c *Cluster) Signal(s syscall.Signal) error {
	select {
	case <-c.ended:
		return nil
	default:
	}
	if err := c.server.Process.Signal(s); err != nil {
		return err
	}
	<-c.ended
	return nil
}

// Close stops the server and removes its files.
func (c *Cluster) Close() error {
	var err error
	if c.server != nil {
		err = c.Signal(syscall.SIGINT)
	}
	return errors.Join(err, os.RemoveAll(c.Dir))
}
