package audit_test

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// A lot of SIMs has no EID, no certificate and no EIS, and its audit says whether "good" trusts the line.
func TestSIMs(t *testing.T) {
	t.Parallel()
	for name, channel := range map[string]bool{"over a secure channel": true, "without one": false} {
		s := New()
		s.Release("L0", 0, 1, 1).Finish()
		s.Admit(s.NewSIMs("L1", 1, 3, 2, channel), "prod", "sec").Finish()
		r, err := audit.Verify(s.Bundle("L1"), pins(s))
		if err != nil || !r.OK() {
			t.Fatalf("%s: %v, findings %v", name, err, r.Findings)
		}
		var text strings.Builder
		if err := r.Write(&text); err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(text.String(), "trusts the line: lot L1 is good by authenticate (trusts the line)"); told == channel || len(r.Trusts) > 1 {
			t.Errorf("%s: %s", name, text.String())
		}
	}
}

// Of a lot over SCP02 its audit says that contents are the line's word, and a release that does not say so is none.
func TestLotOverSCP02(t *testing.T) {
	t.Parallel()
	s := New()
	r := s.NewSIMs("L1", 0, 3, 2, true)
	r.Channel, r.CardKVN, r.Proof = "scp02", 0x20, "scp-reopen, authenticate"
	if b, err := r.Encode(); err != nil {
		t.Error(err)
	} else if _, err := statement.ParseRelease(b); err == nil {
		t.Error("a release over SCP02 that does not say what is proven is read")
	}
	r.Proof += " (contents trust the line)"
	s.Admit(r, "prod", "sec").Finish()
	got, err := audit.Verify(s.Bundle("L1"), pins(s))
	if err != nil || !got.OK() || len(got.Trusts) != 1 || !strings.Contains(got.Trusts[0], "(contents trust the line): each chip proved its keys") {
		t.Errorf("%v, findings %v, trusts %q", err, got.Findings, got.Trusts)
	}
}

// What cannot be true of SIMs is found.
func TestFraudWithSIMs(t *testing.T) {
	t.Parallel()
	eid := Must(id.ParseEID("89049099001000000000000000000034"))
	for name, c := range map[string]struct {
		want string
		live func(l *Lot)
	}{
		"an EID": {"I1", func(l *Lot) {
			u := l.Claim(0, 0, 0, Chip(1))
			l.Enter(entry.Claim{Lot: l.Release.Lot, Unit: 1, Index: 1, EID: eid, Chip: Chip(2), Release: l.Hash, Present: u.Claim.Present, At: l.Site.Tick()})
		}},
		"a certificate": {"I5", func(l *Lot) {
			u := l.Claim(0, 0, 0, Chip(1))
			u.Claim.EID = eid
			u.Certify("first")
		}},
		"two chips of one number": {"I7", func(l *Lot) {
			u := l.Claim(0, 0, 0, Chip(1))
			l.Enter(entry.Claim{Lot: l.Release.Lot, Unit: 1, Index: 0, Chip: Chip(2), Release: l.Hash, Present: u.Claim.Present, At: l.Site.Tick()})
		}},
		"one chip twice": {"I1", func(l *Lot) { l.Claim(0, 0, 0, Chip(1)); l.Claim(1, 0, 0, Chip(1)) }},
		"more than Q and S": {"I7", func(l *Lot) {
			for n := range 4 {
				l.Claim(0, 0, 0, Chip(uint32(n))).Lose()
			}
		}},
		"an EIS": {"I7", func(l *Lot) { l.Export("eis", "auc", nil) }},
	} {
		s := New()
		l := s.Admit(s.NewSIMs("L1", 0, 2, 1, true), "prod", "sec")
		c.live(l)
		r, err := audit.Verify(s.Bundle("L1"), pins(s))
		found := false
		for _, f := range r.Findings {
			found = found || f.Invariant == c.want
		}
		if err != nil || !found {
			t.Errorf("%s: %v, findings %v", name, err, r.Findings)
		}
	}
}
