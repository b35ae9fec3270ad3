package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/record"
)

// TestFloorDrafts: each draft is a statement that can be signed and handed in, with what the ledger says.
func TestFloorDrafts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "qua.key")
	if r := run(t, nil, nil, "officer", "new", "qua", "--person", "Third Person", "--role", "quality", "-o", key); r.code != ExitOK {
		t.Fatal(r.err)
	}
	status := statusReply()
	status.HandCount = [32]byte{7}
	status.Samples = &bus.Samples{State: "due", Drawn: 2, InBin: 2}
	handed := ""
	office := ledger{
		bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch, Policy: bus.Policy{FirstArticle: 5},
				Lines: []perso.Name{"line-1", "line-2"}}, nil
		}),
		bus.OfficeStatus: statusOf(status)[bus.OfficeStatus],
		bus.OfficeRejects: answer(func(bus.LotRequest) (bus.RejectsReply, error) {
			return bus.RejectsReply{Chips: []string{"47901234000112345678", "47901234000112345678"}}, nil // two pieces
		}),
		bus.OfficeInWork: oneSample,
		bus.OfficeClosing: answer(func(bus.LotRequest) (bus.ClosingReply, error) {
			return bus.ClosingReply{Release: [32]byte{3}, Gone: &bus.GoneLot{Certificate: [32]byte{4}, Good: 20, Proof: "auts", Taken: [][32]byte{{5}}}}, nil
		}),
		bus.OfficeWord: answer(func(q bus.SignedRequest) (bus.WordReply, error) {
			handed = string(q.Signed)
			return bus.WordReply{Kind: "x"}, nil
		}),
	}
	for i, c := range []struct{ args, kind, has string }{
		{"policy draft --first-article 5 --clearance", "site-policy", "first_article 5\nclearance required\nissue -\n"},
		{"policy draft --blind-count --aql 6.5 --samples-become kept", "site-policy", "blind_count required\nsamples kept 8:2/0 15:2/0 25:8/1 "},
		{"policy draft --samples 20:3/1", "site-policy", "blind_count -\nsamples output 20:3/1\n"},
		{"lot draft-samples L1 --finding fine --failed 47901234000112345677", "samples-examined", "lot L1\nexamined 2\nfinding fine\nfailed 47901234000112345677\n"},
		{"lot draft-samples L1 --finding fine --examined 2", "samples-examined", "lot L1\nexamined 2\nfinding fine\n"},
		{"lot draft-first-article L1 --finding fine", "first-article", "lot L1\ngood 20\nfinding fine\n"},
		{"lot draft-clearance L1 --line line-1 --finding empty", "line-clearance", "line line-1\nlot L1\n"},
		{"lot draft-explain L1 --reason stuck", "count-explained", "count 07000000"},
		{"lot draft-short L1 --reason dry", "lot-short", "lot L1\nrelease 06000000"},
		{"lot draft-forget L1", "lot-forget", "good 20\nproof auts\norder_asks -\norder_taken 05"},
		{"chips draft-destroy L1 --place cellar --how shredded --found 47901234000112345677 --found 47901234000112345678", "rejects-destroyed",
			"how shredded\nchip 47901234000112345677\nchip 47901234000112345678\nchip 47901234000112345678\n"},
	} {
		file := filepath.Join(dir, string(rune('a'+i)))
		if r := run(t, office, nil, append(strings.Fields(c.args), "-o", file)...); r.code != ExitOK {
			t.Errorf("%s: %s", c.args, r.err)
			continue
		}
		body, err := os.ReadFile(file)
		if kind, kerr := record.Kind(body); err != nil || kerr != nil || kind != c.kind || !strings.Contains(string(body), c.has) {
			t.Errorf("%s: %v, %v\n%s", c.args, err, kerr, body)
		}
		if r := run(t, nil, nil, "officer", "sign", file, "--key", key, "--yes"); r.code != ExitOK || !strings.Contains(r.err, "hand-in") {
			t.Errorf("%s: %s", c.args, r.err)
		}
		if r := run(t, office, nil, "hand-in", file+".signed"); r.code != ExitOK || !strings.Contains(handed, c.has) || r.out != "the "+c.kind+" is on record\n" {
			t.Errorf("%s: %s%s", c.args, r.out, r.err)
		}
	}
	nothing := filepath.Join(dir, "nothing")
	if r := run(t, office, nil, "lot", "draft-clearance", "L1", "--line", "line-99", "--finding", "empty", "-o", nothing); r.code != ExitFailed ||
		!strings.Contains(r.err, `no line "line-99"`) || !strings.Contains(r.err, "line-1, line-2") {
		t.Errorf("an unknown line: %d, %s", r.code, r.err)
	}
	if _, err := os.Stat(nothing); err == nil {
		t.Error("the clearance of an unknown line was written")
	}
	for _, args := range []string{"lot draft-first-article L1", "lot draft-clearance L1 --line a/b --finding x", "lot draft-clearance L1 --finding x", "lot draft-explain L1", "lot draft-short L1", "policy draft --aql 2", "policy draft --aql 1.0 --samples 20:3/1", "policy draft --samples 20:3/3",
		"policy draft --samples-become kept", "policy draft --samples 50:60/0", "policy draft --first-article 99999999999", "lot draft-samples L1", "chips draft-destroy L1 --place x",
		"chips draft-destroy L1 --place x --how y --found zz"} {
		if r := run(t, office, nil, strings.Fields(args)...); r.code != ExitUsage {
			t.Errorf("%s: exit %d, %s", args, r.code, r.err)
		}
	}
}

// TestPolicyShow: a policy reads as what happens to lots.
func TestPolicyShow(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]bus.Policy{
		"nothing is asked":                     {},
		"quality signs the first 5 good chips": {FirstArticle: 5},
		"each line is cleared before it starts; quality examines samples by the plan 50:4/0, and the good ones go back among the units to deliver": {Clearance: true, Samples: "output 50:4/0"},
		"quality examines samples by the plan 50:4/0 90:5/1, and the good ones are kept and delivered to nobody":                                   {Samples: "kept 50:4/0 90:5/1"},
	} {
		office := ledger{bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch, Policy: p}, nil
		})}
		if r := run(t, office, nil, "policy", "show"); r.code != ExitOK || r.out != "lots that are released now: "+want+"\n" {
			t.Errorf("exit %d, %s%s, want %q", r.code, r.out, r.err, want)
		}
	}
}

// TestStatusHidden: what the ledger hides until a lot is counted is called hidden, and no zero is shown for it.
func TestStatusHidden(t *testing.T) {
	t.Parallel()
	s := statusReply()
	s.Hidden, s.Bins, s.Reasons, s.Balance, s.Lost, s.EIDsUsed = true, nil, nil, nil, 0, 0
	r := run(t, statusOf(s), nil, "lot", "status", "L1")
	if r.code != ExitOK || !strings.Contains(r.out, "hidden until counted") || strings.Contains(r.out, "yield") || strings.Contains(r.out, "lost") || strings.Contains(r.out, "reject") {
		t.Errorf("%d %s%s", r.code, r.out, r.err)
	}
}

// TestHiddenSamples: where a policy of blind counts hides how many samples lie in their bin, the statement is about those that were drawn, and
// the status does not say that none lies there.
func TestHiddenSamples(t *testing.T) {
	t.Parallel()
	status := statusReply()
	status.Hidden, status.Samples = true, &bus.Samples{State: "due", Drawn: 3}
	office := ledger{
		bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch}, nil
		}),
		bus.OfficeStatus: statusOf(status)[bus.OfficeStatus],
	}
	if r := run(t, office, nil, "lot", "draft-samples", "L1", "--finding", "fine"); r.code != ExitOK || !strings.Contains(r.out, "examined 3\n") {
		t.Errorf("%s%s", r.out, r.err)
	}
	if r := run(t, office, nil, "lot", "status", "L1"); !strings.Contains(r.out, "3 drawn, where they lie is hidden until counted; quality has not signed\n") {
		t.Error(r.out)
	}
}

// oneSample answers of which chip there is a unit: of one that is a sample, and of one that is none.
var oneSample = answer(func(q bus.InWorkRequest) (bus.InWorkReply, error) {
	if q.Chip == "47901234000112345670" {
		return bus.InWorkReply{}, bus.Refuse(bus.FaultNotFound, "chip %s has no unit", q.Chip)
	}
	return bus.InWorkReply{Release: [32]byte{6}, Units: []bus.UnitInWork{{Chip: q.Chip, Sample: q.Chip == "47901234000112345677"}}}, nil
})

// TestSamplesAreDraftedAsTheyLie: what the ledger would refuse when quality has signed is not drafted.
func TestSamplesAreDraftedAsTheyLie(t *testing.T) {
	t.Parallel()
	status := statusReply()
	office := func(hidden bool, inBin uint64) ledger {
		s := status
		s.Hidden, s.Samples = hidden, &bus.Samples{State: "due", Drawn: 2, InBin: inBin}
		return ledger{bus.OfficeInWork: oneSample, bus.OfficeStatus: statusOf(s)[bus.OfficeStatus], bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch}, nil
		})}
	}
	for _, c := range []struct {
		args   string
		hidden bool
		inBin  uint64
		want   string
	}{
		{"--examined 1", false, 2, "2 samples of lot L1 lie in their bin, the statement is about 1"},
		{"--examined 1", true, 0, ""},
		{"--examined 3", true, 0, "2 samples of lot L1 were drawn, the statement is about 3"},
		{"--failed 47901234000112345677", false, 2, ""},
		{"--failed 47901234000112345678", false, 2, "chip 47901234000112345678 is no sample of lot L1 that lies in its bin"},
		{"--failed 47901234000112345670", false, 2, "chip 47901234000112345670 is no sample of lot L1 that lies in its bin"},
	} {
		r := run(t, office(c.hidden, c.inBin), nil, append([]string{"lot", "draft-samples", "L1", "--finding", "fine"}, strings.Fields(c.args)...)...)
		if (r.code == ExitOK) != (c.want == "") || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %+v", c.args, r)
		}
	}
}

// TestBlindCountSaysWhatItLeavesOpen: the flag's help does not promise more than the ledger keeps (perso/SECURITY.md).
func TestBlindCountSaysWhatItLeavesOpen(t *testing.T) {
	t.Parallel()
	help := run(t, nil, nil, "policy", "draft", "--help").out
	for _, part := range []string{"trace, audit bundle", "still tell it"} {
		if !strings.Contains(strings.Join(strings.Fields(help), " "), part) {
			t.Errorf("the help of --blind-count does not say %q:\n%s", part, help)
		}
	}
}
