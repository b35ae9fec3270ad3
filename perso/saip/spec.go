package saip

import "slices"

// kind is what a value of the schema is.
type kind uint8

const (
	kindOctets   kind = iota + 1 // min..max: bytes
	kindNull                     // no value
	kindInteger                  // min..max: value
	kindOID                      // in its bytes
	kindText                     // UTF-8, min..max: bytes
	kindSequence                 // fields in this order
	kindChoice                   // one of the fields
	kindList                     // min..max: count, of elem
)

// spec is the schema of one value. Values don't nest by themselves, so the schema is also the limit of depth.
type spec struct {
	kind     kind
	min, max int
	fields   []field
	elem     *spec
	elemTag  uint32 // 0 where the elements are choices, which bring their own tags
}

// field is a member of a sequence or an alternative of a choice.
type field struct {
	name     string
	tag      uint32
	optional bool
	def      []byte // DEFAULT: what an absent field means
	spec     *spec
}

func (s *spec) constructed() bool { return s.kind >= kindSequence }

// named is the field of this name. The second result is false where the schema has none.
func (s *spec) named(name string) (field, bool) {
	i := slices.IndexFunc(s.fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return s.fields[i], true
}

// Limits of the schema where the specification has none (MAX), each far above what the field sees.
const (
	// MaxPackageBytes is 1 MiB: the largest eUICC has some hundred KiB for all of its profiles.
	MaxPackageBytes = 1 << 20
	// MaxElements bounds the profile elements of a package; TS.48 has 31.
	MaxElements = 512
	// maxNodes bounds the memory of one package (some 100 bytes each); TS.48 has 2,500.
	maxNodes = 1 << 16
	// maxList bounds a list without a limit of its own: commands of a GFM, keys, TARs.
	maxList = 4096
	// maxFileBytes is what the 16-bit sizes and offsets of files can say.
	maxFileBytes = 0xFFFF
)

func octets(low, high int) *spec  { return &spec{kind: kindOctets, min: low, max: high} }
func integer(low, high int) *spec { return &spec{kind: kindInteger, min: low, max: high} }
func text(low, high int) *spec    { return &spec{kind: kindText, min: low, max: high} }

func sequence(fields ...field) *spec { return &spec{kind: kindSequence, fields: fields} }
func choice(fields ...field) *spec   { return &spec{kind: kindChoice, fields: fields} }

// listOf is a list of values with universal tags, or of choices.
func listOf(low, high int, elem *spec) *spec {
	s := &spec{kind: kindList, min: low, max: high, elem: elem}
	switch elem.kind {
	case kindOctets:
		s.elemTag = 0x04
	case kindOID:
		s.elemTag = 0x06
	case kindSequence, kindList:
		s.elemTag = 0x30
	}
	return s
}

var (
	null = &spec{kind: kindNull}
	oid  = &spec{kind: kindOID, min: 1, max: 32}
)

// need and may are a field with the tag that the schema gives it; auto sets those of automatic tagging.
func need(name string, tag uint32, s *spec) field { return field{name: name, tag: tag, spec: s} }
func may(name string, tag uint32, s *spec) field {
	return field{name: name, tag: tag, optional: true, spec: s}
}
func byDefault(name string, tag uint32, s *spec, def ...byte) field {
	return field{name: name, tag: tag, optional: true, def: def, spec: s}
}

// auto gives fields the context tags 0, 1, 2, ... as AUTOMATIC TAGS does (X.680 clause 25.8).
func auto(fields ...field) []field {
	for i := range fields {
		fields[i].tag = contextTag(i, fields[i].spec.constructed())
	}
	return fields
}

// contextTag is a context-specific tag; from number 31 on it takes two bytes.
func contextTag(number int, constructed bool) uint32 {
	class := uint32(0x80)
	if constructed {
		class = 0xA0
	}
	const inNextByte = 0x1F
	if number < inNextByte {
		return class | uint32(number)
	}
	return (class|inNextByte)<<8 | uint32(number)
}
