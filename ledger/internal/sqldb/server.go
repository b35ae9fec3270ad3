package sqldb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Limits of a ledger on a database server.
const (
	// ServerConnections is how many connections one ledger process has: the commit that runs, and the reads beside it.
	ServerConnections = 1 + ReadConnections
	// connectTimeout bounds one attempt to reach the server.
	connectTimeout = 5 * time.Second
	// commitTimeout bounds the wait for the answer to COMMIT, which is never cut short by a caller that goes away. A disk that
	// takes longer to sync is one whose state is unknown.
	commitTimeout = 30 * time.Second
	// lockTimeout bounds, at the server, how long a statement waits for another process's transaction: a group commit takes a
	// second at most.
	lockTimeout = 10 * time.Second
	// idleTimeout bounds, at the server, how long a transaction may stand open without a statement: that of a process that
	// hangs, or whose host is gone, keeps the head of the log from all others.
	idleTimeout = 20 * time.Second
	// MaxPasswordBytes bounds the file with the password.
	MaxPasswordBytes = 1 << 10
	// minPostgres is 15 as the server reports it (server_version_num).
	minPostgres = 150_000
)

// Server says where a database server is.
type Server struct {
	// URL is a libpq connection URI without a password: postgres://user@host:port/database?sslmode=verify-full. Off this host
	// it must ask for sslmode=verify-full, so that the server proves who it is.
	URL string
	// PasswordFile holds the password and nothing else, and is read at each connection. Nothing means that the user's .pgpass
	// has it, a client certificate stands for it, or the server asks for none.
	PasswordFile string
}

// Kind is the database that answers.
type Kind string

// The kinds.
const (
	SQLite    Kind = "SQLite"
	Postgres  Kind = "PostgreSQL"
	Cockroach Kind = "CockroachDB"
)

// serverDB is a DB on a server. PostgreSQL and CockroachDB speak the same protocol and differ in how a transaction is
// tried again and how its end is known.
type serverDB struct {
	kind    Kind
	pool    *pgxpool.Pool
	closing atomic.Bool
	run     func(ctx context.Context, c *pgxpool.Conn, mode pgx.TxAccessMode, f func(Tx) error) error
}

// OpenServer opens a ledger's database on a server and refuses one on which commits would not be durable.
func OpenServer(ctx context.Context, at Server) (DB, error) {
	cfg, err := at.config()
	if err != nil {
		return nil, fmt.Errorf("opening the ledger's database: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger's database: %w", err)
	}
	d := &serverDB{pool: pool}
	if err := d.recognise(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("opening the ledger's database at %s: %w", cfg.ConnConfig.Host, notOpened(err))
	}
	return d, nil
}

// config reads the URL and sets what every connection needs.
func (s Server) config() (*pgxpool.Config, error) {
	if !strings.HasPrefix(s.URL, "postgres://") && !strings.HasPrefix(s.URL, "postgresql://") {
		return nil, errors.New("the database URL must begin with postgres://")
	}
	if holdsPassword(s.URL) {
		return nil, errors.New("the database URL holds a password: put that into a file of its own, or into .pgpass")
	}
	cfg, err := pgxpool.ParseConfig(s.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err) // pgx leaves passwords out of its errors
	}
	c := cfg.ConnConfig
	if err := s.checkWay(c); err != nil {
		return nil, err
	}
	c.ConnectTimeout = connectTimeout
	for name, value := range map[string]string{"application_name": "perso", "timezone": "UTC", "lock_timeout": millis(lockTimeout),
		"idle_in_transaction_session_timeout": millis(idleTimeout)} {
		c.RuntimeParams[name] = value
	}
	c.StatementCacheCapacity = MaxStatements
	cfg.MaxConns = ServerConnections
	cfg.BeforeConnect = s.authenticate
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { return broken(ctx, c, assertServer(ctx, c)) }
	return cfg, nil
}

// holdsPassword looks at both places where a URI may carry one.
func holdsPassword(uri string) bool {
	_, after, _ := strings.Cut(uri, "://")
	rest, query, _ := strings.Cut(after, "?")
	authority, _, _ := strings.Cut(rest, "/")
	user := authority[:max(0, strings.LastIndex(authority, "@"))]
	return strings.Contains(user, ":") || slices.ContainsFunc(strings.Split(query, "&"), func(p string) bool { return strings.HasPrefix(p, "password=") })
}

func millis(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// checkWay refuses a way to the server on which somebody else could answer or listen.
func (s Server) checkWay(c *pgx.ConnConfig) error {
	hosts := []string{c.Host}
	for _, f := range c.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, h := range hosts {
		ip := net.ParseIP(h)
		if strings.HasPrefix(h, "/") || h == "localhost" || ip != nil && ip.IsLoopback() {
			continue
		}
		if c.TLSConfig == nil || c.TLSConfig.InsecureSkipVerify || c.TLSConfig.ServerName == "" ||
			slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.TLSConfig == nil || f.TLSConfig.InsecureSkipVerify }) {
			return fmt.Errorf("database host %q is another machine: the URL must say sslmode=verify-full (and sslrootcert=FILE)", h)
		}
	}
	return nil
}

// authenticate reads the password anew, so that it is not kept longer than a connection needs it and may be changed.
func (s Server) authenticate(_ context.Context, c *pgx.ConnConfig) error {
	if s.PasswordFile == "" {
		return nil
	}
	info, err := os.Stat(s.PasswordFile)
	switch {
	case err != nil:
		return fmt.Errorf("reading the database password: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("reading the database password: %q may be read by others: chmod 600 it", s.PasswordFile)
	case info.Size() > MaxPasswordBytes:
		return fmt.Errorf("reading the database password: %q has %d bytes, a password at most %d", s.PasswordFile, info.Size(), MaxPasswordBytes)
	}
	text, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return fmt.Errorf("reading the database password: %w", err)
	}
	c.Password = strings.TrimRight(string(text), "\r\n")
	clear(text)
	return nil
}

// recognise asks who answers: CockroachDB calls itself a PostgreSQL of some version, but not in version().
func (d *serverDB) recognise(ctx context.Context) error {
	var version string
	err := d.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		return broken(ctx, c.Conn(), c.QueryRow(ctx, `SELECT version()`).Scan(&version))
	})
	if err != nil {
		return err
	}
	if strings.HasPrefix(version, "CockroachDB") {
		d.kind, d.run = Cockroach, d.runCockroach
		return nil
	}
	d.kind, d.run = Postgres, d.runPostgres
	return nil
}

// setting is one of the server's on which durability rests.
type setting struct {
	name  string
	fits  []string
	wants string
}

// Settings without which a commit may be lost, or a page half written.
var (
	postgresSettings = []setting{
		{"fsync", []string{"on"}, "on: what is committed must be on the disk"},
		{"full_page_writes", []string{"on"}, "on: a page that a power cut tore in two must be found again"},
		{"synchronous_commit", []string{"on", "remote_apply", "remote_write", "local"}, "on: yes must mean that it is on the disk"},
		{"zero_damaged_pages", []string{"off"}, "off: a damaged page must not be taken for an empty one"},
		{"transaction_read_only", []string{"off"}, "off: this is a standby, or made read-only"},
		{"server_encoding", []string{"UTF8"}, "UTF8: names are UTF-8"},
	}
	cockroachSettings = []setting{
		{"CLUSTER SETTING kv.raft_log.disable_synchronization_unsafe", []string{"false", "f"}, "false: what is committed must be on the disks"},
	}
)

// assertServer holds each new connection to the settings, which may differ by user and database, and change.
func assertServer(ctx context.Context, c *pgx.Conn) error {
	var version string
	if err := c.QueryRow(ctx, `SELECT version()`).Scan(&version); err != nil {
		return err
	}
	settings := postgresSettings
	if strings.HasPrefix(version, "CockroachDB") {
		settings = cockroachSettings
	} else {
		var n int
		if err := c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&n); err != nil {
			return err
		}
		if n < minPostgres {
			return fmt.Errorf("%w: this is %s: PostgreSQL 15 or later is needed", ErrUnsafe, version)
		}
	}
	for _, s := range settings {
		var value string
		if err := c.QueryRow(ctx, "SHOW "+s.name, pgx.QueryExecModeSimpleProtocol).Scan(&value); err != nil {
			return fmt.Errorf("reading the server's setting %s, on which durability rests: %w", s.name, err)
		}
		if !slices.Contains(s.fits, value) {
			return fmt.Errorf("%w: the server's setting %s is %q and must be %s", ErrUnsafe, s.name, value, s.wants)
		}
	}
	return nil
}

// Update runs f as a whole until it is committed, refused, or has lost too often.
func (d *serverDB) Update(ctx context.Context, f func(Tx) error) error {
	return d.again(ctx, pgx.ReadWrite, f)
}

// View runs f on one serializable snapshot.
func (d *serverDB) View(ctx context.Context, f func(Tx) error) error {
	return d.again(ctx, pgx.ReadOnly, f)
}

// Erase has dead rows taken out of the tables. What they held stays in the write-ahead log, and in pages' free space, until
// that is written over: no client can do more.
func (d *serverDB) Erase(ctx context.Context) error {
	if d.kind == Cockroach {
		return nil // it forgets by itself, after gc.ttlseconds
	}
	if _, err := d.pool.Exec(ctx, `VACUUM`, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("erasing what was deleted: %w", d.classify(err))
	}
	return nil
}

// Close waits for running transactions.
func (d *serverDB) Close() error {
	d.closing.Store(true)
	d.pool.Close()
	return nil
}
