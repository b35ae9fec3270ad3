package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// MaxFileBytes bounds what is read into memory at once: a tile of 256 entries of the longest kind.
const MaxFileBytes = tilepath.Width * (2 + 65_535)

// files reads the bundle and remembers what was asked for.
type files struct {
	fsys   fs.FS
	listed []layout.File
	used   map[string]bool
}

func (f *files) read(path string) ([]byte, error) {
	r, err := f.open(path)
	if err != nil {
		return nil, err
	}
	var in bytes.Buffer
	if info, err := r.Stat(); err == nil && info.Size() < MaxFileBytes {
		in.Grow(int(info.Size()) + bytes.MinRead) // what is there, and room to see that nothing follows
	}
	n, err := in.ReadFrom(io.LimitReader(r, MaxFileBytes+1))
	if err == nil && n > MaxFileBytes {
		err = fmt.Errorf("file is longer than %d bytes", MaxFileBytes)
	}
	return in.Bytes(), errors.Join(err, r.Close())
}

// has reports whether the manifest lists a path.
func (f *files) has(path string) bool {
	_, found := slices.BinarySearchFunc(f.listed, path, func(l layout.File, p string) int { return strings.Compare(l.Path, p) })
	return found
}

func (f *files) open(path string) (fs.File, error) {
	if f.used != nil {
		f.used[path] = true
	}
	return f.fsys.Open(path)
}

// firstEntry reads the log's genesis before anything is verified: the keys stand in it.
func firstEntry(fsys fs.FS) (entry.Genesis, error) {
	f := files{fsys: fsys}
	note, err := f.read(layout.Checkpoint)
	if err != nil {
		return entry.Genesis{}, err
	}
	text, _, _ := strings.Cut(string(note), "\n\n")
	c, err := checkpoint.ParseText(text + "\n")
	if err == nil && c.Size == 0 {
		err = errors.New("the log is empty")
	}
	if err != nil {
		return entry.Genesis{}, fmt.Errorf("reading %s: %w", layout.Checkpoint, err)
	}
	tile := tilepath.Tile{Level: tilepath.Entries, Width: int(min(c.Size, tilepath.Width))}
	path := layout.LogPrefix + tile.Path()
	data, err := f.read(path)
	if err != nil {
		return entry.Genesis{}, err
	}
	var g entry.Genesis
	entries, err := splitEntries(data, tile.Width)
	if err == nil {
		g, err = entry.ParseGenesis(entries[0])
	}
	if err != nil {
		return entry.Genesis{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return g, nil
}

// LotOf reads whose bundle it is, before anything is verified.
func LotOf(fsys fs.FS) (perso.Name, error) {
	f := files{fsys: fsys}
	b, err := f.read(layout.Seal)
	var seal layout.SealBody
	if err == nil {
		seal, err = layout.ParseSeal(b)
	}
	if err != nil {
		return "", fmt.Errorf("reading whose bundle it is: %w", err)
	}
	return seal.Lot, nil
}

// checkFiles verifies the seal, the manifest under it, and that the bundle holds the listed files and no other.
func (a *auditor) checkFiles() bool {
	if err := a.readSeal(); err != nil {
		a.find(layout.Seal, "", "%v", err)
		return false
	}
	there := map[string]bool{layout.Manifest: true, layout.Seal: true, layout.SealSig: true}
	for _, f := range a.files.listed {
		there[f.Path] = true
	}
	err := fs.WalkDir(a.files.fsys, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			a.find(path, "", "it is no regular file")
		case !there[path]:
			a.find(path, "", "it is not in the manifest")
		}
		return nil
	})
	if err != nil {
		a.find("bundle", "", "walking its files: %v", err)
	}
	a.hashFiles()
	a.files.used = map[string]bool{}
	return a.report.OK()
}

func (a *auditor) readSeal() error {
	seal, err := a.files.read(layout.Seal)
	if err != nil {
		return err
	}
	signature, err := a.files.read(layout.SealSig)
	if err != nil {
		return err
	}
	sig, err := layout.ParseSignature(signature)
	if err != nil {
		return err
	}
	if !a.verify(seal, sig) {
		return errors.New("its signature is not of the statement key")
	}
	if a.seal, err = layout.ParseSeal(seal); err != nil {
		return err
	}
	a.report.Lot, a.report.Seal = a.seal.Lot, sha256.Sum256(seal)
	if a.seal.Env != a.genesis.Env || a.seal.Site != a.genesis.Site {
		return fmt.Errorf("it is of site %s (%s), the log is of %s (%s)", a.seal.Site, a.seal.Env, a.genesis.Site, a.genesis.Env)
	}
	manifest, err := fs.ReadFile(a.files.fsys, layout.Manifest)
	if err != nil {
		return err
	}
	if sha256.Sum256(manifest) != a.seal.Manifest {
		return errors.New("the manifest is not the one that was sealed")
	}
	if a.files.listed, err = layout.ParseManifest(manifest); err != nil {
		return err
	}
	if uint64(len(a.files.listed)) != a.seal.Files {
		return fmt.Errorf("the manifest lists %d files, the seal says %d", len(a.files.listed), a.seal.Files)
	}
	return nil
}

// hashFiles compares every listed file with its line, as many at once as there are processors.
func (a *auditor) hashFiles() {
	faults := make([]string, len(a.files.listed))
	var g errgroup.Group
	var next atomic.Int64
	size := bufferFor(a.files.listed)
	for range min(runtime.GOMAXPROCS(0), len(faults)) {
		g.Go(func() error {
			buf := make([]byte, size)
			for i := next.Add(1) - 1; i < int64(len(faults)); i = next.Add(1) - 1 {
				if f := a.files.listed[i]; !a.opt.Unjudged || !strings.HasPrefix(f.Path, layout.LogPrefix+"tile/") { // those the root stands for
					faults[i] = compareFile(a.files.fsys, f, buf)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	for i, what := range faults {
		if what != "" {
			a.find(a.files.listed[i].Path, "", "%s", what)
		}
	}
}

// bufferFor holds any of the files as it is listed, within limits: a tile of common entries is less than the upper one.
func bufferFor(listed []layout.File) int64 {
	const least, most = 4 << 10, 256 << 10 // bytes
	size := int64(least)
	for _, f := range listed {
		size = max(size, f.Size)
	}
	return min(size, most)
}

func compareFile(fsys fs.FS, want layout.File, buf []byte) string {
	f, err := fsys.Open(want.Path)
	if err != nil {
		return err.Error()
	}
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, buf)
	if err = errors.Join(err, f.Close()); err != nil {
		return err.Error()
	}
	if n != want.Size || [32]byte(h.Sum(nil)) != want.Hash {
		return fmt.Sprintf("%d bytes with hash %x, the manifest says %d bytes with %x", n, h.Sum(nil), want.Size, want.Hash)
	}
	return ""
}

// checkCertificates compares the certificates with what the log's first entry says of them.
func (a *auditor) checkCertificates() {
	for _, c := range []struct {
		path string
		want [32]byte
	}{{layout.EUMCert, a.genesis.EUMCert}, {layout.EISCert, a.genesis.EISCert}} {
		der, err := a.files.read(c.path)
		if err != nil {
			a.find(c.path, "", "%v", err)
		} else if sha256.Sum256(der) != c.want {
			a.find(c.path, "I5", "it is not the certificate that the log's first entry names")
		}
	}
}

// checkUnused finds files that nothing in the log accounts for.
func (a *auditor) checkUnused() {
	for _, f := range a.files.listed {
		if !a.files.used[f.Path] {
			a.find(f.Path, "I5", "nothing in the log accounts for this file")
		}
	}
}
