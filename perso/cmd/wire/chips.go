package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/product"
)

// farmMade is the result of "chip make".
type farmMade struct {
	GoodsIn []string `json:"goods_in"`
}

// newChipMakeCmd makes the virtual chips of a line that has none.
func newChipMakeCmd(env *cli.Env) *cobra.Command {
	var p site.FarmPlan
	var sku, reel, line string
	c := &cobra.Command{
		Use: "make", Short: "Make a farm of virtual chips for a line that has none; the goods-in files are then received",
		Long: cli.Describe("Makes the farm of one line, once, and the chip maker's goods-in list of each of its reels. Reel and seed are by the line's place,\n"+
			"R-1 and 1 for the first, R-2 and 2 for the second: a chip id is in stock once, and farms of one seed have the same.\n"+
			"None are added to a farm later: make as many as its lots will take, faulty ones among them, or end a lot short ('perso lot draft-short').", farmMade{}),
		Example: "  perso chip make --site ./site --chips 5000\n  perso chip make --site ./site --line line-2", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if p.Product, err = product.ParseSKU(sku); err != nil {
				return cli.Usage("--product: %v", err)
			}
			if reel != "" {
				if p.Reel, err = perso.ParseName(reel); err != nil {
					return cli.Usage("--reel: %v", err)
				}
			}
			s, err := site.Open(env.SiteDir)
			if err != nil {
				return err
			}
			p.Line = perso.Name(line)
			next, place, err := s.NextReel(p.Line)
			if err != nil {
				return err
			}
			if reel == "" {
				p.Reel = next
			}
			if !cmd.Flags().Changed("seed") {
				p.Seed = place
			}
			files, err := s.MakeFarm(p)
			if errors.Is(err, fs.ErrExist) {
				return cli.Hint(err, "nothing is made: a line has one farm, and no chips come after those that it was made of, and a reel has one list; --line names another line, --reel another reel; a lot whose chips are used up is ended short: %s", env.Command("lot draft-short", "LOT"))
			}
			if err != nil {
				return err
			}
			return env.Emit(farmMade{files}, func(w io.Writer) {
				for _, f := range files {
					fmt.Fprintf(w, "made %d chips; once the site is up: %s\n", p.Chips, env.Command("chips receive", "%s", cli.Quoted(f)))
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&sku, "product", "m2m-200s-mff2", "product whose blank chips are made")
	f.StringVar(&reel, "reel", "", "name of the reel (default R- and the line's place)")
	f.StringVar(&line, "line", "", "the line whose farm it is; the first where none is said")
	f.Uint32Var(&p.Chips, "chips", 5000, "number of chips")
	f.Uint64Var(&p.Seed, "seed", 0, "seed of the chips, and of their ids (default the line's place)")
	f.Float64Var(&p.Scale, "scale", 0.2, "chip time: 1 is as slow as real chips, 0 takes none")
	return c
}

// atFarm does something at the farm of a line of the site, the first line's where none is said, and hangs up.
func atFarm(ctx context.Context, env *cli.Env, line string, do func(*chipfarm.Client) error) (err error) {
	s, err := site.Open(env.SiteDir)
	if err != nil {
		return err
	}
	address, err := s.FarmOf(perso.Name(line))
	if err != nil {
		return err
	}
	farm, err := chipfarm.Dial(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, farm.Close()) }()
	return do(farm)
}

// binsSeen is the result of "chip bins": chips that were fed, and chips that lie in each bin, of all lots.
type binsSeen struct {
	Fed  uint64               `json:"fed"`
	Bins map[perso.Bin]uint64 `json:"bins"`
}

// newChipBinsCmd is the eyes of who counts: it asks the farm, as a person looks into the bins, and not the ledger, which may hide them.
func newChipBinsCmd(env *cli.Env) *cobra.Command {
	var line string
	c := &cobra.Command{
		Use: "bins", Short: "Look into the bins of a line's farm, as who counts them by hand",
		Long: cli.Describe("Counts the virtual chips that lie in each bin of a line's farm, of all lots that were made there, and those that were fed. It is for\n"+
			"'perso lot count', and asks neither ledger nor line.", binsSeen{}),
		Example: "  perso chip bins --site ./site\n  perso chip bins --site ./site --line line-2 --json", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var seen binsSeen
			if err := atFarm(cmd.Context(), env, line, func(farm *chipfarm.Client) (err error) {
				seen.Fed, seen.Bins, err = farm.Counters(cmd.Context())
				return err
			}); err != nil {
				return err
			}
			return env.Emit(seen, func(w io.Writer) {
				fmt.Fprintf(w, "fed %d\n", seen.Fed)
				for _, bin := range slices.Sorted(maps.Keys(seen.Bins)) {
					fmt.Fprintf(w, "%s %d\n", bin, seen.Bins[bin])
				}
			})
		},
	}
	c.Flags().StringVar(&line, "line", "", "the line whose farm it is; the first where none is said")
	return c
}
