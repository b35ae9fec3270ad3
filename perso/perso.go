// Package perso holds the nouns of the trade that every zone speaks: environment, lot, unit, generation, presentation,
// verdict, and the state machines of an order, a lot and a unit.
//
// It exists so that the vault, the line and the ledger, which must never import one another, mean the same thing by the
// same word. Anybody may import it; it imports only the standard library and perso/id, does no I/O, and reads no clock.
package perso

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// Env separates test material from production material. It is part of every key label, statement and log entry, so that
// a test key can never serve a production order (SAS: separation of test and production).
type Env string

// The two environments.
const (
	EnvTest       Env = "test"
	EnvProduction Env = "production"
)

// ParseEnv accepts exactly "test" or "production".
func ParseEnv(s string) (Env, error) {
	switch e := Env(s); e {
	case EnvTest, EnvProduction:
		return e, nil
	}
	return "", fmt.Errorf("environment %q is neither %q nor %q", s, EnvTest, EnvProduction)
}

// MaxNameChars bounds every human-chosen name that enters labels, file names and bus subjects.
const MaxNameChars = 40

// Name is a short identifier chosen by people: lot, line, key id, SM-SR key. It is safe in subjects, labels and file names.
type Name string

// ParseName accepts 1 to 40 characters of A-Z a-z 0-9 _ -, beginning with a letter or digit.
func ParseName(s string) (Name, error) {
	if !isName(s) {
		return "", fmt.Errorf("name %q must be 1 to %d of A-Z a-z 0-9 _ - and begin with a letter or digit", s, MaxNameChars)
	}
	return Name(s), nil
}

// isName is asked several times for each message. The set leaves out '.', '*', '>' and '/', which mean something in bus
// subjects and paths.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '-') {
			return false
		}
	}
	return len(s) > 0 && len(s) <= MaxNameChars
}

// Unit is the index of a subscription identity (ICCID, IMSI) within a lot, from 0.
type Unit uint32

// Generation counts the chips that were ever bound to one unit, from 0. A higher one has new keys.
type Generation uint8

// MaxGeneration bounds re-makes of one unit: more losses than this are an incident, not production.
const MaxGeneration Generation = 15

// EIDIndex is the index of an EID in the lot's EID range, from 0. An EID is used by one chip or retired, never re-made (I1). Where
// the product has no EID it counts the chips that were begun.
type EIDIndex uint32

// Session identifies one secure channel: SHA-256 over the whole INITIALIZE UPDATE command and answer.
type Session [32]byte

// String is the session's first 8 bytes in hex, enough to tell sessions apart in a log line.
func (s Session) String() string { return hex.EncodeToString(s[:8]) }

// IsZero reports that no channel was opened.
func (s Session) IsZero() bool { return s == Session{} }

// Presentation names one contact of one head with whatever lay under it, readable or not.
type Presentation struct {
	Line   Name   `cbor:"1,keyasint" json:"line"`
	Head   uint16 `cbor:"2,keyasint" json:"head"`
	Number uint64 `cbor:"3,keyasint" json:"number"`
}

// String is "line/head/number".
func (p Presentation) String() string {
	return string(p.Line) + "/" + strconv.Itoa(int(p.Head)) + "/" + strconv.FormatUint(p.Number, 10)
}

// Verdict is what the ledger decided about a presentation; the head may act on nothing else.
type Verdict string

// The verdicts, each with what the handler does.
const (
	VerdictGood        Verdict = "good"         // bin good: the vault verified the product's proof
	VerdictSample      Verdict = "sample"       // bin sample: good, and drawn to be examined by quality before its lot is closed
	VerdictRejectLive  Verdict = "reject-live"  // locked bin: the chip may hold live keys
	VerdictRejectBlank Verdict = "reject-blank" // reject bin: never got a secret
	VerdictRecontact   Verdict = "recontact"    // lift and contact the same chip again
	VerdictHold        Verdict = "hold"         // leave it in place: no identity free now, or an answer is missing
	VerdictStop        Verdict = "stop"         // stop the head and call somebody
	VerdictReturn      Verdict = "return"       // bin return: the lot is complete, the chip stays blank stock
)

// ParseVerdict accepts the closed set.
func ParseVerdict(s string) (Verdict, error) {
	switch v := Verdict(s); v {
	case VerdictGood, VerdictSample, VerdictRejectLive, VerdictRejectBlank, VerdictRecontact, VerdictHold, VerdictStop, VerdictReturn:
		return v, nil
	}
	return "", fmt.Errorf("unknown verdict %q", s)
}

// Final reports whether the chip leaves the head on this verdict.
func (v Verdict) Final() bool {
	switch v {
	case VerdictGood, VerdictSample, VerdictRejectLive, VerdictRejectBlank, VerdictReturn:
		return true
	}
	return false
}

// MayLieAs reports whether a chip with this verdict may be counted as another: where a handler has no bin for returned chips, they lie
// with the blank rejects, from where people book them back.
func (v Verdict) MayLieAs(counted Verdict) bool {
	return v == counted && v.Final() || v == VerdictReturn && counted == VerdictRejectBlank
}

// Bin is a handler's name for one of its bins: 1 to 40 of A-Z a-z 0-9 _ -. What is in it, a line's description of its bins says.
type Bin string

// The bins that a handler has when nobody says otherwise, and the two into which some sort blank rejects.
const (
	BinGood        Bin = "good"
	BinSample      Bin = "sample"
	BinRejectLive  Bin = "reject-live"
	BinRejectBlank Bin = "reject-blank"
	BinReturn      Bin = "return"
	BinContact     Bin = "contact"
	BinRetest      Bin = "retest"
)

// Reason says why a presentation did not end good. It is a closed set, because operators act on it and reports count it.
type Reason string

// The reasons.
const (
	ReasonNone          Reason = "-"
	ReasonMute          Reason = "mute"            // no ATR
	ReasonContact       Reason = "bad-contact"     // the answer broke off on a line that had one
	ReasonATR           Reason = "wrong-atr"       // ATR is not the product's
	ReasonIdentify      Reason = "identify"        // identification commands refused
	ReasonUnknownChip   Reason = "unknown-chip"    // not on any goods-in list of the lot
	ReasonNotIssued     Reason = "not-issued"      // in stock, but of no reel that was issued to the lot, or one more than were
	ReasonForeignChip   Reason = "foreign-chip"    // claimed by another lot
	ReasonTwin          Reason = "twin-chip"       // a second chip answers with a known chip id
	ReasonCryptogram    Reason = "card-cryptogram" // the chip does not know the keys it should
	ReasonStatus        Reason = "status"          // a command was refused
	ReasonData          Reason = "data-mismatch"   // read-back differs
	ReasonRMAC          Reason = "response-mac"    // an answer was altered
	ReasonPossession    Reason = "possession"      // the chip's key did not sign
	ReasonProof         Reason = "proof"           // the product's proof failed
	ReasonTries         Reason = "too-many-tries"  // contact, session or act limit of this chip used up
	ReasonLotComplete   Reason = "lot-complete"    // enough good units
	ReasonLotWaiting    Reason = "lot-waiting"     // every identity left is in work on another head
	ReasonNoIdentity    Reason = "no-identity"     // spares used up
	ReasonVaultRefused  Reason = "vault-refused"   // the vault said no: an alarm
	ReasonVaultFault    Reason = "vault-fault"     // the vault answers an act with a fault, again and again: an alarm
	ReasonReplay        Reason = "replay"          // same act, other responses: an alarm
	ReasonFirstArticle  Reason = "first-article"   // quality has not signed the lot's first good chips
	ReasonClearance     Reason = "line-clearance"  // nobody signed that the line is empty, for this lot
	ReasonFrozen        Reason = "frozen"          // an officer froze the lot, its order, a key of it or the line
	ReasonSessionElse   Reason = "session-elsewhere"
	ReasonAlreadyGood   Reason = "already-good"
	ReasonStale         Reason = "session-too-old" // it waited too long for the vault: the chip is contacted again
	ReasonAbandoned     Reason = "abandoned"       // two officers gave the unit up
	ReasonEqualFailures Reason = "equal-failures"  // the head failed the same way too often
)

// Reasons are all that are given, in the order in which they are explained above.
func Reasons() []Reason {
	return []Reason{ReasonNone, ReasonMute, ReasonContact, ReasonATR, ReasonIdentify, ReasonUnknownChip, ReasonNotIssued, ReasonForeignChip, ReasonTwin,
		ReasonCryptogram, ReasonStatus, ReasonData, ReasonRMAC, ReasonPossession, ReasonProof, ReasonTries, ReasonLotComplete, ReasonLotWaiting, ReasonNoIdentity,
		ReasonVaultRefused, ReasonVaultFault, ReasonReplay, ReasonFirstArticle, ReasonClearance, ReasonFrozen, ReasonSessionElse, ReasonAlreadyGood, ReasonStale,
		ReasonAbandoned, ReasonEqualFailures}
}

// LotState is the state of a lot. It only moves forward: released → running → complete → closed.
type LotState string

// The lot states.
const (
	LotReleased LotState = "released" // officers released it; work orders go out
	LotRunning  LotState = "running"  // the first claim is on record
	LotComplete LotState = "complete" // Q good units, or no identity is left
	LotClosed   LotState = "closed"   // counts closed, two officers signed
)

// OrderState is the state of an order.
type OrderState string

// The order states.
const (
	OrderAccepted OrderState = "accepted"
	OrderReleased OrderState = "released"
	OrderRejected OrderState = "rejected" // the order desk cancelled it before it was released
)

// Told is the state in the word that people use: what the books call rejected somebody cancelled.
func (s OrderState) Told() string {
	if s == OrderRejected {
		return "cancelled"
	}
	return string(s)
}

// UnitState is the state of one claim: a unit in one generation on one chip.
type UnitState string

// The claim states. Good and lost are terminal (I1).
const (
	UnitOpen    UnitState = "open"     // bound to its chip, not finished
	UnitGivenUp UnitState = "given-up" // by two officers, which the vault has not answered yet
	UnitGood    UnitState = "good"
	UnitLost    UnitState = "lost" // rejected; its EID is retired, a next generation may be made
)

// MaxActs bounds the acts of one session: n is 0 to 5.
const MaxActs = 6

// MaxSessionsPerPresentation bounds INITIALIZE UPDATE commands while a chip stays under the head: each raises the chip's
// sequence counter, and a chip that needs more has a fault that another try does not mend.
const MaxSessionsPerPresentation = 3

// MaxSessionsPerChip bounds INITIALIZE UPDATE commands on a chip without success, over all presentations.
const MaxSessionsPerChip = 8
