package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
)

const (
	orderID  = "E2E-2027-0001"
	lotName  = perso.Name("L-" + orderID)
	quantity = 60
	spares   = 12

	// badSeed puts into the first chips of the reel one that dies before and one that dies after it was given an
	// identity, and several that come back after a bad contact or a tear.
	badSeed = "6"

	// comeUp is how long a factory may take from its start to its first answer.
	comeUp = 30 * time.Second
)

// TestAcceptance makes one lot and has everybody look at it. Judges only read, but for those of orders, which write to a
// log that nobody else looks at then.
func TestAcceptance(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	judged(t, makeFactory(t, nil), []judge{
		{"Identities", identities},
		{"EISForm", eisForm}, {"EISContent", eisContent}, {"EISByXMLLintAndOpenSSL", eisByXMLLint}, {"EISByJava", eisByJava},
		{"ChipCertificates", chipCertificates},
		{"Authentication", authentication}, {"Codes", codes},
		{"Canary", canaries}, {"NoCoreDump", noCoreDump},
		{"Bundle", bundleVerifies}, {"BundleFlips", bundleFlips}, {"BundleByCommand", bundleByCommand},
		{"BadOrders", badOrders}, {"Trace", traces}, {"UnknownLot", unknownLot},
	})
}

// TestAcceptanceOfGivenKeys makes a lot of chips that are given their key pairs. Those look at it who see a difference.
func TestAcceptanceOfGivenKeys(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	f := makeFactory(t, map[string]any{"product": "m2m-200-inject-mff2", "key_origin": "hsm"})
	judged(t, f, []judge{
		{"Identities", identities}, {"EISContent", eisContent}, {"ChipCertificates", chipCertificates}, {"Authentication", authentication},
		{"Canary", canaries}, {"Bundle", bundleVerifies}, {"Trace", traces},
	})
}

type judge struct {
	name string
	sees func(*testing.T, *factory)
}

func judged(t *testing.T, f *factory, judges []judge) {
	t.Helper()
	for _, j := range judges {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()
			j.sees(t, f)
		})
	}
}

// factory is a site that made its lot and is up again.
type factory struct {
	bin   string // the program
	repo  string
	cwd   string // where every process was started; the factory writes nothing there
	site  *site.Site
	farm  *chipfarm.Client
	chips []chip // all that lie in bins
}

// makeFactory makes the lot of the sample order, with these fields changed.
func makeFactory(t *testing.T, change map[string]any) *factory {
	t.Helper()
	f := newFactory(t)
	order := filepath.Join(filepath.Dir(f.cwd), "order.json")
	fields := map[string]any{"order": orderID, "quantity": quantity, "spares": spares}
	maps.Copy(fields, change)
	writeOrder(t, f, order, fields)
	f.demo(t, order)
	return f
}

// newFactory has no site yet.
func newFactory(t *testing.T) *factory {
	t.Helper()
	bin, repo := ownProgram(t)
	f := &factory{bin: bin, repo: repo, cwd: filepath.Join(filepath.Dir(bin), "cwd")}
	if err := os.Mkdir(f.cwd, 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

// demo makes an order's lot at a new site, and starts the site again.
func (f *factory) demo(t *testing.T, order string, more ...string) {
	t.Helper()
	siteDir := filepath.Join(filepath.Dir(f.cwd), "site")
	made := f.perso(t, append([]string{"demo", "--dir", siteDir, "--order", order, "--catalogue", filepath.Join(f.repo, "deploy"), "--scale", "0", "--heads", "4", "--seed", badSeed}, more...)...)
	if made.code != 0 {
		t.Fatalf("the demo ended with exit %d\n%s%s%s", made.code, made.out, made.err, zoneLogs(siteDir))
	}
	t.Logf("the demo\n%s", made.out)
	var err error
	if f.site, err = site.Open(siteDir); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	f.askChips(t)
}

// start runs the site's zones until the test ends.
func (f *factory) start(t *testing.T) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(f.bin, "up", "--site", f.site.Dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = f.cwd, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the site stopped with %v\n%s", err, out.Bytes())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), comeUp)
	defer cancel()
	for {
		r := f.run(ctx, "--site", f.site.Dir, "lot", "list")
		if r.code == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the site does not come up: %s%s", r.err, zoneLogs(f.site.Dir))
		}
	}
	var err error
	if f.farm, err = chipfarm.Dial(ctx, f.site.FarmAddress()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.farm.Close(); err != nil {
			t.Error(err)
		}
	})
}

// result is what a command left.
type result struct {
	out, err string
	code     int
}

// perso runs a command of the program.
func (f *factory) perso(t *testing.T, args ...string) result {
	t.Helper()
	return f.run(t.Context(), args...)
}

// at runs a command at the site.
func (f *factory) at(t *testing.T, args ...string) result {
	t.Helper()
	return f.perso(t, append([]string{"--site", f.site.Dir}, args...)...)
}

func (f *factory) run(ctx context.Context, args ...string) (r result) {
	var out, errOut strings.Builder
	cmd := exec.CommandContext(ctx, f.bin, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = f.cwd, &out, &errOut
	err := cmd.Run()
	r.out, r.err = out.String(), errOut.String()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		r.code, r.err = -1, err.Error()
	}
	return r
}

// status asks for the lot.
func (f *factory) status(t *testing.T) (s bus.StatusReply) {
	t.Helper()
	r := f.at(t, "--json", "lot", "status", string(lotName))
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || r.code != 0 {
		t.Fatalf("status of the lot: exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	return s
}

// out is a file that was handed out for the lot.
func (f *factory) out(parts ...string) string {
	return filepath.Join(append([]string{f.site.OutDir(), string(lotName)}, parts...)...)
}

// writeOrder writes the sample order with some fields changed, and without those that are nil.
func writeOrder(t *testing.T, f *factory, path string, change map[string]any) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(readFile(t, filepath.Join(f.repo, "deploy", "samples", "orders", "small-20.json")), &fields); err != nil {
		t.Fatal(err)
	}
	for name, v := range change {
		if fields[name] = v; v == nil {
			delete(fields, name)
		}
	}
	text, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, text)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// zoneLogs is the end of each zone's log.
func zoneLogs(dir string) string {
	const lastBytes = 2_000
	var all strings.Builder
	names, _ := filepath.Glob(filepath.Join(dir, "log", "*.log")) // the pattern is right
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			b = []byte(err.Error())
		}
		all.WriteString("\n" + filepath.Base(name) + ": … " + string(b[max(0, len(b)-lastBytes):]))
	}
	return all.String()
}

// requireTool skips, or fails when PERSO_TEST_REQUIRE names the tool.
func requireTool(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, name, "not installed")
		}
	}
}

// missing skips for want of a tool, or fails when PERSO_TEST_REQUIRE names it.
func missing(t *testing.T, name, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), name) {
		t.Fatalf("%s is required by PERSO_TEST_REQUIRE: %s", name, why)
	}
	t.Skipf("SKIP: %s: %s", name, why)
}

// tool runs a program of others in a folder and gives what it printed.
func tool(t *testing.T, dir string, stdin []byte, name string, args ...string) ([]byte, error) {
	t.Helper()
	var errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, bytes.NewReader(stdin), &errOut
	out, err := cmd.Output()
	if err != nil {
		err = errors.Join(err, errors.New(errOut.String()))
	}
	return out, err
}
