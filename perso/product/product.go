// Package product is the catalogue of what can be ordered: for each stock keeping unit what the chip is, how it is
// reached, what it must contain, and how it proves that it contains it.
//
// One product is one JSON file, <sku>.json, described in PRODUCT.md. Parse is the only door: a Product that it returned
// is complete and consistent, or says itself that it cannot be made yet, and why. Officers release an order with the
// Hash of its product, so a file that changes after the release makes nothing.
//
// Everybody may import this package: intake (perso/order), the vault, the line and the ledger. It does no I/O but
// LoadDir, through the file system that it is given.
//
// Sources: GSMA SGP.02 (EIS, eUICC capabilities, AIDs), GlobalPlatform Card Specification and Amendment D (keysets,
// SCP03 parameter i), ISO/IEC 7816-3 (ATR), 7816-4 (AID).
package product

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/form"
)

// MaxSKUChars fits a column of a report and a file name.
const MaxSKUChars = 32

// SKU is the stock keeping unit, for example m2m-200s-mff2.
type SKU string

var skuForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// ParseSKU reads 1 to 32 of a-z 0-9 and '-', beginning with a letter or digit.
func ParseSKU(s string) (SKU, error) {
	if !skuForm.MatchString(s) {
		return "", form.Refuse("for example m2m-200s-mff2", "%.60q is not 1 to %d of a-z 0-9 - beginning with a letter or digit", s, MaxSKUChars)
	}
	return SKU(s), nil
}

// Family decides which standards a product follows.
type Family string

// The families.
const (
	Basic         Family = "basic"          // SIM of one profile, written by commands
	Crypto        Family = "crypto"         // secure element without a network application
	EUICCM2M      Family = "euicc-m2m"      // GSMA SGP.02
	EUICCConsumer Family = "euicc-consumer" // GSMA SGP.22
	EUICCIoT      Family = "euicc-iot"      // GSMA SGP.32
)

// EUICC reports whether chips of the family have an EID and a certificate.
func (f Family) EUICC() bool {
	return f == EUICCM2M || f == EUICCConsumer || f == EUICCIoT
}

// Package is the mechanical form (ETSI TS 102 221 and 102 671).
type Package string

// The packages.
const (
	Plug2FF Package = "2FF"
	Plug3FF Package = "3FF"
	Plug4FF Package = "4FF"
	MFF2    Package = "MFF2"
	WLCSP   Package = "WLCSP"
	TSSOP   Package = "TSSOP"
)

// Interface is the electrical way to the chip.
type Interface string

// The interfaces.
const (
	ISO7816 Interface = "iso7816"
	SPI     Interface = "spi"
	I2C     Interface = "i2c"
)

// Grade is the range of temperature and life time that the chip is sold for.
type Grade string

// The grades.
const (
	Consumer   Grade = "consumer"
	Industrial Grade = "industrial"
	Automotive Grade = "automotive"
)

// ChipIDSource is how a blank chip says which one it is.
type ChipIDSource string

// The sources of a chip id.
const (
	ChipIDKDD       ChipIDSource = "kdd"        // key diversification data of INITIALIZE UPDATE
	ChipIDCPLC      ChipIDSource = "cplc"       // GET DATA 9F7F
	ChipIDOSCommand ChipIDSource = "os-command" // the script's identify phase knows the command
	ChipIDNone      ChipIDSource = "none"
)

// Proof is what only the right chip, completely written, can say. A unit is good when the vault has verified every one.
type Proof string

// The proofs.
const (
	ProofReopen       Proof = "scp-reopen"      // card cryptogram of a second INITIALIZE UPDATE, under the new keys
	ProofReadback     Proof = "rmac-readback"   // contents read under R-MAC
	ProofAuthenticate Proof = "authenticate"    // AUTHENTICATE with the new Ki
	ProofSignature    Proof = "euicc-signature" // signature by the chip's new private key
	// ProofTrustsLine says that nothing else keeps the line from making the chip's answers up: it plays every secret itself. A
	// product without a secure channel has it, so that every report says so.
	ProofTrustsLine Proof = "trusts-the-line"
	// ProofTrustsContents says that the chip proves its keys and nothing else: what was read back is the line's word. A product
	// with SCP02 has it, since no answer has a MAC there.
	ProofTrustsContents Proof = "contents-trust-the-line"
)

// AuthProof is which answer of AUTHENTICATE is the proof.
type AuthProof string

// The answers. AUTS does not use up a sequence number of the subscription.
const (
	AuthAUTS AuthProof = "auts"
	AuthRES  AuthProof = "res"
	AuthNone AuthProof = "none"
)

// KeyOrigin says who makes the eUICC's key pair, as the chip and its script can do it.
type KeyOrigin string

// The origins.
const (
	KeyCard KeyOrigin = "card" // the chip makes its pair and proves that it has it
	KeyHSM  KeyOrigin = "hsm"  // the chip makes none and is given one
	KeyNone KeyOrigin = ""     // no eUICC: it has none
)

// Product is one kind of chip. Fields that a product does not have are zero.
type Product struct {
	SKU           SKU
	Title         string // for people, at most 80 characters
	Family        Family
	Package       Package
	Interface     Interface
	Grade         Grade
	Certification string // as certified, for example "Common Criteria EAL5+"
	ChipOS        string // name and version as the chip's maker spells it
	ATR           ATR
	MemoryBytes   uint32 // non-volatile memory of the chip

	ChipID    ChipIDSource
	Proof     []Proof // read only
	AuthProof AuthProof
	KeyOrigin KeyOrigin
	// Algorithms are those that the chip and the script can do; read only.
	Algorithms []auth.Name
	Script     string // file in the catalogue's folder
	Factory    Factory
	ISDKVN     byte // key version number of the ISD's own keyset, 01 to 7F
	EIS        EIS
	AIDs       AIDs
	Profile    Profile

	Makeable bool
	Reason   string // why it cannot be made, when it cannot

	hash [32]byte
}

// What the chip's maker left to write it with.
const (
	SCP02   = "02"
	SCP03   = "03"
	SCPNone = "none" // no secure channel: a transport code, diversified as the keys of one would be (scp.StaticKeys.TransportCode)
)

// Factory is the secure channel that the chip's maker left, or his transport code.
type Factory struct {
	KVN byte       // key version number of the maker's keyset, often FF; 00 without a secure channel
	SCP string     // protocol: SCP02, SCP03, SCPNone
	I   byte       // its options, parameter i (GlobalPlatform Amendment D)
	KMC perso.Name // the maker's master key in the vault
}

// EIS is what every eUICC information set of the product says alike (SGP.02). Amounts are bytes.
type EIS struct {
	PlatformType    string
	PlatformVersion Version
	RemainingMemory uint32
	AvailableMemory uint32 // AvailableMemoryForProfiles
	CATTP           bool
	CATTPVersion    Version // zero without CATTP
	HTTP            bool
	HTTPVersion     Version // zero without HTTP

	SecurePacketVersion       Version
	RemoteProvisioningVersion Version
}

// AIDs are the names of what is on the chip. LoadFile, Module and ISDP are those of the issuer security domain of the
// bootstrap profile, ISDP2 that of an operational profile beside it; zero where the product has no room for one. USIM is that of a
// profile that comes with the product; one that comes in a package has its own.
type AIDs struct {
	ISD, ISDR, ECASD, LoadFile, Module, ISDP, ISDP2, USIM, ISIM AID
}

// Profile describes the bootstrap profile, or the only one of a SIM.
type Profile struct {
	AllocatedMemory uint32 // bytes
	Type            string // ProfileType of the EIS; may be empty
	FileSystem      string // description of a SIM's file system, in the catalogue's folder; empty for other families
	// Package says that the script loads the profile from the package that the order names; without, its commands write it.
	Package bool
	// Services are what the chip has beyond what every chip of its operating system has, and a package may demand; read only.
	Services []Service
	adHead   [3]byte
}

// Service is something that the header of a profile package may demand of a chip, as SAIP spells it (eUICC-Mandatory-services).
type Service string

// ServiceJavaCard is a chip that takes code for the Java Card runtime environment with a package.
const ServiceJavaCard Service = "javacard"

// Has says whether a product's chips have a service.
func (p Profile) Has(s Service) bool { return slices.Contains(p.Services, s) }

// Lacks gives a service of which only some products' chips have it, that a package demands and this product's have not; empty
// where there is none. Of other services the chip judges alone.
func (p Profile) Lacks(demanded []string) Service {
	for _, s := range []Service{ServiceJavaCard} {
		if slices.Contains(demanded, string(s)) && !p.Has(s) {
			return s
		}
	}
	return ""
}

// AD is the content of EF.AD (TS 31.102 clause 4.2.18): operation mode and additional information from the product,
// length of the network code from the subscription.
func (p Profile) AD(mncDigits int) [4]byte {
	return [4]byte{p.adHead[0], p.adHead[1], p.adHead[2], byte(mncDigits)}
}

// Hash is SHA-256 of the product file in canonical form (RFC 8785): layout and order of fields do not count.
func (p Product) Hash() [32]byte { return p.hash }

// Proves reports whether a proof is asked of the product.
func (p Product) Proves(proof Proof) bool { return slices.Contains(p.Proof, proof) }

// Version is a three-part version n.n.n, each part from 0 to 255. It is comparable; the zero value is none.
type Version struct{ text string }

var versionForm = regexp.MustCompile(`^(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])(\.(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])){2}$`)

// ParseVersion reads three numbers without leading zeros, with dots between.
func ParseVersion(s string) (Version, error) {
	if !versionForm.MatchString(s) {
		return Version{}, fmt.Errorf("%.40q is not a version n.n.n with numbers from 0 to 255", s)
	}
	return Version{text: s}, nil
}

// String is n.n.n, or nothing for the zero value.
func (v Version) String() string { return v.text }
