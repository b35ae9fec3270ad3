// Package canary looks for known secrets where none may be (I2: no clear secret outside the HSM, the vault's memory and
// the chip).
//
// A test run hands it the keys that its chips really hold, and every folder that the run wrote: database, bus store,
// journals, logs, core dumps, exports. It finds a key in the clear and in the forms that a careless line of code would
// give it: hex, base64, nibble-swapped as in card files, and the decimal list that Go prints for a byte slice. It reads
// gzip streams too. It does not find a key that was encrypted, split by a line break, or written in pieces, nor a PIN's few digits in
// the midst of hex, where chance puts them (chance.go).
//
// A scanner that finds nothing proves nothing, so Prove plants a key of its own in every folder first and demands that
// every form of it is found.
//
// Contract. Files are streamed, never changed, symbolic links not followed. What cannot be read is an error, since a file
// that was not looked at is no evidence; only a file that vanished meanwhile is let go. A Hit names the needle, never its
// value. Callers: tests, the simulator and the scan command.
package canary

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits.
const (
	// MinNeedleBytes keeps chance out: 8 random bytes turn up in a terabyte once in ten million scans.
	MinNeedleBytes = 8
	// MaxNeedleBytes covers an RSA private key in DER; a block of the stream holds the longest form many times over.
	MaxNeedleBytes = 4096
	// MaxNeedles is a run of 20,000 chips with five keys each; the index takes some 2 KiB for each.
	MaxNeedles = 100_000
	// DefaultMaxHits ends a scan that has long made its point.
	DefaultMaxHits = 1000
	// MaxInflatedBytes bounds what one gzip stream may unfold to, so that a made-up archive cannot hold the scan up.
	MaxInflatedBytes = 16 << 30
)

// Needle is a secret to look for.
type Needle struct {
	Name  string // says which secret this is and goes into reports, e.g. "unit 7 Ki"
	Value []byte // MinNeedleBytes to MaxNeedleBytes, not one byte repeated
}

// Hit is a secret found where none may be.
type Hit struct {
	Path   string
	Offset int64 // of the first byte, within the unfolded stream if Inflated
	Needle string
	Form   Form
	// Inflated reports that the file is a gzip stream and that the secret is inside.
	Inflated bool

	code int // digits of a short decimal code that was found as it is (chance.go)
}

// String is one line for a report.
func (h Hit) String() string {
	in := ""
	if h.Inflated {
		in = " of the unfolded stream"
	}
	return fmt.Sprintf("%s: %s as %s at byte %d%s", h.Path, h.Needle, h.Form, h.Offset, in)
}

// Options say what to leave out and how much to report.
type Options struct {
	Skip    []string                      // files and folders that may hold secrets, such as the chips' own memory
	MaxHits int                           // 0 means DefaultMaxHits
	Seen    func(path string, size int64) // if set, called for each file that was read to its end
}

// ErrNeedle is wrapped when a needle cannot be looked for.
var ErrNeedle = errors.New("needle is unfit")

// Scan reads every file under the roots, which may be folders or files, and returns what it found, ordered by path and
// offset. It stops at the limit of hits. A root that does not exist is an error.
func Scan(ctx context.Context, roots []string, needles []Needle, opt Options) ([]Hit, error) {
	if opt.MaxHits <= 0 {
		opt.MaxHits = DefaultMaxHits
	}
	x, err := newIndex(needles)
	if err != nil {
		return nil, err
	}
	s := &scan{index: x, opt: opt, skip: make(map[string]bool, len(opt.Skip)), buf: make([]byte, 0, blockBytes+x.longest)}
	for _, name := range opt.Skip {
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, fmt.Errorf("resolving skipped %q: %w", name, err)
		}
		s.skip[abs] = true
	}
	for _, root := range roots {
		if err := s.root(ctx, root); err != nil && !errors.Is(err, errEnough) {
			return s.hits, fmt.Errorf("scanning %q: %w", root, err)
		}
	}
	slices.SortFunc(s.hits, func(a, b Hit) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return int(min(1, max(-1, a.Offset-b.Offset)))
	})
	return s.hits, nil
}

// blockBytes is read at once: long enough for the disk, short enough for the processor's cache.
const blockBytes = 256 << 10

var errEnough = errors.New("the limit of hits is reached")

// scan is one run over the roots.
type scan struct {
	*index
	opt  Options
	skip map[string]bool
	buf  []byte
	hits []Hit
}

func (s *scan) root(ctx context.Context, root string) error {
	abs, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	return filepath.WalkDir(abs, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist) && name != abs:
			return nil // a file of a running system came and went
		case err != nil:
			return err
		case s.skip[name] && d.IsDir():
			return fs.SkipDir
		case s.skip[name] || !d.Type().IsRegular():
			return nil
		}
		err = s.file(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// file scans one file as it lies there and, if it is a gzip stream, once more unfolded. A secret in its name counts too.
func (s *scan) file(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	path, counted := strings.NewReader(name), &counter{r: f}
	if err := s.judged(ctx, path, path, Hit{Path: name}); err != nil {
		return err
	}
	if err := s.judged(ctx, counted, f, Hit{Path: name}); err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if err := s.unfold(ctx, f, name); err != nil {
		return err
	}
	if s.opt.Seen != nil {
		s.opt.Seen(name, counted.n)
	}
	return nil
}

// judged scans a reader, and takes out what chance put there. If that came to so many hits that the scan ended, nobody looked at the rest,
// which is no reason to call it clean.
func (s *scan) judged(ctx context.Context, r io.Reader, beside io.ReaderAt, at Hit) error {
	before := len(s.hits)
	err := errors.Join(s.stream(ctx, r, at), s.dropChance(beside, before))
	if errors.Is(err, errEnough) && len(s.hits) < s.opt.MaxHits {
		return fmt.Errorf("of %d hits %d are codes in the midst of hex, and what comes after them was not looked at", s.opt.MaxHits, s.opt.MaxHits-len(s.hits))
	}
	return err
}

// unfold scans what a gzip file holds. A file that merely begins like one, or is cut off, is scanned as far as it goes.
func (s *scan) unfold(ctx context.Context, f *os.File, name string) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil // not gzip: the scan of the bytes as they lie is all there is
	}
	err = s.stream(ctx, io.LimitReader(z, MaxInflatedBytes), Hit{Path: name, Inflated: true})
	if err == nil || errors.Is(err, errEnough) || ctx.Err() != nil {
		return err
	}
	return nil
}

// stream scans a reader block by block. The end of each block is carried over, so that a secret across two is found.
func (s *scan) stream(ctx context.Context, r io.Reader, at Hit) error {
	buf := s.buf[:0]
	var base int64 // offset of buf[0] in the stream
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		// Until the end, a place counts only when the longest form would still fit behind it.
		places := len(buf) - s.longest + 1
		if err != nil {
			places = len(buf)
		}
		if err := s.block(buf, places, base, at); err != nil {
			return err
		}
		if err != nil && !end {
			return err
		}
		if end {
			return nil
		}
		base += int64(places)
		buf = buf[:copy(buf, buf[places:])]
	}
}

// block looks at the first places of buf.
func (s *scan) block(buf []byte, places int, base int64, at Hit) error {
	for i := range s.find(buf, places) {
		for _, p := range s.at(buf[i:]) {
			at.Offset, at.Needle, at.Form, at.code = base+int64(i), s.names[p.needle], p.form, 0
			if p.form == FormRaw && isCode(p.text) {
				at.code = len(p.text)
			}
			s.hits = append(s.hits, at)
			if len(s.hits) >= s.opt.MaxHits {
				return errEnough
			}
		}
	}
	return nil
}

// counter counts what was read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
