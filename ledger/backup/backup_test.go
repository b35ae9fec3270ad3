package backup

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/rows"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

var testAt = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

const testOrigin = "factory.example/test"

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func untold(uint64) {}

var logKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))

func public() ed25519.PublicKey { return logKey.Public().(ed25519.PublicKey) }

// grow adds entries to a database's log.
func grow(t *testing.T, db sqldb.DB, n int) {
	t.Helper()
	ctx := t.Context()
	ok(t, db.Update(ctx, func(tx sqldb.Tx) error {
		log, err := tree.Open(ctx, tx)
		if err != nil {
			return err
		}
		var items []tree.Item
		for i := range n {
			items = append(items, tree.Item{Kind: "alarm", Body: fmt.Appendf(nil, "entry %d of %d", i, log.Size())})
		}
		_, _, err = log.Append(ctx, tx, items)
		return err
	}))
}

// signed gives a checkpoint of a database's log, and stores it.
func signed(t *testing.T, db sqldb.DB) (note []byte) {
	t.Helper()
	ctx := t.Context()
	ok(t, db.Update(ctx, func(tx sqldb.Tx) error {
		log, err := tree.Open(ctx, tx)
		if err != nil {
			return err
		}
		note = seal(t, log.Size(), log.Root())
		before, _, err := tree.Signed(ctx, tx)
		if err != nil {
			return err
		}
		return log.SetSigned(ctx, tx, before, note)
	}))
	return note
}

func seal(t *testing.T, size int64, root checkpoint.Hash) []byte {
	t.Helper()
	note, err := checkpoint.Checkpoint{Origin: testOrigin, Size: size, Root: root}.Seal(public(), func(text []byte) ([]byte, error) { return ed25519.Sign(logKey, text), nil })
	ok(t, err)
	return note
}

// undying is a database that outlives the ledger's process.
type undying struct{ sqldb.DB }

func (undying) Close() error { return nil }

// stop ends the ledger's process, and start begins it anew.
func stop(t *testing.T, db sqldb.DB) {
	t.Helper()
	ok(t, db.Close())
}

func start(t *testing.T, db sqldb.DB, redoDir string) sqldb.DB {
	t.Helper()
	d, err := redo.Open(t.Context(), db.(*redo.DB).DB, redoDir)
	ok(t, err)
	return d
}

// newLedger makes a ledger's database with a redo log, two full tiles of entries, a checkpoint, and rows of every kind of value.
func newLedger(t *testing.T) (db sqldb.DB, redoDir string) {
	t.Helper()
	ctx, inner := t.Context(), ledgertest.PreparedMemory(t)
	redoDir = filepath.Join(t.TempDir(), "redo")
	ok(t, inner.Update(ctx, func(tx sqldb.Tx) error {
		log, err := tree.Open(ctx, tx)
		if err != nil {
			return err
		}
		g, err := entry.Genesis{Env: perso.EnvTest, Site: "S1", Origin: testOrigin, At: testAt, Register: [32]byte{1}, LogKey: public(), StmtKey: public(),
			EUMCert: [32]byte{1}, EISCert: [32]byte{2}}.Encode()
		if err != nil {
			return err
		}
		_, _, err = log.Append(ctx, tx, []tree.Item{{Kind: entry.KindGenesis, Body: g}})
		return err
	}))
	ok(t, BeginRedo(ctx, inner, redoDir, rand.Reader))
	d, err := redo.Open(ctx, undying{inner}, redoDir)
	ok(t, err)
	grow(t, d, 500)
	signed(t, d)
	grow(t, d, 50)
	ok(t, d.Update(ctx, func(tx sqldb.Tx) error {
		for _, q := range []struct {
			text string
			args []any
		}{
			{`INSERT INTO customer_order (order_id, hash, nonce, canonical, resolved, state, created) VALUES ($1, $2, $3, $4, $5, $6, $7)`, []any{"O-1", []byte{1}, nil, []byte{}, []byte{0, 255}, "accepted", int64(-1)}},
			{`INSERT INTO reel (reel, file_hash, product, count, created) VALUES ($1, $2, $3, $4, $5)`, []any{"R-1", []byte{}, "", int64(0), int64(1) << 62}},
			{`INSERT INTO chip (chip, reel, twin) VALUES ($1, $2, $3)`, []any{[]byte{1}, "R-1", true}},
			{`INSERT INTO chip (chip, reel, twin) VALUES ($1, $2, $3)`, []any{[]byte{2}, "R-1", false}},
		} {
			if _, err := tx.Exec(ctx, q.text, q.args...); err != nil {
				return err
			}
		}
		return nil
	}))
	return d, redoDir
}

// dump is all that a database holds, in one text, but for its mark in the redo log and the lock of a restored one.
func dump(t *testing.T, db sqldb.DB) string {
	t.Helper()
	var out strings.Builder
	tables, _, err := schema.Tables()
	ok(t, err)
	ok(t, db.View(t.Context(), func(tx sqldb.Tx) error {
		out.Reset()
		for _, table := range tables {
			if table.Name == "meta" {
				continue
			}
			if err := rows.Read(t.Context(), tx, table, func(row []any) error {
				fmt.Fprintf(&out, "%s %#v\n", table.Name, row)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}))
	return out.String()
}

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	db, redoDir := newLedger(t)
	under := t.TempDir()
	taken, err := Take(t.Context(), db, under, testAt, untold)
	ok(t, err)
	m, err := Verify(taken.Dir, nil, untold)
	ok(t, err)
	if m.Size != 551 || m.Signed != 501 || m.Site != "S1" || m.Redo.Seq == 0 {
		t.Errorf("%+v", m)
	}
	if _, err := Take(t.Context(), db, under, testAt, untold); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same backup again: %v", err)
	}
	to := filepath.Join(t.TempDir(), "ledger.db")
	restoredTo := func(want string) {
		t.Helper()
		r, err := Restore(t.Context(), Plan{Backup: taken.Dir, Redo: redoDir, To: to})
		ok(t, err)
		got, err := sqldb.OpenSQLite(t.Context(), to)
		ok(t, err)
		if d := dump(t, got); d != want {
			t.Errorf("restored\n%s\nwas\n%s", d, want)
		}
		ok(t, got.View(t.Context(), func(tx sqldb.Tx) error {
			m, locked, err := restored.Read(t.Context(), tx)
			if !locked || m.Backup != taken.Hash || m.BackupSize != 551 || m.Size != r.Size || m.Root != r.Root || m.To-m.From != r.Mark.Seq-taken.Manifest.Redo.Seq {
				t.Errorf("restored %+v, locked %v: %+v", r, locked, m)
			}
			return err
		}))
		ok(t, got.Close())
		if r.Manifest.Size != 551 {
			t.Errorf("%+v", r)
		}
		ok(t, os.Remove(to))
	}
	if _, err := Restore(t.Context(), Plan{Backup: taken.Dir, Redo: redoDir, To: to}); !errors.Is(err, redo.ErrLocked) {
		t.Errorf("restored while the ledger works: %v", err)
	}
	stop(t, db)
	restoredTo(dump(t, db)) // nothing happened since
	db = start(t, db, redoDir)
	grow(t, db, 300)
	stop(t, db)
	restoredTo(dump(t, db))
	if n, err := PruneRedo(redoDir, taken); err != nil || n != 0 {
		t.Errorf("pruned %d of one segment, %v", n, err)
	}
}

// TestNewest: of backups that hold as much, the one that was made last is the newest, whatever their folders' hashes say.
func TestNewest(t *testing.T) {
	t.Parallel()
	db, _ := newLedger(t)
	under := t.TempDir()
	want := ""
	for hour := range 8 {
		taken, err := Take(t.Context(), db, under, testAt.Add(time.Duration(hour)*time.Hour), untold)
		ok(t, err)
		want = taken.Dir
	}
	if got, err := Newest(under); err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	grow(t, db, 1)
	larger, err := Take(t.Context(), db, under, testAt, untold)
	ok(t, err)
	if got, err := Newest(under); err != nil || got != larger.Dir {
		t.Errorf("%q, %v, want %q, which holds more", got, err, larger.Dir)
	}
}

// A checkpoint that somebody kept finds a ledger that was put back, or went another way, before the log vault is asked.
func TestHeldCheckpoint(t *testing.T) {
	t.Parallel()
	db, redoDir := newLedger(t)
	taken, err := Take(t.Context(), db, t.TempDir(), testAt, untold)
	ok(t, err)
	old := signed(t, db)
	grow(t, db, 10)
	young := signed(t, db)
	stop(t, db)
	fork := seal(t, 551, checkpoint.Hash{7})
	later := seal(t, 9_999, checkpoint.Hash{7})
	other := bytes.Replace(bytes.Clone(old), []byte("\n551\n"), []byte("\n550\n"), 1)
	for name, c := range map[string]struct {
		held     []byte
		verified error
		restored error
	}{
		"older":    {old, nil, nil},
		"younger":  {young, nil, nil},
		"forked":   {fork, ErrForked, ErrForked},
		"too old":  {later, nil, ErrRolledBack},
		"unsigned": {other, errAny, errAny},
	} {
		if _, err := Verify(taken.Dir, [][]byte{c.held}, untold); !is(err, c.verified) {
			t.Errorf("%s: verified with %v, want %v", name, err, c.verified)
		}
		to := filepath.Join(t.TempDir(), "ledger.db")
		if _, err := Restore(t.Context(), Plan{Backup: taken.Dir, Redo: redoDir, To: to, Held: [][]byte{c.held}}); !is(err, c.restored) {
			t.Errorf("%s: restored with %v, want %v", name, err, c.restored)
		}
		if _, err := os.Stat(to); (err == nil) != (c.restored == nil) {
			t.Errorf("%s: the ledger is there, or is not: %v", name, err)
		}
	}
}

var errAny = errors.New("any")

func is(err, want error) bool { return errors.Is(err, want) || want == errAny && err != nil }

// Whatever is changed, cut off or missing is found, by Verify and by Restore, which leaves nothing.
func TestTampered(t *testing.T) {
	t.Parallel()
	db, redoDir := newLedger(t)
	taken, err := Take(t.Context(), db, t.TempDir(), testAt, untold)
	ok(t, err)
	tables := filepath.Join(taken.Dir, tablesFile)
	whole, err := os.ReadFile(tables)
	ok(t, err)
	raw, err := os.ReadFile(filepath.Join(taken.Dir, ManifestFile))
	ok(t, err)
	change := func(file string, old, new string) func(dir string) error {
		return func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil || !bytes.Contains(b, []byte(old)) {
				return errors.Join(err, fmt.Errorf("%s has no %q", file, old))
			}
			return os.WriteFile(filepath.Join(dir, file), bytes.Replace(b, []byte(old), []byte(new), 1), 0o600)
		}
	}
	// again makes the sums fit what was changed: who changes a file can change the manifest.
	again := func(of string, do func(dir string) error) func(dir string) error {
		return func(dir string) error {
			if err := do(dir); err != nil {
				return err
			}
			return resum(dir, of)
		}
	}
	cases := map[string]struct {
		do   func(dir string) error
		says string
	}{
		"a row":       {change(tablesFile, "entry 7 of 1", "entry 8 of 1"), "log_entry"},
		"another row": {change(tablesFile, "R-1", "R-2"), "reel"},
		"cut off":     {func(dir string) error { return os.Truncate(filepath.Join(dir, tablesFile), int64(len(whole)/2)) }, tablesFile},
		"gone on": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, tablesFile), append(slices.Clone(whole), 0x80), 0o600)
		}, tablesFile},
		"missing":             {func(dir string) error { return os.Remove(filepath.Join(dir, tablesFile)) }, tablesFile},
		"no manifest":         {func(dir string) error { return os.Remove(filepath.Join(dir, ManifestFile)) }, ManifestFile},
		"no checkpoint":       {func(dir string) error { return os.Remove(filepath.Join(dir, noteFile)) }, noteFile},
		"checkpoint":          {change(noteFile, "\n501\n", "\n502\n"), "checkpoint"},
		"size":                {change(ManifestFile, "\nsize 551\n", "\nsize 552\n"), "log"},
		"root":                {change(ManifestFile, "\nroot ", "\nroot 00"), ""},
		"site":                {change(ManifestFile, "\nsite S1\n", "\nsite S2\n"), "site S1"},
		"rows":                {change(ManifestFile, "table reel\nrows 1\n", "table reel\nrows 2\n"), "reel"},
		"a row, sums and all": {again("log_entry", change(tablesFile, "entry 7 of 1", "entry 8 of 1")), "tile 0"},
		"a tile":              {again("log_tile", flipTile), "tile 0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "a-backup")
			ok(t, os.CopyFS(dir, os.DirFS(taken.Dir)))
			if _, err := Verify(dir, nil, untold); err != nil {
				t.Fatal("before it is changed:", err)
			}
			ok(t, c.do(dir))
			if _, err := Verify(dir, nil, untold); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("verified: %v", err)
			}
			to := filepath.Join(t.TempDir(), "ledger.db")
			if _, err := Restore(t.Context(), Plan{Backup: dir, Redo: redoDir, To: to}); !errors.Is(err, ErrDamaged) {
				t.Errorf("restored: %v", err)
			}
			if _, err := os.Stat(to); err == nil {
				t.Error("it left a ledger")
			}
		})
	}
	for dir, want := range map[string]error{filepath.Dir(taken.Dir): ErrNoBackup, filepath.Join(taken.Dir, "nothing"): fs.ErrNotExist} {
		if _, err := Verify(dir, nil, untold); !errors.Is(err, want) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want %v", dir, err, want)
		}
	}
	ok(t, os.WriteFile(filepath.Join(taken.Dir, ManifestFile), bytes.Replace(raw, []byte("at 2026-11-22"), []byte("at 2026-11-23"), 1), 0o600))
	if _, err := Verify(taken.Dir, nil, untold); !errors.Is(err, ErrDamaged) {
		t.Errorf("another manifest than the folder is named after: %v", err)
	}
}

// flipTile changes a byte within the first tile that is stored: it begins with the hash of the first entry.
func flipTile(dir string) error {
	path := filepath.Join(dir, tablesFile)
	b, err := os.ReadFile(path)
	at := bytes.Index(b, []byte("log_tile"))
	if err != nil || at < 0 {
		return fmt.Errorf("no tile: %w", err)
	}
	b[at+200] ^= 1
	return os.WriteFile(path, b, 0o600)
}

// resum makes a manifest fit its file of tables, as somebody would who changed the one table.
func resum(dir, table string) error {
	o, err := open(dir)
	if err != nil {
		return err
	}
	defer o.Close()
	m := o.m
	whole, err := io.ReadAll(o.tables)
	if err != nil {
		return err
	}
	for range 2 { // the first one says what the sums are
		m.Bytes, m.Sum = int64(len(whole)), HashOf(whole)
		for i := range m.Tables {
			if m.Tables[i].Name == table {
				m.Tables[i].Sum = sumOf(whole, table)
			}
		}
	}
	raw, err := m.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ManifestFile), raw, 0o600)
}

func sumOf(whole []byte, table string) [32]byte {
	r := &reader{in: decoding.NewDecoder(bytes.NewReader(whole)), told: untold}
	var rows []byte
	for in := false; ; {
		i, raw, err := r.next()
		switch {
		case err != nil || i.Kind == itemAll:
			return HashOf(rows)
		case i.Kind == itemTable:
			in = i.Table == table
		case i.Kind == itemRow && in:
			rows = append(rows, raw...)
		}
	}
}

func TestManifestRoundTrip(t *testing.T) {
	t.Parallel()
	m := Manifest{Env: perso.EnvTest, Site: "S1", Origin: testOrigin, At: testAt, Size: 5, Root: [32]byte{1}, Signed: 4, Redo: redo.Mark{Seq: 7, Hash: [32]byte{2}},
		Schema: schema.Made{Migrations: 5, Sum: [32]byte{3}}, Bytes: 9, Sum: [32]byte{4}, Tables: []TableSum{{Name: "meta", Rows: 0, Sum: [32]byte{5}}}}
	b, err := m.Encode()
	ok(t, err)
	got, err := ParseManifest(b)
	ok(t, err)
	if fmt.Sprint(got) != fmt.Sprint(m) {
		t.Errorf("%+v\n%+v", got, m)
	}
	for _, bad := range []string{"size 5", "signed 4"} {
		wrong := strings.Replace(string(b), bad, strings.Replace(strings.Replace(bad, "5", "0", 1), "4", "6", 1), 1)
		if _, err := ParseManifest([]byte(wrong)); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	b, err := Manifest{Env: perso.EnvTest, Site: "S1", Origin: testOrigin, At: testAt, Size: 5, Root: [32]byte{1}, Schema: schema.Made{Migrations: 1, Sum: [32]byte{3}}, Sum: [32]byte{4}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v\n%q\n%q", err, again, b)
		}
	})
}
