package statement

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// KindLost names the statement by which two officers give up a unit that nothing else ends.
const KindLost = "unit-lost"

// Fate says where the chip of a lost unit is, as far as people know.
type Fate string

// The fates.
const (
	FateRejectLive Fate = "reject-live" // in the locked bin: it may hold live keys
	FateMissing    Fate = "missing"     // nobody finds it
)

// ParseFate accepts the closed set.
func ParseFate(s string) (Fate, error) {
	switch f := Fate(s); f {
	case FateRejectLive, FateMissing:
		return f, nil
	}
	return "", fmt.Errorf("fate %q is neither %q nor %q", s, FateRejectLive, FateMissing)
}

// Lost is what two officers sign when a unit in work will never get its verdict: its vault refuses it for good, its release
// has expired, or its chip is gone. It names the claim by all that it binds, so that it speaks of one chip in one lot and of
// nothing else. The vault that made the lot answers it with a receipt: it never calls that claim good from then on, or has
// called it good before.
type Lost struct {
	Env     perso.Env
	Site    perso.Name
	Lot     perso.Name
	Release [32]byte // hash of the lot's release
	Unit    perso.Unit
	Gen     perso.Generation
	Index   perso.EIDIndex
	EID     id.EID // zero where the product has none
	Chip    id.ChipID
	Claim   [32]byte      // hash of the claim's log entry
	Session perso.Session // the last that the chip opened
	Fate    Fate
	Reason  string // people's words
	At      time.Time
	Nonce   [32]byte
}

// Encode gives the body to sign.
func (l Lost) Encode() ([]byte, error) {
	return record.New(KindLost).Str("env", string(l.Env)).Str("site", string(l.Site)).Str("lot", string(l.Lot)).Hex("release", l.Release[:]).
		Uint("unit", uint64(l.Unit)).Uint("gen", uint64(l.Gen)).Uint("index", uint64(l.Index)).Str("eid", l.EID.String()).Str("chip", l.Chip.String()).
		Hex("claim", l.Claim[:]).Hex("session", l.Session[:]).Str("fate", string(l.Fate)).Str("reason", l.Reason).
		Time("at", l.At).Hex("nonce", l.Nonce[:]).Bytes()
}

// ParseLost reads the body; it checks form, not signatures.
func ParseLost(body []byte) (Lost, error) {
	r, err := record.Parse(body, KindLost)
	if err != nil {
		return Lost{}, fmt.Errorf("parsing loss of a unit: %w", err)
	}
	var l Lost
	l.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	l.Site = r.Name("site")
	l.Lot = r.Name("lot")
	l.Release = r.Hash("release")
	l.Unit, l.Gen, l.Index = perso.Unit(r.Uint("unit", 32)), perso.Generation(r.Uint("gen", 8)), perso.EIDIndex(r.Uint("index", 32))
	if v := r.Str("eid"); v != "" {
		l.EID, err = id.ParseEID(v)
		r.Check(err)
	}
	chip := r.Raw("chip")
	if l.Chip, err = id.ParseChipID(chip); err == nil && l.Chip.String() != chip {
		err = fmt.Errorf("chip %q is not in small letters: %w", chip, record.ErrForm)
	}
	r.Check(err)
	l.Claim, l.Session = r.Hash("claim"), r.Hash("session")
	l.Fate, err = ParseFate(r.Raw("fate"))
	r.Check(err)
	l.Reason, l.At, l.Nonce = r.Raw("reason"), r.Time("at"), r.Hash("nonce")
	if err := r.Done(); err != nil {
		return Lost{}, fmt.Errorf("parsing loss of a unit: %w", err)
	}
	return l, nil
}
