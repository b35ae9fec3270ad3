package form

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Object is one object of a file while its fields are asked for. One that is absent asks for nothing more: its fields
// read as zero values without another fault.
type Object struct {
	doc   *Doc
	node  *node // nil when absent
	path  string
	asked []string
	draft bool // fields may be missing
}

// Top is the document's object.
func (d *Doc) Top() *Object { return &Object{doc: d, node: d.root} }

// AllowMissing says that from here on every field may be absent, in this object and in those it holds: a draft is checked
// as far as it goes.
func (o *Object) AllowMissing() { o.draft = true }

// Has reports whether a field is there, and so allows it to be.
func (o *Object) Has(name string) bool {
	return o.member(name) != nil
}

// IsText reports whether a field is there and is a text, for fields that are a text or an object.
func (o *Object) IsText(name string) bool {
	m := o.member(name)
	return m != nil && m.kind == isText
}

// Field takes a text that must be there and turns it into a value. The parser's error becomes a fault.
func Field[T any](o *Object, name string, parse func(string) (T, error)) T {
	var none T
	m := o.need(name, isText)
	if m == nil {
		return none
	}
	return parseNode(o.doc, m, parse)
}

// FieldOr is Field for a text that may be absent.
func FieldOr[T any](o *Object, name string, otherwise T, parse func(string) (T, error)) T {
	if !o.Has(name) {
		return otherwise
	}
	return Field(o, name, parse)
}

// List takes a list of different texts, at least one.
func List[T comparable](o *Object, name string, parse func(string) (T, error)) []T {
	m := o.need(name, isList)
	if m == nil {
		return nil
	}
	if len(m.items) == 0 {
		o.Fault(name, "the list is empty", "")
	}
	var out []T
	for _, item := range m.items {
		if item.kind != isText {
			o.doc.Fault(item.path, fmt.Sprintf("is %s, expected %s", item.kind, isText), "")
			continue
		}
		value := parseNode(o.doc, item, parse)
		if !o.doc.Faulty(item.path) && slices.Contains(out, value) {
			o.doc.Fault(item.path, fmt.Sprintf("%q is listed twice", item.text), "")
		}
		out = append(out, value)
	}
	return out
}

// Int takes a whole number from least to most.
func (o *Object) Int(name string, least, most uint64) uint64 {
	m := o.need(name, isNumber)
	if m == nil || o.doc.Faulty(m.path) {
		return 0
	}
	n, err := strconv.ParseUint(m.text, 10, 64)
	if err != nil || n < least || n > most {
		o.Fault(name, fmt.Sprintf("%s is not from %d to %d", m.text, least, most), "")
		return 0
	}
	return n
}

// Bool takes true or false.
func (o *Object) Bool(name string) bool {
	m := o.need(name, isBool)
	return m != nil && m.text == "true"
}

// Object takes an object that must be there.
func (o *Object) Object(name string) *Object {
	return &Object{doc: o.doc, node: o.need(name, isObject), path: join(o.path, name), draft: o.draft}
}

// Fault records a fault of one of the object's fields, or with an empty name of the object itself.
func (o *Object) Fault(name, reason, hint string) {
	path := o.path
	if name != "" {
		path = join(o.path, name)
	}
	o.doc.Fault(path, reason, hint)
}

// Faulty reports whether a fault is known of the field.
func (o *Object) Faulty(name string) bool { return o.doc.Faulty(join(o.path, name)) }

// Close refuses every field that nobody asked for.
func (o *Object) Close() {
	if o.node == nil {
		return
	}
	for name, m := range o.node.members {
		if slices.Contains(o.asked, name) {
			continue
		}
		hint := "fields here: " + strings.Join(o.asked, ", ")
		if near, ok := Nearest(name, o.asked); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		o.doc.Fault(m.path, "unknown field", hint)
	}
}

func (o *Object) member(name string) *node {
	if !slices.Contains(o.asked, name) {
		o.asked = append(o.asked, name)
	}
	if o.node == nil {
		return nil
	}
	return o.node.members[name]
}

// need is the field when it is there and of the kind; otherwise the fault is recorded.
func (o *Object) need(name string, want kind) *node {
	m := o.member(name)
	switch {
	case o.node == nil, m == nil && o.draft:
		return nil
	case m == nil:
		o.Fault(name, fmt.Sprintf("the field is missing, expected %s", want), "")
		return nil
	case m.kind == isNull:
		o.Fault(name, fmt.Sprintf("is null, expected %s", want), "leave out what is not there")
		return nil
	case m.kind != want:
		o.Fault(name, fmt.Sprintf("is %s, expected %s", m.kind, want), "")
		return nil
	}
	return m
}

func parseNode[T any](d *Doc, m *node, parse func(string) (T, error)) T {
	value, err := parse(m.text)
	if err != nil {
		var none T
		d.Fault(m.path, err.Error(), hintOf(err))
		return none
	}
	return value
}

// OneOf is the parser of a closed set.
func OneOf[T ~string](set ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if slices.Contains(set, T(s)) {
			return T(s), nil
		}
		names := make([]string, len(set))
		for i, v := range set {
			names[i] = string(v)
		}
		hint := ""
		if near, ok := Nearest(s, names); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return "", Refuse(hint, "%.60q is not one of %s", s, strings.Join(names, ", "))
	}
}

// Label is the parser of a text for people: 1 to maxChars printable characters, no blank at either end.
func Label(maxChars int) func(string) (string, error) {
	return func(s string) (string, error) {
		switch n := utf8.RuneCountInString(s); {
		case n < 1 || n > maxChars:
			return "", fmt.Errorf("%d characters, expected 1 to %d", n, maxChars)
		case strings.TrimSpace(s) != s:
			return "", fmt.Errorf("%q begins or ends with a blank", s)
		}
		for _, r := range s {
			if !unicode.IsPrint(r) {
				return "", fmt.Errorf("%q holds a character that cannot be printed: %U", s, r)
			}
		}
		return s, nil
	}
}

// Nearest is the name that differs from s by at most two typing errors, if there is one.
func Nearest(s string, names []string) (string, bool) {
	const maxTypos, maxChars = 2, 40
	best, found := maxTypos+1, ""
	for _, name := range names {
		if len(s) > maxChars || len(name) <= maxTypos {
			continue
		}
		if n := typos(s, name); n < best {
			best, found = n, name
		}
	}
	return found, found != ""
}

// typos is the Levenshtein distance of two short texts.
func typos(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
