package saip

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/persoline/persoline/perso/tlv"
)

// node is a value with its schema, and where it was found.
type node struct {
	name     string
	spec     *spec
	tag      uint32
	value    []byte  // of a primitive value
	children []*node // of a constructed one: only the fields that are there
	offset   int     // of the tag
	start    int     // of the value
}

// child is the field of this name, or nil.
func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// bytes is the value of the field of this name, or what its absence means.
func (n *node) bytes(name string) []byte {
	if c := n.child(name); c != nil {
		return c.value
	}
	if n == nil {
		return nil
	}
	f, _ := n.spec.named(name)
	return f.def
}

// number is the value of the integer field of this name, or what its absence means.
func (n *node) number(name string) int { return bigEndian(n.bytes(name)) }

func bigEndian(b []byte) (v int) {
	for _, x := range b {
		v = v<<8 | int(x)
	}
	return v
}

// decoder reads one package. It keeps the place, so that whatever goes wrong can say it.
type decoder struct {
	all     []byte
	nodes   int
	pe      int
	element string
}

func (d *decoder) fault(offset int, path, format string, a ...any) error {
	return &Fault{Place: Place{Offset: offset, PE: d.pe, Element: d.element, Path: path}, Reason: fmt.Sprintf(format, a...)}
}

// head is one tag and length, read from all[at:end].
type head struct {
	tag                uint32
	offset, start, end int
}

func (d *decoder) head(at, end int, path string) (head, error) {
	if d.nodes++; d.nodes > maxNodes {
		return head{}, d.fault(at, path, "the package has more than %d values", maxNodes)
	}
	element, rest, err := tlv.Parse(d.all[at:end])
	if errors.Is(err, tlv.ErrTruncated) {
		return head{}, d.fault(at, path, "the value goes beyond the %d bytes that are left for it: %v", end-at, err)
	}
	if err != nil {
		return head{}, d.fault(at, path, "this is no value: %v", err)
	}
	h := head{tag: element.Tag, offset: at, end: end - len(rest)}
	h.start = h.end - len(element.Value)
	return h, nil
}

func (d *decoder) value(h head, name, path string, s *spec) (*node, error) {
	n := &node{name: name, spec: s, tag: h.tag, offset: h.offset, start: h.start}
	var err error
	switch s.kind {
	case kindSequence:
		n.children, err = d.sequence(h, path, s)
	case kindList:
		n.children, err = d.list(h, path, s)
	case kindChoice:
		n.children, err = d.wrapped(h, path, s)
	default:
		n.value = d.all[h.start:h.end:h.end]
		if reason := s.refuses(n.value); reason != "" {
			err = d.fault(h.offset, path, "%s", reason)
		}
	}
	return n, err
}

func (d *decoder) sequence(h head, path string, s *spec) (children []*node, err error) {
	at, next := h.start, 0
	for at < h.end {
		inner, err := d.head(at, h.end, path)
		if err != nil {
			return nil, err
		}
		f, i, err := d.field(inner, path, s, next)
		if err != nil {
			return nil, err
		}
		c, err := d.value(inner, f.name, join(path, f.name), f.spec)
		if err != nil {
			return nil, err
		}
		children, next, at = append(children, c), i+1, inner.end
	}
	for _, f := range s.fields[next:] {
		if !f.optional {
			return nil, d.fault(h.end, path, "%q (tag %X) is missing", f.name, f.tag)
		}
	}
	return children, nil
}

// field finds the field that a tag begins, of those that may still come.
func (d *decoder) field(h head, path string, s *spec, next int) (field, int, error) {
	for i := next; i < len(s.fields); i++ {
		f := s.fields[i]
		if f.tag == h.tag {
			return f, i, nil
		}
		if !f.optional {
			return field{}, 0, d.fault(h.offset, path, "tag %X where %q (tag %X) must be", h.tag, f.name, f.tag)
		}
	}
	for _, f := range s.fields[:next] {
		if f.tag == h.tag {
			return field{}, 0, d.fault(h.offset, join(path, f.name), "tag %X comes twice, or after what must follow it", h.tag)
		}
	}
	return field{}, 0, d.fault(h.offset, path, "tag %X is nothing that may be here", h.tag)
}

func (d *decoder) list(h head, path string, s *spec) (children []*node, err error) {
	for at := h.start; at < h.end; {
		place := fmt.Sprintf("%s[%d]", path, len(children))
		if len(children) == s.max {
			return nil, d.fault(at, place, "more than %d elements", s.max)
		}
		inner, err := d.head(at, h.end, place)
		if err != nil {
			return nil, err
		}
		c, err := d.item(inner, place, s)
		if err != nil {
			return nil, err
		}
		children, at = append(children, c), inner.end
	}
	if len(children) < s.min {
		return nil, d.fault(h.offset, path, "%d elements where at least %d must be", len(children), s.min)
	}
	return children, nil
}

func (d *decoder) item(h head, place string, s *spec) (*node, error) {
	if s.elem.kind == kindChoice {
		return d.alternative(h, place, s.elem)
	}
	if h.tag != s.elemTag {
		return nil, d.fault(h.offset, place, "tag %X where only tag %X may be", h.tag, s.elemTag)
	}
	return d.value(h, "", place, s.elem)
}

func (d *decoder) alternative(h head, path string, s *spec) (*node, error) {
	for _, f := range s.fields {
		if f.tag == h.tag {
			return d.value(h, f.name, join(path, f.name), f.spec)
		}
	}
	return nil, d.fault(h.offset, path, "tag %X is none of the possible", h.tag)
}

// wrapped is a choice with a tag around it, which holds exactly one of the alternatives.
func (d *decoder) wrapped(h head, path string, s *spec) ([]*node, error) {
	inner, err := d.head(h.start, h.end, path)
	if err != nil {
		return nil, err
	}
	if inner.end != h.end {
		return nil, d.fault(inner.end, path, "%d bytes follow the only value that may be here", h.end-inner.end)
	}
	c, err := d.alternative(inner, path, s)
	return []*node{c}, err
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// refuses says why a primitive value breaks its schema, or nothing.
func (s *spec) refuses(v []byte) string {
	switch s.kind {
	case kindNull:
		if len(v) > 0 {
			return fmt.Sprintf("%d bytes where none may be", len(v))
		}
		return ""
	case kindInteger:
		return s.refusesInteger(v)
	case kindText:
		if !utf8.Valid(v) {
			return "the text is not UTF-8"
		}
	case kindOID:
		if _, err := oidFromBytes(v); err != nil {
			return err.Error()
		}
	}
	if len(v) < s.min || len(v) > s.max {
		if s.min == s.max {
			return fmt.Sprintf("%d bytes where %d must be", len(v), s.min)
		}
		return fmt.Sprintf("%d bytes where %d to %d may be", len(v), s.min, s.max)
	}
	return ""
}

// refusesInteger holds an INTEGER to DER (X.690 clause 8.3) and to its bounds. No number of the schema is negative.
func (s *spec) refusesInteger(v []byte) string {
	const longest = 5 // bytes: 32 bits and a sign
	switch {
	case len(v) == 0:
		return "a number without bytes"
	case len(v) > longest:
		return fmt.Sprintf("a number of %d bytes", len(v))
	case v[0]&0x80 != 0:
		return "a negative number"
	case len(v) > 1 && v[0] == 0 && v[1]&0x80 == 0:
		return "a number not in its shortest form"
	}
	if n := bigEndian(v); n < s.min || n > s.max {
		return fmt.Sprintf("the number %d is not in %d..%d", n, s.min, s.max)
	}
	return ""
}
