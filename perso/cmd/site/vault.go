package site

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
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
	cfg, err := s.vaultConfig(name, log)
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
	v, err := keygen.New(ctx, cfg)
	if err != nil {
		return err
	}
	conn, err := s.connect(ctx, natsbus.UserVault, "", log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stop, err := keygen.Register(conn, v)
	if err != nil {
		return err
	}
	<-ctx.Done()
	for verb, count := range token.Stats() { // before the stop, which may take longer than we are given
		log.Info("token was used", "step", verb.String(), "seq", count)
	}
	return stop()
}

// vaultConfig is everything but token and journal.
func (s *Site) vaultConfig(name perso.Name, log *slog.Logger) (c keygen.Config, err error) {
	c = keygen.Config{Env: s.Config.Env, Site: s.Config.Site, Name: name, LogVault: s.logVault(), Origin: s.Config.Origin, Now: time.Now, Log: log,
		CertMargin: time.Duration(s.Config.CertMargin) * 24 * time.Hour,
		Side:       sideBySide(s.sessions()),
		OPs:        journal.OPFolder(s.keysPath(ceremony.FolderOPs))}
	if c.Keys, err = keygen.SiteKeys(s.Config.Env, s.Config.Site); err != nil {
		return c, err
	}
	memory, err := journal.OpenMemory(s.vaultState(name, ceremony.FolderMemory))
	if err != nil {
		return c, err
	}
	c.Memory, c.Graves = memory, memory
	if name == s.logVault() {
		// Also of a site that names one vault: a vault that was taken out had lots, whose identities stay issued (I1).
		c.Assignments, c.Sole = memory, len(s.VaultNames()) == 1
	}
	if c.EUMCert, err = os.ReadFile(s.keysPath(ceremony.FileEUM)); err != nil {
		return c, fmt.Errorf("reading the EUM certificate: %w", err)
	}
	if c.EISCert, err = os.ReadFile(s.keysPath(ceremony.FileEIS)); err != nil {
		return c, fmt.Errorf("reading the EIS certificate: %w", err)
	}
	if err := unhex(c.RegisterPin[:], s.Config.Pin); err != nil {
		return c, fmt.Errorf("site.json: register_pin: %w", err)
	}
	if err := unhex(c.CAID[:], s.Config.CAID); err != nil {
		return c, fmt.Errorf("site.json: ca_identifier: %w", err)
	}
	return c, nil
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
