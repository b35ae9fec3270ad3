package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// receiver is the name under which the cluster's write-ahead log is received.
const receiver = "elsewhere"

// Folders of what is kept elsewhere, in the cluster's own, where its owner may write.
func (c *Cluster) base() string     { return filepath.Join(c.Dir, "base") }
func (c *Cluster) received() string { return filepath.Join(c.Dir, "received") }

// KeepElsewhere has what the server commits from now on kept as on another machine, before it says that it is committed: a base backup, and
// behind it the write-ahead log, which pg_receivewal takes and syncs. It ends with the test.
func (c *Cluster) KeepElsewhere(t testing.TB) {
	t.Helper()
	conninfo := "host=" + c.Dir + " user=perso application_name=" + receiver
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := c.command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	run("pg_receivewal", "-d", conninfo, "--slot", receiver, "--create-slot", "--if-not-exists")
	run("pg_basebackup", "-d", conninfo, "--pgdata", c.base(), "--checkpoint", "fast", "--no-sync")
	run("mkdir", c.received())
	receive := c.command("pg_receivewal", "-d", conninfo, "--slot", receiver, "--directory", c.received(), "--synchronous", "--no-loop")
	if err := receive.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = receive.Process.Signal(syscall.SIGINT) // it may have ended with the server
		_ = receive.Wait()
	})
	if err := errors.Join(c.Set("synchronous_standby_names", receiver), c.server.Process.Signal(syscall.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	if err := c.waitSync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// waitSync waits until no commit is told of before the receiver has it.
func (c *Cluster) waitSync(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		var n int
		if err := conn.QueryRow(ctx, `SELECT COUNT(*) FROM pg_stat_replication WHERE application_name = $1 AND sync_state = 'sync'`, receiver).Scan(&n); err != nil {
			return fmt.Errorf("waiting for the receiver of the write-ahead log: %w", err)
		}
		if n == 1 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// LoseAndRecover deletes the data of a server that was killed, and makes it anew from what was kept elsewhere, as its manual says:
// the base backup, and all of the write-ahead log that was received, to the last record.
func (c *Cluster) LoseAndRecover() error {
	if err := os.RemoveAll(c.data()); err != nil {
		return err
	}
	restore := fmt.Sprintf("hot_standby = off\nrestore_command = 'cp \"%[1]s/%%f\" \"%%p\" || cp \"%[1]s/%%f.partial\" \"%%p\"'", c.received())
	for _, step := range [][]string{
		{"mv", c.base(), c.data()},
		{"sh", "-c", "printf '%s\\n' \"$1\" >> \"$0\"", filepath.Join(c.data(), "postgresql.auto.conf"), restore},
		{"touch", filepath.Join(c.data(), "recovery.signal")},
	} {
		if out, err := c.command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", step[0], err, out)
		}
	}
	return c.Run()
}

// command is a program of PostgreSQL's, or of the system's, run as the cluster's owner.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	if own := filepath.Join(c.bin, name); exists(own) {
		name = own
	}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.SysProcAttr = c.Dir, &syscall.SysProcAttr{Credential: c.owner, Pdeathsig: syscall.SIGINT}
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
