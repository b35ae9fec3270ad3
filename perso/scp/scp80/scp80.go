// Package scp80 is the secured packet of over-the-air management: the security header of ETSI TS 102 225, its key sets by
// version, the cryptographic checksum and the ciphering, both ends.
//
// It exists so that the OTA keys that the vault makes are checked by what an OTA platform and a card do with them, and so
// that a product's script can carry a first packet. Only packets with a cryptographic checksum (CC) are made and read:
// one with a redundancy check or none is no protection. Single DES, and DES in ECB mode, are refused.
//
// Contract. Open takes any bytes and never panics; the checksum is compared in constant time, before the counter is looked
// at; no error carries a key or data. A KeySet copies nothing: Wipe it. Any holder of OTA keys, the vault and the virtual
// chip, may call it; it imports the standard library, perso/scp and perso/scp/tdes.
//
// Specifications: ETSI TS 102 225 V17 §5.1 (command packet), §5.1.2 (KIc), §5.1.3 (KID), TS 102 226 (TAR).
package scp80

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/tdes"
)

const (
	redacted = "[redacted]"

	// MaxDataBytes bounds the secured data of one packet: the two-byte packet length covers header and padding too.
	MaxDataBytes = 65_000
	// MaxCounter is the largest counter: 5 bytes.
	MaxCounter = 1<<40 - 1
	// MaxKVN is the highest version of an OTA key set: it is a nibble, and 0 is none.
	MaxKVN = 0x0F

	ccBytes      = 8
	counterAt    = 10 // CPL(2) CHL(1) SPI(2) KIc(1) KID(1) TAR(3)
	headerBytes  = counterAt + 5 + 1 + ccBytes
	headerLength = headerBytes - 3 // what CHL counts
)

var (
	// ErrFormat says that bytes are no command packet that this package reads.
	ErrFormat = errors.New("malformed secured packet")
	// ErrPolicy says that a header asks for less security than this package accepts, or for what it does not know.
	ErrPolicy = errors.New("security of packet refused")
	// ErrKeys says that keys, algorithms or versions do not fit one another.
	ErrKeys = errors.New("unusable OTA key set")
	// ErrCC says that the packet was not made with these keys, or was changed.
	ErrCC = errors.New("wrong cryptographic checksum")
	// ErrCounter says that the packet's counter is not above the last one.
	ErrCounter = errors.New("counter of packet is not fresh")
)

// Algorithm is the algorithm of a KIc, KID or KIK key, coded as the low nibble of KIc and KID (§5.1.2, §5.1.3).
type Algorithm byte

// The algorithms. With AES, KIc is CBC and KID is CMAC; with Triple DES, both are CBC.
const (
	AES   Algorithm = 0x2
	TDES2 Algorithm = 0x5 // Triple DES, two keys
	TDES3 Algorithm = 0x9 // Triple DES, three keys
)

// ParseAlgorithm reads "aes", "3des-2key" or "3des-3key".
func ParseAlgorithm(s string) (Algorithm, error) {
	for _, a := range []Algorithm{AES, TDES2, TDES3} {
		if a.String() == s {
			return a, nil
		}
	}
	return 0, fmt.Errorf("reading OTA algorithm %.20q: want %q, %q or %q", s, AES, TDES2, TDES3)
}

// String is the name that ParseAlgorithm reads.
func (a Algorithm) String() string {
	switch a {
	case AES:
		return "aes"
	case TDES2:
		return "3des-2key"
	case TDES3:
		return "3des-3key"
	}
	return fmt.Sprintf("unknown algorithm %X", byte(a))
}

// Fits says whether a key of n bytes is one of the algorithm: AES 16, 24 or 32; Triple DES 16 or 24.
func (a Algorithm) Fits(n int) bool {
	switch a {
	case AES:
		return n == 16 || n == 24 || n == 32
	case TDES2:
		return n == 16
	case TDES3:
		return n == 24
	}
	return false
}

// Key is one key with its algorithm. It prints as "[redacted]".
type Key struct {
	Algorithm Algorithm
	Value     []byte
}

// Format keeps the key out of every fmt verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the key out of JSON and logs.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// KCV is the key check value: of an AES key over 16 bytes of 01, of a Triple DES key over a zero block.
func (k Key) KCV() ([3]byte, error) {
	if !k.Algorithm.Fits(len(k.Value)) {
		return [3]byte{}, fmt.Errorf("checking a key of %d bytes for %v: %w", len(k.Value), k.Algorithm, ErrKeys)
	}
	if k.Algorithm == AES {
		return scp.KCV(k.Value), nil
	}
	t, err := tdes.New(k.Value)
	if err != nil {
		return [3]byte{}, err
	}
	return t.KCV(), nil
}

// KeySet is one OTA key set of a card: version 1 to 15, key identifiers 1 (KIc, ciphering), 2 (KID, checksum) and 3 (KIK,
// which encrypts other keys and has no part in a packet).
type KeySet struct {
	KVN           byte
	KIc, KID, KIK Key
}

// Valid says whether versions, algorithms and lengths fit. KIK may be absent.
func (s KeySet) Valid() error {
	if s.KVN < 1 || s.KVN > MaxKVN {
		return fmt.Errorf("checking key version %02X, from 01 to %02X: %w", s.KVN, MaxKVN, ErrKeys)
	}
	for i, k := range []Key{s.KIc, s.KID, s.KIK} {
		if i == 2 && k.Value == nil {
			continue
		}
		if _, err := k.KCV(); err != nil {
			return fmt.Errorf("checking key %02X of version %02X: %w", i+1, s.KVN, err)
		}
	}
	return nil
}

// Wipe clears the keys.
func (s *KeySet) Wipe() {
	for _, k := range []Key{s.KIc, s.KID, s.KIK} {
		clear(k.Value)
	}
	*s = KeySet{}
}

// SPI is the two bytes that say how a packet and its answer are protected (§5.1.1).
type SPI [2]byte

const (
	spiCC      = 0x02 // with a cryptographic checksum; the mask is 03
	spiCipher  = 0x04
	spiCounter = 0x18 // see CounterRule
	spiKnown   = 0x1F
	porKnown   = 0x3F
)

// CounterRule is what the receiver does with the counter.
type CounterRule byte

// The rules, as they are coded in b5 b4 of the first byte.
const (
	CounterNone    CounterRule = 0x00 // not available
	CounterPresent CounterRule = 0x08 // available, not checked
	CounterHigher  CounterRule = 0x10 // only if above the last one
	CounterNext    CounterRule = 0x18 // only if one above the last one
)

// Counter is the counter rule.
func (s SPI) Counter() CounterRule { return CounterRule(s[0] & spiCounter) }

// Ciphered says whether the packet is enciphered.
func (s SPI) Ciphered() bool { return s[0]&spiCipher != 0 }

func (s SPI) check() error {
	if s[0]&0x03 != spiCC {
		return fmt.Errorf("checking SPI %02X%02X, which asks for no cryptographic checksum: %w", s[0], s[1], ErrPolicy)
	}
	if s[0]&^spiKnown != 0 || s[1]&^porKnown != 0 || s[1]&0x03 == 0x03 {
		return fmt.Errorf("checking SPI %02X%02X, which has bits reserved for later: %w", s[0], s[1], ErrPolicy)
	}
	return nil
}

// Header is what a packet says besides its data. The keys' versions and algorithms come from the key set.
type Header struct {
	SPI     SPI
	TAR     [3]byte // the application that is addressed
	Counter uint64  // at most MaxCounter
}

// Fresh compares a packet's counter with the last one accepted, by the rule of its SPI. Call it after Open.
func (h Header) Fresh(last uint64) error {
	ok := true
	switch h.SPI.Counter() {
	case CounterHigher:
		ok = h.Counter > last
	case CounterNext:
		ok = h.Counter == last+1
	}
	if !ok {
		return fmt.Errorf("comparing counter %d with the last one, %d: %w", h.Counter, last, ErrCounter)
	}
	return nil
}

// Seal makes the command packet: from the packet length on, without a transport's own header.
func Seal(keys KeySet, h Header, data []byte) ([]byte, error) {
	if err := errors.Join(keys.Valid(), h.SPI.check()); err != nil {
		return nil, fmt.Errorf("sealing packet: %w", err)
	}
	if len(data) > MaxDataBytes || h.Counter > MaxCounter {
		return nil, fmt.Errorf("sealing packet of %d bytes with counter %d: %w", len(data), h.Counter, ErrFormat)
	}
	pad := 0
	if h.SPI.Ciphered() {
		n := keys.KIc.block()
		pad = (n - (headerBytes-counterAt+len(data))%n) % n
	}
	p := make([]byte, headerBytes+len(data)+pad)
	total := len(p) - 2
	copy(p, []byte{byte(total >> 8), byte(total), headerLength, h.SPI[0], h.SPI[1], keys.KVN<<4 | byte(keys.KIc.Algorithm), keys.KVN<<4 | byte(keys.KID.Algorithm)})
	copy(p[7:], h.TAR[:])
	for i := range 5 {
		p[counterAt+i] = byte(h.Counter >> (8 * (4 - i)))
	}
	p[counterAt+5] = byte(pad)
	copy(p[headerBytes:], data)
	cc, err := checksum(keys.KID, p)
	if err != nil {
		return nil, fmt.Errorf("sealing packet: %w", err)
	}
	copy(p[headerBytes-ccBytes:], cc[:])
	if h.SPI.Ciphered() {
		if err := keys.KIc.cbc(p[counterAt:], true); err != nil {
			return nil, fmt.Errorf("sealing packet: %w", err)
		}
	}
	return p, nil
}

// Open reads a command packet that was made with the key set. The data are new memory.
func Open(keys KeySet, packet []byte) (h Header, data []byte, err error) {
	if err := keys.Valid(); err != nil {
		return Header{}, nil, fmt.Errorf("opening packet: %w", err)
	}
	if len(packet) < headerBytes || len(packet)-2 != int(packet[0])<<8|int(packet[1]) || packet[2] != headerLength {
		return Header{}, nil, fmt.Errorf("opening packet of %d bytes: %w", len(packet), ErrFormat)
	}
	p := append([]byte(nil), packet...)
	h = Header{SPI: SPI(p[3:]), TAR: [3]byte(p[7:])}
	if err := h.SPI.check(); err != nil {
		return Header{}, nil, fmt.Errorf("opening packet: %w", err)
	}
	if p[5] != keys.KVN<<4|byte(keys.KIc.Algorithm) || p[6] != keys.KVN<<4|byte(keys.KID.Algorithm) {
		return Header{}, nil, fmt.Errorf("opening packet for KIc %02X and KID %02X with key version %02X: %w", p[5], p[6], keys.KVN, ErrKeys)
	}
	if h.SPI.Ciphered() {
		if err := keys.KIc.cbc(p[counterAt:], false); err != nil {
			return Header{}, nil, fmt.Errorf("opening packet: %w", err)
		}
	}
	got := [ccBytes]byte(p[headerBytes-ccBytes:])
	cc, err := checksum(keys.KID, p)
	if err != nil {
		return Header{}, nil, fmt.Errorf("opening packet: %w", err)
	}
	if subtle.ConstantTimeCompare(cc[:], got[:]) != 1 {
		return Header{}, nil, fmt.Errorf("opening packet: %w", ErrCC)
	}
	return header(h, p, keys)
}

// header reads what the checksum has vouched for.
func header(h Header, p []byte, keys KeySet) (Header, []byte, error) {
	for _, b := range p[counterAt : counterAt+5] {
		h.Counter = h.Counter<<8 | uint64(b)
	}
	pad := int(p[counterAt+5])
	if pad > len(p)-headerBytes || pad > 0 && (!h.SPI.Ciphered() || pad >= keys.KIc.block()) {
		return Header{}, nil, fmt.Errorf("opening packet with %d bytes of padding: %w", pad, ErrFormat)
	}
	return h, append([]byte(nil), p[headerBytes:len(p)-pad]...), nil
}

// checksum is over everything but itself (§5.1): length to padding counter, then data and padding. Triple DES fills with
// zeros to a whole block.
func checksum(k Key, p []byte) (cc [ccBytes]byte, err error) {
	before, after := p[:headerBytes-ccBytes], p[headerBytes:]
	if k.Algorithm == AES {
		mac := scp.CMAC(k.Value, before, after)
		return [ccBytes]byte(mac[:]), nil
	}
	t, err := tdes.New(k.Value)
	if err != nil {
		return cc, err
	}
	in := append(append([]byte(nil), before...), after...)
	for len(in)%tdes.BlockBytes != 0 {
		in = append(in, 0)
	}
	return t.MAC(in)
}

func (k Key) block() int {
	if k.Algorithm == AES {
		return aes.BlockSize
	}
	return tdes.BlockBytes
}

// cbc enciphers or deciphers in place with zero IV.
func (k Key) cbc(p []byte, encrypt bool) error {
	if len(p)%k.block() != 0 {
		return fmt.Errorf("ciphering %d bytes in blocks of %d: %w", len(p), k.block(), ErrFormat)
	}
	if k.Algorithm != AES {
		return k.tdesCBC(p, encrypt)
	}
	b, err := aes.NewCipher(k.Value)
	if err != nil {
		return fmt.Errorf("ciphering: %w", err)
	}
	mode := cipher.NewCBCDecrypter(b, make([]byte, aes.BlockSize))
	if encrypt {
		mode = cipher.NewCBCEncrypter(b, make([]byte, aes.BlockSize))
	}
	mode.CryptBlocks(p, p)
	return nil
}

func (k Key) tdesCBC(p []byte, encrypt bool) error {
	t, err := tdes.New(k.Value)
	if err != nil {
		return err
	}
	f := t.OpenCBC
	if encrypt {
		f = t.CBC
	}
	out, err := f(p)
	copy(p, out)
	return err
}
