package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

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
	d, p, err := builtProfile(path, text)
	if err != nil {
		return err
	}
	chip, faults := p.Expand()
	if bad := append(p.Check().Refusing(), faults.Refusing()...); len(bad) > 0 {
		return refusal(path, bad, ExitFailed)
	}
	made, err := filescript.Of(chip, filepath.Base(path))
	if err != nil {
		return Hint(fmt.Errorf("%q: %w", path, err), "a SIM's script makes transparent and linear fixed files, and fills those of card and order")
	}
	if folder == "" {
		folder = filepath.Dir(path)
	}
	return putCommands(env, commandsMade{Profile: d.Profile}, filepath.Join(folder, strings.TrimSuffix(filepath.Base(path), designSuffix)), chip, made)
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
