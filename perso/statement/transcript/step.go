package transcript

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// Phase says what a step records of its act.
type Phase string

// The phases. An act has an intent and then one of the other two.
const (
	PhaseIntent Phase = "intent"   // about to be done: durable before the token is touched
	PhaseDone   Phase = "done"     // done, and seen on the token
	PhaseUndone Phase = "not-done" // given up: seen not to be on the token
)

func parsePhase(s string) (Phase, error) {
	switch p := Phase(s); p {
	case PhaseIntent, PhaseDone, PhaseUndone:
		return p, nil
	}
	return "", fmt.Errorf("unknown phase %q", s)
}

// Step is one record of a ceremony as it happens.
type Step struct {
	N      uint64   // from 1
	Prev   [32]byte // hash of the step before; of the order for the first
	At     time.Time
	Phase  Phase
	Act    uint64 // which of the order's, from 1
	Op     Op
	Key    string // the act's subject
	Result string // of a done act: "kcv:…", "ed25519:…", "p256:…", "statement:…", or empty
	Note   string
	By     []perso.Name // who did it: officers present, custodians who entered or saw
}

// maxStepPeople bounds By: everybody present and every custodian.
const maxStepPeople = MaxPresent + MaxCustodians

// Encode gives the canonical bytes.
func (s Step) Encode() ([]byte, error) {
	w := record.New(KindStep).Uint("n", s.N).Hex("prev", s.Prev[:]).Time("at", s.At).Str("phase", string(s.Phase)).Uint("act", s.Act).
		Str("op", string(s.Op)).Str("key", s.Key).Str("result", s.Result).Str("note", s.Note).Uint("by", uint64(len(s.By)))
	for _, p := range s.By {
		w.Str("person", string(p))
	}
	return w.Bytes()
}

// ParseStep reads a step.
func ParseStep(b []byte) (Step, error) {
	r, err := record.Parse(b, KindStep)
	if err != nil {
		return Step{}, fmt.Errorf("parsing ceremony step: %w", err)
	}
	s := Step{N: r.Uint("n", 32), Prev: r.Hash("prev"), At: r.Time("at")}
	s.Phase, err = parsePhase(r.Raw("phase"))
	r.Check(err)
	s.Act = r.Uint("act", 16)
	s.Op, err = ParseOp(r.Raw("op"))
	r.Check(err)
	s.Key, s.Result, s.Note = r.Raw("key"), r.Str("result"), r.Str("note")
	for range count(r, "by", maxStepPeople) {
		s.By = append(s.By, r.Name("person"))
	}
	if err := r.Done(); err != nil {
		return Step{}, fmt.Errorf("parsing ceremony step: %w", err)
	}
	return s, nil
}

// Outcome is how a ceremony ended.
type Outcome string

// The outcomes.
const (
	OutcomeComplete  Outcome = "complete"  // every act was done
	OutcomeAbandoned Outcome = "abandoned" // given up; what was done stands, the rest was not done
)

// End closes a ceremony; everybody present signs it.
type End struct {
	Env      perso.Env
	Site     perso.Name
	Ceremony perso.Name
	Number   uint64
	Order    [32]byte // hash of the order
	Prev     [32]byte // hash of the last step; of the order when there was none
	Steps    uint64
	Register [32]byte // head of the officer register from here on
	At       time.Time
	Outcome  Outcome
}

// Encode gives the body to sign.
func (e End) Encode() ([]byte, error) {
	return record.New(KindEnd).Str("env", string(e.Env)).Str("site", string(e.Site)).Str("ceremony", string(e.Ceremony)).Uint("number", e.Number).
		Hex("order", e.Order[:]).Hex("prev", e.Prev[:]).Uint("steps", e.Steps).Hex("register", e.Register[:]).Time("at", e.At).
		Str("outcome", string(e.Outcome)).Bytes()
}

// ParseEnd reads an end.
func ParseEnd(b []byte) (End, error) {
	r, err := record.Parse(b, KindEnd)
	if err != nil {
		return End{}, fmt.Errorf("parsing ceremony end: %w", err)
	}
	var e End
	e.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	e.Site, e.Ceremony, e.Number = r.Name("site"), r.Name("ceremony"), r.Uint("number", 32)
	e.Order, e.Prev, e.Steps, e.Register, e.At = r.Hash("order"), r.Hash("prev"), r.Uint("steps", 32), r.Hash("register"), r.Time("at")
	switch e.Outcome = Outcome(r.Raw("outcome")); e.Outcome {
	case OutcomeComplete, OutcomeAbandoned:
	default:
		r.Check(fmt.Errorf("unknown outcome %q", e.Outcome))
	}
	if err := r.Done(); err != nil {
		return End{}, fmt.Errorf("parsing ceremony end: %w", err)
	}
	return e, nil
}

// Hash is what the next record names as the one before it.
func Hash(b []byte) [32]byte { return sha256.Sum256(b) }
