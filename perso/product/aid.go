package product

import (
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	minAIDBytes = 5  // ISO/IEC 7816-4: the registered provider identifier alone
	maxAIDBytes = 16 // and at most 11 bytes of its owner's choice
)

// AID names an application or security domain. It is comparable; the zero value is none.
type AID struct{ hex string }

// ParseAID reads 5 to 16 bytes in hexadecimal of either case.
func ParseAID(s string) (AID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) < minAIDBytes || len(b) > maxAIDBytes {
		return AID{}, fmt.Errorf("AID %.40q is not %d to %d bytes in hexadecimal", s, minAIDBytes, maxAIDBytes)
	}
	return AID{hex: strings.ToUpper(s)}, nil
}

// String is upper-case hexadecimal, or nothing for the zero value.
func (a AID) String() string { return a.hex }

// IsZero reports that there is no AID.
func (a AID) IsZero() bool { return a.hex == "" }

// Bytes is the AID as it goes into a command.
func (a AID) Bytes() []byte {
	b, err := hex.DecodeString(a.hex)
	if err != nil {
		panic("product: AID was not parsed") // no door but ParseAID leads here
	}
	return b
}
