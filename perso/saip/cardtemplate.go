package saip

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso/id"
)

// Template is a package made ready for the cards of a lot: its bytes, with zeros wherever a value of a card goes, and the
// places. It holds no secret. Render only reads it, so one Template serves any number of callers at once.
type Template struct {
	bytes   []byte
	slots   []Slot
	patches []patch
	home    home
	policy  byte
	usim    []byte
}

// Slot is a value that each card brings.
type Slot struct {
	Name   string
	Length int // bytes
	Secret bool

	key Use // of a key of a security domain
}

type patch struct{ offset, slot int }

// Values are the values of one card by the index of their slots.
type Values [][]byte

// Format prints nothing of the values.
func (v Values) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%d values of a card", len(v)) }

// Compile makes the template of a package whose lot constants are set. A package that Check refuses is refused.
func Compile(p *Package) (*Template, error) {
	if bad := p.Check().Refusing(); len(bad) > 0 {
		return nil, bad
	}
	points, err := p.Points()
	if err != nil {
		return nil, err
	}
	chip, _ := p.Expand() // whose faults are among those of Check
	t := &Template{bytes: p.Bytes(), home: homeOf(chip), policy: append(slices.Clone(chip.Header.Policy), 0)[0]}
	for _, pt := range points {
		if pt.Class == CardValue {
			if err := t.place(pt); err != nil {
				return nil, err
			}
		}
	}
	t.noteKeys(chip)
	if i := slices.IndexFunc(chip.Applications(), func(f *File) bool { return f.Application() == PEUSIM }); i >= 0 {
		t.usim = slices.Clone(chip.Applications()[i].AID)
	}
	return t, nil
}

// place adds one point.
func (t *Template) place(pt Point) error {
	if pt.InnerLength > 0 {
		pt.Offset, pt.Length = pt.Offset+pt.InnerOffset, pt.InnerLength
	}
	i := slices.IndexFunc(t.slots, func(s Slot) bool { return s.Name == pt.Slot })
	if i < 0 {
		i = len(t.slots)
		t.slots = append(t.slots, Slot{Name: pt.Slot, Length: pt.Length, Secret: pt.Secret})
	}
	if t.slots[i].Length != pt.Length {
		return &Fault{Place: pt.Place, Reason: fmt.Sprintf("%s takes %q of %d bytes, which has %d elsewhere", pt.Name, pt.Slot, pt.Length, t.slots[i].Length)}
	}
	clear(t.bytes[pt.Offset : pt.Offset+pt.Length])
	t.patches = append(t.patches, patch{offset: pt.Offset, slot: i})
	return nil
}

// Slots are the values that a card brings, in the order of Values. The caller must not change them.
func (t *Template) Slots() []Slot { return t.slots }

// Slot is the index of a slot.
func (t *Template) Slot(name string) (int, bool) {
	i := slices.IndexFunc(t.slots, func(s Slot) bool { return s.Name == name })
	return i, i >= 0
}

// Len is the size of a rendered package in bytes.
func (t *Template) Len() int { return len(t.bytes) }

// Hash names the template: SHA-256 over its bytes, slots and places. What officers release is this.
func (t *Template) Hash() [32]byte {
	h := sha256.New()
	number := func(v int) { _ = binary.Write(h, binary.BigEndian, uint32(v)) }
	number(len(t.bytes))
	h.Write(t.bytes)
	number(len(t.slots))
	for _, s := range t.slots {
		number(len(s.Name))
		h.Write([]byte(s.Name))
		number(s.Length)
	}
	for _, p := range t.patches {
		number(p.offset)
		number(p.slot)
	}
	return [32]byte(h.Sum(nil))
}

// Render appends the package of one card to dst. Each slot must have its value at its length; what is missing or wrong is
// named, never shown. The result holds secrets: the caller wipes it.
func (t *Template) Render(dst []byte, v Values) ([]byte, error) {
	if len(v) != len(t.slots) {
		return dst, fmt.Errorf("rendering a profile package: %d values for %d slots", len(v), len(t.slots))
	}
	for i := range t.slots {
		if len(v[i]) != t.slots[i].Length {
			return dst, fmt.Errorf("rendering a profile package: %q has %d bytes where %d must be", t.slots[i].Name, len(v[i]), t.slots[i].Length)
		}
	}
	start := len(dst)
	dst = append(dst, t.bytes...)
	out := dst[start:]
	for _, p := range t.patches {
		copy(out[p.offset:], v[p.slot])
	}
	return dst, nil
}

// Identify sets the values that come from the numbers of a card: ICCID, IMSI and the access class that follows from it. An
// IMSI of another network than the profile's constants speak of is refused: only the network would find it out.
func (t *Template) Identify(v Values, iccid id.ICCID, imsi id.IMSI) error {
	if iccid.IsZero() || imsi.IsZero() {
		return errors.New("identifying a card: it has no ICCID or no IMSI")
	}
	if err := t.home.admits(imsi); err != nil {
		return fmt.Errorf("identifying a card: %w", err)
	}
	ef, efIMSI, acc := iccid.EFBytes(), imsi.EFBytes(), imsi.ACC()
	plain := ef
	for i, b := range ef {
		plain[i] = b<<4 | b>>4
	}
	for name, value := range map[string][]byte{
		SlotICCID: plain[:], SlotICCIDSwapped: ef[:], SlotIMSI: efIMSI[:], SlotIMSIDigits: []byte(imsi.String()), SlotACC: acc[:],
	} {
		i, has := t.Slot(name)
		if !has {
			continue
		}
		if len(value) != t.slots[i].Length {
			return fmt.Errorf("identifying a card: %q has %d bytes and the profile has room for %d", name, len(value), t.slots[i].Length)
		}
		v[i] = value
	}
	return nil
}

// Blank is the package with zeros in the place of every secret, for whoever keeps packages: what a customer left in one is
// nobody's business, and a card never gets it.
func (p *Package) Blank() (*Package, error) {
	points, err := p.Points()
	if err != nil {
		return nil, err
	}
	b := p.Bytes()
	for _, pt := range points {
		if pt.Secret {
			clear(b[pt.Offset : pt.Offset+pt.Length])
		}
	}
	return Decode(b)
}
