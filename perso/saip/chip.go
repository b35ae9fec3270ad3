package saip

import "slices"

// Chip is what a chip has after it loaded a package: every file with its content, codes, algorithms, keys. Secrets are
// those of the package, which are dummies in a template.
type Chip struct {
	Header  Header
	Files   []*File // in the order of their creation
	PINs    []PIN
	PUKs    []PUK
	AKAs    []AKA
	Domains []SecurityDomain
	RFMs    []RFM
	Code    []Loaded

	byPath map[Path]*File
	cdma   []*Element
}

// File is one file.
type File struct {
	Path       Path
	FID        uint16
	Name       string // in SAIP's template, as in "ef-imsi"; empty for files without one
	Kind       FileKind
	AID        []byte // of an ADF
	Size       int    // bytes; of a BER-TLV file what is reserved for it
	RecordSize int    // bytes of a record, 0 without records
	SFI        byte   // short file identifier, 0 for none
	LifeCycle  byte   // ETSI TS 102 222 coding: 05 activated
	HighUpdate bool   // the file is written often
	ARR        ARR
	Access     []byte // the rule: the record of EF.ARR, without its filler; nil if it is not in the package
	PINStatus  []byte // of a directory: key references
	Link       Path   // where the content really is; empty for a file of its own
	Content    []byte // Size bytes of an EF, or what a BER-TLV file holds; a link's is its target's, the same bytes

	// FromTemplate says that the package doesn't name the file: it has it because its template makes it.
	FromTemplate bool

	pieces    []piece
	initial   []byte // content before the package brings any
	at        *Element
	node      *node
	sizeKnown bool
}

// ARR is a reference to a rule.
type ARR struct {
	FID    uint16 // of the EF with the rules
	Record byte   // 0 for none
}

// piece is a part of a file's content that the package brings.
type piece struct {
	start int // in the content
	node  *node
}

// Record is one record of a file, from 1; nil where there is none.
func (f *File) Record(number int) []byte {
	if f.RecordSize == 0 || number < 1 || number*f.RecordSize > len(f.Content) {
		return nil
	}
	return f.Content[(number-1)*f.RecordSize : number*f.RecordSize]
}

// File finds a file; nil if there is none.
func (c *Chip) File(p Path) *File { return c.byPath[p] }

// Applications are the ADFs in their order.
func (c *Chip) Applications() (adfs []*File) {
	for _, f := range c.Files {
		if f.Kind == ADF {
			adfs = append(adfs, f)
		}
	}
	return adfs
}

// Prefixes of application identifiers: RID and application code (3GPP TS 31.110, ETSI TS 101 220; 3GPP2 C.S0065).
var (
	aidUSIM = []byte{0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02}
	aidISIM = []byte{0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x04}
	aidCSIM = []byte{0xA0, 0x00, 0x00, 0x03, 0x43, 0x10, 0x02}
)

// Application is the kind of an ADF: PEUSIM, PEISIM, PECSIM, or "" for another.
func (f *File) Application() string {
	for kind, prefix := range map[string][]byte{PEUSIM: aidUSIM, PEISIM: aidISIM, PECSIM: aidCSIM} {
		if len(f.AID) >= len(prefix) && slices.Equal(f.AID[:len(prefix)], prefix) {
			return kind
		}
	}
	return ""
}
