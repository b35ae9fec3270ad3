package checkpoint

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// Signature types of C2SP signed-note.
const (
	algEd25519     = 0x01 // the log's own
	algCosignature = 0x04 // cosignature/v1 with Ed25519
)

// MaxCosignatures bounds the signature lines of a checkpoint beside the log's own: signed-note asks readers for 16 at least.
const MaxCosignatures = 32

// ErrCosignature is wrapped when a line in the name of a known witness is not his.
var ErrCosignature = errors.New("cosignature does not verify")

// Witness is somebody outside the site who cosigns checkpoints after he saw that the log only grew (C2SP tlog-cosignature). He
// is known by name and key, as a log is.
type Witness struct {
	Name string
	Key  ed25519.PublicKey
}

// Cosignature is a witness's word that a checkpoint continues the one that he cosigned before.
type Cosignature struct {
	Witness Witness
	At      time.Time // his clock, to the second
}

// VerifierKey is the witness's C2SP vkey text.
func (w Witness) VerifierKey() string {
	return fmt.Sprintf("%s+%08x+%s", w.Name, w.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, w.Key...)))
}

// ParseWitness reads a witness's vkey in its only spelling.
func ParseWitness(vkey string) (Witness, error) {
	f := strings.SplitN(vkey, "+", 3)
	if len(f) != 3 {
		return Witness{}, errors.New("reading witness key: it is not name+hash+key")
	}
	raw, err := base64.StdEncoding.DecodeString(f[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algCosignature {
		return Witness{}, fmt.Errorf("reading witness key of %q: it holds no Ed25519 key for cosignatures (type %02x)", f[0], algCosignature)
	}
	w := Witness{Name: f[0], Key: raw[1:]}
	if err := w.check(); err != nil {
		return Witness{}, err
	}
	if w.VerifierKey() != vkey {
		return Witness{}, fmt.Errorf("reading witness key of %q: name, hash and key do not belong together: it was mistyped", f[0])
	}
	return w, nil
}

// check holds a name against signed-note: not empty, no blanks, no plus.
func (w Witness) check() error {
	if w.Name == "" || strings.ContainsFunc(w.Name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '+' }) {
		return fmt.Errorf("witness name %q is empty, or holds blanks or a plus sign", w.Name)
	}
	if len(w.Key) != ed25519.PublicKeySize {
		return fmt.Errorf("key of witness %q is not %d bytes", w.Name, ed25519.PublicKeySize)
	}
	return nil
}

// KeyHash is the witness's key id in a signature line: the beginning of SHA-256(name ‖ LF ‖ type ‖ key).
func (w Witness) KeyHash() uint32 {
	h := sha256.New()
	h.Write([]byte(w.Name + "\n"))
	h.Write([]byte{algCosignature})
	h.Write(w.Key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// cosignedText is what a witness signs of a note's text (cosignature/v1).
func cosignedText(text []byte, unix uint64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", unix), text...)
}

// cosigner is a witness as a verifier of golang.org/x/mod/sumdb/note.
type cosigner struct{ w Witness }

// Name implements note.Verifier.
func (c cosigner) Name() string { return c.w.Name }

// KeyHash implements note.Verifier.
func (c cosigner) KeyHash() uint32 { return c.w.KeyHash() }

// Verify implements note.Verifier: time in eight bytes, big-endian, then the signature.
func (c cosigner) Verify(msg, sig []byte) bool {
	return len(sig) == 8+ed25519.SignatureSize && ed25519.Verify(c.w.Key, cosignedText(msg, binary.BigEndian.Uint64(sig)), sig[8:])
}

// Cosign adds a witness's line to a signed checkpoint; sign is called with what he signs. Whether he should is not looked at
// here (ledger/audit/witness).
func Cosign(signed []byte, w Witness, at time.Time, sign func(text []byte) ([]byte, error)) ([]byte, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	text, _, found := strings.Cut(string(signed), "\n\n")
	if !found || at.Unix() <= 0 {
		return nil, errors.New("cosigning: this is no signed note, or the clock is not set")
	}
	unix := uint64(at.Unix())
	sig, err := sign(cosignedText([]byte(text+"\n"), unix))
	if err != nil {
		return nil, fmt.Errorf("cosigning as %q: %w", w.Name, err)
	}
	raw := binary.BigEndian.AppendUint32(nil, w.KeyHash())
	raw = append(binary.BigEndian.AppendUint64(raw, unix), sig...)
	return fmt.Appendf(slices.Clone(signed), "— %s %s\n", w.Name, base64.StdEncoding.EncodeToString(raw)), nil
}

// OpenCosigned verifies a checkpoint that others may have cosigned: the log's own signature, and those of the witnesses that are
// known. Lines of unknown people are passed over, as signed-note has it; a wrong line in a known name is an error.
func OpenCosigned(signed []byte, origin string, pub ed25519.PublicKey, witnesses []Witness) (Checkpoint, []Cosignature, error) {
	if len(signed) > MaxNoteBytes {
		return Checkpoint{}, nil, fmt.Errorf("opening checkpoint: %d bytes exceed %d", len(signed), MaxNoteBytes)
	}
	own, err := newVerifier(origin, pub)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	known := []note.Verifier{own}
	for _, w := range witnesses {
		known = append(known, cosigner{w})
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	var wrong *note.InvalidSignatureError
	if errors.As(err, &wrong) && (wrong.Name != own.Name() || wrong.Hash != own.KeyHash()) {
		return Checkpoint{}, nil, fmt.Errorf("opening checkpoint of %q: %w: that of witness %q", origin, ErrCosignature, wrong.Name)
	}
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("opening checkpoint of %q: %w", origin, err)
	}
	if len(n.Sigs)+len(n.UnverifiedSigs) > 1+MaxCosignatures {
		return Checkpoint{}, nil, fmt.Errorf("opening checkpoint of %q: more than %d signatures", origin, 1+MaxCosignatures)
	}
	c, err := ParseText(n.Text)
	if err == nil && c.Origin != origin {
		err = fmt.Errorf("opening checkpoint: it is of log %q, want %q", c.Origin, origin)
	}
	if err != nil {
		return Checkpoint{}, nil, err
	}
	words, logged, err := cosignatures(n.Sigs, own, witnesses)
	if err == nil && !logged {
		err = fmt.Errorf("opening checkpoint of %q: the log itself did not sign it", origin)
	}
	return c, words, err
}

// cosignatures tells the witnesses' lines from the log's own.
func cosignatures(sigs []note.Signature, own note.Verifier, witnesses []Witness) (words []Cosignature, logged bool, err error) {
	for _, s := range sigs {
		if s.Name == own.Name() && s.Hash == own.KeyHash() {
			logged = true
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4+8 {
			return nil, false, fmt.Errorf("opening checkpoint: signature of %q is not base64", s.Name)
		}
		at := time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC()
		for _, w := range witnesses {
			if w.Name == s.Name && w.KeyHash() == s.Hash {
				words = append(words, Cosignature{Witness: w, At: at})
			}
		}
	}
	return words, logged, nil
}

// Stripped is a cosigned note with the log's own signature alone: the form that Open takes.
func Stripped(signed []byte, origin string, pub ed25519.PublicKey) ([]byte, error) {
	v, err := newVerifier(origin, pub)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("opening checkpoint of %q: %w", origin, err)
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(raw) < 4 {
		return nil, fmt.Errorf("opening checkpoint of %q: signature is not base64", origin)
	}
	return assemble(n.Text, origin, v.KeyHash(), raw[4:]), nil
}

// WitnessKey is a witness's private half in the text form of golang.org/x/mod/sumdb/note, as other witnesses' programs keep it:
// "PRIVATE+KEY+name+hash+key", the key being of type 01 and the seed of the cosigning key.
type WitnessKey struct {
	Witness Witness
	private ed25519.PrivateKey
}

const privatePrefix = "PRIVATE+KEY+"

// NewWitnessKey makes a key of a seed of 32 bytes.
func NewWitnessKey(name string, seed []byte) (WitnessKey, error) {
	if len(seed) != ed25519.SeedSize {
		return WitnessKey{}, fmt.Errorf("making the key of witness %q: a seed has %d bytes", name, ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	k := WitnessKey{Witness: Witness{Name: name, Key: private.Public().(ed25519.PublicKey)}, private: private}
	return k, k.Witness.check()
}

// ParseWitnessKey reads the text form. Its errors do not quote it.
func ParseWitnessKey(text string) (WitnessKey, error) {
	bad := errors.New("reading a witness's key: it is not PRIVATE+KEY+name+hash+key of an Ed25519 key")
	rest, ok := strings.CutPrefix(strings.TrimSuffix(text, "\n"), privatePrefix)
	f := strings.SplitN(rest, "+", 3)
	if !ok || len(f) != 3 {
		return WitnessKey{}, bad
	}
	raw, err := base64.StdEncoding.DecodeString(f[2])
	defer clear(raw)
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != algEd25519 {
		return WitnessKey{}, bad
	}
	k, err := NewWitnessKey(f[0], raw[1:])
	if err != nil {
		return WitnessKey{}, err
	}
	if k.noteHash() != f[1] {
		return WitnessKey{}, bad
	}
	return k, nil
}

// Text is the file's content: a secret, for the caller to wipe.
func (k WitnessKey) Text() []byte {
	seed := k.private.Seed()
	defer clear(seed)
	raw := append([]byte{algEd25519}, seed...)
	defer clear(raw)
	out := []byte(privatePrefix + k.Witness.Name + "+" + k.noteHash() + "+")
	return append(base64.StdEncoding.AppendEncode(out, raw), '\n')
}

// noteHash is the key's id as an ordinary signer of notes, which the text form names.
func (k WitnessKey) noteHash() string {
	sum := sha256.Sum256(slices.Concat([]byte(k.Witness.Name+"\n"), []byte{algEd25519}, k.Witness.Key))
	return hex.EncodeToString(sum[:4])
}

// Cosign adds this witness's line.
func (k WitnessKey) Cosign(signed []byte, at time.Time) ([]byte, error) {
	return Cosign(signed, k.Witness, at, func(text []byte) ([]byte, error) { return ed25519.Sign(k.private, text), nil })
}

// Wipe makes the key useless.
func (k WitnessKey) Wipe() { clear(k.private) }
