package scp

import (
	"crypto/cipher"
	"crypto/subtle"
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
)

// Derivation constants of Amendment D table 4-1.
const (
	kdfCardCryptogram = 0x00
	kdfHostCryptogram = 0x01
	kdfCardChallenge  = 0x02
	kdfSENC           = 0x04
	kdfSMAC           = 0x06
	kdfSRMAC          = 0x07
)

// MaxCommandsPerSession bounds one session. The longest script of the factory is some hundred
// commands; the bound keeps the 32-bit counter far from wrapping and a runaway loop short.
const MaxCommandsPerSession = 1 << 16

// Mark is the place right after one command of a session: what is needed to open that command's
// answer, or to go on from there (Host.Resume). It is not secret: the chain is a MAC value of which
// the chip sees the first half on the wire.
type Mark struct {
	Chain   [16]byte // MAC chaining value after the command
	Counter uint32   // encryption counter of the command, 0 for EXTERNAL AUTHENTICATE
}

// session is what both ends share: the session keys and the place in the MAC chain.
type session struct {
	enc       cipher.Block // S-ENC
	mac, rmac cmac         // S-MAC, S-RMAC
	keys      [3][32]byte  // S-ENC, S-MAC, S-RMAC as bytes, for BindKey
	keyBytes  int
	macBytes  int // 8, S16 16
	level     Level
	at        Mark
	iv        [blockBytes]byte // scratch
}

// derive computes the session keys (Amendment D §6.2.1).
func (s *session) derive(keys StaticKeys, hostChallenge, cardChallenge []byte) error {
	if err := keys.Valid(); err != nil {
		return err
	}
	s.keyBytes, s.macBytes = len(keys.ENC), len(hostChallenge)
	static := &s.rmac // borrowed until the real S-RMAC is known
	if err := static.init(keys.ENC); err != nil {
		return err
	}
	static.derive(s.key(0), kdfSENC, hostChallenge, cardChallenge)
	if err := static.init(keys.MAC); err != nil {
		return err
	}
	static.derive(s.key(1), kdfSMAC, hostChallenge, cardChallenge)
	static.derive(s.key(2), kdfSRMAC, hostChallenge, cardChallenge)
	var err error
	if s.enc, err = newAES(s.key(0)); err != nil {
		return err
	}
	if err = s.mac.init(s.key(1)); err != nil {
		return err
	}
	return s.rmac.init(s.key(2))
}

func (s *session) key(i int) []byte { return s.keys[i][:s.keyBytes] }

// cryptogram computes the card's or the host's proof of the session keys (Amendment D §6.2.2).
func (s *session) cryptogram(constant byte, hostChallenge, cardChallenge []byte) (out [16]byte) {
	s.mac.derive(out[:s.macBytes], constant, hostChallenge, cardChallenge)
	return out
}

// nextMAC moves the chain over a command: header with secure messaging bit and channel 0, the Lc on
// the wire, the data as sent. It does not store the new chain; the caller does once it is sure.
func (s *session) nextMAC(cla byte, cmd apdu.Command, sent []byte) [16]byte {
	header := [5]byte{cla&^channelBits | claSM, cmd.INS, cmd.P1, cmd.P2, byte(len(sent) + s.macBytes)}
	s.mac.write(s.at.Chain[:])
	s.mac.write(header[:])
	s.mac.write(sent)
	return s.mac.sum()
}

// responseMAC is the R-MAC over an answer to the command at m (Amendment D §6.2.5).
func (s *session) responseMAC(m Mark, data []byte, sw apdu.SW) [16]byte {
	tail := [2]byte{byte(sw >> 8), byte(sw)}
	s.rmac.write(m.Chain[:])
	s.rmac.write(data)
	s.rmac.write(tail[:])
	return s.rmac.sum()
}

// setIV makes the ICV of a command (top 00) or of its answer (top 80) from the encryption counter
// (Amendment D §6.2.6, §6.2.7).
func (s *session) setIV(counter uint32, top byte) {
	s.iv = [blockBytes]byte{0: top, 12: byte(counter >> 24), 13: byte(counter >> 16), 14: byte(counter >> 8), 15: byte(counter)}
	s.enc.Encrypt(s.iv[:], s.iv[:])
}

// decrypt opens the data field of a command (top 00) or an answer (top 80) into new memory.
func (s *session) decrypt(counter uint32, top byte, body []byte, maxPadding int) ([]byte, error) {
	if len(body)%blockBytes != 0 {
		return nil, ErrPadding
	}
	plain := make([]byte, len(body))
	s.setIV(counter, top)
	cbcDecrypt(s.enc, &s.iv, plain, body)
	return unpad(plain, maxPadding)
}

// next gives the counter of the next command.
func (s *session) next() (uint32, error) {
	if s.at.Counter >= MaxCommandsPerSession {
		return 0, fmt.Errorf("sending more than %d commands: %w", MaxCommandsPerSession, ErrState)
	}
	return s.at.Counter + 1, nil
}

func (s *session) sameMAC(full [16]byte, got []byte) bool {
	return subtle.ConstantTimeCompare(full[:s.macBytes], got) == 1
}

func (s *session) wipe() { *s = session{} }

const (
	ivCommand  = 0x00
	ivResponse = 0x80

	channelBits = 0x03 // logical channel 0..3 in a first-coding CLA
	smBits      = 0x0C // any secure messaging of a first-coding CLA
	furtherBit  = 0x40 // further-coding CLA, channels 4..19
)

// checkPlainCLA accepts the CLA of a command that is to be wrapped: first coding, no secure messaging.
func checkPlainCLA(cla byte) error {
	if cla&(smBits|furtherBit) != 0 {
		return fmt.Errorf("reading class %02X: %w", cla, ErrFormat)
	}
	return nil
}

// protectedAnswer says whether an answer with this status word carries R-MAC.
func protectedAnswer(sw apdu.SW) bool { return sw.OK() || sw.Warning() }
