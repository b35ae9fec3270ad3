package chaos

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
)

// configure changes site.json as people do.
func (f *factory) configure(change func(*site.Config)) {
	f.t.Helper()
	path := filepath.Join(f.site.Dir, "site.json")
	c := f.site.Config
	change(&c)
	text, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	var next *site.Site
	if err == nil {
		next, err = site.Open(f.site.Dir)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.site = next
}

// says runs the program, which must succeed and say something, or fail and say it.
func (f *factory) says(fails bool, want string, args ...string) string {
	f.t.Helper()
	out, err := f.run(args...)
	if (err != nil) != fails || !strings.Contains(out, want) {
		f.t.Fatalf("perso %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// lostServer is one way to keep what a server's database holds on a second disk, and to bring it back.
type lostServer struct {
	name      string
	processes int
	keep      func(f *factory, c *pgtest.Cluster)
	bringBack func(f *factory, c *pgtest.Cluster, backup string)
}

var lostServers = []lostServer{
	{"redo log", 1, func(f *factory, _ *pgtest.Cluster) {
		f.says(true, "ledger_redo", "ledger", "backup", "--new-redo")
		f.configure(func(c *site.Config) { c.Redo = "redo" })
		f.says(true, "--new-redo", "ledger", "upgrade")
		f.says(false, "backup", "ledger", "backup", "--new-redo")
	}, func(f *factory, c *pgtest.Cluster, backup string) {
		if err := c.Close(); err != nil {
			f.t.Fatal(err)
		}
		f.configure(func(c *site.Config) { c.Database = &site.Database{URL: pgtest.URL(f.t)} })
		f.says(true, "holds no ledger", "ledger", "status")
		f.says(false, "restored a log of", "ledger", "restore", "--from", backup)
		f.says(true, "there is a ledger already", "ledger", "restore", "--from", backup)
	}},
	{"write-ahead log", 2, func(f *factory, c *pgtest.Cluster) {
		c.KeepElsewhere(f.t)
	}, func(f *factory, c *pgtest.Cluster, backup string) {
		if err := c.LoseAndRecover(); err != nil {
			f.t.Fatal(err)
		}
		f.says(true, "there is a ledger already", "ledger", "restore", "--from", backup)
		f.says(false, "the server recovered a log of", "ledger", "restore", "--recovered", "--from", backup)
	}},
}

// TestServerIsLost backs a ledger up while it makes a lot on PostgreSQL, kills the server later and takes its disk away, brings the ledger back, and has
// two officers look at it; the lot is finished, counts close, and the auditor finds one log.
func TestServerIsLost(t *testing.T) {
	t.Parallel()
	const heads, units, spares = 8, 60, 20
	for _, way := range lostServers {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.Start(t)
			flags := []string{"--database", c.URL(), "--ledgers", string(rune('0' + way.processes))}
			f := newFactoryWith(t, flags, 1, site.TransportFarm, heads, units+spares+2*heads)
			way.keep(f, c)
			_, stop := f.supervise()
			f.connect()
			l := f.submit("CHAOS-LOST", units, spares)
			l.release()
			l.reach(units / 4)
			out := f.says(false, "backup", "ledger", "backup")
			backup := regexp.MustCompile(`(?m)^backup (\S+)$`).FindStringSubmatch(out)
			if backup == nil {
				t.Fatal(out)
			}
			before := l.reach(units / 2)
			if err := c.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			stop()
			f.says(true, "", "ledger", "status")
			way.bringBack(f, c, backup[1])
			f.says(false, "draft-restored", "ledger", "status")
			_ = f.office.Close()
			f.office = nil
			_, stop = f.supervise()
			f.connect()
			if s := l.status(); s.Good < before.Good || !strings.Contains(s.Waits, "restored") {
				t.Errorf("%d units are good, and %d were; it waits for %q", s.Good, before.Good, s.Waits)
			}
			draft := ask[bus.RestoredReply](f, bus.OfficeRestored, bus.RestoredRequest{Reason: "a drill"})
			ask[bus.WordReply](f, bus.OfficeWord, bus.SignedRequest{Signed: f.sign(draft.Body)})
			l.complete()
			t.Logf("closed: %+v", l.close())
			f.judge(l)
			l.audited()
			stop()
		})
	}
}
