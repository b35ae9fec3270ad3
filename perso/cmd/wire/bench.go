package wire

import (
	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/cmd/bench"
	"github.com/persoline/persoline/perso/cmd/cli"
)

// newBenchCmd measures the whole factory in a folder of its own.
func newBenchCmd(env *cli.Env) *cobra.Command {
	o := bench.Options{Talk: env.Err}
	c := &cobra.Command{
		Use: "bench", Short: "Measure the whole factory against what chips, token and disk need by themselves",
		Example: "  perso bench\n  perso bench --units 100000 --json\n  perso bench --vaults 2", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return cli.Usage("%v", err)
			}
			r, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			return env.Emit(r, r.Table)
		},
	}
	c.Flags().IntVar(&o.Units, "units", 10_000, "units of the measured lot; a lot of a tenth is made before it")
	c.Flags().IntVar(&o.Heads, "heads", 160, "heads of the line: so many that the zones are never without work")
	c.Flags().IntVar(&o.Vaults, "vaults", 1, "vaults, each with a lot and a line of its own at the same time; units and heads are shared among them")
	c.Flags().StringVar(&o.Catalogue, "catalogue", "deploy", "folder with products and partners")
	return c
}
