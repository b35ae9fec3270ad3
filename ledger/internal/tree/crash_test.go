package tree

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso/checkpoint"
)

// TestPowerCut takes the files of a running ledger as a power cut leaves them, with the write-ahead log torn at any
// length: what opens is always a whole log, of a size that was committed, and all of it when nothing was torn.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "ledger.db")
	db, err := ledgertest.Create(ctx, path)
	must(t, err)
	must(t, ledgertest.Init(ctx, db))
	must(t, db.Close()) // the tables are now in the file, and the write-ahead log begins anew
	db, err = ledgertest.Open(ctx, path)
	must(t, err)
	l := openLog(t, db)
	committed := map[int64]checkpoint.Hash{0: l.Root()}
	for range 40 {
		l = appendTo(t, db, l, batch(l.Size(), 17))
		committed[l.Size()] = l.Root()
	}
	file, err := os.ReadFile(path)
	must(t, err)
	wal, err := os.ReadFile(path + "-wal")
	must(t, err)
	must(t, db.Close())

	last := int64(-1)
	for cut := 0; cut <= len(wal); cut = nextCut(cut, len(wal)) {
		size := openTorn(t, file, wal[:cut], committed)
		if size < last {
			t.Errorf("%d bytes of the write-ahead log give %d entries, fewer than %d", cut, size, last)
		}
		last = size
	}
	if last != l.Size() {
		t.Errorf("nothing torn, and yet %d of %d entries", last, l.Size())
	}
}

// nextCut steps by an odd number of bytes, so that cuts fall everywhere in a frame, and ends at the full length.
func nextCut(cut, total int) int {
	if cut < total {
		return min(cut+29_989, total)
	}
	return total + 1
}

func openTorn(t *testing.T, file, wal []byte, committed map[int64]checkpoint.Hash) int64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, os.WriteFile(path, file, 0o600))
	must(t, os.WriteFile(path+"-wal", wal, 0o600))
	db, err := sqldb.OpenSQLite(t.Context(), path)
	must(t, err)
	must(t, schema.Check(t.Context(), db))
	l := openLog(t, db)
	if root, ok := committed[l.Size()]; !ok || root != l.Root() {
		t.Errorf("after %d bytes: %d entries were never a committed log", len(wal), l.Size())
	}
	appendTo(t, db, l, batch(l.Size(), 300))
	must(t, db.Close())
	return l.Size()
}
