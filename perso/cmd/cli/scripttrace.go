package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/cmd/dryrun"
)

// scriptTraced is the result of "script trace".
type scriptTraced struct {
	OK         bool          `json:"ok"`
	Name       string        `json:"name"`
	Hash       string        `json:"hash"`
	Product    string        `json:"product"`
	Keys       string        `json:"keys"` // always "test"
	Failed     string        `json:"failed,omitempty"`
	Commands   int           `json:"commands"`
	PhysicalMS float64       `json:"physical_ms"`
	Entries    []scriptEntry `json:"entries"`

	Interruptions int            `json:"interruptions"` // that were tried
	Broken        []scriptBroken `json:"broken"`        // after which the chip could not be completed
}

type scriptBroken struct {
	Command  int    `json:"command"`
	Label    string `json:"label"`
	Executed bool   `json:"executed"`
	Failed   string `json:"failed"`
}

type scriptEntry struct {
	Contact int    `json:"contact"`
	Act     int    `json:"act"`
	Phase   string `json:"phase,omitempty"`
	Section string `json:"section,omitempty"`
	Label   string `json:"label"`
	Kind    string `json:"kind"`
	Secure  bool   `json:"secure"`
	Command string `json:"command,omitempty"`
	Expect  string `json:"expect,omitempty"`
	Answer  string `json:"answer,omitempty"`
	SW      string `json:"sw,omitempty"`
	Meaning string `json:"meaning,omitempty"`
	Pages   int    `json:"pages"`
}

// traceFlags are the flags of "script trace".
type traceFlags struct {
	scriptSource
	product   string
	set, when []string
	again     bool
	interrupt bool
	full      bool
}

func newScriptTraceCmd(env *Env) *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use:   "trace FILE",
		Short: "Try a script on a virtual chip",
		Long: Describe("Plays a script on a virtual chip with made-up values under test keys, and shows each command, its answer, and what the status means.\n"+
			"No HSM, site or line is needed, and nothing of it is a secret; where a real card's secret goes, its name stands. The product is the\n"+
			"first one beside the script that is made with it, or that of --product. The exit code is 3 when the chip does not answer as the script expects.", scriptTraced{}),
		Example: `  perso script trace deploy/products/m2m-200s.script
  perso script trace deploy/products/m2m-200s.script --interrupt
  perso script trace card.script --product card.json --set MY.SERIAL=0011223344556677 --again`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return traceScript(env, &f, args[0]) },
	}
	f.flags(c)
	f.packageFlags(c)
	c.Flags().StringVar(&f.product, "product", "", "file of the product")
	c.Flags().StringArrayVar(&f.set, "set", nil, "NAME=HEX: test value of a variable; again for another")
	c.Flags().StringArrayVar(&f.when, "when", nil, "NAME=true|false: decision that the vault would make; again for another")
	c.Flags().BoolVar(&f.again, "again", false, "present the chip a second time, when all is done")
	c.Flags().BoolVar(&f.interrupt, "interrupt", false, "lose contact at each command in turn, and present the chip again")
	c.Flags().BoolVar(&f.full, "full", false, "do not shorten commands and answers")
	return c
}

// config reads the flags into what a dry run needs.
func (f *traceFlags) config(env *Env) (c dryrun.Config, err error) {
	c = dryrun.Config{Values: map[string][]byte{}, When: map[string]bool{}, Again: f.again}
	for _, s := range f.set {
		name, digits, _ := strings.Cut(s, "=")
		value, err := hex.DecodeString(digits)
		if err != nil || len(value) == 0 {
			return c, Usage("--set %q is not NAME=HEX", s)
		}
		c.Values[name] = value
	}
	for _, s := range f.when {
		name, decided, _ := strings.Cut(s, "=")
		if name == "" || decided != "true" && decided != "false" {
			return c, Usage("--when %q is neither NAME=true nor NAME=false", s)
		}
		c.When[name] = decided == "true"
	}
	c.Product, err = f.productOf(env, f.product)
	return c, err
}

func traceScript(env *Env, f *traceFlags, path string) error {
	if err := f.open(path); err != nil {
		return err
	}
	defer f.folder.Close()                   // only read
	if _, err := os.Stat(path); err != nil { // before a product is looked for beside it
		return fmt.Errorf("opening the script: %w", err)
	}
	config, err := f.config(env)
	if err != nil {
		return err
	}
	if err := f.readPackages(); err != nil {
		return err
	}
	config.Packages = f.packages
	compiled, err := f.compile()
	if err != nil {
		return err
	}
	trace, err := dryrun.Run(compiled, config)
	if err != nil {
		return fmt.Errorf("trying script %q: %w", compiled.Name, err)
	}
	r := tracedOf(trace, string(config.Product.SKU))
	r.Name, r.Hash = compiled.Name, digest(compiled.Hash()).String()
	if f.interrupt && r.OK {
		all, err := dryrun.Interrupt(compiled, config)
		if err != nil {
			return fmt.Errorf("interrupting script %q: %w", compiled.Name, err)
		}
		r.interrupted(all)
	}
	fmt.Fprintln(env.Err, "A virtual chip, made-up values, test keys: nothing here is of a real card.")
	if err := env.Emit(r, func(w io.Writer) { r.write(w, f.full) }); err != nil {
		return err
	}
	switch {
	case r.Failed != "":
		return Refuted("the chip did not answer as the script expects: %s", r.Failed)
	case !r.OK:
		return Hint(Refuted("after %d of %d interruptions the chip could not be completed", len(r.Broken), r.Interruptions), "look at DONE and REDO of the sections around")
	}
	return nil
}

func tracedOf(trace dryrun.Trace, sku string) scriptTraced {
	r := scriptTraced{OK: trace.Failed == nil, Product: sku, Keys: "test", PhysicalMS: trace.Physical.Seconds() * 1000, Entries: []scriptEntry{}, Broken: []scriptBroken{}}
	for _, e := range trace.Entries {
		r.add(e)
	}
	if trace.Failed != nil {
		r.Failed = trace.Failed.Error()
	}
	return r
}

func (r *scriptTraced) interrupted(all []dryrun.Interruption) {
	r.Interruptions = len(all)
	for _, i := range all {
		if i.Failed != nil {
			r.OK = false
			r.Broken = append(r.Broken, scriptBroken{i.Command, i.Label, i.Executed, i.Failed.Error()})
		}
	}
}

func (r *scriptTraced) add(e dryrun.Entry) {
	t := scriptEntry{Contact: e.Contact, Act: e.Act, Phase: string(e.Phase), Section: e.Section, Label: e.Label, Kind: string(e.Kind), Secure: e.Secure,
		Command: e.Command, Expect: e.Expect, Answer: strings.ToUpper(hex.EncodeToString(e.Answer)), Meaning: e.Meaning, Pages: e.Cost.Pages}
	if e.Kind == dryrun.KindCommand {
		t.SW = apdu.SW(e.SW).String()
		r.Commands++
	}
	r.Entries = append(r.Entries, t)
}

// widestTraced is how much of a command or an answer a line shows.
const widestTraced = 72

func (r *scriptTraced) write(w io.Writer, full bool) {
	fmt.Fprintf(w, "%s, %s, test keys\n", r.Name, r.Product)
	var before scriptEntry
	for i, e := range r.Entries {
		if i == 0 || e.Contact != before.Contact || e.Act != before.Act || e.Phase != before.Phase || e.Section != before.Section {
			e.writeHead(w)
		}
		before = e
		switch e.Kind {
		case string(dryrun.KindSkipped):
			fmt.Fprintln(w, "      left out: the chip has it, or the vault decides so")
		case string(dryrun.KindPower):
			fmt.Fprintf(w, "      %-22s power on, answer to reset %s\n", e.Label, e.Answer)
		default:
			channel := "  "
			if e.Secure {
				channel = "SM"
			}
			fmt.Fprintf(w, "   %s %-22s %s\n%29s%s %s  %s\n", channel, e.Label, shortened(e.Command, full), "", e.SW, e.Meaning, shortened(e.Answer, full))
		}
	}
	if r.Failed == "" {
		fmt.Fprintf(w, "\ndone: %d commands, %.1f s on a real chip by the timing model\n", r.Commands, r.PhysicalMS/1000)
	} else {
		fmt.Fprintf(w, "\nfailed after %d commands: %s\n", r.Commands, r.Failed)
	}
	if r.Interruptions > 0 {
		fmt.Fprintf(w, "interrupted %d times, %d of them in vain\n", r.Interruptions, len(r.Broken))
	}
	for _, b := range r.Broken {
		when := "before"
		if b.Executed {
			when = "after"
		}
		fmt.Fprintf(w, "   contact lost %s command %d, %s: %s\n", when, b.Command, b.Label, b.Failed)
	}
}

func (e scriptEntry) writeHead(w io.Writer) {
	fmt.Fprintf(w, "\ncontact %d", e.Contact)
	if e.Act >= 0 {
		fmt.Fprintf(w, "  act %d", e.Act)
	}
	if e.Phase != "" {
		fmt.Fprintf(w, "  %s", e.Phase)
	}
	if e.Section != "" {
		fmt.Fprintf(w, "  section %s", e.Section)
	}
	fmt.Fprintln(w)
}

func shortened(text string, full bool) string {
	if full || len(text) <= widestTraced {
		return text
	}
	return fmt.Sprintf("%s… (%d characters)", text[:widestTraced], len(text))
}
