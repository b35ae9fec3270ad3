package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/cmd/dryrun"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/script"
)

func newScriptCmd(env *Env) *cobra.Command {
	return Group("script", "Write, judge and try the script of a product", `  perso script check deploy/products/m2m-200s.script
  perso script trace deploy/products/m2m-200s.script`,
		newScriptCheckCmd(env), newScriptFmtCmd(env), newScriptCompileCmd(env), newScriptTraceCmd(env), newScriptImportCmd(env))
}

// usualSMSRBytes is a usual length of an SM-SR's addressing parameters; a lot's own may differ, and with it the hash.
const usualSMSRBytes = 40

// scriptSource is the script that a command is about.
type scriptSource struct {
	path      string
	smsrBytes int
	algorithm auth.Algorithm // the usual one when zero
	files     [2]string      // packages that it loads, by their place in packageNames
	packages  map[string]*saip.Template
	usimBytes int            // of the USIM's AID, where a release says it
	lengths   map[string]int // of packages that are known by their lengths alone
	folder    *os.Root       // the script's folder: no name leads out of it
}

func (s *scriptSource) flags(c *cobra.Command) {
	c.Flags().IntVar(&s.smsrBytes, "smsr-bytes", usualSMSRBytes, "bytes of the SM-SR's addressing parameters")
}

// packageFlags are of commands that need the packages that a script loads.
func (s *scriptSource) packageFlags(c *cobra.Command) {
	c.Flags().StringVar(&s.files[0], "package", "", "profile package that the script loads (default "+dryrun.BesideProducts+" from the script's folder, if it is there)")
	c.Flags().StringVar(&s.files[1], "package2", "", "package of an operational profile, for a script that loads one as well")
}

// readPackages reads the packages, and the usual one where none is named.
func (s *scriptSource) readPackages() error {
	s.packages = map[string]*saip.Template{}
	for i, name := range []string{script.PackageBootstrap, script.PackageOperational} {
		path := s.files[i]
		if path == "" && i == 0 {
			path = filepath.Join(filepath.Dir(s.path), filepath.FromSlash(dryrun.BesideProducts))
			if _, err := os.Stat(path); err != nil {
				continue
			}
		}
		if path == "" {
			continue
		}
		t, err := dryrun.ReadPackage(path)
		if err != nil {
			return Hint(err, "'perso profile check' tells all that is wrong with a package")
		}
		s.packages[name] = t
	}
	return nil
}

// open opens the script's folder; the caller closes it.
func (s *scriptSource) open(path string) (err error) {
	if s.smsrBytes < 1 || s.smsrBytes > script.MaxVarBytes {
		return Usage("--smsr-bytes %d is not within 1 to %d", s.smsrBytes, script.MaxVarBytes)
	}
	s.path = path
	if s.folder, err = os.OpenRoot(filepath.Dir(path)); err != nil {
		return fmt.Errorf("opening the script's folder: %w", err)
	}
	return nil
}

func (s *scriptSource) name() string { return filepath.Base(s.path) }

func (s *scriptSource) catalogue() script.Catalogue {
	c := script.StandardCatalogue(s.smsrBytes, keygen.CertValueBytes)
	if a := s.algorithm; !a.IsZero() {
		c = c.For(len(a.Parameters()), a.KBytes(), a.OPBytes())
	}
	for name, n := range s.lengths {
		c = c.WithPackage(name, n)
	}
	if s.usimBytes > 0 {
		c = c.WithUSIM(s.usimBytes)
	}
	return dryrun.WithPackages(c, s.packages)
}

// compile reads the script; every fault is an error of its own, with the file.
func (s *scriptSource) compile() (*script.Script, error) {
	compiled, err := script.CompileFile(s.folder.FS(), s.name(), s.catalogue())
	var faults script.Faults
	if errors.As(err, &faults) {
		var lines []string
		for _, f := range faults {
			lines = append(lines, findingOf(s.path, f).String())
		}
		return nil, Hint(errors.New(strings.Join(lines, "\n")), "'perso script check %s' says the same, and more once it compiles", s.path)
	}
	return compiled, err
}

// finding is one thing wrong with a script.
type finding struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Rule   string `json:"rule"`
	What   string `json:"what"`
	Hint   string `json:"hint"`
}

func findingOf(path string, f script.Fault) finding {
	file := path
	if f.File != "" {
		file = filepath.Join(filepath.Dir(path), f.File)
	}
	return finding{File: file, Line: f.Line, Column: f.Col, Rule: string(f.Rule), What: f.What, Hint: f.Hint}
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s (%s)", f.File, f.Line, f.Column, f.Rule, f.What, f.Hint)
}

// scriptJudged is the result of "script check".
type scriptJudged struct {
	OK       bool      `json:"ok"`
	Name     string    `json:"name,omitempty"`
	Version  uint16    `json:"version,omitempty"`
	Hash     string    `json:"hash,omitempty"`
	Vault    string    `json:"vault,omitempty"` // why the vault would refuse it
	Findings []finding `json:"findings"`
}

func newScriptCheckCmd(env *Env) *cobra.Command {
	var s scriptSource
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Find everything that is wrong with a script",
		Long: Describe("Finds what keeps a script from compiling, or else what compiles and nobody should want: each with its rule (perso/script/LANGUAGE.md),\n"+
			"line and column. Says also whether the vault would refuse it, and why. The exit code is 3 when a rule is broken.", scriptJudged{}),
		Example: `  perso script check deploy/products/m2m-200s.script
  perso script check card.script --json`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return checkScript(env, &s, args[0]) },
	}
	s.flags(c)
	return c
}

func checkScript(env *Env, s *scriptSource, path string) error {
	if err := s.open(path); err != nil {
		return err
	}
	defer s.folder.Close() // only read
	compiled, faults, err := script.Lint(s.folder.FS(), s.name(), anyPackages(s.catalogue()))
	if err != nil {
		return err
	}
	j := scriptJudged{OK: len(faults) == 0, Findings: []finding{}}
	for _, f := range faults {
		j.Findings = append(j.Findings, findingOf(path, f))
	}
	if compiled != nil {
		j.Name, j.Version, j.Hash = compiled.Name, compiled.Version, digest(compiled.Hash()).String()
		if err := keygen.Playable(compiled); err != nil {
			j.Vault = err.Error()
		}
	}
	if err := env.Emit(j, j.write); err != nil {
		return err
	}
	if j.Vault != "" && !env.JSON {
		env.Advise("the vault would refuse a release with this script: %s", j.Vault)
	}
	if !j.OK {
		return Refuted("%d findings in %s", len(j.Findings), path)
	}
	return nil
}

func (j scriptJudged) write(w io.Writer) {
	for _, f := range j.Findings {
		fmt.Fprintln(w, f)
	}
	if j.OK {
		fmt.Fprintf(w, "%s %d: nothing found\nhash %s\n", j.Name, j.Version, j.Hash)
	}
}

// scriptFormatted is the result of "script fmt".
type scriptFormatted struct {
	File    string `json:"file"`
	Changed bool   `json:"changed"`
	Written bool   `json:"written"`
	Text    string `json:"text,omitempty"`
}

func newScriptFmtCmd(env *Env) *cobra.Command {
	var write, check bool
	c := &cobra.Command{
		Use:   "fmt FILE",
		Short: "Lay a script out",
		Long: Describe("Writes the script laid out: commands and statuses in columns, hex in upper case. What it compiles to does not change. FILE may be -\n"+
			"for standard input. With --check nothing is written, and the exit code is 3 when the script is not laid out so.", scriptFormatted{}),
		Example: `  perso script fmt card.script -w
  perso script fmt --check card.script`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if write && (check || args[0] == "-") {
				return Usage("-w writes to a file, and goes neither with --check nor with standard input")
			}
			return formatScript(env, args[0], write, check)
		},
	}
	c.Flags().BoolVarP(&write, "write", "w", false, "write the file instead of standard output")
	c.Flags().BoolVar(&check, "check", false, "only say whether it is laid out")
	return c
}

func formatScript(env *Env, path string, write, check bool) error {
	src, err := env.read(path, script.MaxSourceBytes)
	if err != nil {
		return err
	}
	out, err := script.Format(src)
	var faults script.Faults
	if errors.As(err, &faults) {
		return Hint(errors.New(findingOf(path, faults[0]).String()), "what cannot be read cannot be laid out")
	}
	if err != nil {
		return err
	}
	r := scriptFormatted{File: path, Changed: string(out) != string(src)}
	switch {
	case write && r.Changed:
		if err := replaceLike(path, out); err != nil {
			return err
		}
		r.Written = true
	case !write && !check:
		r.Text = string(out)
	}
	if err := env.Emit(r, func(w io.Writer) { fmt.Fprint(w, r.Text) }); err != nil {
		return err
	}
	if check && r.Changed {
		return Hint(Refuted("%s is not laid out", path), "'perso script fmt -w %s' does it", path)
	}
	return nil
}

// replaceLike puts a file in place of another one that keeps its permissions.
func replaceLike(path string, content []byte) error {
	was, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking at the file: %w", err)
	}
	if err := replace(path, content); err != nil {
		return err
	}
	if err := os.Chmod(path, was.Mode().Perm()); err != nil {
		return fmt.Errorf("giving the file its permissions back: %w", err)
	}
	return nil
}

// productOf finds the product that a script is for: the one that is named, or the first beside the script that is made with it.
func (s *scriptSource) productOf(env *Env, path string) (product.Product, error) {
	if path != "" {
		b, err := env.read(path, product.MaxFileBytes)
		if err != nil {
			return product.Product{}, err
		}
		p, err := product.Parse(bytes.NewReader(b))
		if err != nil {
			return p, fmt.Errorf("reading product %q: %w", path, err)
		}
		return p, nil
	}
	names, err := fs.Glob(s.folder.FS(), "*.json")
	if err != nil {
		return product.Product{}, fmt.Errorf("listing the products beside the script: %w", err)
	}
	for _, name := range names {
		f, err := s.folder.Open(name)
		if err != nil {
			return product.Product{}, fmt.Errorf("opening product %q: %w", name, err)
		}
		p, err := product.Parse(f)
		_ = f.Close() // only read
		if err == nil && p.Script == s.name() {
			return p, nil
		}
	}
	return product.Product{}, Hint(Usage("no product beside %q is made with it", s.path), "name the product's file with --product")
}
