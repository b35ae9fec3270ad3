package audit

import (
	"cmp"
	"maps"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// shelf is one account's chips of one reel; the reel is empty for chips that lie on none.
type shelf struct {
	reel    perso.Name
	account perso.Account
}

// post writes both sides of a movement; what takes out more than is there is found, and booked all the same.
func (a *auditor) post(reel perso.Name, from, to perso.Account, chips uint64) {
	if n := a.shelves[shelf{reel, from}]; n < int64(chips) && !from.Outside() {
		of := "without a reel"
		if reel != "" {
			of = "of reel " + string(reel)
		}
		a.bad("I6", "%d chips %s were booked out of %s, which holds %d", chips, of, from, n)
	}
	a.shelves[shelf{reel, from}] -= int64(chips)
	a.shelves[shelf{reel, to}] += int64(chips)
}

// booking moves blank chips that are there, once; a lot that is closed neither gets nor gives any.
func (a *auditor) booking(e entry.Booking) {
	if a.bookings[e.ID] {
		a.bad("I6", "a booking of this id was made before")
	}
	a.bookings[e.ID] = true
	if e.Reel != "" && !a.reels[e.Reel] {
		a.bad("I6", "reel %s never came in", e.Reel)
	}
	for _, side := range []struct {
		account perso.Account
		chips   int64
	}{{e.From, -int64(e.Chips)}, {e.To, int64(e.Chips)}} {
		if name := side.account.Lot(); name != "" {
			if l := a.lotOf(name); l != nil {
				l.issued += side.chips
			}
		}
	}
	a.post(e.Reel, e.From, e.To, e.Chips)
}

// bookClosing books what a lot made of its chips. What was issued to it must all have been fed or given back.
func (a *auditor) bookClosing(name perso.Name, l *lot, n statement.Counts) {
	from, back := perso.AccountUnissued, perso.AccountUnissued
	if l.issued != 0 {
		from, back = perso.LotAccount(name), perso.AccountStore
		if l.issued != int64(n.In) {
			a.bad("I6", "%d chips were issued to lot %s and not given back, %d were fed", l.issued, name, n.In)
		}
		for at, chips := range a.shelves {
			if at.account == from && at.reel != "" {
				delete(a.shelves, at)
				a.shelves[shelf{"", from}] += chips
			}
		}
	}
	good, sample := perso.AccountGood, perso.AccountSample
	if l.refused() {
		good, sample = perso.AccountRejectLive, perso.AccountRejectLive
	}
	for _, to := range []struct {
		account perso.Account
		chips   uint64
	}{{good, n.Good}, {perso.AccountRejectBlank, n.RejectBlank}, {perso.AccountRejectLive, n.RejectLive}, {sample, n.Sample},
		{perso.AccountMissing, n.Missing}, {back, n.Returned}} {
		a.post("", from, to.account, to.chips)
	}
}

// StockRow is how many chips of a reel, or of none, an account holds when the log ends.
type StockRow struct {
	Reel    perso.Name
	Account perso.Account
	Chips   int64
}

// stockRows lists the accounts that are not empty; all together they are zero.
func (a *auditor) stockRows() (rows []StockRow) {
	for at, chips := range a.shelves {
		if chips != 0 {
			rows = append(rows, StockRow{Reel: at.reel, Account: at.account, Chips: chips})
		}
	}
	slices.SortFunc(rows, func(x, y StockRow) int { return cmp.Or(cmp.Compare(x.Account, y.Account), cmp.Compare(x.Reel, y.Reel)) })
	return rows
}

// in sums an account over all reels.
func (a *auditor) in(account perso.Account) (n uint64) {
	for _, at := range slices.Collect(maps.Keys(a.shelves)) {
		if at.account == account {
			n += uint64(max(a.shelves[at], 0))
		}
	}
	return n
}
