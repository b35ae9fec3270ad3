package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/script/pcom"
	"github.com/persoline/persoline/perso/statement"
)

// scriptCompiled is the result of "script compile".
type scriptCompiled struct {
	Name      string           `json:"name"`
	Version   uint16           `json:"version"`
	Hash      string           `json:"hash"`
	Bytes     int              `json:"bytes"`
	Commands  int              `json:"commands"` // of all acts and identify
	Acts      []int            `json:"acts"`     // commands of each
	Variables []scriptVariable `json:"variables"`
	Vault     string           `json:"vault,omitempty"`
	Written   string           `json:"written,omitempty"`
}

type scriptVariable struct {
	Act  int    `json:"act"`
	Name string `json:"name"`
	Form string `json:"form"`
}

func newScriptCompileCmd(env *Env) *cobra.Command {
	var s scriptSource
	var out, release string
	c := &cobra.Command{
		Use:   "compile FILE",
		Short: "Compile a script and say its hash",
		Long: Describe("Compiles a script with all that it includes, and says its hash, by which releases and work orders name it. Lengths of variables are\n"+
			"part of it: with --release they are those of the draft or signed release of a lot, and the hash must be the one that it names (exit\n"+
			"code 3 when it is not). With --out the compiled form is written.", scriptCompiled{}),
		Example: `  perso script compile deploy/products/m2m-200s.script
  perso script compile deploy/products/m2m-200s.script --release L1.release
  perso script compile card.script --smsr-bytes 24 --out card.compiled`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return compileScript(env, &s, args[0], release, out) },
	}
	s.flags(c)
	s.packageFlags(c)
	c.Flags().StringVar(&release, "release", "", "release of a lot, draft or signed, whose script this is to be")
	c.Flags().StringVarP(&out, "out", "o", "", "new file for the compiled form")
	return c
}

func compileScript(env *Env, s *scriptSource, path, release, out string) error {
	var r *statement.Release
	if release != "" {
		var err error
		if r, err = s.asReleased(env, release); err != nil {
			return err
		}
	}
	if err := s.open(path); err != nil {
		return err
	}
	defer s.folder.Close() // only read
	if r == nil {
		if err := s.readPackages(); err != nil {
			return err
		}
	}
	compiled, err := s.compile()
	if err != nil {
		return err
	}
	if r != nil && compiled.Hash() != r.ScriptHash {
		return Refuted("the script's hash is %s, the release of lot %q names %s", digest(compiled.Hash()), r.Lot, digest(r.ScriptHash))
	}
	encoded := compiled.Encode()
	return compiledOf(env, compiled, encoded, out)
}

// asReleased takes the lengths of variables from a release.
func (s *scriptSource) asReleased(env *Env, path string) (*statement.Release, error) {
	body, err := env.read(path, statement.MaxSignedBytes)
	if err != nil {
		return nil, err
	}
	if signed, err := statement.DecodeSigned(body); err == nil {
		body = signed.Body // else it is a draft
	}
	r, err := statement.ParseRelease(body)
	if err != nil {
		return nil, Hint(fmt.Errorf("%q: %w", path, err), "'perso order draft' writes a release")
	}
	if s.algorithm, err = auth.Parse(r.Algorithm); err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	for _, c := range r.Constants {
		if c.Name == "SMSR.ADDR" {
			s.smsrBytes = len(c.Value)
		}
		if c.Name == "AID.USIM" {
			s.usimBytes = len(c.Value)
		}
	}
	s.lengths = map[string]int{}
	for _, p := range r.Packages {
		s.lengths[p.Variable] = int(p.Bytes)
	}
	return &r, nil
}

func compiledOf(env *Env, compiled *script.Script, encoded []byte, out string) error {
	r := scriptCompiled{Name: compiled.Name, Version: compiled.Version, Hash: digest(compiled.Hash()).String(), Bytes: len(encoded), Commands: len(compiled.Identify), Acts: []int{}, Written: out}
	for _, act := range compiled.Acts {
		n := 0
		for _, sec := range act {
			n += len(sec.Steps)
		}
		r.Acts, r.Commands = append(r.Acts, n), r.Commands+n
	}
	for _, u := range compiled.Variables() {
		r.Variables = append(r.Variables, scriptVariable{u.Act, u.Name, string(u.Form)})
	}
	if err := keygen.Playable(compiled); err != nil {
		r.Vault = err.Error()
	}
	if out != "" {
		if err := create(out, encoded); err != nil {
			return err
		}
	}
	return env.Emit(r, r.write)
}

func (r scriptCompiled) write(w io.Writer) {
	fmt.Fprintf(w, "%s %d: %d commands, of acts %v, %d variables, %d bytes\nhash %s\n", r.Name, r.Version, r.Commands, r.Acts, len(r.Variables), r.Bytes, r.Hash)
	if r.Vault != "" {
		fmt.Fprintf(w, "the vault would refuse it: %s\n", r.Vault)
	}
}

// scriptImported is the result of "script import".
type scriptImported struct {
	Files    []string `json:"files"`
	Commands int      `json:"commands"`
	Powers   int      `json:"powers"`
	Written  string   `json:"written,omitempty"`
	Text     string   `json:"text,omitempty"`
}

func newScriptImportCmd(env *Env) *cobra.Command {
	var out string
	first := pcom.NoFirstByte
	c := &cobra.Command{
		Use:   "import FILE.pcom",
		Short: "Translate a PCOM script",
		Long: Describe("Translates the commands of a PCOM script, and of what it calls from its folder, to lines that a script can include. The subset that is\n"+
			"read is in perso/script/LANGUAGE.md; anything else is refused by line and column. Phases, channel and secrets are the engineer's to add.", scriptImported{}),
		Example: `  perso script import old/usim.pcom --out usim.inc
  perso script import old/get_response.pcom --first-byte 1`,
		Args: Takes("FILE.pcom"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("first-byte") && first != 0 && first != 1 {
				return Usage("--first-byte is 0 or 1")
			}
			return importScript(env, args[0], out, pcom.Options{FirstByte: first})
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "new file for the lines")
	c.Flags().IntVar(&first, "first-byte", first, "number of an answer's first byte in W(pos;len) and R(pos;len), 0 or 1")
	return c
}

func importScript(env *Env, path, out string, o pcom.Options) error {
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("opening the script's folder: %w", err)
	}
	defer folder.Close() // only read
	got, err := pcom.Import(folder.FS(), filepath.Base(path), o)
	var faults script.Faults
	if errors.As(err, &faults) {
		var all []error
		for _, f := range faults {
			all = append(all, errors.New(findingOf(path, f).String()))
		}
		return errors.Join(all...)
	}
	if err != nil {
		return err
	}
	r := scriptImported{Files: got.Files, Commands: got.Commands, Powers: got.Powers, Written: out}
	if out == "" {
		r.Text = string(got.Text)
	} else if err := create(out, got.Text); err != nil {
		return err
	}
	return env.Emit(r, func(w io.Writer) {
		if out == "" {
			fmt.Fprint(w, r.Text)
			return
		}
		fmt.Fprintf(w, "%d commands and %d power cycles from %d files\n", r.Commands, r.Powers, len(r.Files))
	})
}
