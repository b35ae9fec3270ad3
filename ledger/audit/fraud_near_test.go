package audit_test

import (
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"

	. "github.com/persoline/persoline/ledger/audit/audittest"
)

// nearFrauds differ from the truth in one thing only, so that each shows that this thing is looked at.
func nearFrauds() []fraud {
	const receipt0 = "receipts/vault-1.L1.receipts receipt 0"
	// asked is a unit with one act, which another entry follows, so that its receipt is none that could be newer than the log.
	asked := func(w *world) (*Unit, entry.Act) {
		c := w.claim(0, 1)
		a := c.Ask("identify")
		w.lot.Contact(perso.VerdictRecontact, perso.ReasonMute)
		return c, a
	}
	return []fraud{
		{"another challenge in a session", "I5", "(act)", "given up", func(w *world) {
			c := w.claim(0, 1)
			c.Act("x")
			c.Act("y")
			last(w, entry.ParseAct, func(e *entry.Act) { e.Serial++ })
		}},
		{"another presentation in a session", "I5", "(act)", "given up", func(w *world) {
			c := w.claim(0, 1)
			c.Act("x")
			c.Act("y")
			last(w, entry.ParseAct, func(e *entry.Act) { e.Present.Number++ })
		}},
		{"old session goes on with its challenge", "I5", "(act)", "given up", func(w *world) {
			c := w.claim(0, 1)
			first := c.Act("x")
			c.Reopen()
			c.Act("x")
			c.Session = first.Session
			c.Act("y")
			last(w, entry.ParseAct, func(e *entry.Act) { e.Serial = first.Serial })
		}},
		{"served at another time", "I5", receipt0, "does not hold", func(w *world) {
			c, a := asked(w)
			a.At = a.At.Add(-1000)
			c.Serve(a, "script")
		}},
		{"served as the next act", "I5", receipt0, "act 1 of session", func(w *world) {
			c, a := asked(w)
			a.N++
			c.Serve(a, "script")
		}},
		{"served as another lot's", "I5", "receipts/vault-1.L2.receipts receipt 0", "does not hold", func(w *world) {
			other := w.Release("L2", 1, 2, 1)
			other.Claim(0, 0, 0, Chip(9))
			c, a := asked(w)
			a.Lot = "L2"
			c.Serve(a, "script")
		}},
		{"good by an act before the last", "I4", "(outcome)", "did not call good again", func(w *world) {
			c := w.claim(0, 1)
			c.Act("identify")
			c.Certify("first")
			c.Serve(c.Ask("proof"), entry.ResultGood)
			first := c.Receipt
			c.Act("more")
			c.Receipt = first
			c.End(perso.VerdictGood, perso.ReasonNone)
		}},
		{"one presentation for two lots", "I6", "(outcome)", "is of lot L2", func(w *world) {
			other := w.Release("L2", 1, 2, 1)
			at := other.Contact(perso.VerdictRecontact, perso.ReasonMute)
			c := w.claim(0, 1)
			c.Claim.Present = at
			w.Entries[len(w.Entries)-1] = Must(c.Claim.Encode())
			c.Lose()
		}},
		{"one lot's contact binned as another's", "I6", "(bin)", "is of lot L2", func(w *world) {
			other := w.Release("L2", 1, 2, 1)
			at := other.Contact(perso.VerdictRecontact, perso.ReasonMute)
			c := w.good(0, 1)
			w.lot.Put(at, c.Claim.Chip, perso.VerdictGood)
		}},
		{"another lot's good chip put with the good", "I6", "(bin)", "verdict was", func(w *world) {
			other := w.Release("L2", 1, 2, 1)
			c := w.good(0, 1)
			other.Put(perso.Presentation{Line: "line-2", Number: 7}, c.Claim.Chip, perso.VerdictGood)
		}},
	}
}
