package cli

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/saip/design"
)

func newProfileCmd(env *Env) *cobra.Command {
	return Group("profile", "Build, take in and judge profile packages", `  perso profile check customer.der
  perso profile import customer.der
  perso profile show deploy/profiles/bootstrap.der`,
		newProfileBuildCmd(env), newProfileCommandsCmd(env), newProfileImportCmd(env), newProfileListCmd(env), newProfileShowCmd(env), newProfileCheckCmd(env))
}

// profileFault is one thing wrong with a package.
type profileFault struct {
	Offset  int    `json:"offset"`
	Number  int    `json:"pe,omitempty"`
	Element string `json:"element,omitempty"`
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
	Note    bool   `json:"note"`
}

func profileFaults(faults saip.Faults) []profileFault {
	all := []profileFault{}
	for _, f := range faults {
		all = append(all, profileFault{f.Offset, f.PE, f.Element, f.Path, f.Reason, f.Note})
	}
	return all
}

// faultsIn are the faults that an error brings; nothing for another error.
func faultsIn(err error) saip.Faults {
	var one *saip.Fault
	var all saip.Faults
	switch {
	case errors.As(err, &all):
		return all
	case errors.As(err, &one):
		return saip.Faults{one}
	}
	return nil
}

// judgedProfile is a package with all that is wrong with it. The package is nil when it can't even be read.
type judgedProfile struct {
	bytes  []byte
	p      *saip.Package
	faults saip.Faults
}

// judgeProfile reads a file and checks it. The error is of the file, not of what is in it.
func (env *Env) judgeProfile(path string) (judgedProfile, error) {
	b, err := env.read(path, saip.MaxPackageBytes)
	if err != nil {
		return judgedProfile{}, err
	}
	j := judgedProfile{bytes: b}
	if j.p, err = saip.Decode(b); err != nil {
		j.faults = faultsIn(err)
		return j, nil
	}
	j.faults = j.p.Check()
	if _, err := j.p.Points(); err != nil && len(j.faults.Refusing()) == 0 {
		j.faults = append(j.faults, faultsIn(err)...)
	}
	return j, nil
}

// notes are told on standard error: they refuse nothing.
func (env *Env) notes(faults saip.Faults) {
	for _, f := range faults {
		if f.Note {
			fmt.Fprintf(env.Err, "perso: note: %s\n", f.Error())
		}
	}
}

// refusal is what refuses a package, each fault with its place.
func refusal(path string, faults saip.Faults, code int) error {
	var all []error
	for _, f := range faults.Refusing() {
		all = append(all, console.Fail(code, fmt.Errorf("%s: %w", path, f), ""))
	}
	return errors.Join(all...)
}

// profileJudged is the result of "profile check".
type profileJudged struct {
	File   string         `json:"file"`
	OK     bool           `json:"ok"`
	Bytes  int            `json:"bytes"`
	SHA256 digest         `json:"sha256"`
	Faults []profileFault `json:"faults"`
}

func newProfileCheckCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Find everything wrong with a profile package",
		Long: Describe("Holds a profile package (- is standard input) to the schema of SAIP and to what the schema can't say: order, services, PINs, files,\n"+
			"templates, keys, places for the values of cards. Every fault is told with its byte, its element and its field. Notes are things\n"+
			"that a chip bears. Exits 3 if a fault refuses the package.", profileJudged{}),
		Example: `  perso profile check customer.der
  perso profile check - --json < customer.der`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return checkProfile(env, args[0])
		},
	}
}

func checkProfile(env *Env, path string) error {
	j, err := env.judgeProfile(path)
	if err != nil {
		return err
	}
	bad := j.faults.Refusing()
	result := profileJudged{File: path, OK: len(bad) == 0, Bytes: len(j.bytes), SHA256: sha256.Sum256(j.bytes), Faults: profileFaults(j.faults)}
	env.notes(j.faults)
	err = env.Emit(result, func(w io.Writer) {
		if result.OK {
			fmt.Fprintf(w, "%s is a good package: %d bytes, %d elements, %d notes\nSHA-256 %s\n", path, result.Bytes, len(j.p.Elements()), len(j.faults), result.SHA256)
		}
	})
	return errors.Join(err, refusal(path, j.faults, ExitRefuted))
}

// profileBuilt is the result of "profile build".
type profileBuilt struct {
	Profile string `json:"profile"`
	File    string `json:"file"`
	Bytes   int    `json:"bytes"`
	SHA256  digest `json:"sha256"`
}

// designSuffix is that of descriptions.
const designSuffix = ".yaml"

func newProfileBuildCmd(env *Env) *cobra.Command {
	var out string
	var force bool
	c := &cobra.Command{
		Use:   "build DESIGN",
		Short: "Make the package of a profile that is described in words",
		Long: Describe("Makes a profile package of a description as deploy/profiles has it, checks it, and writes it. The same description gives the same\n"+
			"bytes. Whatever is of a card is zeros of its length.", profileBuilt{}),
		Example: `  perso profile build deploy/profiles/bootstrap.yaml
  perso profile build meter.yaml -o meter.der`,
		Args: Takes("DESIGN"),
		RunE: func(_ *cobra.Command, args []string) error {
			return buildProfile(env, args[0], out, force)
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "file to write, in place of what is there (default: beside the description, with .der, where another package is not replaced)")
	c.Flags().BoolVarP(&force, "force", "f", false, "replace another package beside the description")
	return c
}

func buildProfile(env *Env, path, out string, replacing bool) error {
	text, err := env.read(path, design.MaxBytes)
	if err != nil {
		return err
	}
	if out == "" && filepath.Ext(path) != designSuffix {
		return Usage("--out must be given, as %q doesn't end in %s", path, designSuffix)
	}
	if replacing = replacing || out != ""; out == "" {
		out = strings.TrimSuffix(path, designSuffix) + packageSuffix
	}
	d, p, err := builtProfile(path, text)
	if err != nil {
		return err
	}
	if err := putPackage(out, p.Bytes(), replacing); err != nil {
		return err
	}
	result := profileBuilt{Profile: d.Profile, File: out, Bytes: p.Len(), SHA256: sha256.Sum256(p.Bytes())}
	return env.Emit(result, func(w io.Writer) {
		fmt.Fprintf(w, "profile %q is in %s: %d bytes\nSHA-256 %s\n", result.Profile, out, result.Bytes, result.SHA256)
	})
}

// builtProfile makes the package of a description.
func builtProfile(path string, text []byte) (saip.Design, *saip.Package, error) {
	const hint = "perso/saip/PROFILES.md explains the fields; deploy/profiles has an example"
	d, err := design.Parse(text)
	if err != nil {
		return d, nil, Hint(fmt.Errorf("%q: %w", path, err), hint)
	}
	p, err := saip.Build(d)
	if err != nil {
		return d, nil, Hint(fmt.Errorf("%q: %w", path, err), hint)
	}
	return d, p, nil
}

// putPackage writes a package. Another one of that name, which somebody may have changed or released, goes only for who says so.
func putPackage(path string, content []byte, replacing bool) error {
	if !replacing {
		switch before, err := os.ReadFile(path); {
		case err == nil && !bytes.Equal(before, content):
			return Hint(fmt.Errorf("writing %q: another package has that name", path), "--force replaces it, --out names another file")
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("comparing with the package that is there: %w", err)
		}
	}
	return replace(path, content)
}
