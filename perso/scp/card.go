package scp

import (
	"fmt"
	"io"

	"github.com/persoline/persoline/perso/apdu"
)

// CardConfig is what a card knows when INITIALIZE UPDATE arrives. Nothing in it is kept but the DEK.
type CardConfig struct {
	Keys StaticKeys
	KVN  byte     // version of Keys
	KDD  [10]byte // key diversification data to answer with
	I    byte     // i parameter, 0x70 for pseudo-random challenge with R-MAC and R-ENC
	AID  []byte   // AID of the security domain; part of a pseudo-random challenge
	Seq  uint32   // sequence counter of this session, already raised, 1..0xFFFFFF
	// Random is the card challenge when I has no OptPseudo bit, else unused.
	Random []byte
}

// Card is the on-card end of one session. Its life: OpenCard, ExternalAuthenticate, then Unwrap and
// Wrap in turn. As on a real card, any failure ends the session: everything after it is ErrState. It
// prints as "[redacted]".
type Card struct {
	s         session
	dek       [32]byte
	hostProof [16]byte
	i         byte
	stage     stage
	answering bool // a command was unwrapped and has no answer yet
}

type stage byte

const (
	stageOver    stage = iota // the zero Card has no session
	stageUpdated              // INITIALIZE UPDATE answered
	stageOpen                 // EXTERNAL AUTHENTICATE accepted
)

// OpenCard computes the answer to INITIALIZE UPDATE with the given host challenge.
func OpenCard(cfg CardConfig, hostChallenge []byte) (*Card, InitUpdate, error) {
	if err := cfg.check(hostChallenge); err != nil {
		return nil, InitUpdate{}, fmt.Errorf("opening card session: %w", err)
	}
	challenge := cfg.Random
	if cfg.I&OptPseudo != 0 {
		var err error
		if challenge, err = pseudoChallenge(cfg); err != nil {
			return nil, InitUpdate{}, fmt.Errorf("opening card session: %w", err)
		}
	}
	return openCard(cfg, hostChallenge, challenge)
}

func openCard(cfg CardConfig, hostChallenge, cardChallenge []byte) (*Card, InitUpdate, error) {
	c := &Card{i: cfg.I, stage: stageUpdated}
	if err := c.s.derive(cfg.Keys, hostChallenge, cardChallenge); err != nil {
		c.Wipe()
		return nil, InitUpdate{}, fmt.Errorf("opening card session: %w", err)
	}
	copy(c.dek[:], cfg.Keys.DEK)
	proof := c.s.cryptogram(kdfCardCryptogram, hostChallenge, cardChallenge)
	c.hostProof = c.s.cryptogram(kdfHostCryptogram, hostChallenge, cardChallenge)
	iu := InitUpdate{KDD: cfg.KDD, KVN: cfg.KVN, I: cfg.I, CardChallenge: cardChallenge, CardCryptogram: proof[:c.s.macBytes]}
	if cfg.I&OptPseudo != 0 {
		iu.Seq, iu.HasSeq = cfg.Seq, true
	}
	return c, iu, nil
}

// ExternalAuthenticate checks EXTERNAL AUTHENTICATE and opens the session at its level: ErrFormat,
// ErrLevel, ErrMAC or ErrCryptogram (a card answers 6300 to the last two).
func (c *Card) ExternalAuthenticate(cmd apdu.Command) error {
	if c.stage != stageUpdated {
		c.end()
		return fmt.Errorf("accepting external authenticate: %w", ErrState)
	}
	if err := c.authenticate(cmd); err != nil {
		c.end()
		return fmt.Errorf("accepting external authenticate: %w", err)
	}
	return nil
}

// Unwrap checks and opens the next command of the session: class byte, C-MAC and its chain, C-ENC and
// its padding. The plain command has the secure messaging bit cleared. Without C-ENC its data aliases
// the input. A card answers 6982 to any error.
func (c *Card) Unwrap(cmd apdu.Command) (apdu.Command, error) {
	if c.stage != stageOpen {
		c.end()
		return apdu.Command{}, fmt.Errorf("unwrapping command: %w", ErrState)
	}
	if c.s.level == LevelNone {
		if err := checkPlainCLA(cmd.CLA); err != nil {
			c.end()
			return apdu.Command{}, fmt.Errorf("unwrapping command: %w", err)
		}
		return cmd, nil
	}
	plain, err := c.open(cmd)
	if err != nil {
		c.end()
		return apdu.Command{}, fmt.Errorf("unwrapping command %02X %02X: %w", cmd.CLA, cmd.INS, err)
	}
	c.answering = true
	return plain, nil
}

// Wrap makes the whole answer, status word included. Only the answer to a command that Unwrap has
// just opened is protected, as the level says; with an error status word the data is left out, as the
// specification wants. Everything else, such as the answer to EXTERNAL AUTHENTICATE, stays plain.
func (c *Card) Wrap(data []byte, sw apdu.SW) []byte {
	protect := c.answering && c.s.level.has(levelBitRMAC)
	c.answering = false
	if !protect {
		return sw.Append(append(make([]byte, 0, len(data)+2), data...))
	}
	if !protectedAnswer(sw) {
		return sw.Append(make([]byte, 0, 2))
	}
	n := len(data)
	if n > 0 && c.s.level.has(levelBitRENC) {
		n = padded(n)
	}
	out := make([]byte, n, n+longSize+2)
	copy(out, data)
	if n > len(data) {
		pad(out, len(data))
		c.s.setIV(c.s.at.Counter, ivResponse)
		cbcEncrypt(c.s.enc, &c.s.iv, out)
	}
	mac := c.s.responseMAC(c.s.at, out, sw)
	return sw.Append(append(out, mac[:c.s.macBytes]...))
}

// DecryptDEK opens a field that the host encrypted under the DEK, zero fill included.
func (c *Card) DecryptDEK(enc []byte) ([]byte, error) {
	if c.stage != stageOpen {
		return nil, fmt.Errorf("decrypting under DEK: %w", ErrState)
	}
	if len(enc) == 0 || len(enc)%blockBytes != 0 || len(enc) > maxDEKBytes {
		return nil, fmt.Errorf("decrypting %d bytes under DEK: %w", len(enc), ErrFormat)
	}
	block, err := newAES(c.dek[:c.s.keyBytes])
	if err != nil {
		return nil, fmt.Errorf("decrypting under DEK: %w", err)
	}
	out := make([]byte, len(enc))
	var iv [blockBytes]byte
	cbcDecrypt(block, &iv, out, enc)
	return out, nil
}

// Level is the level of the open session, LevelNone when there is none.
func (c *Card) Level() Level { return c.s.level }

// Open says whether EXTERNAL AUTHENTICATE was accepted and nothing has failed since.
func (c *Card) Open() bool { return c.stage == stageOpen }

// Wipe ends the session and clears its keys.
func (c *Card) Wipe() { c.end() }

// Format keeps the keys out of every fmt verb.
func (Card) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (c *Card) end() {
	c.s.wipe()
	*c = Card{}
}

func (c *Card) authenticate(cmd apdu.Command) error {
	level, err := ParseLevel(cmd.P1)
	if err != nil {
		return err
	}
	if err := level.supported(c.i); err != nil {
		return err
	}
	n := c.s.macBytes
	if cmd.CLA&^channelBits != claGP|claSM || cmd.INS != insExternalAuthenticate || cmd.P2 != 0 || len(cmd.Data) != 2*n {
		return ErrFormat
	}
	proof, mac := cmd.Data[:n], cmd.Data[n:]
	full := c.s.nextMAC(cmd.CLA, cmd, proof)
	if !c.s.sameMAC(full, mac) {
		return ErrMAC
	}
	if !c.s.sameMAC(c.hostProof, proof) {
		return ErrCryptogram
	}
	c.s.at, c.s.level, c.stage = Mark{Chain: full}, level, stageOpen
	return nil
}

func (c *Card) open(cmd apdu.Command) (apdu.Command, error) {
	if cmd.CLA&(smBits|furtherBit) != claSM || len(cmd.Data) < c.s.macBytes || len(cmd.Data) > apdu.MaxDataBytes {
		return apdu.Command{}, ErrFormat
	}
	counter, err := c.s.next()
	if err != nil {
		return apdu.Command{}, err
	}
	n := len(cmd.Data) - c.s.macBytes
	sent, mac := cmd.Data[:n:n], cmd.Data[n:]
	full := c.s.nextMAC(cmd.CLA, cmd, sent)
	if !c.s.sameMAC(full, mac) {
		return apdu.Command{}, ErrMAC
	}
	c.s.at = Mark{Chain: full, Counter: counter}
	plain := cmd
	plain.CLA &^= claSM
	plain.Data = sent
	if n > 0 && c.s.level.has(levelBitCENC) {
		if plain.Data, err = c.s.decrypt(counter, ivCommand, sent, blockBytes); err != nil {
			return apdu.Command{}, err
		}
	}
	return plain, nil
}

func (cfg CardConfig) check(hostChallenge []byte) error {
	if err := checkOptions(cfg.I); err != nil {
		return err
	}
	n := macSize(cfg.I)
	if len(hostChallenge) != n {
		return fmt.Errorf("checking host challenge of %d bytes: %w", len(hostChallenge), ErrFormat)
	}
	if cfg.I&OptPseudo == 0 {
		if len(cfg.Random) != n {
			return fmt.Errorf("checking random challenge of %d bytes: %w", len(cfg.Random), ErrFormat)
		}
		return nil
	}
	if cfg.Seq == 0 || cfg.Seq > maxSeq {
		return fmt.Errorf("checking sequence counter %d: %w", cfg.Seq, ErrFormat)
	}
	return nil
}

// pseudoChallenge computes the card challenge (Amendment D §6.2.2.1), so that a host that knows the
// keys, the AID and the counter can prepare a session before the card is there.
func pseudoChallenge(cfg CardConfig) ([]byte, error) {
	var m cmac
	if err := m.init(cfg.Keys.ENC); err != nil {
		return nil, err
	}
	defer m.wipe()
	challenge := make([]byte, macSize(cfg.I))
	seq := seqField(cfg.Seq)
	m.derive(challenge, kdfCardChallenge, seq[:], cfg.AID)
	return challenge, nil
}
