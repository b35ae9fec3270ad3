package site

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
)

// OpenToken logs in to the vault's token with the PIN from where readPIN finds it, for so many operations at once (0 is the usual number).
// It may run beside the vault: each process has a login of its own.
func (s *Site) OpenToken(ctx context.Context, sessions int, log *slog.Logger) (*hsm.Token, error) {
	pin, err := s.readPIN()
	defer pin.Wipe()
	if err != nil {
		return nil, fmt.Errorf("reading the token's PIN: %w", err)
	}
	if err := softhsm.Use(s.tokenDir()); err != nil {
		return nil, err
	}
	return hsm.Open(ctx, hsm.Config{Module: s.Config.Module, TokenLabel: s.Config.Token, PIN: pin, MaxSessions: sessions, Log: log})
}
