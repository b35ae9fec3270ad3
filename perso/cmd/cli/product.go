package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/cmd/dryrun"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/script"
)

func newProductCmd(env *Env) *cobra.Command {
	return Group("product", "What can be ordered: chips, packages, and what each of them proves", `  perso product list
  perso product show m2m-200s-mff2
  perso product check deploy/products`, newProductListCmd(env), newProductShowCmd(env), newProductCheckCmd(env))
}

// productList is the result of "product list".
type productList struct {
	Products []productLine `json:"products"`
}

type productLine struct {
	SKU       product.SKU       `json:"sku"`
	Family    product.Family    `json:"family"`
	Package   product.Package   `json:"package"`
	Interface product.Interface `json:"interface"`
	Grade     product.Grade     `json:"grade"`
	Memory    uint32            `json:"memory_bytes"`
	Makeable  bool              `json:"makeable"`
	Reason    string            `json:"reason,omitempty"`
}

func newProductListCmd(env *Env) *cobra.Command {
	var folder string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the products, and which of them can be made",
		Long:  Describe("Lists the catalogue. A product that cannot be made says why: orders for it are refused with that reason.", productList{}),
		Example: `  perso product list
  perso product list --products deploy/products --json`,
		Args: Takes(),
		RunE: func(*cobra.Command, []string) error {
			cat, _, err := env.products(folder)
			if err != nil {
				return err
			}
			l := productList{Products: []productLine{}}
			for _, sku := range cat.SKUs() {
				p, _ := cat.Get(sku)
				l.Products = append(l.Products, lineOf(p))
			}
			return env.Emit(l, l.write)
		},
	}
	productsFlag(c, &folder)
	return c
}

func productsFlag(c *cobra.Command, folder *string) {
	c.Flags().StringVar(folder, "products", "", "folder of products (default SITE/catalogue/products, or deploy/products where there is no site)")
}

func lineOf(p product.Product) productLine {
	return productLine{SKU: p.SKU, Family: p.Family, Package: p.Package, Interface: p.Interface, Grade: p.Grade, Memory: p.MemoryBytes, Makeable: p.Makeable, Reason: p.Reason}
}

func (l productList) write(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SKU\tFAMILY\tPACKAGE\tINTERFACE\tGRADE\tMEMORY\tORDERS")
	for _, p := range l.Products {
		taken := "taken"
		if !p.Makeable {
			taken = "refused: " + p.Reason
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d KiB\t%s\n", p.SKU, p.Family, p.Package, p.Interface, p.Grade, p.Memory>>10, taken)
	}
	_ = t.Flush() // w takes everything: it is a buffer
}

// products loads a catalogue of products and says from where.
func (env *Env) products(folder string) (product.Catalogue, string, error) {
	folder, _ = env.catalogueFolders(folder, "")
	if !isFolder(folder) {
		return product.Catalogue{}, folder, Hint(fmt.Errorf("looking for the products: there is no folder %q", folder), "--products names the folder, or --site a site that has one")
	}
	cat, err := product.LoadDir(os.DirFS(folder))
	if err != nil {
		return cat, folder, Hint(fmt.Errorf("products in %q: %w", folder, err), "'perso product check' names every fault")
	}
	return cat, folder, nil
}

// productShown is the result of "product show". What a product does not have is left out.
type productShown struct {
	productLine
	Title         string            `json:"title"`
	Certification string            `json:"certification"`
	ChipOS        string            `json:"chip_os"`
	ATR           string            `json:"atr,omitempty"`
	ChipID        string            `json:"chip_id,omitempty"`
	Proof         []product.Proof   `json:"proof,omitempty"`
	AuthProof     string            `json:"auth_proof,omitempty"`
	Factory       string            `json:"factory_channel,omitempty"`
	KMC           string            `json:"kmc,omitempty"`
	Script        string            `json:"script,omitempty"`
	FileSystem    string            `json:"file_system,omitempty"`
	Services      []product.Service `json:"services,omitempty"`
	AIDs          []productAID      `json:"aids,omitempty"`
	Hash          digest            `json:"hash"`
	Time          *productTime      `json:"time,omitempty"`
}

// productTime is what a chip of the product takes, by the timing model of the virtual chip.
type productTime struct {
	Commands int     `json:"commands"`
	Seconds  float64 `json:"seconds"` // in contact with the chip
	Index    float64 `json:"index_seconds"`
	Heads    int     `json:"heads"`
	UPH      int     `json:"units_per_hour"` // of all heads, when the software never lets one wait
}

type productAID struct {
	Of  string `json:"of"`
	AID string `json:"aid"`
}

func newProductShowCmd(env *Env) *cobra.Command {
	var folder string
	var timed bool
	var t productTime
	c := &cobra.Command{
		Use:   "show SKU",
		Short: "Show one product: the chip, its factory channel, its script, its proofs",
		Long: Describe("Shows what the catalogue says of a product. The hash is the one that officers release. With --time the script is played to a virtual\n"+
			"chip, whose timing model says how long a real one takes, and how many units an hour so many heads make then.", productShown{}),
		Example: `  perso product show m2m-200s-mff2
  perso product show m2m-200s-mff2 --time --heads 32
  perso product show basic-100m-mff2 --json`,
		Args: Takes("SKU"),
		RunE: func(_ *cobra.Command, args []string) error {
			cat, folder, err := env.products(folder)
			if err != nil {
				return err
			}
			p, ok := cat.Get(product.SKU(args[0]))
			if !ok {
				hint := "'perso product list' names them"
				if near, ok := cat.Nearest(product.SKU(args[0])); ok {
					hint = fmt.Sprintf("did you mean %q?", near)
				}
				return Hint(fmt.Errorf("the product %q is not in the catalogue %q", args[0], folder), "%s", hint)
			}
			s := shownProduct(p)
			if timed {
				if err := t.measure(p, folder); err != nil {
					return err
				}
				s.Time = &t
			}
			return env.Emit(s, s.write)
		},
	}
	productsFlag(c, &folder)
	c.Flags().BoolVar(&timed, "time", false, "play the script to a virtual chip and say what a real one takes")
	c.Flags().IntVar(&t.Heads, "heads", 16, "with --time: heads of the line")
	c.Flags().Float64Var(&t.Index, "index", 0.3, "with --time: seconds that the handler takes to bring the next chip")
	return c
}

// measure plays the product's script once. A head makes a chip in its contact time and the handler's.
func (t *productTime) measure(p product.Product, folder string) error {
	switch {
	case p.Script == "":
		return Hint(fmt.Errorf("the product %q cannot be made: %s", p.SKU, p.Reason), "leave out --time: there is no script to play")
	case t.Heads < 1 || t.Index < 0:
		return Usage("--heads is at least 1, and --index at least 0")
	}
	packages, err := dryrun.Beside(folder, p)
	if err != nil {
		return err
	}
	s, err := compiledWith(p, folder, dryrun.WithPackages(script.StandardCatalogue(addressBytes, keygen.CertValueBytes), packages))
	if err != nil {
		return err
	}
	trace, err := dryrun.Run(s, dryrun.Config{Product: p, Packages: packages})
	if err = errors.Join(err, trace.Failed); err != nil {
		return fmt.Errorf("playing the script of %q to a virtual chip: %w", p.SKU, err)
	}
	for _, e := range trace.Entries {
		if e.Kind == dryrun.KindCommand {
			t.Commands++
		}
	}
	t.Seconds = trace.Physical.Seconds()
	const hour = 3600
	t.UPH = int(hour * float64(t.Heads) / (t.Seconds + t.Index))
	return nil
}

func shownProduct(p product.Product) productShown {
	s := productShown{productLine: lineOf(p), Title: p.Title, Certification: p.Certification, ChipOS: p.ChipOS, Hash: p.Hash()}
	if p.Script == "" {
		return s
	}
	s.ATR, s.ChipID, s.Proof, s.AuthProof = p.ATR.String(), string(p.ChipID), p.Proof, string(p.AuthProof)
	s.Factory = fmt.Sprintf("SCP%s i=%02X under KVN %02X, then KVN %02X", p.Factory.SCP, p.Factory.I, p.Factory.KVN, p.ISDKVN)
	if p.Factory.SCP == product.SCPNone {
		s.Factory = "none: written under the maker's transport code, by a line that is trusted"
	}
	s.FileSystem, s.Services = p.Profile.FileSystem, p.Profile.Services
	s.KMC, s.Script = string(p.Factory.KMC), p.Script
	for _, a := range []struct {
		of  string
		aid product.AID
	}{{"ISD", p.AIDs.ISD}, {"ISD-R", p.AIDs.ISDR}, {"ECASD", p.AIDs.ECASD}, {"load file", p.AIDs.LoadFile}, {"module", p.AIDs.Module}, {"ISD-P", p.AIDs.ISDP}, {"USIM", p.AIDs.USIM}, {"ISIM", p.AIDs.ISIM}} {
		if text := a.aid.String(); text != "" {
			s.AIDs = append(s.AIDs, productAID{a.of, text})
		}
	}
	return s
}

func (s productShown) write(w io.Writer) {
	orders := "taken"
	if !s.Makeable {
		orders = "refused: " + s.Reason
	}
	proofs := make([]string, len(s.Proof))
	for i, p := range s.Proof {
		if proofs[i] = string(p); p == product.ProofAuthenticate {
			proofs[i] += " (" + s.AuthProof + ")"
		}
	}
	lines := [][2]string{
		{"product", string(s.SKU)}, {"title", s.Title}, {"orders", orders}, {"family", string(s.Family)}, {"package", string(s.Package)},
		{"interface", string(s.Interface)}, {"grade", string(s.Grade)}, {"certification", s.Certification}, {"chip OS", s.ChipOS},
		{"memory", fmt.Sprintf("%d bytes", s.Memory)}, {"ATR", s.ATR}, {"chip id by", s.ChipID}, {"secure channel", s.Factory}, {"maker's key", s.KMC},
		{"script", s.Script}, {"file system", s.FileSystem}, {"proofs", strings.Join(proofs, ", ")},
	}
	for _, service := range s.Services {
		lines = append(lines, [2]string{"takes packages", "that demand " + string(service)})
	}
	for _, a := range s.AIDs {
		lines = append(lines, [2]string{"AID of " + a.Of, a.AID})
	}
	lines = append(lines, [2]string{"SHA-256", s.Hash.String()})
	if t := s.Time; t != nil {
		lines = append(lines, [2]string{"time", fmt.Sprintf("%.2f s for %d commands, and %.2f s for the next chip: %d units an hour with %d heads", t.Seconds, t.Commands, t.Index, t.UPH, t.Heads)})
	}
	for _, line := range lines {
		if line[1] != "" {
			fmt.Fprintf(w, "%-17s %s\n", line[0], line[1])
		}
	}
}

// productsChecked is the result of "product check".
type productsChecked struct {
	Folder   string   `json:"folder"`
	OK       bool     `json:"ok"`
	Products int      `json:"products"`
	Faults   []string `json:"faults"`
}

func newProductCheckCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "check FOLDER",
		Short: "Find every fault of a folder of products and of their scripts",
		Long:  Describe("Reads all product files of a folder and compiles the scripts that they name. The exit code is 3 when one has a fault.", productsChecked{}),
		Example: `  perso product check deploy/products
  perso product check ./site/catalogue/products --json`,
		Args: Takes("FOLDER"),
		RunE: func(_ *cobra.Command, args []string) error {
			if !isFolder(args[0]) {
				return Hint(fmt.Errorf("looking for the products: there is no folder %q", args[0]), "give the folder in which the product files lie")
			}
			c := productsChecked{Folder: args[0], Faults: []string{}}
			cat, err := product.LoadDir(os.DirFS(args[0]))
			if err != nil {
				c.Faults = strings.Split(err.Error(), "\n")
			}
			c.Products = len(cat.SKUs())
			for _, sku := range cat.SKUs() {
				p, _ := cat.Get(sku)
				if err := compiles(p, args[0]); err != nil {
					c.Faults = append(c.Faults, fmt.Sprintf("%s: %v", sku, err))
				}
			}
			c.OK = len(c.Faults) == 0
			if err := env.Emit(c, c.write); err != nil || c.OK {
				return err
			}
			return Refuted("the catalogue %q has %d faults", c.Folder, len(c.Faults))
		},
	}
}

// addressBytes stands in for the order's SM-SR address, whose length no fault of a script depends on.
const addressBytes = 7

func compiles(p product.Product, folder string) error {
	if p.Script == "" {
		return nil
	}
	_, err := compiledWith(p, folder, anyPackages(script.StandardCatalogue(addressBytes, keygen.CertValueBytes)))
	if err == nil && p.Profile.FileSystem != "" {
		err = checkFileSystem(p, folder)
	}
	return err
}

// anyPackages stands in for the packages of an order, whose lengths no fault of a script depends on either.
func anyPackages(c script.Catalogue) script.Catalogue {
	const usual = 4000
	return c.WithPackage(script.PackageBootstrap, usual).WithPackage(script.PackageOperational, usual)
}

func compiledWith(p product.Product, folder string, vars script.Catalogue) (*script.Script, error) {
	s, err := script.CompileFile(os.DirFS(folder), p.Script, vars)
	if err != nil {
		return nil, fmt.Errorf("script %q: %w", p.Script, err)
	}
	return s, nil
}

func (c productsChecked) write(w io.Writer) {
	for _, f := range c.Faults {
		fmt.Fprintln(w, f)
	}
	if c.OK {
		fmt.Fprintf(w, "%d products in %s, without a fault\n", c.Products, c.Folder)
	}
}
