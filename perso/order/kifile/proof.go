package kifile

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/perso"
)

// ErrRow says that a row is not the one that the file has for the unit.
var ErrRow = errors.New("row of Ki is not the released one")

// MaxProofHashes is the height of a tree of the largest file: 2^20 rows.
const MaxProofHashes = 20

// Bytes is the row in binary, as the ledger keeps it and as it is hashed: KCV (3) ‖ EKI (16 or 32).
func (r Row) Bytes() []byte { return append(r.KCV[:], r.EKI...) }

// ParseRow reads Bytes.
func ParseRow(b []byte) (Row, error) {
	if len(b) != KCVBytes+16 && len(b) != KCVBytes+32 {
		return Row{}, fmt.Errorf("reading row of %d bytes: %w", len(b), ErrRow)
	}
	return Row{KCV: [KCVBytes]byte(b), EKI: append([]byte(nil), b[KCVBytes:]...)}, nil
}

// leaf is what the tree is made of: unit (4 bytes, big-endian) ‖ row.
func (r Row) leaf(u perso.Unit) tlog.Hash {
	return tlog.RecordHash(append(binary.BigEndian.AppendUint32(nil, uint32(u)), r.Bytes()...))
}

// Tree holds the hashes of a file, 64 bytes a row.
type Tree struct {
	rows   int64
	hashes []tlog.Hash
}

// ReadHashes gives stored hashes by index (tlog.HashReader).
func (t *Tree) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		if n < 0 || n >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("reading hash %d of %d", n, len(t.hashes))
		}
		out[i] = t.hashes[n]
	}
	return out, nil
}

// Tree hashes all rows.
func (f *File) Tree() (*Tree, error) {
	t := new(Tree)
	for i, r := range f.rows {
		if err := t.add(perso.Unit(i), r); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Tree) add(u perso.Unit, r Row) error {
	more, err := tlog.StoredHashesForRecordHash(t.rows, r.leaf(u), t)
	if err != nil {
		return fmt.Errorf("hashing row of unit %d: %w", u, err)
	}
	t.hashes = append(t.hashes, more...)
	t.rows++
	return nil
}

// Root is what a release names.
func (t *Tree) Root() ([32]byte, error) {
	root, err := tlog.TreeHash(t.rows, t)
	if err != nil {
		return [32]byte{}, fmt.Errorf("hashing customer key file: %w", err)
	}
	return root, nil
}

// Prove is the proof that goes with the row of a unit.
func (t *Tree) Prove(u perso.Unit) ([][32]byte, error) {
	p, err := tlog.ProveRecord(t.rows, int64(u), t)
	if err != nil {
		return nil, fmt.Errorf("proving row of unit %d: %w", u, err)
	}
	out := make([][32]byte, len(p))
	for i, h := range p {
		out[i] = h
	}
	return out, nil
}

// Proof is what came with a row, and what was released.
type Proof struct {
	Root   [32]byte
	Rows   uint64 // of the file: good units and spares
	Hashes [][32]byte
}

// CheckRow says whether a row is the unit's in the released file; ErrRow when it is not.
func CheckRow(u perso.Unit, r Row, p Proof) error {
	if len(p.Hashes) > MaxProofHashes || p.Rows > 1<<MaxProofHashes || uint64(u) >= p.Rows {
		return fmt.Errorf("checking row of unit %d with %d hashes in a file of %d rows: %w", u, len(p.Hashes), p.Rows, ErrRow)
	}
	proof := make(tlog.RecordProof, len(p.Hashes))
	for i, h := range p.Hashes {
		proof[i] = h
	}
	if tlog.CheckRecord(proof, int64(p.Rows), p.Root, int64(u), r.leaf(u)) != nil {
		return fmt.Errorf("checking row of unit %d: %w", u, ErrRow)
	}
	return nil
}
