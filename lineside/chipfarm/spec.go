package chipfarm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/secret"
)

// Spec says what chips a maker delivers. The same Spec gives the same chips.
type Spec struct {
	Reel    perso.Name `json:"reel"` // of more than one, the name is this one and a number
	Product string     `json:"product"`
	OS      string     `json:"os"`
	ATR     string     `json:"atr"` // hex; X nibbles become 0, and XX at the end the check byte
	KMC     perso.Name `json:"kmc"` // the name of the key; the key itself is MasterKey
	KVN     byte       `json:"kvn"`
	Chips   uint32     `json:"chips"`
	Seed    uint64     `json:"seed"`
	// CPLC is a pattern of 42 bytes in hex in which ICSerialNumber is that of the first chip. Empty: made from the seed.
	CPLC   string      `json:"cplc,omitempty"`
	Faults []FaultSpec `json:"faults,omitempty"`
	Timing Timing      `json:"timing"`
	// Options are what the chips' operating system was built with (lineside/cardsim/OS.md).
	Options cardsim.Options `json:"options,omitzero"`

	// MasterKey is the chip maker's: the chips' factory keys are diversified from it by KDF3. 16 bytes.
	MasterKey secret.Bytes `json:"-"`
}

// Timing says how fast the farm is. A Scale of 0 takes no time at all, 1 is as slow as real chips.
type Timing struct {
	Scale float64        `json:"scale"`
	Chip  cardsim.Timing `json:"chip"` // zero: cardsim.DefaultTiming
	// IndexMS is the time to bring the next chip under a head, in milliseconds.
	IndexMS uint32 `json:"index_ms"`
}

// The faults of a farm beside those of a single chip.
const (
	FaultTwin    cardsim.FaultKind = "twin"    // the chip has the id and the keys of another
	FaultForeign cardsim.FaultKind = "foreign" // the chip was personalized by somebody else
)

// FaultSpec says which chips misbehave, and how.
type FaultSpec struct {
	Kind cardsim.FaultKind `json:"kind"`
	// Chips are indexes on the reel, from 0. Permille is, beside them, a share of all chips, chosen by the seed.
	Chips    []uint32 `json:"chips,omitempty"`
	Permille uint16   `json:"permille,omitempty"`

	Contact uint32 `json:"contact,omitempty"` // from 1; 0 is the first
	APDU    uint32 `json:"apdu,omitempty"`    // from 1; 0 is any of the first 60, by the seed
	SW      string `json:"sw,omitempty"`      // four hex digits
	Bit     uint16 `json:"bit,omitempty"`
	Dead    bool   `json:"dead,omitempty"`
	TwinOf  uint32 `json:"twin_of,omitempty"` // index of the chip that a twin is taken for
}

const (
	masterKeyBytes = 16
	maxATRBytes    = 33 // ISO/IEC 7816-3: TS and at most 32 characters
	wholePermille  = 1000
	// anyAPDU is about what a personalization of this kind of chip takes.
	anyAPDU = 60
)

// Validate says whether chips can be made of it.
func (s Spec) Validate() error {
	var errs []error
	fault := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if _, err := perso.ParseName(string(s.Reel)); err != nil {
		fault("reel: %w", err)
	}
	if s.Chips == 0 || s.Chips > MaxChips {
		fault("chips: %d, expected 1 to %d", s.Chips, MaxChips)
	}
	if s.MasterKey.Len() != masterKeyBytes {
		fault("master key: %d bytes, expected %d", s.MasterKey.Len(), masterKeyBytes)
	}
	if _, err := fillATR(s.ATR); err != nil {
		fault("ATR: %w", err)
	}
	if _, err := s.cplc(); err != nil {
		fault("CPLC: %w", err)
	}
	if err := s.Options.Validate(); err != nil {
		fault("options: %w", err)
	}
	if s.Timing.Scale < 0 {
		fault("time scale: %g is negative", s.Timing.Scale)
	}
	if len(s.Faults) > MaxFaultSpecs {
		fault("faults: %d, limit %d", len(s.Faults), MaxFaultSpecs)
	}
	for i, f := range s.Faults {
		if err := f.validate(s.Chips); err != nil {
			fault("fault %d: %w", i, err)
		}
	}
	return errors.Join(errs...)
}

func (f FaultSpec) validate(chips uint32) error {
	for _, index := range f.Chips {
		if index >= chips {
			return fmt.Errorf("chip %d of %d", index, chips)
		}
	}
	if f.Permille > wholePermille {
		return fmt.Errorf("%d permille", f.Permille)
	}
	switch f.Kind {
	case FaultForeign:
		return nil
	case FaultTwin:
		if f.TwinOf >= chips || f.Permille != 0 {
			return fmt.Errorf("fault %q needs chips, and one of %d to be taken for", f.Kind, chips)
		}
		return nil
	}
	one, err := f.fault(1)
	if err != nil {
		return err
	}
	return one.Validate()
}

// fault is the fault of one chip; any is the APDU to take when none is named.
func (f FaultSpec) fault(any uint32) (cardsim.Fault, error) {
	one := cardsim.Fault{Kind: f.Kind, Contact: f.Contact, APDU: f.APDU, Bit: f.Bit, Dead: f.Dead}
	if one.APDU == 0 && f.Kind != cardsim.FaultMute && f.Kind != cardsim.FaultContact {
		one.APDU = any
	}
	if f.SW != "" {
		b, err := hex.DecodeString(f.SW)
		if err != nil || len(b) != 2 {
			return one, fmt.Errorf("status word %q is not four hex digits", f.SW)
		}
		one.SW = apdu.SW(b[0])<<8 | apdu.SW(b[1])
	}
	return one, nil
}

// fillATR makes an ATR of a product's pattern. The check byte makes the XOR of all from T0 on zero (ISO/IEC 7816-3
// §8.2.5).
func fillATR(pattern string) ([]byte, error) {
	text := strings.ToUpper(pattern)
	atr, err := hex.DecodeString(strings.ReplaceAll(text, "X", "0"))
	if err != nil || len(atr) < 2 || len(atr) > maxATRBytes {
		return nil, fmt.Errorf("%.80q is not 2 to %d bytes in hex", pattern, maxATRBytes)
	}
	if strings.HasSuffix(text, "XX") {
		last := len(atr) - 1
		for _, b := range atr[1:last] {
			atr[last] ^= b
		}
	}
	return atr, nil
}
