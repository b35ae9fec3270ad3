package saip

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/persoline/persoline/perso/tlv"
)

// append writes a value with tag and length in DER. The order of fields is the schema's, because nodes are made in it.
func (n *node) append(dst []byte) []byte {
	if !n.spec.constructed() {
		return tlv.Append(dst, n.tag, n.value)
	}
	var inner []byte
	for _, c := range n.children {
		inner = c.append(inner)
	}
	return tlv.Append(dst, n.tag, inner)
}

func (n *node) clone() *node {
	c := *n
	c.value = slices.Clone(n.value)
	c.children = make([]*node, len(n.children))
	for i, child := range n.children {
		c.children[i] = child.clone()
	}
	return &c
}

// set puts a primitive field into a sequence at its place, or takes it out: a nil value, and in DER a default as well,
// means that the field is absent. The name must be one of the schema.
func (n *node) set(name string, value []byte) error {
	f, known := n.spec.named(name)
	if !known {
		return fmt.Errorf("setting %q: %q has no such field", name, n.name)
	}
	n.children = slices.DeleteFunc(n.children, func(c *node) bool { return c.name == name })
	if value == nil || f.def != nil && slices.Equal(value, f.def) {
		return nil
	}
	if reason := f.spec.refuses(value); reason != "" {
		return fmt.Errorf("setting %q: %s", name, reason)
	}
	n.insert(&node{name: name, spec: f.spec, tag: f.tag, value: value})
	return nil
}

// insert puts a field of a sequence where the schema has it.
func (n *node) insert(c *node) {
	rank := func(name string) int {
		return slices.IndexFunc(n.spec.fields, func(f field) bool { return f.name == name })
	}
	at := 0
	for at < len(n.children) && rank(n.children[at].name) < rank(c.name) {
		at++
	}
	n.children = slices.Insert(n.children, at, c)
}

// Values that make nodes: []byte (octets), int, string (text or object identifier), a flag, members of a sequence, an
// alternative of a choice, a list. An absent member, nil or nothing in it, is left out where the schema allows it.
type (
	flag    bool
	members map[string]any
	pick    struct {
		name  string
		value any
	}
	items []any
)

// make builds the node of a value and holds it to the schema.
func (s *spec) make(name string, tag uint32, v any, path string) (*node, error) {
	n := &node{name: name, spec: s, tag: tag}
	var err error
	switch v := v.(type) {
	case members:
		err = n.makeMembers(v, path)
	case items:
		err = n.makeItems(v, path)
	case pick:
		var c *node
		if c, err = s.makePick(v, path); err == nil {
			n.children = []*node{c}
		}
	default:
		n.value, err = s.primitive(v)
		if err == nil {
			if reason := s.refuses(n.value); reason != "" {
				err = fmt.Errorf("%s: %s", path, reason)
			}
		}
	}
	return n, err
}

func (n *node) makeMembers(v members, path string) error {
	for _, f := range n.spec.fields {
		value, given := v[f.name]
		if !given || value == nil || value == flag(false) {
			if !f.optional {
				return fmt.Errorf("%s: %q is missing", path, f.name)
			}
			continue
		}
		c, err := f.spec.make(f.name, f.tag, value, join(path, f.name))
		if err != nil {
			return err
		}
		if f.def == nil || !slices.Equal(c.value, f.def) {
			n.children = append(n.children, c)
		}
	}
	for name := range v {
		if _, known := n.spec.named(name); !known {
			return fmt.Errorf("%s: there is no field %q", path, name)
		}
	}
	return nil
}

func (n *node) makeItems(v items, path string) error {
	if len(v) < n.spec.min || len(v) > n.spec.max {
		return fmt.Errorf("%s: %d elements where %d to %d may be", path, len(v), n.spec.min, n.spec.max)
	}
	for i, value := range v {
		place := fmt.Sprintf("%s[%d]", path, i)
		var c *node
		var err error
		if p, isPick := value.(pick); isPick && n.spec.elem.kind == kindChoice {
			c, err = n.spec.elem.makePick(p, place)
		} else {
			c, err = n.spec.elem.make("", n.spec.elemTag, value, place)
		}
		if err != nil {
			return err
		}
		n.children = append(n.children, c)
	}
	return nil
}

func (s *spec) makePick(v pick, path string) (*node, error) {
	f, known := s.named(v.name)
	if !known {
		return nil, fmt.Errorf("%s: there is no alternative %q", path, v.name)
	}
	return f.spec.make(f.name, f.tag, v.value, join(path, f.name))
}

func (s *spec) primitive(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case int:
		return integerBytes(v), nil
	case string:
		if s.kind == kindOID {
			return oidToBytes(v)
		}
		return []byte(v), nil
	case flag:
		return []byte{}, nil
	}
	return nil, fmt.Errorf("a value of type %T is none of the schema", v)
}

// integerBytes is a number that is not negative as DER has it.
func integerBytes(v int) []byte {
	size := bits.Len(uint(v))/8 + 1 // a bit more than the number needs, for the sign
	out := make([]byte, size)
	for i := range out {
		out[size-1-i] = byte(v >> (8 * i))
	}
	return out
}

// newElementNode is the node of a profile element.
func newElementNode(kind string, v members) (*node, error) {
	f, known := elementsSpec().named(kind)
	if !known {
		return nil, fmt.Errorf("making a profile element: there is no %q", kind)
	}
	return f.spec.make(f.name, f.tag, v, kind)
}
