package record_test

import (
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/record"
)

// TestFormsAgree holds the readers of numbers, hex and times against the standard library's, which accept more spellings: what it
// reads and writes back alike is accepted, with the same value, and nothing else.
func TestFormsAgree(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	field := func(v string) *record.Reader {
		r, err := record.Parse([]byte(record.Magic+"k\nf "+v+"\n"), "k")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	seeds := []string{"0", "1", "4294967295", "4294967296", "18446744073709551615", "18446744073709551616", "99999999999999999999", "00", "abcdef", "ABCDEF", "abc", "0g",
		"2027-02-28T23:59:59.999999Z", "2028-02-29T00:00:00.000000Z", "2027-02-29T00:00:00.000000Z", "0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.000001Z",
		"2027-13-01T00:00:00.000000Z", "2027-00-01T00:00:00.000000Z", "2027-01-00T00:00:00.000000Z", "2027-01-01T24:00:00.000000Z", "2027-01-01T23:60:00.000000Z", "2027-01-01T23:59:60.000000Z"}
	const letters = "0123456789abcdfgAZ-:T.+"
	for range 40_000 {
		v := []byte(seeds[random.IntN(len(seeds))])
		for range random.IntN(3) {
			v[random.IntN(len(v))] = letters[random.IntN(len(letters))]
		}
		text := string(v)
		for _, bits := range []int{16, 32, 63, 64} {
			want, err := strconv.ParseUint(text, 10, bits)
			ok := err == nil && strconv.FormatUint(want, 10) == text
			r := field(text)
			if got := r.Uint("f", bits); (r.Done() == nil) != ok || ok && got != want {
				t.Fatalf("%q as a number of %d bits: %d, %v, want %d, %v", text, bits, got, r.Done(), want, ok)
			}
		}
		at, err := time.Parse(record.TimeForm, text)
		ok := err == nil && at.UTC().Format(record.TimeForm) == text
		r := field(text)
		if got := r.Time("f"); (r.Done() == nil) != ok || ok && got != at.UTC() {
			t.Fatalf("%q as a time: %v, %v, want %v, %v", text, got, r.Done(), at, ok)
		}
		b, err := hex.DecodeString(text)
		ok = text == record.None || err == nil && hex.EncodeToString(b) == text
		r = field(text)
		if got := r.Hex("f"); (r.Done() == nil) != ok || ok && text != record.None && string(got) != string(b) {
			t.Fatalf("%q as hex: %x, %v, want %x, %v", text, got, r.Done(), b, ok)
		}
	}
}
