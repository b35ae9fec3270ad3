package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// KindProof is the kind of a proof's first record.
const KindProof = "proof"

// MaxProofBytes bounds a proof that is read: some thousand entries of a lot with long findings.
const MaxProofBytes = 64 << 20

// maxProven bounds the entries of one proof.
const maxProven = 20_000

// SubjectKind is what a proof is about.
type SubjectKind string

// Kinds of subjects. Of an order and a lot it is what concerns them as a whole; their units are proven one by one.
const (
	SubjectEID   SubjectKind = "eid"
	SubjectICCID SubjectKind = "iccid"
	SubjectChip  SubjectKind = "chip"
	SubjectLot   SubjectKind = "lot"
	SubjectOrder SubjectKind = "order"
)

// Subject is what a proof is about: a kind and its key as people write it.
type Subject struct {
	Kind SubjectKind
	Key  string
}

func (s Subject) String() string { return string(s.Kind) + " " + s.Key }

// Proven is an entry with the proof that it is in the log.
type Proven struct {
	Seq   int64
	Body  []byte
	Proof []checkpoint.Hash
}

// Proof is a small file by which anybody who knows the log's key sees for himself that these entries are in the log, without the
// log: entries, inclusion proofs, the officers' words that they name and that are needed to understand them, and the signed
// checkpoint. That there are no other entries about the subject, only the whole log shows.
type Proof struct {
	Subject    Subject
	Entries    []Proven
	Statements [][]byte // encoded, signed
	Note       []byte
}

// Encode gives the file: a record, and then, each after an empty line, every entry and its place, the statements, the checkpoint.
func (p Proof) Encode() ([]byte, error) {
	head, err := record.New(KindProof).Str("about", string(p.Subject.Kind)).Str("key", p.Subject.Key).
		Uint("entries", uint64(len(p.Entries))).Uint("statements", uint64(len(p.Statements))).Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding a proof: %w", err)
	}
	out := append(head, '\n')
	for _, e := range p.Entries {
		out = append(append(out, e.Body...), '\n')
		out = fmt.Appendf(out, "seq %d\n", e.Seq)
		for _, h := range e.Proof {
			out = append(base64.StdEncoding.AppendEncode(out, h[:]), '\n')
		}
		out = append(out, '\n')
	}
	for _, s := range p.Statements {
		out = append(append(out, s...), '\n')
	}
	return append(out, p.Note...), nil
}

var errNoProof = errors.New("it is no proof, or was changed")

// ParseProof reads a file in its only spelling; what it claims is not checked.
func ParseProof(b []byte) (p Proof, err error) {
	if len(b) > MaxProofBytes {
		return p, fmt.Errorf("reading a proof: longer than %d bytes", MaxProofBytes)
	}
	head, rest, _ := bytes.Cut(b, []byte("\n\n"))
	r, err := record.Parse(append(bytes.Clone(head), '\n'), KindProof)
	if err != nil {
		return p, fmt.Errorf("reading a proof: %w", err)
	}
	p.Subject = Subject{Kind: SubjectKind(r.Raw("about")), Key: r.Raw("key")}
	entries, statements := r.Uint("entries", 16), r.Uint("statements", 16)
	if err := r.Done(); err != nil {
		return p, fmt.Errorf("reading a proof: %w", err)
	}
	next := func() (section []byte) {
		section, rest, _ = bytes.Cut(rest, []byte("\n\n"))
		return append(bytes.Clone(section), '\n')
	}
	for range entries {
		e := Proven{Body: next()}
		if e.Seq, e.Proof, err = parsePlace(string(next())); err != nil {
			return p, fmt.Errorf("reading a proof: entry %d of it: %w", len(p.Entries), err)
		}
		p.Entries = append(p.Entries, e)
	}
	for range statements {
		p.Statements = append(p.Statements, append(append(next(), '\n'), next()...))
	}
	p.Note = rest
	if again, err := p.Encode(); err != nil || !bytes.Equal(again, b) {
		return p, fmt.Errorf("reading a proof: %w", errors.Join(errNoProof, err))
	}
	return p, nil
}

func parsePlace(text string) (seq int64, proof []checkpoint.Hash, err error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	number, ok := strings.CutPrefix(lines[0], "seq ")
	seq, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 0 || len(lines) > 1+checkpoint.MaxProofHashes {
		return 0, nil, errNoProof
	}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != len(checkpoint.Hash{}) {
			return 0, nil, errNoProof
		}
		proof = append(proof, checkpoint.Hash(h))
	}
	return seq, proof, nil
}

// Checked is what a proof shows.
type Checked struct {
	Subject    Subject
	Checkpoint checkpoint.Checkpoint
	Env        perso.Env
	Site       perso.Name
	Key        ed25519.PublicKey // that signed the checkpoint
	Pinned     bool
	Entries    []Proven
	Statements [][]byte
}

// Check verifies a proof: the checkpoint's signature, the place of every entry, that the statements are those that proven entries
// name, and that the subject is what the entries are about. Without a key the one of the log's first entry is taken, which the
// proof holds; it is for a person to compare then.
func (p Proof) Check(key ed25519.PublicKey) (c Checked, err error) {
	c = Checked{Subject: p.Subject, Key: key, Pinned: len(key) > 0, Entries: p.Entries, Statements: p.Statements}
	if len(p.Entries) == 0 {
		return c, fmt.Errorf("checking a proof: %w", errNoProof)
	}
	g, err := entry.ParseGenesis(p.Entries[0].Body)
	if err != nil || p.Entries[0].Seq != 0 {
		return c, fmt.Errorf("checking a proof: it does not begin with the log's first entry: %w", errors.Join(errNoProof, err))
	}
	c.Env, c.Site = g.Env, g.Site
	if !c.Pinned {
		c.Key = g.LogKey
	}
	if c.Checkpoint, err = checkpoint.Open(p.Note, g.Origin, c.Key); err != nil {
		return c, fmt.Errorf("checking a proof: %w", err)
	}
	for _, e := range p.Entries {
		if err := checkpoint.CheckInclusion(c.Checkpoint, e.Seq, e.Body, e.Proof); err != nil {
			return c, fmt.Errorf("checking a proof: %w", err)
		}
	}
	if err := p.named(); err != nil {
		return c, fmt.Errorf("checking a proof: %w", err)
	}
	if err := p.about(); err != nil {
		return c, fmt.Errorf("checking a proof of %s: %w", p.Subject, err)
	}
	return c, nil
}

// Wordless is a statement that a proof names, and whose words are not with it: where the proof was made they were not to be had.
type Wordless struct {
	Seq     int64 // of the entry that names it
	What    string
	Hash    [32]byte
	Deleted bool // so says a word that is with the proof: officers had them deleted after delivery
}

// Wordless lists them, in the order of the log.
func (c Checked) Wordless() (all []Wordless) {
	with, deleted := map[[32]byte]bool{}, map[[32]byte]bool{}
	for _, raw := range c.Statements {
		s, err := statement.DecodeSigned(raw)
		if err != nil {
			continue // checked before
		}
		with[s.Hash()] = true
		if f, err := statement.ParseForget(s.Body); err == nil {
			for _, hash := range f.Openings() {
				deleted[hash] = true
			}
		}
	}
	for _, x := range c.Entries {
		if e, ok := parseEntry(x.Body).entry.(entry.Statement); ok && !with[e.Hash] {
			all = append(all, Wordless{Seq: x.Seq, What: e.What, Hash: e.Hash, Deleted: deleted[e.Hash]})
		}
	}
	return all
}
