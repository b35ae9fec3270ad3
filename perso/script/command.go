package script

import (
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso/apdu"
)

// command reads "[label:] header [<data>] [Le] [[answer]] (status) [=> purpose]" or "[label:] .STORE …".
func (c *compiler) command(cur *cursor) *Fault {
	st := Step{Le: apdu.NoLe, Secure: c.secure && c.phase != PhaseIdentify, pos: cur.peek().pos}
	if c.phase == "" {
		c.stopped = true
		return faultAt(st.pos, "begin with .SCRIPT, .CHANNEL and .PHASE identify", "command before the first .PHASE").of(RulePhase)
	}
	if len(cur.line) > 1 && cur.line[1].kind == kindColon {
		label := cur.take()
		cur.take()
		if !labelForm.MatchString(label.text) {
			return faultAt(label.pos, "labels are a-z, 0-9, dot and hyphen, and begin with a letter", "label %s", label)
		}
		st.Label = label.text
	}
	st.Label = c.label(st.Label)
	if t := cur.peek(); t.kind == kindWord && commandDirective(t.text) {
		return c.expand(cur, st)
	}
	if fault := c.header(cur, &st); fault != nil {
		return fault
	}
	if _, found := cur.accept(kindLeft); found {
		pattern, fault := c.pattern(cur)
		if fault != nil {
			return fault
		}
		st.Data = &pattern
	}
	if fault := status(cur, &st); fault != nil {
		return fault
	}
	if fault := purpose(cur, &st); fault != nil {
		return fault
	}
	c.add(st)
	return nil
}

// label is the written one, or the section or phase and a number.
func (c *compiler) label(written string) string {
	base := c.section.Name
	if base == "" {
		base = string(c.phase)
	}
	c.counts[base]++
	if written != "" {
		return written
	}
	return fmt.Sprintf("%s#%d", base, c.counts[base])
}

// header reads CLA INS P1 P2, the data and Le.
func (c *compiler) header(cur *cursor, st *Step) *Fault {
	const hint = "write CLA INS P1 P2 <data> Le, for example 80E28800 <0070 <DF20 00>> 00"
	var head []byte
	start := cur.peek()
	for cur.peek().kind == kindWord {
		value, care, fault := parseHex(cur.peek())
		if fault != nil {
			return fault
		}
		if care != nil {
			return faultAt(cur.peek().pos, "X stands for any nibble of an answer", "X in a command header")
		}
		head = append(head, value...)
		cur.take()
	}
	open, hasData := cur.accept(kindOpen)
	if len(head) < 4 || len(head) > 5 || hasData && len(head) != 4 {
		return faultAt(start.pos, hint, "a header of %d bytes", len(head))
	}
	copy(st.Header[:], head)
	if len(head) == 5 {
		st.Le = le(head[4])
	}
	if !hasData {
		return nil
	}
	body, fault := c.contentOf(cur, open, MaxStoreBytes)
	if fault != nil {
		return fault
	}
	st.Body = body
	t, hasLe := cur.accept(kindWord)
	if !hasLe {
		return nil
	}
	value, care, fault := parseHex(t)
	if fault != nil || len(value) != 1 || care != nil {
		return faultAt(t.pos, "after the data comes Le, one byte", "%s where Le was expected", t)
	}
	st.Le = le(value[0])
	return nil
}

func le(b byte) int {
	if b == 0 {
		return apdu.MaxLe
	}
	return int(b)
}

// contentOf reads the rest of an outermost <…>, whose length is Lc.
func (c *compiler) contentOf(cur *cursor, open token, limit int) ([]Segment, *Fault) {
	e := &expression{c: c, limit: limit}
	if fault := e.parse(cur, kindClose, 0); fault != nil {
		return nil, fault
	}
	if c.made += e.size; c.made > maxMadeBytes {
		c.stopped = true
		return nil, faultAt(open.pos, "split the product", "more than %d bytes in all commands and definitions", maxMadeBytes).of(RuleLimit)
	}
	if e.size == 0 {
		return nil, faultAt(open.pos, "leave the brackets out, or write data", "empty command data")
	}
	return e.segments, nil
}

func status(cur *cursor, st *Step) *Fault {
	t, fault := cur.expect(kindMask, "end with the accepted status, for example (9000)")
	if fault != nil {
		return fault
	}
	mask, err := apdu.ParseMask(strings.ReplaceAll(t.text, " ", ""))
	if err != nil {
		return faultAt(t.pos, "write four nibbles, X for any, | between, for example (9000|61XX)", "status mask %s", t)
	}
	st.SW = mask
	return nil
}

const purposes = "chip, probe, ecka, auts, reopen, readback"

func purpose(cur *cursor, st *Step) *Fault {
	if _, found := cur.accept(kindArrow); found {
		t, fault := cur.expect(kindWord, "the purposes are "+purposes)
		if fault != nil {
			return fault
		}
		st.Purpose = Purpose(t.text)
		if st.Purpose.unknown() {
			return faultAt(t.pos, "the purposes are "+purposes, "unknown purpose %s", t)
		}
	}
	if t := cur.peek(); t.kind != kindEnd {
		return faultAt(t.pos, "one command per line", "unexpected %s after the command", t)
	}
	return nil
}

func (p Purpose) unknown() bool {
	switch p {
	case PurposeNone, PurposeChip, PurposeProbe, PurposeECKA, PurposeAUTS, PurposeReopen, PurposeReadback:
		return false
	}
	return true
}

// cut splits segments after limit bytes, dividing a literal or a variable where it must.
func cut(segments []Segment, limit int) (head, tail []Segment) {
	room := limit
	for i, g := range segments {
		n := g.size()
		if n <= room {
			room -= n
			continue
		}
		head = append(head, segments[:i]...)
		first, rest := g.split(room)
		if room > 0 {
			head = append(head, first)
		}
		return head, append([]Segment{rest}, segments[i+1:]...)
	}
	return segments, nil
}

func (g Segment) split(at int) (first, rest Segment) {
	first, rest = g, g
	if g.Var == nil {
		first.Bytes, rest.Bytes = g.Bytes[:at:at], g.Bytes[at:]
		return first, rest
	}
	a, b := *g.Var, *g.Var
	a.To = a.From + at
	b.From = a.To
	first.Var, rest.Var = &a, &b
	return first, rest
}

// add puts the step where the script stands.
func (c *compiler) add(st Step) {
	if c.phase == PhaseIdentify {
		c.out.Identify = append(c.out.Identify, st)
		return
	}
	c.section.Steps = append(c.section.Steps, st)
}
