package script

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso/apdu"
)

// expression builds the content between brackets: hex words, variables and groups become segments with every length
// octet already written, because every variable has a constant length.
type expression struct {
	c        *compiler
	wildcard bool // X nibbles are allowed: this is a pattern
	limit    int  // bytes
	segments []Segment
	size     int
}

// parse reads items up to, and takes, the closing token.
func (e *expression) parse(c *cursor, closing kind, depth int) *Fault {
	opened := c.peek().pos
	for {
		t := c.take()
		var fault *Fault
		switch t.kind {
		case closing:
			return nil
		case kindWord:
			fault = e.word(t)
		case kindVariable:
			fault = e.variable(t)
		case kindFile:
			fault = e.file(t)
		case kindOpen, kindOpenDGI:
			fault = e.group(c, t, depth+1)
		default:
			fault = faultAt(t.pos, fmt.Sprintf("close the content with %q", string(closing)), "unexpected %s", t)
		}
		if fault != nil {
			return fault
		}
		if e.size > e.limit { // at once: names and files stand for much, and may stand often
			return faultAt(opened, "cut it into several commands", "more than the %d bytes that are possible", e.limit).of(RuleLimit)
		}
	}
}

// group reads an inner <…> and puts its length octets before it.
func (e *expression) group(c *cursor, open token, depth int) *Fault {
	if depth > MaxGroupDepth {
		return faultAt(open.pos, "write the outer lengths as hex", "groups nested more than %d deep", MaxGroupDepth)
	}
	inner := &expression{c: e.c, wildcard: e.wildcard, limit: e.limit}
	if fault := inner.parse(c, kindClose, depth); fault != nil {
		return fault
	}
	octets := lengthBER(inner.size)
	if open.kind == kindOpenDGI {
		octets = lengthDGI(inner.size)
	}
	e.literal(octets, nil, open.pos)
	for _, s := range inner.segments {
		if s.Var == nil {
			e.literal(s.Bytes, s.Care, s.pos)
			continue
		}
		e.segments, e.size = append(e.segments, s), e.size+s.size()
	}
	return nil
}

// literal appends bytes, joining them to a literal of the same sort before them.
func (e *expression) literal(value, care []byte, pos Pos) {
	e.size += len(value)
	if n := len(e.segments); n > 0 {
		last := &e.segments[n-1]
		if last.Var == nil && (last.Care == nil) == (care == nil) {
			last.Bytes = append(last.Bytes, value...)
			if care != nil {
				last.Care = append(last.Care, care...)
			}
			return
		}
	}
	e.segments = append(e.segments, Segment{Bytes: value, Care: care, pos: pos})
}

// word reads whole bytes in hex, X for any nibble, "*n" to repeat.
func (e *expression) word(t token) *Fault {
	value, care, fault := parseHex(t)
	if fault != nil {
		return fault
	}
	if care != nil && !e.wildcard {
		return faultAt(t.pos, "X stands for any nibble of an answer", "X in data to be sent")
	}
	e.literal(value, care, t.pos)
	return nil
}

var (
	answerForm   = regexp.MustCompile(`^([a-z][a-z0-9.-]*)\[([0-9]{1,3})\+([0-9]{1,3})\]$`)
	variableForm = regexp.MustCompile(`^(?:([a-z]+):)?([A-Z][A-Z0-9]*(?:\.[A-Z0-9]+)*)$`)
	variableName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(\.[A-Z0-9]+)*$`)
)

// variable resolves a reference. A wrong one is reported but does not end the line, so that all are seen; a byte stands
// in for it.
func (e *expression) variable(t token) *Fault {
	if m := answerForm.FindStringSubmatch(t.text); m != nil {
		return e.answer(t, m)
	}
	m := variableForm.FindStringSubmatch(t.text)
	if m == nil {
		return faultAt(t.pos, "write {NAME}, {dek:NAME}, {kcv:NAME}, {secret:NAME} or {label[4+3]}", "%q is no variable", t.text)
	}
	e.c.used(m[2])
	if segments, found := e.c.defined[m[2]]; found && m[1] == "" {
		e.insert(segments, t.pos)
		return nil
	}
	form := Form(m[1])
	if form == "" {
		form = Public
	}
	v, known := e.c.vars[m[2]]
	if !known {
		e.c.report(faultAt(t.pos, "declare it with .VAR or .DEFINE, or correct the name", "unknown variable %q", m[2]))
		e.literal([]byte{0}, nil, t.pos)
		return nil
	}
	length, fault := v.in(form, t.pos)
	if fault != nil {
		e.c.report(fault)
		e.literal([]byte{0}, nil, t.pos)
		return nil
	}
	ref := &Ref{Name: m[2], Form: form, Size: length, To: length}
	e.segments = append(e.segments, Segment{Var: ref, pos: t.pos})
	e.size += length
	return nil
}

// answer resolves {label[from+count]}. That the label is a probe of an earlier act is a rule of the whole script.
func (e *expression) answer(t token, m []string) *Fault {
	at, err := strconv.Atoi(m[2])
	count, err2 := strconv.Atoi(m[3])
	if err != nil || err2 != nil || count < 1 || at+count > apdu.MaxLe {
		return faultAt(t.pos, fmt.Sprintf("bytes count from 0, and an answer has at most %d", apdu.MaxLe), "%q is outside any answer", t.text)
	}
	ref := &Ref{Name: m[1], Form: Answer, At: at, Size: count, To: count}
	e.segments = append(e.segments, Segment{Var: ref, pos: t.pos})
	e.size += count
	return nil
}

// insert appends what .DEFINE kept, as if it stood here.
func (e *expression) insert(segments []Segment, pos Pos) {
	for _, s := range segments {
		if s.Var == nil {
			e.literal(bytes.Clone(s.Bytes), nil, pos)
			continue
		}
		ref := *s.Var
		e.segments, e.size = append(e.segments, Segment{Var: &ref, pos: pos}), e.size+s.size()
	}
}

// file appends what a file of the script's folder holds.
func (e *expression) file(t token) *Fault {
	content, fault := e.c.content(t.text, t.pos, e.limit)
	if fault == nil {
		e.literal(content, nil, t.pos)
	}
	return fault
}

// in is the length of the variable in this form, if it may take it.
func (v Var) in(form Form, pos Pos) (length int, fault *Fault) {
	switch form {
	case Public:
		if v.Package {
			return 0, faultAt(pos, "send it with "+directiveSCP03t+" LOAD", "a profile package as a variable").of(RuleSecret)
		}
		if v.Secret {
			return 0, faultAt(pos, "write {dek:…}, {kcv:…} or {secret:…}", "a secret variable used in the open").of(RuleSecret)
		}
		return v.Len, nil
	case DEK, KCV, Secret:
	default:
		return 0, faultAt(pos, "the forms are dek, kcv and secret", "unknown form %q", string(form))
	}
	if v.Package {
		return 0, faultAt(pos, "send it with "+directiveSCP03t+" LOAD", "form %q of a profile package", string(form)).of(RuleSecret)
	}
	if !v.Secret {
		return 0, faultAt(pos, "write the name alone", "form %q of a variable that is no secret", string(form))
	}
	if form == KCV {
		return kcvBytes, nil
	}
	if form == DEK && v.Len%aesBlockBytes != 0 {
		return 0, faultAt(pos, "only whole 16-byte blocks go under the DEK", "variable of %d bytes under the DEK", v.Len)
	}
	return v.Len, nil
}

// parseHex reads a word such as 9F7F, 0X or XX*64. care is nil if there is no X.
func parseHex(t token) (value, care []byte, fault *Fault) {
	digits, count, repeated := strings.Cut(strings.ToUpper(t.text), "*")
	times := 1
	if repeated {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > MaxPatternBytes {
			return nil, nil, faultAt(t.pos, fmt.Sprintf("write 1 to %d after *", MaxPatternBytes), "repetition %q", t.text)
		}
		times = n
	}
	if len(digits)%2 != 0 || digits == "" {
		return nil, nil, faultAt(t.pos, "write whole bytes, two digits each", "%q is not whole bytes", t.text)
	}
	value, err := hex.DecodeString(strings.ReplaceAll(digits, "X", "0"))
	if err != nil {
		return nil, nil, faultAt(t.pos, "data is hex digits, {variables} and <groups>", "%q is not hex", t.text)
	}
	if strings.Contains(digits, "X") {
		care = make([]byte, len(value))
		for i := range len(digits) {
			if digits[i] != 'X' {
				care[i/2] |= 0xF0 >> (4 * (i % 2))
			}
		}
		care = bytes.Repeat(care, times)
	}
	return bytes.Repeat(value, times), care, nil
}

// lengthBER is the shortest length of ISO/IEC 7816-4 §5.2.2.2.
func lengthBER(n int) []byte {
	switch {
	case n < 0x80:
		return []byte{byte(n)}
	case n <= 0xFF:
		return []byte{0x81, byte(n)}
	}
	return []byte{0x82, byte(n >> 8), byte(n)}
}

// lengthDGI is the length of a data grouping: one byte to FE, else FF and two (EMV Card Personalization 2.0 §2.2).
func lengthDGI(n int) []byte {
	if n <= 0xFE {
		return []byte{byte(n)}
	}
	return []byte{0xFF, byte(n >> 8), byte(n)}
}
