// Package sealing is how secrets get to a chip that has no secure channel: the vault seals an act's commands to a key pair that
// the line's worker made for one presentation of one chip.
//
// It exists for SIMs that are written under their maker's administrative code. In every other product the channel ends in
// the chip, and the line reads nothing. Here the worker must read what it plays, so what can be had is that nobody else does, and
// that it is of no use elsewhere or later: bus, ledger and journal hold ciphertext, and what was sealed opens with the one key,
// for the one session, act and chip that it was sealed for.
//
// That is true of whoever reads along. The vault does not know workers: whoever rules the ledger, or its zone of the bus, can open a
// session for a unit in work with a key of his own, and read what the line reads. It stands in the log as a session that no
// head had. Of a unit that is good the vault seals nothing any more but to the session that made it so.
//
// Contract. The worker makes a Key for each presentation, sends Opening, opens each answer with Open, plays it, and wipes
// both. The vault reads ParseOpening and calls Seal. The form is HPKE in base mode: DHKEM(X25519, HKDF-SHA256),
// HKDF-SHA256, AES-256-GCM, with the Binding as info. Sealing draws a fresh ephemeral key, so that the same act sealed twice is
// other bytes of the same content.
//
// Specification: RFC 9180 (HPKE).
package sealing

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/secret"
)

const (
	// ChallengeBytes is the vault's challenge, which serves once.
	ChallengeBytes = 8
	// PublicBytes is a public key of X25519.
	PublicBytes = 32
	// OpeningBytes is what begins a session: version, challenge, public key.
	OpeningBytes = 1 + ChallengeBytes + PublicBytes
	// MaxSealedBytes bounds what is opened: a window of 512 commands of the largest size.
	MaxSealedBytes = 256 << 10

	openingVersion = 0x01
	seedBytes      = 32 // of a key pair
)

// ErrSealed says that something was not sealed for this key, or for something else.
var ErrSealed = errors.New("not sealed for this presentation")

// Binding is what a sealed window is for. Both ends know it, and it opens with no other.
type Binding struct {
	Lot     perso.Name
	Unit    perso.Unit
	Gen     perso.Generation
	Chip    id.ChipID
	Present perso.Presentation
	Session perso.Session
	N       uint8    // the act that it answers
	Script  [32]byte // hash of the released script
}

// info is the record that HPKE takes in.
func (b Binding) info() ([]byte, error) {
	return record.New("sealed-window").Str("lot", string(b.Lot)).Uint("unit", uint64(b.Unit)).Uint("gen", uint64(b.Gen)).Str("chip", b.Chip.String()).
		Str("line", string(b.Present.Line)).Uint("head", uint64(b.Present.Head)).Uint("number", b.Present.Number).
		Hex("session", b.Session[:]).Uint("n", uint64(b.N)).Hex("script", b.Script[:]).Bytes()
}

// Opening is what a worker sends in the place of an INITIALIZE UPDATE command.
type Opening struct {
	Challenge [ChallengeBytes]byte
	Public    [PublicBytes]byte
}

// Bytes is version ‖ challenge ‖ public key.
func (o Opening) Bytes() []byte {
	b := append(make([]byte, 0, OpeningBytes), openingVersion)
	return append(append(b, o.Challenge[:]...), o.Public[:]...)
}

// ParseOpening reads what Bytes wrote, with a public key that something can be sealed to.
func ParseOpening(b []byte) (o Opening, err error) {
	if len(b) != OpeningBytes || b[0] != openingVersion {
		return o, fmt.Errorf("reading an opening of %d bytes: it is none of version %d", len(b), openingVersion)
	}
	copy(o.Challenge[:], b[1:])
	copy(o.Public[:], b[1+ChallengeBytes:])
	if _, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(o.Public[:]); err != nil {
		return o, fmt.Errorf("reading an opening: its public key: %w", err)
	}
	return o, nil
}

// Seal encrypts a window to the key of an opening. What it writes out in between is wiped; the window is the caller's.
func Seal(o Opening, to Binding, window bus.Window) ([]byte, error) {
	info, err := to.info()
	if err != nil {
		return nil, err
	}
	public, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(o.Public[:])
	if err != nil {
		return nil, fmt.Errorf("sealing a window: %w", err)
	}
	plain, err := window.MarshalBinary()
	defer clear(plain)
	if err != nil {
		return nil, err
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plain)
	if err != nil {
		return nil, fmt.Errorf("sealing a window: %w", err)
	}
	if len(sealed) > MaxSealedBytes {
		return nil, fmt.Errorf("sealing a window: %d bytes, limit %d", len(sealed), MaxSealedBytes)
	}
	return sealed, nil
}

// Key is the key pair of one presentation. Wipe it. The zero value opens nothing.
type Key struct {
	seed   secret.Bytes
	public [PublicBytes]byte
}

// NewKey makes a key pair of what a source of randomness gives.
func NewKey(random io.Reader) (Key, error) {
	seed := make([]byte, seedBytes)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Key{}, fmt.Errorf("making a key pair: %w", err)
	}
	k := Key{seed: secret.New(seed)}
	private, err := k.private()
	if err != nil {
		return Key{}, err
	}
	copy(k.public[:], private.PublicKey().Bytes())
	return k, nil
}

func (k Key) private() (p hpke.PrivateKey, err error) {
	err = k.seed.Reveal(func(seed []byte) (err error) {
		p, err = hpke.DHKEM(ecdh.X25519()).DeriveKeyPair(bytes.Clone(seed))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a key pair: %w", err)
	}
	return p, nil
}

// Public is what Seal takes.
func (k Key) Public() [PublicBytes]byte { return k.public }

// IsZero says that there is no key.
func (k Key) IsZero() bool { return k.seed.IsZero() }

// Wipe forgets the private key: what was sealed to it opens no more.
func (k *Key) Wipe() {
	k.seed.Wipe()
	*k = Key{}
}

// Open decrypts what was sealed to the key for exactly this. The caller wipes the window with Wipe.
func (k Key) Open(to Binding, sealed []byte) (bus.Window, error) {
	if k.IsZero() || len(sealed) > MaxSealedBytes {
		return nil, fmt.Errorf("opening %d bytes: %w", len(sealed), ErrSealed)
	}
	info, err := to.info()
	if err != nil {
		return nil, err
	}
	private, err := k.private()
	if err != nil {
		return nil, err
	}
	plain, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	defer clear(plain)
	if err != nil {
		return nil, fmt.Errorf("opening %d bytes: %w", len(sealed), ErrSealed)
	}
	var w bus.Window
	if err := w.UnmarshalBinary(plain); err != nil {
		return nil, err
	}
	return w, nil
}

// Wipe overwrites the commands of a window that was opened.
func Wipe(w bus.Window) {
	for _, p := range w {
		clear(p.APDU)
	}
}
