package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso/cmd/console"
)

// lostLimit is how often SoftHSM may lose its token before the ceremony that is killed is left out.
const lostLimit = 6

// TestCeremonyDemo runs the script of "make ceremony-demo" with the program as it is built.
func TestCeremonyDemo(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "perso")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/persoline/persoline/perso/cmd/perso").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), deploy+"/ceremony/demo.sh", program, filepath.Join(dir, "demo")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range []string{"10 steps", `refused; 8 acts done for the site, nothing`, "ceremony 1 +complete, gone on with", "9 as the inventory says", "ceremony 2 +complete", "destroyed, 0 of 3 copies left",
		"VERIFIED, 2 ceremonies", "exit 3: 0001.transcript: order", "exit 3 against the head", "exit 3: ALARM came back persoline/test/kmc/maker-1"} {
		if !regexp.MustCompile(row).Match(out) {
			t.Errorf("the table does not say %q:\n%s", row, out)
		}
	}
	wipedOut(t, filepath.Join(dir, "demo"))
	for try := 0; killed(t, program, filepath.Join(dir, "demo"), filepath.Join(dir, "killed-"+strconv.Itoa(try))); try++ {
		if try == lostLimit {
			t.Skipf("SKIP: SoftHSM, which writes its token over in place, lost it %d times when it was killed: no ceremony could be seen to end", lostLimit)
		}
	}
}

// killed holds the demonstration's first ceremony anew, in a process that is killed later each time, until one comes through.
// What then is on the token must be what the transcript says. It reports true when SoftHSM itself lost its token, whose file it
// writes over in place: no ceremony can go on after that, and the program said so.
func killed(t *testing.T, program, demo, dir string) (lost bool) {
	t.Helper()
	perso := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), program, args...)
		c.Dir = dir
		return c
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", demo+"/first.yaml", demo+"/prod-1.key", demo+"/sec-1.key", demo+"/keeper-1", demo+"/keeper-2", demo+"/keeper-3", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	halves := []string{"first.yaml", "--half", "keeper-1=file:keeper-1/pin", "--half", "keeper-2=file:keeper-2/pin"}
	if out, err := perso("key", "token", "first.yaml", "--half", "keeper-9=file:keeper-1/pin").CombinedOutput(); err == nil || !strings.Contains(string(out), `"keeper-9" is no custodian of the plan; there are keeper-1, keeper-2`) {
		t.Errorf("a half of somebody else: %v\n%s", err, out)
	}
	if out, err := perso(append([]string{"key", "token"}, halves...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hold := append([]string{"key", "run", "--key", "prod-1.key", "--key", "sec-1.key", "--yes"}, halves...)
	for _, k := range []string{"keeper-1", "keeper-2", "keeper-3"} {
		hold = append(hold, "--from", k+"=file:"+k+"/components")
	}
	const later, most = 5 * time.Millisecond, 500 // few enough that SoftHSM seldom loses its token, and some in each step
	kills := 0
	for ; kills < most; kills++ {
		var said strings.Builder
		c := perso(hold...)
		c.Stdout, c.Stderr = &said, &said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		end := time.AfterFunc(time.Duration(kills)*later, func() { _ = c.Process.Kill() })
		err := c.Wait()
		end.Stop()
		if err == nil {
			break
		}
		if c.ProcessState.Exited() && strings.Contains(said.String(), "no token labelled") {
			t.Logf("SoftHSM has no token after %d kills", kills)
			return true
		}
		if c.ProcessState.Exited() { // not by us
			t.Fatalf("after %d kills: %v\n%s", kills, err, said.String())
		}
	}
	t.Logf("the ceremony was killed %d times", kills)
	if kills == 0 || kills == most {
		t.Errorf("killed %d times", kills)
	}
	for _, args := range [][]string{append([]string{"key", "list"}, halves...), {"audit", "ceremony", "inventory"}} {
		if out, err := perso(args...).CombinedOutput(); err != nil {
			t.Errorf("%s after %d kills: %v\n%s", args[1], kills, err, out)
		}
	}
	return false
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
	first, err := os.ReadFile(deploy + "/ceremony/first.yaml")
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "alone.yaml")
	text := regexp.MustCompile(`(?m)^present:.*$`).ReplaceAll(first, []byte("present: [prod-1]"))
	if err := os.WriteFile(alone, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, nil, nil, "key", "check", alone); r.code != ExitFailed || !strings.Contains(r.err, "two officers of different person and role must be present") {
		t.Errorf("a plan for one officer: %+v", r)
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
		if _, err := parseSources("--from", pairs); console.ExitCode(err) != ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTerminal: what a custodian types on his own terminal is read, and not shown.
func TestTerminal(t *testing.T) {
	t.Parallel()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIP: no pseudo terminals here: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseSource("tty:/dev/pts/" + strconv.Itoa(n))
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		var all strings.Builder
		typed := false
		b := make([]byte, 256)
		for {
			n, err := master.Read(b)
			all.Write(b[:n])
			if !typed && strings.Contains(all.String(), "nothing is shown") {
				typed = true
				time.Sleep(50 * time.Millisecond) // the echo goes off after the prompt
				_, _ = master.WriteString("0011 2233\n")
			}
			if err != nil || typed && strings.HasSuffix(all.String(), "\r\n") {
				shown <- all.String()
				return
			}
		}
	}()
	line, err := s.line("your component")
	if err != nil || string(line) != "0011 2233" {
		t.Errorf("read %q, %v", line, err)
	}
	if screen := <-shown; strings.Contains(screen, "0011") || !strings.Contains(screen, "your component") {
		t.Errorf("the screen shows %q", screen)
	}
}

// TestDescriptor: a TPM's tool hands the PIN over in a pipe.
func TestDescriptor(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(r.Fd())) // the source closes its own
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.WriteString("1234\n")
	if err := errors.Join(err, w.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := parseSource("fd:" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	if line, err := s.line(""); err != nil || string(line) != "1234" {
		t.Errorf("read %q, %v", line, err)
	}
}

// TestPINOnlyFromThePlan: no other source than the plan's is taken, whatever the command line says.
func TestPINOnlyFromThePlan(t *testing.T) {
	t.Parallel()
	sample, err := os.ReadFile(deploy + "/ceremony/first.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pinFile := filepath.Join(dir, "pin")
	if err := os.WriteFile(pinFile, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, other, pin string }{
		"a file for a TPM": {"pin: custodians\n  pin_halves: [keeper-1, keeper-2]", "pin: tpm", "file:" + pinFile},
		"a value":          {"pin: custodians\n  pin_halves: [keeper-1, keeper-2]", "pin: file", "1234"},
		"a TPM for a file": {"pin: custodians\n  pin_halves: [keeper-1, keeper-2]", "pin: file", "fd:9"},
	} {
		path := filepath.Join(dir, "plan.yaml")
		text := strings.Replace(string(sample), c.old, c.other, 1)
		if text == string(sample) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := run(t, nil, nil, "key", "token", path, "--pin", c.pin); r.code != ExitUsage {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
