package audit

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
)

// parsed is an entry on its way: read, hashed and parsed side by side with others, applied in its turn.
type parsed struct {
	kind  string
	entry any // of package entry
	at    time.Time
	hash  [32]byte // of a claim, whose hash its acts' receipts repeat; of a count, which an explanation names; of an exception, which a review names
	err   error
}

// parsers knows every kind of entry.
var parsers = map[string]func(b []byte) (any, time.Time, error){
	entry.KindGenesis:     parser(entry.ParseGenesis, func(e *entry.Genesis) time.Time { return e.At }),
	entry.KindOrder:       parser(entry.ParseOrder, func(e *entry.Order) time.Time { return e.At }),
	entry.KindRefused:     parser(entry.ParseRefused, func(e *entry.Refused) time.Time { return e.At }),
	entry.KindStatement:   parser(entry.ParseStatement, func(e *entry.Statement) time.Time { return e.At }),
	entry.KindStock:       parser(entry.ParseStock, func(e *entry.Stock) time.Time { return e.At }),
	entry.KindBooking:     parser(entry.ParseBooking, func(e *entry.Booking) time.Time { return e.At }),
	entry.KindClaim:       parser(entry.ParseClaim, func(e *entry.Claim) time.Time { return e.At }),
	entry.KindAct:         parser(entry.ParseAct, func(e *entry.Act) time.Time { return e.At }),
	entry.KindCertificate: parser(entry.ParseCertificate, func(e *entry.Certificate) time.Time { return e.At }),
	entry.KindOutcome:     parser(entry.ParseOutcome, func(e *entry.Outcome) time.Time { return e.At }),
	entry.KindPresent:     parser(entry.ParsePresent, func(e *entry.Present) time.Time { return e.At }),
	entry.KindBin:         parser(entry.ParseBin, func(e *entry.Bin) time.Time { return e.At }),
	entry.KindCount:       parser(entry.ParseCount, func(e *entry.Count) time.Time { return e.At }),
	entry.KindExport:      parser(entry.ParseExport, func(e *entry.Export) time.Time { return e.At }),
	entry.KindForbidden:   parser(entry.ParseForbidden, func(e *entry.Forbidden) time.Time { return e.At }),
	entry.KindAlarm:       parser(entry.ParseAlarm, func(e *entry.Alarm) time.Time { return e.At }),
}

func parser[E any](parse func([]byte) (E, error), at func(*E) time.Time) func([]byte) (any, time.Time, error) {
	return func(b []byte) (any, time.Time, error) {
		e, err := parse(b)
		return e, at(&e), err
	}
}

// parseEntry reads one entry; what is wrong with it comes to light in its turn.
func parseEntry(body []byte) (p parsed) {
	if p.kind, p.err = record.Kind(body); p.err != nil {
		p.kind = "unreadable"
		return p
	}
	parse := parsers[p.kind]
	if parse == nil {
		p.err = fmt.Errorf("entries of this kind are not known")
		return p
	}
	p.entry, p.at, p.err = parse(body)
	if _, what := exceptional(p.entry); what != "" || p.kind == entry.KindClaim || p.kind == entry.KindCount || p.kind == entry.KindStatement {
		p.hash = entry.Hash(body)
	}
	return p
}
