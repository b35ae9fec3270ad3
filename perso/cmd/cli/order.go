package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/statement"
)

func newOrderCmd(env *Env) *cobra.Command {
	return Group("order", "Take orders in and draft their releases", `  perso order check order.json
  perso order submit order.json
  perso order list
  perso order draft DEMO-2027-0002 -o demo.release`,
		newOrderCheckCmd(env), newOrderSubmitCmd(env), newOrderListCmd(env), newOrderDraftCmd(env), newOrderDeskCmd(env, "draft-taken", statement.KindTaken), newOrderDeskCmd(env, "draft-cancel", statement.KindCancelled), newOrderKiFileCmd(env))
}

// fault is one thing wrong with an order file.
type fault struct {
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Field  string `json:"field"`
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

// complaint is the fault as an error, with its place in the file.
func (f fault) complaint(file string) error {
	place := file + ":"
	if f.Line > 0 {
		place += fmt.Sprintf("%d:", f.Line)
	}
	if f.Column > 0 {
		place += fmt.Sprintf("%d:", f.Column)
	}
	if f.Field != "" {
		place += " " + f.Field + ":"
	}
	return console.Fail(ExitFailed, fmt.Errorf("%s %s", place, f.Reason), f.Hint)
}

func complaints(file string, faults []fault) error {
	var all []error
	for _, f := range faults {
		all = append(all, f.complaint(file))
	}
	return errors.Join(all...)
}

// checked is the result of "order check".
type checked struct {
	File     string      `json:"file"`
	OK       bool        `json:"ok"`
	Order    order.ID    `json:"order,omitempty"`
	Hash     *digest     `json:"hash,omitempty"`
	Product  product.SKU `json:"product,omitempty"`
	Quantity uint64      `json:"quantity,omitempty"`
	Spares   uint64      `json:"spares,omitempty"`
	Faults   []fault     `json:"faults"`
	KiFaults []fault     `json:"ki_faults,omitempty"` // of the file of Ki; looked for when the order has none
}

func newOrderCheckCmd(env *Env) *cobra.Command {
	var products, partners, ki string
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Find every fault of an order file, without a site",
		Long: Describe("Reads an order file (- is standard input) and holds it against the catalogue of products and partners. Every fault is\n"+
			"reported with its place, and with --ki every fault of the customer's file of Ki, once the order has none. Whether the\n"+
			"numbers are still free, only the ledger knows: submit says it. Whether the receive key opens the Ki, only the vault.", checked{}),
		Example: `  perso order check order.json
  perso order check order.json --products deploy/products --partners deploy/partners
  perso order check order.json --ki order.ki
  perso order check - --json < order.json`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			cat, err := env.catalogue(products, partners)
			if err != nil {
				return err
			}
			return checkOrder(env, cat, args[0], ki)
		},
	}
	c.Flags().StringVar(&products, "products", "", "folder of products (default SITE/catalogue/products, or deploy/products where there is no site)")
	c.Flags().StringVar(&ki, "ki", "", "the customer's file of Ki, for an order with ki_source customer")
	c.Flags().StringVar(&partners, "partners", "", "folder of partners (default SITE/catalogue/partners, or deploy/partners where there is no site)")
	return c
}

// catalogueFolders completes what the flags leave open: the site's own catalogue, or the one that comes with the program
// when nobody named a site and there is none here.
func (env *Env) catalogueFolders(products, partners string) (string, string) {
	site := filepath.Join(env.SiteDir, "catalogue")
	if _, err := os.Stat(site); errors.Is(err, os.ErrNotExist) && products == "" && partners == "" && env.SiteDir == defaultSite {
		shipped := [2]string{filepath.Join("deploy", "products"), filepath.Join("deploy", "partners")}
		if isFolder(shipped[0]) && isFolder(shipped[1]) {
			fmt.Fprintf(env.Err, "perso: there is no site in %s: checking against %s and %s\n", env.SiteDir, shipped[0], shipped[1])
			return shipped[0], shipped[1]
		}
	}
	if products == "" {
		products = filepath.Join(site, "products")
	}
	if partners == "" {
		partners = filepath.Join(site, "partners")
	}
	return products, partners
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// catalogue loads what the site can make and for whom.
func (env *Env) catalogue(products, partners string) (order.Catalogue, error) {
	const hint = "--products and --partners name the folders, or --site a site that has them"
	products, partners = env.catalogueFolders(products, partners)
	for _, f := range []struct{ what, dir string }{{"products", products}, {"partners", partners}} {
		if !isFolder(f.dir) {
			return order.Catalogue{}, Hint(fmt.Errorf("looking for the %s: there is no folder %q", f.what, f.dir), hint)
		}
	}
	p, err := product.LoadDir(os.DirFS(products))
	if err != nil {
		return order.Catalogue{}, Hint(fmt.Errorf("products in %q: %w", products, err), hint)
	}
	s, err := order.LoadSite(os.DirFS(partners))
	if err != nil {
		return order.Catalogue{}, Hint(fmt.Errorf("partners in %q: %w", partners, err), hint)
	}
	// Profile packages lie beside the products, in a site as in what is delivered.
	profiles := profile.Open(os.DirFS(filepath.Join(filepath.Dir(filepath.Clean(products)), "profiles")))
	return order.Catalogue{Products: p, Site: s, Profiles: profiles}, nil
}

func checkOrder(env *Env, cat order.Catalogue, path, kiPath string) error {
	file, err := env.read(path, order.MaxFileBytes)
	if err != nil {
		return err
	}
	ki, err := env.readKi(kiPath)
	if err != nil {
		return err
	}
	result := checked{File: path, Faults: []fault{}}
	o, err := order.Intake(bytes.NewReader(file), cat)
	var list *order.FaultList
	switch {
	case errors.As(err, &list):
		result.Faults = faultsOf(*list)
	case err != nil:
		return fmt.Errorf("checking %q: %w", path, err)
	default:
		if result.KiFaults, err = checkKi(o, cat.Site, kiPath, ki); err != nil {
			return fmt.Errorf("checking %q: %w", kiPath, err)
		}
		hash := digest(o.Hash())
		result.OK, result.Order, result.Hash = len(result.KiFaults) == 0, o.ID, &hash
		result.Product, result.Quantity, result.Spares = o.Product, o.Quantity, o.Spares
	}
	err = env.Emit(result, func(w io.Writer) {
		if result.OK {
			fmt.Fprintf(w, "order %s can be made: %d %s and %d spares\nhash %s\n", o.ID, o.Quantity, o.Product, o.Spares, result.Hash)
		}
	})
	if result.OK && kiPath == "" && o.KiSource == order.KiCustomer {
		env.Advise("its Ki come in a file of their own: %s", env.Command("order check", "%s --ki KIFILE", Quoted(path)))
	}
	if result.OK { // what the site's policy keeps beside, the ledger says
		env.adviseKept(statement.Policy{}.With(o.Asks, o.Quantity).Sampling.Undelivered(o.Quantity), o.Quantity)
	}
	return errors.Join(err, complaints(path, result.Faults), complaints(kiPath, result.KiFaults))
}

// submitted is the result of "order submit".
type submitted struct {
	Accepted  bool       `json:"accepted"`
	Order     string     `json:"order,omitempty"`
	Hash      *digest    `json:"hash,omitempty"`
	Lot       perso.Name `json:"lot,omitempty"`
	Duplicate bool       `json:"duplicate"`
	Faults    []fault    `json:"faults"`
	KiFaults  []fault    `json:"ki_faults,omitempty"`    // of the file of Ki; looked for when the order has none
	Kept      uint64     `json:"kept_samples,omitempty"` // good units that quality keeps at least, of those ordered
}

func newOrderSubmitCmd(env *Env) *cobra.Command {
	var ki string
	c := &cobra.Command{
		Use:   "submit FILE",
		Short: "Hand an order file to the ledger",
		Long: Describe("Hands an order file (- is standard input) to the ledger, which accepts it and reserves its numbers, or refuses it and says why.\n"+
			"The same content again is the same order. Ki that the customer supplies come in a file of their own.", submitted{}),
		Example: `  perso order submit order.json
  perso order submit order.json --ki order.ki
  perso order submit - < order.json`,
		Args: Takes("FILE"),
		RunE: env.online(uploading, func(ctx context.Context, office bus.Requester, args []string) error {
			return submitOrder(ctx, env, office, args[0], ki)
		}),
	}
	c.Flags().StringVar(&ki, "ki", "", "the customer's file of Ki, for an order with ki_source customer")
	return c
}

func submitOrder(ctx context.Context, env *Env, office bus.Requester, path, kiPath string) error {
	// One byte too many is enough for the ledger to refuse the file, and to record that it did.
	file, err := env.head(path, order.MaxFileBytes+1)
	if err != nil {
		return err
	}
	ki, err := env.readKi(kiPath)
	if err != nil {
		return err
	}
	ref, err := sendKi(ctx, office, kiPath, ki)
	if err != nil {
		return err
	}
	r, err := ask[bus.SubmitReply](ctx, office, bus.OfficeSubmit, bus.SubmitRequest{File: file, Ki: ref})
	if err != nil {
		return err
	}
	result := submitted{Accepted: len(r.Faults)+len(r.KiFaults) == 0, Order: r.Order, Lot: r.Lot, Duplicate: r.Duplicate, Faults: toldFaults(r.Faults), KiFaults: toldFaults(r.KiFaults), Kept: r.Kept}
	if result.Accepted {
		hash := digest(r.Hash)
		result.Hash = &hash
	}
	err = env.Emit(result, func(w io.Writer) {
		switch {
		case r.Duplicate:
			fmt.Fprintf(w, "order %s is known already, for lot %s\nhash %s\n", r.Order, r.Lot, result.Hash)
		case result.Accepted:
			fmt.Fprintf(w, "order %s is accepted, for lot %s\nhash %s\n", r.Order, r.Lot, result.Hash)
		}
	})
	if result.Accepted && !r.Duplicate {
		env.Advise("next: %s", env.Command("order draft", "%s -o %s.release", r.Order, r.Lot))
	}
	if result.Accepted && r.Kept > 0 {
		env.Advise("%s: %d or a few more. Order as many more where the customer is to have all", keptHint, r.Kept)
	}
	return errors.Join(err, complaints(path, result.Faults), complaints(kiPath, result.KiFaults))
}

// drafted is the result of "order draft" and "lot draft-close".
type drafted struct {
	Kind string     `json:"kind"`
	Lot  perso.Name `json:"lot"`
	Hash digest     `json:"hash"`
	File string     `json:"file,omitempty"`
	Body string     `json:"body"`
}

func newOrderDraftCmd(env *Env) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "draft ORDER",
		Short: "Write the release of an order, for officers to read and sign",
		Long:  Describe("Writes the release of an accepted order: what two officers sign so that the vault makes the lot, and nothing else.", drafted{}),
		Example: `  perso order draft DEMO-2027-0002 -o demo.release
  perso order draft DEMO-2027-0002 | less`,
		Args: Takes("ORDER"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			r, err := ask[bus.DraftReply](ctx, office, bus.OfficeDraft, bus.DraftRequest{Order: args[0]})
			if err != nil {
				return env.noOrder(err)
			}
			release, err := statement.ParseRelease(r.Body)
			if err != nil {
				return fmt.Errorf("reading the draft: %w", err)
			}
			err = env.handOut(statement.KindRelease, release.Lot, r.Body, out)
			env.adviseKept(r.Kept, release.Good)
			return err
		}),
	}
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (default standard output)")
	return c
}

// handOut gives a body to sign to its officers: into a file, or to standard output.
func (env *Env) handOut(kind string, lot perso.Name, body []byte, path string) error {
	if err := statement.CheckReason(body); err != nil {
		return Usage("--reason: %w", err)
	}
	if path != "" {
		if err := create(path, body); err != nil {
			return err
		}
	}
	what, who := kind, "those whose duty it is"
	if lot != "" {
		what, who = fmt.Sprintf("%s of lot %s", kind, lot), "two officers"
	}
	hash := digest(statement.Signed{Body: body}.Hash())
	err := env.Emit(drafted{Kind: kind, Lot: lot, Hash: hash, File: path, Body: string(body)}, func(w io.Writer) {
		if path == "" {
			w.Write(body)
			return
		}
		fmt.Fprintf(w, "%s is in %s\nhash %s\n", what, path, hash)
	})
	if path != "" {
		env.Advise("next: %s read and sign it: perso officer sign %s --key KEYFILE", who, Quoted(path))
	}
	return err
}

// newOrderDeskCmd drafts what the order desk signs about an order.
func newOrderDeskCmd(env *Env, use, kind string) *cobra.Command {
	d := statement.Desk{Kind: kind}
	short, long := "Write that an order was taken in as the customer sent it, for the order desk to sign",
		"Writes the order desk's word that the content of an accepted order is what the customer sent."
	if kind == statement.KindCancelled {
		short, long = "Write that nothing is to be made of an order, for the order desk to sign",
			"Writes the order desk's word that nothing is to be made of an accepted order: once handed in, it is not released. Its numbers stay taken."
	}
	c := &cobra.Command{
		Use: use + " ORDER", Short: short,
		Long:    Describe(long+" One of the role order-desk\nsigns it, and 'perso hand-in' hands it in.", drafted{}),
		Example: "  perso order " + use + ` DEMO-2027-0002 --reason "read back to the customer" -o demo.desk`,
		Args:    Takes("ORDER"),
	}
	c.Flags().StringVar(&d.Reason, "reason", "", "why, in words")
	return env.drafts(c, []string{"reason"}, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		o, err := ask[bus.OrderReply](ctx, office, bus.OfficeOrder, bus.OrderRequest{Order: args[0]})
		if err != nil {
			return "", nil, env.noOrder(err)
		}
		if o.State != perso.OrderAccepted {
			return "", nil, fmt.Errorf("order %q is %s already", o.Order, o.State.Told())
		}
		d.Header, d.Order, d.OrderHash = h, o.Order, o.Hash
		body, err := d.Encode()
		return kind, body, err
	})
}
