package cert

import (
	"fmt"
	"time"
)

// EndingError says that a certificate ends too early for a piece of work. It wraps ReasonEndsTooEarly.
type EndingError struct {
	Certificate string // subject
	Ends        time.Time
	Needed      time.Time     // what it must outlive
	Margin      time.Duration // by how much
}

func (e *EndingError) Error() string {
	const day = 24 * time.Hour
	return fmt.Sprintf("certificate %s ends on %s, and must be valid until %s (%s and %d days): have the CI renew it before the work is released",
		e.Certificate, e.Ends.Format(time.DateOnly), e.Needed.Add(e.Margin).Format(time.DateOnly), e.Needed.Format(time.DateOnly), e.Margin/day)
}

// Unwrap is the reason.
func (e *EndingError) Unwrap() error { return ReasonEndsTooEarly }

// Outlives checks that a certificate is still valid a margin after the time that work may go on until: nil, or an
// *EndingError. A certificate that ends in that very second does.
func (c *Certificate) Outlives(until time.Time, margin time.Duration) error {
	if c.NotAfter.Before(until.Add(margin)) {
		return &EndingError{Certificate: c.String(), Ends: c.NotAfter, Needed: until.UTC(), Margin: margin}
	}
	return nil
}
