package perso_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file is the house rules that a machine can check: who may import whom, and what a core package may touch. Each rule
// carries a planted breach and must find it before it may judge the tree.

const module = "github.com/persoline/persoline"

// Limits of a piece that a reader holds in mind at once.
const (
	maxFunctionLines = 70
	maxFileLines     = 600
)

// exceptions are findings in sources that are let pass: "path: what", and the reason. One that no longer occurs fails.
var exceptions = map[string]string{}

// coreFolders hold state machines, codecs and decisions. Clock, randomness, environment and logger are passed in to them,
// so that the simulator can replay them and a test can put them at any point in time.
var coreFolders = []string{
	"perso", "perso/id", "perso/secret", "perso/tlv", "perso/record", "perso/entry", "perso/statement", "perso/statement/transcript", "perso/checkpoint",
	"perso/bus", "perso/scp", "perso/scp/scp02", "perso/scp/scp80", "perso/scp/tdes", "perso/aka", "perso/aka/suci", "perso/apdu",
	"perso/script", "perso/script/pcom", "perso/order", "perso/order/auth", "perso/order/codes", "perso/order/form", "perso/order/k4", "perso/order/kifile", "perso/order/kifile/sender",
	"perso/product", "perso/profile",
	"perso/eis", "perso/envelope", "perso/sealing", "perso/cert", "perso/saip", "perso/saip/design", "perso/saip/filescript", "keygen", "keygen/carddata", "keygen/certify", "keygen/kisource", "keygen/life", "keygen/transport", "lineside",
	"lineside/cardsim", "lineside/cardsim/atr", "lineside/cardsim/filesys", "lineside/cardsim/t0", "lineside/cardsim/t1", "lineside/rig", "lineside/bins", "ledger", "ledger/internal/tree",
}

// shells are files in core folders that carry out what the state machines beside them decide, on real time and in goroutines.
var shells = []string{"lineside/worker.go", "lineside/runner.go", "lineside/order.go"}

// revealers may look into a secret.Bytes: the vault, its token, the package itself, what a worker opens with its key of one presentation, the farm, where chips are made, the virtual chip, which holds keys, and
// the operator's side of a file of his own Ki, which is no part of the factory.
var revealers = []string{"perso/secret", "perso/sealing", "hsm", "keygen", "lineside/chipfarm", "lineside/cardsim", "perso/order/kifile/sender"}

// doubles are made for tests and the simulator; the product must not be able to reach one.
var doubles = []string{
	"testing", module + "/hsm/hsmfake", module + "/hsm/hsmtest", module + "/perso/bus/membus", module + "/perso/bus/bustest",
	module + "/ledger/ledgertest", module + "/perso/sim", module + "/perso/statement/transcript/transcripttest", module + "/perso/cert/certtest", module + "/lineside/atcsim/modemtest",
}

// offline must not be reachable from the audit: it trusts nothing but public keys.
var offline = []string{
	"database/sql", "github.com/mattn", "github.com/jackc", "github.com/cockroachdb", "github.com/nats-io", "net/http", module + "/perso/bus", module + "/ledger/internal/sqldb",
}

// notForAuditors is what the auditor's own program has no need of: it holds no secret, and needs no C.
var notForAuditors = []string{module + "/hsm", module + "/keygen", module + "/lineside", module + "/perso/secret", "github.com/miekg/pkcs11"}

// edge is one import. Folders of this module are written without the module path.
type edge struct {
	from, to string
	test     bool
}

type importRule struct {
	name    string
	broken  func(e edge) bool
	planted edge
}

var importRules = []importRule{
	{"zones never import one another", func(e edge) bool {
		a, b := zone(e.from), zone(e.to)
		return a != "" && b != "" && a != b && (a != "keygen" || b != "hsm")
	}, edge{from: "lineside/card", to: "ledger/export"}},
	{"hsm is for keygen, perso/cmd and the tests of perso/sim", func(e edge) bool {
		return in(e.to, "hsm") && !in(e.from, "hsm", "keygen", "perso/cmd") && (!in(e.from, "perso/sim") || !e.test)
	}, edge{from: "perso/sim", to: "hsm"}},
	{"what the zones share knows no zone", func(e edge) bool {
		return in(e.from, "perso") && !in(e.from, "perso/cmd", "perso/sim") && zone(e.to) != ""
	}, edge{from: "perso/eis", to: "keygen"}},
	{"perso/id, secret and tlv stand on the standard library", func(e edge) bool {
		return in(e.from, "perso/id", "perso/secret", "perso/tlv") && !standard(e.to) && (!e.test || e.to != e.from && e.to != "perso/reftest")
	}, edge{from: "perso/tlv", to: "perso"}},
	{"perso/reftest is for tests, and stands on the standard library", func(e edge) bool {
		return e.to == "perso/reftest" && !e.test || e.from == "perso/reftest" && !standard(e.to)
	}, edge{from: "perso/scp", to: "perso/reftest"}},
	{"perso stands on the standard library and perso/id", func(e edge) bool {
		return e.from == "perso" && !standard(e.to) && e.to != "perso/id" && !e.test
	}, edge{from: "perso", to: "perso/record"}},
	{"nobody builds on a command or the simulator", func(e edge) bool {
		return in(e.to, "perso/cmd", "perso/sim") && !in(e.from, "perso/cmd") && (!in(e.from, "perso/sim") || !in(e.to, "perso/sim"))
	}, edge{from: "ledger/service", to: "perso/cmd/site"}},
	only("github.com/miekg/pkcs11", "hsm"),
	only("github.com/nats-io", "perso/bus/natsbus", "perso/cmd"),
	only("database/sql", "ledger/internal/sqldb"),
	only("github.com/mattn", "ledger/internal/sqldb"),
	only("github.com/cockroachdb", "ledger/internal/sqldb"),
	only("github.com/jackc", "ledger/internal/sqldb", "ledger/ledgertest/pgtest"),
	only("github.com/ory", "ledger/ledgertest/pgtest"),
	{"perso/saip stands on identifiers, secrets and TLV", func(e edge) bool {
		return e.from == "perso/saip" && !e.test && !standard(e.to) && !in(e.to, "perso/id", "perso/secret", "perso/tlv")
	}, edge{from: "perso/saip", to: "go.yaml.in/yaml/v3"}},
	only("github.com/spf13", "perso/cmd"),
	only("github.com/ProtonMail", "perso/cert"),
	{"testscript is for tests", func(e edge) bool {
		return in(e.to, "github.com/rogpeppe") && !e.test
	}, edge{from: "perso/cmd/perso", to: "github.com/rogpeppe/go-internal/testscript"}},
}

// only makes the rule that a library is imported by the folders that hide it and by nobody else. A sub-package of the
// standard library (database/sql/driver) is another package.
func only(library string, folders ...string) importRule {
	return importRule{library + " only in " + strings.Join(folders, ", "), func(e edge) bool {
		is := e.to == library || !standard(library) && in(e.to, library)
		return is && !in(e.from, folders...)
	}, edge{from: "ledger/export", to: library, test: true}}
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, rule := range importRules {
		if !rule.broken(rule.planted) {
			t.Errorf("%s: the planted import of %q by %q was not found", rule.name, rule.planted.to, rule.planted.from)
		}
	}
	var found findings
	for _, p := range listPackages(t) {
		for _, e := range p.edges() {
			for _, rule := range importRules {
				if rule.broken(e) {
					found.add("%s: imports %s: %s", e.from, e.to, rule.name)
				}
			}
		}
	}
	found.report(t)
}

func TestReach(t *testing.T) {
	t.Parallel()
	planted := goPackage{Deps: []string{"fmt", "database/sql", module + "/perso/sim/faults"}}
	if got := planted.reaches(slices.Concat(doubles, offline)); len(got) != 2 {
		t.Errorf("of two planted dependencies were found %q", got)
	}
	var found findings
	packages := listPackages(t)
	for folder, forbidden := range map[string][]string{"perso/cmd/perso": doubles, "ledger/audit": offline, "perso/cmd/persoaudit": slices.Concat(doubles, offline, notForAuditors)} {
		i := slices.IndexFunc(packages, func(p goPackage) bool { return p.folder() == folder })
		if i < 0 {
			found.add("%s: is named in the rules and is not there", folder)
			continue
		}
		for _, dep := range packages[i].reaches(forbidden) {
			found.add("%s: reaches %s", folder, dep)
		}
	}
	found.report(t)
}

// TestDependencies compares deploy/DEPENDENCIES.md with the imports, both ways.
func TestDependencies(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../deploy/DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	unused := map[string]bool{}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+/[^`]+)` \\|").FindAllSubmatch(page, -1) {
		listed = append(listed, string(row[1]))
		unused[string(row[1])] = true
	}
	var found findings
	for _, p := range listPackages(t) {
		for _, e := range p.edges() {
			if standard(e.to) || in(e.to, folders...) {
				continue
			}
			i := slices.IndexFunc(listed, func(m string) bool { return in(e.to, m) })
			if i < 0 {
				found.add("%s: imports %s, which deploy/DEPENDENCIES.md does not give a reason for", e.from, e.to)
				continue
			}
			delete(unused, listed[i])
		}
	}
	for m := range unused {
		found.add("deploy/DEPENDENCIES.md: %s is imported nowhere", m)
	}
	found.report(t)
}

var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "base", "manager", "misc", "shared", "lib"}

func TestPackages(t *testing.T) {
	t.Parallel()
	check := func(p goPackage) (found findings) {
		if slices.Contains(bannedNames, p.Name) {
			found.add("%s: package name %q says nothing", p.folder(), p.Name)
		}
		if len(p.GoFiles)+len(p.CgoFiles) > 0 && p.Doc == "" {
			found.add("%s: has no package comment", p.folder())
		}
		return found
	}
	if len(check(goPackage{Name: "util", GoFiles: []string{"util.go"}})) != 2 {
		t.Error("the planted package without comment and with an empty name was not found")
	}
	var found findings
	packages := listPackages(t)
	for _, p := range packages {
		found = append(found, check(p)...)
	}
	for _, folder := range slices.Concat(coreFolders, revealers) {
		if !slices.ContainsFunc(packages, func(p goPackage) bool { return p.folder() == folder }) {
			found.add("%s: is named in the rules and is not there", folder)
		}
	}
	found.report(t)
}

// source is one parsed Go file.
type source struct {
	path, folder string // from the top of the module, with slashes
	test, core   bool
	files        *token.FileSet
	tree         *ast.File
}

type sourceRule struct {
	name    string
	check   func(s *source, found func(n ast.Node, what string))
	planted string
}

var sourceRules = []sourceRule{
	{"starts by itself", checkInit, `func init() {}`},
	{fmt.Sprintf("is longer than a file of %d or a function of %d lines", maxFileLines, maxFunctionLines), checkLength, "func long() {" + strings.Repeat("\n", maxFunctionLines) + "}"},
	{"looks into a secret", checkReveal, `func look() { key.Reveal(nil) }`},
	{"starts a goroutine in a core package", checkGo, `func start() { go start() }`},
	{"takes the world instead of being given it", checkAmbient, `import "time"; func now() { _ = time.Now() }`},
	{"takes randomness instead of being given it", checkRandom, `import _ "math/rand/v2"`},
}

func checkInit(s *source, found func(ast.Node, string)) {
	for _, d := range s.tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			found(f, "init")
		}
	}
}

func checkLength(s *source, found func(ast.Node, string)) {
	if file := s.files.File(s.tree.Pos()); file.LineCount() > maxFileLines {
		found(s.tree, "file")
	}
	for _, d := range s.tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := s.lines(f)
		if s.test {
			lines -= s.tableLines(f)
		}
		if lines > maxFunctionLines {
			found(f, "func "+f.Name.Name)
		}
	}
}

func (s *source) lines(n ast.Node) int {
	return s.files.Position(n.End()).Line - s.files.Position(n.Pos()).Line + 1
}

// tableLines counts the rows of a test's tables, which are read one by one and may be many.
func (s *source) tableLines(f *ast.FuncDecl) (lines int) {
	ast.Inspect(f, func(n ast.Node) bool {
		table, ok := n.(*ast.CompositeLit)
		if ok {
			lines += s.lines(table) - 1
		}
		return !ok
	})
	return lines
}

func checkReveal(s *source, found func(ast.Node, string)) {
	if s.test || in(s.folder, revealers...) {
		return
	}
	ast.Inspect(s.tree, func(n ast.Node) bool {
		if x, ok := n.(*ast.SelectorExpr); ok && x.Sel.Name == "Reveal" {
			found(n, "Reveal")
		}
		return true
	})
}

func checkGo(s *source, found func(ast.Node, string)) {
	if !s.core {
		return
	}
	ast.Inspect(s.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found(n, "go statement")
		case *ast.SelectorExpr: // of a sync.WaitGroup or an errgroup.Group
			if n.Sel.Name == "Go" {
				found(n, "Go")
			}
		}
		return true
	})
}

// ambient names what a core package must be given: the clock, the environment, the process's own output.
var ambient = map[string][]string{
	"time":     {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"},
	"os":       {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Stdin", "Stdout", "Stderr", "Args", "Exit"},
	"log/slog": {"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "Log", "LogAttrs", "With"},
	"fmt":      {"Print", "Printf", "Println"},
	"log":      {"Default", "Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
}

func checkAmbient(s *source, found func(ast.Node, string)) {
	if !s.core {
		return
	}
	forbidden := map[string][]string{} // by the name that the file knows the package as
	for _, spec := range s.tree.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		forbidden[name] = ambient[path]
	}
	ast.Inspect(s.tree, func(n ast.Node) bool {
		x, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if p, ok := x.X.(*ast.Ident); ok && slices.Contains(forbidden[p.Name], x.Sel.Name) {
			found(x, p.Name+"."+x.Sel.Name)
		}
		return true
	})
}

func checkRandom(s *source, found func(ast.Node, string)) {
	if !s.core {
		return
	}
	for _, spec := range s.tree.Imports {
		switch path, _ := strconv.Unquote(spec.Path.Value); path {
		case "math/rand", "math/rand/v2", "crypto/rand":
			found(spec, path)
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for _, rule := range sourceRules {
		s := parse(t, "planted/planted.go", []byte("package planted\n"+rule.planted))
		s.core = true
		var hits int
		rule.check(s, func(ast.Node, string) { hits++ })
		if hits != 1 {
			t.Errorf("%s: the planted breach was found %d times", rule.name, hits)
		}
	}
	var found findings
	unused := maps.Clone(exceptions)
	walk(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		s := parse(t, path, text)
		for _, rule := range sourceRules {
			rule.check(s, func(n ast.Node, what string) {
				place := path + ": " + what
				delete(unused, place)
				if exceptions[place] == "" {
					found.add("%s (line %d): %s", place, s.files.Position(n.Pos()).Line, rule.name)
				}
			})
		}
	})
	for place := range unused {
		found.add("%s: is excepted and does not occur", place)
	}
	found.report(t)
}

// unfinished is what a finished tree does not say. The words are in pieces so that this file does not say them either.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b|(?i:\bfor` + ` now\b|\bnot ` + `implemented\b)`)

func TestNothingIsPutOff(t *testing.T) {
	t.Parallel()
	if !unfinished.MatchString("// for" + " now") {
		t.Error("the planted promise was not found")
	}
	var found findings
	walk(t, func(path string, text []byte) {
		for i, line := range strings.Split(string(text), "\n") {
			if unfinished.MatchString(line) {
				found.add("%s:%d: puts off: %s", path, i+1, strings.TrimSpace(line))
			}
		}
	})
	found.report(t)
}

// folders are the only ones there may be at the top: the security zones and what serves them.
var folders = []string{"perso", "keygen", "hsm", "lineside", "ledger", "deploy", ".ci"}

// made are folders that the Makefile makes and git does not keep.
var made = []string{".git", "bin", "demo", "site"}

func TestFolders(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(folders, e.Name()) && !slices.Contains(made, e.Name()) {
			t.Errorf("folder %q at the top is no zone", e.Name())
		}
	}
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath, Name, Doc                    string
	GoFiles, CgoFiles                        []string
	Imports, TestImports, XTestImports, Deps []string
	Module                                   *struct{ Path string }
}

func (p goPackage) folder() string { return relative(p.ImportPath) }

func (p goPackage) edges() (all []edge) {
	for _, to := range p.Imports {
		all = append(all, edge{from: p.folder(), to: relative(to)})
	}
	for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
		all = append(all, edge{from: p.folder(), to: relative(to), test: true})
	}
	return all
}

// reaches lists the forbidden packages among those that this one is built from.
func (p goPackage) reaches(forbidden []string) (found []string) {
	for _, dep := range p.Deps {
		if in(dep, forbidden...) {
			found = append(found, dep)
		}
	}
	return found
}

// listPackages asks the go command for the packages of this module.
func listPackages(t *testing.T) (packages []goPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Doc,GoFiles,CgoFiles,Imports,TestImports,XTestImports,Deps,Module", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v\n%s", err, stderr.Bytes())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("reading the list of packages: %v", err)
		}
		if p.Module != nil && p.Module.Path == module {
			packages = append(packages, p)
		}
	}
}

// walk hands every text that people write in this module to visit.
func walk(t *testing.T, visit func(path string, text []byte)) {
	t.Helper()
	written := []string{".go", ".md", ".sh", ".sql", ".conf", ".service", ".script", ".txtar", ".yaml", ".html", ".js", ".css", "Makefile", "run"}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := strings.TrimPrefix(filepath.ToSlash(name), "../")
		if d.IsDir() {
			if slices.Contains(made, path) {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.ContainsFunc(written, func(end string) bool { return strings.HasSuffix(path, end) }) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		visit(path, text)
		return nil
	})
	if err != nil {
		t.Fatalf("walking the tree: %v", err)
	}
}

func parse(t *testing.T, path string, text []byte) *source {
	t.Helper()
	s := &source{path: path, folder: filepath.ToSlash(filepath.Dir(path)), files: token.NewFileSet()}
	s.test = strings.HasSuffix(path, "_test.go")
	s.core = !s.test && slices.Contains(coreFolders, s.folder) && !slices.Contains(shells, path)
	var err error
	if s.tree, err = parser.ParseFile(s.files, path, text, parser.SkipObjectResolution); err != nil {
		t.Fatalf("parsing %s: %v", path, err)
	}
	return s
}

// findings are what the rules found, each on a line that names the place.
type findings []string

func (f *findings) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func (f findings) report(t *testing.T) {
	t.Helper()
	slices.Sort(f)
	for _, line := range slices.Compact(f) {
		t.Error(line)
	}
}

func relative(path string) string {
	if path == module {
		return ""
	}
	return strings.TrimPrefix(path, module+"/")
}

// in reports whether path is one of the folders or below one.
func in(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return path == f || strings.HasPrefix(path, f+"/") })
}

// zone is the security zone that a folder belongs to, or nothing.
func zone(folder string) string {
	top, _, _ := strings.Cut(folder, "/")
	if slices.Contains([]string{"hsm", "keygen", "lineside", "ledger"}, top) {
		return top
	}
	return ""
}

// standard reports whether an import path is of the standard library: its first element is no domain and no folder of ours.
func standard(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return !strings.Contains(top, ".") && !slices.Contains(folders, top)
}
