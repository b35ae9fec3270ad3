package hsm

import (
	"fmt"
	"strings"
)

// Limits of a label's parts. persoline + env + class + id stay under the 127
// bytes that the narrowest network HSM we know allows for CKA_LABEL.
const (
	maxEnvBytes   = 16
	maxKeyIDBytes = 64
)

// labelRoot opens every label, so that a token shared with other software
// shows at a glance what is ours.
const labelRoot = "persoline"

// A Class says what a key is for, and so what may be done with it. The set is
// closed; the zero value is no class.
type Class uint8

// The classes. policy.go holds the attributes of each, KEYS.md the same as a
// page to read.
const (
	// ClassLot is a lot's seed key: 32 bytes, HMAC-SHA-256 only.
	ClassLot Class = iota + 1
	// ClassReceipt makes the MACs of the vault's render receipts.
	ClassReceipt
	// ClassLog signs checkpoints of the ledger's log.
	ClassLog
	// ClassStatement signs the vault's statements: receipts, bundles, verdicts.
	ClassStatement
	// ClassEUM signs eUICC certificates (the EUM certificate's key).
	ClassEUM
	// ClassEIS signs the EIS records delivered to an SM-SR.
	ClassEIS
	// ClassTransport is a receiver's AES transport key (K4): encrypts only.
	ClassTransport
	// ClassSMSR is the AES-128 key that wraps key sets for an SM-SR.
	ClassSMSR
	// ClassKMC is a chip maker's master key, diversified per card with AES.
	ClassKMC
	// ClassSeal keeps OP, TOP and random Ki at rest: AES-256-GCM, both ways.
	ClassSeal
	// ClassEUMBrainpool signs eUICC certificates under an EUM certificate on
	// brainpoolP256r1. A class of its own, and no parameter of ClassEUM: the
	// label then says which curve a key is on, and its template stays one.
	ClassEUMBrainpool
	// ClassTransport3DES is the 3DES transport key of an old AuC: encrypts only.
	ClassTransport3DES
	// ClassReceive is an operator's AES key that his own Ki arrive under: decrypts
	// only.
	ClassReceive
	// ClassEnvelope signs envelopes for receivers' RSA keys.
	ClassEnvelope
	// ClassLife marks the life that a vault is in: it encrypts and signs nothing,
	// and goes when the next life begins (package keygen/life).
	ClassLife
	// ClassKiPrint makes the prints by which equal Ki of customers are found.
	ClassKiPrint
	// ClassKMCEMV and ClassKMCVISA2 are a chip maker's Triple DES master keys. Each is diversified by one scheme (perso/scp/scp02), which
	// its label says: so no release or script can have it used by another.
	ClassKMCEMV
	ClassKMCVISA2
)

// Classes returns every class, in order.
func Classes() []Class {
	return []Class{
		ClassLot, ClassReceipt, ClassLog, ClassStatement, ClassEUM,
		ClassEIS, ClassTransport, ClassSMSR, ClassKMC, ClassSeal,
		ClassEUMBrainpool, ClassTransport3DES, ClassReceive, ClassEnvelope,
		ClassLife, ClassKiPrint, ClassKMCEMV, ClassKMCVISA2,
	}
}

// TDES says whether keys of the class are Triple DES keys.
func (c Class) TDES() bool { return c == ClassTransport3DES || c == ClassKMCEMV || c == ClassKMCVISA2 }

// ParseClass reads the name that String prints.
func ParseClass(name string) (Class, error) {
	for _, c := range Classes() {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("parsing key class: %q is none", name)
}

// String returns the class as it stands in a label.
func (c Class) String() string {
	switch c {
	case ClassLot:
		return "lot"
	case ClassReceipt:
		return "receipt"
	case ClassLog:
		return "log"
	case ClassStatement:
		return "statement"
	case ClassEUM:
		return "eum"
	case ClassEIS:
		return "eis"
	case ClassTransport:
		return "transport"
	case ClassSMSR:
		return "smsr"
	case ClassKMC:
		return "kmc"
	case ClassSeal:
		return "seal"
	case ClassEUMBrainpool:
		return "eum-brainpool"
	case ClassTransport3DES:
		return "transport-3des"
	case ClassReceive:
		return "receive"
	case ClassEnvelope:
		return "envelope"
	case ClassLife:
		return "life"
	case ClassKiPrint:
		return "ki-print"
	case ClassKMCEMV:
		return "kmc-emv-cps"
	case ClassKMCVISA2:
		return "kmc-visa2"
	default:
		return fmt.Sprintf("class(%d)", uint8(c))
	}
}

// A Key names one key (or key pair) on the token. Make it with NewKey or
// ParseKey; the verbs refuse one whose label and class disagree. Keys are
// comparable. A Key is a name, not a secret.
type Key struct {
	// Label is persoline/<env>/<class>/<id>, the object's CKA_LABEL.
	Label string
	// Class repeats the label's third part as a type.
	Class Class
}

// NewKey names the key of a class in an environment ("test", "production").
// env is 1..16 of a-z, 0-9 and "-"; id is 1..64 of A-Z, a-z, 0-9, "-", "_" and
// ".". Both begin with a letter or digit.
func NewKey(env string, c Class, id string) (Key, error) {
	return ParseKey(strings.Join([]string{labelRoot, env, c.String(), id}, "/"))
}

// ParseKey reads a label. There is exactly one spelling of each Key.
func ParseKey(label string) (Key, error) {
	part := strings.Split(label, "/")
	if len(part) != 4 || part[0] != labelRoot {
		return Key{}, fmt.Errorf("parsing key label %q: not %s/<env>/<class>/<id>", label, labelRoot)
	}
	if !isName(part[1], maxEnvBytes, "-") || strings.ToLower(part[1]) != part[1] {
		return Key{}, fmt.Errorf("parsing key label %q: environment %q", label, part[1])
	}
	class, err := ParseClass(part[2])
	if err != nil {
		return Key{}, fmt.Errorf("parsing key label %q: %w", label, err)
	}
	if !isName(part[3], maxKeyIDBytes, "-_.") {
		return Key{}, fmt.Errorf("parsing key label %q: id %q", label, part[3])
	}
	return Key{Label: label, Class: class}, nil
}

// Env returns the environment that the label names, "" for an invalid key.
func (k Key) Env() string { return k.part(1) }

// ID returns the last part of the label, "" for an invalid key.
func (k Key) ID() string { return k.part(3) }

// String returns the label.
func (k Key) String() string { return k.Label }

func (k Key) part(n int) string {
	part := strings.Split(k.Label, "/")
	if len(part) != 4 {
		return ""
	}
	return part[n]
}

// check refuses a Key that was put together by hand and does not agree with
// itself.
func (k Key) check() error {
	parsed, err := ParseKey(k.Label)
	if err != nil {
		return err
	}
	if parsed.Class != k.Class {
		return fmt.Errorf("key %q is not of class %q", k.Label, k.Class)
	}
	return nil
}

// isName reports whether s is 1..max ASCII letters, digits and punctuation of
// the given set, beginning with a letter or digit.
func isName(s string, max int, punctuation string) bool {
	if s == "" || len(s) > max || strings.ContainsRune(punctuation, rune(s[0])) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(punctuation, c) < 0 {
			return false
		}
	}
	return true
}
