package script

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// format is the first element of an encoded script; another layout takes another number.
const format = "persoline-script/3"

// ErrEncoding is wrapped by every refusal of Decode.
var ErrEncoding = errors.New("not a canonical compiled script")

// envelope is what is encoded: CBOR of RFC 8949 §4.2.1 (core deterministic), every struct an array.
type envelope struct {
	_      struct{} `cbor:",toarray"`
	Format string
	Script Script
}

// Encode gives the canonical bytes: equal scripts give equal bytes, on every machine.
func (s *Script) Encode() []byte {
	b, err := encoding().Marshal(envelope{Format: format, Script: *s})
	if err != nil {
		panic("script: encoding a script: " + err.Error()) // only plain values inside: a fault of the program
	}
	return b
}

// Hash names the script everywhere: SHA-256 of Encode.
func (s *Script) Hash() [sha256.Size]byte { return sha256.Sum256(s.Encode()) }

// Decode reads what Encode wrote and nothing else: one spelling, within the limits, and obeying every rule that Compile
// applies. A decoded script is as safe to run as a compiled one.
func Decode(b []byte) (*Script, error) {
	if len(b) > MaxEncodedBytes {
		return nil, fmt.Errorf("decoding script of %d bytes, limit %d: %w", len(b), MaxEncodedBytes, ErrEncoding)
	}
	var e envelope
	if err := decoding().Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("decoding script: %w: %w", ErrEncoding, err)
	}
	if e.Format != format {
		return nil, fmt.Errorf("decoding script of format %q, not %q: %w", e.Format, format, ErrEncoding)
	}
	s := &e.Script
	if !bytes.Equal(s.Encode(), b) {
		return nil, fmt.Errorf("decoding script in a second spelling: %w", ErrEncoding)
	}
	if found := s.faults(); len(found) > 0 {
		return nil, fmt.Errorf("decoding script: %w: %w", ErrEncoding, found.sorted())
	}
	s.prepare()
	return s, nil
}

func encoding() cbor.EncMode {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	options.TextMarshaler = cbor.TextMarshalerTextString
	mode, err := options.EncMode()
	if err != nil {
		panic("script: building CBOR encoder: " + err.Error())
	}
	return mode
}

func decoding() cbor.DecMode {
	mode, err := cbor.DecOptions{
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  16,       // the deepest value, a Ref in a condition, is at 11
		MaxArrayElements: MaxSteps, // the longest list
		MaxMapPairs:      16,       // there are no maps; 16 is the least the decoder takes
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
	}.DecMode()
	if err != nil {
		panic("script: building CBOR decoder: " + err.Error())
	}
	return mode
}
