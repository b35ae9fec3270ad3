package wire

import (
	"strings"
	"testing"
)

// TestLeftBehind: only of a ledger in a file is it said that a refused restoration changed nothing.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server, recovered bool
		want              string
	}{
		{false, false, "nothing was changed"},
		{true, true, "do not start the factory"},
		{true, false, "the next restoration deletes that"},
	} {
		got := leftBehind(c.server, c.recovered)
		if !strings.Contains(got, c.want) || c.server && strings.Contains(got, "nothing was changed") {
			t.Errorf("server %v, recovered %v: %q", c.server, c.recovered, got)
		}
	}
}
