package dryrun

import (
	"bytes"
	"crypto/sha256"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/saip/design"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

// largeTemplate is the bootstrap profile with so many messages in it that its package has some 12 KB.
func largeTemplate(t testing.TB) *saip.Template {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/profiles/bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const before = "{file: usim/ef-sms, size: 880, comment: five messages}"
	const records, recordBytes = 51, 176
	record := `"` + strings.Repeat("01", recordBytes) + `"`
	after := "{file: usim/ef-sms, record: 176, size: 8976, records: [" + strings.Repeat(record+", ", records-1) + record + "]}"
	if !bytes.Contains(text, []byte(before)) {
		t.Fatal("the description has changed")
	}
	d, err := design.Parse(bytes.Replace(text, []byte(before), []byte(after), 1))
	if err != nil {
		t.Fatal(err)
	}
	p, err := saip.Build(d)
	if err != nil {
		t.Fatal(err)
	}
	template, err := profile.Ready(p, auth.Default())
	if err != nil {
		t.Fatal(err)
	}
	return template
}

// sealer gives a script the stream of one card's package.
type sealer struct{ stream []byte }

func (b sealer) Bind(dst []byte, form script.Form, name string) ([]byte, error) {
	if form == script.Sealed {
		return append(dst, b.stream...), nil
	}
	n := 16
	if strings.HasSuffix(name, ".HASH") {
		n = sha256.Size
	}
	return append(dst, make([]byte, n)...), nil
}

// opened are a host and the card at its other end.
func opened(t testing.TB, tlv bool) *scp.Host {
	t.Helper()
	keys := scp.StaticKeys{ENC: made("enc", 16), MAC: made("mac", 16), DEK: made("dek", 16)}
	challenge := made("challenge", 8)
	_, iu, err := scp.OpenCard(scp.CardConfig{Keys: keys, KVN: 0x30, I: 0x70, Seq: 1, AID: []byte{0xA0, 0, 0, 1, 0x51}}, challenge)
	if err != nil {
		t.Fatal(err)
	}
	h, err := scp.OpenHost(keys, challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	if !tlv {
		if _, err := h.ExternalAuthenticate(scp.LevelAll); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// BenchmarkPackage is what a card's package costs the vault beyond its keys: the values put into their places, its hash, SCP03t, the
// commands of the act, and SCP03 around each. With the sessions, which are opened for each card.
func BenchmarkPackage(b *testing.B) {
	template := largeTemplate(b)
	v := values{byName: map[string][]byte{}}
	src, err := os.ReadFile(products + "m2m-200s.script")
	if err != nil {
		b.Fatal(err)
	}
	s, err := script.Compile(src, WithPackages(script.StandardCatalogue(40, 200), map[string]*saip.Template{script.PackageBootstrap: template}))
	if err != nil {
		b.Fatal(err)
	}
	const act = 2 // that loads
	skip := make([]bool, len(s.Acts[act]))
	filled := make(saip.Values, len(template.Slots()))
	iccid, err := id.ParseICCID("8988001999999999998")
	if err != nil {
		b.Fatal(err)
	}
	imsi, err := id.ParseIMSI(template.SampleIMSI(), template.MNCDigits())
	if err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, 0, template.Len())
	b.SetBytes(int64(template.Len()))
	b.ReportAllocs()
	before := spent(b)
	for b.Loop() {
		if err := template.Identify(filled, iccid, imsi); err != nil {
			b.Fatal(err)
		}
		if err := template.Fill(filled, v.secretOf); err != nil {
			b.Fatal(err)
		}
		pkg, err := template.Render(buffer[:0], filled)
		if err != nil {
			b.Fatal(err)
		}
		_ = sha256.Sum256(pkg)
		inner, outer := opened(b, true), opened(b, false)
		stream, _, err := inner.SealStream(nil, pkg)
		if err != nil {
			b.Fatal(err)
		}
		commands, err := s.Render(act, skip, sealer{stream})
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range commands {
			if _, _, err := outer.Wrap(c.APDU); err != nil {
				b.Fatal(err)
			}
		}
		script.Wipe(commands)
	}
	b.ReportMetric(float64(b.N)/(spent(b)-before).Seconds(), "cards/cpu-s") // which says something on a busy machine too
}

// spent is the CPU time of this process.
func spent(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
