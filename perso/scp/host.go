package scp

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/perso/apdu"
)

const (
	// MaxAnswerBytes bounds an answer, also one that came in pieces by GET RESPONSE: an extended
	// answer has at most 65,536 data bytes and its status word.
	MaxAnswerBytes = 65536 + 2
	// maxDEKBytes bounds one field under the DEK: it must fit into one command.
	maxDEKBytes = 240
)

// Host is the off-card end of one session. Its life: OpenHost, then ExternalAuthenticate or Resume,
// then Wrap for each command in order, and UnwrapAt for any answer. It prints as "[redacted]".
type Host struct {
	s         session
	dek       [32]byte
	dekBlock  cipher.Block // of dek, made at its first use
	hostProof [16]byte
	i         byte
	open      bool // level and place are known: commands can be wrapped
	dead      bool // wiped
}

// OpenHost derives the session keys and checks that the card holds the same static keys
// (ErrCryptogram). The host challenge is the one that was in the INITIALIZE UPDATE command.
func OpenHost(keys StaticKeys, hostChallenge []byte, iu InitUpdate) (*Host, error) {
	if err := checkChallenges(hostChallenge, iu); err != nil {
		return nil, fmt.Errorf("opening host session: %w", err)
	}
	h := &Host{i: iu.I}
	if err := h.s.derive(keys, hostChallenge, iu.CardChallenge); err != nil {
		h.Wipe()
		return nil, fmt.Errorf("opening host session: %w", err)
	}
	copy(h.dek[:], keys.DEK)
	proof := h.s.cryptogram(kdfCardCryptogram, hostChallenge, iu.CardChallenge)
	if !h.s.sameMAC(proof, iu.CardCryptogram) {
		h.Wipe()
		return nil, fmt.Errorf("opening host session for key version %02X: %w", iu.KVN, ErrCryptogram)
	}
	h.hostProof = h.s.cryptogram(kdfHostCryptogram, hostChallenge, iu.CardChallenge)
	return h, nil
}

// CheckCounter checks that a pseudo-random card challenge follows from the sequence counter beside it (Amendment D
// §6.2.2.1). Nothing else vouches for the counter: the cryptogram covers the challenge only. ErrCryptogram when it does
// not; a random challenge has no counter and passes.
func CheckCounter(keys StaticKeys, aid []byte, iu InitUpdate) error {
	if !iu.HasSeq {
		return nil
	}
	want, err := pseudoChallenge(CardConfig{Keys: keys, I: iu.I, Seq: iu.Seq, AID: aid})
	if err != nil {
		return fmt.Errorf("checking sequence counter: %w", err)
	}
	if subtle.ConstantTimeCompare(want, iu.CardChallenge) != 1 {
		return fmt.Errorf("checking sequence counter %d of key version %02X: %w", iu.Seq, iu.KVN, ErrCryptogram)
	}
	return nil
}

// VerifyCard checks only the card cryptogram: the proof, by a second INITIALIZE UPDATE, that the card
// now holds these keys. ErrCryptogram when it does not.
func VerifyCard(keys StaticKeys, hostChallenge []byte, iu InitUpdate) error {
	if err := keys.Valid(); err != nil {
		return fmt.Errorf("verifying card: %w", err)
	}
	if err := checkChallenges(hostChallenge, iu); err != nil {
		return fmt.Errorf("verifying card: %w", err)
	}
	var c cmac
	var sMAC [32]byte
	defer func() { clear(sMAC[:]); c.wipe() }()
	if err := c.init(keys.MAC); err != nil {
		return fmt.Errorf("verifying card: %w", err)
	}
	c.derive(sMAC[:len(keys.MAC)], kdfSMAC, hostChallenge, iu.CardChallenge)
	if err := c.init(sMAC[:len(keys.MAC)]); err != nil {
		return fmt.Errorf("verifying card: %w", err)
	}
	var want [16]byte
	proof := want[:len(iu.CardCryptogram)]
	c.derive(proof, kdfCardCryptogram, hostChallenge, iu.CardChallenge)
	if subtle.ConstantTimeCompare(proof, iu.CardCryptogram) != 1 {
		return fmt.Errorf("verifying card under key version %02X: %w", iu.KVN, ErrCryptogram)
	}
	return nil
}

// ExternalAuthenticate gives the EXTERNAL AUTHENTICATE command and opens the session at the level.
// The card's answer to it is never protected. ErrLevel when the card does not offer the level,
// ErrState when the session is open already.
func (h *Host) ExternalAuthenticate(level Level) ([]byte, error) {
	if h.dead || h.open {
		return nil, fmt.Errorf("authenticating host: %w", ErrState)
	}
	if err := level.supported(h.i); err != nil {
		return nil, fmt.Errorf("authenticating host: %w", err)
	}
	n := h.s.macBytes
	cmd := apdu.Command{CLA: claGP | claSM, INS: insExternalAuthenticate, P1: byte(level), Le: apdu.NoLe}
	cmd.Data = make([]byte, 0, 2*longSize)
	cmd.Data = append(cmd.Data, h.hostProof[:n]...)
	mac := h.s.nextMAC(cmd.CLA, cmd, cmd.Data)
	cmd.Data = append(cmd.Data, mac[:n]...)
	h.s.at, h.s.level, h.open = Mark{Chain: mac}, level, true
	return cmd.Bytes(), nil
}

// Resume puts a host that was rebuilt from the same keys, challenge and INITIALIZE UPDATE answer to
// the place right after the command of m. The caller must know m to be of this very session: keep it
// under BindKey.
func (h *Host) Resume(level Level, m Mark) error {
	if h.dead {
		return fmt.Errorf("resuming session: %w", ErrState)
	}
	if err := level.supported(h.i); err != nil {
		return fmt.Errorf("resuming session: %w", err)
	}
	h.s.at, h.s.level, h.open = m, level, true
	return nil
}

// Mark is the place after the last command.
func (h *Host) Mark() Mark { return h.s.at }

// Wrap protects the next command of the session and gives its Mark. The command must be plain: first
// coding of CLA, no secure messaging. ErrTooLong when the data does not fit at this level. A failed
// Wrap leaves the session where it was.
func (h *Host) Wrap(cmd apdu.Command) ([]byte, Mark, error) {
	if !h.open || h.dead {
		return nil, Mark{}, fmt.Errorf("wrapping command: %w", ErrState)
	}
	if err := h.checkPlain(cmd); err != nil {
		return nil, Mark{}, fmt.Errorf("wrapping command %02X %02X: %w", cmd.CLA, cmd.INS, err)
	}
	if h.s.level == LevelNone {
		return cmd.Bytes(), h.s.at, nil
	}
	counter, err := h.s.next()
	if err != nil {
		return nil, Mark{}, fmt.Errorf("wrapping command: %w", err)
	}
	n := len(cmd.Data)
	if n > 0 && h.s.level.has(levelBitCENC) {
		n = padded(n)
	}
	out := make([]byte, 5+n, 5+n+longSize+1)
	sent := out[5:]
	copy(sent, cmd.Data)
	if n > len(cmd.Data) {
		pad(sent, len(cmd.Data))
		h.s.setIV(counter, ivCommand)
		cbcEncrypt(h.s.enc, &h.s.iv, sent)
	}
	mac := h.s.nextMAC(cmd.CLA, cmd, sent)
	copy(out, []byte{cmd.CLA | claSM, cmd.INS, cmd.P1, cmd.P2, byte(n + h.s.macBytes)})
	out = append(out, mac[:h.s.macBytes]...)
	if cmd.Le != apdu.NoLe {
		out = append(out, byte(cmd.Le))
	}
	h.s.at = Mark{Chain: mac, Counter: counter}
	return out, h.s.at, nil
}

// UnwrapAt opens the answer (data and status word) to the command of m. It does not move the
// session, so answers may be opened in any order.
//
// With R-MAC in the level, success means that this card gave this answer to this command. An answer
// with an error status word is returned without data, with its status word and ErrUnprotected: it
// tells what to do next, but proves nothing. ErrRMAC is returned with the status word too, for the
// log. Without R-MAC in the level the answer is returned as it came and proves nothing.
// The data may alias resp.
func (h *Host) UnwrapAt(m Mark, resp []byte) (data []byte, sw apdu.SW, err error) {
	if !h.open || h.dead {
		return nil, 0, fmt.Errorf("unwrapping answer: %w", ErrState)
	}
	if len(resp) > MaxAnswerBytes {
		return nil, 0, fmt.Errorf("unwrapping answer of %d bytes: %w", len(resp), ErrTooLong)
	}
	data, sw, err = apdu.SWOf(resp)
	if err != nil || !h.s.level.has(levelBitRMAC) {
		return data, sw, err
	}
	if !protectedAnswer(sw) {
		return nil, sw, fmt.Errorf("unwrapping answer %v: %w", sw, ErrUnprotected)
	}
	n := len(data) - h.s.macBytes
	if n < 0 {
		return nil, sw, fmt.Errorf("unwrapping answer of %d bytes: %w", len(data), ErrRMAC)
	}
	body, mac := data[:n:n], data[n:]
	if !h.s.sameMAC(h.s.responseMAC(m, body, sw), mac) {
		return nil, sw, fmt.Errorf("unwrapping answer %v: %w", sw, ErrRMAC)
	}
	if n == 0 || !h.s.level.has(levelBitRENC) {
		return body, sw, nil
	}
	// One maker's cards pad with more zeros than a block holds; the MAC was right, so be it.
	plain, err := h.s.decrypt(m.Counter, ivResponse, body, len(body))
	if err != nil {
		return nil, sw, fmt.Errorf("decrypting answer %v: %w", sw, err)
	}
	return plain, sw, nil
}

// EncryptDEK encrypts a secret for the card under the static DEK (Amendment D §6.2.8): AES-CBC, IV 0,
// filled with zeros to a full block (only a 24-byte key needs that).
func (h *Host) EncryptDEK(key []byte) ([]byte, error) {
	if h.dead {
		return nil, fmt.Errorf("encrypting under DEK: %w", ErrState)
	}
	if len(key) == 0 || len(key) > maxDEKBytes {
		return nil, fmt.Errorf("encrypting %d bytes under DEK: %w", len(key), ErrTooLong)
	}
	if h.dekBlock == nil { // a card gets a dozen fields, and most sessions none
		var err error
		if h.dekBlock, err = newAES(h.dek[:h.s.keyBytes]); err != nil {
			return nil, fmt.Errorf("encrypting under DEK: %w", err)
		}
	}
	out := make([]byte, (len(key)+blockBytes-1)/blockBytes*blockBytes)
	copy(out, key)
	var iv [blockBytes]byte
	cbcEncrypt(h.dekBlock, &iv, out)
	return out, nil
}

// BindKey derives a key that only holders of this session's keys can make (HKDF-SHA-256, info =
// label), to authenticate what a stateless vault hands out and gets back. The caller clears it.
func (h *Host) BindKey(label string) ([32]byte, error) {
	if h.dead {
		return [32]byte{}, fmt.Errorf("deriving bind key: %w", ErrState)
	}
	var secret [3 * 32]byte
	defer clear(secret[:])
	for i := range h.s.keys {
		copy(secret[i*32:], h.s.keys[i][:])
	}
	okm, err := hkdf.Key(sha256.New, secret[:], nil, label, sha256.Size)
	if err != nil {
		return [32]byte{}, fmt.Errorf("deriving bind key: %w", err)
	}
	defer clear(okm)
	return [32]byte(okm), nil
}

// Wipe clears the session and the DEK; every later call is ErrState.
func (h *Host) Wipe() {
	h.s.wipe()
	*h = Host{dead: true}
}

// Format keeps the keys out of every fmt verb.
func (Host) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (h *Host) checkPlain(cmd apdu.Command) error {
	if err := errors.Join(cmd.Valid(), checkPlainCLA(cmd.CLA)); err != nil {
		return err
	}
	if limit := h.s.level.MaxData(h.i&OptS16 != 0); len(cmd.Data) > limit {
		return fmt.Errorf("fitting %d bytes, limit %d at level %v: %w", len(cmd.Data), limit, h.s.level, ErrTooLong)
	}
	return nil
}

// checkChallenges refuses an InitUpdate that was put together by hand with lengths that disagree.
func checkChallenges(hostChallenge []byte, iu InitUpdate) error {
	n := iu.size()
	if len(hostChallenge) != n || len(iu.CardChallenge) != n || len(iu.CardCryptogram) != n {
		return fmt.Errorf("checking challenges of %d, %d and %d bytes against i parameter %02X: %w",
			len(hostChallenge), len(iu.CardChallenge), len(iu.CardCryptogram), iu.I, ErrFormat)
	}
	return nil
}
