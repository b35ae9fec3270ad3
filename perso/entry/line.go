package entry

import (
	"errors"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// Present records a contact that led to no claim, or to a stop: mute, bad contact, unknown chip, lot complete.
type Present struct {
	Lot     perso.Name
	Present perso.Presentation
	Chip    id.ChipID // zero when nothing could be read
	Verdict perso.Verdict
	Reason  perso.Reason
	At      time.Time
}

// Encode gives the canonical bytes.
func (e Present) Encode() ([]byte, error) {
	w := record.New(KindPresent).Str("lot", string(e.Lot))
	present(w, e.Present)
	return w.Str("chip", chipText(e.Chip)).Str("verdict", string(e.Verdict)).Str("reason", string(e.Reason)).Time("at", e.At).Bytes()
}

// ParsePresent reads a presentation entry.
func ParsePresent(b []byte) (Present, error) {
	r, err := record.Parse(b, KindPresent)
	if err != nil {
		return Present{}, parsing(KindPresent, err)
	}
	var e Present
	e.Lot = r.Name("lot")
	e.Present, e.Chip = readPresent(r), chip(r, "chip")
	e.Verdict, err = perso.ParseVerdict(r.Raw("verdict"))
	r.Check(err)
	e.Reason, e.At = perso.Reason(r.Raw("reason")), r.Time("at")
	return e, done(r, KindPresent)
}

// Bin records that the handler confirmed in which bin a presentation's chip lies.
type Bin struct {
	Lot     perso.Name
	Present perso.Presentation
	Chip    id.ChipID
	Bin     perso.Verdict
	At      time.Time
}

// Encode gives the canonical bytes.
func (e Bin) Encode() ([]byte, error) {
	w := record.New(KindBin).Str("lot", string(e.Lot))
	present(w, e.Present)
	return w.Str("chip", chipText(e.Chip)).Str("bin", string(e.Bin)).Time("at", e.At).Bytes()
}

// ParseBin reads a bin entry.
func ParseBin(b []byte) (Bin, error) {
	r, err := record.Parse(b, KindBin)
	if err != nil {
		return Bin{}, parsing(KindBin, err)
	}
	var e Bin
	e.Lot = r.Name("lot")
	e.Present, e.Chip = readPresent(r), chip(r, "chip")
	e.Bin, err = perso.ParseVerdict(r.Raw("bin"))
	r.Check(err)
	e.At = r.Time("at")
	return e, done(r, KindBin)
}

// Count records one source's count of a lot's bins: "handler" or "hand" (blind, by people).
type Count struct {
	Lot                                       perso.Name
	Source                                    string
	In, Good, RejectBlank, RejectLive, Return uint64
	At                                        time.Time
	Sample                                    uint64 // said only when there are any
}

// Sources of counts.
const (
	SourceHandler = "handler"
	SourceHand    = "hand"
)

// Encode gives the canonical bytes.
func (e Count) Encode() ([]byte, error) {
	w := record.New(KindCount).Str("lot", string(e.Lot)).Str("source", e.Source).Uint("in", e.In).Uint("good", e.Good).
		Uint("reject_blank", e.RejectBlank).Uint("reject_live", e.RejectLive).Uint("return", e.Return).Time("at", e.At)
	if e.Sample > 0 {
		w.Uint("sample", e.Sample)
	}
	return w.Bytes()
}

// ParseCount reads a count entry.
func ParseCount(b []byte) (Count, error) {
	r, err := record.Parse(b, KindCount)
	if err != nil {
		return Count{}, parsing(KindCount, err)
	}
	var e Count
	e.Lot = r.Name("lot")
	e.Source = r.Raw("source")
	e.In, e.Good, e.RejectBlank, e.RejectLive, e.Return = r.Uint("in", 48), r.Uint("good", 48), r.Uint("reject_blank", 48), r.Uint("reject_live", 48), r.Uint("return", 48)
	e.At = r.Time("at")
	if r.More() {
		if e.Sample = r.Uint("sample", 48); e.Sample == 0 {
			r.Check(errors.New("no samples are counted, and that is said"))
		}
	}
	return e, done(r, KindCount)
}

// Export records what was handed to whom: What is "eis", "output" or another batch kind, Hash the SHA-256 of its manifest.
type Export struct {
	Lot      perso.Name
	What     string
	Receiver perso.Name
	Units    uint64
	Hash     [32]byte
	At       time.Time
}

// Encode gives the canonical bytes.
func (e Export) Encode() ([]byte, error) {
	return record.New(KindExport).Str("lot", string(e.Lot)).Str("what", e.What).Str("receiver", string(e.Receiver)).
		Uint("units", e.Units).Hex("hash", e.Hash[:]).Time("at", e.At).Bytes()
}

// ParseExport reads an export entry.
func ParseExport(b []byte) (Export, error) {
	r, err := record.Parse(b, KindExport)
	if err != nil {
		return Export{}, parsing(KindExport, err)
	}
	var e Export
	e.Lot = r.Name("lot")
	e.What = r.Raw("what")
	e.Receiver = r.Name("receiver")
	e.Units, e.Hash, e.At = r.Uint("units", 32), r.Hash("hash"), r.Time("at")
	return e, done(r, KindExport)
}

// Alarm records a refusal that a person must look at: a replayed act, a twin chip, a vault that said no.
type Alarm struct {
	Lot     perso.Name // empty when it concerns no lot
	Reason  perso.Reason
	Detail  string // identifiers only, never a secret
	Present perso.Presentation
	At      time.Time
}

// Encode gives the canonical bytes.
func (e Alarm) Encode() ([]byte, error) {
	w := record.New(KindAlarm).Str("lot", string(e.Lot)).Str("reason", string(e.Reason)).Str("detail", e.Detail)
	present(w, e.Present)
	return w.Time("at", e.At).Bytes()
}

// ParseAlarm reads an alarm.
func ParseAlarm(b []byte) (Alarm, error) {
	r, err := record.Parse(b, KindAlarm)
	if err != nil {
		return Alarm{}, parsing(KindAlarm, err)
	}
	var e Alarm
	e.Lot = r.OptName("lot")
	e.Reason, e.Detail, e.Present, e.At = perso.Reason(r.Raw("reason")), r.Str("detail"), readPresent(r), r.Time("at")
	return e, done(r, KindAlarm)
}
