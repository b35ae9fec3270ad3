package entry

import (
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// Claim binds one unit, in one generation, and one EID to one chip, before the first secret byte (I1). A chip that is no eUICC
// has no EID; Index counts the chips of the lot all the same, so that no more are begun than identities were released (I7).
// The chip carries the first 24 bytes of the SHA-256 of the encoded claim, in its stamp.
type Claim struct {
	Lot     perso.Name
	Unit    perso.Unit
	Gen     perso.Generation
	Index   perso.EIDIndex
	EID     id.EID // zero where the product has none
	Chip    id.ChipID
	Release [32]byte // hash of the release that allows it
	Loss    uint64   // log number of the outcome that ended the generation before; 0 for generation 0
	Present perso.Presentation
	At      time.Time
}

// Encode gives the canonical bytes.
func (e Claim) Encode() ([]byte, error) {
	w := record.New(KindClaim)
	unit(w, e.Lot, e.Unit, e.Gen)
	w.Uint("index", uint64(e.Index)).Str("eid", e.EID.String()).Str("chip", e.Chip.String()).Hex("release", e.Release[:]).Uint("loss", e.Loss)
	present(w, e.Present)
	return w.Time("at", e.At).Bytes()
}

// ParseClaim reads a claim.
func ParseClaim(b []byte) (Claim, error) {
	r, err := record.Parse(b, KindClaim)
	if err != nil {
		return Claim{}, parsing(KindClaim, err)
	}
	var e Claim
	readUnit(r, &e.Lot, &e.Unit, &e.Gen)
	e.Index, e.EID, e.Chip = perso.EIDIndex(r.Uint("index", 32)), optionalEID(r, "eid"), chip(r, "chip")
	e.Release, e.Loss = r.Hash("release"), r.Uint("loss", 63)
	e.Present, e.At = readPresent(r), r.Time("at")
	return e, done(r, KindClaim)
}

// Act says that answers of a session arrived and will be served: the compare-and-set of (session, n, hash of responses).
type Act struct {
	Lot       perso.Name
	Unit      perso.Unit
	Gen       perso.Generation
	Session   perso.Session
	N         uint8
	Responses [32]byte // ResponsesHash of what the line sent
	Serial    uint64   // number of the host challenge
	Present   perso.Presentation
	At        time.Time
}

// Encode gives the canonical bytes.
func (e Act) Encode() ([]byte, error) {
	w := record.New(KindAct)
	unit(w, e.Lot, e.Unit, e.Gen)
	w.Hex("session", e.Session[:]).Uint("n", uint64(e.N)).Hex("responses", e.Responses[:]).Uint("serial", e.Serial)
	present(w, e.Present)
	return w.Time("at", e.At).Bytes()
}

// ParseAct reads an act.
func ParseAct(b []byte) (Act, error) {
	r, err := record.Parse(b, KindAct)
	if err != nil {
		return Act{}, parsing(KindAct, err)
	}
	var e Act
	readUnit(r, &e.Lot, &e.Unit, &e.Gen)
	e.Session, e.N = r.Hash("session"), uint8(r.Uint("n", 8))
	e.Responses, e.Serial = r.Hash("responses"), r.Uint("serial", 63)
	e.Present, e.At = readPresent(r), r.Time("at")
	return e, done(r, KindAct)
}

// Certificate says which certificate was stored in a claim before it left the vault.
type Certificate struct {
	Lot        perso.Name
	Unit       perso.Unit
	Gen        perso.Generation
	EID        id.EID
	Cert       [32]byte // SHA-256 of the whole 7F21
	Key        [32]byte // SHA-256 of the public point
	Supersedes [32]byte // SHA-256 of the certificate it replaces, or zero
	At         time.Time
}

// Encode gives the canonical bytes.
func (e Certificate) Encode() ([]byte, error) {
	w := record.New(KindCertificate)
	unit(w, e.Lot, e.Unit, e.Gen)
	return w.Str("eid", e.EID.String()).Hex("cert", e.Cert[:]).Hex("key", e.Key[:]).Hex("supersedes", optional(e.Supersedes)).Time("at", e.At).Bytes()
}

// ParseCertificate reads a certificate entry.
func ParseCertificate(b []byte) (Certificate, error) {
	r, err := record.Parse(b, KindCertificate)
	if err != nil {
		return Certificate{}, parsing(KindCertificate, err)
	}
	var e Certificate
	readUnit(r, &e.Lot, &e.Unit, &e.Gen)
	e.EID, e.Cert, e.Key, e.Supersedes, e.At = eid(r, "eid"), r.Hash("cert"), r.Hash("key"), r.OptHash("supersedes"), r.Time("at")
	return e, done(r, KindCertificate)
}

// Outcome ends a claim: good or reject-live. It is what the head bins on, with its proof in a signed checkpoint.
type Outcome struct {
	Lot     perso.Name
	Unit    perso.Unit
	Gen     perso.Generation
	EID     id.EID // zero where the product has none
	Chip    id.ChipID
	Verdict perso.Verdict
	Reason  perso.Reason
	Step    string // label of the step that failed, or empty
	SW      uint16 // its status word, or 0
	Session perso.Session
	Cert    [32]byte // certificate on the chip, for good units
	Receipt [32]byte // hash of the vault's receipt of the verification, for good units
	Present perso.Presentation
	At      time.Time
}

// Encode gives the canonical bytes.
func (e Outcome) Encode() ([]byte, error) {
	w := record.New(KindOutcome)
	unit(w, e.Lot, e.Unit, e.Gen)
	w.Str("eid", e.EID.String()).Str("chip", e.Chip.String()).Str("verdict", string(e.Verdict)).Str("reason", string(e.Reason)).
		Str("step", e.Step).Uint("sw", uint64(e.SW)).Hex("session", optional(e.Session)).Hex("cert", optional(e.Cert)).Hex("receipt", optional(e.Receipt))
	present(w, e.Present)
	return w.Time("at", e.At).Bytes()
}

// ParseOutcome reads an outcome.
func ParseOutcome(b []byte) (Outcome, error) {
	r, err := record.Parse(b, KindOutcome)
	if err != nil {
		return Outcome{}, parsing(KindOutcome, err)
	}
	var e Outcome
	readUnit(r, &e.Lot, &e.Unit, &e.Gen)
	e.EID, e.Chip = optionalEID(r, "eid"), chip(r, "chip")
	e.Verdict, err = perso.ParseVerdict(r.Raw("verdict"))
	r.Check(err)
	e.Reason, e.Step, e.SW = perso.Reason(r.Raw("reason")), r.Str("step"), uint16(r.Uint("sw", 16))
	e.Session, e.Cert, e.Receipt = r.OptHash("session"), r.OptHash("cert"), r.OptHash("receipt")
	e.Present, e.At = readPresent(r), r.Time("at")
	return e, done(r, KindOutcome)
}

func unit(w *record.Writer, lot perso.Name, u perso.Unit, g perso.Generation) {
	w.Str("lot", string(lot)).Uint("unit", uint64(u)).Uint("gen", uint64(g))
}

func readUnit(r *record.Reader, lot *perso.Name, u *perso.Unit, g *perso.Generation) {
	*lot = r.Name("lot")
	*u, *g = perso.Unit(r.Uint("unit", 32)), perso.Generation(r.Uint("gen", 8))
}

func present(w *record.Writer, p perso.Presentation) {
	w.Str("line", string(p.Line)).Uint("head", uint64(p.Head)).Uint("number", p.Number)
}

func readPresent(r *record.Reader) (p perso.Presentation) {
	p.Line = r.Name("line")
	p.Head, p.Number = uint16(r.Uint("head", 16)), r.Uint("number", 63)
	return p
}

// optional spells an absent hash as "-", so that it has one spelling.
func optional[H ~[32]byte](h H) []byte {
	if h == (H{}) {
		return nil
	}
	b := [32]byte(h)
	return b[:]
}
