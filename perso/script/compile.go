package script

import (
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Compile reads a script that stands by itself: it may include nothing. Its error is Faults: everything wrong with the
// text, or, when the text reads well, everything that breaks a rule.
func Compile(src []byte, vars Catalogue) (*Script, error) {
	c := newCompiler(nil, vars)
	return c.compile(func() { c.text("", src) })
}

// CompileFile reads a script of a folder, with all that it includes from there. Errors are those of Compile, or say that
// the script itself cannot be read.
func CompileFile(folder fs.FS, name string, vars Catalogue) (*Script, error) {
	src, err := fs.ReadFile(folder, name)
	if err != nil {
		return nil, fmt.Errorf("reading script %q: %w", name, err)
	}
	c := newCompiler(folder, vars)
	c.stack = []string{name}
	return c.compile(func() { c.text("", src) })
}

func newCompiler(folder fs.FS, vars Catalogue) *compiler {
	c := &compiler{folder: folder, vars: maps.Clone(vars), out: &Script{}, counts: map[string]int{}, defined: map[string][]Segment{}, declared: map[string]*declaration{}}
	if c.vars == nil {
		c.vars = Catalogue{}
	}
	return c
}

func (c *compiler) compile(read func()) (*Script, error) {
	c.checkCatalogue()
	read()
	c.endSection()
	c.endAct()
	if len(c.faults) == 0 {
		c.faults = c.out.faults()
	}
	if len(c.faults) > 0 {
		return nil, c.faults.sorted()
	}
	c.out.prepare()
	if n := len(c.out.Encode()); n > MaxEncodedBytes {
		return nil, Faults{*faultAt(top(), "split the product", "compiled to %d bytes, limit %d", n, MaxEncodedBytes).of(RuleLimit)}
	}
	return c.out, nil
}

// compiler is the state between two lines: where the next command goes.
type compiler struct {
	folder   fs.FS // nil: nothing can be included
	stack    []string
	read     int // bytes
	made     int // bytes that commands and definitions came to
	included int

	vars     Catalogue
	with     []withLines          // open .WITH, outermost first
	defined  map[string][]Segment // by .DEFINE
	declared map[string]*declaration

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
		if !v.valid(name) {
			c.report(faultAt(top(), varHint, "the catalogue's variable %q of %d bytes", name, v.Len))
		}
	}
}

func (c *compiler) line(cur *cursor) *Fault {
	first := cur.peek()
	if first.text == directiveWith || first.text == directiveEnd {
		return c.withLine(cur)
	}
	if slices.ContainsFunc(c.with, func(w withLines) bool { return !w.holds }) {
		return nil
	}
	if first.kind == kindWord && strings.HasPrefix(first.text, ".") && !commandDirective(first.text) {
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
	directiveStore   = ".STORE"
	directiveLoad    = ".LOAD"
	directivePower   = ".POWER"
	directiveInclude = ".INCLUDE"

	directiveSCP03t = ".SCP03T"
	directiveWith   = ".WITH"
	directiveEnd    = ".END"

	directives = ".SCRIPT .INCLUDE .WITH .END .DEFINE .VAR .CHANNEL .PHASE .SECTION .ACT .PLAIN .SECURE .STORE .LOAD .SCP03T .POWER"
)

// commandDirective says that a directive stands for commands, and may have a label.
func commandDirective(text string) bool {
	return text == directiveStore || text == directiveLoad || text == directiveSCP03t || text == directivePower
}

func (c *compiler) directive(t token, cur *cursor) *Fault {
	if c.out.Name == "" && t.text != ".SCRIPT" && t.text != directiveInclude {
		c.stopped = true
		return faultAt(t.pos, "begin with .SCRIPT name version", "%s before .SCRIPT", t.text)
	}
	switch t.text {
	case ".SCRIPT":
		return c.frame(c.scriptLine(t, cur))
	case directiveInclude:
		return c.includeLine(t, cur)
	case ".DEFINE":
		return c.defineLine(cur)
	case ".VAR":
		return c.varLine(cur)
	case ".CHANNEL":
		return c.frame(c.channelLine(t, cur))
	case ".PHASE":
		return c.frame(c.phaseLine(t, cur))
	case ".SECTION":
		return c.sectionLine(t, cur)
	case ".ACT":
		if c.phase.order() < PhaseWrite.order() {
			return faultAt(t.pos, "acts begin in the phases write, verify and close", ".ACT in phase %q", c.phase).of(RulePhase)
		}
		c.endSection()
		c.endAct()
		c.began, c.section = t.pos, Section{Phase: c.phase, pos: t.pos}
		return nil
	case ".PLAIN", ".SECURE":
		if c.phase.order() < PhaseOpen.order() {
			return faultAt(t.pos, "the channel opens before the phase open", "%s in phase %q", t.text, c.phase).of(RulePhase)
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
	case len(c.out.Channels) == 0:
		return faultAt(t.pos, "write .CHANNEL SCP03 LEVEL=33 first", ".PHASE before .CHANNEL")
	case next.order() <= before.order(), before.order() < 2 && next.order() != before.order()+1:
		return faultAt(name.pos, hint, "phase %q after %s", next, before.orNothing()).of(RulePhase)
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

const sectionHint = "write .SECTION name REDO=safe|delete-first|never [WHEN=name] [DONE=label[data]], or .SECTION name CONTINUES=section"

func (c *compiler) sectionLine(t token, cur *cursor) *Fault {
	if c.phase != PhaseWrite && c.phase != PhaseOpen && c.phase != PhaseClose {
		return faultAt(t.pos, "sections belong to the phase write, one to the end of the phase open, and what the vault decides to the phase close", ".SECTION in phase %q", c.phase).of(RulePhase)
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
	if c.section.Continues != "" {
		return c.continues(t)
	}
	if c.section.Redo == RedoAlways {
		return faultAt(t.pos, sectionHint, "section %q without REDO", name.text).of(RuleRedo)
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
	case key.text == "CONTINUES" && c.section.Continues == "":
		c.section.Continues = value.text
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
	e := &expression{c: c, wildcard: true, limit: MaxPatternBytes}
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
	if len(c.act) == 0 && c.phase.order() >= PhaseWrite.order() && !c.stopped {
		c.report(faultAt(c.began, "write its commands or remove it", "an act without commands").of(RuleLimit))
	}
	if c.phase.order() >= PhaseOpen.order() {
		c.out.Acts = append(c.out.Acts, c.act)
	}
	c.act = nil
}

// beginAct begins another act, unless the one in work is still empty.
func (c *compiler) beginAct(pos Pos) {
	if len(c.act) > 0 || c.section.Name != "" || len(c.section.Steps) > 0 {
		c.endSection()
		c.endAct()
		c.began, c.section = pos, Section{Phase: c.phase, pos: pos}
	}
}

// labelForm is a written label, a section name, a condition name or a script name.
var labelForm = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
