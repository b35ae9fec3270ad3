package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// MaxDepth is how deep objects and lists may nest. Our forms need 3; the walk is recursive.
	MaxDepth = 8
	// MaxValues is how many values a file may hold: an order has about 30, a product 60. It bounds memory.
	MaxValues = 10_000
)

// Plain whole numbers only: 1e3, 1.0 and -0 are second spellings, and readers disagree on large fractions.
var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`)

// Doc is a file that was read: a tree of values, their places, and the faults found so far.
type Doc struct {
	src    []byte
	root   *node
	places map[string]int // byte offset by path
	faults FaultList
}

type kind string

const (
	isObject kind = "an object"
	isList   kind = "a list"
	isText   kind = "a text"
	isNumber kind = "a number"
	isBool   kind = "true or false"
	isNull   kind = "null"
)

type node struct {
	kind    kind
	path    string
	text    string // value of a text, spelling of a number, "true" or "false"
	members map[string]*node
	items   []*node
}

// Read takes one JSON document of at most limitBytes. Of a larger input it reads no more than that. It returns nil and a
// *FaultList when the input is no JSON object, and the reader's error, wrapped, when that fails. Smaller faults are kept
// in the Doc, together with those that the caller finds.
func Read(r io.Reader, limitBytes int) (*Doc, error) {
	src, err := io.ReadAll(io.LimitReader(r, int64(limitBytes)+1))
	if err != nil {
		return nil, fmt.Errorf("reading a form: %w", err)
	}
	d := &Doc{src: src, places: map[string]int{}}
	d.checkDocument(limitBytes)
	if len(d.faults) > 0 {
		return nil, d.Err()
	}
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	w := walker{doc: d, dec: dec}
	d.root = w.value("", 0)
	if d.root != nil && d.root.kind != isObject {
		d.faultAt(0, Fault{Reason: fmt.Sprintf("the document is %s, expected an object", d.root.kind), Hint: "the file begins with {"})
	}
	if d.root == nil || d.root.kind != isObject {
		return nil, d.Err()
	}
	return d, nil
}

// checkDocument finds what makes the input no JSON document at all.
func (d *Doc) checkDocument(limitBytes int) {
	if len(d.src) > limitBytes {
		d.faults.Add(Fault{Reason: fmt.Sprintf("the file is larger than %d bytes", limitBytes), Hint: "this is the wrong file, or it holds rows that belong elsewhere"})
		return
	}
	if bytes.HasPrefix(d.src, []byte("\ufeff")) {
		d.faultAt(0, Fault{Reason: "the file begins with a byte order mark", Hint: "save it as UTF-8 without one"})
		return
	}
	if at := invalidUTF8(d.src); at >= 0 {
		d.faultAt(at, Fault{Reason: "not UTF-8", Hint: "save the file as UTF-8"})
		return
	}
	dec := json.NewDecoder(bytes.NewReader(d.src))
	var whole json.RawMessage
	err := dec.Decode(&whole)
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		d.faultAt(0, Fault{Reason: "the file is empty", Hint: "send it again"})
	case errors.Is(err, io.ErrUnexpectedEOF):
		d.faultAt(len(d.src), Fault{Reason: "the file ends in the middle of the document", Hint: "it was cut off: send it again"})
	case errors.As(err, &syntax):
		d.faultAt(int(syntax.Offset)-1, Fault{Reason: "not JSON: " + syntax.Error(), Hint: "this is the wrong file, or it was damaged"})
	case err != nil:
		d.faults.Add(Fault{Reason: "not JSON: " + err.Error()})
	default:
		end := int(dec.InputOffset())
		if rest := bytes.TrimLeft(d.src[end:], " \t\r\n"); len(rest) > 0 {
			d.faultAt(len(d.src)-len(rest), Fault{Reason: "data after the end of the document", Hint: "one file holds one document"})
		}
	}
}

func invalidUTF8(b []byte) int {
	for at := 0; at < len(b); {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			return at
		}
		at += n
	}
	return -1
}

// walker turns tokens of a document known to be JSON into nodes.
type walker struct {
	doc    *Doc
	dec    *json.Decoder
	values int
}

// value reads the next value. It returns nil when a bound is exceeded, with a fault recorded.
func (w *walker) value(path string, depth int) *node {
	at := w.next()
	w.doc.places[path] = at
	w.values++
	if w.values > MaxValues || depth > MaxDepth {
		w.doc.faultAt(at, Fault{Field: path, Reason: fmt.Sprintf("more than %d values, or nested deeper than %d", MaxValues, MaxDepth)})
		return nil
	}
	token, err := w.dec.Token()
	if err != nil {
		w.doc.faultAt(at, Fault{Field: path, Reason: "not JSON: " + err.Error()})
		return nil
	}
	n := &node{path: path}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return w.object(n, depth)
		}
		return w.list(n, depth)
	case string:
		n.kind, n.text = isText, t
		if strings.ContainsRune(t, utf8.RuneError) {
			w.doc.faultAt(at, Fault{Field: path, Reason: "the text holds a character that is none (half a surrogate pair, or U+FFFD)"})
		}
	case json.Number:
		n.kind, n.text = isNumber, t.String()
		if !wholeNumber.MatchString(n.text) {
			w.doc.faultAt(at, Fault{Field: path, Reason: "not a plain whole number of at most 18 digits", Hint: "write digits only, without fraction or exponent"})
		}
	case bool:
		n.kind, n.text = isBool, fmt.Sprint(t)
	default:
		n.kind, n.text = isNull, "null"
	}
	return n
}

func (w *walker) object(n *node, depth int) *node {
	n.kind, n.members = isObject, map[string]*node{}
	for w.dec.More() {
		at := w.next()
		token, err := w.dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			w.doc.faultAt(at, Fault{Field: n.path, Reason: "not JSON: a field's name is expected"})
			return nil
		}
		path := join(n.path, name)
		_, twice := n.members[name]
		if twice {
			w.doc.faultAt(at, Fault{Field: path, Reason: "the field is given twice", Hint: "keep one of them"})
		}
		member := w.value(path, depth+1)
		if member == nil {
			return nil
		}
		n.members[name] = member
	}
	return w.end(n)
}

func (w *walker) list(n *node, depth int) *node {
	n.kind = isList
	for w.dec.More() {
		item := w.value(fmt.Sprintf("%s[%d]", n.path, len(n.items)), depth+1)
		if item == nil {
			return nil
		}
		n.items = append(n.items, item)
	}
	return w.end(n)
}

// end takes the closing bracket.
func (w *walker) end(n *node) *node {
	if _, err := w.dec.Token(); err != nil {
		w.doc.faultAt(w.next(), Fault{Field: n.path, Reason: "not JSON: " + err.Error()})
		return nil
	}
	return n
}

// next is the offset where the next token begins.
func (w *walker) next() int {
	at := int(w.dec.InputOffset())
	return at + len(w.doc.src[at:]) - len(bytes.TrimLeft(w.doc.src[at:], " \t\r\n,:"))
}

func join(path, name string) string {
	// A field's name comes from the file: it is shown, so it is kept short and printable.
	if len(name) > 40 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		name = fmt.Sprintf("%.40q", name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// place is the line and the column, both from 1, of a byte offset.
func (d *Doc) place(at int) (line, column int) {
	at = min(max(at, 0), len(d.src))
	before := d.src[:at]
	lineStart := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[lineStart:]) + 1
}

func (d *Doc) faultAt(at int, f Fault) {
	if len(d.faults) > MaxFaults {
		return // to find a place reads the file: not ten thousand times
	}
	f.Line, f.Column = d.place(at)
	d.faults.Add(f)
}

// Fault records a fault of a field, with the place of that field or, if it is absent, of what should hold it.
func (d *Doc) Fault(field, reason, hint string) {
	at, known := d.places[field]
	for path := field; !known; at, known = d.places[path] {
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	d.faultAt(at, Fault{Field: field, Reason: reason, Hint: hint})
}

// Faulty reports whether a fault is known of the field, of what holds it, or of what it holds. A second opinion on such a
// field would only repeat the first.
func (d *Doc) Faulty(field string) bool {
	return slices.ContainsFunc(d.faults, func(f Fault) bool {
		return f.Field == field || strings.HasPrefix(f.Field, field+".") || strings.HasPrefix(field, f.Field+".")
	})
}

// Err is nil, or every fault as a *FaultList in the order of their places.
func (d *Doc) Err() error { return d.faults.sorted().Err() }
