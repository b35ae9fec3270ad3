package saip

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Lot is what is the same for all cards of a lot. Its zero value changes nothing.
//
// A constant may be longer than what was there, so the package is written anew, with new lengths around it and, for the
// algorithm, another list of services in its header. That is why this happens once, before Compile looks for offsets; a
// card then never changes a length.
type Lot struct {
	ProfileType  string // shown by some devices; empty leaves the package's
	Connectivity []byte // parameters for the SM-SR's link (SGP.02); nil leaves the package's
	Policy       []byte // policy rules, POL1 (SGP.02 §3.6.1); nil leaves the package's

	Algorithm Algorithm // of every application that has one; 0 leaves the package's
	KeyBytes  int       // length of K: 16, or with TUAK 16 or 32; 0 means 16
	Options   []byte    // one byte of algorithm options; nil leaves the package's
	Rotation  []byte    // Milenage r1..r5; nil means the standard ones
	Xoring    []byte    // Milenage c1..c5, 80 bytes; nil means the standard ones
	Keccak    int       // iterations of TUAK; 0 means 1

	Files []Constant
	// Home replaces the network in the texts of the ISIM (TS 23.003 clause 13.2): "mnc001.mcc001".
	Home *Network
}

// Network is a home network: codes in digits, the network's with two or three.
type Network struct{ MCC, MNC string }

// Constant is content of a file. Shorter content leaves what follows it as it is.
type Constant struct {
	File    string // "usim/ef-spn", or a path: "3F00/7FD0/6F46"
	Record  int    // from 1; 0 for the file from its beginning
	Content []byte
}

// Prepare sets the constants of a lot and gives the package that results, checked.
func Prepare(p *Package, lot Lot) (*Package, error) {
	chip, faults := p.Expand()
	if bad := faults.Refusing(); len(bad) > 0 {
		return nil, bad
	}
	contents, err := lot.contents(chip)
	if err != nil {
		return nil, err
	}
	out, err := p.with(func(all []*node) ([]*node, error) {
		if err := lot.header(all[0]); err != nil {
			return nil, err
		}
		for _, n := range all {
			if n.name == PEAKA {
				if err := lot.algorithm(n); err != nil {
					return nil, err
				}
			}
		}
		for f, content := range contents {
			if err := setContent(all[f.at.Number-1], f, content); err != nil {
				return nil, err
			}
		}
		return all, settleServices(all, lot.Algorithm != 0)
	})
	if err != nil {
		return nil, fmt.Errorf("setting the constants of the lot: %w", err)
	}
	if bad := out.Check().Refusing(); len(bad) > 0 {
		return nil, fmt.Errorf("setting the constants of the lot: %w", bad)
	}
	return out, nil
}

func (lot Lot) header(n *node) error {
	for name, value := range map[string][]byte{"profileType": []byte(lot.ProfileType), "connectivityParameters": lot.Connectivity, "pol": lot.Policy} {
		if len(value) > 0 {
			if err := n.set(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// algorithm sets algorithm and constants of one application, with zeros of the right length for K and OPc.
func (lot Lot) algorithm(n *node) error {
	a := n.child("algoConfiguration").children[0]
	if lot.Algorithm == 0 || a.name != "algoParameter" {
		return nil
	}
	const tuakOPc, shortKey = 32, 16
	key, opc := max(lot.KeyBytes, shortKey), shortKey
	rotation, xoring, keccak := lot.Rotation, lot.Xoring, []byte(nil)
	switch lot.Algorithm {
	case TUAK:
		opc, rotation, xoring, keccak = tuakOPc, nil, nil, integerBytes(max(lot.Keccak, 1))
	case TestAlgorithm:
		rotation, xoring = nil, nil
	}
	for _, set := range []struct {
		name  string
		value []byte
	}{
		{"algorithmID", integerBytes(int(lot.Algorithm))}, {"key", make([]byte, key)}, {"opc", make([]byte, opc)},
		{"rotationConstants", rotation}, {"xoringConstants", xoring}, {"numberOfKeccak", keccak},
	} {
		if err := a.set(set.name, set.value); err != nil {
			return err
		}
	}
	if lot.Options != nil {
		return a.set("algorithmOptions", lot.Options)
	}
	return nil
}

// algorithmService is the service that a chip must have for an AKA parameter.
func algorithmService(a *node) string {
	switch Algorithm(a.number("algorithmID")) {
	case Milenage:
		return "milenage"
	case TUAK:
		const long = 32
		if len(a.bytes("key")) == long {
			return "tuak256"
		}
		return "tuak128"
	}
	return "usim-test-algorithm"
}

var algorithmServices = []string{"milenage", "tuak128", "tuak256", "usim-test-algorithm"}

// settleServices makes the header demand the algorithms that the package uses, and no other.
func settleServices(all []*node, changed bool) error {
	if !changed {
		return nil
	}
	list := all[0].child("eUICC-Mandatory-services")
	wanted := map[string]bool{}
	for _, n := range all {
		if n.name == PEAKA {
			if a := n.child("algoConfiguration").child("algoParameter"); a != nil {
				wanted[algorithmService(a)] = true
			}
		}
	}
	for _, name := range algorithmServices {
		value := []byte(nil)
		if wanted[name] {
			value = []byte{}
		}
		if err := list.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// contents are the new contents of files, whole.
func (lot Lot) contents(chip *Chip) (map[*File][]byte, error) {
	contents := map[*File][]byte{}
	whole := func(f *File) []byte {
		if contents[f] == nil {
			contents[f] = slices.Clone(f.Content)
		}
		return contents[f]
	}
	for _, c := range lot.Files {
		f := chip.Named(c.File)
		if f == nil {
			return nil, fmt.Errorf("setting the constants of the lot: the package has no file %q", c.File)
		}
		into := whole(f)
		if c.Record > 0 {
			if f.Record(c.Record) == nil {
				return nil, fmt.Errorf("setting the constants of the lot: file %q has no record %d", c.File, c.Record)
			}
			into = into[(c.Record-1)*f.RecordSize : c.Record*f.RecordSize]
		}
		if f.Link != "" || f.Kind.Directory() || len(c.Content) > len(into) {
			return nil, fmt.Errorf("setting the constants of the lot: file %q has no room for %d bytes", c.File, len(c.Content))
		}
		copy(into, c.Content)
	}
	if lot.Home != nil {
		lot.Home.texts(chip, whole)
	}
	return contents, nil
}

var networkText = regexp.MustCompile(`mnc[0-9]{3}\.mcc[0-9]{3}`)

// texts puts the home network into the identities and the domain of every ISIM; the length stays.
func (n Network) texts(chip *Chip, whole func(*File) []byte) {
	for _, f := range chip.Files {
		d := chip.byPath[f.Path.Parent()]
		if d == nil || d.Application() != PEISIM || f.Link != "" || !slices.Contains([]uint16{fidIMPI, fidIMPU, fidDomain}, f.FID) || !networkText.Match(f.Content) {
			continue
		}
		into := whole(f)
		for _, at := range networkText.FindAllIndex(into, -1) {
			copy(into[at[0]:at[1]], n.text())
		}
	}
}

// Named finds a file by its directory and its name in the template, "usim/ef-spn", or by its path, "3F00/7FD0/6F46".
func (c *Chip) Named(name string) *File {
	if f := c.byPath[Path(strings.ToUpper(name))]; f != nil {
		return f
	}
	names := c.contextNames()
	for _, f := range c.Files {
		if f.Name != "" && names[f.Path.Parent()]+"/"+f.Name == name {
			return f
		}
	}
	return nil
}

// setContent gives a file of an element this content. It is said in pieces without what the file has by its pattern, so
// that a value that stands alone in its record is one piece: that is what Points needs.
func setContent(element *node, f *File, content []byte) error {
	if element.name == PEGFM {
		return setGFMContent(element, f, content)
	}
	n := element.child(f.Name)
	if n == nil {
		spec, _ := element.spec.named(f.Name)
		n = &node{name: f.Name, spec: fileSpec, tag: spec.tag}
		element.insert(n)
	}
	n.children = slices.DeleteFunc(n.children, func(c *node) bool { return c.name == "fillFileOffset" || c.name == "fillFileContent" })
	fills, err := fillNodes(fileSpec.elem, f, content)
	n.children = append(n.children, fills...)
	return err
}

func setGFMContent(element *node, f *File, content []byte) error {
	for _, list := range element.child("fileManagementCMD").children {
		at := slices.IndexFunc(list.children, func(c *node) bool { return f.node != nil && c.offset == f.node.offset })
		if at < 0 {
			continue
		}
		end := at + 1
		for end < len(list.children) && strings.HasPrefix(list.children[end].name, "fill") {
			end++
		}
		fills, err := fillNodes(list.spec.elem, f, content)
		list.children = slices.Replace(list.children, at+1, end, fills...)
		return err
	}
	return fmt.Errorf("setting the content of %s: PE %d has no such file", f.Path, f.at.Number)
}

// fillNodes says content as offsets and pieces, a piece for each record that is not as its pattern makes it. A piece ends
// where only FF follows, if that is what the file has there anyway.
func fillNodes(elem *spec, f *File, content []byte) (fills []*node, err error) {
	unit := len(content)
	if f.RecordSize > 0 {
		unit = f.RecordSize
	}
	end := 0 // of the last piece
	for start := 0; start < len(content); start += unit {
		piece := content[start:min(start+unit, len(content))]
		if f.RecordSize > 0 && len(f.initial) == len(content) && bytes.Equal(piece, f.initial[start:start+len(piece)]) {
			continue
		}
		if f.RecordSize > 0 && f.blank(start, len(piece)) {
			piece = withoutFiller(piece)
		}
		if skip := start - end; skip > 0 {
			n, err := elem.makePick(pick{"fillFileOffset", skip}, f.Name)
			if err != nil {
				return nil, err
			}
			fills = append(fills, n)
		}
		n, err := elem.makePick(pick{"fillFileContent", slices.Clone(piece)}, f.Name)
		if err != nil {
			return nil, err
		}
		fills, end = append(fills, n), start+len(piece)
	}
	return fills, nil
}

// blank reports whether a file has FF at these bytes before any content comes.
func (f *File) blank(start, length int) bool {
	return len(f.initial) >= start+length && len(withoutFiller(f.initial[start:start+length])) == 0
}
