package carddata

import (
	"bytes"
	"fmt"

	"github.com/persoline/persoline/perso/order/codes"
)

const (
	// CodeBytes is a code's field on the card: ASCII digits filled with FF, or 8 bytes (TS 102 221 §9.5.1).
	CodeBytes = 8

	// codeStreamBytes is the stream of a code: 256 bytes are fewer than the 8 digits it needs once in more than 2^1000 seeds.
	codeStreamBytes = 256
	// unbiased is the number of byte values that are spread evenly over ten digits.
	unbiased = 250
)

// DeriveCode fills the code's field on the card by its rule. Clear it.
func DeriveCode(x *Expander, c codes.Code, r codes.Rule, to *[CodeBytes]byte) error {
	if err := r.Check(c); err != nil {
		return err
	}
	for i := range to {
		to[i] = 0xFF
	}
	if r.Way() == codes.Fixed {
		copy(to[:], r.Value())
		return nil
	}
	stream := x.Stream(string(c), codeStreamBytes)
	defer stream.Wipe()
	ok := false
	switch r.Way() {
	case codes.Random:
		ok = drawDigits(to[:r.Digits()], stream, WeakCode)
	case codes.Strict:
		ok = drawDigits(to[:r.Digits()], stream, weakStrict)
	case codes.Bytes:
		ok = drawBytes(to, stream)
	}
	if !ok {
		return fmt.Errorf("deriving %s: %w", c, ErrWeak)
	}
	return nil
}

// drawDigits takes decimal digits without bias (bytes from 250 on are passed over) until a whole group is not weak.
func drawDigits(to []byte, stream *Stream, weak func([]byte) bool) bool {
	var b [1]byte
	for n := 0; stream.Fill(b[:]); {
		if b[0] >= unbiased {
			continue
		}
		to[n] = '0' + b[0]%10
		if n++; n < len(to) {
			continue
		}
		if !weak(to) {
			return true
		}
		n = 0
	}
	return false
}

// drawBytes takes the first 8 bytes that are not all equal.
func drawBytes(to *[CodeBytes]byte, stream *Stream) bool {
	for stream.Fill(to[:]) {
		if bytes.Count(to[:], to[:1]) != CodeBytes {
			return true
		}
	}
	return false
}

// WeakCode says that all digits are equal, or that they count up or down by one.
func WeakCode(digits []byte) bool {
	step := digits[1] - digits[0]
	if step != 0 && step != 1 && step != 0xFF {
		return false
	}
	for i := 2; i < len(digits); i++ {
		if digits[i]-digits[i-1] != step {
			return false
		}
	}
	return true
}

// weakStrict is WeakCode, a repeated block, or fewer than three different digits.
func weakStrict(digits []byte) bool {
	for block := 1; block <= len(digits)/2; block++ {
		if len(digits)%block == 0 && bytes.Equal(digits, bytes.Repeat(digits[:block], len(digits)/block)) {
			return true
		}
	}
	different := 0
	for d := byte('0'); d <= '9'; d++ {
		if bytes.IndexByte(digits, d) >= 0 {
			different++
		}
	}
	return different < 3 || WeakCode(digits)
}
