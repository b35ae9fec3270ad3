package canary

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// A PIN or PUK is eight decimal digits. In the hex text of hashes such a one turns up by chance: with 300 codes and 1 MB of text in one run
// of fourteen, which says nothing of the code. Digits that stand for themselves do not stand in the midst of hex.
const (
	// codeDigits is up to how many digits a needle is taken for such a code: one in 16^12 places is no chance any more.
	codeDigits = 11
	// hexRun is how long a text must be to be taken for hex: a key of 16 bytes, the shortest hash in any file.
	hexRun = 32
)

// isCode says whether a needle's raw bytes are few decimal digits.
func isCode(text []byte) bool {
	return len(text) <= codeDigits && !slices.ContainsFunc(text, func(b byte) bool { return b < '0' || b > '9' })
}

// dropChance takes out of the latest hits, all in r, the codes that stand in the midst of hex.
func (s *scan) dropChance(r io.ReaderAt, since int) (err error) {
	kept := s.hits[:since]
	for _, h := range s.hits[since:] {
		chance := false
		if h.code > 0 && err == nil {
			chance, err = inHex(r, h.Offset, h.code)
		}
		if !chance {
			kept = append(kept, h)
		}
	}
	s.hits = kept
	return err
}

// inHex says whether n digits at a place are part of hex text, which has letters beside them.
func inHex(r io.ReaderAt, at int64, n int) (bool, error) {
	from := max(0, at-hexRun)
	window := make([]byte, int(at-from)+n+hexRun)
	have, err := r.ReadAt(window, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading what stands beside a hit: %w", err)
	}
	window = window[:have]
	start, end := int(at-from), int(at-from)+n
	for _, letters := range []string{"af", "AF"} {
		hex := func(b byte) bool { return b >= '0' && b <= '9' || b >= letters[0] && b <= letters[1] }
		i, j, seen := start, end, false
		for ; i > 0 && hex(window[i-1]); i-- {
			seen = seen || window[i-1] > '9'
		}
		for ; j < len(window) && hex(window[j]); j++ {
			seen = seen || window[j] > '9'
		}
		if seen && j-i >= hexRun {
			return true, nil
		}
	}
	return false, nil
}
