package eis

import (
	"time"

	"github.com/persoline/persoline/perso/id"
)

// SignedFields are what the EUM signs about an eUICC.
type SignedFields struct {
	EID             id.EID
	EUMID           string // OID, dotted
	ProductionDate  time.Time
	PlatformType    string // at most 100 characters
	PlatformVersion string // n.n.n
	LoadFileAID     []byte // of the ISD-P
	ModuleAID       []byte
	ECASD           SecurityDomain
	Capabilities    Capabilities

	// Spelling of the element that holds EUMID; the zero value is the schema's.
	Spelling Spelling
}

// Spelling of the Eum-id element.
type Spelling string

// The two spellings seen.
const (
	SpellingSchema Spelling = ""       // Eum-id
	SpellingUpper  Spelling = "Eum-Id" // some SM-SRs
)

func (s Spelling) element() string {
	if s == SpellingUpper {
		return "Eum-Id"
	}
	return "Eum-id"
}

// Capabilities of the eUICC; the versions are n.n.n. CattpVersion and HTTPVersion are written when the feature is there.
type Capabilities struct {
	CATTP                     bool
	CATTPVersion              string
	HTTP                      bool
	HTTPVersion               string
	SecurePacketVersion       string
	RemoteProvisioningVersion string
}

// SecurityDomain is an ISD-R or ECASD.
type SecurityDomain struct {
	AID     []byte
	TAR     []byte // 3 bytes, or none
	SIN     []byte // tag 42
	SDIN    []byte // tag 45
	Role    string // "ISD-R" or "ECASD"
	Keysets []Keyset
}

// Keyset holds keys or one certificate.
type Keyset struct {
	Version     byte
	Type        string // "SCP80", "SCP03", "SCP81", "CA"
	Counter     *uint64
	Keys        []Key
	Certificate *Certificate
}

// Key is one key under the receiver's wrap key.
type Key struct {
	Index byte
	KCV   []byte // 3 bytes
	Type  byte   // GlobalPlatform key type: 88 AES, 85 PSK-TLS
	Value []byte // encrypted
}

// Certificate is a certificate of a CA key set.
type Certificate struct {
	Index byte
	CAID  string // OID, dotted
	Value []byte // the whole 7F21
}

// Certificate is the domain's first certificate, nil when it has none.
func (d SecurityDomain) Certificate() []byte {
	for _, k := range d.Keysets {
		if k.Certificate != nil {
			return k.Certificate.Value
		}
	}
	return nil
}

// Profile is the bootstrap profile as it leaves the factory.
type Profile struct {
	ICCID           id.ICCID
	ISDPAID         []byte
	MNOID           string // OID
	Fallback        bool
	IMSI            id.IMSI
	MSISDN          string // digits, or empty
	State           string // "Created", "Disabled" or "Enabled"
	SMDPID          string // OID, or empty
	ProfileType     string // or empty
	AllocatedMemory uint64
	FreeMemory      *uint64
	// Rules are POL2, which the SM-SR keeps: at registration, those that the profile brings along as POL1.
	Rules []Rule
}

// Rule is a rule of POL2 about the profile.
type Rule struct {
	Action        string // "ENABLE", "DISABLE" or "DELETE"
	Qualification string // "Not-Allowed" or "Auto-Delete"
}

// Fields is a whole EIS without its signature. EUMCertificateID is left out when empty, as the schema has it.
type Fields struct {
	SignedFields
	RemainingMemory  uint64
	AvailableMemory  uint64
	SMSRID           string // OID
	EUMCertificateID string
	Profiles         []Profile
	ISDR             SecurityDomain
}

// Signature is the EUM's signature over SignedInfo of the digest of EumSignedInfo.
type Signature struct {
	Value []byte // r‖s, 64 bytes
	SKI   []byte // subject key identifier of the signing certificate
}
