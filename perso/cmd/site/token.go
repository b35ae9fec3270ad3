package site

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso/secret"
)

// OpenToken logs in to the vault's token with the PIN from its file, for so many operations at once (0 is the usual number).
// It may run beside the vault: each process has a login of its own.
func (s *Site) OpenToken(ctx context.Context, sessions int, log *slog.Logger) (*hsm.Token, error) {
	raw, err := os.ReadFile(s.path("vault", "pin"))
	if err != nil {
		return nil, fmt.Errorf("reading the token's PIN: %w", err)
	}
	pin := secret.New(raw)
	defer pin.Wipe()
	if err := softhsm.Use(s.tokenDir()); err != nil {
		return nil, err
	}
	return hsm.Open(ctx, hsm.Config{Module: s.Config.Module, TokenLabel: s.Config.Token, PIN: pin, MaxSessions: sessions, Log: log})
}
