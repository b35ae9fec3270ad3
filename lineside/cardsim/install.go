package cardsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/persoline/persoline/lineside/cardsim/filesys"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/tlv"
)

// installProfile makes a profile of a package: decoded by its schema, checked, expanded, and written as one record. What is
// refused leaves nothing.
func (c *Chip) installProfile(d domain, data []byte) report {
	p, err := saip.Decode(slices.Clone(data))
	if err != nil {
		return refusal(faultStatus(err, data, peBadFormat))
	}
	if bad := p.Check().Refusing(); len(bad) > 0 {
		return faultsReport(bad, data)
	}
	chip, faults := p.Expand()
	if bad := faults.Refusing(); len(bad) > 0 {
		return faultsReport(bad, data)
	}
	in := installer{c: c, d: d, p: p, chip: chip, number: map[saip.Path]int{}}
	if status, ok := in.run(); !ok {
		return refusal(status)
	}
	digest := sha256.Sum256(data)
	in.all.put(cellOf(d, kindData, tagPackage), digest[:]...)
	in.all.put(cellOf(d, kindData, tagPolicy), append(bytes.Clone(chip.Header.Policy), 0)[0])
	if err := c.mem.commit(in.all); errors.Is(err, errFull) {
		return refusal(peStatus{status: peNoMemory})
	} else if err != nil {
		return refusal(peStatus{status: peMemory})
	}
	c.mem.pages += in.pages
	c.v.tele = nil
	return report{{status: peOK}}
}

// faultsReport tells what is wrong with a package, element by element.
func faultsReport(bad saip.Faults, data []byte) (r report) {
	for _, f := range bad {
		status := byte(peBadParameter)
		if f.Path == "templateID" {
			status = peNoTemplate
		}
		r = append(r, faultStatus(f, data, status))
	}
	return r
}

// faultStatus finds the element of a fault and its identification.
func faultStatus(err error, data []byte, status byte) peStatus {
	var f *saip.Fault
	if !errors.As(err, &f) {
		return peStatus{status: status}
	}
	s := peStatus{status: status, offset: f.Offset, text: f.Reason}
	at := 0
	for n := 1; n < f.PE && at < len(data); n++ {
		size, ok := wholeElement(data[at:])
		if !ok || size == 0 {
			return s
		}
		at += size
	}
	if f.PE == 0 || at > f.Offset || at >= len(data) {
		return s
	}
	s.offset = f.Offset - at
	s.pe = identification(data[at:])
	return s
}

// identification reads the number of a profile element from its header, which comes first in it: A0 { 81 number }.
func identification(element []byte) int {
	const header, number = 0xA0, 0x81
	t, _, err := tlv.Parse(element)
	if err != nil {
		return 0
	}
	id, found, err := tlv.FindPath(t.Value, header, number)
	if err != nil || !found || len(id) == 0 || len(id) > 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(append(make([]byte, 2-len(id)), id...)))
}

// installer turns an expanded package into the cells of an ISD-P.
type installer struct {
	c      *Chip
	d      domain
	p      *saip.Package
	chip   *saip.Chip
	number map[saip.Path]int // of files
	loaded []loadFileEntry   // load files that the package has brought so far
	names  [][]byte          // of its applications
	pages  int               // of code, which is written and not kept
	all    changes
}

func (in *installer) run() (peStatus, bool) {
	for _, step := range []func() (peStatus, bool){in.supported, in.files, in.codes, in.akas, in.domains, in.rfms, in.code} {
		if status, ok := step(); !ok {
			return status, false
		}
	}
	return peStatus{}, true
}

// element is the n-th profile element of a kind.
func (in *installer) element(kind string, n int) int {
	for _, e := range in.p.Elements() {
		if e.Kind == kind {
			if n == 0 {
				return e.ID
			}
			n--
		}
	}
	return 0
}

// services are those of a package's header that this chip has. Of the SUCI it has the files; the phone computes it.
func services() []string {
	return []string{"usim", "isim", "csim", "milenage", "tuak128", "tuak256", "usim-test-algorithm", "ber-tlv", "dfLink", "multiple-usim", "multiple-isim",
		"multiple-csim", "get-identity", "profile-a-x25519", "profile-b-p256"}
}

// supported refuses what this chip has no place for: services and templates that the header demands, applications of the
// package's own, and what is mandated and unknown.
func (in *installer) supported() (peStatus, bool) {
	h := in.chip.Header
	for _, s := range h.Services {
		if !slices.Contains(services(), s) && !in.optional(s) {
			return peStatus{status: peNoFeature, text: "service " + s}, false
		}
	}
	for _, oid := range h.Templates {
		if !saip.KnowsTemplate(oid) {
			return peStatus{status: peNoTemplate, text: "template " + oid}, false
		}
	}
	for _, e := range in.p.Elements() {
		if e.Kind == saip.PEApplication && !in.c.p.Options.JavaCard || e.Kind == saip.PENonStandard && e.Mandated {
			return peStatus{status: peUnsupported, pe: e.ID}, false
		}
	}
	return peStatus{}, true
}

// optional says whether a service is one that the chip was built with.
func (in *installer) optional(service string) bool {
	return service == "s16mode" && in.c.p.Options.S16 || service == string(product.ServiceJavaCard) && in.c.p.Options.JavaCard
}

func (in *installer) files() (peStatus, bool) {
	kinds := map[saip.FileKind]filesys.Kind{saip.MF: filesys.DF, saip.DF: filesys.DF, saip.ADF: filesys.ADF, saip.Transparent: filesys.Transparent,
		saip.LinearFixed: filesys.LinearFixed, saip.Cyclic: filesys.Cyclic, saip.BERTLV: filesys.BERTLV}
	for n, f := range in.chip.Files {
		in.number[f.Path] = n
	}
	list := make([]filesys.File, 0, len(in.chip.Files))
	for _, f := range in.chip.Files {
		one := filesys.File{Kind: kinds[f.Kind], ID: filesys.FID(f.FID), Parent: in.number[f.Path.Parent()], SFI: f.SFI, State: filesys.LifeCycle(f.LifeCycle),
			Record: f.RecordSize, ARR: filesys.FID(f.ARR.FID), Rule: f.ARR.Record, Name: f.AID, PINs: f.PINStatus}
		switch {
		case f.Link != "":
			one.Link = in.number[f.Link]
		case f.Kind == saip.BERTLV:
			one.Content = append(bytes.Clone(f.Content), bytes.Repeat([]byte{0xFF}, f.Size-len(f.Content))...)
		case !f.Kind.Directory():
			one.Content = f.Content
		}
		list = append(list, one)
	}
	image, err := filesys.Image(list)
	if err != nil {
		return peStatus{status: peNoMemory, text: err.Error()}, false
	}
	in.all = make(changes, 0, len(image)+len(in.chip.PINs)+8)
	in.all.files(in.d, image)
	return peStatus{}, true
}

func (in *installer) codes() (peStatus, bool) {
	for _, p := range in.chip.PINs {
		dir := in.number[p.Context]
		if p.SharedWith != "" {
			in.all.put(cellOf(in.d, kindShare, uint16(dir)), binary.BigEndian.AppendUint16(nil, uint16(in.number[p.SharedWith]))...)
			continue
		}
		number, ok := codeNumber(dir, byte(p.Ref))
		if !ok {
			return peStatus{status: peBadParameter, text: "a code with a key reference that no code has"}, false
		}
		value := revealed(p.Value)
		in.all.put(cellOf(in.d, kindCode, number), append(value, byte(p.Try.Left), byte(p.Try.Max), byte(p.Attributes), byte(p.PUK))...)
		clear(value)
	}
	for _, p := range in.chip.PUKs {
		value := revealed(p.Value)
		in.all.put(cellOf(in.d, kindPUK, uint16(byte(p.Ref))), append(value, byte(p.Try.Left), byte(p.Try.Max))...)
		clear(value)
	}
	return peStatus{}, true
}

func (in *installer) akas() (peStatus, bool) {
	for n, a := range in.chip.AKAs {
		at := cellOf(in.d, kindAKA, uint16(in.number[a.Context]))
		if a.MappedTo != nil {
			i := slices.IndexFunc(in.chip.Files, func(f *saip.File) bool { return bytes.Equal(f.AID, a.MappedTo) })
			in.all.put(at, binary.BigEndian.AppendUint16([]byte{akaShared}, uint16(max(i, 0)))...)
			continue
		}
		s, ok := subscriptionOf(a)
		if !ok {
			return peStatus{status: peNoFeature, pe: in.element(saip.PEAKA, n), text: "algorithm or options"}, false
		}
		value := s.bytes()
		in.all.put(at, value...)
		clear(value)
		clear(s.k)
		clear(s.opc)
	}
	return peStatus{}, true
}

// subscriptionOf turns an element's parameters into those of the chip, and tries them.
func subscriptionOf(a saip.AKA) (s subscription, ok bool) {
	s = subscription{k: revealed(a.K), opc: revealed(a.OPc)}
	delta, age := sqnNumber(a.SQNDelta), sqnNumber(a.SQNAgeLimit)
	if a.SQNOptions&checkJump != 0 {
		s.policy.Delta = delta
	}
	if a.SQNOptions&checkAge != 0 {
		s.policy.AgeLimit = age
	}
	res, ck, ik, known := a.Results()
	switch {
	case !known:
		return s, false
	case a.Algorithm == saip.Milenage:
		s.how = milenageParameters(a.Rotation, a.Xoring)
	case a.Algorithm == saip.TUAK:
		s.how = []byte{0x02, byte(a.K.Len()), byte(res), byte(ck), byte(ik), byte(a.Keccak)}
	case a.Algorithm == saip.TestAlgorithm:
		s.how = []byte{testAlgorithm}
	default:
		return s, false
	}
	e, err := s.card()
	if err != nil || a.Keccak > 0xFF {
		return s, false
	}
	e.Wipe()
	for i, seq := range a.SQN {
		value := aka.SQN{}
		if n := sqnNumber(seq); n != 0 {
			value = aka.SQNOf(n<<5 | uint64(i))
		}
		s.first = append(s.first, value[:]...)
	}
	return s, len(s.first) == 0 || len(s.first) == aka.SQNArrayBytes
}

// milenageParameters names the constants only where they are not those of TS 35.206.
func milenageParameters(r, c []byte) []byte {
	usual := aka.DefaultConstants()
	if len(r) != 0 && len(r) != len(usual.R) || len(c) != 0 && len(c) != len(usual.C)*len(usual.C[0]) {
		return nil // no algorithm
	}
	same := len(r) == 0 || bytes.Equal(r, usual.R[:])
	for i := range usual.C {
		same = same && (len(c) == 0 || bytes.Equal(c[i*16:i*16+16], usual.C[i][:]))
	}
	if same {
		return []byte{0x01}
	}
	return slices.Concat([]byte{0x11}, r, c)
}

func sqnNumber(b []byte) (n uint64) {
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

func (in *installer) domains() (peStatus, bool) {
	for n, sd := range in.chip.Domains {
		b := append(withLength(nil, sd.AID), sd.LifeCycle)
		b = withLength(b, sd.Privileges)
		for _, k := range sd.Keys {
			if k.Value.Len() > maxBlobPart {
				return peStatus{status: peNoFeature, pe: in.element(saip.PESecurityDomain, n), text: "a key of this length"}, false
			}
			value := revealed(k.Value)
			b = withLength(append(b, k.KVN, k.KID, k.Type, k.Access), k.Usage)
			b = withLength(b, value)
			clear(value)
		}
		if len(b) > maxCellBytes {
			return peStatus{status: peNoMemory, pe: in.element(saip.PESecurityDomain, n)}, false
		}
		in.all.put(cellOf(in.d, kindSD, uint16(n)), b...)
		clear(b)
	}
	return peStatus{}, true
}

// rfms are kept and do nothing here: they are for remote management.
func (in *installer) rfms() (peStatus, bool) {
	for n, r := range in.chip.RFMs {
		b := withLength(withLength(nil, r.AID), r.ADF)
		b = append(b, r.Security)
		for _, tar := range r.TARs {
			b = withLength(b, tar)
		}
		if len(b) > maxCellBytes {
			return peStatus{status: peNoMemory, pe: in.element(saip.PERFM, n)}, false
		}
		in.all.put(cellOf(in.d, kindRFM, uint16(n)), b...)
	}
	return peStatus{}, true
}

// maxBlobPart is what one length byte says.
const maxBlobPart = 0xFF

func withLength(b, part []byte) []byte { return append(append(b, byte(len(part))), part...) }

// revealed copies a secret of the package, with room behind it.
func revealed(s secret.Bytes) []byte {
	const room = 8
	out := make([]byte, 0, s.Len()+room)
	if err := s.Reveal(func(b []byte) error {
		out = append(out, b...)
		return nil
	}); err != nil {
		return nil
	}
	return out
}
