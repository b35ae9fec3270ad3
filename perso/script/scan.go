package script

import (
	"fmt"
	"regexp"
	"strings"
)

// kind is the sort of a token.
type kind string

const (
	kindWord     kind = "word"
	kindVariable kind = "variable"
	kindMask     kind = "status mask"
	kindFile     kind = "file"
	kindOpen     kind = "<"
	kindOpenDGI  kind = "<d"
	kindClose    kind = ">"
	kindLeft     kind = "["
	kindRight    kind = "]"
	kindArrow    kind = "=>"
	kindEquals   kind = "="
	kindColon    kind = ":"
	kindAnd      kind = "&"
	kindOr       kind = "|"
	kindEnd      kind = "end of line"
)

// token is one piece of a line. text is the word, or what the brackets of a variable or mask hold.
type token struct {
	kind kind
	text string
	pos  Pos
}

// line is one logical line: continuation lines are joined, comments and blanks are gone.
type line []token

// scan cuts a source text into its lines that are not empty. A line with a fault is reported and left out.
func scan(file, src string, report func(*Fault)) []line {
	var lines []line
	var current line
	n, broken := 0, false
	for text := range strings.SplitSeq(src, "\n") {
		n++
		text, _, _ = strings.Cut(text, ";")
		text = strings.TrimRight(text, " \t\r")
		text, continues := strings.CutSuffix(text, `\`)
		var fault *Fault
		if current, fault = scanTokens(current, text, Pos{File: file, Line: n}); fault != nil {
			report(fault)
			broken = true
		}
		if continues {
			continue
		}
		if len(current) > 0 && !broken {
			lines = append(lines, current)
		}
		current, broken = nil, false
	}
	if len(current) > 0 {
		report(faultAt(current[len(current)-1].pos, "remove the last backslash", "the file ends in a continuation"))
	}
	return lines
}

// scanTokens appends the tokens of a line.
func scanTokens(to line, text string, at Pos) (line, *Fault) {
	for i := 0; i < len(text); {
		if text[i] == ' ' || text[i] == '\t' {
			i++
			continue
		}
		tok, width := scanToken(text[i:])
		tok.pos = Pos{File: at.File, Line: at.Line, Col: i + 1}
		if width == 0 {
			return to, badCharacter(text[i:], tok.pos)
		}
		to = append(to, tok)
		i += width
	}
	return to, nil
}

// scanToken reads the token at the start of s; width 0 means that there is none.
func scanToken(s string) (tok token, width int) {
	switch c := s[0]; c {
	case '{':
		return scanBracketed(s, kindVariable, "}")
	case '(':
		return scanBracketed(s, kindMask, ")")
	case '@':
		for width = 1; width < len(s) && wordByte(s[width]); width++ {
		}
		if width == 1 {
			return token{}, 0
		}
		width += len(partForm.FindString(s[width:]))
		return token{kind: kindFile, text: s[1:width]}, width
	case '>', '[', ']', ':', '&', '|':
		return token{kind: kind(s[:1])}, 1
	case '=':
		if strings.HasPrefix(s, "=>") {
			return token{kind: kindArrow}, 2
		}
		return token{kind: kindEquals}, 1
	case '<':
		if len(s) > 1 && s[1] == 'd' && (len(s) == 2 || !wordByte(s[2])) {
			return token{kind: kindOpenDGI}, 2
		}
		return token{kind: kindOpen}, 1
	}
	for width < len(s) && wordByte(s[width]) {
		width++
	}
	return token{kind: kindWord, text: s[:width]}, width
}

// partForm is the part of a file that is meant: [from+count], or [from+] to its end.
var partForm = regexp.MustCompile(`^\[([0-9]{1,6})\+([0-9]{0,6})\]`)

func scanBracketed(s string, k kind, end string) (token, int) {
	text, _, found := strings.Cut(s[1:], end)
	if !found {
		return token{}, 0
	}
	return token{kind: k, text: text}, len(text) + 2
}

func wordByte(c byte) bool {
	switch {
	case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		return true
	}
	return c == '.' || c == '-' || c == '_' || c == '*'
}

func badCharacter(s string, pos Pos) *Fault {
	if s[0] == '{' || s[0] == '(' {
		return faultAt(pos, "brackets close on the line on which they open", "%q is not closed", s[:1])
	}
	return faultAt(pos, "text belongs in a comment, after ;", "unexpected character %q", []rune(s)[0])
}

// cursor reads one line from left to right.
type cursor struct {
	line line
	next int
}

// peek is the next token; at the end, an end token placed where the line stops.
func (c *cursor) peek() token {
	if c.next < len(c.line) {
		return c.line[c.next]
	}
	last := c.line[len(c.line)-1]
	return token{kind: kindEnd, pos: last.pos}
}

func (c *cursor) take() token {
	t := c.peek()
	if t.kind != kindEnd {
		c.next++
	}
	return t
}

// accept takes the next token if it is of this kind.
func (c *cursor) accept(k kind) (token, bool) {
	if t := c.peek(); t.kind == k {
		return c.take(), true
	}
	return token{}, false
}

// expect takes the next token, which must be of this kind.
func (c *cursor) expect(k kind, hint string) (token, *Fault) {
	t := c.take()
	if t.kind != k {
		return t, faultAt(t.pos, hint, "%s where %s was expected", t, k)
	}
	return t, nil
}

// String names the token in a fault.
func (t token) String() string {
	switch t.kind {
	case kindWord, kindVariable, kindMask, kindFile:
		return fmt.Sprintf("%q", t.text)
	case kindEnd:
		return string(t.kind)
	}
	return fmt.Sprintf("%q", string(t.kind))
}
