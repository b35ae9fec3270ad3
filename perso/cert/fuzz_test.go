package cert

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/reftest"

	"golang.org/x/crypto/cryptobyte"
)

// seedCertificates gives a fuzzer certificates of each kind, and the published ones where they are at hand.
func seedCertificates(f *testing.F) {
	for _, c := range []Curve{P256, BrainpoolP256r1} {
		m := newMaker(f, c)
		m.ci.set(permittedEINs("8904"))
		for _, s := range []sketch{m.ci, m.eum, m.euicc} {
			f.Add(s.der())
		}
	}
	if !reftest.Has() {
		return
	}
	files, err := filepath.Glob(reftest.Path(f, "data", "sgp26*", "*.der"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		f.Add(must(os.ReadFile(name)))
	}
}

// FuzzParse: what is read is shown and judged without a panic, and its parts, written again, are the bytes that were signed.
func FuzzParse(f *testing.F) {
	seedCertificates(f)
	m := newMaker(f, P256)
	root := must(Parse(m.ci.der()))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Raw, b) || !bytes.Contains(b, c.RawTBS) {
			t.Fatal("read other bytes than it was given")
		}
		_ = c.String() + c.SerialText()
		for _, e := range []Chain{{Roots: []*Certificate{root}, EUM: c, EUICC: c}, {Roots: []*Certificate{c}, SubCAs: []*Certificate{c}, EUM: c}} {
			if err := Check(e, Rules{At: time.Unix(0, 0)}); err == nil {
				t.Fatal("a chain of one certificate at all places was accepted")
			}
		}
		if c.Version == 3 && len(c.Extensions) > 0 && !bytes.Contains(b, der(func(b *cryptobyte.Builder) { AddExtensions(b, c.Extensions) })) {
			t.Fatalf("extensions have a second spelling: %x", b)
		}
	})
}

func FuzzParseECASD(f *testing.F) {
	f.Add(ecasd(f, P256))
	f.Add(ecasd(f, BrainpoolP256r1))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseECASD(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Raw, b) || !bytes.HasSuffix(b, c.Signature) || !bytes.Contains(b, c.Body) || c.Key.IsZero() {
			t.Fatalf("read other bytes than it was given: %+v", c)
		}
		c.SignedBy(c.Key)
	})
}

func FuzzParseFile(f *testing.F) {
	m := newMaker(f, P256)
	f.Add(must(Parse(m.ci.der())).MarshalPEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if all, err := ParseFile(b); (err == nil) != (len(all) > 0) {
			t.Fatalf("%d certificates, %v", len(all), err)
		}
	})
}
