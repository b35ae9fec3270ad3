package scp02

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp/tdes"
)

// ErrMAC says that a command is not the next one of this session, unchanged.
var ErrMAC = errors.New("wrong SCP02 command MAC")

// CardConfig is what a card answers INITIALIZE UPDATE with.
type CardConfig struct {
	Keys StaticKeys
	KVN  byte
	KDD  [10]byte
	Seq  uint16 // of the session: counted by the caller, in its memory, before this
	AID  []byte // of the security domain: the pseudo-random challenge is made from it
}

// Card is the card's end of one session: OpenCard, ExternalAuthenticate, then Unwrap for each command in order. It prints as
// "[redacted]".
type Card struct {
	mac, enc, dek *tdes.Key
	proof         [8]byte // host cryptogram that is expected
	at            Mark
	level         Level // 0 until the session is open
}

// OpenCard computes the answer to INITIALIZE UPDATE. The challenge is the MAC of the AID under the session's C-MAC key, six
// bytes of it (§E.4.2.3).
func OpenCard(cfg CardConfig, hostChallenge [8]byte) (*Card, InitUpdate, error) {
	c := new(Card)
	for _, d := range []struct {
		static   []byte
		constant uint16
		to       **tdes.Key
	}{{cfg.Keys.MAC, deriveCMAC, &c.mac}, {cfg.Keys.DEK, deriveDEK, &c.dek}, {cfg.Keys.ENC, deriveENC, &c.enc}} {
		var err error
		if *d.to, err = sessionKey(d.static, d.constant, cfg.Seq); err != nil {
			return nil, InitUpdate{}, fmt.Errorf("opening card session: %w", err)
		}
	}
	iu := InitUpdate{KDD: cfg.KDD, KVN: cfg.KVN, Seq: cfg.Seq}
	challenge, err := c.mac.RetailMAC([8]byte{}, tdes.Pad(join(cfg.AID)))
	if err != nil {
		return nil, InitUpdate{}, fmt.Errorf("opening card session: %w", err)
	}
	copy(iu.CardChallenge[:], challenge[:])
	seq := []byte{byte(iu.Seq >> 8), byte(iu.Seq)}
	if iu.CardCryptogram, err = c.enc.MAC(tdes.Pad(join(hostChallenge[:], seq, iu.CardChallenge[:]))); err == nil {
		c.proof, err = c.enc.MAC(tdes.Pad(join(seq, iu.CardChallenge[:], hostChallenge[:])))
	}
	if err != nil {
		return nil, InitUpdate{}, fmt.Errorf("opening card session: %w", err)
	}
	return c, iu, nil
}

// ExternalAuthenticate checks EXTERNAL AUTHENTICATE and opens the session at its level: ErrFormat, ErrLevel, ErrMAC or
// ErrCryptogram. After any error the session is over.
func (c *Card) ExternalAuthenticate(cmd apdu.Command) error {
	if c.mac == nil || c.level != 0 {
		c.Wipe()
		return fmt.Errorf("accepting external authenticate: %w", ErrState)
	}
	if err := c.authenticate(cmd); err != nil {
		c.Wipe()
		return fmt.Errorf("accepting external authenticate: %w", err)
	}
	return nil
}

func (c *Card) authenticate(cmd apdu.Command) error {
	level := Level(cmd.P1)
	if cmd.CLA != claGP|claSM || cmd.INS != insExternalAuthenticate || cmd.P2 != 0 || len(cmd.Data) != len(c.proof)+len(Mark{}) {
		return ErrFormat
	}
	if level != LevelCMAC && level != LevelCMACCENC {
		return ErrLevel
	}
	proof, mac := cmd.Data[:len(c.proof)], cmd.Data[len(c.proof):]
	plain := cmd
	plain.Data = proof
	if err := c.check([8]byte{}, plain, mac); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(c.proof[:], proof) != 1 {
		return ErrCryptogram
	}
	c.level = level
	return nil
}

// check compares the MAC of a command whose data is plain, and moves the chain.
func (c *Card) check(icv [8]byte, plain apdu.Command, mac []byte) error {
	want, err := commandMAC(c.mac, icv, plain)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want[:], mac) != 1 {
		return ErrMAC
	}
	c.at = want
	return nil
}

// Unwrap checks and opens the next command of the session. The plain command has the secure messaging bit cleared. After any
// error the session is over; a card answers 6982.
func (c *Card) Unwrap(cmd apdu.Command) (apdu.Command, error) {
	if c.level == 0 {
		c.Wipe()
		return apdu.Command{}, fmt.Errorf("unwrapping command: %w", ErrState)
	}
	plain, err := c.open(cmd)
	if err != nil {
		c.Wipe()
		return apdu.Command{}, fmt.Errorf("unwrapping command %02X %02X: %w", cmd.CLA, cmd.INS, err)
	}
	return plain, nil
}

func (c *Card) open(cmd apdu.Command) (apdu.Command, error) {
	const smAndFurther = 0x4F
	n := len(cmd.Data) - len(Mark{})
	if cmd.CLA&smAndFurther != claSM || n < 0 {
		return apdu.Command{}, ErrFormat
	}
	plain, mac := cmd, cmd.Data[n:]
	plain.Data = cmd.Data[:n:n]
	if n > 0 && c.level == LevelCMACCENC {
		padded, err := c.enc.OpenCBC(plain.Data)
		if err != nil {
			return apdu.Command{}, ErrFormat
		}
		if plain.Data, err = unpad(padded); err != nil {
			return apdu.Command{}, err
		}
	}
	if err := c.check(c.mac.First(c.at), plain, mac); err != nil { // over the plain data (§E.4.6)
		return apdu.Command{}, err
	}
	plain.CLA &^= claSM
	return plain, nil
}

// unpad cuts 80 00 … off. Whether the data is right the MAC over it tells, which comes after it in this protocol: a wrong
// padding and a wrong MAC are the same to whoever sent them.
func unpad(p []byte) ([]byte, error) {
	for i := len(p) - 1; i >= 0 && i >= len(p)-tdes.BlockBytes; i-- {
		switch p[i] {
		case 0x00:
		case 0x80:
			return p[:i], nil
		default:
			return nil, ErrMAC
		}
	}
	return nil, ErrMAC
}

// Open says whether commands can be unwrapped.
func (c *Card) Open() bool { return c.level != 0 }

// Level is the session's; 0 before it is open.
func (c *Card) Level() Level { return c.level }

// DecryptDEK opens what the host encrypted under the session's DEK (§E.4.7).
func (c *Card) DecryptDEK(enc []byte) ([]byte, error) {
	if c.level == 0 {
		return nil, fmt.Errorf("decrypting under DEK: %w", ErrState)
	}
	if len(enc) == 0 {
		return nil, fmt.Errorf("decrypting nothing under DEK: %w", ErrFormat)
	}
	return c.dek.OpenECB(enc)
}

// Wipe drops the session.
func (c *Card) Wipe() { *c = Card{} }

// Format keeps the keys out of every fmt verb.
func (Card) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }
