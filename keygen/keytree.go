package keygen

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
)

// Labels of what the HSM derives from a lot's or the receipt key. They begin, after the counter, with this project's name
// and format number; KEYTREE.md lists them with vectors.
const (
	labelSeed      = "persoline/1 seed"
	labelChallenge = "persoline/1 challenge"
	labelReceipts  = "persoline/1 receipts"
	labelIndex     = "persoline/1 index"
	labelCard      = "persoline/1 card "
)

const (
	seedBytes = sha256.Size
	keyBytes  = 16
	pinBytes  = 8 // a PIN, PUK or ADM in its field, filled with FF (TS 102 221 §9.5.1)
)

// kdfInput is the one block of SP 800-108 in counter mode with HMAC-SHA-256: [1]₃₂ ‖ label ‖ 00 ‖ context ‖ [256]₃₂. The MAC
// of it is the derived key.
func kdfInput(label string, context []byte) []byte {
	in := binary.BigEndian.AppendUint32(nil, 1)
	in = append(in, label...)
	in = append(in, 0)
	in = append(in, context...)
	return binary.BigEndian.AppendUint32(in, 8*seedBytes)
}

// seedContext names one card: lot, unit, generation and chip, each of one length or with its length before it.
func seedContext(lot perso.Name, u perso.Unit, g perso.Generation, chip id.ChipID) []byte {
	c := append([]byte{byte(len(lot))}, lot...)
	c = binary.BigEndian.AppendUint32(c, uint32(u))
	b := chip.Bytes()
	c = append(c, byte(g), byte(len(b)))
	return append(c, b...)
}

// cardKeys are the derived secrets of one card. Wipe them.
type cardKeys struct {
	KI, ISDEnc, ISDMac, ISDDek, OTAKic, OTAKid, OTAKik [keyBytes]byte
	PIN1, PIN2, PUK1, PUK2, ADM1                       [pinBytes]byte
}

func (k *cardKeys) wipe() { *k = cardKeys{} }

// deriveCard expands the seed into the card's secrets.
func deriveCard(seed *[seedBytes]byte) (*cardKeys, error) {
	k := new(cardKeys)
	for _, key := range []struct {
		label string
		to    *[keyBytes]byte
	}{
		{"KI", &k.KI}, {"ISD.ENC", &k.ISDEnc}, {"ISD.MAC", &k.ISDMac}, {"ISD.DEK", &k.ISDDek},
		{"OTA.KIC", &k.OTAKic}, {"OTA.KID", &k.OTAKid}, {"OTA.KIK", &k.OTAKik},
	} {
		if err := deriveKey(seed, key.label, key.to); err != nil {
			return nil, err
		}
	}
	for _, code := range []struct {
		label  string
		digits int
		to     *[pinBytes]byte
	}{{"PIN1", 4, &k.PIN1}, {"PIN2", 4, &k.PIN2}, {"PUK1", 8, &k.PUK1}, {"PUK2", 8, &k.PUK2}, {"ADM1", 8, &k.ADM1}} {
		if err := deriveCode(seed, code.label, code.digits, code.to); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// keyStreamBytes allows four candidates for a key: one is weak once in 2^120.
const keyStreamBytes = 4 * keyBytes

// deriveKey takes the first 16 bytes of the label's stream that are not weak: not all equal.
func deriveKey(seed *[seedBytes]byte, label string, to *[keyBytes]byte) error {
	stream, err := hkdf.Expand(sha256.New, seed[:], labelCard+label, keyStreamBytes)
	defer clear(stream)
	if err != nil {
		return fmt.Errorf("deriving %s: %w", label, err)
	}
	for rest := stream; len(rest) > 0; rest = rest[keyBytes:] {
		if copy(to[:], rest); !allEqual(to[:]) {
			return nil
		}
	}
	return fmt.Errorf("deriving %s: only weak values", label)
}

// codeStreamBytes is the stream of a code: 256 bytes are fewer than the 8 digits it needs once in more than 2^1000 seeds.
const codeStreamBytes = 256

// deriveCode draws decimal digits without bias (bytes from 250 on are passed over) until they are no weak code, and fills
// the field with FF. Weak are codes of one digit, and those that count up or down by one.
func deriveCode(seed *[seedBytes]byte, label string, digits int, to *[pinBytes]byte) error {
	stream, err := hkdf.Expand(sha256.New, seed[:], labelCard+label, codeStreamBytes)
	defer clear(stream)
	if err != nil {
		return fmt.Errorf("deriving %s: %w", label, err)
	}
	for i := range to {
		to[i] = 0xFF
	}
	n := 0
	for _, b := range stream {
		if b >= 250 {
			continue
		}
		to[n] = '0' + b%10
		if n++; n < digits {
			continue
		}
		if !weakCode(to[:digits]) {
			return nil
		}
		n = 0
	}
	return fmt.Errorf("deriving %s: only weak values", label)
}

func allEqual(b []byte) bool {
	for _, x := range b[1:] {
		if x != b[0] {
			return false
		}
	}
	return true
}

func weakCode(digits []byte) bool {
	step := digits[1] - digits[0]
	if step != 0 && step != 1 && step != 0xFF {
		return false
	}
	for i := 2; i < len(digits); i++ {
		if digits[i]-digits[i-1] != step {
			return false
		}
	}
	return true
}

// isd is the card's own key set of the issuer security domain. It shares memory with k.
func (k *cardKeys) isd() scp.StaticKeys {
	return scp.StaticKeys{ENC: k.ISDEnc[:], MAC: k.ISDMac[:], DEK: k.ISDDek[:]}
}

// pinSets are the blocks that go to the card: PIN1‖PUK1, PIN2‖PUK2, ADM1‖FF….
func (k *cardKeys) pinSets() (sets [3][16]byte) {
	for i, pair := range [][2][pinBytes]byte{{k.PIN1, k.PUK1}, {k.PIN2, k.PUK2}, {k.ADM1, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}}} {
		copy(sets[i][:], pair[0][:])
		copy(sets[i][pinBytes:], pair[1][:])
	}
	return sets
}

// pinCheck proves that the card holds the PIN blocks without showing them: the first 8 bytes of AES-CMAC(Ki, blocks).
func (k *cardKeys) pinCheck() [8]byte {
	sets := k.pinSets()
	defer clear(sets[:])
	mac := scp.CMAC(k.KI[:], sets[0][:], sets[1][:], sets[2][:])
	return [8]byte(mac[:8])
}

// Uses of the challenge key beside the host challenge itself, which has an empty suffix.
const (
	useReopen     = 1 // CHALLENGE2
	usePossession = 2 // POP.CHALLENGE
	useAuth       = 3 // AUTH.RAND
)

// challenge is HMAC-SHA-256(challenge key, serial ‖ suffix): the host challenge of a serial number is its first 8 bytes.
func challenge(key []byte, serial uint64, suffix ...byte) (sum [32]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(append(binary.BigEndian.AppendUint64(nil, serial), suffix...))
	h.Sum(sum[:0])
	return sum
}
