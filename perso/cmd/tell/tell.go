// Package tell says log entries in words, for people who look at a unit's life, a log or a proof. Only perso/cmd calls it; what it
// says is never parsed again.
package tell

import (
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// Entry says when an entry was logged, and what it says. What cannot be read is shown as it is: the log keeps it, so a person should see it.
func Entry(kind string, body []byte) (when, text string) {
	at, errTime := entry.TimeOf(body)
	text, err := words(kind, body)
	if err = errors.Join(err, errTime); err != nil {
		return fmt.Sprintf("%-*s", len(console.ClockForm), "?"), fmt.Sprintf("%s that this program cannot read: %q", kind, body)
	}
	return console.Clock(at), text
}

func words(kind string, body []byte) (string, error) {
	switch kind {
	case entry.KindClaim:
		return telling(body, entry.ParseClaim, tellClaim)
	case entry.KindAct:
		return telling(body, entry.ParseAct, tellAct)
	case entry.KindCertificate:
		return telling(body, entry.ParseCertificate, tellCertificate)
	case entry.KindOutcome:
		return telling(body, entry.ParseOutcome, tellOutcome)
	case entry.KindPresent:
		return telling(body, entry.ParsePresent, func(p entry.Present) string {
			return fmt.Sprintf("%s at %s: %s%s", chipName(p.Chip), p.Present, p.Verdict, Because(p.Reason))
		})
	case entry.KindBin:
		return telling(body, entry.ParseBin, func(b entry.Bin) string {
			return fmt.Sprintf("%s lies in the %s bin, from %s", chipName(b.Chip), b.Bin, b.Present)
		})
	case entry.KindAlarm:
		return telling(body, entry.ParseAlarm, func(a entry.Alarm) string {
			return fmt.Sprintf("ALARM at %s: %s %s", a.Present, a.Reason, a.Detail)
		})
	}
	return ofLots(kind, body)
}

func telling[T any](body []byte, parse func([]byte) (T, error), tell func(T) string) (string, error) {
	v, err := parse(body)
	if err != nil {
		return "", err
	}
	return tell(v), nil
}

func tellClaim(c entry.Claim) string {
	s := fmt.Sprintf("chip %s takes EID %s at %s", c.Chip, c.EID, c.Present)
	if c.EID.IsZero() {
		s = fmt.Sprintf("chip %s takes the unit at %s", c.Chip, c.Present)
	}
	if c.Gen > 0 {
		s += fmt.Sprintf(", as generation %d after the loss at %d", c.Gen, c.Loss)
	}
	return s
}

func tellAct(a entry.Act) string {
	if a.N == 0 {
		return fmt.Sprintf("session %s begins at %s", a.Session, a.Present)
	}
	return fmt.Sprintf("session %s: answers to window %d arrive", a.Session, a.N)
}

func tellCertificate(c entry.Certificate) string {
	s := fmt.Sprintf("certificate %x is made for EID %s", c.Cert[:8], c.EID)
	if c.Supersedes != [32]byte{} {
		s += fmt.Sprintf(", instead of %x", c.Supersedes[:8])
	}
	return s
}

func tellOutcome(o entry.Outcome) string {
	s := fmt.Sprintf("chip %s with EID %s is %s%s", o.Chip, o.EID, o.Verdict, Because(o.Reason))
	if o.EID.IsZero() {
		s = fmt.Sprintf("chip %s is %s%s", o.Chip, o.Verdict, Because(o.Reason))
	}
	if o.Step != "" {
		s += " in step " + o.Step
	}
	if o.SW != 0 {
		s += fmt.Sprintf(" with status %04X", o.SW)
	}
	return s + fmt.Sprintf(", at %s", o.Present)
}

// Because is a reason in brackets; nothing for none.
func Because(r perso.Reason) string {
	if r == perso.ReasonNone || r == "" {
		return ""
	}
	return " (" + string(r) + ")"
}

func chipName(c id.ChipID) string {
	if c.IsZero() {
		return "a chip that cannot be read"
	}
	return "chip " + c.String()
}

// ofLots says the entries that are about orders, lots and the site.
func ofLots(kind string, body []byte) (string, error) {
	switch kind {
	case entry.KindGenesis:
		return telling(body, entry.ParseGenesis, func(g entry.Genesis) string {
			return fmt.Sprintf("the log %s of site %s (%s) begins", g.Origin, g.Site, g.Env)
		})
	case entry.KindOrder:
		return telling(body, entry.ParseOrder, func(o entry.Order) string {
			return fmt.Sprintf("an order of %d units and %d spares is accepted", o.Good, o.Spares)
		})
	case entry.KindRefused:
		return telling(body, entry.ParseRefused, func(r entry.Refused) string {
			return fmt.Sprintf("a file of %d bytes is refused, %d faults", r.Size, r.Count)
		})
	case entry.KindStatement:
		return telling(body, entry.ParseStatement, func(s entry.Statement) string {
			return fmt.Sprintf("%s %x%s is on record", s.What, s.Hash[:8], ofLot(s.Lot))
		})
	case entry.KindStock:
		return telling(body, entry.ParseStock, func(s entry.Stock) string {
			return fmt.Sprintf("%d chips come in on reel %s", s.Chips, s.Reel)
		})
	case entry.KindForbidden:
		return telling(body, entry.ParseForbidden, func(f entry.Forbidden) string { return fmt.Sprintf("%s is refused: %s", f.Verb, f.Reason) })
	case entry.KindBooking:
		return telling(body, entry.ParseBooking, func(b entry.Booking) string {
			of := ""
			if b.Reel != "" {
				of = " of reel " + string(b.Reel)
			}
			return fmt.Sprintf("%d chips%s go from %s to %s, says %s", b.Chips, of, b.From, b.To, b.By)
		})
	case entry.KindCount:
		return telling(body, entry.ParseCount, func(c entry.Count) string {
			return fmt.Sprintf("%s counts lot %s: in %d = good %d + reject-blank %d + reject-live %d + return %d", c.Source, c.Lot, c.In, c.Good, c.RejectBlank, c.RejectLive, c.Return) + map[bool]string{true: fmt.Sprintf(" + sample %d", c.Sample)}[c.Sample > 0]
		})
	case entry.KindExport:
		return telling(body, entry.ParseExport, func(x entry.Export) string {
			return fmt.Sprintf("%s of %d units of lot %s is handed to %s", x.What, x.Units, x.Lot, x.Receiver)
		})
	}
	if _, err := entry.TimeOf(body); err != nil {
		return "", err
	}
	return kind, nil
}

func ofLot(lot perso.Name) string {
	if lot == "" {
		return ""
	}
	return " of lot " + string(lot)
}
