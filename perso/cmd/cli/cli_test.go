package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/bus"
)

var update = flag.Bool("update", false, "write the golden files anew")

const deploy = "../../../deploy"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"perso": func() { os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the program itself, as people do who have no site. "exits CODE perso …" checks the exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	absolute, err := filepath.Abs(deploy)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("CATALOGUE", "--products="+absolute+"/products")
			e.Setenv("PARTNERS", "--partners="+absolute+"/partners")
			e.Setenv("DEPLOY", absolute)
			e.Setenv("SAMPLES", absolute+"/samples")
			if err := writeBundles(e.WorkDir); err != nil {
				return err
			}
			for name, file := range map[string]string{"VKEY": "vkey", "FIRST": "first.vkey", "OTHER": "other.vkey"} {
				text, err := os.ReadFile(filepath.Join(e.WorkDir, file))
				if err != nil {
					return err
				}
				e.Setenv(name, string(text))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits CODE COMMAND …")
	}
	got := 0
	var status *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &status) {
		got = status.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code is %d, want %d", got, want)
	}
}

// result is what a run of the program left.
type result struct {
	code     int
	out, err string
}

// run is one command line in this process, with a ledger that is a function of the test.
func run(t testing.TB, office bus.Requester, wire func(*Env), args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := Main(t.Context(), args, strings.NewReader(""), &out, &errOut, func(env *Env) {
		env.Now = func() time.Time { return epoch }
		env.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
		env.Rand = counter{}
		if office != nil {
			env.Dial = func(context.Context, string) (Office, error) { return closer{office}, nil }
		}
		if wire != nil {
			wire(env)
		}
	})
	return result{code, out.String(), errOut.String()}
}

var epoch = time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)

// counter is a source of the bytes 1, 2, 3 …
type counter struct{}

func (counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i + 1)
	}
	return len(p), nil
}

type closer struct{ bus.Requester }

func (closer) Close() error { return nil }

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
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
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func everyCommand(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, everyCommand(sub)...)
	}
	return all
}

func TestEveryCommandIsDescribed(t *testing.T) {
	t.Parallel()
	for _, c := range everyCommand(NewRootCmd(&Env{})) {
		path := c.CommandPath()
		if c.Short == "" || c.RunE == nil {
			t.Errorf("%s: has no Short or no RunE", path)
		}
		if c.InheritedFlags().Lookup("json") == nil && c.PersistentFlags().Lookup("json") == nil {
			t.Errorf("%s: does not know --json", path)
		}
		if !c.HasSubCommands() && !strings.Contains(c.Long, "With --json: {") {
			t.Errorf("%s: its help does not say what --json gives", path)
		}
		if !strings.Contains(c.Example, path) {
			t.Errorf("%s: its example is of something else: %q", path, c.Example)
		}
		for line := range strings.Lines(c.Example) {
			checkExample(t, path, strings.TrimSpace(line))
		}
	}
}

// checkExample has an example line parsed by the command that it calls.
func checkExample(t *testing.T, path, line string) {
	t.Helper()
	words := shellWords(line)
	if words[0] != "perso" {
		t.Errorf("%s: example %q calls another program", path, line)
		return
	}
	c, args, err := NewRootCmd(&Env{}).Find(words[1:])
	if err == nil {
		err = c.ParseFlags(args)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err != nil || c.HasSubCommands() {
		t.Errorf("%s: example %q does not parse: %v", path, line, err)
	}
}

// shellWords splits a simple command line and stops at a pipe or redirection.
func shellWords(line string) (words []string) {
	quoted := false
	for _, w := range strings.FieldsFunc(line, func(r rune) bool {
		quoted = quoted != (r == '"')
		return r == ' ' && !quoted
	}) {
		if w == "|" || w == "<" {
			break
		}
		words = append(words, w)
	}
	return words
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"ordr", "perso: error: there is no command \"ordr\" under 'perso'\nperso: hint: did you mean 'perso order'?\n"},
		{"order chekc x", "perso: error: there is no command \"chekc\" under 'perso order'\nperso: hint: did you mean 'perso order check'?\n"},
		{"zzz", "perso: error: there is no command \"zzz\" under 'perso'\nperso: hint: 'perso --help' lists them\n"},
		{"order check", "perso: error: FILE is missing\nperso: hint: 'perso order check --help' shows how it is used\n"},
		{"order check a b", "perso: error: \"b\" is one argument too many\nperso: hint: 'perso order check --help' shows how it is used\n"},
		{"order check --fast a", "perso: error: unknown flag: --fast\nperso: hint: 'perso order check --help' shows how it is used\n"},
		{"officer new a --role quality", "perso: error: --person, --output must be given\nperso: hint: 'perso officer new --help' shows how it is used\n"},
		{"officer new a --person A -o f --role president", "perso: error: unknown officer role \"president\": it is none of production, security, quality, order-desk, operator, supervisor, auditor, key-custodian, admin\nperso: hint: 'perso officer new --help' shows how it is used\n"},
		{"officer new a --person= --role quality -o f", "perso: error: --person: the person's name is empty\nperso: hint: 'perso officer new --help' shows how it is used\n"},
		{"chips issue --reel R-1 --line line-1 --by=", "perso: error: --by: the log is to say who moves them\nperso: hint: 'perso chips issue --help' shows how it is used\n"},
		{"lot count L1 --in 3", "perso: error: --good, --reject-blank, --reject-live, --return must be given\nperso: hint: 'perso lot count --help' shows how it is used\n"},
		{"lot status a.b", "perso: error: LOT: name \"a.b\" must be 1 to 40 of A-Z a-z 0-9 _ - and begin with a letter or digit\nperso: hint: 'perso lot status --help' shows how it is used\n"},
		{"audit verify x --register-pin 00", "perso: error: --register-pin is not 32 bytes in hex\nperso: hint: 'perso audit verify --help' shows how it is used\n"},
		{"audit verify x --register-pin " + strings.Repeat("0", 64), "perso: error: --register-pin is all zeros, which is no hash and no key: it would pin nothing\nperso: hint: 'perso audit verify --help' shows how it is used\n"},
		{"audit verify x --log-key a+b", "perso: error: --log-key: it is not name+hash+key\nperso: hint: 'perso audit verify --help' shows how it is used\n"},
	} {
		r := run(t, nobody{}, nil, strings.Fields(c.args)...)
		if r.code != ExitUsage || r.err != c.want || r.out != "" {
			t.Errorf("perso %s: exit %d, out %q, err\n%s\nwant exit 2 and\n%s", c.args, r.code, r.out, r.err, c.want)
		}
	}
}

// TestPlainWords gives commands what is not there, is of another kind or is damaged, and wants no error in the words of the
// language that the program is written in.
func TestPlainWords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"text": "hello\n", "cut": "{", "empty": "", "odd": `{"a":1}`, "wide": "\xff\xfeh\x00"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	raw := regexp.MustCompile(`no such file|file exists|(is|not) a directory|(open|stat|read|mkdir|lstat) \S+:|strconv|json: |yaml: |invalid argument|unexpected EOF|: EOF|crypto/|arg\(s\)`)
	said := func(args ...string) {
		t.Helper()
		r := run(t, nobody{}, nil, args...)
		if r.code == ExitOK || raw.MatchString(r.err) || !strings.Contains(r.err, "perso: hint: ") && r.code != ExitRefuted {
			t.Errorf("perso %s: exit %d\n%s", strings.Join(args, " "), r.code, r.err)
		}
	}
	for _, file := range []string{"none", "folder", "text", "cut", "empty", "odd", "wide", "text/below", "none/below"} {
		path := filepath.Join(dir, filepath.FromSlash(file))
		for _, command := range []string{"order check --products=" + deploy + "/products --partners=" + deploy + "/partners", "order submit", "lot release", "lot close", "lot destroy-keys", "lot lose",
			"chips receive", "key check", "key list", "key run", "key abandon", "key token", "cert show", "audit verify", "audit ceremony", "audit exceptions", "audit review", "audit check-proof", "audit report -o " + dir + "/report.html",
			"officer sign --key " + deploy + "/setup.sh", "officer new --person A --role security x -o " + dir + "/text/k", "cert check --ci " + path + " --eum"} {
			said(append(strings.Fields(command), path)...)
		}
		said("order", "check", deploy+"/samples/orders/small-20.json", "--products", path, "--partners", deploy+"/partners")
		said("key", "run", deploy+"/ceremony/first.yaml", "--key", path)
		said("key", "component", "--class", "kmc", "--bytes", "16", "-o", filepath.Join(dir, "text", "x"))
	}
	for _, args := range []string{"lot count L1 --in x", "lot count L1 --in -1", "lot count L1 --in 99999999999999999999999", "lot status L1 --follow=maybe", "lot status L1 --site",
		"key component --class kmc --bytes 7 -o x", "key component --class none --bytes 16 -o x", "key component --bytes x"} {
		said(strings.Fields(args)...)
	}
}

// TestGroupsAlone has every group say what it holds, as talk and not as data.
func TestGroupsAlone(t *testing.T) {
	t.Parallel()
	for _, c := range everyCommand(NewRootCmd(&Env{})) {
		if !c.HasSubCommands() || !c.HasParent() {
			continue
		}
		r := run(t, nobody{}, nil, strings.Fields(c.CommandPath())[1:]...)
		end := fmt.Sprintf("perso: error: '%[1]s' needs a command\nperso: hint: '%[1]s --help' lists them\n", c.CommandPath())
		if r.code != ExitUsage || r.out != "" || !strings.HasPrefix(r.err, c.Short+"\n") || !strings.HasSuffix(r.err, end) {
			t.Errorf("%s: exit %d, out %q, err\n%s", c.CommandPath(), r.code, r.out, r.err)
		}
	}
}

// nobody answers nothing.
type nobody struct{}

func (nobody) Request(context.Context, string, []byte) ([]byte, error) { return nil, bus.ErrNoAnswer }

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusing := func(code bus.FaultCode) bus.Requester {
		return ledger{bus.OfficeLots: func(context.Context, []byte) ([]byte, error) { return bus.FaultReply(bus.Refuse(code, "because")) }}
	}
	for _, c := range []struct {
		name   string
		office bus.Requester
		want   []string
	}{
		{"nobody there", nobody{}, []string{"asking perso.office.lots: no answer on the bus", "is the site running? It needs some seconds after 'perso up'. Asking again is safe"}},
		{"busy", refusing(bus.FaultBusy), []string{"busy: because", "try again in a few seconds"}},
		{"not found", refusing(bus.FaultNotFound), []string{"not-found: because"}},
		{"no way", nil, []string{"built without a way to it"}},
	} {
		r := run(t, c.office, nil, "lot", "list")
		missing := slices.ContainsFunc(c.want, func(w string) bool { return !strings.Contains(r.err, w) })
		if r.code != ExitFailed || missing || r.out != "" {
			t.Errorf("%s: exit %d, out %q, err %q, want exit 1 and %q", c.name, r.code, r.out, r.err, c.want)
		}
	}
	r := run(t, nil, func(env *Env) {
		env.Dial = func(context.Context, string) (Office, error) { return nil, errors.New("no such folder") }
	}, "lot", "list", "--site", "elsewhere")
	if want := "perso: error: connecting to the office of site \"elsewhere\": no such folder\nperso: hint: --site names the folder of a running site; it needs some seconds after 'perso up'\n"; r.err != want || r.code != ExitFailed {
		t.Errorf("exit %d, err %q, want %q", r.code, r.err, want)
	}
}

func TestExtraCommandsBelong(t *testing.T) {
	t.Parallel()
	extra := func(env *Env) *cobra.Command {
		c := &cobra.Command{Use: "extra", RunE: func(*cobra.Command, []string) error {
			return errors.Join(errors.New("first"), Hint(Refuted("second"), "third"))
		}}
		c.Flags().Int("needed", 0, "")
		_ = c.MarkFlagRequired("needed")
		return c
	}
	wire := func(env *Env) { env.Extra = append(env.Extra, extra) }
	if r := run(t, nil, wire, "extra"); r.code != ExitUsage {
		t.Errorf("a missing flag exits %d with %q, want 2", r.code, r.err)
	}
	r := run(t, nil, wire, "extra", "--needed", "1")
	if want := "perso: error: first\nperso: error: second\nperso: hint: third\n"; r.code != ExitRefuted || r.err != want {
		t.Errorf("exit %d with %q, want 3 with %q", r.code, r.err, want)
	}
}
