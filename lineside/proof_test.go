package lineside

import (
	"bytes"
	"errors"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
)

func TestProof(t *testing.T) {
	t.Parallel()
	log := newLog(1)
	here := perso.Presentation{Line: testLine, Head: 3, Number: 7}
	elsewhere := perso.Presentation{Line: testLine, Head: 4, Number: 7}
	earlier := perso.Presentation{Line: testLine, Head: 3, Number: 2}
	read := subject{lot: testLot, present: here, chip: chipNo(1), read: true}
	unread := subject{lot: testLot, present: here}
	for range 20 { // so that proofs have something to lead through
		log.present(perso.VerdictRecontact, perso.ReasonMute, id.ChipID{}, elsewhere)
	}
	good := func(p perso.Presentation) bus.Verdict {
		return log.outcome(perso.VerdictGood, perso.ReasonNone, chipNo(1), p)
	}
	live := func(p perso.Presentation) bus.Verdict {
		return log.outcome(perso.VerdictRejectLive, perso.ReasonStatus, chipNo(1), p)
	}
	blank := func(p perso.Presentation, chip id.ChipID) bus.Verdict {
		return log.present(perso.VerdictRejectBlank, perso.ReasonMute, chip, p)
	}
	changed := func(v bus.Verdict, change func(*bus.Verdict)) bus.Verdict {
		change(&v)
		return v
	}
	sample := func(v bus.Verdict) bus.Verdict {
		return changed(v, func(v *bus.Verdict) { v.Verdict = perso.VerdictSample })
	}
	keeping := log.trust()
	keeping.last = &opened{}
	for name, c := range map[string]struct {
		v     bus.Verdict
		about subject
		ok    bool
	}{
		"checkpoint with a bent signature": {changed(good(here), func(v *bus.Verdict) {
			v.Checkpoint = bytes.Clone(v.Checkpoint)
			v.Checkpoint[len(v.Checkpoint)-8] ^= 1
		}), read, false},
		"good":                                  {good(here), read, true},
		"good since an earlier contact":         {good(elsewhere), read, true},
		"good, but not read now":                {good(here), subject{lot: testLot, present: here, chip: chipNo(1)}, false},
		"good, chip never read":                 {good(here), unread, false},
		"good of another chip":                  {good(here), subject{lot: testLot, present: here, chip: chipNo(2), read: true}, false},
		"good of another lot":                   {good(here), subject{lot: "lot-2", present: here, chip: chipNo(1), read: true}, false},
		"sample":                                {sample(good(here)), read, true},
		"sample, chip never read":               {sample(good(here)), unread, false},
		"sample of another chip":                {sample(good(here)), subject{lot: testLot, present: here, chip: chipNo(2), read: true}, false},
		"sample of another lot":                 {sample(good(here)), subject{lot: "lot-2", present: here, chip: chipNo(1), read: true}, false},
		"live said to be a sample":              {sample(live(here)), read, false},
		"live said to be a sample, never read":  {sample(live(earlier)), unread, false},
		"blank said to be a sample":             {sample(blank(here, chipNo(1))), read, false},
		"good said to be live":                  {changed(good(here), func(v *bus.Verdict) { v.Verdict = perso.VerdictRejectLive }), read, false},
		"live":                                  {live(here), read, true},
		"live, chip never read":                 {live(earlier), unread, true},
		"live of another head, chip never read": {live(elsewhere), unread, false},
		"live said to be good":                  {changed(live(here), func(v *bus.Verdict) { v.Verdict = perso.VerdictGood }), read, false},
		"live said to be blank":                 {changed(live(here), func(v *bus.Verdict) { v.Verdict = perso.VerdictRejectBlank }), read, false},
		"blank":                                 {blank(here, id.ChipID{}), unread, true},
		"blank, chip read before":               {blank(here, id.ChipID{}), read, true},
		"blank of another presentation":         {blank(earlier, id.ChipID{}), unread, false},
		"blank of another chip":                 {blank(here, chipNo(2)), read, false},
		"return":                                {log.present(perso.VerdictReturn, perso.ReasonLotComplete, chipNo(1), here), read, true},
		"blank said to be returned":             {changed(blank(here, chipNo(1)), func(v *bus.Verdict) { v.Verdict = perso.VerdictReturn }), read, false},
		"not final":                             {log.present(perso.VerdictRecontact, perso.ReasonMute, chipNo(1), here), read, false},
		"no entry":                              {bus.Verdict{Verdict: perso.VerdictGood}, read, false},
		"no entry, blank":                       {bus.Verdict{Verdict: perso.VerdictRejectBlank}, unread, false},
		"no checkpoint":                         {changed(good(here), func(v *bus.Verdict) { v.Checkpoint = nil }), read, false},
		"another number":                        {changed(good(here), func(v *bus.Verdict) { v.Seq = 0 }), read, false},
		"negative number":                       {changed(good(here), func(v *bus.Verdict) { v.Seq = -1 }), read, false},
		"proof cut":                             {changed(good(here), func(v *bus.Verdict) { v.Proof = v.Proof[1:] }), read, false},
		"proof bent":                            {changed(good(here), func(v *bus.Verdict) { v.Proof[0][5] ^= 1 }), read, false},
		"proof without end":                     {changed(good(here), func(v *bus.Verdict) { v.Proof = make([][32]byte, 70) }), read, false},
		"checkpoint from before":                {changed(good(here), func(v *bus.Verdict) { v.Checkpoint = log.outcome(perso.VerdictGood, "-", chipNo(3), here).Checkpoint }), read, false},
		"checkpoint of another log":             {newLog(2).outcome(perso.VerdictGood, perso.ReasonNone, chipNo(1), here), read, false},
	} {
		for range 2 { // the second time with a checkpoint that is known
			for _, trust := range []Trust{log.trust(), keeping} {
				err := trust.check(c.v, c.about)
				if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrUnproven) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	other := Trust{Origin: "log.other", Key: log.trust().Key}
	if err := other.check(good(here), read); !errors.Is(err, ErrUnproven) {
		t.Errorf("a checkpoint of another origin passed: %v", err)
	}
}
