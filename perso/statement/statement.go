// Package statement holds what officers sign: the officer register, releases, lot closings. A statement is a canonical
// record with Ed25519 signatures of named officers; the vault and the offline auditor check the same bytes with the same code.
//
// Contract: nothing here trusts a database. A Register is built from the genesis statement whose hash is pinned on the
// vault host, then from a chain of additions and revocations that two officers of different person and role signed.
// Any zone may call it. Format: ledger/FORMAT.md.
package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// MaxSignatures bounds the signatures on one statement: every officer of a large site could sign a genesis.
const MaxSignatures = 16

// MaxSignedBytes bounds an encoded statement: a record with its signature lines.
const MaxSignedBytes = record.MaxRecordBytes + MaxSignatures*256

// MaxReasonBytes bounds the reason that people give in a statement that is taken in: a paragraph. The form allows more (record), and what was
// signed before stands: so who parses does not ask, who drafts, signs and takes in does.
const MaxReasonBytes = 1_000

// ErrNotAuthorized is wrapped by each refusal of a statement whose form is right but whose signers are not enough.
var ErrNotAuthorized = errors.New("statement is not signed as required")

// Signature is one officer's signature over the body's exact bytes.
type Signature struct {
	Officer perso.Name
	Sig     [ed25519.SignatureSize]byte
}

// Signed is a statement with its signatures.
type Signed struct {
	Body       []byte
	Signatures []Signature
}

// CheckReason refuses the body of a statement whose reason is longer than anybody reads. Every vault is told of some, and all that is frozen is
// shown with its reason.
func CheckReason(body []byte) error {
	for line := range bytes.Lines(body) {
		if reason, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("reason ")); ok && len(reason) > MaxReasonBytes {
			return fmt.Errorf("the reason has %d bytes, at most %d: say it shortly, and name the document that says more", len(reason), MaxReasonBytes)
		}
	}
	return nil
}

// Hash identifies the statement: SHA-256 of its body. Every body holds a 32-byte nonce, so the hash hides the content.
func (s Signed) Hash() [32]byte { return sha256.Sum256(s.Body) }

// Sign adds an officer's signature in its place: signatures stand by the officers' names, whoever signed first.
func (s *Signed) Sign(officer perso.Name, key ed25519.PrivateKey) {
	sig := Signature{Officer: officer}
	copy(sig.Sig[:], ed25519.Sign(key, s.Body))
	i, _ := slices.BinarySearchFunc(s.Signatures, sig, byOfficer)
	s.Signatures = slices.Insert(slices.Clone(s.Signatures), i, sig)
}

func byOfficer(a, b Signature) int { return strings.Compare(string(a.Officer), string(b.Officer)) }

// Encode writes body, a blank line, and one line "signed <officer> <hex>" per signature.
func (s Signed) Encode() []byte {
	out := bytes.Clone(s.Body)
	out = append(out, '\n')
	for _, g := range s.Signatures {
		out = fmt.Appendf(out, "signed %s %x\n", g.Officer, g.Sig)
	}
	return out
}

// DecodeSigned reads what Encode wrote; any other spelling is refused, as is any other order of the signatures: the same
// statement, signed by the same officers, is the same bytes.
func DecodeSigned(b []byte) (Signed, error) {
	if len(b) > MaxSignedBytes {
		return Signed{}, fmt.Errorf("decoding statement: %d bytes exceed %d", len(b), MaxSignedBytes)
	}
	i := bytes.Index(b, []byte("\n\n"))
	if i < 0 {
		return Signed{}, fmt.Errorf("decoding statement: nobody has signed it: it has no blank line with signatures behind")
	}
	s := Signed{Body: bytes.Clone(b[:i+1])}
	if _, err := record.Kind(s.Body); err != nil {
		return Signed{}, fmt.Errorf("decoding statement: %w", err)
	}
	for rest := string(b[i+2:]); rest != ""; {
		line, tail, ok := strings.Cut(rest, "\n")
		if !ok || len(s.Signatures) == MaxSignatures {
			return Signed{}, fmt.Errorf("decoding statement: signature lines are cut off or more than %d", MaxSignatures)
		}
		sig, err := parseSignature(line)
		if err != nil {
			return Signed{}, fmt.Errorf("decoding statement: %w", err)
		}
		if err := s.follows(sig); err != nil {
			return Signed{}, fmt.Errorf("decoding statement: %w", err)
		}
		s.Signatures = append(s.Signatures, sig)
		rest = tail
	}
	if !bytes.Equal(s.Encode(), b) {
		return Signed{}, fmt.Errorf("decoding statement: %w", record.ErrForm)
	}
	return s, nil
}

// follows demands signatures by name, each once.
func (s Signed) follows(next Signature) error {
	if len(s.Signatures) == 0 {
		return nil
	}
	last := s.Signatures[len(s.Signatures)-1]
	switch c := byOfficer(last, next); {
	case c == 0:
		return fmt.Errorf("%w: %q signed twice", record.ErrForm, next.Officer)
	case c > 0:
		return fmt.Errorf("%w: the signature of %q stands after that of %q: they stand by name", record.ErrForm, next.Officer, last.Officer)
	}
	return nil
}

func parseSignature(line string) (Signature, error) {
	f := strings.Split(line, " ")
	if len(f) != 3 || f[0] != "signed" {
		return Signature{}, fmt.Errorf("signature line is not \"signed <officer> <hex>\"")
	}
	name, err := perso.ParseName(f[1])
	if err != nil {
		return Signature{}, fmt.Errorf("parsing signature's officer: %w", err)
	}
	raw, err := hex.DecodeString(f[2])
	if err != nil || len(raw) != ed25519.SignatureSize {
		return Signature{}, fmt.Errorf("signature of %q is not %d bytes of hex", name, ed25519.SignatureSize)
	}
	return Signature{Officer: name, Sig: [ed25519.SignatureSize]byte(raw)}, nil
}
