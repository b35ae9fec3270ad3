package filesys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso/tlv"
)

// FID is a file identifier.
type FID uint16

// Identifiers with a meaning of their own (TS 102 221 §8.6).
const (
	MF         FID = 0x3F00
	CurrentADF FID = 0x7FFF
	reserved   FID = 0x3FFF
)

// Kind is what a file is.
type Kind byte

// The kinds. The numbers are in chips' memories: they never change.
const (
	DF          Kind = 1 // the MF too
	ADF         Kind = 2
	Transparent Kind = 3
	LinearFixed Kind = 4
	Cyclic      Kind = 5
	BERTLV      Kind = 6 // it can be made and selected; its objects are not reached by a command
)

func (k Kind) isDF() bool       { return k == DF || k == ADF }
func (k Kind) hasRecords() bool { return k == LinearFixed || k == Cyclic }

// LifeCycle is the life cycle status of a file (ISO/IEC 7816-4 table 14).
type LifeCycle byte

// The states that a file can be in.
const (
	Creation       LifeCycle = 0x01
	Initialization LifeCycle = 0x03
	Activated      LifeCycle = 0x05
	Deactivated    LifeCycle = 0x04
	Terminated     LifeCycle = 0x0C
)

// Limits of one file system.
const (
	MaxFiles     = 512
	MaxFileBytes = 32 << 10
	MaxBytes     = 256 << 10 // content of all files together
	PieceBytes   = 256       // content is written to memory in pieces, so that a record does not cost the whole file
	maxRecords   = 254       // TS 102 221 §8.2.2.2
	maxAIDBytes  = 16
	minAIDBytes  = 5
	maxHeader    = 255
	// MaxHeaderBytes bounds the header of a file in memory.
	MaxHeaderBytes = fixedHeader + 4*(1+maxHeader)
)

// file is one file: what FCP says of it, and its content.
type file struct {
	kind    Kind
	id      FID
	parent  uint16 // number of the DF it lies in; of the MF its own
	sfi     byte   // 1 to 30; 0 when it has none
	state   LifeCycle
	record  uint16 // bytes of a record; 0 without records
	rule    rule
	name    []byte // AID of an ADF; a DF may have one
	pins    []byte // value of the PIN status template (C6) as created, of DFs
	private []byte // value of the proprietary information (A5)
	link    uint16 // number of the EF whose content it shows; 0 when it has its own
	content []byte
}

func (f *file) records() int {
	if f.record == 0 {
		return 0
	}
	return len(f.content) / int(f.record)
}

// Template tags (TS 102 221 §11.1.1.3, TS 102 222 §6.3.2.2).
const (
	tagFCP         = 0x62
	tagSize        = 0x80
	tagTotalSize   = 0x81
	tagDescriptor  = 0x82
	tagFID         = 0x83
	tagName        = 0x84
	tagSFI         = 0x88
	tagLifeCycle   = 0x8A
	tagReferenced  = 0x8B
	tagProprietary = 0xA5
	tagExpanded    = 0xAB
	tagPINStatus   = 0xC6
	tagFill        = 0xC1
	tagRepeat      = 0xC2

	dataCoding = 0x21
	sfiFromFID = 0x1F
)

// descriptor bytes: shareable bit apart.
const (
	descDF          = 0x38
	descTransparent = 0x01
	descLinear      = 0x02
	descCyclic      = 0x06
	descBERTLV      = 0x39
	descShareable   = 0x40
)

// errTemplate says that a template of CREATE FILE is not one.
var errTemplate = errors.New("wrong file control parameters")

// parseFCP reads the value of a template 62 of CREATE FILE.
func parseFCP(value []byte) (*file, error) {
	parts, err := tlv.ParseAll(value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTemplate, err)
	}
	f, size := &file{state: Activated}, -1
	seen := map[uint32]bool{}
	for _, p := range parts {
		if seen[p.Tag] {
			return nil, fmt.Errorf("%w: tag %X twice", errTemplate, p.Tag)
		}
		seen[p.Tag] = true
		if err := f.take(p, &size); err != nil {
			return nil, err
		}
	}
	if !seen[tagDescriptor] || !seen[tagFID] || !seen[tagLifeCycle] || !seen[tagReferenced] && !seen[tagExpanded] {
		return nil, fmt.Errorf("%w: descriptor, identifier, life cycle and access rules are needed", errTemplate)
	}
	return f, f.complete(seen, size)
}

// take reads one object of the template.
func (f *file) take(p tlv.TLV, size *int) (err error) {
	v := p.Value
	switch p.Tag {
	case tagDescriptor:
		return f.describe(v)
	case tagFID:
		if len(v) != 2 {
			return fmt.Errorf("%w: identifier of %d bytes", errTemplate, len(v))
		}
		f.id = FID(binary.BigEndian.Uint16(v))
	case tagName:
		if len(v) < minAIDBytes || len(v) > maxAIDBytes {
			return fmt.Errorf("%w: name of %d bytes", errTemplate, len(v))
		}
		f.name = slices.Clone(v)
	case tagSFI:
		return f.takeSFI(v)
	case tagLifeCycle:
		if len(v) != 1 || !slices.Contains([]LifeCycle{Creation, Initialization, Activated}, LifeCycle(v[0])) {
			return fmt.Errorf("%w: life cycle % X", errTemplate, v)
		}
		f.state = LifeCycle(v[0])
	case tagReferenced, tagExpanded:
		f.rule, err = parseRule(p)
	case tagSize:
		if len(v) < 1 || len(v) > 2 {
			return fmt.Errorf("%w: size of %d bytes", errTemplate, len(v))
		}
		*size = int(binary.BigEndian.Uint16(append(make([]byte, 2-len(v)), v...)))
	case tagTotalSize: // memory is taken as files need it
	case tagProprietary:
		f.private = slices.Clone(v)
	case tagPINStatus:
		f.pins = slices.Clone(v)
	default:
		err = fmt.Errorf("%w: tag %X", errTemplate, p.Tag)
	}
	return err
}

func (f *file) describe(v []byte) error {
	if len(v) != 2 && len(v) != 4 && len(v) != 5 || v[1] != dataCoding {
		return fmt.Errorf("%w: descriptor % X", errTemplate, v)
	}
	switch v[0] &^ descShareable {
	case descDF:
		f.kind = DF
	case descTransparent:
		f.kind = Transparent
	case descLinear:
		f.kind = LinearFixed
	case descCyclic:
		f.kind = Cyclic
	case descBERTLV:
		f.kind = BERTLV
	default:
		return fmt.Errorf("%w: descriptor % X", errTemplate, v)
	}
	if f.kind.hasRecords() != (len(v) > 2) {
		return fmt.Errorf("%w: descriptor of %d bytes for its kind", errTemplate, len(v))
	}
	if len(v) > 2 {
		if f.record = binary.BigEndian.Uint16(v[2:]); f.record == 0 || f.record > 255 {
			return fmt.Errorf("%w: records of %d bytes", errTemplate, f.record)
		}
	}
	return nil
}

// takeSFI reads the short identifier: a value in the upper five bits, or nothing for none.
func (f *file) takeSFI(v []byte) error {
	const shift, highest = 3, 30
	switch {
	case len(v) == 0:
		f.sfi = 0
	case len(v) != 1 || v[0]&(1<<shift-1) != 0 || v[0]>>shift == 0 || v[0]>>shift > highest:
		return fmt.Errorf("%w: short identifier % X", errTemplate, v)
	default:
		f.sfi = v[0] >> shift
	}
	return nil
}

// complete checks what must fit together, and fills a new EF.
func (f *file) complete(seen map[uint32]bool, size int) error {
	const highestImplied = 30
	switch {
	case f.kind.isDF() && (size >= 0 || seen[tagSFI]) || !f.kind.isDF() && (size <= 0 || seen[tagName] || seen[tagPINStatus]):
		return fmt.Errorf("%w: parameters of another kind of file", errTemplate)
	case f.id == MF || f.id == reserved || f.id == CurrentADF || f.id == 0:
		return fmt.Errorf("%w: identifier %04X cannot be created", errTemplate, uint16(f.id))
	case size > MaxFileBytes || f.kind.hasRecords() && (size%int(f.record) != 0 || size/int(f.record) > maxRecords):
		return fmt.Errorf("%w: size of %d bytes", errTemplate, size)
	case f.kind.isDF():
		if f.name != nil {
			f.kind = ADF
		}
		return nil
	}
	if low := byte(f.id & sfiFromFID); !seen[tagSFI] && low >= 1 && low <= highestImplied {
		f.sfi = low // TS 102 221 §11.1.1.4.8: it is implied by the identifier
	}
	return f.fill(size)
}

// fill gives a new EF its content: FF, or the pattern that the proprietary information names (TS 102 222 §6.3.2.2.2).
func (f *file) fill(size int) error {
	f.content = blank(size)
	parts, err := tlv.ParseAll(f.private)
	if err != nil {
		return fmt.Errorf("%w: proprietary information: %w", errTemplate, err)
	}
	for _, p := range parts {
		if len(p.Value) == 0 {
			continue
		}
		switch p.Tag {
		case tagFill: // the last byte goes on to the end
			n := copy(f.content, p.Value)
			for ; n < size; n++ {
				f.content[n] = p.Value[len(p.Value)-1]
			}
		case tagRepeat:
			for n := 0; n < size; {
				n += copy(f.content[n:], p.Value)
			}
		}
	}
	return nil
}

// fcp is the template that SELECT answers with; status is the value of the PIN status template of a DF.
func (f *file) fcp(status []byte) []byte {
	id := binary.BigEndian.AppendUint16(nil, uint16(f.id))
	descriptor := map[Kind]byte{DF: descDF | descShareable, ADF: descDF | descShareable, Transparent: descTransparent | descShareable,
		LinearFixed: descLinear | descShareable, Cyclic: descCyclic | descShareable, BERTLV: descBERTLV | descShareable}[f.kind]
	desc := []byte{descriptor, dataCoding}
	if f.kind.hasRecords() {
		desc = append(binary.BigEndian.AppendUint16(desc, f.record), byte(f.records()))
	}
	parts := [][]byte{tlv.Encode(tagDescriptor, desc)}
	if f.kind != ADF {
		parts = append(parts, tlv.Encode(tagFID, id))
	}
	if f.name != nil {
		parts = append(parts, tlv.Encode(tagName, f.name))
	}
	if f.private != nil {
		parts = append(parts, tlv.Encode(tagProprietary, f.private))
	}
	parts = append(parts, tlv.Encode(tagLifeCycle, []byte{byte(f.state)}), f.rule.encode())
	if f.kind.isDF() {
		parts = append(parts, tlv.Encode(tagPINStatus, status))
	} else {
		parts = append(parts, tlv.Encode(tagSize, binary.BigEndian.AppendUint16(nil, uint16(len(f.content)))))
		if f.sfi != 0 {
			parts = append(parts, tlv.Encode(tagSFI, []byte{f.sfi << 3}))
		} else {
			parts = append(parts, tlv.Encode(tagSFI, nil))
		}
	}
	return tlv.Encode(tagFCP, parts...)
}
