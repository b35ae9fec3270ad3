package cli

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/saip"
)

var shippedProfile = filepath.Join(deploy, "profiles", "bootstrap")

func readShipped(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(shippedProfile + packageSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProfileBuild(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "made.der")
	r := run(t, nil, nil, "profile", "build", shippedProfile+designSuffix, "-o", out)
	if r.code != ExitOK || !strings.HasPrefix(r.out, `profile "Bootstrap" is in `) {
		t.Fatalf("exit %d, %s%s", r.code, r.out, r.err)
	}
	if made, err := os.ReadFile(out); err != nil || !bytes.Equal(made, readShipped(t)) {
		t.Errorf("the package is not the one that is shipped: %v", err)
	}
	// Beside its description, the same package is written again, and another one is left alone unless it is said.
	text, err := os.ReadFile(shippedProfile + designSuffix)
	if err != nil {
		t.Fatal(err)
	}
	described := write(t, "mine.yaml", text)
	beside := strings.TrimSuffix(described, designSuffix) + packageSuffix
	for i, step := range []struct {
		before string // content that was put there
		force  bool
		code   int
	}{{"", false, ExitOK}, {"", false, ExitOK}, {"another", false, ExitFailed}, {"another", true, ExitOK}} {
		if step.before != "" {
			if err := os.WriteFile(beside, []byte(step.before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := run(t, nil, nil, "profile", "build", described, "--force="+strconv.FormatBool(step.force))
		made, err := os.ReadFile(beside)
		if r.code != step.code || err != nil || bytes.Equal(made, readShipped(t)) != (step.code == ExitOK) || step.code != ExitOK && string(made) != step.before {
			t.Errorf("step %d: exit %d, %v, %d bytes: %s", i, r.code, err, len(made), r.err)
		}
	}
	for name, c := range map[string]struct {
		text, want string
		code       int
	}{
		"a.yaml": {"profile: x\nhome: {mcc: \"001\"}\npins: 4\n", "line 3", ExitFailed},
		"b.yaml": {"profil: x\n", "field profil not found", ExitFailed},
		"c.yaml": {"profile: x\n", "there are no access rules", ExitFailed},
		"d.txt":  {"profile: x\n", "--out must be given", ExitUsage},
	} {
		r := run(t, nil, nil, "profile", "build", write(t, name, []byte(c.text)))
		if r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: exit %d, %s", name, r.code, r.err)
		}
	}
}

func TestProfileCheck(t *testing.T) {
	t.Parallel()
	if r := run(t, nil, nil, "profile", "check", shippedProfile+packageSuffix); r.code != ExitOK || r.err != "" || !strings.Contains(r.out, "is a good package") {
		t.Errorf("exit %d, %s%s", r.code, r.out, r.err)
	}
	b := readShipped(t)
	broken := write(t, "broken.der", bytes.Replace(b, []byte{0x80, 0x01, 0x01, 0x81, 0x01, 0x02, 0x82, 0x10}, []byte{0x80, 0x01, 0x02, 0x81, 0x01, 0x02, 0x82, 0x10}, 1))
	r := run(t, nil, nil, "profile", "check", broken)
	if r.code != ExitRefuted || r.out != "" || strings.Count(r.err, "perso: error: ") != 2 || !strings.Contains(r.err, "akaParameter: algoConfiguration.algoParameter.opc: tuak with an OPc of 16 bytes") ||
		!strings.Contains(r.err, `uses "tuak128", which the list doesn't demand`) {
		t.Errorf("exit %d, %s%s", r.code, r.out, r.err)
	}
	r = run(t, nil, nil, "profile", "check", "--json", broken)
	var j profileJudgedRead
	if err := json.Unmarshal([]byte(r.out), &j); err != nil || j.OK || len(j.Faults) != 2 || j.Faults[1].Element != "akaParameter" || j.Faults[1].Offset == 0 || r.code != ExitRefuted {
		t.Errorf("exit %d, %v, %s", r.code, err, r.out)
	}
	r = run(t, nil, nil, "profile", "check", write(t, "cut.der", b[:len(b)-9]))
	if r.code != ExitRefuted || !strings.Contains(r.err, "without its end") {
		t.Errorf("cut: exit %d, %s", r.code, r.err)
	}
	if r := run(t, nil, nil, "profile", "check", "nothing.der"); r.code != ExitFailed {
		t.Errorf("no file: exit %d, %s", r.code, r.err)
	}
}

// profileJudgedRead reads what profileJudged writes.
type profileJudgedRead struct {
	OK     bool           `json:"ok"`
	Faults []profileFault `json:"faults"`
}

// planted is the shipped package with digits at every secret, as a careless customer sends it, and what to look for.
func planted(t *testing.T) (b []byte, secrets [][]byte) {
	t.Helper()
	p, err := saip.Decode(readShipped(t))
	if err != nil {
		t.Fatal(err)
	}
	points, err := p.Points()
	if err != nil {
		t.Fatal(err)
	}
	b = p.Bytes()
	for i, pt := range points {
		if pt.Secret {
			value := b[pt.Offset : pt.Offset+pt.Length]
			for j := range value {
				value[j] = '0' + byte(i*7+j*(i+3))%10
			}
			secrets = append(secrets, bytes.Clone(value))
		}
	}
	return b, secrets
}

func TestProfileImport(t *testing.T) {
	t.Parallel()
	b, secrets := planted(t)
	file, folder := write(t, "customer.der", b), t.TempDir()
	r := run(t, nil, nil, "profile", "import", file, "--profiles", folder)
	if r.code != ExitOK || !strings.HasPrefix(r.out, "kept as ") || !strings.Contains(r.out, "services     usim isim milenage") || !strings.Contains(r.out, "14 of them secret") {
		t.Fatalf("exit %d, %s%s", r.code, r.out, r.err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 || !strings.HasPrefix(entries[0].Name(), "bootstrap-") {
		t.Fatalf("the folder holds %v: %v", entries, err)
	}
	kept := filepath.Join(folder, entries[0].Name())
	content, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if !bytes.Contains(b, s) || bytes.Contains(content, s) || strings.Contains(r.out, string(s)) {
			t.Errorf("the secret %q was kept or shown", s)
		}
	}
	if !bytes.Equal(content, readShipped(t)) { // which is blank, and nothing else was changed
		t.Error("more than secrets was taken out")
	}
	if r := run(t, nil, nil, "profile", "import", file, "--profiles", folder); r.code != ExitOK || !strings.HasPrefix(r.out, "known already as ") {
		t.Errorf("again: exit %d, %s%s", r.code, r.out, r.err)
	}
	if err := os.WriteFile(kept, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, nil, nil, "profile", "import", file, "--profiles", folder); r.code != ExitFailed || !strings.Contains(r.err, "holds another") {
		t.Errorf("on a changed file: exit %d, %s%s", r.code, r.out, r.err)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProfileImportRefuses(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, args := range map[string][]string{
		"a damaged one": {write(t, "cut.der", readShipped(t)[:100]), "--profiles", folder},
		"no folder":     {shippedProfile + packageSuffix, "--profiles", filepath.Join(folder, "none")},
		"no site":       {shippedProfile + packageSuffix, "--site", filepath.Join(folder, "none")},
	} {
		r := run(t, nil, nil, append([]string{"profile", "import"}, args...)...)
		if r.code == ExitOK || r.out != "" || r.err == "" {
			t.Errorf("%s: exit %d, %s%s", name, r.code, r.out, r.err)
		}
	}
	if entries, _ := os.ReadDir(folder); len(entries) > 0 {
		t.Errorf("the folder holds %v", entries)
	}
	site := t.TempDir()
	r := run(t, nil, nil, "profile", "import", shippedProfile+packageSuffix, "--site", site)
	if kept, _ := filepath.Glob(filepath.Join(site, "catalogue", "profiles", "bootstrap-*.der")); r.code != ExitOK || len(kept) != 1 {
		t.Errorf("into a site: exit %d, %s%s: %v", r.code, r.out, r.err, kept)
	}
}

// TestProfileImportNames: what is taken in can be ordered, however long its profile type is, and the list has it under that name.
func TestProfileImportNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(shippedProfile + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	named := bytes.Replace(text, []byte("profile: Bootstrap"), []byte("profile: Generic Profile of the Northern Meter Company, second edition"), 1)
	design, made := write(t, "long.yaml", named), filepath.Join(t.TempDir(), "long.der")
	if r := run(t, nil, nil, "profile", "build", design, "-o", made); r.code != ExitOK {
		t.Fatalf("exit %d, %s", r.code, r.err)
	}
	var got struct{ Name, File string }
	r := run(t, nil, nil, "profile", "import", made, "--profiles", folder, "--json")
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || filepath.Base(got.File) != got.Name+".der" || !strings.HasPrefix(got.Name, "generic-profile-of-the") {
		t.Fatalf("%v: %s%s", err, r.out, r.err)
	}
	if _, err := profile.Open(os.DirFS(folder)).Get(perso.Name(got.Name)); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "cut.der"), readShipped(t)[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	r = run(t, nil, nil, "profile", "list", "--profiles", folder)
	lines := strings.Split(r.out, "\n")
	if r.code != ExitOK || len(lines) != 4 || !strings.Contains(lines[1], "refused: reading profile package \"cut\"") ||
		!strings.HasPrefix(lines[2], got.Name+"  Generic Profile") || !strings.HasSuffix(lines[2], " taken") || !strings.Contains(lines[2], " milenage ") {
		t.Errorf("exit %d, %s%s", r.code, r.out, r.err)
	}
	if r := run(t, nil, nil, "profile", "list", "--site", filepath.Join(folder, "none")); r.code == ExitOK || r.out != "" || !strings.Contains(r.err, "no folder") {
		t.Errorf("no site: exit %d, %s%s", r.code, r.out, r.err)
	}
}

func TestProfileShow(t *testing.T) {
	t.Parallel()
	b, secrets := planted(t)
	file := write(t, "customer.der", b)
	r := run(t, nil, nil, "profile", "show", file, "--points")
	if r.code != ExitOK || r.err != "" {
		t.Fatalf("exit %d, %s", r.code, r.err)
	}
	golden(t, "profile-show.txt", r.out)
	asJSON := run(t, nil, nil, "profile", "show", file, "--json")
	for _, s := range secrets {
		if text := strings.ToUpper(hex.EncodeToString(s)); strings.Contains(r.out+asJSON.out, string(s)) || strings.Contains(strings.ToUpper(r.out+asJSON.out), text) {
			t.Errorf("the secret %q was shown", s)
		}
	}
	var j struct {
		Type  string
		Files []struct{ Path, Content string }
	}
	if err := json.Unmarshal([]byte(asJSON.out), &j); err != nil || j.Type != "Bootstrap" || len(j.Files) < 40 || strings.Count(asJSON.out, "\n") != 1 {
		t.Errorf("%v: %s", err, asJSON.out)
	}
	if r := run(t, nil, nil, "profile", "show", write(t, "text", []byte("certificate"))); r.code != ExitFailed || !strings.Contains(r.err, "beginning with A0") {
		t.Errorf("a text: exit %d, %s", r.code, r.err)
	}
}
