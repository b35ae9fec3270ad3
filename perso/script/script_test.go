package script

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
)

var update = flag.Bool("update", false, "write the golden listing anew")

const (
	smsrAddrLen = 20
	certLen     = 220
)

func productSource(t testing.TB) []byte {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("testdata", "m2m-200s.script"))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func product(t testing.TB) *Script {
	t.Helper()
	return mustCompile(t, string(productSource(t)), StandardCatalogue(smsrAddrLen, certLen))
}

func mustCompile(t testing.TB, src string, vars Catalogue) *Script {
	t.Helper()
	s, err := Compile([]byte(src), vars)
	if err != nil {
		t.Fatalf("compiling:\n%v", err)
	}
	return s
}

// TestProductGolden pins every byte of the product script, and with the hash its encoding.
func TestProductGolden(t *testing.T) {
	t.Parallel()
	s := product(t)
	got := listing(s)
	path := filepath.Join("testdata", "m2m-200s.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("listing changed; if that is meant, run go test -update and raise the version\n%s", firstDifference(got, string(want)))
	}
}

func TestProductActs(t *testing.T) {
	t.Parallel()
	s := product(t)
	if len(s.Acts) != 3 {
		t.Fatalf("%d acts, want 3", len(s.Acts))
	}
	secretIn := map[int]bool{}
	for _, u := range s.Variables() {
		if u.Form != Public {
			secretIn[u.Act] = true
		}
		if u.Form == Secret {
			t.Errorf("act %d sends %s raw; the product needs none", u.Act, u.Name)
		}
	}
	if secretIn[0] || !secretIn[1] || !secretIn[2] {
		t.Errorf("acts that need the seed: %v, want 1 and 2", secretIn)
	}
	last := s.Acts[1][len(s.Acts[1])-1]
	if last.Name != "isd-keys" {
		t.Errorf("act 1 ends with %q, want the ISD's keys", last.Name)
	}
}

// listing is a script in words, one line per command.
func listing(s *Script) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d level %02X s16 %v sha256 %x\n", s.Name, s.Version, s.Channels[0].Level, s.Channels[0].S16, s.Hash())
	for i := range s.Identify {
		listStep(&b, &s.Identify[i])
	}
	for a, act := range s.Acts {
		fmt.Fprintf(&b, "\nact %d\n", a)
		for _, sec := range act {
			fmt.Fprintf(&b, " %s %q redo=%s when=%s", sec.Phase, sec.Name, sec.Redo, sec.When)
			for _, all := range sec.Done {
				b.WriteString(" or")
				for _, c := range all {
					fmt.Fprintf(&b, " %s[%s]", c.Probe, segmentText(c.Pattern))
				}
			}
			b.WriteByte('\n')
			for i := range sec.Steps {
				listStep(&b, &sec.Steps[i])
			}
		}
	}
	return b.String()
}

func listStep(b *strings.Builder, st *Step) {
	channel := "plain"
	if st.Secure {
		channel = "secure"
	}
	if st.Kind != KindCommand {
		channel = string(st.Kind)
	}
	fmt.Fprintf(b, "  %2d %-6s %-18s %X", st.Index, channel, st.Label, st.Header)
	if len(st.Body) > 0 {
		fmt.Fprintf(b, " %02X %s", size(st.Body), segmentText(st.Body))
	}
	if st.Le != apdu.NoLe {
		fmt.Fprintf(b, " Le %d", st.Le)
	}
	if st.Data != nil {
		fmt.Fprintf(b, " [%s]", segmentText(*st.Data))
	}
	fmt.Fprintf(b, " (%s) %s\n", st.SW, st.Purpose)
}

func segmentText(segments []Segment) string {
	var b strings.Builder
	for _, g := range segments {
		switch {
		case g.Var != nil && g.size() == g.Var.Size:
			b.WriteString(g.Var.String())
		case g.Var != nil:
			fmt.Fprintf(&b, "%s[%d:%d]", g.Var, g.Var.From, g.Var.To)
		default:
			digits := []byte(strings.ToUpper(hex.EncodeToString(g.Bytes)))
			for i := range digits {
				if len(g.Care) > 0 && g.Care[i/2]&(0xF0>>(4*(i%2))) == 0 {
					digits[i] = 'X'
				}
			}
			b.Write(digits)
		}
	}
	return b.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}
