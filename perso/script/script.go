package script

import (
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
)

// Script is a compiled script: everything about a product's personalization that is equal on every card.
type Script struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Version uint16
	// Channels are the secure channels in the order in which they open, one after the other. The first opens before act 0.
	Channels []Channel
	// Identify is run by the line alone, in plain, before the channel opens.
	Identify []Step
	// Acts are played in turn, each after the vault has seen the answers of the one before. Acts[0] is the open phase.
	Acts []Act

	uses [][]Ref // of each act: the different variables that it sends
}

// Act is what the vault hands out in one piece.
type Act []Section

// Section is the unit of skipping: all of its steps are played, or none.
type Section struct {
	_ struct{} `cbor:",toarray"`
	// Name is empty for steps outside any .SECTION, which always run.
	Name  string
	Phase Phase
	Redo  Redo
	// When names a condition that the vault decides; empty means none.
	When string
	// Continues names the section of the act before that opened what this one loads. Redo, When and Done are that one's: both are
	// played or neither.
	Continues string
	// Done says when the chip already holds what the section writes.
	Done  Done
	Steps []Step

	image image
	pos   Pos
}

// Step is one command and what its answer must be.
type Step struct {
	_ struct{} `cbor:",toarray"`
	// Label is unique in the script. A step without one in the source is named after its section: "stamp#2".
	Label string
	// Kind says what the step does. The other fields of one that cycles the power are empty, but for Label, SW 9000 and
	// Data, which is then the answer to reset.
	Kind Kind
	// Header is CLA INS P1 P2 as written, without the secure messaging bit.
	Header [4]byte
	Body   []Segment
	// Le is apdu.NoLe or 1..256.
	Le     int
	Secure bool
	SW     apdu.Mask
	// Data is what the whole answer must be; nil accepts anything.
	Data    *Pattern
	Purpose Purpose
	// Package names the profile package that the step opens (PurposeOpening) or sends a block of.
	Package string
	// Index counts the steps of the script from 0, identify first. It follows from the order and is not encoded.
	Index int `cbor:"-"`

	pos Pos
}

// Kind is what a step does.
type Kind string

// The kinds of steps.
const (
	KindCommand Kind = ""      // sends a command
	KindPower   Kind = "power" // takes the power away and gives it back
)

// Segment is literal bytes or a reference to a variable, never both.
type Segment struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
	// Care has a 1 for each bit of Bytes that counts; empty means all. Only patterns have it.
	Care []byte
	Var  *Ref

	pos Pos
}

// Ref is the place of a variable: bytes [From,To) of its Size bytes. They are all that the Binder gives, except of an
// Answer, of which they begin at byte At.
type Ref struct {
	_        struct{} `cbor:",toarray"`
	Name     string   // of an Answer, the label of the probe
	Form     Form
	At       int
	Size     int
	From, To int
}

// Pattern is data with don't-care nibbles and variables.
type Pattern []Segment

// Done is true when any of its alternatives is. The empty Done is never true.
type Done []AllOf

// AllOf is true when every condition in it is.
type AllOf []Condition

// Condition is true when the captured answer of the step labelled Probe contains Pattern at some byte.
type Condition struct {
	_       struct{} `cbor:",toarray"`
	Probe   string
	Pattern Pattern

	pos Pos
}

// Phase is a part of the story of one chip, in this order.
type Phase string

// The phases.
const (
	PhaseIdentify Phase = "identify" // plain, read-only, run by the line alone
	PhaseOpen     Phase = "open"     // act 0: reads inside the channel, and the stamp
	PhaseWrite    Phase = "write"    // act 1 and later
	PhaseVerify   Phase = "verify"   // read-back under R-MAC
	PhaseClose    Phase = "close"    // proofs that end the channel
)

func (p Phase) order() int {
	switch p {
	case PhaseIdentify:
		return 0
	case PhaseOpen:
		return 1
	case PhaseWrite:
		return 2
	case PhaseVerify:
		return 3
	case PhaseClose:
		return 4
	}
	return -1
}

// Redo says what a section does to a chip that may have gone through it before.
type Redo string

// The ways to repeat a section.
const (
	RedoAlways      Redo = ""             // unnamed section: part of every session
	RedoSafe        Redo = "safe"         // the same bytes again do no harm
	RedoDeleteFirst Redo = "delete-first" // it begins by deleting what may be there
	RedoNever       Redo = "never"        // if an earlier session may have begun it and DONE is false, the chip is lost
)

// Purpose says what an answer is kept for.
type Purpose string

// The purposes.
const (
	PurposeNone     Purpose = ""
	PurposeChip     Purpose = "chip"     // the chip id, read by the line
	PurposeProbe    Purpose = "probe"    // state of the chip, for DONE
	PurposeECKA     Purpose = "ecka"     // public key and proof of possession
	PurposeAUTS     Purpose = "auts"     // AUTHENTICATE answered with its sequence number
	PurposeReopen   Purpose = "reopen"   // INITIALIZE UPDATE under the new keys
	PurposeReadback Purpose = "readback" // read-back, kept as evidence

	// These two are the compiler's: of .SCP03T.
	PurposeOpening Purpose = "opening" // the chip's answer to INITIALIZE UPDATE of SCP03t, kept for the act that loads
	PurposeObject  Purpose = "object"  // what the chip said to a whole object of SCP03t
)

// Form is how a variable enters a command.
type Form string

// The forms.
const (
	Public Form = "public" // {NAME}: the value itself, which is no secret
	DEK    Form = "dek"    // {dek:NAME}: AES-CBC under the channel's static DEK, IV 0, whole 16-byte blocks
	KCV    Form = "kcv"    // {kcv:NAME}: three bytes of key check value
	Secret Form = "secret" // {secret:NAME}: the secret itself, inside the encrypted channel
	Answer Form = "answer" // {label[4+3]}: three bytes, from byte 4 on, of what a probe of an earlier act was answered
	Sealed Form = "sealed" // the stream of a package under SCP03t (scp.SealStream), which .SCP03T LOAD sends
)

// kcvBytes is the length of a key check value (GlobalPlatform Card Specification 2.3.1 §B.6).
const kcvBytes = 3

// aesBlockBytes divides every value that goes under the DEK.
const aesBlockBytes = 16

// Pos is a place in a source text, both from 1; Col counts bytes. File is empty in the script itself, and names the file
// that it includes. A decoded script has only zero ones.
type Pos struct {
	File      string
	Line, Col int
}

// top is the place of a fault of the script as a whole.
func top() Pos { return Pos{Line: 1, Col: 1} }

// selectsFile says whether a SELECT is one of the UICC's file system (ETSI TS 102 221 §11.1.1: P2 asks for control parameters or
// for nothing), which leaves a secure channel as it is. GlobalPlatform's, of an application, ends it.
func (st *Step) selectsFile() bool {
	const wants, fcp, nothing = 0x1C, 0x04, 0x0C
	p2 := st.Header[3] & wants
	return p2 == fcp || p2 == nothing
}

// ReadOnly says whether the command changes nothing on the chip but what is selected and who was verified. STORE DATA counts when it asks for
// an answer (P1 b1), which is how a script reads a security domain, and GENERATE when it makes no pair but shows the one
// that is there (ISO/IEC 7816-8 §5.1, P1 = 81).
func (st *Step) ReadOnly() bool {
	if st.Kind == KindPower {
		return true
	}
	if st.Package != "" {
		return false
	}
	switch ins, p1 := st.Header[1], st.Header[2]; ins {
	case insSelect, insVerify, 0xB0, 0xB2, 0xC0, 0xCA, 0xCB, 0xF2:
		return true
	case insInstall:
		return p1 == installPerso
	case insStoreData:
		return p1&0x01 != 0
	case insGenerate:
		return p1 == generateNone
	}
	return false
}

// Instructions that the rules know (GlobalPlatform Card Specification 2.3.1 §11, ISO/IEC 7816-4 §5.4.2).
const (
	insVerify     = 0x20
	insGenerate   = 0x46
	insInitUpdate = 0x50
	insSelect     = 0xA4
	insStoreData  = 0xE2
	insPutData    = 0xDA
	insDelete     = 0xE4
	insInstall    = 0xE6
	insLoad       = 0xE8

	installLoad  = 0x02
	installPerso = 0x20
	generateNone = 0x81
)

// size is the number of bytes that segments stand for.
func size(segments []Segment) int {
	n := 0
	for i := range segments {
		n += segments[i].size()
	}
	return n
}

func (g *Segment) size() int {
	if g.Var != nil {
		return g.Var.To - g.Var.From
	}
	return len(g.Bytes)
}

// number gives each step its Index.
func (s *Script) number() {
	n := 0
	s.walk(func(_ int, _ *Section, st *Step) {
		st.Index = n
		n++
	})
}

// walk visits each step in order; for the identify phase act is -1 and sec nil.
func (s *Script) walk(visit func(act int, sec *Section, st *Step)) {
	for i := range s.Identify {
		visit(-1, nil, &s.Identify[i])
	}
	for a, act := range s.Acts {
		for i := range act {
			for j := range act[i].Steps {
				visit(a, &act[i], &act[i].Steps[j])
			}
		}
	}
}

// String is what the language writes.
func (r *Ref) String() string {
	switch r.Form {
	case Public:
		return fmt.Sprintf("{%s}", r.Name)
	case Answer:
		return fmt.Sprintf("{%s[%d+%d]}", r.Name, r.At, r.Size)
	}
	return fmt.Sprintf("{%s:%s}", r.Form, r.Name)
}
