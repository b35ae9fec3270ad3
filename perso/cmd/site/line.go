package site

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/lineside"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/lineside/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus/natsbus"
	"github.com/persoline/persoline/perso/checkpoint"
)

// chipPatience is how long a line that stops may take for the chips in hand: some seconds each at a real chip's pace, with
// a second contact.
const chipPatience = 20 * time.Second

// ServeLine runs one line until the context ends. Any error ends it: starting again is the recovery.
func (s *Site) ServeLine(ctx context.Context, name perso.Name, log *slog.Logger) (err error) {
	line, err := s.lineOf(name)
	if err != nil {
		return err
	}
	plan, err := line.binPlan()
	if err != nil {
		return err
	}
	if err := hardenLine(log); err != nil {
		return fmt.Errorf("closing line %q: %w", name, err)
	}
	key, err := s.logKey()
	if err != nil {
		return err
	}
	farm, err := dialFarm(ctx, s.FarmAddressOf(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, farm.Close()) }()
	machine, closed, err := s.machine(line, farm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	j, err := journal.Open(s.lineDir(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	conn, err := s.connect(ctx, natsbus.LineUser(name), name, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return lineside.Run(ctx, lineside.Config{Line: name, Heads: uint16(line.Heads), Env: s.Config.Env, Trust: lineside.Trust{Origin: s.Config.Origin, Key: key},
		Machine: machine, Bins: plan, Ledger: conn, Queue: conn, Scripts: conn, Journal: j, Random: rand.Reader, Now: time.Now, Log: log,
		Status: func(b []byte) { s.publishStatus(name, b, log) }, Patience: chipPatience})
}

// logKey is the key that verdicts are checked with, as the ceremony pinned it.
func (s *Site) logKey() (ed25519.PublicKey, error) {
	origin, key, err := checkpoint.ParseVerifierKey(s.Config.LogKey)
	if err != nil {
		return nil, fmt.Errorf("site.json: log_key: %w", err)
	}
	if origin != s.Config.Origin {
		return nil, fmt.Errorf("site.json: log_key is of log %q, the site's is %q", origin, s.Config.Origin)
	}
	return key, nil
}

// publishStatus leaves the line's snapshot where screens find it; losing one does not matter.
func (s *Site) publishStatus(name perso.Name, snapshot []byte, log *slog.Logger) {
	path := filepath.Join(s.lineDir(name), "status.json")
	if err := os.WriteFile(path+".new", snapshot, 0o644); err != nil {
		log.Warn("line status not written", "line", name, "err", err)
		return
	}
	if err := os.Rename(path+".new", path); err != nil {
		log.Warn("line status not written", "line", name, "err", err)
	}
}

// farmRetry is the pause between tries to reach a farm that is starting.
const farmRetry = 100 * time.Millisecond

// dialFarm connects to the farm for as long as it takes: zones may start in any order.
func dialFarm(ctx context.Context, address string) (*chipfarm.Client, error) {
	for {
		c, err := chipfarm.Dial(ctx, address)
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("reaching the chip farm: %w", errors.Join(err, ctx.Err()))
		case <-time.After(farmRetry):
		}
	}
}

// ServeFarm runs the chip farm of a line until the context ends, with so many of its heads under PC/SC readers of its own; ""
// is the first line.
func (s *Site) ServeFarm(ctx context.Context, line perso.Name, readers int, log *slog.Logger) error {
	l, err := s.lineOf(line)
	if err != nil {
		return err
	}
	cfg := chipfarm.Config{Dir: s.FarmDirOf(l.Name), Address: s.FarmAddressOf(l.Name), Log: log}
	if readers > 0 {
		cfg.Readers = &chipfarm.Readers{Heads: readers, Dir: s.readersDir()}
	}
	return chipfarm.Serve(ctx, cfg)
}

// AuditPins are what an auditor of this site compares with: they were written down in the ceremony.
func (s *Site) AuditPins() (o audit.Options, err error) {
	if err := unhex(o.RegisterPin[:], s.Config.Pin); err != nil {
		return o, fmt.Errorf("site.json: register_pin: %w", err)
	}
	statements, err := os.ReadFile(s.keysPath(ceremony.FileStatements))
	if err != nil {
		return o, fmt.Errorf("reading the key of the vault's statements: %w", err)
	}
	o.StatementKey = make([]byte, ed25519.PublicKeySize)
	if err := unhex(o.StatementKey, strings.TrimSuffix(string(statements), "\n")); err != nil {
		return o, fmt.Errorf("reading the key of the vault's statements: %w", err)
	}
	o.LogKey, err = s.logKey()
	return o, err
}
