// Package scp02 is GlobalPlatform Secure Channel Protocol 02, option i = 55, both ends: three secure channel keys, C-MAC on the
// modified APDU, ICV encryption, explicit initiation, pseudo-random card challenge.
//
// It exists for chips whose makers left a Triple DES key set. SCP02 is deprecated by GlobalPlatform; a product that can
// speak SCP03 uses package scp. There is no R-MAC here, so an answer proves nothing by itself.
//
// Contract. The session is a function of keys, challenge and INITIALIZE UPDATE answer, and its place in the MAC chain is
// a Mark, so that a vault that keeps nothing can go on (Resume). Parsers take any bytes and never panic; cryptograms are
// compared in constant time; no error carries a key. A Host or a Card belongs to one goroutine. The vault has the host's end,
// the virtual chip the card's; it imports the standard library, perso/apdu and perso/scp/tdes.
//
// Specification: GlobalPlatform Card Specification 2.3.1 Annex E, §11.8 (PUT KEY).
package scp02

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp/tdes"
)

const (
	redacted = "[redacted]"
	keyBytes = 16

	claGP, claSM            = 0x80, 0x04
	insInitializeUpdate     = 0x50
	insExternalAuthenticate = 0x82
	insPutKey               = 0xD8

	initUpdateBytes = 28
	protocol        = 0x02

	// MaxData is the largest plain command data: Lc is at most 255 with a MAC of 8 bytes, and with padding to a block.
	MaxData = 255 - 8 - 8
)

// The constants of the session keys (§E.4.1).
const (
	deriveCMAC = 0x0101
	deriveDEK  = 0x0181
	deriveENC  = 0x0182
)

var (
	// ErrFormat says that bytes do not have the layout that the specification gives.
	ErrFormat = errors.New("malformed SCP02 data")
	// ErrCryptogram says that the card does not hold the same static keys.
	ErrCryptogram = errors.New("wrong card cryptogram")
	// ErrLevel says that a security level is not one of this package.
	ErrLevel = errors.New("security level not supported with SCP02")
	// ErrState says that the session is not open yet, is open already, or was wiped.
	ErrState = errors.New("no open SCP02 session")
)

// Level is the security level of a session, P1 of EXTERNAL AUTHENTICATE.
type Level byte

// The levels.
const (
	LevelCMAC     Level = 0x01
	LevelCMACCENC Level = 0x03
)

// StaticKeys is one Triple DES key set of a security domain: three two-key values of 16 bytes. It prints and marshals as
// "[redacted]".
type StaticKeys struct{ ENC, MAC, DEK []byte }

// Format keeps the keys out of every fmt verb.
func (StaticKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the keys out of JSON and logs.
func (StaticKeys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Wipe clears the bytes of the three keys, for every holder of these slices.
func (k StaticKeys) Wipe() {
	clear(k.ENC)
	clear(k.MAC)
	clear(k.DEK)
}

// InitUpdate is the answer to INITIALIZE UPDATE (§E.5.1).
type InitUpdate struct {
	KDD            [10]byte // key diversification data
	KVN            byte     // version of the key set the card used
	Seq            uint16   // sequence counter
	CardChallenge  [6]byte
	CardCryptogram [8]byte
}

// InitUpdateCommand is INITIALIZE UPDATE for key version kvn (00: the card's default).
func InitUpdateCommand(kvn byte, hostChallenge [8]byte) apdu.Command {
	return apdu.Command{CLA: claGP, INS: insInitializeUpdate, P1: kvn, Data: hostChallenge[:], Le: apdu.MaxLe}
}

// ParseInitUpdate reads the 28 bytes of data of the answer, without status word.
func ParseInitUpdate(data []byte) (InitUpdate, error) {
	if len(data) != initUpdateBytes {
		return InitUpdate{}, fmt.Errorf("parsing initialize update answer of %d bytes, want %d: %w", len(data), initUpdateBytes, ErrFormat)
	}
	if data[11] != protocol {
		return InitUpdate{}, fmt.Errorf("parsing initialize update answer for protocol %02X: %w", data[11], ErrFormat)
	}
	return InitUpdate{
		KDD: [10]byte(data), KVN: data[10], Seq: uint16(data[12])<<8 | uint16(data[13]),
		CardChallenge: [6]byte(data[14:]), CardCryptogram: [8]byte(data[20:]),
	}, nil
}

// Append appends the data of the answer, without status word.
func (iu InitUpdate) Append(dst []byte) []byte {
	dst = append(dst, iu.KDD[:]...)
	dst = append(dst, iu.KVN, protocol, byte(iu.Seq>>8), byte(iu.Seq))
	dst = append(dst, iu.CardChallenge[:]...)
	return append(dst, iu.CardCryptogram[:]...)
}

// Mark is the place right after one command: its MAC, which the chip saw on the wire.
type Mark [8]byte

// Host is the off-card end of one session: OpenHost, then ExternalAuthenticate or Resume, then Wrap for each command in
// order. It prints as "[redacted]".
type Host struct {
	mac, enc, dek *tdes.Key // session keys
	secrets       [3 * keyBytes]byte
	proof         [8]byte // host cryptogram
	at            Mark
	level         Level // 0 until the session is open
}

// OpenHost derives the session keys and checks that the card holds the same static keys (ErrCryptogram).
func OpenHost(keys StaticKeys, hostChallenge [8]byte, iu InitUpdate) (*Host, error) {
	h := new(Host)
	for i, d := range []struct {
		static   []byte
		constant uint16
		to       **tdes.Key
	}{{keys.MAC, deriveCMAC, &h.mac}, {keys.DEK, deriveDEK, &h.dek}, {keys.ENC, deriveENC, &h.enc}} {
		value, err := deriveSession(d.static, d.constant, iu.Seq)
		if err == nil {
			copy(h.secrets[i*keyBytes:], value)
			*d.to, err = tdes.New(value)
			clear(value)
		}
		if err != nil {
			h.Wipe()
			return nil, fmt.Errorf("opening host session: %w", err)
		}
	}
	seq := []byte{byte(iu.Seq >> 8), byte(iu.Seq)}
	card, err := h.enc.MAC(tdes.Pad(join(hostChallenge[:], seq, iu.CardChallenge[:])))
	if err != nil {
		h.Wipe()
		return nil, fmt.Errorf("opening host session: %w", err)
	}
	if subtle.ConstantTimeCompare(card[:], iu.CardCryptogram[:]) != 1 {
		h.Wipe()
		return nil, fmt.Errorf("opening host session for key version %02X: %w", iu.KVN, ErrCryptogram)
	}
	if h.proof, err = h.enc.MAC(tdes.Pad(join(seq, iu.CardChallenge[:], hostChallenge[:]))); err != nil {
		h.Wipe()
		return nil, fmt.Errorf("opening host session: %w", err)
	}
	return h, nil
}

// sessionKey is CBC under the static key of constant ‖ sequence counter ‖ 12 × 00 (§E.4.1).
func sessionKey(static []byte, constant, seq uint16) (*tdes.Key, error) {
	value, err := deriveSession(static, constant, seq)
	if err != nil {
		return nil, err
	}
	defer clear(value)
	return tdes.New(value)
}

func deriveSession(static []byte, constant, seq uint16) ([]byte, error) {
	if len(static) != keyBytes {
		return nil, fmt.Errorf("taking a static key of %d bytes, want %d: %w", len(static), keyBytes, ErrFormat)
	}
	k, err := tdes.New(static)
	if err != nil {
		return nil, err
	}
	return k.CBC([]byte{0: byte(constant >> 8), 1: byte(constant), 2: byte(seq >> 8), 3: byte(seq), 15: 0})
}

// ExternalAuthenticate gives the EXTERNAL AUTHENTICATE command and opens the session at the level.
func (h *Host) ExternalAuthenticate(level Level) ([]byte, error) {
	if h.mac == nil || h.level != 0 {
		return nil, fmt.Errorf("authenticating host: %w", ErrState)
	}
	if level != LevelCMAC && level != LevelCMACCENC {
		return nil, fmt.Errorf("authenticating host at level %02X: %w", byte(level), ErrLevel)
	}
	cmd := apdu.Command{CLA: claGP | claSM, INS: insExternalAuthenticate, P1: byte(level), Data: h.proof[:], Le: apdu.NoLe}
	mac, err := commandMAC(h.mac, [8]byte{}, cmd)
	if err != nil {
		return nil, fmt.Errorf("authenticating host: %w", err)
	}
	cmd.Data = join(cmd.Data, mac[:])
	h.at, h.level = mac, level
	return cmd.Bytes(), nil
}

// Resume puts a host that was rebuilt from the same keys, challenge and answer right after the command of m. The caller
// must know m to be of this very session.
func (h *Host) Resume(level Level, m Mark) error {
	if h.mac == nil {
		return fmt.Errorf("resuming session: %w", ErrState)
	}
	if level != LevelCMAC && level != LevelCMACCENC {
		return fmt.Errorf("resuming session at level %02X: %w", byte(level), ErrLevel)
	}
	h.at, h.level = m, level
	return nil
}

// Mark is the place after the last command.
func (h *Host) Mark() Mark { return h.at }

// Wrap protects the next command of the session. The command must be plain: first coding of CLA, no secure messaging, at
// most MaxData bytes. A failed Wrap leaves the session where it was.
func (h *Host) Wrap(cmd apdu.Command) ([]byte, error) {
	if h.level == 0 {
		return nil, fmt.Errorf("wrapping command: %w", ErrState)
	}
	if err := cmd.Valid(); err != nil {
		return nil, fmt.Errorf("wrapping command %02X %02X: %w", cmd.CLA, cmd.INS, err)
	}
	if cmd.CLA&0x4F != 0 || len(cmd.Data) > MaxData {
		return nil, fmt.Errorf("wrapping command %02X %02X of %d bytes: %w", cmd.CLA, cmd.INS, len(cmd.Data), ErrFormat)
	}
	cmd.CLA |= claSM
	mac, err := commandMAC(h.mac, h.mac.First(h.at), cmd)
	if err != nil {
		return nil, fmt.Errorf("wrapping command: %w", err)
	}
	data := cmd.Data
	if h.level == LevelCMACCENC && len(data) > 0 { // the MAC is over the plain data (§E.4.6)
		if data, err = h.enc.CBC(tdes.Pad(join(data))); err != nil {
			return nil, fmt.Errorf("wrapping command: %w", err)
		}
	}
	cmd.Data = join(data, mac[:])
	h.at = mac
	return cmd.Bytes(), nil
}

// commandMAC is the C-MAC of a command with plain data. The ICV is zero for the first command, then the last MAC under single
// DES (§E.4.4).
func commandMAC(key *tdes.Key, icv [8]byte, cmd apdu.Command) (Mark, error) {
	in := append([]byte{cmd.CLA, cmd.INS, cmd.P1, cmd.P2, byte(len(cmd.Data) + len(icv))}, cmd.Data...)
	mac, err := key.RetailMAC(icv, tdes.Pad(in))
	return Mark(mac), err
}

// EncryptDEK encrypts a key of whole blocks for the card, ECB under the session's DEK (§E.4.7).
func (h *Host) EncryptDEK(key []byte) ([]byte, error) {
	if h.dek == nil {
		return nil, fmt.Errorf("encrypting under DEK: %w", ErrState)
	}
	if len(key) == 0 {
		return nil, fmt.Errorf("encrypting nothing under DEK: %w", ErrFormat)
	}
	return h.dek.ECB(key)
}

// PutKeyCommand is PUT KEY for Triple DES keys with identifiers 1, 2, 3 … (§11.8): 80 10 key 03 KCV each. replaceKVN is
// the version to replace, 00 to add one. It is to be wrapped by h.
func (h *Host) PutKeyCommand(replaceKVN, newKVN byte, keys [][]byte) (apdu.Command, error) {
	data := []byte{newKVN}
	for i, key := range keys {
		if len(key) != keyBytes {
			return apdu.Command{}, fmt.Errorf("encoding put key %d of %d bytes: %w", i+1, len(key), ErrFormat)
		}
		k, err := tdes.New(key)
		if err != nil {
			return apdu.Command{}, fmt.Errorf("encoding put key %d: %w", i+1, err)
		}
		enc, err := h.EncryptDEK(key)
		if err != nil {
			return apdu.Command{}, fmt.Errorf("encoding put key %d: %w", i+1, err)
		}
		kcv := k.KCV()
		data = append(join(data, []byte{0x80, keyBytes}, enc), 3, kcv[0], kcv[1], kcv[2])
	}
	if len(keys) == 0 || len(data) > MaxData {
		return apdu.Command{}, fmt.Errorf("encoding put key of %d keys: %w", len(keys), ErrFormat)
	}
	return apdu.Command{CLA: claGP, INS: insPutKey, P1: replaceKVN, P2: 0x81, Data: data, Le: apdu.MaxLe}, nil
}

// BindKey derives a key that only holders of this session's keys can make (HKDF-SHA-256, info = label), to authenticate what a
// vault that keeps nothing hands out and gets back. The keys of a session follow from its counter alone: who uses the key must
// bind the session itself too. The caller clears it.
func (h *Host) BindKey(label string) ([sha256.Size]byte, error) {
	if h.mac == nil {
		return [sha256.Size]byte{}, fmt.Errorf("deriving bind key: %w", ErrState)
	}
	okm, err := hkdf.Key(sha256.New, h.secrets[:], nil, label, sha256.Size)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("deriving bind key: %w", err)
	}
	defer clear(okm)
	return [sha256.Size]byte(okm), nil
}

// Wipe drops the session; every later call is ErrState.
func (h *Host) Wipe() { *h = Host{} }

// Format keeps the keys out of every fmt verb.
func (Host) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// join copies its parts into new memory.
func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
