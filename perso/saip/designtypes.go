package saip

// Design describes a profile of our own in words: what Build makes a package of. perso/saip/design reads it from YAML;
// PROFILES.md explains each field.
type Design struct {
	Profile      string        `yaml:"profile"`      // profile type, shown by some devices
	Format       string        `yaml:"format"`       // version of SAIP, as "2.3"
	Home         Home          `yaml:"home"`         // network of the subscription
	Algorithm    Cipher        `yaml:"algorithm"`    // of all applications
	Services     []string      `yaml:"services"`     // further services that the chip must have, by SAIP's names
	Connectivity string        `yaml:"connectivity"` // parameters for the SM-SR's link (SGP.02), in hex
	PUKs         []Code        `yaml:"puks"`         //
	PINs         []Codes       `yaml:"pins"`         // by directory
	Rules        []string      `yaml:"rules"`        // access rules in words: the records of every EF.ARR
	Applications []Application `yaml:"applications"` //
	Files        []FileDesign  `yaml:"files"`        // what is not as the templates have it
	Domain       *Domain       `yaml:"domain"`       // security domain
	RFM          []Remote      `yaml:"rfm"`          // remote file management
}

// Home is the network that the placeholders are of: IMSI, identities of the ISIM, length of the network code in EF.AD.
type Home struct {
	MCC string `yaml:"mcc"`
	MNC string `yaml:"mnc"`
}

// Cipher is the authentication algorithm.
type Cipher struct {
	Name     string `yaml:"name"`      // milenage, tuak, usim-test-algorithm
	KeyBytes int    `yaml:"key_bytes"` // 16, or 32 with TUAK
	Options  string `yaml:"options"`   // one byte in hex, as SAIP codes it
}

// Code is a PIN, an ADM or a PUK. The value is of each card.
type Code struct {
	Ref     string `yaml:"ref"` // key reference in hex
	PUK     string `yaml:"puk"` // reference of the code that unblocks it; empty for none
	Tries   int    `yaml:"tries"`
	Enabled *bool  `yaml:"enabled"` // whether it is asked for; yes unless said otherwise
	Fixed   bool   `yaml:"fixed"`   // it can't be disabled (ADM)
}

// Codes are the codes of a directory.
type Codes struct {
	In    string `yaml:"in"` // mf, telecom, usim, isim
	Codes []Code `yaml:"codes"`
}

// Application is an ADF and the optional parts of it that are made.
type Application struct {
	Kind  string   `yaml:"kind"` // usim or isim
	AID   string   `yaml:"aid"`
	FID   string   `yaml:"fid"` // temporary identifier within the package
	Label string   `yaml:"label"`
	With  []string `yaml:"with"` // directories below: gsm-access, 5gs, saip
}

// FileDesign is a file: which one, and what differs from its template. One way of content at most is given.
type FileDesign struct {
	File    string `yaml:"file"` // directory and name, as "usim/ef-spn"
	Size    int    `yaml:"size"` // bytes, of all records together
	Record  int    `yaml:"record"`
	FID     string `yaml:"fid"`
	Rule    int    `yaml:"rule"` // record of EF.ARR, 0 for the template's
	Absent  bool   `yaml:"absent"`
	Comment string `yaml:"comment"`

	Hex      string         `yaml:"hex"`
	Records  []string       `yaml:"records"`  // hex
	Name     *ServiceName   `yaml:"name"`     // EF.SPN
	Services []int          `yaml:"services"` // service table: numbers that are available
	Networks *[]NetworkList `yaml:"networks"` // PLMNs with access technologies
	PLMNs    *[]Home        `yaml:"plmns"`    // PLMNs alone
	Texts    []string       `yaml:"texts"`    // identities or a domain of the ISIM; {imsi}, {mcc}, {mnc} are replaced
	Numbers  []Emergency    `yaml:"numbers"`  // EF.ECC
}

// ServiceName is the content of EF.SPN (TS 31.102 clause 4.2.12).
type ServiceName struct {
	Text       string `yaml:"text"`
	ShowPLMN   bool   `yaml:"show_plmn"`   // at home, the PLMN as well
	HideAbroad bool   `yaml:"hide_abroad"` // no name where the PLMN is not of the list of the provider
}

// NetworkList is an entry of a list with access technologies (TS 31.102 clause 4.2.5).
type NetworkList struct {
	MCC    string   `yaml:"mcc"`
	MNC    string   `yaml:"mnc"`
	Access []string `yaml:"access"` // gsm, utran, eutran, nr
}

// Emergency is a number of EF.ECC.
type Emergency struct {
	Number   string `yaml:"number"`
	Category int    `yaml:"category"`
}

// Domain is a security domain with its key sets. The keys are of each card.
type Domain struct {
	Package    string   `yaml:"package"`  // AIDs
	Module     string   `yaml:"module"`   //
	Instance   string   `yaml:"instance"` //
	Privileges string   `yaml:"privileges"`
	Parameters string   `yaml:"parameters"` // of INSTALL, tag C9, in hex
	TARs       []string `yaml:"tars"`
	KeySets    []KeySet `yaml:"key_sets"`
}

// KeySet is encryption, integrity and data encryption key of one version.
type KeySet struct {
	Version string `yaml:"version"` // hex
	Type    string `yaml:"type"`    // aes or des
	Bytes   int    `yaml:"bytes"`
}

// Remote is an instance of remote file management.
type Remote struct {
	AID      string   `yaml:"aid"`
	TARs     []string `yaml:"tars"`
	Security string   `yaml:"security"` // minimum security level, one byte in hex
	Files    string   `yaml:"files"`    // whose files: mf, usim, isim
}
