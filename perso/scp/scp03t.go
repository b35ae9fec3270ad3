package scp

import (
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/tlv"
)

// SCP03t is SCP03 over data instead of commands (GSMA SGP.02 §4.1.3.3): what would be a command is a TLV, so that a profile
// can be encrypted once, whatever carries it to the chip. Keys, cryptograms and counters are those of SCP03; the MAC covers
// tag and length in the place of a command header. The level is always 33.

// Tags of SCP03t.
const (
	TagInitUpdate = 0x84
	TagExternal   = 0x85
	TagData       = 0x86
)

// A card that refuses answers with a tag of two bytes, 9F and the tag without its class, 44 to 46, and one byte of reason.
// Some hosts expect 9F84 to 9F86, which is no tag of BER: these are read too.
const (
	tagRefused = 0x9F
	classBits  = 0xC0
	classLess  = 0x40
)

// MaxTLVData bounds the data of one TagData: a segment of a profile (SGP.02 §4.1.3.3 leaves it to the parties; 1,024 bytes
// are usual, and an eUICC must take them).
const MaxTLVData = 1024

// RefusedError is the answer of a card that refused: the reason is the card's.
type RefusedError struct {
	Tag  byte
	Code byte
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("card refused %02X with %02X", e.Tag, e.Code)
}

// InitUpdateTLV opens a session under a key set and its first key.
func InitUpdateTLV(kvn, kid byte, hostChallenge []byte) []byte {
	return tlv.Encode(TagInitUpdate, append([]byte{kvn, kid}, hostChallenge...))
}

// ParseInitUpdateTLV reads the card's answer.
func ParseInitUpdateTLV(answer []byte) (InitUpdate, error) {
	value, err := answered(answer, TagInitUpdate)
	if err != nil {
		return InitUpdate{}, fmt.Errorf("reading the answer to the opening: %w", err)
	}
	return ParseInitUpdate(value)
}

// answered reads an answer with the tag of the question.
func answered(answer []byte, tag byte) ([]byte, error) {
	const refusalBytes, code = 4, 3
	if len(answer) == refusalBytes && answer[0] == tagRefused && (answer[1] == tag || answer[1] == tag&^classBits|classLess) && answer[2] == 1 {
		return nil, &RefusedError{Tag: tag, Code: answer[code]}
	}
	t, rest, err := tlv.Parse(answer)
	switch {
	case err != nil || len(rest) != 0:
		return nil, fmt.Errorf("answer of %d bytes: %w", len(answer), errors.Join(ErrFormat, err))
	case t.Tag != uint32(tag):
		return nil, fmt.Errorf("answer with tag %X: %w", t.Tag, ErrFormat)
	}
	return t.Value, nil
}

// RefuseTLV is a card's refusal.
func RefuseTLV(tag, code byte) []byte {
	return []byte{tagRefused, tag&^classBits | classLess, 1, code}
}

// tlvMAC moves the chain over a TLV: tag, the length on the wire, the data as sent.
func (s *session) tlvMAC(tag byte, sent []byte) [16]byte {
	s.mac.write(s.at.Chain[:])
	s.mac.write(tlvHeader(tag, len(sent)+s.macBytes))
	s.mac.write(sent)
	return s.mac.sum()
}

// tlvResponseMAC is the R-MAC over the answer to the TLV at m.
func (s *session) tlvResponseMAC(m Mark, sent []byte) [16]byte {
	s.rmac.write(m.Chain[:])
	s.rmac.write(tlvHeader(TagData, len(sent)+s.macBytes))
	s.rmac.write(sent)
	return s.rmac.sum()
}

func tlvHeader(tag byte, n int) []byte {
	const shortest, oneByte = 0x80, 0x100 // from here on the length has one byte before it, or two
	switch {
	case n < shortest:
		return []byte{tag, byte(n)}
	case n < oneByte:
		return []byte{tag, 0x81, byte(n)}
	}
	return []byte{tag, 0x82, byte(n >> 8), byte(n)}
}

// ExternalAuthenticateTLV proves the host to the card and opens the session.
func (h *Host) ExternalAuthenticateTLV() ([]byte, error) {
	if h.dead || h.open {
		return nil, fmt.Errorf("authenticating host: %w", ErrState)
	}
	if err := LevelAll.supported(h.i); err != nil {
		return nil, fmt.Errorf("authenticating host: %w", err)
	}
	n := h.s.macBytes
	value := append([]byte{byte(LevelAll)}, h.hostProof[:n]...)
	mac := h.s.tlvMAC(TagExternal, value)
	h.s.at, h.s.level, h.open = Mark{Chain: mac}, LevelAll, true
	return tlv.Encode(TagExternal, append(value, mac[:n]...)), nil
}

// AuthenticatedTLV reads the card's answer to ExternalAuthenticateTLV, which is never protected.
func AuthenticatedTLV(answer []byte) error {
	value, err := answered(answer, TagExternal)
	if err == nil && len(value) != 0 {
		err = ErrFormat
	}
	if err != nil {
		return fmt.Errorf("reading the answer to the authentication: %w", err)
	}
	return nil
}

// WrapTLV protects the next segment of the session and gives its Mark.
func (h *Host) WrapTLV(data []byte) ([]byte, Mark, error) {
	return h.appendTLV(make([]byte, 0, len(data)+longSize+h.s.macBytes+blockBytes), data)
}

// appendTLV is WrapTLV behind what is there.
func (h *Host) appendTLV(dst, data []byte) ([]byte, Mark, error) {
	switch {
	case !h.open || h.dead || h.s.level != LevelAll:
		return nil, Mark{}, fmt.Errorf("wrapping segment: %w", ErrState)
	case len(data) == 0 || len(data) > MaxTLVData:
		return nil, Mark{}, fmt.Errorf("wrapping segment of %d bytes: %w", len(data), ErrTooLong)
	}
	counter, err := h.s.next()
	if err != nil {
		return nil, Mark{}, fmt.Errorf("wrapping segment: %w", err)
	}
	size := padded(len(data))
	dst = append(dst, tlvHeader(TagData, size+h.s.macBytes)...)
	start := len(dst)
	dst = append(dst, data...)
	dst = append(dst, make([]byte, size-len(data))...)
	sent := dst[start:]
	pad(sent, len(data))
	h.s.setIV(counter, ivCommand)
	cbcEncrypt(h.s.enc, &h.s.iv, sent)
	mac := h.s.tlvMAC(TagData, sent)
	h.s.at = Mark{Chain: mac, Counter: counter}
	return append(dst, mac[:h.s.macBytes]...), h.s.at, nil
}

// UnwrapTLV opens the answer to the segment of m. It does not move the session. A RefusedError proves nothing: anyone may have
// made it.
func (h *Host) UnwrapTLV(m Mark, answer []byte) ([]byte, error) {
	if h.dead {
		return nil, fmt.Errorf("opening the answer to a segment: %w", ErrState)
	}
	value, err := answered(answer, TagData)
	if err != nil {
		return nil, fmt.Errorf("opening the answer to a segment: %w", err)
	}
	n := len(value) - h.s.macBytes
	if n < 0 {
		return nil, fmt.Errorf("opening the answer to a segment: %w", ErrFormat)
	}
	if !h.s.sameMAC(h.s.tlvResponseMAC(m, value[:n]), value[n:]) {
		return nil, fmt.Errorf("opening the answer to a segment: %w", ErrRMAC)
	}
	if n == 0 {
		return nil, nil
	}
	data, err := h.s.decrypt(m.Counter, ivResponse, value[:n], blockBytes)
	if err != nil {
		return nil, fmt.Errorf("opening the answer to a segment: %w", err)
	}
	return data, nil
}

// ExternalAuthenticateTLV checks the host's proof and opens the session; the answer is an empty TagExternal.
func (c *Card) ExternalAuthenticateTLV(question []byte) error {
	if c.stage != stageUpdated {
		c.end()
		return fmt.Errorf("accepting the authentication: %w", ErrState)
	}
	if err := c.authenticateTLV(question); err != nil {
		c.end()
		return fmt.Errorf("accepting the authentication: %w", err)
	}
	return nil
}

func (c *Card) authenticateTLV(question []byte) error {
	n := c.s.macBytes
	t, rest, err := tlv.Parse(question)
	if err != nil || len(rest) != 0 || t.Tag != TagExternal || len(t.Value) != 1+2*n {
		return ErrFormat
	}
	if Level(t.Value[0]) != LevelAll {
		return ErrLevel
	}
	if err := LevelAll.supported(c.i); err != nil {
		return err
	}
	mac := c.s.tlvMAC(TagExternal, t.Value[:1+n])
	if !c.s.sameMAC(mac, t.Value[1+n:]) {
		return ErrMAC
	}
	if !c.s.sameMAC(c.hostProof, t.Value[1:1+n]) {
		return ErrCryptogram
	}
	c.s.at, c.s.level, c.stage = Mark{Chain: mac}, LevelAll, stageOpen
	return nil
}

// UnwrapTLV checks and opens the next segment of the session. After any error the session is over.
func (c *Card) UnwrapTLV(question []byte) ([]byte, error) {
	if c.stage != stageOpen || c.s.level != LevelAll {
		c.end()
		return nil, fmt.Errorf("opening segment: %w", ErrState)
	}
	data, err := c.openTLV(question)
	if err != nil {
		c.end()
		return nil, fmt.Errorf("opening segment: %w", err)
	}
	c.answering = true
	return data, nil
}

func (c *Card) openTLV(question []byte) ([]byte, error) {
	t, rest, err := tlv.Parse(question)
	if err != nil || len(rest) != 0 || t.Tag != TagData || len(t.Value) <= c.s.macBytes {
		return nil, ErrFormat
	}
	n := len(t.Value) - c.s.macBytes
	if n > padded(MaxTLVData) {
		return nil, ErrTooLong
	}
	counter, err := c.s.next()
	if err != nil {
		return nil, err
	}
	mac := c.s.tlvMAC(TagData, t.Value[:n])
	if !c.s.sameMAC(mac, t.Value[n:]) {
		return nil, ErrMAC
	}
	c.s.at = Mark{Chain: mac, Counter: counter}
	return c.s.decrypt(counter, ivCommand, t.Value[:n], blockBytes)
}

// WrapTLV makes the answer to the segment that UnwrapTLV has just opened. Without data it is a MAC alone.
func (c *Card) WrapTLV(data []byte) ([]byte, error) {
	if !c.answering {
		return nil, fmt.Errorf("answering segment: %w", ErrState)
	}
	c.answering = false
	return c.s.answerTLV(c.s.at, data), nil
}

// answerTLV is the answer of a card to the segment of m.
func (s *session) answerTLV(m Mark, data []byte) []byte {
	var sent []byte
	if len(data) > 0 {
		sent = make([]byte, padded(len(data)), padded(len(data))+longSize)
		copy(sent, data)
		pad(sent, len(data))
		s.setIV(m.Counter, ivResponse)
		cbcEncrypt(s.enc, &s.iv, sent)
	}
	mac := s.tlvResponseMAC(m, sent)
	return tlv.Encode(TagData, append(sent, mac[:s.macBytes]...))
}
