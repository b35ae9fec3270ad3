package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/keygen/ceremony/share"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/order/kifile/sender"
)

// uploading bounds a submission with the largest file of Ki: it is sent, read row by row, and stored.
const uploading = 5 * time.Minute

// readKi takes a file of Ki, none for no path.
func (env *Env) readKi(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return env.read(path, kifile.MaxFileBytes)
}

// sendKi hands a file of Ki to the ledger, if there is one.
func sendKi(ctx context.Context, office bus.Requester, path string, file []byte) (*bus.KiFileRef, error) {
	if path == "" {
		return nil, nil
	}
	ref, err := bus.SendKi(ctx, office, file)
	return &ref, err
}

// checkKi holds a file of Ki against its order, which has no fault. Whether the receive key opens it, only the vault can say.
func checkKi(o order.Order, site order.Site, path string, file []byte) (faults []fault, err error) {
	if wants := o.KiSource == order.KiCustomer; wants != (path != "") {
		if wants { // an order may be checked before its Ki are there
			return nil, nil
		}
		return []fault{{Reason: fmt.Sprintf("the order's Ki are %s: it wants no file of them", o.KiSource), Hint: fmt.Sprintf("order ki_source %q, or leave the file out", order.KiCustomer)}}, nil
	}
	if path == "" {
		return nil, nil
	}
	_, err = kifile.Parse(bytes.NewReader(file), kifile.WantOf(o, site))
	var list *order.FaultList
	if errors.As(err, &list) {
		return faultsOf(*list), nil
	}
	return nil, err
}

// sentKi is the result of "order ki-file".
type sentKi struct {
	Order      order.ID   `json:"order"`
	File       string     `json:"file"`
	ReceiveKey perso.Name `json:"receive_key"`
	Rows       uint64     `json:"rows"`
}

func newOrderKiFileCmd(env *Env) *cobra.Command {
	var products, partners, name, from, mode, out string
	c := &cobra.Command{
		Use:   "ki-file FILE",
		Short: "As a customer: draw a Ki for each unit of an order and write the file of them",
		Long: Describe("Does what a customer does who supplies his own Ki: draws one for each unit of his order, encrypts it under the receive key that\n"+
			"he shares with the vault, and writes the file that goes with the order (perso/order/kifile/KIFILE.md). For tests and for customers\n"+
			"who want to see the form: a real one draws Ki in an HSM of his own. It asks no site, and needs no key but his.", sentKi{}),
		Example: `  perso order ki-file order.json --receive-key rk-provider-demo --key file:site/partners/rk-provider-demo.hex -o order.ki
  perso order check order.json --ki order.ki`,
		Args: Takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "receive-key", "key", "output"); err != nil {
				return err
			}
			cat, err := env.catalogue(products, partners)
			if err != nil {
				return err
			}
			key, err := receiveKey(name, mode, from)
			if err != nil {
				return err
			}
			defer key.Value.Wipe()
			return env.writeKi(cat, args[0], key, out)
		},
	}
	c.Flags().StringVar(&products, "products", "", "folder of products (default SITE/catalogue/products, or deploy/products where there is no site)")
	c.Flags().StringVar(&partners, "partners", "", "folder of partners (default SITE/catalogue/partners, or deploy/partners where there is no site)")
	c.Flags().StringVar(&name, "receive-key", "", "name of the receive key, as the partner file has it")
	c.Flags().StringVar(&from, "key", "", "where the key's value comes from, in hex: "+sourceKinds)
	c.Flags().StringVar(&mode, "mode", string(kifile.ModeECB), fmt.Sprintf("%s or %s", kifile.ModeECB, kifile.ModeCBC))
	c.Flags().StringVarP(&out, "output", "o", "", "file to write")
	return c
}

// receiveKey reads a customer's own receive key.
func receiveKey(name, mode, from string) (key sender.Key, err error) {
	if key.Name, err = perso.ParseName(name); err != nil {
		return key, Usage("--receive-key: %w", err)
	}
	if key.Mode, err = kifile.ParseMode(mode); err != nil {
		return key, Usage("--mode %w", err)
	}
	s, err := parseSource(from)
	if err != nil {
		return key, err
	}
	text, err := s.line("receive key " + name)
	if err != nil {
		return key, err
	}
	if s.file != nil {
		defer s.file.Close() // only read
	}
	key.Value, err = share.ParseHex(text)
	return key, err
}

func (env *Env) writeKi(cat order.Catalogue, path string, key sender.Key, out string) error {
	file, err := env.read(path, order.MaxFileBytes)
	if err != nil {
		return err
	}
	o, err := order.Intake(bytes.NewReader(file), cat)
	var list *order.FaultList
	if errors.As(err, &list) {
		return complaints(path, faultsOf(*list))
	}
	if err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	if o.KiSource != order.KiCustomer {
		return Hint(fmt.Errorf("%s: the order's Ki are %s", path, o.KiSource), "order ki_source %q", order.KiCustomer)
	}
	f, err := sender.Make(kifile.WantOf(o, cat.Site), key, env.Rand)
	if err != nil {
		return err
	}
	text, err := f.Encode()
	if err != nil {
		return err
	}
	if err := create(out, text); err != nil {
		return err
	}
	err = env.Emit(sentKi{Order: o.ID, File: out, ReceiveKey: key.Name, Rows: f.Rows()}, func(w io.Writer) {
		fmt.Fprintf(w, "%d Ki for order %s are in %s, encrypted under %s\n", f.Rows(), o.ID, out, key.Name)
	})
	env.Advise("next: %s", env.Command("order submit", "%s --ki %s", Quoted(path), Quoted(out)))
	return err
}

// faultsOf are a report's faults as the commands show them.
func faultsOf(list order.FaultList) (all []fault) {
	for _, f := range list {
		all = append(all, fault{Line: f.Line, Column: f.Column, Field: f.Field, Reason: f.Reason, Hint: f.Hint})
	}
	return all
}

// toldFaults are those that the ledger told.
func toldFaults(list []bus.OrderFault) []fault {
	all := []fault{}
	for _, f := range list {
		all = append(all, fault{Line: f.Line, Column: f.Column, Field: f.Field, Reason: f.Reason, Hint: f.Hint})
	}
	return all
}
