package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso/cmd/cli"
)

// bundle is the folder of the demo's audit bundle.
func (f *factory) bundle(t *testing.T) string {
	t.Helper()
	all, err := filepath.Glob(f.out("audit-*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("bundles %q, %v", all, err)
	}
	return all[0]
}

// pins are what the ceremony wrote down: site.json has two, the vault's page the third.
func (f *factory) pins(t *testing.T) audit.Options {
	t.Helper()
	o, err := f.site.AuditPins()
	if err != nil {
		t.Fatal(err)
	}
	o.StatementKey = unhex(t, f.statementKey(t))
	return o
}

func (f *factory) statementKey(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(string(readFile(t, filepath.Join(f.site.Dir, "vault", "keys", "statement.pub"))))
}

// inMemory reads a bundle.
func inMemory(t *testing.T, dir string) fstest.MapFS {
	t.Helper()
	all := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[path] = &fstest.MapFile{Data: readFile(t, filepath.Join(dir, path))}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// bundleVerifies: what was made, exports and all, passes the audit with nothing but three pins.
func bundleVerifies(t *testing.T, f *factory) {
	r, err := audit.Verify(os.DirFS(f.bundle(t)), f.pins(t))
	if err != nil || !r.OK() || !r.Pinned() || r.Lot != lotName {
		t.Errorf("lot %s, pinned %v, %v, findings %v", r.Lot, r.Pinned(), err, r.Findings)
	}
	for _, what := range []string{"eis", "output"} {
		made, logged := readFile(t, f.out(what, layout.Manifest)), readFile(t, filepath.Join(f.bundle(t), layout.Export(lotName, what)))
		if !bytes.Equal(made, logged) {
			t.Errorf("the bundle holds another manifest of %s than was handed out", what)
		}
	}
	wrong := f.pins(t)
	wrong.StatementKey = bytes.Clone(wrong.StatementKey)
	wrong.StatementKey[0] ^= 1
	if r, err := audit.Verify(os.DirFS(f.bundle(t)), wrong); err == nil && r.OK() {
		t.Error("it passes with another statement key")
	}
}

// bundleFlips: whichever bit of whichever file is flipped, the audit says no and names a place. Each file is as likely as
// any other, so that a signature is hit as often as a tile.
func bundleFlips(t *testing.T, f *factory) {
	const flips = 10_000
	whole, pins := inMemory(t, f.bundle(t)), f.pins(t)
	paths := slices.Sorted(maps.Keys(whole))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d files", seed, len(paths))
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			for range flips / workers {
				path := paths[random.IntN(len(paths))]
				data := bytes.Clone(whole[path].Data)
				bit := random.IntN(8 * len(data))
				data[bit/8] ^= 1 << (bit % 8)
				flipped := maps.Clone(whole)
				flipped[path] = &fstest.MapFile{Data: data}
				if err := refused(flipped, pins, path); err != nil {
					t.Errorf("bit %d of %s flipped: %v", bit, path, err)
				}
			}
		})
	}
	wg.Wait()
}

// refused demands a refusal that names the file, or what vouches for it.
func refused(bundle fs.FS, pins audit.Options, path string) error {
	r, err := audit.Verify(bundle, pins)
	switch {
	case err != nil && strings.Contains(err.Error(), layout.LogPrefix): // it has no beginning
		return nil
	case err != nil:
		return fmt.Errorf("the refusal names no place: %w", err)
	case r.OK():
		return fmt.Errorf("it verifies")
	}
	for _, place := range []string{path, layout.Seal, "log entry 0 (log-genesis)"} {
		if r.Findings[0].Place == place && r.Findings[0].What != "" {
			return nil
		}
	}
	return fmt.Errorf("the first finding is %v", r.Findings[0])
}

// bundleByCommand: the auditor's command says yes to the bundle, and no with exit code 3 to what a forger made of it,
// also of one who mends the manifest.
func bundleByCommand(t *testing.T, f *factory) {
	verify := func(dir string) result {
		return f.perso(t, "audit", "verify", dir, "--register-pin", f.site.Config.Pin, "--log-key", f.site.Config.LogKey, "--statement-key", f.statementKey(t))
	}
	if r := verify(f.bundle(t)); r.code != cli.ExitOK || !strings.Contains(r.out, "verified: no finding") {
		t.Errorf("the bundle: exit %d, %s%s", r.code, r.out, r.err)
	}
	tile := secondTile(t, inMemory(t, f.bundle(t)))
	for name, forge := range map[string]func([][]byte) [][]byte{
		"an entry removed":    func(e [][]byte) [][]byte { return slices.Delete(e, 100, 101) },
		"an entry inserted":   func(e [][]byte) [][]byte { return slices.Insert(e, 100, e[50]) },
		"two entries swapped": func(e [][]byte) [][]byte { e[100], e[101] = e[101], e[100]; return e },
		"an entry truncated":  func(e [][]byte) [][]byte { e[100] = e[100][:len(e[100])-1]; return e },
	} {
		for _, mends := range []bool{false, true} {
			forged := inMemory(t, f.bundle(t))
			var text []byte
			for _, e := range forge(entriesOf(forged[tile].Data)) {
				text = append(binary.BigEndian.AppendUint16(text, uint16(len(e))), e...)
			}
			forged[tile] = &fstest.MapFile{Data: text}
			place := tile
			if mends {
				place = layout.Seal
				mend(t, forged, tile)
			}
			r := verify(written(t, forged))
			if r.code != cli.ExitRefuted || !strings.Contains(r.out, "FINDING "+place+": ") {
				t.Errorf("%s, manifest mended %v: exit %d, %s%s", name, mends, r.code, r.out, r.err)
			}
		}
	}
	more := inMemory(t, f.bundle(t))
	more["statements/more"] = &fstest.MapFile{Data: []byte("more")}
	if r := verify(written(t, more)); r.code != cli.ExitRefuted || !strings.Contains(r.out, "FINDING statements/more: ") {
		t.Errorf("an unlisted file: exit %d, %s%s", r.code, r.out, r.err)
	}
	less := inMemory(t, f.bundle(t))
	delete(less, tile)
	if r := verify(written(t, less)); r.code != cli.ExitRefuted || !strings.Contains(r.out, "FINDING "+tile+": ") {
		t.Errorf("a missing file: exit %d, %s%s", r.code, r.out, r.err)
	}
}

// secondTile is the file of the second 256 entries, full or not: the first is where an auditor begins.
func secondTile(t *testing.T, bundle fstest.MapFS) string {
	t.Helper()
	for path := range bundle {
		if strings.HasPrefix(path, "log/tile/entries/001") {
			return path
		}
	}
	t.Fatal("the log has one tile of entries: too little to damage")
	return ""
}

// entriesOf takes a tile of entries apart (C2SP tlog-tiles).
func entriesOf(tile []byte) (entries [][]byte) {
	for len(tile) > 0 {
		end := 2 + int(binary.BigEndian.Uint16(tile))
		entries, tile = append(entries, tile[2:end]), tile[end:]
	}
	return entries
}

// mend makes the manifest fit a changed file.
func mend(t *testing.T, bundle fstest.MapFS, path string) {
	t.Helper()
	files, err := layout.ParseManifest(bundle[layout.Manifest].Data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if files[i].Path == path {
			files[i].Hash, files[i].Size = sha256.Sum256(bundle[path].Data), int64(len(bundle[path].Data))
		}
	}
	text, err := layout.EncodeManifest(files)
	if err != nil {
		t.Fatal(err)
	}
	bundle[layout.Manifest] = &fstest.MapFile{Data: text}
}

// written puts a bundle on disk.
func written(t *testing.T, bundle fstest.MapFS) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "bundle"), bundle); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "bundle")
}
