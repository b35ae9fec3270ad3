package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// TestLose lists what is in work, drafts, signs and submits the loss of a unit.
func TestLose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	unit := bus.UnitInWork{Unit: 3, Index: 4, EID: "89049099002000000000000000000080", Chip: "47901234000165a30000", State: perso.UnitOpen, Claim: [32]byte{1},
		Session: perso.Session{2}, Since: epoch, Acts: 2, Due: true, Alarm: "vault-refused: release has expired"}
	good, state := false, perso.LotReleased
	office := ledger{
		bus.OfficeInWork: answer(func(q bus.InWorkRequest) (bus.InWorkReply, error) {
			if q.Chip != "" && q.Chip != unit.Chip {
				return bus.InWorkReply{}, bus.Refuse(bus.FaultNotFound, "chip %s has no unit", q.Chip)
			}
			return bus.InWorkReply{Env: perso.EnvTest, Site: "S1", Lot: q.Lot, Release: [32]byte{3}, Now: epoch, Units: []bus.UnitInWork{unit}}, nil
		}),
		bus.OfficeStatus: answer(func(q bus.LotRequest) (bus.StatusReply, error) { return bus.StatusReply{Lot: q.Lot, State: state}, nil }),
		bus.OfficeLose: answer(func(q bus.SignedRequest) (bus.LoseReply, error) {
			w := audittest.Must(statement.ParseLost(audittest.Must(statement.DecodeSigned(q.Signed)).Body))
			return bus.LoseReply{Lot: w.Lot, Unit: w.Unit, Good: good, Receipt: []byte("receipt")}, nil
		}),
	}
	r := run(t, office, nil, "lot", "in-work", "L1")
	if r.code != ExitOK || !strings.Contains(r.out, "47901234000165a30000") || !strings.Contains(r.out, "release has expired") || !strings.Contains(r.err, "lot draft-lost") {
		t.Errorf("%+v", r)
	}
	unit.Stays = "it lies in the good bin"
	if r := run(t, office, nil, "lot", "draft-lost", "L1", "--chip", unit.Chip, "--fate", "missing", "--reason", "fell off the belt", "-o", at("d")); r.code != ExitFailed || !strings.Contains(r.err, unit.Stays) {
		t.Errorf("good and in its bin: %+v", r)
	}
	unit.Stays = ""
	if r := run(t, office, nil, "lot", "draft-lost", "L1", "--chip", unit.Chip, "--fate", "missing", "--reason", "fell off the belt", "-o", at("d")); r.code != ExitOK {
		t.Fatalf("%+v", r)
	}
	if r := run(t, office, nil, "officer", "new", "prod-1", "--person", "First Person", "--role", "production", "-o", at("k")); r.code != ExitOK {
		t.Fatalf("%+v", r)
	}
	r = run(t, office, nil, "officer", "sign", at("d"), "--key", at("k"), "--yes")
	if r.code != ExitOK || !strings.Contains(r.err, "fate missing\nreason fell off the belt") {
		t.Fatalf("%+v", r)
	}
	if r := run(t, office, nil, "lot", "lose", at("d.signed")); r.code != ExitOK || !strings.Contains(r.out, "unit 3 of lot L1 is given up") || !strings.Contains(r.out, "counts as missing") {
		t.Errorf("%+v", r)
	}
	good = true
	if r := run(t, office, nil, "lot", "lose", at("d.signed")); r.code != ExitOK || !strings.Contains(r.out, "is good") {
		t.Errorf("%+v", r)
	}
	if r := run(t, office, nil, "lot", "close", at("d.signed")); r.code != ExitFailed {
		t.Errorf("closed by a loss: %+v", r)
	}
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"no such fate": {[]string{"--chip", unit.Chip, "--fate", "sold", "--reason", "x"}, ExitUsage},
		"no chip":      {[]string{"--fate", "missing", "--reason", "x"}, ExitUsage},
		"no reason":    {[]string{"--chip", unit.Chip, "--fate", "missing"}, ExitUsage},
		"no hex":       {[]string{"--chip", "head 3", "--fate", "missing", "--reason", "x"}, ExitUsage},
		"another chip": {[]string{"--chip", "0011223344", "--fate", "missing", "--reason", "x"}, ExitFailed},
	} {
		if r := run(t, office, nil, append([]string{"lot", "draft-lost", "L1"}, c.args...)...); r.code != c.code {
			t.Errorf("%s: %+v", name, r)
		}
	}
	state = perso.LotClosed
	if r := run(t, office, nil, "lot", "draft-lost", "L1", "--chip", unit.Chip, "--fate", "missing", "--reason", "x"); r.code != ExitFailed || r.out != "" || !strings.Contains(r.err, "is closed") {
		t.Errorf("of a closed lot: %+v", r)
	}
	state, unit.State = perso.LotReleased, perso.UnitLost
	if r := run(t, office, nil, "lot", "draft-lost", "L1", "--chip", unit.Chip, "--fate", "missing", "--reason", "x"); r.code != ExitFailed || !strings.Contains(r.err, "lost already") {
		t.Errorf("%+v", r)
	}
}
