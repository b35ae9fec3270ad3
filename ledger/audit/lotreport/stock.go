package lotreport

import (
	"cmp"
	"slices"
	"strings"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// stock are the bookings of chips to the lot and away from it.
type stock struct {
	bookings     []booked
	more         uint64
	issued, back uint64
}

type booked struct {
	entry.Booking
	Seq int64
}

func (s *story) booking(seq int64, e entry.Booking) {
	k, ours := &s.stock, perso.LotAccount(s.lot)
	switch ours {
	case e.To:
		k.issued += e.Chips
	case e.From:
		k.back += e.Chips
	default:
		return
	}
	if len(k.bookings) == maxWords {
		k.more++
		return
	}
	k.bookings = append(k.bookings, booked{e, seq})
}

// accountRow is what an account of the site holds, of all reels together.
type accountRow struct {
	Account string
	Chips   int64
	Reels   int // from which the chips are, when they still lie on any
}

// otherLots stands for the accounts of all lots but the report's: they are not its reader's business one by one.
const otherLots = "issued to other lots"

// accounts adds the auditor's books up, the outside first.
func (s *story) accounts(rows []audit.StockRow) (out []accountRow) {
	for _, r := range rows {
		name := string(r.Account)
		if lot := r.Account.Lot(); lot != "" && lot != s.lot {
			name = otherLots
		}
		i := slices.IndexFunc(out, func(x accountRow) bool { return x.Account == name })
		if i < 0 {
			i = len(out)
			out = append(out, accountRow{Account: name})
		}
		out[i].Chips += r.Chips
		if r.Reel != "" {
			out[i].Reels++
		}
	}
	slices.SortFunc(out, func(a, b accountRow) int {
		return cmp.Or(cmp.Compare(min(a.Chips, 0), min(b.Chips, 0)), strings.Compare(a.Account, b.Account))
	})
	return out
}
