package natsbus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

func sit(t *testing.T, c *Conn, subject string, same func(context.Context, [16]byte) (bool, error)) *Seat {
	t.Helper()
	s, err := c.Sit(soon(t), subject, same)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The second process of a vault is refused and told by whom; another vault, and the same one after the first has gone or was
// killed, are not. The first one hears of nothing.
func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := s.connect(t, UserVault), s.connect(t, UserVault)
	seat := sit(t, first, bus.HereVault("vault-1"), nil)
	_, err := second.Sit(soon(t), bus.HereVault("vault-1"), nil)
	if !errors.Is(err, ErrTwice) || !strings.Contains(err.Error(), "end one of the two") {
		t.Errorf("a second process: %v", err)
	}
	if seat.Err() != nil {
		t.Errorf("the first one: %v", seat.Err())
	}
	other := sit(t, second, bus.HereVault("vault-2"), nil)
	if err := errors.Join(other.Leave(), seat.Leave()); err != nil {
		t.Fatal(err)
	}
	again := sit(t, second, bus.HereVault("vault-1"), nil)
	second.nc.Close() // killed: the server sees its connection end
	<-second.closed
	third := sit(t, s.connect(t, UserVault), bus.HereVault("vault-1"), nil)
	if err := errors.Join(third.Err(), again.Err()); err != nil {
		t.Error(err)
	}
}

// Of two that begin at the same moment one is left.
func TestTwoBeginAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const n = 4
	results := make(chan error, n)
	for range n {
		c := s.connect(t, UserLedger)
		go func() {
			_, err := c.Sit(soon(t), bus.HereLedger, nil)
			results <- err
		}()
	}
	var refused int
	for range n {
		switch err := <-results; {
		case errors.Is(err, ErrTwice):
			refused++
		case err != nil:
			t.Error(err)
		}
	}
	if refused != n-1 {
		t.Errorf("%d of %d were refused", refused, n)
	}
}

// Two that found no bus, or different ones, meet when they hear one another: the younger goes.
func TestTwoMeetLater(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.connect(t, UserLedger)
	older := sit(t, c, bus.HereLedger, nil)
	young := older.self
	young.Instance[0]++
	young.Since++
	tell := func(h bus.Here) {
		b, err := bus.Encode(h)
		if err == nil {
			err = errors.Join(c.nc.Publish(bus.HereLedger, b), c.nc.Flush())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	heard, err := c.nc.SubscribeSync(bus.HereLedger)
	if err != nil {
		t.Fatal(err)
	}
	young.Settled = true
	tell(young)
	for { // the answer to it
		m, err := heard.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := bus.Decode[bus.Here](m.Data); err == nil && h.Not == young.Instance {
			break
		}
	}
	if older.Err() != nil {
		t.Errorf("the older one goes: %v", older.Err())
	}
	old := young
	old.Since = older.self.Since - int64(time.Hour/time.Microsecond)
	tell(old)
	select {
	case <-older.Lost():
	case <-time.After(patience):
		t.Fatal("the younger one stays")
	}
	if !errors.Is(older.Err(), ErrTwice) {
		t.Error(older.Err())
	}
}

// Processes of one database are there side by side; one of a copy, which knows those who were there when it was copied, is
// told by them that it is a stranger.
func TestCopiedDatabaseIsAStranger(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	none := func(context.Context, [16]byte) (bool, error) { return false, nil }
	first := sit(t, s.connect(t, UserLedger), bus.HereLedger, none)
	all := func(context.Context, [16]byte) (bool, error) { return true, nil }
	if _, err := s.connect(t, UserLedger).Sit(soon(t), bus.HereLedger, all); !errors.Is(err, ErrTwice) {
		t.Errorf("a copy that takes the first one for its own: %v", err)
	}
	if first.Err() != nil {
		t.Error(first.Err())
	}
	first.same = all // as if the second one's row were there
	second := sit(t, s.connect(t, UserLedger), bus.HereLedger, all)
	if err := errors.Join(first.Err(), second.Err()); err != nil {
		t.Errorf("two of one database: %v", err)
	}
}
