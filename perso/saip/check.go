package saip

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Check says everything that is wrong with a package, in the order of its bytes: what the schema can't express and a chip
// would refuse, or worse, accept. Faults marked as notes refuse nothing.
func (p *Package) Check() Faults {
	chip, faults := p.Expand()
	c := &checker{p: p, chip: chip, faults: faults, pins: map[pinPlace]bool{}, shared: map[Path]Path{}}
	c.order()
	c.defaults()
	c.header()
	c.services()
	c.codes()
	c.directories()
	c.applications()
	c.domains()
	c.rfms()
	slices.SortStableFunc(c.faults, func(a, b *Fault) int { return a.Offset - b.Offset })
	return c.faults
}

type checker struct {
	p      *Package
	chip   *Chip
	faults Faults
	pins   map[pinPlace]bool // codes that there are
	shared map[Path]Path     // directories whose codes are those of another
}

type pinPlace struct {
	context Path
	ref     int
}

func (c *checker) fault(e *Element, at *node, path, format string, a ...any) {
	c.faults = append(c.faults, e.fault(at, path, format, a...))
}

func (c *checker) note(e *Element, at *node, path, format string, a ...any) {
	n := e.fault(at, path, format, a...)
	n.Note = true
	c.faults = append(c.faults, n)
}

// once are elements of which a package has at most one.
var once = []string{PEMF, PECD, PETelecom, PEPUKCodes, PEIoT, PEOptIoT}

// order is what must be there, once, and what it must follow.
func (c *checker) order() {
	header := c.p.elements[0]
	if len(c.p.of(PEMF)) == 0 && len(c.p.of(PEIoT)) == 0 {
		c.fault(header, nil, "", "the package has no %q: nothing can be made without the MF", PEMF)
	}
	if len(c.p.of(PEUSIM))+len(c.p.of(PECSIM))+len(c.p.of(PEISIM))+len(c.p.of(PEIoT)) == 0 {
		c.note(header, nil, "", "the package has no application of a network made from a template")
	}
	if len(c.p.of(PESecurityDomain)) == 0 {
		c.note(header, nil, "", "the package has no security domain: nobody can manage the profile over the air")
	}
	for _, kind := range once {
		for _, e := range c.p.of(kind)[min(1, len(c.p.of(kind))):] {
			c.fault(e, nil, "", "a second %q", kind)
		}
	}
	made := false
	for _, e := range c.p.elements[1:] {
		isFile := parentKinds[e.Kind] != "" || e.Kind == PEPINCodes || e.Kind == PEAKA || e.Kind == PEUSIM || e.Kind == PETelecom || e.Kind == PEISIM || e.Kind == PECSIM
		if made = made || e.Kind == PEMF || e.Kind == PEIoT; isFile && !made {
			c.fault(e, nil, "", "%q comes before the MF", e.Kind)
		}
	}
}

// defaults finds values that are spelled out and need not be (X.690 clause 11.5): a chip bears them.
func (c *checker) defaults() {
	for _, e := range c.p.elements {
		var walk func(n *node, path string)
		walk = func(n *node, path string) {
			for i, child := range n.children {
				place := join(path, child.name)
				if n.spec.kind == kindList {
					place = join(fmt.Sprintf("%s[%d]", path, i), child.name)
				}
				if f, ok := n.spec.named(child.name); ok && f.def != nil && bytes.Equal(f.def, child.value) {
					c.note(e, child, place, "the value is what its absence means: DER leaves it out")
				}
				walk(child, place)
			}
		}
		walk(e.node, "")
	}
}

func (c *checker) header() {
	e := c.p.elements[0]
	h := c.chip.Header
	const lowest, highest = 2, 3
	if h.Major < lowest || h.Major > highest {
		c.fault(e, e.node.child("major-version"), "major-version", "version %d.%d of the format, and %d.x to %d.x are known", h.Major, h.Minor, lowest, highest)
	}
	if !bcd(h.ICCID[:]) {
		c.fault(e, e.node.child("iccid"), "iccid", "the ICCID is not of digits with an F at most behind them")
	}
	if f := c.chip.byPath[root.child(fidICCID)]; f == nil {
		c.fault(e, nil, "", "the package has no EF.ICCID")
	} else if !bytes.Equal(swapped(f.Content), h.ICCID[:]) {
		c.fault(f.at, f.node, f.Name, "EF.ICCID is another number than that of the header, or not swapped")
	}
	c.templates(e, h)
}

// templates holds the header's list of templates against those that are used.
func (c *checker) templates(e *Element, h Header) {
	at := e.node.child("eUICC-Mandatory-GFSTEList")
	used := map[string]bool{}
	for _, other := range c.p.elements {
		n := other.node.child("templateID")
		if n == nil {
			continue
		}
		text, _ := oidFromBytes(n.value)
		if used[text] = true; !slices.Contains(h.Templates, text) {
			c.note(other, n, "templateID", "template %s is not in the header's list", text)
		}
	}
	for i, text := range h.Templates {
		if !used[text] {
			c.note(e, at.children[i], "eUICC-Mandatory-GFSTEList", "the list demands template %s, which nothing uses", text)
		}
	}
}

// bcd reports whether bytes are digits, with F at most behind the last one.
func bcd(b []byte) bool {
	filler := false
	for _, x := range b {
		for _, digit := range []byte{x >> 4, x & 0x0F} {
			if filler = filler || digit == 0x0F; filler && digit != 0x0F || digit > 9 && !filler {
				return false
			}
		}
	}
	return true
}

func swapped(b []byte) []byte {
	out := make([]byte, len(b))
	for i, x := range b {
		out[i] = x<<4 | x>>4
	}
	return out
}

// used are the services that the content of the package needs, and whether the list must say so.
func (c *checker) used() map[string]bool {
	used := map[string]bool{}
	count := map[string]int{}
	for _, f := range c.chip.Files {
		if f.Kind == ADF {
			count[f.Application()]++
		}
		used["ber-tlv"] = used["ber-tlv"] || f.Kind == BERTLV
	}
	for _, kind := range []string{PEUSIM, PEISIM, PECSIM} {
		used[kind], used["multiple-"+kind] = count[kind] > 0, count[kind] > 1
	}
	for _, a := range c.chip.AKAs {
		if a.algorithm != nil {
			used[algorithmService(a.algorithm())] = true
		}
	}
	return used
}

// twoWay are services that the list names exactly when the content needs them.
var twoWay = append([]string{PEUSIM, PEISIM, PECSIM, "multiple-usim", "multiple-isim", "multiple-csim", "ber-tlv"}, algorithmServices...)

func (c *checker) services() {
	e, h, used := c.p.elements[0], c.chip.Header, c.used()
	at := e.node.child("eUICC-Mandatory-services")
	for _, s := range twoWay {
		switch named := slices.Contains(h.Services, s); {
		case named && !used[s]:
			c.fault(e, at.child(s), "eUICC-Mandatory-services."+s, "the list demands %q, which nothing in the package uses", s)
		case !named && used[s]:
			c.fault(e, at, "eUICC-Mandatory-services", "the package uses %q, which the list doesn't demand", s)
		}
	}
	suci := c.suciFiles()
	for s, has := range map[string]bool{
		"cave": len(c.chip.cdma) > 0, "gba-usim": used[PEUSIM], "gba-isim": used[PEISIM], "mbms": used[PEUSIM], "eap": len(c.p.of(PEEAP)) > 0,
		"get-identity": suci, "profile-a-x25519": suci, "profile-b-p256": suci, "suciCalculatorApi": suci,
	} {
		if slices.Contains(h.Services, s) && !has {
			c.fault(e, at.child(s), "eUICC-Mandatory-services."+s, "the list demands %q, and the package has nothing that it is for", s)
		}
	}
	c.notedServices(e, at, h, suci)
}

// notedServices are those that the content hints at, without a chip refusing a list that lacks them.
func (c *checker) notedServices(e *Element, at *node, h Header, suci bool) {
	if len(c.chip.cdma) > 0 && !slices.Contains(h.Services, "cave") {
		c.note(e, at, "eUICC-Mandatory-services", "the package has a CDMA parameter, and the list doesn't demand \"cave\"")
	}
	if suci && c.suciByUSIM() && !slices.Contains(h.Services, "get-identity") {
		c.note(e, at, "eUICC-Mandatory-services", "the USIM computes the SUCI (UST service 125), and the list doesn't demand \"get-identity\"")
	}
	for _, app := range c.p.of(PEApplication) {
		if app.node.child("loadBlock") != nil && !slices.Contains(h.Services, "javacard") && !slices.Contains(h.Services, "multos") {
			c.fault(app, nil, "loadBlock", "the package loads code, and the list demands neither \"javacard\" nor \"multos\"")
		}
	}
}

// suciFiles reports whether there is an EF with keys for the SUCI: in DF.5GS or in DF.SAIP (TS 31.102 clause 4.4.11.8).
func (c *checker) suciFiles() bool {
	for _, f := range c.chip.Files {
		if strings.HasSuffix(string(f.Path), "/5FC0/4F07") || strings.HasSuffix(string(f.Path), "/5FD0/4F01") {
			return true
		}
	}
	return false
}

func (c *checker) suciByUSIM() bool {
	const service = 125
	for _, f := range c.chip.Files {
		if f.FID == 0x6F38 && (service-1)/8 < len(f.Content) && f.Content[(service-1)/8]>>((service-1)%8)&1 == 1 {
			return true
		}
	}
	return false
}
