package chaos

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso/cmd/site"
)

// TestFourLedgers makes a lot with four ledger processes on one PostgreSQL, kills one after the other under load, and once the
// database server itself: what was acknowledged is there, counts close, and the auditor finds one log.
func TestFourLedgers(t *testing.T) {
	t.Parallel()
	const ledgers, kills, heads = 4, 8, 16
	units := uint64(400)
	if testing.Short() {
		units = 120
	}
	spares := units/10 + heads
	database := pgtest.Start(t)
	flags := []string{"--database", database.URL(), "--ledgers", "4"}
	f := newFactoryWith(t, flags, 1, site.TransportFarm, heads, uint32((units+spares)*11/10+heads), badChips()...)
	sup, stop := f.supervise()
	f.connect()
	l := f.submit("CHAOS-PG", units, spares)
	l.release()
	draw := rand.New(rand.NewPCG(chosenSeed(t), 4))
	names := []string{"ledger", "ledger-2", "ledger-3", "ledger-4"}
	for k := range uint64(kills) {
		s := l.reach(units*k/kills + draw.Uint64N(units/kills))
		if k == kills/2 {
			if err := database.Signal(syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			if err := database.Run(); err != nil {
				t.Fatal(err)
			}
			t.Logf("kill %d at %d good, %d in work: the database", k, s.Good, s.Open)
			continue
		}
		victim := names[k%ledgers]
		t.Logf("kill %d at %d good, %d in work: %s, running %t", k, s.Good, s.Open, victim, sup.Kill(victim))
	}
	s := l.complete()
	t.Logf("%v", s.Reasons)
	counts := l.close()
	t.Logf("closed: %+v", counts)
	f.judge(l)
	l.audited()
	stop()
}

// TestMoveToServer begins a lot on a ledger in a file, moves that to PostgreSQL with two processes, and finishes the lot there. The
// file is no ledger any more.
func TestMoveToServer(t *testing.T) {
	t.Parallel()
	const heads, units, spares = 8, 60, 20
	database := pgtest.Start(t)
	f := newFactory(t, heads, units+spares+2*heads)
	_, stop := f.supervise()
	f.connect()
	l := f.submit("CHAOS-MOVE", units, spares)
	l.release()
	l.reach(units / 3)
	if out, err := f.run("ledger", "copy", "--to", database.URL()); err == nil || !strings.Contains(out, "in use") {
		t.Errorf("copied under a running ledger: %v\n%s", err, out)
	}
	stop()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ledger", "status"}, "SQLite"},
		{[]string{"ledger", "copy", "--to", database.URL()}, "equal in both"},
		{[]string{"ledger", "status"}, "moved to"},
		{[]string{"ledger", "use", "--database", database.URL(), "--ledgers", "2"}, "2 ledger processes"},
		{[]string{"ledger", "status"}, "PostgreSQL"},
	} {
		out, err := f.run(c.args...)
		if err != nil || !strings.Contains(out, c.want) {
			t.Fatalf("perso %s: %v\n%s", strings.Join(c.args, " "), err, out)
		}
	}
	moved, err := site.Open(f.site.Dir)
	if err != nil {
		t.Fatal(err)
	}
	f.site = moved
	_ = f.office.Close()
	f.office = nil
	_, stop = f.supervise()
	f.connect()
	l.complete()
	t.Logf("closed: %+v", l.close())
	f.judge(l)
	l.audited()
	stop()
}

// run runs the program on the site.
func (f *factory) run(args ...string) (string, error) {
	out, err := exec.CommandContext(f.t.Context(), program, append(args, "--site", f.site.Dir)...).CombinedOutput()
	return string(out), err
}
