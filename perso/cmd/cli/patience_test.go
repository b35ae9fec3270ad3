package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/bus"
)

// TestASiteThatIsStarting has the bus, and then the ledger, come up after some tries.
func TestASiteThatIsStarting(t *testing.T) {
	t.Parallel()
	const line = "perso: waiting for the site in "
	unreached := fmt.Errorf("reaching the bus: %w", context.DeadlineExceeded)
	for _, c := range []struct {
		name        string
		dir         string
		err         error // of a dial that fails
		dials, asks int   // that fail
		code        int
		told        bool
		wantDials   int
	}{
		{"running", t.TempDir(), unreached, 0, 0, ExitOK, false, 1},
		{"soon there", t.TempDir(), unreached, 2, 1, ExitOK, false, 3},
		{"there later", t.TempDir(), unreached, 20, 20, ExitOK, true, 21},
		{"ledger never there", t.TempDir(), unreached, 0, 1000, ExitFailed, true, 1},
		{"bus never there", t.TempDir(), unreached, 1000, 0, ExitFailed, true, 61},
		{"another fault", t.TempDir(), fmt.Errorf("wrong key"), 1, 0, ExitFailed, false, 1},
		{"no folder", "nowhere", unreached, 1, 0, ExitFailed, false, 1},
	} {
		dials, asks := 0, 0
		office := ledger{bus.OfficeLots: func(ctx context.Context, data []byte) ([]byte, error) {
			if asks++; asks <= c.asks {
				return nil, bus.ErrNoAnswer
			}
			return answer(func(bus.Empty) (bus.LotsReply, error) { return bus.LotsReply{}, nil })(ctx, data)
		}}
		r := run(t, office, func(env *Env) {
			env.Dial = func(context.Context, string) (Office, error) {
				if dials++; dials <= c.dials {
					return nil, c.err
				}
				return closer{office}, nil
			}
		}, "lot", "list", "--json", "--site", c.dir)
		if told := strings.Count(r.err, line) == 1; r.code != c.code || told != c.told || dials != c.wantDials {
			t.Errorf("%s: exit %d, want %d; told %v, want %v; %d dials, want %d: %s", c.name, r.code, c.code, told, c.told, dials, c.wantDials, r.err)
		}
		if c.asks == 1000 && asks != 61 {
			t.Errorf("%s: asked %d times, want 61", c.name, asks)
		}
	}
}

// TestLaterSilenceIsNotWaitedFor leaves it to the command once the site has answered.
func TestLaterSilenceIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	asks := 0
	env := &Env{}
	o := &patientOffice{patience: &patience{env: env}, Requester: ledger{bus.OfficeLots: func(context.Context, []byte) ([]byte, error) {
		if asks++; asks > 1 {
			return nil, bus.ErrNoAnswer
		}
		return []byte{1}, nil
	}}}
	_, first := o.Request(t.Context(), bus.OfficeSubject(bus.OfficeLots), nil)
	_, second := o.Request(t.Context(), bus.OfficeSubject(bus.OfficeLots), nil)
	if first != nil || second == nil || asks != 2 {
		t.Errorf("%v, %v after %d requests", first, second, asks)
	}
}
