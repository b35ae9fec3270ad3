package audit_test

import (
	"strings"
	"testing"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

func (w *world) book(name string, reel perso.Name, from, to perso.Account, chips uint64) {
	w.Append(entry.Booking{ID: Hash("booking %s", name), Reel: reel, From: from, To: to, Chips: chips, By: "Store Keeper", At: w.Tick()})
}

// TestBookings: what is issued, fed and given back is no finding, and each booking of chips that are not there is.
func TestBookings(t *testing.T) {
	t.Parallel()
	lot, line, store := perso.LotAccount("L1"), perso.LineAccount("line-1"), perso.AccountStore
	for name, c := range map[string]struct {
		live func(w *world)
		want string
	}{
		"issued and given back": {func(w *world) {
			w.book("a", "reel-1", store, line, 50)
			w.book("b", "reel-1", line, lot, 30)
			w.book("c", "reel-1", lot, store, 27)
			w.lot.Finish()
		}, ""},
		"not issued": {func(w *world) { w.lot.Finish() }, ""},
		"more than is there": {func(w *world) {
			w.book("a", "reel-1", store, line, 50)
			w.book("b", "reel-1", line, lot, 51)
		}, "51 chips of reel reel-1 were booked out of line/line-1, which holds 50"},
		"twice":          {func(w *world) { w.book("a", "reel-1", store, line, 1); w.book("a", "reel-1", store, line, 1) }, "was made before"},
		"unknown reel":   {func(w *world) { w.book("a", "reel-9", store, line, 1) }, "never came in"},
		"a lot too much": {func(w *world) { w.book("a", "reel-1", store, lot, 30); w.lot.Finish() }, "30 chips were issued to lot L1 and not given back"},
		"closed": {func(w *world) {
			w.lot.Finish()
			w.book("a", "reel-1", store, lot, 1)
		}, "was closed before"},
		"no such lot": {func(w *world) { w.book("a", "reel-1", store, "lot/L9", 1) }, "was never released"},
		"forbidden":   {func(w *world) { w.book("a", "reel-1", store, perso.AccountGood, 1) }, "may not be booked"},
	} {
		w := newWorld()
		c.live(w)
		r, err := w.verify()
		if err != nil || (c.want == "") != r.OK() {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
			continue
		}
		if c.want != "" && !strings.Contains(r.Findings[0].What, c.want) {
			t.Errorf("%s: %v", name, r.Findings)
		}
		var sum int64
		for _, x := range r.Stock {
			sum += x.Chips
		}
		if sum != 0 || len(r.Stock) < 2 {
			t.Errorf("%s: the accounts are %v", name, r.Stock)
		}
	}
}
