package entry

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// KindBooking names a movement of chips in the stock.
const KindBooking = "booking"

// Booking moves Chips from one account into another. What came in, and what a lot made of its chips, is in other entries: a
// Stock books from the supplier into the store, a lot's closing from the lot into the bins (ledger/FORMAT.md, section 3).
type Booking struct {
	ID    [32]byte   // drawn by who books, so that the same booking asked twice is one
	Reel  perso.Name // empty for chips that lie on no reel any more
	From  perso.Account
	To    perso.Account
	Chips uint64
	By    string // who says to have moved them; nobody proved it
	At    time.Time
}

// Encode gives the canonical bytes.
func (e Booking) Encode() ([]byte, error) {
	return record.New(KindBooking).Hex("id", e.ID[:]).Str("reel", string(e.Reel)).Str("from", string(e.From)).Str("to", string(e.To)).
		Uint("chips", e.Chips).Str("by", e.By).Time("at", e.At).Bytes()
}

// ParseBooking reads a booking; it refuses one that nobody may make without an officer's word.
func ParseBooking(b []byte) (Booking, error) {
	r, err := record.Parse(b, KindBooking)
	if err != nil {
		return Booking{}, parsing(KindBooking, err)
	}
	e := Booking{ID: r.Hash("id")}
	e.Reel = r.OptName("reel")
	account(r, "from", &e.From)
	account(r, "to", &e.To)
	e.Chips, e.By, e.At = r.Uint("chips", 32), r.Raw("by"), r.Time("at")
	if e.Chips == 0 || !e.From.MayMove(e.To) {
		r.Check(fmt.Errorf("%d chips may not be booked from %s into %s", e.Chips, e.From, e.To))
	}
	return e, done(r, KindBooking)
}

func account(r *record.Reader, key string, to *perso.Account) {
	a, err := perso.ParseAccount(r.Raw(key))
	r.Check(err)
	*to = a
}

// KindForbidden names what somebody asked the ledger for and was refused.
const KindForbidden = "act-refused"

// Forbidden says that somebody of the office asked for what he may not have, or what could not be: a statement that is not signed by
// those whose duty it is, a lot that stands still, chips that are not there.
type Forbidden struct {
	Verb    string   // what was asked (perso/bus, verbs of the office)
	Content [32]byte // SHA-256 of the message
	Reason  string
	At      time.Time
}

// Encode gives the canonical bytes.
func (e Forbidden) Encode() ([]byte, error) {
	return record.New(KindForbidden).Str("verb", e.Verb).Hex("content", e.Content[:]).Str("reason", e.Reason).Time("at", e.At).Bytes()
}

// ParseForbidden reads a refusal.
func ParseForbidden(b []byte) (Forbidden, error) {
	r, err := record.Parse(b, KindForbidden)
	if err != nil {
		return Forbidden{}, parsing(KindForbidden, err)
	}
	e := Forbidden{Verb: r.Raw("verb"), Content: r.Hash("content"), Reason: r.Raw("reason"), At: r.Time("at")}
	return e, done(r, KindForbidden)
}
