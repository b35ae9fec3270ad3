package saip

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// oidFromBytes spells the value of an OBJECT IDENTIFIER with dots. Each number must be in its shortest form (X.690 8.19).
func oidFromBytes(v []byte) (string, error) {
	if len(v) == 0 {
		return "", errors.New("an object identifier without bytes")
	}
	var numbers []string
	const limit = 1 << 32
	n, fresh := 0, true
	for _, b := range v {
		if fresh && b == 0x80 {
			return "", errors.New("an object identifier not in its shortest form")
		}
		if n = n<<7 | int(b&0x7F); n >= limit {
			return "", errors.New("an object identifier with a number beyond 32 bits")
		}
		if fresh = b&0x80 == 0; !fresh {
			continue
		}
		if numbers == nil {
			first := min(n/40, 2)
			numbers = append(numbers, strconv.Itoa(first))
			n -= first * 40
		}
		numbers, n = append(numbers, strconv.Itoa(n)), 0
	}
	if !fresh {
		return "", errors.New("an object identifier that ends within a number")
	}
	return strings.Join(numbers, "."), nil
}

// oidToBytes is the value of an OBJECT IDENTIFIER that is spelled with dots.
func oidToBytes(s string) ([]byte, error) {
	var out []byte
	first := 0
	for i, part := range strings.Split(s, ".") {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("reading the object identifier %q: part %d is no number", s, i+1)
		}
		switch i {
		case 0:
			first = int(n)
		case 1:
			out = appendBase128(out, uint64(first)*40+n)
		default:
			out = appendBase128(out, n)
		}
	}
	if back, err := oidFromBytes(out); err != nil || back != s {
		return nil, fmt.Errorf("reading the object identifier %q: it is none", s)
	}
	return out, nil
}

func appendBase128(out []byte, n uint64) []byte {
	const bitsEach, most = 7, 10
	started := false
	for i := most - 1; i >= 0; i-- {
		b := byte(n>>(i*bitsEach)) & 0x7F
		if b == 0 && !started && i > 0 {
			continue
		}
		started = true
		if i > 0 {
			b |= 0x80
		}
		out = append(out, b)
	}
	return out
}
