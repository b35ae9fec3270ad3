package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmtest"
)

// demoLimit is what "make ceremony-demo" may take: it takes some seconds.
const demoLimit = 45 * time.Second

// TestCeremonyDemo runs the script of "make ceremony-demo" with the program as it is built.
func TestCeremonyDemo(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "perso")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/persoline/persoline/perso/cmd/perso").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	begin := time.Now()
	out, err := exec.CommandContext(t.Context(), deploy+"/ceremony/demo.sh", program, filepath.Join(dir, "demo")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if took := time.Since(begin); took > demoLimit {
		t.Errorf("it took %s", took)
	}
	for _, row := range []string{"9 steps", `refused; 7 acts done for the site, nothing`, "ceremony 1 +complete, gone on with", "8 as the inventory says", "ceremony 2 +complete", "destroyed, 0 of 3 copies left",
		"VERIFIED, 2 ceremonies", "exit 3: 0001.transcript: order", "exit 3 against the head", "exit 3: ALARM came back persoline/test/kmc/maker-1"} {
		if !regexp.MustCompile(row).Match(out) {
			t.Errorf("the table does not say %q:\n%s", row, out)
		}
	}
	wipedOut(t, filepath.Join(dir, "demo"))
}

// wipedOut looks for what custodians entered in everything that the ceremonies left, beside the custodians' own files and
// the token, whose files SoftHSM encrypts.
func wipedOut(t *testing.T, dir string) {
	t.Helper()
	var entered []string
	for _, keeper := range []string{"keeper-1", "keeper-2", "keeper-3"} {
		b, err := os.ReadFile(filepath.Join(dir, keeper, "components"))
		if err != nil {
			t.Fatal(err)
		}
		entered = append(entered, strings.Fields(strings.ReplaceAll(strings.ReplaceAll(string(b), " ", ""), "\n", " "))...)
	}
	if len(entered) != 6 {
		t.Fatalf("%d components", len(entered))
	}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(path, "keeper-") {
			return err
		}
		b, err := os.ReadFile(path)
		plain := strings.ReplaceAll(string(b), " ", "")
		for _, c := range entered {
			if strings.Contains(plain, c) {
				err = errors.Join(err, errors.New(path+" holds a component"))
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSampleCeremonies: what deploy/ceremony shows is read without a fault.
func TestSampleCeremonies(t *testing.T) {
	t.Parallel()
	samples, err := filepath.Glob(deploy + "/ceremony/*.yaml")
	if err != nil || len(samples) < 2 {
		t.Fatalf("%q, %v", samples, err)
	}
	for _, s := range samples {
		if r := run(t, nil, nil, "key", "check", s); r.code != ExitOK || !strings.Contains(r.out, "environment test") {
			t.Errorf("%s: %+v", s, r)
		}
	}
}

// TestSecretSources: a secret comes from a place of its own, which nobody else can read, and never from the command line.
func TestSecretSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", "first\nsecond", 0o600)
	s, err := parseSource("file:" + good)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		if line, err := s.line(""); err != nil || string(line) != want {
			t.Errorf("%q, %v", line, err)
		}
	}
	if line, err := s.line(""); err == nil {
		t.Errorf("a third line: %q", line)
	}
	for name, path := range map[string]string{"others can read it": file("open", "x", 0o644), "too long": file("long", strings.Repeat("x", maxSecretChars+1), 0o600),
		"empty": file("empty", "", 0o600), "missing": filepath.Join(dir, "none")} {
		s, err := parseSource("file:" + path)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := s.line(""); err == nil {
			t.Errorf("%s: %q", name, line)
		}
	}
	if err := os.Link(good, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, pairs := range map[string][]string{
		"one place for two": {"a=file:" + good, "b=file:" + good}, "one file with two names": {"a=file:" + good, "b=file:" + dir + "/link"},
		"one person twice": {"a=fd:3", "a=fd:4"}, "a value": {"a=1234"}, "a URI": {"a=http:x"}, "the command's own input": {"a=fd:0"}, "a path as a credential": {"a=credential:../x"},
	} {
		if _, err := parseSources("--from", pairs); exitCode(err) != ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
