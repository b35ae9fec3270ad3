package saip

import (
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso/secret"
)

// maxChipBytes bounds what a package may ask a chip to hold: 2 MiB, more than any has. Without it, some bytes of package
// would ask for files without end.
const maxChipBytes = 2 << 20

// maxDepth is how deep a directory may be below the MF: what a path of SAIP, of 8 bytes, can say.
const maxDepth = 4

// Expand plays the package as a chip does and gives what it makes. The faults are those of files: what has no place or
// doesn't fit.
func (p *Package) Expand() (*Chip, Faults) {
	x := &expander{chip: &Chip{Header: p.Header(), byPath: map[Path]*File{}}, adfs: map[string]Path{}, current: root}
	for _, e := range p.elements {
		x.element(e)
	}
	x.links()
	x.rules()
	return x.chip, x.faults
}

type expander struct {
	chip    *Chip
	faults  Faults
	current Path            // the directory that PINs, AKA parameters and GFM's files belong to
	adfs    map[string]Path // the last application of a kind
	total   int             // bytes of content
}

func (x *expander) fault(e *Element, at *node, path, format string, a ...any) {
	x.faults = append(x.faults, e.fault(at, path, format, a...))
}

func (x *expander) element(e *Element) {
	switch e.Kind {
	case PEGFM:
		x.gfm(e)
	case PEPINCodes:
		x.pins(e)
	case PEPUKCodes:
		for _, c := range e.node.child("pukCodes").children {
			v := c.child("pukValue")
			x.chip.PUKs = append(x.chip.PUKs, PUK{Ref: c.number("keyReference"), Try: tryOf(c.number("maxNumOfAttemps-retryNumLeft")), Value: secret.New(slices.Clone(v.value)), value: originOf(v), at: e})
		}
	case PEAKA:
		x.chip.AKAs = append(x.chip.AKAs, e.aka(x.current))
	case PECDMA:
		x.chip.cdma = append(x.chip.cdma, e)
	case PESecurityDomain:
		x.chip.Domains = append(x.chip.Domains, e.securityDomain())
	case PERFM:
		x.chip.RFMs = append(x.chip.RFMs, e.rfm())
	case PEApplication:
		x.chip.Code = append(x.chip.Code, e.loaded())
	case PEHeader, PENonStandard, PEEnd:
	default:
		x.template(e)
	}
}

func (x *expander) pins(e *Element) {
	how := e.node.child("pinCodes").children[0]
	if how.name == "filePath" {
		shared, _ := pathFrom(how.value)
		x.chip.PINs = append(x.chip.PINs, PIN{Context: x.current, SharedWith: shared, value: originOf(how), at: e})
		return
	}
	for _, c := range how.children {
		v := c.child("pinValue")
		x.chip.PINs = append(x.chip.PINs, PIN{
			Context: x.current, Ref: c.number("keyReference"), PUK: c.number("unblockingPINReference"), Attributes: c.number("pinAttributes"),
			Try: tryOf(c.number("maxNumOfAttemps-retryNumLeft")), Value: secret.New(slices.Clone(v.value)), value: originOf(v), at: e,
		})
	}
}

// parentKinds are the applications that elements add files to.
var parentKinds = map[string]string{
	PEOptUSIM: PEUSIM, PEPhonebook: PEUSIM, PEGSMAccess: PEUSIM, PE5GS: PEUSIM, PESAIP: PEUSIM, PESNPN: PEUSIM, PEProSe: PEUSIM,
	PEOptISIM: PEISIM, PEOptCSIM: PECSIM,
}

// template makes the files of a template element.
func (x *expander) template(e *Element) {
	oid, _ := oidFromBytes(e.node.bytes("templateID"))
	t, known := templateOf(oid)
	if !known || t.element != e.Kind {
		x.fault(e, e.node.child("templateID"), "templateID", "template %s is none that is known for %q: its files cannot be told", oid, e.Kind)
		return
	}
	w := templateWalk{expander: x, e: e, t: t, dir: root}
	if kind, under := parentKinds[e.Kind]; under {
		if w.dir, known = x.adfs[kind], x.adfs[kind] != ""; !known {
			x.fault(e, nil, "", "its files belong into an application %q, and there is none before it", kind)
			return
		}
	} else if e.Kind == PEEAP {
		w.dir = x.current
	}
	w.top = w.dir
	w.run()
	x.current = w.top
	if e.Kind == PEUSIM || e.Kind == PEISIM || e.Kind == PECSIM {
		x.adfs[e.Kind] = w.top
	}
}

// templateWalk goes through the files of one template element.
type templateWalk struct {
	*expander
	e        *Element
	t        template
	top, dir Path // first directory of the element; the one that files go to
	begun    bool
}

func (w *templateWalk) run() {
	const head = 2 // header and template
	for _, f := range w.e.node.spec.fields[head:] {
		tf, known := w.t.file(f.name)
		given := w.e.node.child(f.name)
		switch {
		case given == nil && (!w.t.byDefault || !known):
		case !known:
			w.fault(w.e, given, f.name, "the template %s%s has no file %q that is known", tcaTemplates, w.t.oid, f.name)
		case given != nil && len(given.children) > 0 && given.children[0].name == "doNotCreate":
		default:
			w.file(tf, given)
		}
	}
}

func (w *templateWalk) file(tf fileTemplate, given *node) {
	b := blank{name: tf.name, fid: tf.fid, kind: tf.kind, records: tf.records, size: tf.size, sfi: tf.sfi, arr: tf.arr, content: tf.content, template: true}
	f := w.make(w.e, given, tf.name, b, w.holder(tf.kind))
	if f == nil || !f.Kind.Directory() {
		return
	}
	w.dir = f.Path
	if !w.begun {
		w.top, w.begun = f.Path, true
	}
}

// holder is the directory of the next file: an EF's is the last DF, a DF's is the first of the element.
func (w *templateWalk) holder(kind FileKind) Path {
	switch {
	case kind == MF:
		return ""
	case kind.Directory():
		return w.top
	}
	return w.dir
}

// gfm plays the commands of a genericFileManagement element.
func (x *expander) gfm(e *Element) {
	for i, list := range e.node.child("fileManagementCMD").children {
		var f *File
		for j, c := range list.children {
			path := fmt.Sprintf("fileManagementCMD[%d][%d].%s", i, j, c.name)
			switch c.name {
			case "filePath":
				f = nil
				x.choose(e, c, path)
			case "createFCP":
				f = x.make(e, c, path, blank{template: false}, x.current)
				if f != nil && f.Kind.Directory() {
					x.current = f.Path // ETSI TS 102 222 clause 6.3.1: the new directory is the current one
				}
				if f != nil {
					f.pieces = nil
				}
			default:
				x.fillGFM(e, f, c, path)
			}
		}
	}
}

// choose makes a directory the current one.
func (x *expander) choose(e *Element, c *node, path string) {
	p, even := pathFrom(c.value)
	d := x.chip.byPath[p]
	if !even || d == nil || !d.Kind.Directory() {
		x.fault(e, c, path, "%s is no directory of this package", hexOf(c.value))
		return
	}
	x.current = p
}

// fillGFM puts a piece of content into the file that was created last.
func (x *expander) fillGFM(e *Element, f *File, c *node, path string) {
	if f == nil {
		x.fault(e, c, path, "content without a file before it")
		return
	}
	x.fill(e, f, c, path)
}

// fill takes one more piece: the end of the last one is where an offset counts from.
func (x *expander) fill(e *Element, f *File, c *node, path string) {
	if f.Kind.Directory() || f.Link != "" {
		x.fault(e, c, path, "content for a file that has none of its own")
		return
	}
	if len(f.pieces) == 0 {
		f.pieces = append(f.pieces, piece{})
	}
	last := &f.pieces[len(f.pieces)-1]
	if c.name == "fillFileOffset" {
		last.start += bigEndian(c.value)
		return
	}
	end := last.start + len(c.value)
	if f.Kind == BERTLV && end > len(f.Content) && end <= f.Size { // its content is what it holds, not what is reserved
		f.Content = append(f.Content, make([]byte, end-len(f.Content))...)
	}
	if !f.sizeKnown && end > f.Size && end <= maxFileBytes && x.total+end-f.Size <= maxChipBytes {
		x.total += end - f.Size
		f.Content = append(f.Content, slices.Repeat([]byte{0xFF}, end-f.Size)...)
		f.Size = end
	}
	if end > f.Size {
		x.fault(e, c, path, "content to byte %d of a file of %d bytes", end, f.Size)
		return
	}
	copy(f.Content[last.start:], c.value)
	last.node = c
	f.pieces = append(f.pieces, piece{start: end})
}
