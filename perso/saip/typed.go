package saip

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/secret"
)

// Header is the profile header.
type Header struct {
	Major, Minor int
	ProfileType  string
	ICCID        [10]byte // digits in their order, F behind the last one: not swapped, unlike EF.ICCID
	Services     []string // mandatory services, by their names in SAIP
	Templates    []string // object identifiers of the file templates that a chip must know
	AIDs         [][]byte // of load packages that a chip must have
	Connectivity []byte   // parameters for SGP.02, empty for none
	Policy       []byte   // policy rules of SGP.02, empty for none
}

// Header is the header of the package.
func (p *Package) Header() Header {
	n := p.elements[0].node
	h := Header{
		Major: n.number("major-version"), Minor: n.number("minor-version"), ProfileType: string(n.bytes("profileType")),
		Connectivity: slices.Clone(n.bytes("connectivityParameters")), Policy: slices.Clone(n.bytes("pol")),
	}
	copy(h.ICCID[:], n.bytes("iccid"))
	for _, c := range n.child("eUICC-Mandatory-services").children {
		h.Services = append(h.Services, c.name)
	}
	for _, c := range n.child("eUICC-Mandatory-GFSTEList").children {
		text, _ := oidFromBytes(c.value) // the decoder has read it
		h.Templates = append(h.Templates, text)
	}
	if aids := n.child("eUICC-Mandatory-AIDs"); aids != nil {
		for _, c := range aids.children {
			h.AIDs = append(h.AIDs, slices.Clone(c.bytes("aid")))
		}
	}
	return h
}

func (h Header) members() members {
	list, templates := members{}, items{}
	for _, s := range h.Services {
		list[s] = flag(true)
	}
	for _, t := range h.Templates {
		templates = append(templates, t)
	}
	m := members{"major-version": h.Major, "minor-version": h.Minor, "iccid": h.ICCID[:], "eUICC-Mandatory-services": list, "eUICC-Mandatory-GFSTEList": templates}
	if h.ProfileType != "" {
		m["profileType"] = h.ProfileType
	}
	if len(h.Connectivity) > 0 {
		m["connectivityParameters"] = h.Connectivity
	}
	return m
}

// head is the header that begins each other element.
func headMembers(id int) members { return members{"mandated": flag(true), "identification": id} }

// Try is a retry counter as SAIP codes it: the limit in the high half, what is left in the low one.
type Try struct{ Max, Left int }

func tryOf(coded int) Try     { return Try{Max: coded >> 4, Left: coded & 0x0F} }
func (t Try) coded() int      { return t.Max<<4 | t.Left }
func (t Try) String() string  { return fmt.Sprintf("%d of %d", t.Left, t.Max) }
func isLocalPIN(ref int) bool { return ref >= 0x81 && ref <= 0x88 }

// CodeName is a key reference of a code in words (ETSI TS 102 221 clause 9.5.1): "PIN1", "PIN2", "ADM1", ...
func CodeName(ref int) string {
	switch {
	case ref == 0x01:
		return "PIN1"
	case ref == 0x81:
		return "PIN2"
	case ref >= 0x02 && ref <= 0x08:
		return fmt.Sprintf("PIN of application %d", ref)
	case ref >= 0x0A && ref <= 0x0E:
		return fmt.Sprintf("ADM%d", ref-0x09)
	case isLocalPIN(ref):
		return fmt.Sprintf("local PIN %d", ref-0x80)
	case ref >= 0x8A && ref <= 0x8E:
		return fmt.Sprintf("ADM%d", ref-0x8A+6)
	}
	return "no code"
}

// PIN attributes (SAIP: bit 1 enabled, bit 2 may be changed, bit 3 may be disabled and enabled).
const (
	PINEnabled = 1 << iota
	PINChangeable
	PINDisableable
)

// PIN is a code of a directory. A link instead of codes is in SharedWith.
type PIN struct {
	Context    Path // the directory it belongs to
	Ref        int  // key reference: 01.. global, 81.. local, 0A.. ADM
	PUK        int  // key reference of the code that unblocks it, 0 for none
	Attributes int
	Try        Try
	Value      secret.Bytes // 8 bytes
	SharedWith Path         // the directory whose codes are those of Context as well; then nothing else is set

	value origin
	at    *Element
}

// PUK is an unblocking code.
type PUK struct {
	Ref   int
	Try   Try
	Value secret.Bytes // 8 bytes

	value origin
	at    *Element
}

// origin is the value in the package. It is behind a function because formatters walk into fields, and not into those.
type origin func() *node

func originOf(n *node) origin { return func() *node { return n } }

// Algorithm is an authentication algorithm, by SAIP's number.
type Algorithm int

const (
	Milenage      Algorithm = 1
	TUAK          Algorithm = 2
	TestAlgorithm Algorithm = 3 // 3GPP TS 34.108 clause 8.1.2.1
)

func (a Algorithm) String() string {
	switch a {
	case Milenage:
		return "milenage"
	case TUAK:
		return "tuak"
	case TestAlgorithm:
		return "usim-test-algorithm"
	}
	return fmt.Sprintf("algorithm %d", int(a))
}

// AKA is the authentication of one application.
type AKA struct {
	Context        Path // the ADF
	Algorithm      Algorithm
	Options        byte
	K, OPc         secret.Bytes // OPc is TOPc with TUAK
	Rotation       []byte       // r1..r5, bits
	Xoring         []byte       // c1..c5
	AuthCounterMax []byte       // nil for none
	Keccak         int          // iterations, TUAK
	SQNOptions     byte
	SQNDelta       []byte
	SQNAgeLimit    []byte
	SQN            [][]byte // 32 sequence numbers without index; nil: all zero
	MappedTo       []byte   // AID of the application whose parameters these are; then only Context is set as well

	algorithm origin // nil with MappedTo
	at        *Element
}

func (e *Element) aka(context Path) AKA {
	n := e.node
	a := AKA{Context: context, at: e, SQNOptions: n.bytes("sqnOptions")[0], SQNDelta: slices.Clone(n.bytes("sqnDelta")), SQNAgeLimit: slices.Clone(n.bytes("sqnAgeLimit"))}
	if list := n.child("sqnInit"); list != nil {
		for _, c := range list.children {
			a.SQN = append(a.SQN, slices.Clone(c.value))
		}
	}
	how := n.child("algoConfiguration").children[0]
	if how.name == "mappingParameter" {
		a.MappedTo = slices.Clone(how.bytes("mappingSource"))
		return a
	}
	a.algorithm = originOf(how)
	a.Algorithm, a.Options, a.Keccak = Algorithm(how.number("algorithmID")), how.bytes("algorithmOptions")[0], how.number("numberOfKeccak")
	a.K, a.OPc = secret.New(slices.Clone(how.bytes("key"))), secret.New(slices.Clone(how.bytes("opc")))
	a.Rotation, a.Xoring = slices.Clone(how.bytes("rotationConstants")), slices.Clone(how.bytes("xoringConstants"))
	a.AuthCounterMax = slices.Clone(how.bytes("authCounterMax"))
	return a
}

// Key is one key of a security domain.
type Key struct {
	KVN, KID byte
	Usage    []byte // GlobalPlatform key usage qualifier
	Access   byte
	Type     byte // GlobalPlatform key type: 80 DES, 85 PSK-TLS, 88 AES
	Value    secret.Bytes

	value origin
	at    *Element
}

// SecurityDomain is a security domain of the profile.
type SecurityDomain struct {
	AID        []byte
	Privileges []byte
	LifeCycle  byte
	Keys       []Key

	at *Element
}

func (e *Element) securityDomain() SecurityDomain {
	instance := e.node.child("instance")
	sd := SecurityDomain{at: e, LifeCycle: instance.bytes("lifeCycleState")[0], Privileges: slices.Clone(instance.bytes("applicationPrivileges"))}
	sd.AID = slices.Clone(instance.bytes("instanceAID"))
	list := e.node.child("keyList")
	if list == nil {
		return sd
	}
	for _, k := range list.children {
		for _, c := range k.child("keyComponents").children {
			data := c.child("keyData")
			sd.Keys = append(sd.Keys, Key{
				KVN: k.bytes("keyVersionNumber")[0], KID: k.bytes("keyIdentifier")[0], Usage: slices.Clone(k.bytes("keyUsageQualifier")),
				Access: k.bytes("keyAccess")[0], Type: c.bytes("keyType")[0], Value: secret.New(slices.Clone(data.value)), value: originOf(data), at: e,
			})
		}
	}
	return sd
}

// RFM is an instance of remote file management.
type RFM struct {
	AID      []byte
	TARs     [][]byte
	Security byte   // minimum security level (SPI1 of ETSI TS 102 225)
	ADF      []byte // AID of the application it works in, nil for the MF

	at *Element
}

func (e *Element) rfm() RFM {
	r := RFM{at: e, AID: slices.Clone(e.node.bytes("instanceAID")), Security: e.node.bytes("minimumSecurityLevel")[0]}
	if tars := e.node.child("tarList"); tars != nil {
		for _, t := range tars.children {
			r.TARs = append(r.TARs, slices.Clone(t.value))
		}
	}
	if adf := e.node.child("adfRFMAccess"); adf != nil {
		r.ADF = slices.Clone(adf.bytes("adfAID"))
	}
	return r
}

// Path is where a file is: identifiers from the MF on, as in "3F00/7FD0/6F07". ADFs go by their temporary identifier.
type Path string

const root Path = "3F00"

func (p Path) child(fid uint16) Path { return p + Path(fmt.Sprintf("/%04X", fid)) }

// Parent is the directory that holds the file; the MF is in none.
func (p Path) Parent() Path {
	i := strings.LastIndexByte(string(p), '/')
	if i < 0 {
		return ""
	}
	return p[:i]
}

// pathFrom reads a path of SAIP: identifiers one after another, from below the MF on. Nothing is the MF.
func pathFrom(b []byte) (Path, bool) {
	p := root
	for i := 0; i+1 < len(b); i += 2 {
		fid := uint16(b[i])<<8 | uint16(b[i+1])
		if fid != 0x3F00 || i > 0 {
			p = p.child(fid)
		}
	}
	return p, len(b)%2 == 0
}

func hexOf(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
