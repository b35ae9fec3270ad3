// Package checkpoint is the log seen from outside: a signed statement of its size and root, and the two proofs that lean
// on it. The vault signs and checks with it, the line checks its verdicts, the auditor checks everything.
//
// Hashing is RFC 6962 (leaf 0x00, node 0x01), the text is C2SP tlog-checkpoint, the envelope C2SP signed-note with one
// Ed25519 signature of the log key. Only one spelling is accepted, so that no bit of a note can change unseen.
// It holds no key and does no I/O; any zone may call it.
package checkpoint

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree.
type Hash = tlog.Hash

// MaxNoteBytes bounds a signed checkpoint; ours are about 250 bytes, witnesses may add lines.
const MaxNoteBytes = 8_192

// MaxProofHashes bounds a proof: a tree of 2^63 leaves needs no more.
const MaxProofHashes = 64

// ErrProof is wrapped when a proof does not lead to the signed root.
var ErrProof = errors.New("log proof does not hold")

// Checkpoint says: the log called Origin held Size entries with this root.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   Hash
}

// Leaf hashes one entry's stored bytes.
func Leaf(entry []byte) Hash { return tlog.RecordHash(entry) }

// Text is the note body: origin, decimal size, base64 root, each on its line.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// ParseText reads a body and refuses any other spelling of it.
func ParseText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" {
		return Checkpoint{}, fmt.Errorf("parsing checkpoint: it has not origin, size and root on three lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("parsing checkpoint: size %q is no count", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(Hash{}) {
		return Checkpoint{}, fmt.Errorf("parsing checkpoint: root is not %d bytes of base64", len(Hash{}))
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: Hash(root)}
	if c.Text() != text {
		return Checkpoint{}, fmt.Errorf("parsing checkpoint: it is not in canonical form")
	}
	return c, nil
}

// Seal makes the signed note; sign is called with the note's text (in the product by the HSM).
func (c Checkpoint) Seal(pub ed25519.PublicKey, sign func(text []byte) ([]byte, error)) ([]byte, error) {
	text := c.Text()
	sig, err := sign([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint of %d entries: %w", c.Size, err)
	}
	v, err := newVerifier(c.Origin, pub)
	if err != nil {
		return nil, err
	}
	return assemble(text, c.Origin, v.KeyHash(), sig), nil
}

func assemble(text, name string, hash uint32, sig []byte) []byte {
	raw := binary.BigEndian.AppendUint32(nil, hash)
	raw = append(raw, sig...)
	return []byte(text + "\n— " + name + " " + base64.StdEncoding.EncodeToString(raw) + "\n")
}

func newVerifier(origin string, pub ed25519.PublicKey) (note.Verifier, error) {
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return nil, fmt.Errorf("naming log key of %q: %w", origin, err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("reading log key of %q: %w", origin, err)
	}
	return v, nil
}

// VerifierKey is the C2SP vkey text of a log key, for people and files.
func VerifierKey(origin string, pub ed25519.PublicKey) (string, error) {
	if _, err := newVerifier(origin, pub); err != nil { // NewEd25519VerifierKey takes any name
		return "", err
	}
	s, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return "", fmt.Errorf("naming log key of %q: %w", origin, err)
	}
	return s, nil
}

// Open verifies a signed note of the named log and returns what it says.
func Open(signed []byte, origin string, pub ed25519.PublicKey) (Checkpoint, error) {
	if len(signed) > MaxNoteBytes {
		return Checkpoint{}, fmt.Errorf("opening checkpoint: %d bytes exceed %d", len(signed), MaxNoteBytes)
	}
	v, err := newVerifier(origin, pub)
	if err != nil {
		return Checkpoint{}, err
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("opening checkpoint of %q: %w", origin, err)
	}
	c, err := ParseText(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("opening checkpoint: it is of log %q, want %q", c.Origin, origin)
	}
	if err := canonical(signed, n); err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}

// canonical refuses a second spelling: base64 leaves unused bits, and note.Open tolerates foreign signature lines.
func canonical(signed []byte, n *note.Note) error {
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return fmt.Errorf("opening checkpoint: it carries other signatures than the log's one")
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(raw) < 4 {
		return fmt.Errorf("opening checkpoint: signature is not base64")
	}
	if !bytes.Equal(assemble(n.Text, n.Sigs[0].Name, n.Sigs[0].Hash, raw[4:]), signed) {
		return fmt.Errorf("opening checkpoint: it is not in canonical form")
	}
	return nil
}

// CheckInclusion proves that entry is number seq (from 0) of the log that c describes.
func CheckInclusion(c Checkpoint, seq int64, entry []byte, proof []Hash) error {
	if len(proof) > MaxProofHashes {
		return fmt.Errorf("%w: %d hashes exceed %d", ErrProof, len(proof), MaxProofHashes)
	}
	if seq < 0 || seq >= c.Size {
		return fmt.Errorf("%w: entry %d is not among %d", ErrProof, seq, c.Size)
	}
	if err := tlog.CheckRecord(tlog.RecordProof(proof), c.Size, c.Root, seq, Leaf(entry)); err != nil {
		return fmt.Errorf("%w: entry %d in %d: %w", ErrProof, seq, c.Size, err)
	}
	return nil
}

// CheckConsistency proves that the log of size newer begins with the log of size older. From the empty log anything grows.
func CheckConsistency(older, newer Checkpoint, proof []Hash) error {
	switch {
	case older.Origin != newer.Origin:
		return fmt.Errorf("%w: logs %q and %q differ", ErrProof, older.Origin, newer.Origin)
	case newer.Size < older.Size:
		return fmt.Errorf("%w: size goes back from %d to %d", ErrProof, older.Size, newer.Size)
	case older.Size == newer.Size:
		if older.Root != newer.Root {
			return fmt.Errorf("%w: two roots at size %d", ErrProof, newer.Size)
		}
		return nil
	case older.Size == 0:
		return nil
	case len(proof) > MaxProofHashes:
		return fmt.Errorf("%w: %d hashes exceed %d", ErrProof, len(proof), MaxProofHashes)
	}
	if err := tlog.CheckTree(tlog.TreeProof(proof), newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return fmt.Errorf("%w: from %d to %d: %w", ErrProof, older.Size, newer.Size, err)
	}
	return nil
}

// EmptyRoot is the root of a log without entries.
func EmptyRoot() Hash { return sha256.Sum256(nil) }

// ParseVerifierKey reads a C2SP vkey text of an Ed25519 log key.
func ParseVerifierKey(vkey string) (origin string, pub ed25519.PublicKey, err error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return "", nil, fmt.Errorf("reading verifier key: %w", err)
	}
	// name+hash+key: the key's base64 may hold further plus signs, a name may not.
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return "", nil, fmt.Errorf("reading verifier key of %q: it holds no Ed25519 key", v.Name())
	}
	pub = ed25519.PublicKey(raw[1:])
	if again, err := VerifierKey(v.Name(), pub); err != nil || again != vkey {
		return "", nil, fmt.Errorf("reading verifier key of %q: it is not in canonical form", v.Name())
	}
	return v.Name(), pub, nil
}
