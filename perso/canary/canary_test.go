package canary_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/canary"
)

var secretKey = []byte{0xfb, 0xef, 0xbe, 0x01, 0x9d, 0x5a, 0x77, 0xe0, 0x3c, 0x42, 0xd8, 0x66, 0x10, 0xab, 0xff, 0x3f}

func needles() []canary.Needle { return []canary.Needle{{Name: "unit 7 Ki", Value: secretKey}} }

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func scan(t *testing.T, dir string, opt canary.Options) []canary.Hit {
	t.Helper()
	hits, err := canary.Scan(context.Background(), []string{dir}, needles(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// TestForms writes the key as the standard library would and expects to be told the form.
func TestForms(t *testing.T) {
	t.Parallel()
	swapped, err := hex.DecodeString("bffeeb10d9a5770ec3248d6601bafff3")
	if err != nil {
		t.Fatal(err)
	}
	list := make([]int, len(secretKey))
	for i, b := range secretKey {
		list[i] = int(b)
	}
	compact, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	behind := func(lead string) []byte { return slices.Concat([]byte(lead), secretKey, []byte("zz")) }
	for name, c := range map[string]struct {
		text string
		form canary.Form
	}{
		"raw":            {string(secretKey), canary.FormRaw},
		"%x":             {fmt.Sprintf("%x", secretKey), canary.FormHexLower},
		"%X":             {fmt.Sprintf("%X", secretKey), canary.FormHexUpper},
		"swapped":        {string(swapped), canary.FormSwapped},
		"swapped %x":     {fmt.Sprintf("%x", swapped), canary.FormSwappedLower},
		"swapped %X":     {fmt.Sprintf("%X", swapped), canary.FormSwappedUpper},
		"base64":         {base64.StdEncoding.EncodeToString(secretKey), canary.FormBase64},
		"base64 after 1": {base64.StdEncoding.EncodeToString(behind("a")), canary.FormBase64},
		"base64 after 2": {base64.StdEncoding.EncodeToString(behind("ab")), canary.FormBase64},
		"base64 after 4": {base64.StdEncoding.EncodeToString(behind("abcd")), canary.FormBase64},
		"url":            {base64.URLEncoding.EncodeToString(secretKey), canary.FormBase64URL},
		"url after 1":    {base64.RawURLEncoding.EncodeToString(behind("a")), canary.FormBase64URL},
		"%v":             {fmt.Sprint(secretKey), canary.FormDecimal},
		"json":           {string(compact), canary.FormDecimalCompact},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "log", []byte("key="+c.text+"\n"))
			hits := scan(t, dir, canary.Options{})
			if len(hits) != 1 || hits[0].Form != c.form || hits[0].Needle != "unit 7 Ki" {
				t.Errorf("found %v, want one hit as %s", hits, c.form)
			}
			for _, h := range hits {
				if strings.Contains(h.String(), c.text) {
					t.Errorf("the report holds the secret: %s", h)
				}
			}
		})
	}
}

// TestPlaces puts the key where a scan block by block could lose it.
func TestPlaces(t *testing.T) {
	t.Parallel()
	const block = 256 << 10
	for _, at := range []int{0, 1, block - 17, block - 16, block - 8, block - 1, block, block + 1, block + 55, block + 56, 2*block - 3, 3*block - 16} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			content := make([]byte, 3*block)
			copy(content[at:], secretKey)
			dir := t.TempDir()
			write(t, dir, "core", content)
			if hits := scan(t, dir, canary.Options{}); len(hits) != 1 || hits[0].Offset != int64(at) {
				t.Errorf("found %v, want one hit at %d", hits, at)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(append([]byte("log line "), secretKey...))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	deep := write(t, dir, "a/b/c", secretKey)
	archive := write(t, dir, "bundle.gz", packed.Bytes())
	cut := write(t, dir, "cut.gz", packed.Bytes()[:packed.Len()-6])
	named := write(t, dir, hex.EncodeToString(secretKey)+".txt", []byte("nothing inside"))
	write(t, dir, "farm/chip", secretKey)
	write(t, dir, "skipped", secretKey)
	write(t, dir, "short", secretKey[:15])
	write(t, dir, "empty", nil)
	if err := os.Symlink(deep, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var seen int
	hits := scan(t, dir, canary.Options{
		Skip: []string{filepath.Join(dir, "farm") + "/", filepath.Join(dir, "skipped")},
		Seen: func(string, int64) { seen++ },
	})
	want := []string{deep, archive, cut, named}
	slices.Sort(want)
	var got []string
	for _, h := range hits {
		got = append(got, h.Path)
		if h.Inflated != strings.HasSuffix(h.Path, ".gz") {
			t.Errorf("%s: inflated is %v", h.Path, h.Inflated)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nwant  %q", got, want)
	}
	if seen != 6 {
		t.Errorf("read %d files, want 6", seen)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "log", bytes.Repeat(secretKey, 50))
	if hits := scan(t, dir, canary.Options{MaxHits: 7}); len(hits) != 7 {
		t.Errorf("found %d, want the limit of 7", len(hits))
	}
	if _, err := canary.Scan(context.Background(), []string{dir + "/none"}, needles(), canary.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("scanning nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := canary.Scan(ctx, []string{dir}, needles(), canary.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("scanning when cancelled: %v", err)
	}
	for name, n := range map[string]canary.Needle{
		"short":    {Name: "k", Value: secretKey[:7]},
		"long":     {Name: "k", Value: make([]byte, canary.MaxNeedleBytes+1)},
		"constant": {Name: "k", Value: make([]byte, 16)},
		"nameless": {Value: secretKey},
	} {
		if _, err := canary.Scan(context.Background(), []string{dir}, []canary.Needle{n}, canary.Options{}); !errors.Is(err, canary.ErrNeedle) {
			t.Errorf("%s needle: %v", name, err)
		}
	}
	if _, err := canary.Scan(context.Background(), []string{dir}, nil, canary.Options{}); !errors.Is(err, canary.ErrNeedle) {
		t.Errorf("no needle: %v", err)
	}
}

func TestProve(t *testing.T) {
	t.Parallel()
	clean, leaky := t.TempDir(), t.TempDir()
	leak := write(t, leaky, "journal", append([]byte("x"), secretKey...))
	hits, err := canary.Prove(context.Background(), []string{clean, leaky}, needles(), canary.Options{})
	if err != nil || len(hits) != 1 || hits[0].Path != leak {
		t.Errorf("found %v, %v, want the one in %s", hits, err, leak)
	}
	if left, err := os.ReadDir(clean); err != nil || len(left) != 0 {
		t.Errorf("the planted file is still there: %v, %v", left, err)
	}
	// A scan that leaves the root out must not pass for a clean one.
	_, err = canary.Prove(context.Background(), []string{clean}, needles(), canary.Options{Skip: []string{clean}})
	if !errors.Is(err, canary.ErrBlind) {
		t.Errorf("scanning with closed eyes: %v", err)
	}
}

// TestAgainstBruteForce compares with the obvious search on random places of many needles.
func TestAgainstBruteForce(t *testing.T) {
	t.Parallel()
	rnd := rand.NewChaCha8([32]byte{7})
	many := manyNeedles(rnd, 500)
	many = append(many, canary.Needle{Name: "twin", Value: append(bytes.Clone(many[0].Value[:8]), many[1].Value[:8]...)})
	content := make([]byte, 700_000)
	_, _ = rnd.Read(content)
	want := map[string]int64{}
	for i, n := range many {
		at := int64(i) * 1300
		copy(content[at:], n.Value)
		want[n.Name] = at
	}
	dir := t.TempDir()
	write(t, dir, "page", content)
	hits, err := canary.Scan(context.Background(), []string{dir}, many, canary.Options{})
	if err != nil || len(hits) != len(want) {
		t.Fatalf("found %d, %v, want %d", len(hits), err, len(want))
	}
	for _, h := range hits {
		if want[h.Needle] != h.Offset {
			t.Errorf("%s, want %d", h, want[h.Needle])
		}
	}
}

func manyNeedles(rnd *rand.ChaCha8, count int) (all []canary.Needle) {
	for i := range count {
		v := make([]byte, 16)
		_, _ = rnd.Read(v)
		all = append(all, canary.Needle{Name: fmt.Sprintf("needle %d", i), Value: v})
	}
	return all
}

// BenchmarkScan measures a folder of 64 MiB against 5,000 needles, in what runs leave behind: random pages, log text.
func BenchmarkScan(b *testing.B) {
	rnd := rand.NewChaCha8([32]byte{1})
	many := manyNeedles(rnd, 5000)
	random := make([]byte, 64<<20)
	_, _ = rnd.Read(random)
	line := []byte(`{"time":"2026-01-02T15:04:05Z","msg":"act served","lot":"demo","unit":17,"chip":"4790A1B2C3D4E5F60718"}` + "\n")
	for name, content := range map[string][]byte{"random": random, "text": bytes.Repeat(line, len(random)/len(line)), "zeros": make([]byte, len(random))} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				if hits, err := canary.Scan(context.Background(), []string{dir}, many, canary.Options{}); err != nil || len(hits) != 0 {
					b.Fatalf("%d hits, %v", len(hits), err)
				}
			}
		})
	}
}

// TestCodesInHex: the digits of a code are found wherever they stand for themselves, and not where a hash happens to have them.
func TestCodesInHex(t *testing.T) {
	t.Parallel()
	const code, key = "60718293", "a1b2c3d4e5f60718293a4b5c6d7e8f90"
	needles := []canary.Needle{{Name: "PUK1", Value: []byte(code)}, {Name: "16 digits", Value: []byte("6071829360718293")}}
	for text, want := range map[string]int{
		code: 1, "PUK1 " + code + "\n": 1, "PUK1=" + code + ";abcdef": 1, "12345678" + code + "12345678123456781234567812345678": 1, "0" + code + "ff": 1,
		strings.ToUpper(key[:20]) + " " + code + " " + key: 2, "\"" + code + "\",\"" + key + "\"": 1, strings.Repeat("-", 256<<10-4) + code + ",": 1,
		key: 0, "hash " + key + key + "\n": 0, strings.ToUpper(key): 0, strings.Repeat("-", 256<<10-14) + key: 0, key[:10] + strings.ToUpper(key[10:]): 1,
		"abcdef" + code + code + "abcdef0123456789abcdef": 1, // more digits than chance has; the two codes in them are not told
	} {
		dir := t.TempDir()
		write(t, dir, "log", []byte(text))
		hits, err := canary.Scan(t.Context(), []string{dir}, needles, canary.Options{})
		if err != nil || len(hits) != want {
			t.Errorf("%.60q: %v, %v; want %d hits", text, hits, err, want)
		}
	}
}

// TestChanceHidesNothing: codes that stand in hex are no hits, but when there are so many that a scan ends at them, it does not say that it
// found nothing in what it never read.
func TestChanceHidesNothing(t *testing.T) {
	t.Parallel()
	const code, in = "60718293", "a1b2c3d4e5f60718293a4b5c6d7e8f90"
	needles := []canary.Needle{{Name: "PUK1", Value: []byte(code)}}
	for chance, sound := range map[int]bool{2: true, 4: false} {
		dir := t.TempDir()
		write(t, dir, "log", []byte(strings.Repeat(in+"\n", chance)+"PUK1 "+code))
		hits, err := canary.Scan(t.Context(), []string{dir}, needles, canary.Options{MaxHits: 4})
		if (err == nil) != sound || sound && len(hits) != 1 {
			t.Errorf("behind %d codes in hex, with a limit of 4: %v, %v", chance, hits, err)
		}
	}
}
