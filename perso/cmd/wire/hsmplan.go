package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/capacity"
	"github.com/persoline/persoline/perso/cmd/cli"
)

// benchFlags say what is measured.
type benchFlags struct {
	tokenFlags
	sessions  []int
	each      time.Duration
	perCard   []string
	keyOrigin string
}

func (f *benchFlags) register(c *cobra.Command) {
	f.tokenFlags.register(c)
	c.Flags().IntSliceVar(&f.sessions, "sessions", []int{1, 2, 4, 8}, "how many operations at once, one measurement for each")
	c.Flags().DurationVar(&f.each, "each", time.Second, "time for one figure")
	c.Flags().StringSliceVar(&f.perCard, "per-card", nil, "calls that a card takes, VERB=COUNT, instead of the usual ones (\"perso bench\" counts them)")
	c.Flags().StringVar(&f.keyOrigin, "key-origin", "card", "who makes a card's key pair: card, or hsm")
}

// options reads the flags.
func (f *benchFlags) options() (capacity.Options, error) {
	o := capacity.Options{Sessions: f.sessions, Each: f.each, PerCard: capacity.DefaultPerCard()}
	switch f.keyOrigin {
	case "card":
	case "hsm":
		o.PerCard[hsm.VerbCardPair] = 1
	default:
		return o, cli.Usage("--key-origin: %q is neither card nor hsm", f.keyOrigin)
	}
	if f.perCard != nil {
		o.PerCard = capacity.PerCard{}
	}
	for _, pair := range f.perCard {
		name, number, _ := strings.Cut(pair, "=")
		verb, err := hsm.ParseVerb(name)
		if err != nil {
			return o, cli.Usage("--per-card: %v", err)
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || math.IsNaN(n) {
			return o, cli.Usage("--per-card: %q is not VERB=COUNT", pair)
		}
		o.PerCard[verb] = n
	}
	if err := o.Validate(); err != nil {
		return o, cli.Usage("%v", err)
	}
	return o, nil
}

// measure opens the token with as many sessions as are measured.
func (f *benchFlags) measure(ctx context.Context, env *cli.Env) (b capacity.Bench, err error) {
	o, err := f.options()
	if err != nil {
		return b, err
	}
	most := 0
	for _, n := range o.Sessions {
		most = max(most, n)
	}
	token, err := f.open(ctx, env, most)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, token.Close()) }()
	fmt.Fprintf(env.Err, "perso: measuring for about %v\n", time.Duration(len(o.Sessions)*(len(o.PerCard)+1))*o.Each)
	return capacity.Measure(ctx, token, o)
}

func newHSMBenchCmd(env *cli.Env) *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use: "bench", Short: "Measure an HSM: each operation, and how many cards a second it allows",
		Long: "Makes five keys on the token, counts each operation that cards need and whole cards (all their operations, one after the other) for\n" +
			"each number of sessions, and destroys the keys. It competes with whoever works on the token. \"hsm plan\" reads the output of --json.\n\n" +
			"With --json: version, measured_at, module, token, cpus, per_card, figures{what, sessions, count, seconds, per_second, median_ms, p99_ms}.",
		Example: `  perso hsm bench --site ./site
  perso hsm bench --module /opt/hsm/libpkcs11.so --token vault --pin-file /run/pin --sessions 1,8,32 --key-origin hsm --json > bench.json`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := f.measure(cmd.Context(), env)
			if err != nil {
				return err
			}
			return env.Emit(b, func(w io.Writer) { benchTable(w, b) })
		},
	}
	f.register(c)
	return c
}

func benchTable(w io.Writer, b capacity.Bench) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer t.Flush() // into memory
	fmt.Fprintf(w, "%s %s, token %s, serial %s, asked from %d CPUs\n\n", b.Module.Library, b.Module.Version, b.Token.Label, b.Token.Serial, b.CPUs)
	fmt.Fprint(t, "WHAT\tPER CARD\tSESSIONS\tPER SECOND\tMEDIAN MS\tP99 MS\t\n")
	for _, f := range b.Figures {
		per := "-"
		if n, ok := b.PerCard[f.What]; ok {
			per = strconv.FormatFloat(n, 'g', 4, 64)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%.1f\t%.3f\t%.3f\t\n", f.What, per, f.Sessions, f.PerSecond, f.MedianMS, f.P99MS)
	}
}

// measureHint is for whoever brings something else than a measurement.
const measureHint = "measure your own HSM: perso hsm bench --json > bench.json"

func newHSMPlanCmd(env *cli.Env) *cobra.Command {
	var f benchFlags
	var rate float64
	var file string
	c := &cobra.Command{
		Use: "plan", Short: "Say how many HSMs a rate of cards needs, by measurement only",
		Long: "Reads a measurement (\"perso hsm bench --json\"), or makes one, and says how many such HSMs carry the rate at seven tenths of what they\n" +
			"can do, and one more (N+1). Figures of a data sheet prove nothing here and are refused, with exit code 3: they are of one operation,\n" +
			"without network and login, and not of what a card takes. With --bench, --key-origin and --per-card say what the file must have been\n" +
			"measured for, and another one is refused likewise; flags that say how to measure are refused.\n\n" +
			"With --json: cards_per_second, cards_per_second_of_one, sessions, utilization, needed, spare, hsms, warnings.",
		Example: `  perso hsm plan --rate 100 --bench bench.json
  perso hsm plan --rate 25 --site ./site --key-origin hsm --json`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("rate") {
				return cli.Usage("--rate must be given")
			}
			if !(rate > 0) || rate > capacity.MaxRate {
				return cli.Usage("--rate: %v cards a second; want more than 0 and at most %d", rate, capacity.MaxRate)
			}
			if file != "" {
				if err := onlyMeasures(cmd); err != nil {
					return err
				}
			}
			b, err := f.measuredIn(cmd.Context(), env, file)
			if err == nil && file != "" {
				err = f.answers(cmd, file, b)
			}
			if err == nil {
				err = plan(env, b, rate)
			}
			var syntax *json.SyntaxError
			switch {
			case !errors.Is(err, capacity.ErrNotMeasured):
				return err
			case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // nothing was judged
				return cli.Hint(fmt.Errorf("reading %q: it is no JSON: %w", file, err), measureHint)
			case file == "":
				return cli.Hint(cli.Refuted("too little was measured: %v", err), "measure for longer: --each 10s")
			default:
				return cli.Hint(cli.Refuted("reading %q: %v", file, err), measureHint)
			}
		},
	}
	f.register(c)
	c.Flags().Float64Var(&rate, "rate", 0, "cards a second that the lines make together")
	c.Flags().StringVar(&file, "bench", "", "output of \"perso hsm bench --json\" (- is standard input); without it, measures now")
	return c
}

// onlyMeasures refuses a flag that says how to measure, beside a measurement that was made: its answer would be about something else.
func onlyMeasures(cmd *cobra.Command) error {
	asked := []string{"bench", "rate", "key-origin", "per-card"}
	var idle []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		measures := cmd.LocalNonPersistentFlags().Lookup(f.Name) != nil || f.Name == "site"
		if measures && !slices.Contains(asked, f.Name) {
			idle = append(idle, "--"+f.Name)
		}
	})
	if len(idle) == 0 {
		return nil
	}
	return cli.Usage("--bench reads what was measured before; how to measure is for a measurement that is made now: leave out %s, or --bench", strings.Join(idle, ", "))
}

// answers refuses a measurement of other cards than the command line asks about.
func (f *benchFlags) answers(cmd *cobra.Command, file string, b capacity.Bench) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	const again = "measure again, with the same flags: perso hsm bench --json > bench.json"
	if cmd.Flags().Changed("per-card") {
		if asked := callsOf(o.PerCard); !maps.Equal(b.PerCard, asked) {
			return cli.Hint(cli.Refuted("%q was measured for cards that take %s, not %s", file, callsText(b.PerCard), callsText(asked)), again)
		}
		return nil
	}
	origin := "card"
	if b.PerCard[hsm.VerbCardPair.String()] > 0 {
		origin = "hsm"
	}
	if cmd.Flags().Changed("key-origin") && origin != f.keyOrigin {
		return cli.Hint(cli.Refuted("%q was measured for cards whose key pair is made by the %s, not by the %s", file, origin, f.keyOrigin), again)
	}
	return nil
}

// callsOf gives a card's calls by name, as a measurement has them.
func callsOf(p capacity.PerCard) map[string]float64 {
	out := map[string]float64{}
	for v, n := range p {
		out[v.String()] = n
	}
	return out
}

func callsText(calls map[string]float64) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		words = append(words, fmt.Sprintf("%s=%g", name, calls[name]))
	}
	return strings.Join(words, ",")
}

// measuredIn takes the measurement from a file, or makes one.
func (f *benchFlags) measuredIn(ctx context.Context, env *cli.Env, file string) (capacity.Bench, error) {
	switch file {
	case "":
		return f.measure(ctx, env)
	case "-":
		return capacity.ReadBench(env.In, env.Now())
	}
	in, err := os.Open(file)
	if err != nil {
		return capacity.Bench{}, fmt.Errorf("opening the measurement: %w", err)
	}
	defer in.Close() // only read
	return capacity.ReadBench(in, env.Now())
}

func plan(env *cli.Env, b capacity.Bench, rate float64) error {
	p, err := b.PlanFor(rate, env.Now())
	if err != nil {
		return err
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(env.Err, "perso: warning: %s\n", w)
	}
	return env.Emit(p, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s allows %.1f cards a second in %d sessions\n", b.Module.Library, b.Module.Version, p.PerHSM, p.Sessions)
		fmt.Fprintf(w, "%g cards a second need %d at %.0f %% of that, and %d more that may fail: %d HSMs\n", p.Rate, p.Needed, p.Utilization*100, p.Spare, p.HSMs)
	})
}
