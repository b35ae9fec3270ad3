package saip

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/tlv"
)

// Class says who sets a value.
type Class uint8

const (
	LotConstant Class = iota + 1 // once per lot, by Prepare
	CardValue                    // for each card, by Render
)

func (c Class) String() string {
	switch c {
	case LotConstant:
		return "lot"
	case CardValue:
		return "card"
	}
	return "none"
}

// Point is a place in a package whose bytes are replaced at their length.
type Point struct {
	Name   string // the place: "usim.imsi", "mf.pin.01", "sd.01.03"; every one once
	Slot   string // what goes there; several points may take the same, such as PIN2 of every directory. Empty for a lot constant
	Class  Class
	Secret bool
	Place  // of the element around it; Offset is the first byte of the value
	Length int
	// Inner is the part that changes from card to card, where the rest of the value is text of the lot: offset and length
	// within the value. Length 0 means all of it.
	InnerOffset, InnerLength int
}

// Slots that come from the numbers of a card. The others are "puk.01", "pin.81", "usim.key", "sd.01.01", ...: secrets.
const (
	SlotICCID        = "iccid"         // as the header has it
	SlotICCIDSwapped = "iccid.swapped" // as EF.ICCID has it
	SlotIMSI         = "imsi"          // as EF.IMSI has it
	SlotIMSIDigits   = "imsi.digits"   // in a text, one byte each
	SlotACC          = "acc"
)

// File identifiers with values of a card, or with constants of a lot.
const (
	fidICCID, fidIMSI, fidACC    = 0x2FE2, 0x6F07, 0x6F78
	fidIMPI, fidDomain, fidIMPU  = 0x6F02, 0x6F03, 0x6F04
	iccidBytes, efIMSIBytes      = 10, 9
	accBytes, pinBytes, pukBytes = 2, 8, 8
)

// lotFiles are files of a USIM whose content is of the operator, for the list of points.
var lotFiles = map[uint16]string{
	0x6F31: "hpplmn", 0x6F38: "ust", 0x6F42: "smsp", 0x6F46: "spn", 0x6F60: "plmnwact", 0x6F61: "oplmnwact", 0x6F62: "hplmnwact", 0x6F7B: "fplmn",
	0x6F7E: "loci", 0x6FAD: "ad", 0x6FD9: "ehplmn",
}

// Points are the places of everything that differs from card to card or from lot to lot, found by walking the package,
// in the order of the bytes. A package in which a value of a card has no place of its own is refused with the faults.
func (p *Package) Points() ([]Point, error) {
	chip, faults := p.Expand()
	if bad := faults.Refusing(); len(bad) > 0 {
		return nil, bad
	}
	w := &pointWalk{chip: chip, names: chip.contextNames(), uses: map[string]int{}}
	header := p.elements[0]
	w.add(Point{Name: "header.iccid", Slot: SlotICCID, Class: CardValue}, header, header.node.child("iccid"))
	if n := header.node.child("connectivityParameters"); n != nil {
		w.add(Point{Name: "header.connectivity", Class: LotConstant}, header, n)
	}
	w.files()
	w.codes()
	w.algorithms()
	w.keys()
	if len(w.faults) > 0 {
		return nil, w.faults
	}
	slices.SortFunc(w.points, func(a, b Point) int { return a.Offset - b.Offset })
	return w.points, nil
}

type pointWalk struct {
	chip   *Chip
	names  map[Path]string
	uses   map[string]int // of names that may come again
	points []Point
	faults Faults
}

// add notes a point at a value.
func (w *pointWalk) add(pt Point, e *Element, value *node) {
	pt.Place = Place{Offset: value.start, PE: e.Number, Element: e.Kind, Path: value.name}
	pt.Length = len(value.value)
	w.points = append(w.points, pt)
}

// contextNames are short names of directories: "mf", "telecom", "usim", "usim2" for the second of its kind.
func (c *Chip) contextNames() map[Path]string {
	names, count := map[Path]string{}, map[string]int{}
	for _, f := range c.Files {
		if !f.Kind.Directory() {
			continue
		}
		name := f.Application()
		if name == "" && f.Name != "" {
			name = f.Name[strings.LastIndexByte(f.Name, '-')+1:]
		}
		if name == "" {
			name = strings.ToLower(fmt.Sprintf("%04X", f.FID))
		}
		if count[name]++; count[name] > 1 {
			name = fmt.Sprintf("%s%d", name, count[name])
		}
		names[f.Path] = name
	}
	return names
}

// slotPrefix keeps the values of a second application of a kind apart from the first one's.
func slotPrefix(context string) string {
	for _, kind := range []string{PEUSIM, PEISIM, PECSIM} {
		if strings.HasPrefix(context, kind) && context != kind {
			return context + "."
		}
	}
	return ""
}

func (w *pointWalk) files() {
	for _, f := range w.chip.Files {
		context := w.names[f.Path.Parent()]
		switch {
		case f.Link != "" || f.Kind.Directory():
		case f.FID == fidICCID && f.Path.Parent() == root:
			w.whole(f, Point{Name: context + ".iccid", Slot: SlotICCIDSwapped, Class: CardValue}, iccidBytes)
		case w.isIn(f, PEUSIM) && f.FID == fidIMSI:
			w.whole(f, Point{Name: context + ".imsi", Slot: slotPrefix(context) + SlotIMSI, Class: CardValue}, efIMSIBytes)
		case w.isIn(f, PEUSIM) && f.FID == fidACC:
			w.whole(f, Point{Name: context + ".acc", Slot: slotPrefix(context) + SlotACC, Class: CardValue}, accBytes)
		case w.isIn(f, PEISIM) && (f.FID == fidIMPI || f.FID == fidIMPU):
			w.identities(f, context)
		case w.isIn(f, PEUSIM) && lotFiles[f.FID] != "":
			w.pieces(f, context+"."+lotFiles[f.FID])
		}
	}
}

func (w *pointWalk) isIn(f *File, kind string) bool {
	d := w.chip.byPath[f.Path.Parent()]
	return d != nil && d.Kind == ADF && d.Application() == kind
}

// whole notes a file whose content must be one piece from its beginning to its end.
func (w *pointWalk) whole(f *File, pt Point, size int) {
	for _, one := range f.pieces {
		if one.start == 0 && one.node != nil && len(one.node.value) == size && f.Size == size {
			w.add(pt, f.at, one.node)
			return
		}
	}
	w.faults = append(w.faults, f.at.fault(f.node, f.Name, "file %s must have a content of %d bytes in one piece, as its value is put there for each card", f.Path, size))
}

func (w *pointWalk) pieces(f *File, name string) {
	for _, one := range f.pieces {
		if one.node != nil {
			w.add(Point{Name: w.numbered(name), Class: LotConstant}, f.at, one.node)
		}
	}
}

// numbered is a name, or name.2 and so on when it is taken.
func (w *pointWalk) numbered(name string) string {
	if w.uses[name]++; w.uses[name] > 1 {
		return fmt.Sprintf("%s.%d", name, w.uses[name])
	}
	return name
}

// identities notes the texts of an ISIM. Those that hold an IMSI change with the card, in its digits only.
func (w *pointWalk) identities(f *File, context string) {
	name := context + ".impi"
	if f.FID == fidIMPU {
		name = context + ".impu"
	}
	for _, one := range f.pieces {
		if one.node == nil {
			continue
		}
		pt := Point{Name: w.numbered(name), Class: LotConstant}
		if at, n := imsiIn(one.node.value); n > 0 {
			pt.Class, pt.Slot, pt.InnerOffset, pt.InnerLength = CardValue, slotPrefix(context)+SlotIMSIDigits, at, n
		}
		w.add(pt, f.at, one.node)
	}
}

// imsiIn finds the digits of an IMSI in an identity of TS 23.003 clause 13: 14 or 15 digits that begin the text or follow
// "sip:", up to the @. A telephone number has a plus, and other texts have letters. The text is in a data object, whose
// length may look like a digit.
func imsiIn(object []byte) (at, length int) {
	const fewest, most, textTag = 14, 15, 0x80
	element, _, err := tlv.Parse(object)
	if err != nil || element.Tag != textTag {
		return 0, 0
	}
	text := element.Value
	end := bytes.IndexByte(text, '@')
	if end < 0 {
		return 0, 0
	}
	at = end
	for at > 0 && text[at-1] >= '0' && text[at-1] <= '9' {
		at--
	}
	if n := end - at; n < fewest || n > most || at > 0 && !bytes.HasSuffix(text[:at], []byte("sip:")) {
		return 0, 0
	}
	before := 2 // bytes of tag and length; a text of 128 bytes and more has three
	if len(text) > 0x7F {
		before++
	}
	return before + at, end - at
}

func (w *pointWalk) codes() {
	for _, c := range w.chip.PUKs {
		name := fmt.Sprintf("puk.%02X", c.Ref)
		w.add(Point{Name: name, Slot: name, Class: CardValue, Secret: true}, c.at, c.value())
	}
	for _, c := range w.chip.PINs {
		if c.SharedWith == "" {
			slot := fmt.Sprintf("pin.%02X", c.Ref)
			w.add(Point{Name: w.names[c.Context] + "." + slot, Slot: slot, Class: CardValue, Secret: true}, c.at, c.value())
		}
	}
}

func (w *pointWalk) algorithms() {
	for _, a := range w.chip.AKAs {
		if a.algorithm == nil {
			continue
		}
		context := w.names[a.Context]
		for field, name := range map[string]string{"key": "key", "opc": "opc"} {
			w.add(Point{Name: context + "." + name, Slot: context + "." + name, Class: CardValue, Secret: true}, a.at, a.algorithm().child(field))
		}
		for field, name := range map[string]string{"algorithmID": "algorithm", "algorithmOptions": "options", "rotationConstants": "rotation", "xoringConstants": "xoring",
			"authCounterMax": "counter", "numberOfKeccak": "keccak"} {
			if n := a.algorithm().child(field); n != nil {
				w.add(Point{Name: context + "." + name, Class: LotConstant}, a.at, n)
			}
		}
	}
	for i, e := range w.chip.cdma {
		for field, name := range map[string]string{"authenticationKey": "key", "ssd": "ssd", "hrpdAccessAuthenticationData": "hrpd",
			"simpleIPAuthenticationData": "simple-ip", "mobileIPAuthenticationData": "mobile-ip"} {
			if n := e.node.child(field); n != nil {
				name = numberedContext("cdma", i) + "." + name
				w.add(Point{Name: name, Slot: name, Class: CardValue, Secret: true}, e, n)
			}
		}
	}
}

func (w *pointWalk) keys() {
	for i, sd := range w.chip.Domains {
		for _, k := range sd.Keys {
			name := w.numbered(fmt.Sprintf("%s.%02X.%02X", numberedContext("sd", i), k.KVN, k.KID))
			w.add(Point{Name: name, Slot: name, Class: CardValue, Secret: true}, k.at, k.value())
		}
	}
}

func numberedContext(name string, index int) string {
	if index == 0 {
		return name
	}
	return fmt.Sprintf("%s%d", name, index+1)
}

// Holds reports whether a point is in the content of a file.
func (f *File) Holds(pt Point) bool {
	for _, one := range f.pieces {
		if one.node != nil && one.node.start == pt.Offset {
			return true
		}
	}
	return false
}
