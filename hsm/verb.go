package hsm

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Limits of what one verb takes.
const (
	// maxMessageBytes bounds what is hashed, signed or sealed in one call: the
	// longest thing of ours is a log entry of 65,535 bytes.
	maxMessageBytes = 1 << 16
	// maxBlocksBytes bounds EncryptECB and DecryptECB: a diversification takes 48 bytes, a key
	// set for a receiver some hundred.
	maxBlocksBytes = 4096
	// maxRandomBytes bounds Random: some modules refuse more in one call.
	maxRandomBytes = 1024
	// digestBytes is the one digest length we sign: SHA-256.
	digestBytes = 32
	// The blocks of AES and of DES.
	aesBlockBytes = 16
	desBlockBytes = 8
	// rsaBits is the modulus of RSA pairs.
	rsaBits = 3072
)

// A Verb is one of the things a Token can do. The set is closed; the zero
// value is no verb.
type Verb uint8

// The verbs that Stats counts.
const (
	VerbGenerate Verb = iota + 1
	VerbImport
	VerbDestroy
	VerbList
	VerbHas
	VerbLocal
	VerbPublic
	VerbMAC
	VerbEncryptECB
	VerbSignDigest
	VerbSignMessage
	VerbSeal
	VerbUnseal
	VerbRandom
	VerbKCV
	VerbCardPair
	VerbDecryptECB
	verbEnd
)

// String returns the verb as its method is called.
func (v Verb) String() string {
	names := [...]string{
		VerbGenerate: "Generate", VerbImport: "Import", VerbDestroy: "Destroy",
		VerbList: "List", VerbHas: "Has", VerbLocal: "Local", VerbPublic: "Public",
		VerbMAC: "MAC", VerbEncryptECB: "EncryptECB", VerbSignDigest: "SignDigest",
		VerbSignMessage: "SignMessage", VerbSeal: "Seal", VerbUnseal: "Unseal",
		VerbRandom: "Random", VerbKCV: "KCV",
		VerbCardPair: "CardPair", VerbDecryptECB: "DecryptECB",
	}
	if v == 0 || v >= verbEnd {
		return fmt.Sprintf("Verb(%d)", uint8(v))
	}
	return names[v]
}

// ParseVerb reads the name that String prints.
func ParseVerb(name string) (Verb, error) {
	for v := VerbGenerate; v < verbEnd; v++ {
		if v.String() == name {
			return v, nil
		}
	}
	return 0, fmt.Errorf("parsing verb: %q is none", name)
}

// Admit is the gate that a token and its double pass every call through: is
// the key well named, may its class do this, and is the size (of the message,
// the blocks, the digest, the plaintext, the key to import) within the verb's
// limits? Sizes of verbs without input are ignored. The error wraps ErrRefused.
func (k Key) Admit(v Verb, sizeBytes int) error {
	if err := k.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if !k.Class.permits(v) {
		return fmt.Errorf("%w: %s is not for class %q", ErrRefused, v, k.Class)
	}
	if v == VerbImport {
		if sizes := ruleOf(k.Class).importBytes; !slices.Contains(sizes, sizeBytes) {
			return fmt.Errorf("%w: key of %d bytes, class %q takes %v", ErrRefused, sizeBytes, k.Class, sizes)
		}
		return nil
	}
	return admitSize(v, sizeBytes, ruleOf(k.Class).blockBytes())
}

// AdmitSize is the part of Admit that depends on the verb alone; Random, which
// takes no key, passes through it only. Blocks are those of AES. The error wraps
// ErrRefused.
func AdmitSize(v Verb, sizeBytes int) error { return admitSize(v, sizeBytes, aesBlockBytes) }

func admitSize(v Verb, sizeBytes, blockBytes int) error {
	least, most, multiple := 0, 0, 1
	switch v {
	case VerbMAC, VerbSignMessage, VerbSeal:
		least, most = 1, maxMessageBytes
	case VerbUnseal:
		least, most = sealOverheadBytes+1, sealOverheadBytes+maxMessageBytes
	case VerbEncryptECB, VerbDecryptECB:
		least, most, multiple = blockBytes, maxBlocksBytes, blockBytes
	case VerbSignDigest:
		least, most = digestBytes, digestBytes
	case VerbRandom:
		least, most = 1, maxRandomBytes
	default:
		return nil
	}
	if sizeBytes < least || sizeBytes > most || sizeBytes%multiple != 0 {
		return fmt.Errorf("%w: %s of %d bytes, want %d..%d in steps of %d", ErrRefused, v, sizeBytes, least, most, multiple)
	}
	return nil
}

// permits reports whether keys of the class take the verb.
func (c Class) permits(v Verb) bool {
	switch v {
	case VerbGenerate, VerbDestroy, VerbHas, VerbLocal:
		return true
	case VerbImport:
		return !ruleOf(c).isPair() && c != ClassLife // else a life could be put back
	case VerbPublic, VerbSignMessage:
		return ruleOf(c).isPair()
	case VerbSignDigest:
		// Log and statement keys never sign a digest of unknown origin.
		return c == ClassEUM || c == ClassEIS || c == ClassEUMBrainpool
	case VerbMAC:
		return c == ClassLot || c == ClassReceipt || c == ClassLife || c == ClassKiPrint
	case VerbEncryptECB:
		return c == ClassTransport || c == ClassSMSR || c == ClassKMC || c.TDES()
	case VerbDecryptECB:
		return c == ClassReceive
	case VerbKCV:
		return c.permits(VerbMAC) || c.permits(VerbEncryptECB) || c.permits(VerbDecryptECB)
	case VerbSeal, VerbUnseal:
		return c == ClassSeal
	default:
		return false
	}
}

// Stats says how often each verb was admitted and sent to the device.
// A Seal counts itself and the Random that makes its nonce.
type Stats map[Verb]uint64

// Total returns the sum over all verbs.
func (s Stats) Total() uint64 {
	var sum uint64
	for _, n := range s {
		sum += n
	}
	return sum
}

// A Counter counts verbs. The zero value is ready; it is safe for concurrent
// use and must not be copied.
type Counter struct {
	n [verbEnd]atomic.Uint64
}

// Add counts one call of the verb.
func (c *Counter) Add(v Verb) { c.n[v].Add(1) }

// Stats returns the counts so far, verbs never called left out.
func (c *Counter) Stats() Stats {
	s := Stats{}
	for v := VerbGenerate; v < verbEnd; v++ {
		if n := c.n[v].Load(); n > 0 {
			s[v] = n
		}
	}
	return s
}
