package saip

import (
	"fmt"
	"slices"
)

// Package is a profile package: profile elements from the header to the end. Its methods never change it; what changes a
// package makes a new one.
type Package struct {
	bytes    []byte
	elements []*Element
}

// Element is one profile element, held to the schema.
type Element struct {
	Kind     string // the name in SAIP: PEHeader, PEUSIM, ...
	Number   int    // place in the package, from 1
	ID       int    // identification, by which a chip names it in its answer; 0 for the header
	Mandated bool   // a chip that doesn't know the element must refuse the package
	Offset   int    // of the tag
	Length   int    // with tag and length

	node *node
}

// Decode reads a package: elements of the schema from a header to an end and nothing behind it, every identification
// once. The error is a *Fault that says the place. The package keeps b, which the caller must not change any more.
func Decode(b []byte) (*Package, error) {
	if len(b) > MaxPackageBytes {
		return nil, &Fault{Reason: fmt.Sprintf("the package has %d bytes, and %d are the limit", len(b), MaxPackageBytes)}
	}
	d, p := &decoder{all: b}, &Package{bytes: b}
	for at := 0; at < len(b); {
		e, end, err := d.profileElement(at, len(p.elements)+1)
		if err == nil {
			err = p.admit(e)
		}
		if err != nil {
			return nil, err
		}
		p.elements, at = append(p.elements, e), end
	}
	if n := len(p.elements); n == 0 || p.elements[n-1].Kind != PEEnd {
		return nil, &Fault{Place: Place{Offset: len(b)}, Reason: fmt.Sprintf("the package stops after %d profile elements without its end", n)}
	}
	return p, nil
}

// profileElement reads the element at a byte.
func (d *decoder) profileElement(at, number int) (*Element, int, error) {
	d.pe, d.element = number, ""
	h, err := d.head(at, len(d.all), "")
	if err != nil {
		return nil, 0, err
	}
	for _, f := range elementsSpec().fields {
		if f.tag != h.tag {
			continue
		}
		d.element = f.name
		n, err := d.value(h, f.name, "", f.spec)
		if err != nil {
			return nil, 0, err
		}
		return newElement(n, number, h.end-h.offset), h.end, nil
	}
	return nil, 0, d.fault(at, "", "tag %X begins no profile element of this specification", h.tag)
}

func newElement(n *node, number, length int) *Element {
	e := &Element{Kind: n.name, Number: number, Offset: n.offset, Length: length, node: n}
	if n.name != PEHeader {
		head := n.children[0]
		e.ID, e.Mandated = head.number("identification"), head.child("mandated") != nil
	}
	return e
}

// admit holds the next element to those before it.
func (p *Package) admit(e *Element) error {
	n := len(p.elements)
	switch {
	case n == MaxElements:
		return e.fault(nil, "", "more than %d profile elements", MaxElements)
	case (n == 0) != (e.Kind == PEHeader):
		return e.fault(nil, "", "a package begins with one header and has no other")
	case n > 0 && p.elements[n-1].Kind == PEEnd:
		return e.fault(nil, "", "%d bytes follow the end of the package", len(p.bytes)-e.Offset)
	}
	for _, other := range p.elements {
		if other.Kind != PEHeader && other.ID == e.ID {
			return e.fault(e.node.children[0], e.node.children[0].name, "identification %d is that of PE %d %s already", e.ID, other.Number, other.Kind)
		}
	}
	return nil
}

// fault is a fault of this element, at a value of it or at its beginning.
func (e *Element) fault(at *node, path, format string, a ...any) *Fault {
	place := Place{Offset: e.Offset, PE: e.Number, Element: e.Kind, Path: path}
	if at != nil {
		place.Offset = at.offset
	}
	return &Fault{Place: place, Reason: fmt.Sprintf(format, a...)}
}

// Elements are the profile elements in their order. The caller must not change them.
func (p *Package) Elements() []*Element { return p.elements }

// Bytes is a copy of the package.
func (p *Package) Bytes() []byte { return slices.Clone(p.bytes) }

// Format prints the size and nothing else for every verb: a customer's package may hold secrets.
func (p *Package) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "profile package of %d bytes", len(p.bytes))
}

// Len is the size of the package in bytes.
func (p *Package) Len() int { return len(p.bytes) }

// of are the elements of a kind.
func (p *Package) of(kind string) (all []*Element) {
	for _, e := range p.elements {
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// Encode writes the package anew from its values: what was decoded, byte by byte.
func (p *Package) Encode() []byte {
	out := make([]byte, 0, len(p.bytes))
	for _, e := range p.elements {
		out = e.node.append(out)
	}
	return out
}

// with is the package with its elements changed, decoded again so that every offset is true.
func (p *Package) with(change func(all []*node) ([]*node, error)) (*Package, error) {
	nodes := make([]*node, len(p.elements))
	for i, e := range p.elements {
		nodes[i] = e.node.clone()
	}
	nodes, err := change(nodes)
	if err != nil {
		return nil, err
	}
	return assemble(nodes)
}

// assemble makes a package of elements.
func assemble(nodes []*node) (*Package, error) {
	var out []byte
	for _, n := range nodes {
		out = n.append(out)
	}
	return Decode(out)
}
