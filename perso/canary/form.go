package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
)

// Form is a way in which a secret may have been written.
type Form string

// The forms.
const (
	FormRaw            Form = "raw bytes"
	FormHexLower       Form = "hex"
	FormHexUpper       Form = "HEX"
	FormSwapped        Form = "nibble-swapped bytes"
	FormSwappedLower   Form = "nibble-swapped hex"
	FormSwappedUpper   Form = "nibble-swapped HEX"
	FormBase64         Form = "base64"
	FormBase64URL      Form = "base64url"
	FormDecimal        Form = "decimal list"         // fmt's %v of a byte slice
	FormDecimalCompact Form = "compact decimal list" // a byte array in JSON
)

type written struct {
	form Form
	text []byte
}

// forms writes a secret in every form, each spelling once: what a palindrome or a digit-only key writes alike in two
// forms is listed under the first.
func forms(v []byte) (all []written) {
	swapped := swapNibbles(v)
	add := func(f Form, text []byte) {
		for _, w := range all {
			if bytes.Equal(w.text, text) {
				return
			}
		}
		all = append(all, written{f, text})
	}
	add(FormRaw, v)
	add(FormHexLower, []byte(hex.EncodeToString(v)))
	add(FormHexUpper, []byte(strings.ToUpper(hex.EncodeToString(v))))
	add(FormSwapped, swapped)
	add(FormSwappedLower, []byte(hex.EncodeToString(swapped)))
	add(FormSwappedUpper, []byte(strings.ToUpper(hex.EncodeToString(swapped))))
	for lead := range 3 {
		add(FormBase64, base64Core(base64.RawStdEncoding, v, lead))
		add(FormBase64URL, base64Core(base64.RawURLEncoding, v, lead))
	}
	add(FormDecimal, decimals(v, ' '))
	add(FormDecimalCompact, decimals(v, ','))
	return all
}

// base64Core is the part of the base64 text that depends on v alone when lead bytes (mod 3) stand before it, whatever
// stands before and behind.
func base64Core(enc *base64.Encoding, v []byte, lead int) []byte {
	text := enc.EncodeToString(append(make([]byte, lead), v...))
	const bitsPerChar = 6
	first := (8*lead + bitsPerChar - 1) / bitsPerChar
	last := 8 * (lead + len(v)) / bitsPerChar
	return []byte(text[first:last])
}

func swapNibbles(v []byte) []byte {
	swapped := make([]byte, len(v))
	for i, b := range v {
		swapped[i] = b<<4 | b>>4
	}
	return swapped
}

func decimals(v []byte, separator byte) []byte {
	var text []byte
	for i, b := range v {
		if i > 0 {
			text = append(text, separator)
		}
		text = strconv.AppendUint(text, uint64(b), 10)
	}
	return text
}
