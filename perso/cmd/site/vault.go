package site

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/natsbus"
)

// defaultSessions is what hsm.Config takes for 0.
const defaultSessions = 8

// ServeVault runs one vault until the context ends; "" is the log vault. From then on the process keeps its memory to itself.
func (s *Site) ServeVault(ctx context.Context, name perso.Name, log *slog.Logger) (err error) {
	name = cmp.Or(name, s.logVault())
	if !slices.Contains(s.VaultNames(), name) {
		return fmt.Errorf("the site has no vault %q: site.json names %q", name, s.VaultNames())
	}
	if err := harden(s.Config.Env, log); err != nil {
		return err
	}
	token, err := s.OpenToken(ctx, s.sessions(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, token.Close()) }()
	cfg, memory, err := s.vaultConfig(name, log)
	if err != nil {
		return err
	}
	cfg.Shredder = token
	if cfg.Token, err = s.guarded(ctx, token, log); err != nil {
		return err
	}
	receipts, err := journal.Open(s.vaultState(name, ceremony.FolderJournal))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, receipts.Close()) }()
	cfg.Journal = receipts
	conn, err := s.connect(ctx, natsbus.UserVault, "", log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	seat, err := conn.Sit(ctx, bus.HereVault(name), nil) // before the life: a copy that is started by mistake must not end the vault
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, seat.Leave()) }()
	alive, err := s.beginLife(ctx, name, token, memory, log) // with the folder's lock in hand
	if err != nil {
		return err
	}
	cfg.Life = alive
	v, err := keygen.New(ctx, cfg)
	if err != nil {
		return err
	}
	stop, err := keygen.Register(conn, v)
	if err != nil {
		return err
	}
	if err := s.stayAlive(ctx, alive, seat); err != nil {
		return errors.Join(err, stop())
	}
	for verb, count := range token.Stats() { // before the stop, which may take longer than we are given
		log.Info("token was used", "step", verb.String(), "seq", count)
	}
	err = stop()
	s.endLife(ctx, alive, log)
	return err
}

// beginLife begins the vault's next life, or refuses a state that is not the one that it ran with last.
func (s *Site) beginLife(ctx context.Context, name perso.Name, token *hsm.Token, memory *journal.Memory, log *slog.Logger) (*life.Life, error) {
	known, err := memory.Recall()
	if err != nil {
		return nil, err
	}
	given, err := memory.Assigned()
	if err != nil {
		return nil, err
	}
	heard, err := memory.Heard()
	if err != nil {
		return nil, err
	}
	folder := s.vaultState(name, ceremony.FolderMemory)
	return life.Begin(ctx, life.Config{Owner: life.Owner{Env: s.Config.Env, Site: s.Config.Site, Vault: name}, Token: token, Store: memory, Folder: folder,
		Used: known.Size != 0 || len(known.Lots) != 0 || len(given) != 0 || len(heard) != 0, Now: time.Now, Log: log})
}

// stayAlive returns when the context ends, or says why this process is the vault no more. It looks also while nobody asks for
// anything: a vault that idles shall not be told at its next card.
func (s *Site) stayAlive(ctx context.Context, alive *life.Life, seat *natsbus.Seat) error {
	look := time.NewTicker(life.DefaultCheck)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-alive.Ended():
			return alive.Look(ctx)
		case <-seat.Lost():
			return seat.Err()
		case <-look.C:
			_ = alive.Look(ctx) // an HSM that does not answer is told by whoever needs it; an end is told above
		}
	}
}

// lastTurn bounds the turn at a vault's end.
const lastTurn = 5 * time.Second

// endLife turns once more, so that no copy is taken that was made while the vault ran. A vault that is killed does without.
func (s *Site) endLife(ctx context.Context, l *life.Life, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTurn)
	defer cancel()
	if err := l.Turn(ctx); err != nil {
		log.Warn("vault's last turn", "err", err)
	}
}

// vaultConfig is everything but token, journal and life. memory is also the Memory in c.
func (s *Site) vaultConfig(name perso.Name, log *slog.Logger) (c keygen.Config, memory *journal.Memory, err error) {
	c = keygen.Config{Env: s.Config.Env, Site: s.Config.Site, Name: name, LogVault: s.logVault(), Origin: s.Config.Origin, Now: time.Now, Log: log,
		CertMargin: time.Duration(s.Config.CertMargin) * 24 * time.Hour,
		Side:       sideBySide(s.sessions()),
		OPs:        journal.OPFolder(s.keysPath(ceremony.FolderOPs))}
	if c.Keys, err = keygen.SiteKeys(s.Config.Env, s.Config.Site); err != nil {
		return c, nil, err
	}
	memory, err = journal.OpenMemory(s.vaultState(name, ceremony.FolderMemory))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("vault %q has no state in %q: put back the folder in which it ran last, no older copy; if that is lost for good, so are its open lots (keygen/life/LIFE.md): %w",
			name, s.vaultState(name, ceremony.FolderMemory), err)
	}
	if err != nil {
		return c, nil, err
	}
	c.Memory, c.Graves, c.Words = memory, memory, memory
	if name == s.logVault() {
		// Also of a site that names one vault: a vault that was taken out had lots, whose identities stay issued (I1).
		c.KiSets = memory
		c.Assignments, c.Sole = memory, len(s.VaultNames()) == 1
	}
	if c.EUMCert, c.EISCert, err = s.ownCertificates(); err != nil {
		return c, nil, err
	}
	if err := unhex(c.RegisterPin[:], s.Config.Pin); err != nil {
		return c, nil, fmt.Errorf("site.json: register_pin: %w", err)
	}
	if err := unhex(c.CAID[:], s.Config.CAID); err != nil {
		return c, nil, fmt.Errorf("site.json: ca_identifier: %w", err)
	}
	return c, memory, nil
}

// ownCertificates reads the EUM's two certificates. A site that was made for SIMs alone has neither; one of the two is a fault.
func (s *Site) ownCertificates() (eum, eis []byte, err error) {
	eum, err = os.ReadFile(s.keysPath(ceremony.FileEUM))
	eis, err2 := os.ReadFile(s.keysPath(ceremony.FileEIS))
	if errors.Is(err, fs.ErrNotExist) && errors.Is(err2, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err := errors.Join(err, err2); err != nil {
		return nil, nil, fmt.Errorf("reading the certificates of EUM and EIS: %w", err)
	}
	return eum, eis, nil
}

// sessions is how many HSM operations a vault may have under way.
func (s *Site) sessions() int { return int(cmp.Or(s.Config.Sessions, defaultSessions)) }

// sideBySide runs calls in goroutines, so many at once.
func sideBySide(most int) func(n int, do func(i int)) {
	return func(n int, do func(i int)) {
		var g errgroup.Group
		g.SetLimit(most)
		for i := range n {
			g.Go(func() error { do(i); return nil })
		}
		_ = g.Wait() // nobody errs
	}
}

func (s *Site) keysPath(name string) string { return s.path("vault", "keys", name) }

// unhex fills dst exactly.
func unhex(dst []byte, text string) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(dst) {
		return fmt.Errorf("%q is not %d bytes of hex", text, len(dst))
	}
	copy(dst, b)
	return nil
}
