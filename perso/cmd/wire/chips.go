package wire

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/product"
)

// newChipMakeCmd makes the virtual chips of a site that has none.
func newChipMakeCmd(env *cli.Env) *cobra.Command {
	var p site.FarmPlan
	var sku, reel, line string
	c := &cobra.Command{
		Use: "make", Short: "Make a farm of virtual chips for a site that has none; the goods-in files are then received",
		Example: "  perso chip make --site ./site --chips 5000", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if p.Product, err = product.ParseSKU(sku); err != nil {
				return cli.Usage("--product: %v", err)
			}
			if p.Reel, err = perso.ParseName(reel); err != nil {
				return cli.Usage("--reel: %v", err)
			}
			s, err := site.Open(env.SiteDir)
			if err != nil {
				return err
			}
			p.Line = perso.Name(line)
			files, err := s.MakeFarm(p)
			if err != nil {
				return err
			}
			return env.Emit(map[string]any{"goods_in": files}, func(w io.Writer) {
				for _, f := range files {
					fmt.Fprintf(w, "made %d chips; once the site is up: perso chips receive --site %s %s\n", p.Chips, env.SiteDir, f)
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&sku, "product", "m2m-200s-mff2", "product whose blank chips are made")
	f.StringVar(&reel, "reel", "R-1", "name of the reel")
	f.StringVar(&line, "line", "", "the line whose farm it is; the first where none is said")
	f.Uint32Var(&p.Chips, "chips", 5000, "number of chips")
	f.Uint64Var(&p.Seed, "seed", 1, "seed of the chips")
	f.Float64Var(&p.Scale, "scale", 0.2, "chip time: 1 is as slow as real chips, 0 takes none")
	return c
}
