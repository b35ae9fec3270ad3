package layout

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits of a manifest. A site's log of 20 million entries has 160,000 tile files.
const (
	MaxFiles         = 500_000
	MaxManifestBytes = 128 << 20
)

// ErrManifest is wrapped by each refusal of a manifest's form.
var ErrManifest = errors.New("manifest is not in canonical form")

// File is one line: what a path must hold.
type File struct {
	Hash [32]byte
	Size int64
	Path string
}

// pathForm keeps names readable everywhere; "." and ".." cannot be path elements, since an element begins with a letter
// or digit.
var pathForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)

// EncodeManifest writes "hash size path" lines, sorted by path, each path once.
func EncodeManifest(files []File) ([]byte, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var out []byte
	for i, f := range files {
		if i > 0 && files[i-1].Path == f.Path {
			return nil, fmt.Errorf("encoding manifest: %q is in it twice", f.Path)
		}
		if !pathForm.MatchString(f.Path) || f.Size < 0 {
			return nil, fmt.Errorf("encoding manifest: %q of %d bytes cannot be in it", f.Path, f.Size)
		}
		out = fmt.Appendf(out, "%x %d %s\n", f.Hash, f.Size, f.Path)
	}
	if len(files) > MaxFiles || len(out) > MaxManifestBytes {
		return nil, fmt.Errorf("encoding manifest: %d files, %d bytes exceed %d, %d", len(files), len(out), MaxFiles, MaxManifestBytes)
	}
	return out, nil
}

// ParseManifest reads what EncodeManifest wrote; any other spelling is refused.
func ParseManifest(b []byte) ([]File, error) {
	if len(b) > MaxManifestBytes {
		return nil, fmt.Errorf("parsing manifest: %w: %d bytes exceed %d", ErrManifest, len(b), MaxManifestBytes)
	}
	var files []File
	for line := range bytes.Lines(b) {
		f, err := parseLine(string(line))
		if err != nil {
			return nil, fmt.Errorf("parsing manifest: line %d: %w", len(files)+1, err)
		}
		if len(files) == MaxFiles || len(files) > 0 && files[len(files)-1].Path >= f.Path {
			return nil, fmt.Errorf("parsing manifest: line %d: %w: paths are not sorted, or more than %d", len(files)+1, ErrManifest, MaxFiles)
		}
		files = append(files, f)
	}
	return files, nil
}

func parseLine(line string) (File, error) {
	parts := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(parts) != 3 {
		return File{}, fmt.Errorf("%w: it is not \"hash size path\"", ErrManifest)
	}
	hash, err := hex.DecodeString(parts[0])
	if err != nil || len(hash) != 32 {
		return File{}, fmt.Errorf("%w: hash is not 32 bytes of hex", ErrManifest)
	}
	size, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || size < 0 || !pathForm.MatchString(parts[2]) {
		return File{}, fmt.Errorf("%w: size or path", ErrManifest)
	}
	f := File{Hash: [32]byte(hash), Size: size, Path: parts[2]}
	if fmt.Sprintf("%x %d %s\n", f.Hash, f.Size, f.Path) != line {
		return File{}, ErrManifest
	}
	return f, nil
}
