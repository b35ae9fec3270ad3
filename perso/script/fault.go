package script

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing wrong with a script, where, and what to do about it.
type Fault struct {
	Pos
	Rule Rule
	What string
	Hint string
}

// Error is "line:column: what (hint)", with the file before it when that is an included one.
func (f Fault) Error() string {
	if f.File != "" {
		return fmt.Sprintf("%s:%d:%d: %s (%s)", f.File, f.Line, f.Col, f.What, f.Hint)
	}
	return fmt.Sprintf("%d:%d: %s (%s)", f.Line, f.Col, f.What, f.Hint)
}

// of names the rule that is broken.
func (f *Fault) of(rule Rule) *Fault {
	f.Rule = rule
	return f
}

// Faults is every fault found, by position. It is what Compile returns as its error.
type Faults []Fault

// Error is one fault per line.
func (f Faults) Error() string {
	var b strings.Builder
	for i, fault := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(fault.Error())
	}
	return b.String()
}

// sorted orders by position and drops what is beyond MaxFaults.
func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if len(f) > MaxFaults {
		more := len(f) - MaxFaults
		f = append(f[:MaxFaults:MaxFaults], Fault{Pos: f[MaxFaults].Pos, Rule: RuleLimit, What: fmt.Sprintf("%d more faults", more), Hint: "repair the first ones"})
	}
	return f
}

// faultAt is a fault as an error, for the parser's early returns.
func faultAt(pos Pos, hint, format string, args ...any) *Fault {
	return &Fault{Pos: pos, Rule: RuleSyntax, Hint: hint, What: fmt.Sprintf(format, args...)}
}
