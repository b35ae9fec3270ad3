package bus

import (
	"time"

	"github.com/persoline/persoline/perso"
)

// WorkOrder is a lot share for one line, on the work queue until the share is done.
type WorkOrder struct {
	ID       string     `cbor:"1,keyasint"`
	Lot      perso.Name `cbor:"2,keyasint"`
	Product  string     `cbor:"3,keyasint"`
	Script   [32]byte   `cbor:"4,keyasint"` // hash of the compiled script in the store
	Quantity uint64     `cbor:"5,keyasint"`
	ATR      string     `cbor:"6,keyasint"` // the product's ATR pattern, hex with X nibbles
	ISD      []byte     `cbor:"7,keyasint"` // AID to select before INITIALIZE UPDATE
	ChipID   string     `cbor:"8,keyasint"` // the product's chip_id
	Env      perso.Env  `cbor:"9,keyasint"`
	LogKey   []byte     `cbor:"10,keyasint"` // Ed25519 key that verdicts are checked with; the line also pins it locally
	Origin   string     `cbor:"11,keyasint"`
	Channel  string     `cbor:"12,keyasint"` // the release's: "adm" for chips that the line opens itself (perso/sealing)
}

// ChallengesRequest asks for host challenges: single-use tokens of the vault.
type ChallengesRequest struct {
	Lot   perso.Name `cbor:"1,keyasint"`
	Line  perso.Name `cbor:"2,keyasint"`
	Count uint16     `cbor:"3,keyasint"`           // at most MaxBatch
	Over  bool       `cbor:"4,keyasint,omitempty"` // asks for none, but whether the lot wants no more chips
}

// ChallengesReply gives challenges of consecutive serial numbers, reserved durably before they left.
type ChallengesReply struct {
	First  uint64 `cbor:"1,keyasint"`
	Values Chunks `cbor:"2,keyasint"`           // 8 bytes each
	Over   bool   `cbor:"3,keyasint,omitempty"` // asked for Over: no unit of the lot begins any more, and none is in work
}

// ActRequest is act n of a session. Asked again with the same content it gets the same answer and the chip is not touched.
type ActRequest struct {
	Lot     perso.Name         `cbor:"1,keyasint"`
	Present perso.Presentation `cbor:"2,keyasint"`
	N       uint8              `cbor:"3,keyasint"`
	Session perso.Session      `cbor:"4,keyasint"`

	// Of act 0 only.
	Serial   uint64 `cbor:"5,keyasint,omitempty"`
	ATR      []byte `cbor:"6,keyasint,omitempty"`
	Identify Chunks `cbor:"7,keyasint"` // answers of the identify phase, in script order, with status words
	// Command is the whole INITIALIZE UPDATE command, Answer its whole answer with status word. For a chip without a secure channel
	// they are a sealing.Opening, and the identify answer that says which chip it is.
	Command []byte `cbor:"8,keyasint,omitempty"`
	Answer  []byte `cbor:"9,keyasint,omitempty"`

	// Of acts above 0: the answers to the window of act n-1, up to and including the first that stopped it, and what came
	// with that window.
	Responses Chunks `cbor:"10,keyasint"`
	State     []byte `cbor:"11,keyasint,omitempty"`
}

// Play is one command as the line sends it: opaque to the line but for the status words that let it go on.
type Play struct {
	APDU []byte
	SW   string // mask, e.g. "9000|6A88"
}

// SealedWindow is a window for a chip without a secure channel, with what the worker needs beside what he knows to open it.
type SealedWindow struct {
	Unit perso.Unit       `cbor:"1,keyasint"`
	Gen  perso.Generation `cbor:"2,keyasint"`
	Data []byte           `cbor:"3,keyasint"`
}

// ActReply holds either the next window, in clear to the line or sealed, or a verdict. State is the vault's, sealed for the session: the line gives it back with
// the answers.
type ActReply struct {
	Window  Window        `cbor:"1,keyasint"`
	Verdict *Verdict      `cbor:"2,keyasint,omitempty"`
	State   []byte        `cbor:"3,keyasint,omitempty"`
	Final   bool          `cbor:"4,keyasint,omitempty"`
	Sealed  *SealedWindow `cbor:"5,keyasint,omitempty"`
}

// Verdict tells the head what to do. A final verdict on a claimed chip carries its outcome entry with proof, so that the
// head bins on the signed log and not on somebody's word.
type Verdict struct {
	Verdict    perso.Verdict `cbor:"1,keyasint"`
	Reason     perso.Reason  `cbor:"2,keyasint"`
	Text       string        `cbor:"3,keyasint,omitempty"` // one line for the operator
	Entry      []byte        `cbor:"4,keyasint,omitempty"` // encoded entry.Outcome or entry.Present
	Seq        int64         `cbor:"5,keyasint,omitempty"`
	Proof      Proof         `cbor:"6,keyasint"`
	Checkpoint []byte        `cbor:"7,keyasint,omitempty"`
	RetryAfter time.Duration `cbor:"8,keyasint,omitempty"` // for hold
}

// PresentRequest reports a contact without a session.
type PresentRequest struct {
	Lot     perso.Name         `cbor:"1,keyasint"`
	Present perso.Presentation `cbor:"2,keyasint"`
	Reason  perso.Reason       `cbor:"3,keyasint"` // mute, bad-contact, wrong-atr, identify
	ATR     []byte             `cbor:"4,keyasint,omitempty"`
	Chip    []byte             `cbor:"5,keyasint,omitempty"` // when it could be read
	Tries   uint8              `cbor:"6,keyasint"`           // contacts of this chip so far in this place, this one included
}

// BinRequest confirms where the chip lies, by what the bin counts as. Asked again it is acknowledged again.
type BinRequest struct {
	Lot     perso.Name         `cbor:"1,keyasint"`
	Present perso.Presentation `cbor:"2,keyasint"`
	Bin     perso.Verdict      `cbor:"3,keyasint"`
	Chip    []byte             `cbor:"4,keyasint,omitempty"`
}

// Empty is an answer without content.
type Empty struct{}

// CountRequest reports the handler's own counters of a lot.
type CountRequest struct {
	Lot         perso.Name `cbor:"1,keyasint"`
	Source      string     `cbor:"2,keyasint"`
	In          uint64     `cbor:"3,keyasint"`
	Good        uint64     `cbor:"4,keyasint"`
	RejectBlank uint64     `cbor:"5,keyasint"`
	RejectLive  uint64     `cbor:"6,keyasint"`
	Return      uint64     `cbor:"7,keyasint"`
	// ID is drawn for each hand count: the same numbers under another id were counted again.
	ID     [16]byte `cbor:"8,keyasint"`
	Sample uint64   `cbor:"9,keyasint,omitempty"`
}
