package audit_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// remade is a site with two lots, in the first of which unit 1 was lost once and made again.
func remade() (s *Site, r statement.Release) {
	s = New()
	r = s.NewRelease("L1", 0, 3, 2)
	lot := s.Admit(r, "prod", "sec")
	lot.Claim(0, 0, 0, Chip(1)).Run()
	lost := lot.Claim(1, 0, 0, Chip(2))
	lost.Act("identify")
	loss := lost.Lose()
	lost.Bin()
	again := lot.Claim(1, 1, loss, Chip(3))
	again.Run()
	again.Bin()
	s.Release("L2", 1, 3, 1).Finish()
	return s, r
}

// TestProve: by EID, ICCID or either chip, the whole life of the unit, and nothing of others; the file checks without the log.
func TestProve(t *testing.T) {
	t.Parallel()
	s, r := remade()
	log, err := audit.OpenLog(s.Bundle("L1"), Public(s.LogKey))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		subject    audit.Subject
		entries    int // beside the log's first
		statements int
	}{
		// claim, act, outcome, bin of the lost chip; claim, 3 acts, certificate, outcome, bin of the next one
		{audit.Subject{Kind: audit.SubjectEID, Key: Must(r.EIDs.At(1)).String()}, 11, 0},
		{audit.Subject{Kind: audit.SubjectICCID, Key: Must(r.ICCIDs.At(1)).String()}, 12, 1}, // and the release
		{audit.Subject{Kind: audit.SubjectChip, Key: Chip(2).String()}, 11, 0},
		{audit.Subject{Kind: audit.SubjectChip, Key: Chip(3).String()}, 7, 0}, // of the later chip, since it came
		{audit.Subject{Kind: audit.SubjectLot, Key: "L2"}, 6, 2},              // release, two counts, closing, two exports
		{audit.Subject{Kind: audit.SubjectOrder, Key: r.Order}, 1, 1},
	} {
		p, err := log.Prove(c.subject)
		if err != nil {
			t.Errorf("%s: %v", c.subject, err)
			continue
		}
		b := Must(p.Encode())
		again, err := audit.ParseProof(b)
		if err != nil {
			t.Errorf("%s: %v", c.subject, err)
			continue
		}
		got, err := again.Check(Public(s.LogKey))
		if err != nil || len(got.Entries)-1 != c.entries || len(got.Statements) != c.statements || got.Site != SiteName {
			t.Errorf("%s: %v, %d entries, %d statements, want %d and %d", c.subject, err, len(got.Entries)-1, len(got.Statements), c.entries, c.statements)
		}
		if open, err := again.Check(nil); err != nil || open.Pinned || !open.Key.Equal(Public(s.LogKey)) {
			t.Errorf("%s: without a key: %v", c.subject, err)
		}
		if _, err := again.Check(Public(Key("other"))); err == nil {
			t.Errorf("%s: checked with another key", c.subject)
		}
	}
	for _, none := range []audit.Subject{{Kind: audit.SubjectEID, Key: Must(r.EIDs.At(4)).String()}, {Kind: audit.SubjectLot, Key: "L9"}, {Kind: audit.SubjectOrder, Key: "none"}} {
		if _, err := log.Prove(none); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("%s: %v", none, err)
		}
	}
	if _, err := log.Prove(audit.Subject{Kind: "unit", Key: "1"}); err == nil || errors.Is(err, audit.ErrNotFound) {
		t.Errorf("a kind that is none: %v", err)
	}
}

// TestProofSpoilt: no byte of a proof can be another one, no entry missing from its place, none of another unit among them.
func TestProofSpoilt(t *testing.T) {
	t.Parallel()
	s, r := remade()
	log, err := audit.OpenLog(s.Bundle("L1"), Public(s.LogKey))
	if err != nil {
		t.Fatal(err)
	}
	p := Must(log.Prove(audit.Subject{Kind: audit.SubjectICCID, Key: Must(r.ICCIDs.At(1)).String()}))
	b := Must(p.Encode())
	check := func(b []byte) error {
		q, err := audit.ParseProof(b)
		if err == nil {
			_, err = q.Check(Public(s.LogKey))
		}
		return err
	}
	if err := check(b); err != nil {
		t.Fatal(err)
	}
	signatures := bytes.Index(b, []byte("\nsigned ")) // whose they are, a reader with the officer register knows
	note := len(b) - len(p.Note)
	for at := range b {
		if at > signatures && at < note {
			continue
		}
		spoilt := bytes.Clone(b)
		spoilt[at] ^= 1
		if check(spoilt) == nil {
			t.Fatalf("byte %d was changed unseen: %q", at, spoilt[max(0, at-20):min(len(b), at+20)])
		}
	}
	other := Must(log.Prove(audit.Subject{Kind: audit.SubjectChip, Key: Chip(1).String()}))
	mixed := p
	mixed.Entries = append(append([]audit.Proven{}, p.Entries...), other.Entries[1:]...)
	if check(Must(mixed.Encode())) == nil {
		t.Error("another unit's entries pass")
	}
	renamed := p
	renamed.Subject.Key = Must(r.ICCIDs.At(2)).String()
	if check(Must(renamed.Encode())) == nil {
		t.Error("another unit's name passes")
	}
	stranger := p
	stranger.Statements = append([][]byte{s.Openings[len(s.Openings)-1].Encode()}, p.Statements...)
	if check(Must(stranger.Encode())) == nil {
		t.Error("a statement that no entry names passes")
	}
}

// TestProveByChipAndPlace: what happens to a claimed chip is about its unit by the chip alone, or by the place alone where nothing could be read.
func TestProveByChipAndPlace(t *testing.T) {
	t.Parallel()
	s := New()
	lot := s.Release("L1", 0, 2, 1)
	u := lot.Claim(0, 0, 0, Chip(1))
	u.Run()
	other := lot.Claim(1, 0, 0, Chip(2))
	other.Run()
	mute := s.Append(entry.Present{Lot: "L1", Present: u.Claim.Present, Verdict: perso.VerdictRecontact, Reason: perso.ReasonMute, At: s.Tick()})
	elsewhere := s.Append(entry.Present{Lot: "L1", Present: perso.Presentation{Line: "line-7", Head: 3, Number: 9}, Chip: u.Claim.Chip, Verdict: perso.VerdictHold, Reason: perso.ReasonLotWaiting, At: s.Tick()})
	s.Append(entry.Present{Lot: "L1", Present: other.Claim.Present, Chip: other.Claim.Chip, Verdict: perso.VerdictHold, Reason: perso.ReasonLotWaiting, At: s.Tick()})
	p, err := Must(audit.OpenLog(s.Bundle("L1"), Public(s.LogKey))).Prove(audit.Subject{Kind: audit.SubjectEID, Key: u.Claim.EID.String()})
	if err != nil {
		t.Fatal(err)
	}
	last := p.Entries[max(0, len(p.Entries)-2):]
	if len(p.Entries) != 9 || last[0].Seq != mute || last[1].Seq != elsewhere {
		t.Errorf("%d entries are proven, the last is %d; want the log's first, the unit's six, %d and %d", len(p.Entries), last[len(last)-1].Seq, mute, elsewhere)
	}
}
