package saip

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso/id"
)

// Build makes the package of a design: the same design, the same bytes. Values of cards are zeros of their length. The
// result has passed Check.
func Build(d Design) (*Package, error) {
	b := &builder{design: d, used: map[string]bool{}}
	for _, step := range []func() error{b.prepare, b.mf, b.telecom, b.applications, b.management, b.end, b.header} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("building the profile %q: %w", d.Profile, err)
		}
	}
	for _, f := range d.Files {
		if !b.used[f.File] {
			return nil, fmt.Errorf("building the profile %q: file %q: nothing in this design has it", d.Profile, f.File)
		}
	}
	p, err := assemble(b.nodes)
	if err != nil {
		return nil, fmt.Errorf("building the profile %q: %w", d.Profile, err)
	}
	if bad := p.Check().Refusing(); len(bad) > 0 {
		return nil, fmt.Errorf("building the profile %q: %w", d.Profile, bad)
	}
	return p, nil
}

type builder struct {
	design    Design
	nodes     []*node
	templates []string // object identifiers in use
	files     map[string]FileDesign
	used      map[string]bool // files of the design that were made
	rules     [][]byte
	imsi      id.IMSI
	berTLV    bool
}

// add makes the next profile element; its number is its identification.
func (b *builder) add(kind, head string, m members) error {
	m[head] = headMembers(len(b.nodes) + 1)
	n, err := newElementNode(kind, m)
	if err != nil {
		return err
	}
	b.nodes = append(b.nodes, n)
	return nil
}

func (b *builder) prepare() error {
	if err := b.design.limits(); err != nil {
		return err
	}
	b.files = map[string]FileDesign{}
	for _, f := range b.design.Files {
		if _, twice := b.files[f.File]; twice {
			return fmt.Errorf("file %q stands there twice", f.File)
		}
		b.files[f.File] = f
	}
	for i, text := range b.design.Rules {
		rule, err := ruleOf(text)
		if err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
		b.rules = append(b.rules, rule)
	}
	if len(b.rules) == 0 {
		return errors.New("there are no access rules")
	}
	const imsiDigits = 15
	number := b.design.Home.MCC + b.design.Home.MNC
	var err error
	if b.imsi, err = id.ParseIMSI(number+strings.Repeat("0", max(imsiDigits-len(number), 0)), len(b.design.Home.MNC)); err != nil {
		return fmt.Errorf("home network: %w", err)
	}
	return nil
}

// limits holds numbers to what their coding can say, before anything is made of them.
func (d Design) limits() error {
	const maxRecordBytes, maxRule, maxKeyBytes, maxTARBytes, maxTries, maxByte = 255, 254, 64, 255, 15, 255
	within := func(what string, n, most int) error {
		if n < 0 || n > most {
			return fmt.Errorf("%s is %d, and 0 to %d may be", what, n, most)
		}
		return nil
	}
	errs := []error{within("algorithm: key_bytes", d.Algorithm.KeyBytes, maxKeyBytes)}
	for _, f := range d.Files {
		errs = append(errs, within(f.File+": size", f.Size, maxFileBytes), within(f.File+": record", f.Record, maxRecordBytes), within(f.File+": rule", f.Rule, maxRule))
		for _, n := range f.Numbers {
			errs = append(errs, within(f.File+": category", n.Category, maxByte))
		}
	}
	for _, list := range append([]Codes{{In: "puks", Codes: d.PUKs}}, d.PINs...) {
		for _, c := range list.Codes {
			errs = append(errs, within(list.In+": "+c.Ref+": tries", c.Tries, maxTries))
		}
	}
	if d.Domain != nil {
		errs = append(errs, within("domain: bytes of TARs", 3*len(d.Domain.TARs), maxTARBytes))
		for _, s := range d.Domain.KeySets {
			errs = append(errs, within("domain: key set "+s.Version+": bytes", s.Bytes, maxKeyBytes))
		}
	}
	return errors.Join(errs...)
}

func (b *builder) mf() error {
	if err := b.template(PEMF, "1", "mf", PEMF); err != nil {
		return err
	}
	var puks items
	for _, c := range b.design.PUKs {
		ref, err := hexNumber("PUK reference", c.Ref)
		if err != nil {
			return err
		}
		puks = append(puks, members{"keyReference": ref, "pukValue": make([]byte, pukBytes), "maxNumOfAttemps-retryNumLeft": Try{c.Tries, c.Tries}.coded()})
	}
	if len(puks) > 0 {
		if err := b.add(PEPUKCodes, "puk-Header", members{"pukCodes": puks}); err != nil {
			return err
		}
	}
	return b.pins("mf")
}

func (b *builder) telecom() error {
	if !slices.ContainsFunc(b.design.Files, func(f FileDesign) bool { return strings.HasPrefix(f.File, "telecom/") }) {
		return nil
	}
	if err := b.template(PETelecom, "3", "telecom", PETelecom); err != nil {
		return err
	}
	return b.pins("telecom")
}

// codesOf are the codes of a directory.
func (b *builder) codesOf(in string) []Code {
	for _, c := range b.design.PINs {
		if c.In == in {
			return c.Codes
		}
	}
	return nil
}

func (b *builder) pins(in string) error {
	var list items
	for _, c := range b.codesOf(in) {
		ref, err := hexNumber("PIN reference", c.Ref)
		if err != nil {
			return err
		}
		attributes := PINChangeable
		if c.Enabled == nil || *c.Enabled {
			attributes |= PINEnabled
		}
		if !c.Fixed {
			attributes |= PINDisableable
		}
		m := members{"keyReference": ref, "pinValue": make([]byte, pinBytes), "pinAttributes": attributes, "maxNumOfAttemps-retryNumLeft": Try{c.Tries, c.Tries}.coded()}
		if c.PUK != "" {
			puk, err := hexNumber("PUK reference", c.PUK)
			if err != nil {
				return err
			}
			m["unblockingPINReference"] = puk
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil
	}
	return b.add(PEPINCodes, "pin-Header", members{"pinCodes": pick{"pinconfig", list}})
}

// subdirectories are the directories that an application may have, with their element and template.
var subdirectories = []struct{ name, element, oid string }{{"gsm-access", PEGSMAccess, "7"}, {"5gs", PE5GS, "13"}, {"saip", PESAIP, "14"}}

func (b *builder) applications() error {
	for _, a := range b.design.Applications {
		element, optional, oid, optionalOID := PEUSIM, PEOptUSIM, "4", "5"
		switch a.Kind {
		case PEUSIM:
		case PEISIM:
			element, optional, oid, optionalOID = PEISIM, PEOptISIM, "8", "9"
		default:
			return fmt.Errorf("application %q: only usim and isim are built", a.Kind)
		}
		if err := b.template(element, oid, a.Kind, element); err != nil {
			return err
		}
		if b.wants(optional, a.Kind) {
			if err := b.template(optional, optionalOID, a.Kind, optional); err != nil {
				return err
			}
		}
		if err := errors.Join(b.pins(a.Kind), b.aka()); err != nil {
			return err
		}
		if err := b.below(a); err != nil {
			return err
		}
	}
	return nil
}

// below makes the directories of an application.
func (b *builder) below(a Application) error {
	for _, want := range a.With {
		if !slices.ContainsFunc(subdirectories, func(s struct{ name, element, oid string }) bool { return s.name == want }) {
			return fmt.Errorf("application %q: there is no directory %q", a.Kind, want)
		}
	}
	for _, s := range subdirectories {
		if slices.Contains(a.With, s.name) {
			if err := b.template(s.element, s.oid, s.name, s.element); err != nil {
				return err
			}
		}
	}
	return nil
}

// wants reports whether the design names a file of an optional element.
func (b *builder) wants(element, context string) bool {
	spec, _ := elementsSpec().named(element)
	for name := range b.files {
		if in, file, _ := strings.Cut(name, "/"); in == context {
			if _, has := spec.spec.named(file); has {
				return true
			}
		}
	}
	return false
}

func (b *builder) aka() error {
	c := b.design.Algorithm
	options, err := hexBytes("algorithm options", c.Options, 1)
	if err != nil {
		return err
	}
	key, opc, number := max(c.KeyBytes, 16), 16, 0
	for a := Milenage; a <= TestAlgorithm; a++ {
		if a.String() == c.Name {
			number = int(a)
		}
	}
	if number == int(TUAK) {
		opc = 32
	}
	return b.add(PEAKA, "aka-header", members{"algoConfiguration": pick{"algoParameter", members{
		"algorithmID": number, "algorithmOptions": options, "key": make([]byte, key), "opc": make([]byte, opc)}}})
}

// management makes the security domain and remote file management.
func (b *builder) management() error {
	if b.design.Domain != nil {
		if err := b.domain(*b.design.Domain); err != nil {
			return fmt.Errorf("security domain: %w", err)
		}
	}
	for i, r := range b.design.RFM {
		if err := b.rfm(r); err != nil {
			return fmt.Errorf("remote file management %d: %w", i+1, err)
		}
	}
	return nil
}

// keyUses are GlobalPlatform's usage qualifiers of a set's keys: encryption, integrity, data encryption.
var keyUses = []byte{0x18, 0x14, 0x48}

func (b *builder) domain(d Domain) error {
	var parts [5][]byte
	for i, text := range []string{d.Package, d.Module, d.Instance, d.Privileges, d.Parameters} {
		var err error
		if parts[i], err = hexBytes("a value", text, 0); err != nil {
			return err
		}
	}
	tars := []byte{}
	for _, t := range d.TARs {
		tar, err := hexBytes("TAR", t, 3)
		if err != nil {
			return err
		}
		tars = append(tars, tar...)
	}
	var keys items
	for _, s := range d.KeySets {
		set, err := keySet(s)
		if err != nil {
			return err
		}
		keys = append(keys, set...)
	}
	instance := members{"applicationLoadPackageAID": parts[0], "classAID": parts[1], "instanceAID": parts[2], "applicationPrivileges": parts[3], "lifeCycleState": []byte{0x0F},
		"applicationSpecificParametersC9": parts[4]}
	if len(tars) > 0 {
		instance["applicationParameters"] = members{"uiccToolkitApplicationSpecificParametersField": toolkitField(tars)}
	}
	m := members{"instance": instance}
	if len(keys) > 0 {
		m["keyList"] = keys
	}
	return b.add(PESecurityDomain, "sd-Header", m)
}

// toolkitField is ETSI TS 102 226 clause 8.2.1.3.2.2.1 for an application without a menu: priority 1, no timer, no text,
// no entry, no channel, no minimum security, its TARs, no service.
func toolkitField(tars []byte) []byte {
	field := []byte{0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, byte(len(tars))}
	return append(append(field, tars...), 0x00)
}

func keySet(s KeySet) (keys items, err error) {
	version, err := hexBytes("key version", s.Version, 1)
	if err != nil {
		return nil, err
	}
	kind := map[string]byte{"aes": 0x88, "des": 0x80}[s.Type]
	if kind == 0 {
		return nil, fmt.Errorf("key set %s: %q is no type of key: aes or des", s.Version, s.Type)
	}
	for i, use := range keyUses {
		keys = append(keys, members{"keyUsageQualifier": []byte{use}, "keyIdentifier": []byte{byte(i + 1)}, "keyVersionNumber": version,
			"keyComponents": items{members{"keyType": []byte{kind}, "keyData": make([]byte, s.Bytes)}}})
	}
	return keys, nil
}

func (b *builder) rfm(r Remote) error {
	aid, err := hexBytes("AID", r.AID, 0)
	if err != nil {
		return err
	}
	security, err := hexBytes("security level", r.Security, 1)
	if err != nil {
		return err
	}
	var tars items
	for _, t := range r.TARs {
		tar, err := hexBytes("TAR", t, 3)
		if err != nil {
			return err
		}
		tars = append(tars, tar)
	}
	always := []byte{0x00} // ETSI TS 102 226 clause 8.2.1.3.2.4: full access
	m := members{"instanceAID": aid, "tarList": tars, "minimumSecurityLevel": security, "uiccAccessDomain": always, "uiccAdminAccessDomain": always}
	if r.Files != "mf" {
		i := slices.IndexFunc(b.design.Applications, func(a Application) bool { return a.Kind == r.Files })
		if i < 0 {
			return fmt.Errorf("there is no application %q", r.Files)
		}
		adf, err := hexBytes("AID", b.design.Applications[i].AID, 0)
		if err != nil {
			return err
		}
		m["adfRFMAccess"] = members{"adfAID": adf, "adfAccessDomain": always, "adfAdminAccessDomain": always}
	}
	return b.add(PERFM, "rfm-header", m)
}

func (b *builder) end() error { return b.add(PEEnd, "end-header", members{}) }

// header comes last, as it tells what the others need, and stands first.
func (b *builder) header() error {
	d := b.design
	major, minor, ok := strings.Cut(d.Format, ".")
	high, err1 := strconv.Atoi(major)
	low, err2 := strconv.Atoi(minor)
	if err := errors.Join(err1, err2); err != nil || !ok {
		return fmt.Errorf("format %q is no version as 2.3", d.Format)
	}
	list := slices.Clone(d.Services)
	for _, a := range d.Applications {
		list = append(list, a.Kind)
	}
	for _, n := range b.nodes {
		if n.name == PEAKA {
			list = append(list, algorithmService(n.child("algoConfiguration").children[0]))
		}
	}
	if b.berTLV {
		list = append(list, "ber-tlv")
	}
	connectivity, err := hexBytes("connectivity", d.Connectivity, 0)
	if err != nil {
		return err
	}
	slices.Sort(b.templates)
	h := Header{Major: high, Minor: low, ProfileType: d.Profile, Services: list, Connectivity: connectivity}
	for _, t := range b.templates {
		h.Templates = append(h.Templates, tcaTemplates+t)
	}
	n, err := newElementNode(PEHeader, h.members())
	b.nodes = append([]*node{n}, b.nodes...)
	return err
}

func hexNumber(what, text string) (int, error) {
	n, err := strconv.ParseUint(text, 16, 8)
	if err != nil {
		return 0, fmt.Errorf("%s %q is no byte in hex", what, text)
	}
	return int(n), nil
}

// hexBytes reads hex; size 0 takes any.
func hexBytes(what, text string, size int) ([]byte, error) {
	v, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil || size > 0 && len(v) != size {
		return nil, fmt.Errorf("%s %q is not hex of %d bytes", what, text, size)
	}
	if v == nil {
		v = []byte{}
	}
	return v, nil
}
