// Package form reads the JSON files that people fill in (orders, products, partners), strictly and with patience: it
// refuses what is not said exactly, but only after it has found every fault, so that a file comes back to its author
// once.
//
// A file is read in two steps. Read takes at most a given number of bytes and refuses what is not one JSON document
// (RFC 8259), a field that is given twice, and any number but a plain whole one. Then the caller asks for each field by
// name (Field, Int, Bool, List, Object) and says with Close that he knows no others; faults gather in the Doc, each with
// its field, its place, the reason, and a hint what to do.
//
// Canonical gives the form of RFC 8785 (JSON Canonicalization Scheme): the same content has the same bytes and so the
// same hash, whatever the layout and the order of its fields.
//
// perso/order with its packages, and perso/product, call this package. It imports the standard library only.
package form

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxFaults bounds the list: who has a hundred faults has sent the wrong file.
const MaxFaults = 100

// Fault is one thing wrong with a file.
type Fault struct {
	Field  string // path such as "imsi.first" or "op_keys[2]"; empty when the file as a whole is meant
	Reason string // what is wrong, with what was expected
	Hint   string // what its author can do; may be empty
	Line   int    // from 1; 0 when unknown
	Column int    // in characters, from 1; 0 when unknown
}

// String is one line: place, field, reason and hint.
func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", f.Line, f.Column)
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Reason)
	if f.Hint != "" {
		b.WriteString("; hint: " + f.Hint)
	}
	return b.String()
}

// FaultList is every fault of a file, in the order of their places. Its pointer is an error; Err makes it one.
type FaultList []Fault

// Error is one fault per line.
func (l *FaultList) Error() string {
	lines := make([]string, len(*l))
	for i, f := range *l {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Err is nil for an empty list, else a *FaultList.
func (l FaultList) Err() error {
	if len(l) == 0 {
		return nil
	}
	return &l
}

// Add appends a fault. Past MaxFaults it only notes, once, that there are more.
func (l *FaultList) Add(f Fault) {
	switch n := len(*l); {
	case n < MaxFaults:
		*l = append(*l, f)
	case n == MaxFaults:
		*l = append(*l, Fault{Reason: fmt.Sprintf("more than %d faults, the others are not listed", MaxFaults)})
	}
}

// sorted puts faults in the order of their places. Those without a place stay last, as they came.
func (l FaultList) sorted() FaultList {
	out := slices.Clone(l)
	slices.SortStableFunc(out, func(a, b Fault) int {
		switch {
		case (a.Line == 0) != (b.Line == 0):
			return b.Line - a.Line
		case a.Line != b.Line:
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return out
}

// refusal is an error with a hint for the author of the file.
type refusal struct{ reason, hint string }

func (r *refusal) Error() string { return r.reason }

// Refuse makes the error of a field's parser that has a hint to give.
func Refuse(hint, format string, args ...any) error {
	return &refusal{reason: fmt.Sprintf(format, args...), hint: hint}
}

// hintOf is the hint that a parser attached to its error, if any.
func hintOf(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.hint
	}
	return ""
}
