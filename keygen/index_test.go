package keygen

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// The oldest session is forgotten, and a challenge from before it is not taken any more.
func TestIndexForgetsTheOldest(t *testing.T) {
	t.Parallel()
	x := newIndex()
	session := func(i uint64) (s perso.Session) { binary.BigEndian.PutUint64(s[:], i+1); return s }
	for i := range uint64(MaxRememberedSessions + 2) {
		x.add(rendered{Serial: 10 + i, Index: uint32(i), receipt: entry.Receipt{Unit: perso.Unit(i), Session: session(i), Result: resultScript}})
	}
	if len(x.sessions) != MaxRememberedSessions || len(x.serials) != MaxRememberedSessions || len(x.queue) != MaxRememberedSessions {
		t.Fatalf("%d sessions, %d serial numbers", len(x.sessions), len(x.serials))
	}
	for serial, want := range map[uint64]string{9: "older", 11: "older", 12: "was used", 10 + MaxRememberedSessions + 1: "was used", 1 << 40: ""} {
		err := x.admitSession(session(1<<50), serial)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("challenge %d for a new session: %v", serial, err)
		}
	}
	if err := x.admitSession(session(5), 15); err != nil || !x.act(session(5), 0).known || x.act(session(0), 0).known {
		t.Errorf("a remembered session: %v", err)
	}
	if err := x.admitSession(session(5), 16); err == nil {
		t.Error("a session under another challenge")
	}
}
