package keygen_test

import (
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// TestASessionThatWaitedStaysOver: a session that was refused because it waited too long is over, however often it is asked for: asking
// twice neither brings out its window nor begins a card after the release has expired.
func TestASessionThatWaitedStaysOver(t *testing.T) {
	t.Parallel()
	for what, late := range map[string]time.Duration{"an hour": time.Hour, "expired": 40 * 24 * time.Hour} {
		for _, restart := range []bool{false, true} {
			r := newRig(t)
			r.openLot()
			u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
			item := u.begin()
			r.now = r.now.Add(time.Hour)
			first := u.serve(item)
			if first.Failed == nil || first.Failed.Reason != perso.ReasonStale {
				t.Fatalf("an hour late: %+v", first)
			}
			r.now = r.now.Add(late)
			if restart {
				r.reopenVault()
				r.openLot()
			}
			again := u.serve(item)
			if len(again.Window) > 0 || again.Failed == nil || *again.Failed != *first.Failed || string(again.Receipt) != string(first.Receipt) {
				t.Errorf("%s late, restart %v: asked again it came to a window of %d commands, failure %+v", what, restart, len(again.Window), again.Failed)
			}
			checkReceipts(t, r, [][]byte{first.Receipt}, []string{string(perso.ReasonStale)})
		}
	}
}

// TestATwinAskedTwice: a second card of a good SIM's name gets no window when it is asked for again, as it is when the first answer was lost.
func TestATwinAskedTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t).adms()
	r.openLot()
	u := r.claimAdm(newAdmCard(t, testKMC, 1), 0, 0)
	if got := u.session(); !got.Good {
		t.Fatalf("%+v %+v", got, got.Failed)
	}
	u.chip = newAdmCard(t, testKMC, 1)
	item := u.begin()
	first := u.serve(item)
	if first.Failed == nil || first.Failed.Reason != perso.ReasonTwin {
		t.Fatalf("its twin: %+v %+v", first, first.Failed)
	}
	for range 2 {
		if again := u.serve(item); len(again.Sealed) > 0 || again.Failed == nil || *again.Failed != *first.Failed || string(again.Receipt) != string(first.Receipt) {
			t.Errorf("asked again it came to a window of %d bytes, failure %+v", len(again.Sealed), again.Failed)
		}
		r.reopenVault()
		r.openLot()
	}
}

// TestAFailedActStaysFailed: an act that failed does not go on when it is asked for again with something else on record, of which the log
// says nothing.
func TestAFailedActStaysFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item, _ := u.toAct(3)
	last := u.serve(item)
	u.keep(last.Stored)
	u.next(item, last)
	u.card.contact()
	item, _ = u.toAct(2)
	onRecord := item.Stored
	item.Stored = bus.Stored{} // as if the chip's key had no certificate
	if got := u.serve(item); got.Failed == nil || got.Failed.Reason != perso.ReasonPossession {
		t.Fatalf("%+v %+v", got, got.Failed)
	}
	item.Stored = onRecord
	if got := u.serve(item); len(got.Window) > 0 || got.Failed != nil || got.Receipt != nil || !strings.Contains(got.Refused, `ended with "possession" before`) {
		t.Errorf("a window of %d commands, refused %q, %+v", len(got.Window), got.Refused, got.Failed)
	}
	u.card.contact()
	if got := u.session(); !got.Good {
		t.Errorf("in a new session: %+v %+v", got, got.Failed)
	}
}
