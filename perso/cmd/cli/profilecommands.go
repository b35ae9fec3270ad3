package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/saip/design"
	"github.com/persoline/persoline/perso/saip/filescript"
)

// commandsMade is the result of "profile commands".
type commandsMade struct {
	Profile string   `json:"profile"`
	Files   []string `json:"files"`
}

func newProfileCommandsCmd(env *Env) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "commands DESIGN",
		Short: "Write a described file system as commands for a script",
		Long: Describe("Makes of a description what a SIM's script includes: NAME.probe.inc (how far the files are, for the phase open), NAME.write.inc (CREATE\n"+
			"FILE and UPDATE of all files) and NAME.verify.inc (what is of a card or an order, read back). Codes, keys and domains of the\n"+
			"description are not in them: the script has them.", commandsMade{}),
		Example: `  perso profile commands deploy/products/basic-sim.yaml
  perso profile commands meter.yaml --out scripts`,
		Args: Takes("DESIGN"),
		RunE: func(_ *cobra.Command, args []string) error {
			return writeCommands(env, args[0], out)
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "folder to write to, in place of what is there (default: that of the description)")
	return c
}

func writeCommands(env *Env, path, folder string) error {
	text, err := env.read(path, design.MaxBytes)
	if err != nil {
		return err
	}
	if filepath.Ext(path) != designSuffix {
		return Usage("%q doesn't end in %s, and the files that are written are named after it", path, designSuffix)
	}
	d, chip, made, err := commandsOf(path, text)
	if err != nil {
		return err
	}
	if folder == "" {
		folder = filepath.Dir(path)
	}
	return putCommands(env, commandsMade{Profile: d.Profile}, filepath.Join(folder, strings.TrimSuffix(filepath.Base(path), designSuffix)), chip, made)
}

// commandsOf makes the commands of a description.
func commandsOf(path string, text []byte) (saip.Design, *saip.Chip, filescript.Text, error) {
	d, p, err := builtProfile(path, text)
	if err != nil {
		return d, nil, filescript.Text{}, err
	}
	chip, faults := p.Expand()
	if bad := append(p.Check().Refusing(), faults.Refusing()...); len(bad) > 0 {
		return d, nil, filescript.Text{}, refusal(path, bad, ExitFailed)
	}
	made, err := filescript.Of(chip, filepath.Base(path))
	if err != nil {
		return d, nil, made, Hint(fmt.Errorf("%q: %w", path, err), "a SIM's script makes transparent and linear fixed files, and fills those of card and order")
	}
	return d, chip, made, nil
}

// checkFileSystem holds a SIM's description to its product, and the commands beside it to the description.
func checkFileSystem(p product.Product, folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, p.Profile.FileSystem))
	if err != nil {
		return fmt.Errorf("reading its file system: %w", err)
	}
	_, chip, made, err := commandsOf(p.Profile.FileSystem, text)
	if err != nil {
		return err
	}
	for _, want := range []product.AID{p.AIDs.USIM, p.AIDs.ISIM} {
		if !slices.ContainsFunc(chip.Applications(), func(f *saip.File) bool { return bytes.Equal(f.AID, want.Bytes()) }) {
			return fmt.Errorf("the file system %q has no application %s", p.Profile.FileSystem, want)
		}
	}
	for part, want := range map[string][]byte{"probe": made.Probe, "write": made.Write, "verify": made.Verify} {
		name := strings.TrimSuffix(p.Profile.FileSystem, designSuffix) + "." + part + ".inc"
		if have, err := os.ReadFile(filepath.Join(folder, name)); err != nil || !bytes.Equal(have, want) {
			return errors.Join(fmt.Errorf("%q is not made of %q: 'perso profile commands' makes it anew", name, p.Profile.FileSystem), err)
		}
	}
	return nil
}

func putCommands(env *Env, result commandsMade, base string, chip *saip.Chip, made filescript.Text) error {
	for _, one := range []struct {
		part string
		text []byte
	}{{"probe", made.Probe}, {"write", made.Write}, {"verify", made.Verify}} {
		name := base + "." + one.part + ".inc"
		if err := replace(name, one.text); err != nil {
			return err
		}
		result.Files = append(result.Files, name)
	}
	return env.Emit(result, func(w io.Writer) {
		fmt.Fprintf(w, "profile %q: %d files as commands in %s\n", result.Profile, len(chip.Files), strings.Join(result.Files, ", "))
	})
}
