package backup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// Files of a backup.
const (
	ManifestFile = "manifest"
	tablesFile   = "tables"
	noteFile     = "checkpoint"
)

// kindManifest is the record that says what a backup holds.
const kindManifest = "ledger-backup"

// TableSum is one table in a backup.
type TableSum struct {
	Name string
	Rows uint64
	Sum  [sha256.Size]byte // over its rows as they stand in the file
}

// Manifest says what a backup holds.
type Manifest struct {
	Env    perso.Env
	Site   perso.Name
	Origin string // name of the log
	At     time.Time
	Size   int64 // entries of the log
	Root   [sha256.Size]byte
	Signed int64 // entries that its checkpoint covers; 0: it has none
	Redo   redo.Mark
	Schema schema.Made
	Bytes  int64 // of the file of tables
	Sum    [sha256.Size]byte
	Tables []TableSum
}

// maxTables bounds the tables of a ledger.
const maxTables = 256

// Encode gives the file.
func (m Manifest) Encode() ([]byte, error) {
	w := record.New(kindManifest).Str("env", string(m.Env)).Str("site", string(m.Site)).Str("origin", m.Origin).Time("at", m.At).
		Uint("size", uint64(m.Size)).Hex("root", m.Root[:]).Uint("signed", uint64(m.Signed)).Uint("redo", m.Redo.Seq).Hex("redo_hash", optional(m.Redo.Hash)).
		Uint("migrations", uint64(m.Schema.Migrations)).Hex("schema", m.Schema.Sum[:]).Uint("bytes", uint64(m.Bytes)).Hex("sum", m.Sum[:])
	for _, t := range m.Tables {
		w.Str("table", t.Name).Uint("rows", t.Rows).Hex("rows_sum", t.Sum[:])
	}
	return w.Bytes()
}

// optional is nothing for the hash that stands for nothing.
func optional(h [sha256.Size]byte) []byte {
	if h == ([sha256.Size]byte{}) {
		return nil
	}
	return h[:]
}

// ParseManifest reads the file; it checks form and inner sense.
func ParseManifest(b []byte) (m Manifest, err error) {
	r, err := record.Parse(b, kindManifest)
	if err != nil {
		return m, fmt.Errorf("parsing manifest: %w", err)
	}
	m.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	m.Site = r.Name("site")
	m.Origin, m.At = r.Raw("origin"), r.Time("at")
	m.Size, m.Root, m.Signed = int64(r.Uint("size", 63)), r.Hash("root"), int64(r.Uint("signed", 63))
	m.Redo = redo.Mark{Seq: r.Uint("redo", 63), Hash: r.OptHash("redo_hash")}
	m.Schema = schema.Made{Migrations: int(r.Uint("migrations", 16)), Sum: r.Hash("schema")}
	m.Bytes, m.Sum = int64(r.Uint("bytes", 63)), r.Hash("sum")
	for r.More() && len(m.Tables) < maxTables {
		m.Tables = append(m.Tables, TableSum{Name: r.Raw("table"), Rows: r.Uint("rows", 63), Sum: r.Hash("rows_sum")})
	}
	if m.Size == 0 || m.Signed > m.Size {
		r.Check(errors.New("no ledger has such a log"))
	}
	if err := r.Done(); err != nil {
		return Manifest{}, fmt.Errorf("parsing manifest: %w", err)
	}
	return m, nil
}

// HashOf names a backup: it is the hash of its manifest.
func HashOf(manifest []byte) [sha256.Size]byte { return sha256.Sum256(manifest) }

// nameDigits of its hash name a backup's folder.
const nameDigits = 16

// folderName is the name of a backup's folder: the log's size, so that they sort, and of which manifest it is.
func folderName(size int64, manifest []byte) string {
	return fmt.Sprintf("%s%012d-%x", folderPrefix, size, HashOf(manifest))[:len(folderPrefix)+12+1+nameDigits]
}

const folderPrefix = "backup-"
