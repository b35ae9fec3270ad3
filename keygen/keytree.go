package keygen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/persoline/persoline/keygen/carddata"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/scp"
)

// Labels of what the HSM derives from a lot's or the receipt key. They begin, after the counter, with this project's name
// and format number; KEYTREE.md lists them with vectors.
const (
	labelSeed      = "persoline/1 seed"
	labelChallenge = "persoline/1 challenge"
	labelReceipts  = "persoline/1 receipts"
	labelIndex     = "persoline/1 index"
	labelPairing   = "persoline/1 pairing"
	labelCarrying  = "persoline/1 carrying"
	labelKiPrint   = "persoline/1 ki print"
	labelEnvelope  = "persoline/1 envelope"
	labelSealing   = "persoline/1 sealing"
)

// labelOperational is the stream, of a card's seed, that is the seed of its operational profile.
const labelOperational = "PROFILE2.SEED"

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
	KI                                             []byte // 16 bytes, or 32 of TUAK
	ISDEnc, ISDMac, ISDDek, OTAKic, OTAKid, OTAKik [keyBytes]byte

	seed                         [seedBytes]byte // of what only a profile package has a place for; zero in a lot without packages
	PIN1, PIN2, PUK1, PUK2, ADM1 [pinBytes]byte
}

func (k *cardKeys) wipe() {
	clear(k.KI)
	*k = cardKeys{}
}

// labelK is the stream that K comes from: of its own for each algorithm and length, so that no key serves two.
func labelK(a auth.Algorithm) string {
	if a.Name == auth.Milenage {
		return "KI"
	}
	return fmt.Sprintf("K.%s-%d", a.Name, 8*a.KBytes())
}

// deriveCard expands the seed into the card's secrets, its codes by the lot's policy.
func deriveCard(seed *[seedBytes]byte, policy codes.Policy, a auth.Algorithm) (*cardKeys, error) {
	k, x := &cardKeys{KI: make([]byte, a.KBytes())}, carddata.NewExpander(seed)
	for _, key := range []struct {
		label string
		to    []byte
	}{
		{labelK(a), k.KI}, {"ISD.ENC", k.ISDEnc[:]}, {"ISD.MAC", k.ISDMac[:]}, {"ISD.DEK", k.ISDDek[:]},
		{"OTA.KIC", k.OTAKic[:]}, {"OTA.KID", k.OTAKid[:]}, {"OTA.KIK", k.OTAKik[:]},
	} {
		if err := deriveKey(x, key.label, key.to); err != nil {
			return nil, err
		}
	}
	for _, code := range []struct {
		name codes.Code
		to   *[pinBytes]byte
	}{{codes.PIN1, &k.PIN1}, {codes.PIN2, &k.PIN2}, {codes.PUK1, &k.PUK1}, {codes.PUK2, &k.PUK2}, {codes.ADM1, &k.ADM1}} {
		rule, _ := policy.Rule(code.name)
		if err := carddata.DeriveCode(x, code.name, rule, code.to); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// candidates allows four of them for a key: one is weak once in 2^120.
const candidates = 4

// deriveKey takes the first bytes of the label's stream that are not weak: not all equal.
func deriveKey(x *carddata.Expander, label string, to []byte) error {
	s := x.Stream(label, candidates*len(to))
	defer s.Wipe()
	for s.Fill(to) {
		if !allEqual(to) {
			return nil
		}
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
	mac := scp.CMAC(k.KI, sets[0][:], sets[1][:], sets[2][:])
	return [8]byte(mac[:8])
}

// Uses of the challenge key beside the host challenge itself, which has an empty suffix.
const (
	useReopen     = 1 // CHALLENGE2
	usePossession = 2 // POP.CHALLENGE
	useAuth       = 3 // AUTH.RAND
	usePackage    = 4 // host challenge of the first profile package; 5 of the second
)

// challenge is HMAC-SHA-256(challenge key, serial ‖ suffix): the host challenge of a serial number is its first 8 bytes.
func challenge(key []byte, serial uint64, suffix ...byte) (sum [32]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(append(binary.BigEndian.AppendUint64(nil, serial), suffix...))
	h.Sum(sum[:0])
	return sum
}
