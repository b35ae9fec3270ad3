package bus

import (
	"bytes"
	"reflect"
	"testing"
)

// plainProof is what a Proof looks like to the library.
type plainProof struct {
	Proof [][32]byte `cbor:"3,keyasint"`
}

type codedProof struct {
	Proof Proof `cbor:"3,keyasint"`
}

// The codec of its own writes and reads what the library would.
func TestProofIsAnArrayOfHashes(t *testing.T) {
	t.Parallel()
	for n := range MaxProofHashes + 1 {
		hashes := make([][32]byte, n)
		for i := range hashes {
			hashes[i] = [32]byte{byte(n), byte(i), 0x58, 0x20}
		}
		want, err := Encode(plainProof{hashes})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Encode(codedProof{hashes})
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d hashes: %X, %v; the library writes %X", n, got, err, want)
		}
		back, err := Decode[codedProof](got)
		if err != nil || !reflect.DeepEqual(back, codedProof{hashes}) {
			t.Fatalf("%d hashes come back as %X, %v", n, back, err)
		}
	}
	if empty, err := Encode(codedProof{}); err != nil || !bytes.Equal(empty, []byte{0xA1, 3, 0x80}) {
		t.Errorf("no proof is %X, %v", empty, err)
	}
	if b, err := Encode(codedProof{make([][32]byte, MaxProofHashes+1)}); err == nil {
		t.Errorf("a proof that is too long gave %d bytes", len(b))
	}
}

func TestProofRefusesOtherSpellings(t *testing.T) {
	t.Parallel()
	hash := append([]byte{0x58, 0x20}, make([]byte, 32)...)
	for name, proof := range map[string][]byte{
		"null":               {0xF6},
		"map":                {0xA0},
		"bytes":              hash,
		"length in two":      append([]byte{0x99, 0, 1}, hash...),
		"length in one":      append([]byte{0x98, 1}, hash...),
		"a short hash":       append([]byte{0x81, 0x58, 0x1F}, make([]byte, 31)...),
		"a long hash":        append([]byte{0x81, 0x58, 0x21}, make([]byte, 33)...),
		"a head of 16 bits":  append([]byte{0x81, 0x59, 0, 0x20}, make([]byte, 32)...),
		"text":               append([]byte{0x81, 0x78, 0x20}, make([]byte, 32)...),
		"short and long":     append(append([]byte{0x82, 0x58, 0x1F}, make([]byte, 31)...), append([]byte{0x58, 0x21}, make([]byte, 33)...)...),
		"65":                 append([]byte{0x98, 65}, bytes.Repeat(hash, 65)...),
		"one that is not in": append([]byte{0x82}, hash...),
	} {
		if got, err := Decode[codedProof](append([]byte{0xA1, 3}, proof...)); err == nil {
			t.Errorf("%s was read as %X", name, got.Proof)
		}
	}
}
