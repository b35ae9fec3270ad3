package pcom

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso/script"
)

// nibble is a digit of a command or pattern.
type nibble struct {
	b   byte // upper-case hex digit, or X
	pos script.Pos
}

// command reads "bytes [answer] (status)" and writes it in the project's language.
func (im *importer) command(l []char) string {
	end := 0
	for end < len(l) && l[end].b != '[' && l[end].b != '(' {
		if l[end].b == 'W' && end+1 < len(l) && l[end+1].b == '(' {
			for end < len(l) && l[end].b != ')' {
				end++
			}
		}
		end = min(end+1, len(l))
	}
	sent, ok := im.digits(l[:end], false)
	im.answer = nil
	if !ok {
		return ""
	}
	pattern, hasPattern, rest, ok := im.bracketed(trim(l[end:]), '[', ']')
	if !ok {
		return ""
	}
	last := l[len(l)-1].pos
	status, hasStatus, rest, ok := im.bracketed(trim(rest), '(', ')')
	switch {
	case !ok:
		return ""
	case !hasStatus || len(status) != 4:
		im.bad(last, "end with one accepted status, for example (9000)", "a status of %d digits", len(status))
		return ""
	case len(trim(rest)) > 0:
		im.bad(trim(rest)[0].pos, "the status is the end of a command", "%q behind the status", string(rune(trim(rest)[0].b)))
		return ""
	}
	text, noLe := im.apdu(sent, l[0].pos)
	if text == "" {
		return ""
	}
	return im.finish(text, pattern, status, hasPattern, noLe)
}

// finish adds what is expected, and remembers the answer as far as it is known.
func (im *importer) finish(text string, pattern, status []nibble, hasPattern, noLe bool) string {
	open := bytes.ContainsRune(plain(status), 'X')
	if hasPattern {
		if len(pattern)%2 != 0 {
			im.bad(pattern[0].pos, "write whole bytes, two digits each", "expected data of %d digits", len(pattern))
			return ""
		}
		if open {
			im.bad(status[0].pos, "write the one status that brings the data", "expected data under an open status")
			return ""
		}
		text += " [" + string(plain(pattern)) + "]"
	}
	im.result.Commands++
	if !open && (hasPattern || noLe) && !bytes.ContainsRune(plain(pattern), 'X') {
		im.answer, _ = hex.DecodeString(string(plain(pattern)) + string(plain(status))) // digits, in pairs
	}
	return text + " (" + string(plain(status)) + ")"
}

func plain(digits []nibble) []byte {
	b := make([]byte, len(digits))
	for i, d := range digits {
		b[i] = d.b
	}
	return b
}

// bracketed reads a pattern in brackets at the beginning of l, if there is one.
func (im *importer) bracketed(l []char, open, end byte) (digits []nibble, found bool, rest []char, ok bool) {
	if len(l) == 0 || l[0].b != open {
		return nil, false, l, true
	}
	for i := range l {
		if l[i].b == end {
			digits, ok = im.digits(l[1:i], true)
			return digits, true, l[i+1:], ok
		}
	}
	im.bad(l[0].pos, "close it on the same line", "%q is not closed", string(rune(open)))
	return nil, false, nil, false
}

// digits reads hex; X where it may stand, W(pos;len) where it may not.
func (im *importer) digits(l []char, pattern bool) (digits []nibble, ok bool) {
	for i := 0; i < len(l); i++ {
		c := l[i]
		upper := bytes.ToUpper([]byte{c.b})[0]
		switch {
		case c.b == ' ' || c.b == '\t':
		case upper >= '0' && upper <= '9' || upper >= 'A' && upper <= 'F' || upper == 'X' && pattern:
			digits = append(digits, nibble{upper, c.pos})
		case c.b == 'W' && !pattern:
			end := i
			for end < len(l) && l[end].b != ')' {
				end++
			}
			taken := im.answered(l[i:min(end+1, len(l))], 'W')
			if taken == nil {
				return nil, false
			}
			for _, t := range taken {
				digits = append(digits, nibble(t))
			}
			i = end
		default:
			im.bad(c.pos, "commands are hex digits, definitions and W(pos;len); patterns hex digits and X", "unexpected character %q", string(rune(c.b)))
			return nil, false
		}
	}
	return digits, true
}

// answered fills in W(pos;len) or R(pos;len), which take bytes out of the last answer. Only an answer that the file itself
// says in full can be filled in: another would decide what is sent.
func (im *importer) answered(l []char, which byte) []char {
	var text []byte
	for _, c := range l {
		if c.b != ' ' && c.b != '\t' {
			text = append(text, c.b)
		}
	}
	pos, count, ok := place(string(text[1:]))
	first := im.options.FirstByte
	switch {
	case !ok:
		im.bad(l[0].pos, "write "+string(rune(which))+"(pos;len)", "%q", text)
	case first != 0 && first != 1:
		im.bad(l[0].pos, "say whether answers count from byte 0 or 1: readers differ", "%s is without a first byte", text)
	case im.answer == nil:
		im.bad(l[0].pos, "write what the answer is; or take it out of a probe, as {label[4+3]} in a later act", "%s takes an answer that only the chip knows", text)
	case pos < first || pos-first+count > len(im.answer):
		im.bad(l[0].pos, "count again, the status word is the end of the answer", "%s is outside the answer of %d bytes", text, len(im.answer))
	default:
		var out []char
		for _, b := range []byte(strings.ToUpper(hex.EncodeToString(im.answer[pos-first : pos-first+count]))) {
			out = append(out, char{b, l[0].pos})
		}
		return out
	}
	return nil
}

// place reads "(pos;len)".
func place(text string) (pos, count int, ok bool) {
	inner, opened := strings.CutPrefix(text, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	from, n, both := strings.Cut(inner, ";")
	pos, err := strconv.Atoi(from)
	count, err2 := strconv.Atoi(n)
	const most = 258 // an answer and its status
	return pos, count, opened && closed && both && err == nil && err2 == nil && pos >= 0 && pos <= most && count >= 1 && count <= most
}

// apdu writes a command: four bytes of header, Lc and data, or Le. noLe says that the chip was asked for nothing.
func (im *importer) apdu(sent []nibble, at script.Pos) (text string, noLe bool) {
	const header, most = 4, 4 + 1 + 255 + 1
	n := len(sent) / 2
	if len(sent)%2 != 0 || n < header || n > most {
		im.bad(at, "write CLA INS P1 P2 and P3, two digits each", "a command of %d digits", len(sent))
		return "", false
	}
	b, _ := hex.DecodeString(string(plain(sent))) // digits, in pairs
	text = fmt.Sprintf("%X", b[:header])
	if n == header {
		return text, true
	}
	lc, rest := int(b[header]), b[header+1:]
	switch {
	case len(rest) == 0:
		return text + fmt.Sprintf("%02X", lc), false
	case lc == 0 || len(rest) != lc && len(rest) != lc+1:
		im.bad(sent[2*header].pos, "count the data; one byte more would be Le", "P3 says %d bytes, %d follow", lc, len(rest))
		return "", false
	}
	text += fmt.Sprintf(" <%X>", rest[:lc])
	if len(rest) == lc {
		return text, true
	}
	return text + fmt.Sprintf(" %02X", rest[lc]), false
}
