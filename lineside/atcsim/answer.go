package atcsim

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// CMEError is a final result +CME ERROR (3GPP TS 27.007 §9.2).
type CMEError struct {
	Code int
}

// meanings are those codes that a person can act on.
func meanings() map[int]string {
	return map[int]string{
		0: "phone failure", 3: "operation not allowed", 4: "operation not supported", 10: "SIM not inserted", 11: "SIM PIN required",
		12: "SIM PUK required", 13: "SIM failure", 14: "SIM busy", 15: "SIM wrong", 16: "incorrect password", 17: "SIM PIN2 required",
		18: "SIM PUK2 required", 20: "memory full", 50: "incorrect parameters", 100: "unknown",
	}
}

func (e *CMEError) Error() string {
	text := meanings()[e.Code]
	if text == "" {
		text = "no meaning in 3GPP TS 27.007"
	}
	return fmt.Sprintf("+CME ERROR %d (%s)", e.Code, text)
}

// Unwrap is what the code means for the one who asked.
func (e *CMEError) Unwrap() error {
	switch e.Code {
	case 10, 13, 15:
		return ErrNoChip
	case 14:
		return ErrBusy
	}
	return ErrRefused
}

// final reads a final result code (V.250 §5.7): whether the line is one, and what it says went wrong.
func final(line string) (is bool, err error) {
	switch {
	case line == "OK":
		return true, nil
	case line == "ERROR", line == "NO CARRIER", line == "COMMAND NOT SUPPORT":
		return true, fmt.Errorf("%w: %s", ErrRefused, line)
	case strings.HasPrefix(line, "+CME ERROR:"):
		code, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "+CME ERROR:")))
		if err != nil {
			return true, fmt.Errorf("%w: %.80q", ErrRefused, line)
		}
		return true, &CMEError{code}
	case strings.HasPrefix(line, "+CMS ERROR:"):
		return true, fmt.Errorf("%w: %.80q", ErrRefused, line)
	}
	return false, nil
}

// csim reads `+CSIM: <length>,"<hex>"`; the quotes are left out by some. The length counts hex digits.
func csim(line string) ([]byte, error) {
	length, text, ok := strings.Cut(strings.TrimPrefix(line, "+CSIM:"), ",")
	n, err := strconv.Atoi(strings.TrimSpace(length))
	if !ok || err != nil {
		return nil, fmt.Errorf("reading %.80q: no length: %w", line, ErrModem)
	}
	text = strings.Trim(strings.TrimSpace(text), `"`)
	b, err := hex.DecodeString(text)
	if err != nil || n != len(text) || len(b) > maxAnswerBytes {
		return nil, fmt.Errorf("reading an answer of %d hex digits that says it has %d: %w", len(text), n, ErrModem)
	}
	return b, nil
}

var atrText = regexp.MustCompile(`\b3[BbFf](?:[0-9A-Fa-f]{2}){1,32}\b`)

// atr finds an ATR in what the modem's own command shows.
func atr(lines []string) ([]byte, error) {
	for _, l := range lines {
		if text := atrText.FindString(l); text != "" {
			return hex.DecodeString(text)
		}
	}
	return nil, fmt.Errorf("looking for an ATR in %d lines: there is none: %w", len(lines), ErrModem)
}
