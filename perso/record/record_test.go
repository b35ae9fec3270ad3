package record_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/record/recordtest"
)

// sample has a field of every form.
type sample struct {
	Text, Empty  string
	Number       uint64
	Bytes        []byte
	Hash, NoHash [32]byte
	At           time.Time
}

func (s sample) encode() ([]byte, error) {
	none := s.NoHash[:]
	if s.NoHash == [32]byte{} {
		none = nil
	}
	return record.New("sample").Str("text", s.Text).Str("empty", s.Empty).Uint("number", s.Number).Hex("bytes", s.Bytes).
		Hex("hash", s.Hash[:]).Hex("no_hash", none).Time("at", s.At).Bytes()
}

func parse(b []byte) (s sample, err error) {
	r, err := record.Parse(b, "sample")
	if err != nil {
		return s, err
	}
	s.Text, s.Empty, s.Number, s.Bytes = r.Raw("text"), r.Str("empty"), r.Uint("number", 32), r.Hex("bytes")
	s.Hash, s.NoHash, s.At = r.Hash("hash"), r.OptHash("no_hash"), r.Time("at")
	return s, r.Done()
}

func again(b []byte) ([]byte, error) {
	s, err := parse(b)
	if err != nil {
		return nil, err
	}
	return s.encode()
}

func example() sample {
	return sample{Text: "Müller, line 2", Number: 4294967295, Bytes: []byte{0xAB, 0xCD}, Hash: [32]byte{0xEF},
		At: time.Date(2027, 3, 1, 23, 59, 59, 10_000, time.FixedZone("CET", 3600))}
}

const exampleText = `persoline/1 sample
text Müller, line 2
empty -
number 4294967295
bytes abcd
hash ef00000000000000000000000000000000000000000000000000000000000000
no_hash -
at 2027-03-01T22:59:59.000010Z
`

func TestWritesOneForm(t *testing.T) {
	t.Parallel()
	b, err := example().encode()
	if err != nil || string(b) != exampleText {
		t.Fatalf("%v, got\n%s\nwant\n%s", err, b, exampleText)
	}
	if kind, err := record.Kind(b); err != nil || kind != "sample" {
		t.Errorf("kind %q, %v", kind, err)
	}
}

func TestReadsOneForm(t *testing.T) {
	t.Parallel()
	recordtest.Canonical(t, []byte(exampleText), again)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	with := func(old, other string) string { return strings.Replace(exampleText, old, other, 1) }
	for name, text := range map[string]string{
		"empty":              "",
		"other magic":        with("persoline/1", "persoline/2"),
		"other kind":         with("sample", "simple"),
		"blank after kind":   with("sample\n", "sample \n"),
		"number of 33 bits":  with("4294967295", "4294967296"),
		"negative number":    with("4294967295", "-1"),
		"odd hex":            with("abcd", "abc"),
		"short hash":         with("ef00", "ef"),
		"hash of zeros":      with("hash ef", "hash 00"),
		"absent hash":        with("hash ef"+strings.Repeat("0", 62), "hash -"),
		"30 February":        with("03-01", "02-30"),
		"second 60":          with("22:59:59", "22:59:60"),
		"one field more":     exampleText + "more 1\n",
		"too long a record":  exampleText + strings.Repeat("x", record.MaxRecordBytes),
		"too long a value":   with("Müller", strings.Repeat("x", record.MaxValueBytes+1)),
		"replacement letter": with("Müller", "M\uFFFDller"),
	} {
		if _, err := parse([]byte(text)); !errors.Is(err, record.ErrForm) {
			t.Errorf("%s: %v, want ErrForm", name, err)
		}
	}
}

// TestWriterRefusesWhatReaderWould: nothing can be signed that nobody can read.
func TestWriterRefusesWhatReaderWould(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*record.Writer{
		"newline in text": record.New("k").Str("a", "b\nc 1"),
		"padding":         record.New("k").Str("a", " b"),
		"not UTF-8":       record.New("k").Str("a", "\xff"),
		"long text":       record.New("k").Str("a", strings.Repeat("x", record.MaxValueBytes+1)),
		"long bytes":      record.New("k").Hex("a", make([]byte, record.MaxValueBytes/2+1)),
		"first fault":     record.New("k").Str("a", "\x00").Str("b", "fine"),
		"long record": func() *record.Writer {
			w := record.New("k")
			for range 5 {
				w.Str("a", strings.Repeat("x", record.MaxValueBytes))
			}
			return w
		}(),
		"year 10000": record.New("k").Time("at", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)),
	} {
		if b, err := w.Bytes(); err == nil {
			t.Errorf("%s: wrote %d bytes", name, len(b))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(exampleText))
	f.Add([]byte("persoline/1 sample\ntext -\nempty x\nnumber 0\nbytes -\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parse(b)
		if err != nil {
			return
		}
		if out, err := s.encode(); err != nil || !bytes.Equal(out, b) {
			t.Fatalf("%v: second spelling accepted:\n%q\n%q", err, b, out)
		}
	})
}

// TestNames: a name is one of the trade's, and only where it may be absent it may.
func TestNames(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct{ name, optional bool }{"L-2027_1": {true, true}, "-": {false, true}, "no name": {}, "a.b": {}, strings.Repeat("a", perso.MaxNameChars+1): {}} {
		b := []byte(record.Magic + "k\na " + text + "\n")
		for _, form := range []struct {
			holds bool
			read  func(*record.Reader) perso.Name
		}{{c.name, func(r *record.Reader) perso.Name { return r.Name("a") }}, {c.optional, func(r *record.Reader) perso.Name { return r.OptName("a") }}} {
			r, err := record.Parse(b, "k")
			if err != nil {
				t.Fatal(err)
			}
			name := form.read(r)
			want := perso.Name(text)
			if !form.holds || text == record.None {
				want = ""
			}
			if err := r.Done(); (err == nil) != form.holds || name != want {
				t.Errorf("%q: %q, %v", text, name, err)
			}
		}
	}
	r, err := record.Parse([]byte(record.Magic+"k\nb x\n"), "k")
	if err != nil {
		t.Fatal(err)
	}
	if name := r.OptName("a"); name != "" || !errors.Is(r.Done(), record.ErrForm) {
		t.Errorf("a field that is not there reads %q", name)
	}
}
