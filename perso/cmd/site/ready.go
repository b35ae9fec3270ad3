package site

import (
	"context"
	"fmt"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

// askAgainAfter is the pause between two looks whether a site is up: who waits for it sees no delay.
const askAgainAfter = 200 * time.Millisecond

// Ready waits until the site's ledger answers its office, or the context ends, and gives the connection. Each zone comes up in its own time:
// the bus first, then the ledger.
func (s *Site) Ready(ctx context.Context) (Office, error) {
	for {
		office, err := s.Office(ctx)
		if err == nil {
			if err = answers(ctx, office); err == nil {
				return office, nil
			}
			_ = office.Close() // nothing was asked for that could be lost
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the site to come up: %w", err)
		case <-time.After(askAgainAfter):
		}
	}
}

// answers asks until the ledger answers.
func answers(ctx context.Context, office Office) error {
	for {
		_, err := bus.Call[bus.StandingReply](ctx, office, bus.OfficeSubject(bus.OfficeStanding), bus.Empty{})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askAgainAfter):
		}
	}
}
