package keygen

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/scp"
)

// MaxStateBytes bounds what goes with a window: marks of 512 commands and a dozen probe answers are under half of it.
const MaxStateBytes = 32 << 10

// The labels name the keys that only holders of the session keys, or without a secure channel of the lot's, can make: one to bind a
// state, one to hide it.
const (
	labelState = "persoline/1 state"
	labelHide  = "persoline/1 state cipher"
	// labelOutput names a sealed window in its receipt.
	labelOutput = "persoline/1 sealed window"
)

// state is what the vault must know at act n of what it sent and saw before. The line brings it back with the chip's answers. It
// holds check values of keys and what the chip said inside the channel: so it is as closed to the line as the channel is, by keys
// that only this session's keys can make, and bound to session and claim by a MAC. The one key in it, of a lot whose Ki are not
// derived, is sealed once more, for vaults alone (carry.go).
type state struct {
	N        uint8             `cbor:"1,keyasint"`           // the act whose window it went out with
	Skip     []bool            `cbor:"2,keyasint"`           // sections of that act that were left out
	Marks    marks             `cbor:"3,keyasint"`           // one per secure command of that window
	Last     marks             `cbor:"4,keyasint"`           // one
	Captures map[string][]byte `cbor:"5,keyasint,omitempty"` // probe answers by label
	Carried  map[string][]byte `cbor:"6,keyasint,omitempty"` // public values that follow from secrets
	Secrets  bool              `cbor:"7,keyasint,omitempty"` // a secret was sent in this session
	Key      []byte            `cbor:"8,keyasint,omitempty"` // the chip's point, possession proven; or that of the pair that it is to get
	AUTS     bool              `cbor:"9,keyasint,omitempty"` // proven
	Reopened bool              `cbor:"10,keyasint,omitempty"`
	Act      uint8             `cbor:"11,keyasint,omitempty"` // the script's act that the window is of: N, or later
	Stamp    uint64            `cbor:"12,keyasint,omitempty"` // serial number of the session whose stamp the chip is to show
	Ki       []byte            `cbor:"13,keyasint,omitempty"` // hash of Ki at rest: the sealed one, or the customer's row
	Carry    []byte            `cbor:"14,keyasint,omitempty"` // that Ki, sealed for this session
	Held     bool              `cbor:"15,keyasint,omitempty"` // the chip proved in this session that it holds Key
	Loading  *loadState        `cbor:"16,keyasint,omitempty"` // the package of that window
}

// marks are values of scp.Mark as they travel: chain (16) and counter (4, big-endian) of each, end to end.
type marks []byte

const markBytes = 16 + 4

func (m marks) add(at scp.Mark) marks {
	return binary.BigEndian.AppendUint32(append(m, at.Chain[:]...), at.Counter)
}

// take gives the first mark and what follows it.
func (m marks) take() (first scp.Mark, rest marks, ok bool) {
	if len(m) < markBytes {
		return first, nil, false
	}
	return scp.Mark{Chain: [16]byte(m[:16]), Counter: binary.BigEndian.Uint32(m[16:])}, m[markBytes:], true
}

// seal encodes the state with its MAC.
func (s state) seal(key *stateKey) ([]byte, error) {
	body, err := bus.Encode(s)
	if err != nil {
		return nil, err
	}
	mac := key.mac(body)
	if len(mac)+len(body) > MaxStateBytes {
		return nil, fmt.Errorf("sealing state of %d bytes, limit %d", len(mac)+len(body), MaxStateBytes)
	}
	key.crypt(mac, body)
	return append(mac, body...), nil
}

// openState takes a state back; anything but the bytes that went out after act n-1 of this session and claim is a refusal.
func openState(key *stateKey, n uint8, sealed []byte) (state, error) {
	if len(sealed) < sha256.Size || len(sealed) > MaxStateBytes {
		return state{}, refuse("state of %d bytes", len(sealed))
	}
	mac, body := sealed[:sha256.Size], bytes.Clone(sealed[sha256.Size:])
	key.crypt(mac, body)
	if !hmac.Equal(mac, key.mac(body)) {
		return state{}, refuse("state is not of session %s and its claim", key.session)
	}
	s, err := bus.DecodeOwn[state](body)
	if err != nil {
		return state{}, fmt.Errorf("decoding state: %w", err)
	}
	if s.N+1 != n {
		return state{}, refuse("state of act %d came with act %d", s.N, n)
	}
	if s.Captures == nil {
		s.Captures = map[string][]byte{}
	}
	if s.Carried == nil {
		s.Carried = map[string][]byte{}
	}
	return s, nil
}

// stateKey is the key that binds states to one session and claim, made once for an act.
type stateKey struct {
	session perso.Session
	claim   [32]byte
	hash    hash.Hash
	cipher  cipher.Block
}

func newStateKey(h binder, session perso.Session, claim [32]byte) (*stateKey, error) {
	key, err := h.BindKey(labelState)
	defer clear(key[:])
	if err != nil {
		return nil, err
	}
	hide, err := h.BindKey(labelHide)
	defer clear(hide[:])
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(hide[:])
	if err != nil {
		return nil, err
	}
	return &stateKey{session: session, claim: claim, hash: hmac.New(sha256.New, key[:]), cipher: block}, nil
}

// crypt hides or shows a state in place: AES-256 in counter mode from the MAC of what is hidden. So the same state is sealed
// the same way again, and two states never under one counter.
func (k *stateKey) crypt(mac, body []byte) {
	cipher.NewCTR(k.cipher, mac[:aes.BlockSize]).XORKeyStream(body, body)
}

func (k *stateKey) mac(body []byte) []byte {
	k.hash.Reset()
	k.hash.Write(k.session[:])
	k.hash.Write(k.claim[:])
	k.hash.Write(body)
	return k.hash.Sum(make([]byte, 0, sha256.Size+len(body)))
}
