// Package scp is GlobalPlatform Secure Channel Protocol 03, both ends: the host in the vault, and the
// card in the virtual chip. SCP03t, the same over data objects, is beside it.
//
// It exists because the line is keyless: the vault wraps a whole script for one session of one chip
// and later opens the answers, without keeping anything in between. So the host end can be rebuilt
// from the same keys and the same INITIALIZE UPDATE, and put back at any Mark (Host.Resume); and the
// card end is as strict as the best real card, so that a fault in the vault is seen on the farm first.
//
// Contract. Parsers take any bytes and never panic; MACs and cryptograms are compared in constant
// time; no error carries a key, a challenge or card data. A Host or a Card belongs to one goroutine.
// The package reads no clock and no randomness: challenges are passed in. Keys are taken as plain byte
// slices, copied only as far as needed, and Wipe clears every copy except the expanded key schedules
// inside crypto/aes, which the standard library does not let us reach; drop the value soon.
//
// Callers: keygen (host end), lineside/cardsim (card end), perso/script and hsm (sizes, KDF3 blocks).
// perso/scp imports only the standard library, perso/apdu, perso/tlv and perso/scp/scp02.
//
// Specifications: GlobalPlatform Card Specification 2.3.1 Amendment D 1.1.2 (SCP03), Card Specification
// 2.3.1 §11.8 (PUT KEY), NIST SP 800-38B (CMAC), NIST SP 800-108 (KDF in counter mode), GSMA SGP.02 §4.1.3.3 (SCP03t).
package scp

import (
	"errors"
	"fmt"
)

var (
	// ErrFormat says that bytes do not have the layout that the specification gives.
	ErrFormat = errors.New("malformed secure channel data")
	// ErrKeyLength says that a key is not 16, 24 or 32 bytes, or that the three of a set differ.
	ErrKeyLength = errors.New("wrong key length")
	// ErrCryptogram says that the other end does not hold the same static keys.
	ErrCryptogram = errors.New("wrong cryptogram")
	// ErrMAC says that a command is not the next one of this session, unchanged.
	ErrMAC = errors.New("wrong command MAC")
	// ErrRMAC says that an answer is not the answer of this card to this command.
	ErrRMAC = errors.New("wrong response MAC")
	// ErrPadding says that decrypted data is not padded with 80 00 … or has nothing before it.
	ErrPadding = errors.New("wrong padding")
	// ErrUnprotected says that the answer carries an error status word. Amendment D §6.2.5 leaves
	// such answers without R-MAC, so anyone may have made it: it proves nothing.
	ErrUnprotected = errors.New("answer not protected")
	// ErrLevel says that a security level is not defined, or not supported by this card.
	ErrLevel = errors.New("security level not supported")
	// ErrTooLong says that data does not fit into one short APDU at this level.
	ErrTooLong = errors.New("data too long for one command")
	// ErrState says that the session is not open yet, is over, or was wiped.
	ErrState = errors.New("no open session")
	// ErrKCV says that a key check value does not belong to its key.
	ErrKCV = errors.New("wrong key check value")
)

// Level is the security level of a session, P1 of EXTERNAL AUTHENTICATE (Amendment D §7.1.2.1).
type Level byte

// The levels that Amendment D defines.
const (
	LevelNone         Level = 0x00
	LevelCMAC         Level = 0x01
	LevelCMACCENC     Level = 0x03
	LevelCMACRMAC     Level = 0x11
	LevelCMACCENCRMAC Level = 0x13
	LevelAll          Level = 0x33 // C-MAC, C-ENC, R-MAC, R-ENC
	levelBitRENC      Level = 0x20
	levelBitRMAC      Level = 0x10
	levelBitCENC      Level = 0x02
	levelBitCMAC      Level = 0x01
)

// ParseLevel accepts the six defined levels.
func ParseLevel(b byte) (Level, error) {
	switch l := Level(b); l {
	case LevelNone, LevelCMAC, LevelCMACCENC, LevelCMACRMAC, LevelCMACCENCRMAC, LevelAll:
		return l, nil
	default:
		return 0, fmt.Errorf("reading security level %02X: %w", b, ErrLevel)
	}
}

// String is two hex digits.
func (l Level) String() string { return fmt.Sprintf("%02X", byte(l)) }

func (l Level) has(bit Level) bool { return l&bit != 0 }

// supported says whether a card with this i parameter offers the level.
func (l Level) supported(i byte) error {
	if _, err := ParseLevel(byte(l)); err != nil {
		return err
	}
	if l.has(levelBitRMAC) && i&OptRMAC == 0 || l.has(levelBitRENC) && i&OptRENC == 0 {
		return fmt.Errorf("checking level %v against i parameter %02X: %w", l, i, ErrLevel)
	}
	return nil
}

// Options of the i parameter (Amendment D table 5-1).
const (
	OptS16    byte = 0x01 // 16-byte challenges, cryptograms and MACs
	OptPseudo byte = 0x10 // card challenge computed from the sequence counter
	OptRMAC   byte = 0x20
	OptRENC   byte = 0x40

	optKnown = OptS16 | OptPseudo | OptRMAC | OptRENC
)

// Largest plain command data that still fits into one short APDU (Lc <= 255) after the MAC and, with
// C-ENC, at least one byte of padding up to a full block.
const (
	MaxDataS8CMAC     = 255 - 8
	MaxDataS16CMAC    = 255 - 16
	MaxDataS8Level33  = (255-8)/blockBytes*blockBytes - 1
	MaxDataS16Level33 = (255-16)/blockBytes*blockBytes - 1

	maxDataPlain = 255
)

// MaxData is the largest plain command data at a level, with 8-byte (s16 false) or 16-byte MACs.
func (l Level) MaxData(s16 bool) int {
	switch {
	case !l.has(levelBitCMAC):
		return maxDataPlain
	case l.has(levelBitCENC) && s16:
		return MaxDataS16Level33
	case l.has(levelBitCENC):
		return MaxDataS8Level33
	case s16:
		return MaxDataS16CMAC
	default:
		return MaxDataS8CMAC
	}
}
