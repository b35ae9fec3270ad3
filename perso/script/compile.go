package script

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Compile reads a script against a product's catalogue. Its error is Faults: everything wrong with the text, or, when
// the text reads well, everything that breaks a rule.
func Compile(src []byte, vars Catalogue) (*Script, error) {
	c := &compiler{vars: vars, out: &Script{}, counts: map[string]int{}}
	c.checkCatalogue()
	if len(src) > MaxSourceBytes {
		c.report(faultAt(Pos{1, 1}, "split the product", "source of %d bytes, limit %d", len(src), MaxSourceBytes))
		return nil, c.faults
	}
	for _, l := range scan(string(src), c.report) {
		if fault := c.line(&cursor{line: l}); fault != nil {
			c.report(fault)
		}
		if c.stopped {
			break
		}
	}
	c.endSection()
	c.endAct()
	if len(c.faults) == 0 {
		c.faults = c.out.faults()
	}
	if len(c.faults) > 0 {
		return nil, c.faults.sorted()
	}
	c.out.number()
	if n := len(c.out.Encode()); n > MaxEncodedBytes {
		return nil, Faults{{Pos: Pos{1, 1}, What: fmt.Sprintf("compiled to %d bytes, limit %d", n, MaxEncodedBytes), Hint: "split the product"}}
	}
	return c.out, nil
}

// compiler is the state between two lines: where the next command goes.
type compiler struct {
	vars    Catalogue
	faults  Faults
	out     *Script
	phase   Phase
	act     Act
	began   Pos // of the act
	section Section
	secure  bool
	stopped bool           // the frame is broken: what follows cannot be judged
	counts  map[string]int // steps per section or phase name, for automatic labels
}

func (c *compiler) report(f *Fault) { c.faults = append(c.faults, *f) }

func (c *compiler) checkCatalogue() {
	for name, v := range c.vars {
		if !variableName.MatchString(name) || len(name) > MaxNameChars || v.Len < 1 || v.Len > MaxVarBytes {
			c.report(faultAt(Pos{1, 1}, fmt.Sprintf("names are upper case, lengths 1 to %d", MaxVarBytes),
				"the catalogue's variable %q of %d bytes", name, v.Len))
		}
	}
}

func (c *compiler) line(cur *cursor) *Fault {
	first := cur.peek()
	if first.kind == kindWord && strings.HasPrefix(first.text, ".") && first.text != directiveStore {
		cur.take()
		if fault := c.directive(first, cur); fault != nil {
			return fault
		}
		if t := cur.peek(); t.kind != kindEnd {
			return faultAt(t.pos, "one directive per line", "unexpected %s after %s", t, first.text)
		}
		return nil
	}
	return c.command(cur)
}

const (
	directiveStore = ".STORE"
	directives     = ".SCRIPT .CHANNEL .PHASE .SECTION .ACT .PLAIN .SECURE .STORE"
)

func (c *compiler) directive(t token, cur *cursor) *Fault {
	if c.out.Name == "" && t.text != ".SCRIPT" {
		c.stopped = true
		return faultAt(t.pos, "begin with .SCRIPT name version", "%s before .SCRIPT", t.text)
	}
	switch t.text {
	case ".SCRIPT":
		return c.frame(c.scriptLine(t, cur))
	case ".CHANNEL":
		return c.frame(c.channelLine(t, cur))
	case ".PHASE":
		return c.frame(c.phaseLine(t, cur))
	case ".SECTION":
		return c.sectionLine(t, cur)
	case ".ACT":
		if c.phase.order() < PhaseWrite.order() {
			return faultAt(t.pos, "acts begin in the phases write, verify and close", ".ACT in phase %q", c.phase)
		}
		c.endSection()
		c.endAct()
		c.began, c.section = t.pos, Section{Phase: c.phase, pos: t.pos}
		return nil
	case ".PLAIN", ".SECURE":
		if c.phase.order() < PhaseOpen.order() {
			return faultAt(t.pos, "the channel opens before the phase open", "%s in phase %q", t.text, c.phase)
		}
		c.secure = t.text == ".SECURE"
		return nil
	}
	return faultAt(t.pos, "the directives are "+directives, "unknown directive %q", t.text)
}

// frame stops the compiler at a fault in what the rest stands on, which would only bring faults that are none.
func (c *compiler) frame(fault *Fault) *Fault {
	c.stopped = fault != nil
	return fault
}

func (c *compiler) scriptLine(t token, cur *cursor) *Fault {
	if c.out.Name != "" {
		return faultAt(t.pos, "one script per file", "second .SCRIPT")
	}
	name, fault := cur.expect(kindWord, "write .SCRIPT name version")
	if fault != nil {
		return fault
	}
	version, fault := cur.expect(kindWord, "write .SCRIPT name version")
	if fault != nil {
		return fault
	}
	n, err := strconv.ParseUint(version.text, 10, 16)
	if err != nil || n == 0 {
		return faultAt(version.pos, "versions are 1 to 65535", "version %q", version.text)
	}
	c.out.Name, c.out.Version = name.text, uint16(n)
	return nil
}

func (c *compiler) channelLine(t token, cur *cursor) *Fault {
	const hint = "write .CHANNEL SCP03 LEVEL=33, and MODE=S16 for 16-byte MACs"
	if c.out.Level != 0 || c.phase != "" {
		return faultAt(t.pos, "one .CHANNEL, before the first .PHASE", "misplaced .CHANNEL")
	}
	if protocol, fault := cur.expect(kindWord, hint); fault != nil || protocol.text != "SCP03" {
		return faultAt(protocol.pos, hint, "channel %s", protocol)
	}
	for {
		key, value, fault := setting(cur, hint)
		if fault != nil {
			return fault
		}
		switch level, err := strconv.ParseUint(value.text, 16, 8); {
		case key.kind == kindEnd && c.out.Level == 0:
			return faultAt(key.pos, hint, "no LEVEL")
		case key.kind == kindEnd:
			return nil
		case key.text == "LEVEL" && err == nil && validLevel(byte(level)):
			c.out.Level = byte(level)
		case key.text == "MODE" && (value.text == "S8" || value.text == "S16"):
			c.out.S16 = value.text == "S16"
		default:
			return faultAt(key.pos, hint, "%s=%s", key.text, value.text)
		}
	}
}

// setting reads one KEY=word; at the end of the line, key is the end.
func setting(cur *cursor, hint string) (key, value token, fault *Fault) {
	if key = cur.peek(); key.kind == kindEnd {
		return key, key, nil
	}
	if key, fault = cur.expect(kindWord, hint); fault != nil {
		return key, value, fault
	}
	if _, fault = cur.expect(kindEquals, hint); fault != nil {
		return key, value, fault
	}
	value, fault = cur.expect(kindWord, hint)
	return key, value, fault
}

func (c *compiler) phaseLine(t token, cur *cursor) *Fault {
	const hint = "the phases are identify, open, write, verify, close, in this order"
	name, fault := cur.expect(kindWord, hint)
	if fault != nil {
		return fault
	}
	next := Phase(name.text)
	switch before := c.phase; {
	case next.order() < 0:
		return faultAt(name.pos, hint, "unknown phase %q", name.text)
	case c.out.Level == 0:
		return faultAt(t.pos, "write .CHANNEL SCP03 LEVEL=33 first", ".PHASE before .CHANNEL")
	case next.order() <= before.order(), before.order() < 2 && next.order() != before.order()+1:
		return faultAt(name.pos, hint, "phase %q after %s", next, before.orNothing())
	}
	c.endSection()
	if next == PhaseWrite {
		c.endAct()
		c.began = t.pos
	}
	c.phase = next
	c.section = Section{Phase: next, pos: t.pos}
	if next == PhaseOpen {
		c.secure = true
	}
	return nil
}

func (p Phase) orNothing() string {
	if p == "" {
		return "nothing"
	}
	return fmt.Sprintf("%q", string(p))
}

const sectionHint = "write .SECTION name REDO=safe|delete-first|never [WHEN=name] [DONE=label[data]]"

func (c *compiler) sectionLine(t token, cur *cursor) *Fault {
	if c.phase != PhaseWrite && c.phase != PhaseOpen {
		return faultAt(t.pos, "sections belong to the phase write, and one to the end of the phase open", ".SECTION in phase %q", c.phase)
	}
	name, fault := cur.expect(kindWord, sectionHint)
	if fault != nil {
		return fault
	}
	c.endSection()
	c.section = Section{Name: name.text, Phase: c.phase, pos: t.pos}
	for cur.peek().kind != kindEnd {
		if fault := c.sectionSetting(cur); fault != nil {
			return fault
		}
	}
	if c.section.Redo == RedoAlways {
		return faultAt(t.pos, sectionHint, "section %q without REDO", name.text)
	}
	return nil
}

func (c *compiler) sectionSetting(cur *cursor) *Fault {
	key, fault := cur.expect(kindWord, sectionHint)
	if fault != nil {
		return fault
	}
	if _, fault = cur.expect(kindEquals, sectionHint); fault != nil {
		return fault
	}
	if key.text == "DONE" && c.section.Done == nil {
		return c.done(cur)
	}
	value, fault := cur.expect(kindWord, sectionHint)
	if fault != nil {
		return fault
	}
	switch redo := Redo(value.text); {
	case key.text == "REDO" && c.section.Redo == "" && (redo == RedoSafe || redo == RedoDeleteFirst || redo == RedoNever):
		c.section.Redo = redo
	case key.text == "WHEN" && c.section.When == "":
		c.section.When = value.text
	default:
		return faultAt(key.pos, sectionHint, "setting %s=%s", key.text, value.text)
	}
	return nil
}

// done reads label[data] & label[data] | label[data] …, where & binds closer.
func (c *compiler) done(cur *cursor) *Fault {
	for {
		var all AllOf
		for {
			condition, fault := c.condition(cur)
			if fault != nil {
				return fault
			}
			all = append(all, condition)
			if _, more := cur.accept(kindAnd); !more {
				break
			}
		}
		c.section.Done = append(c.section.Done, all)
		if _, more := cur.accept(kindOr); !more {
			return nil
		}
	}
}

func (c *compiler) condition(cur *cursor) (Condition, *Fault) {
	probe, fault := cur.expect(kindWord, sectionHint)
	if fault != nil {
		return Condition{}, fault
	}
	if _, fault := cur.expect(kindLeft, sectionHint); fault != nil {
		return Condition{}, fault
	}
	pattern, fault := c.pattern(cur)
	return Condition{Probe: probe.text, Pattern: pattern, pos: probe.pos}, fault
}

// pattern reads the rest of […].
func (c *compiler) pattern(cur *cursor) (Pattern, *Fault) {
	e := &expression{vars: c.vars, report: c.report, wildcard: true, limit: MaxPatternBytes}
	fault := e.parse(cur, kindRight, 0)
	return e.segments, fault
}

// endSection moves the section in work to its act; an unnamed one without steps never existed.
func (c *compiler) endSection() {
	if c.section.Name != "" || len(c.section.Steps) > 0 {
		c.act = append(c.act, c.section)
	}
	c.section = Section{Phase: c.phase}
}

// endAct moves the act in work to the script. The open phase is act 0 even when it reads nothing.
func (c *compiler) endAct() {
	if len(c.act) == 0 && c.phase.order() >= PhaseWrite.order() {
		c.report(faultAt(c.began, "write its commands or remove it", "an act without commands"))
	}
	if c.phase.order() >= PhaseOpen.order() {
		c.out.Acts = append(c.out.Acts, c.act)
	}
	c.act = nil
}

// labelForm is a written label, a section name, a condition name or a script name.
var labelForm = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
