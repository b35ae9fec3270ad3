package cli

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// TestDraftForget: nothing is drafted of a lot whose key is there, or whose words are deleted.
func TestDraftForget(t *testing.T) {
	t.Parallel()
	for want, gone := range map[string]*bus.GoneLot{"is not destroyed": nil, "deleted already": {Proof: "auts", Forgotten: true}} {
		office := ledger{
			bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
				return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch}, nil
			}),
			bus.OfficeClosing: answer(func(bus.LotRequest) (bus.ClosingReply, error) {
				return bus.ClosingReply{Release: [32]byte{3}, Gone: gone}, nil
			}),
		}
		if r := run(t, office, nil, "lot", "draft-forget", "L1"); r.code != ExitFailed || r.out != "" || !strings.Contains(r.err, want) {
			t.Errorf("%+v, want %q", r, want)
		}
	}
}
