package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// This file is the end of a lot's key: after delivery and retention, by two officers.

func newLotDraftDestroyCmd(env *Env) *cobra.Command {
	var retained, out string
	var copies []string
	c := &cobra.Command{
		Use:   "draft-destroy LOT",
		Short: "Write the statement by which a lot's key is destroyed, for officers to read and sign",
		Long: Describe("Writes the statement for a closed lot. --retained is the day on which the retention agreed with the customer ended, not before the lot was closed. Every copy of the\n"+
			"lot's key outside the vault's own token is named with --copy, and the two persons who saw that it is gone. Make the lot's bundle\n"+
			"and its exports first: without the key nothing more can be made of the lot. A statement that the vault refused is replaced by handing in another.", drafted{}),
		Example: `  perso lot draft-destroy L-2027-0001 --retained 2027-09-01 -o demo.destroy
  perso lot draft-destroy L-2027-0001 --retained 2027-09-01 --copy "hsm-2,second room,First Person,Second Person" -o demo.destroy`,
		Args: Takes("LOT"),
	}
	c.RunE = env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
		if err := needs(c, "retained"); err != nil {
			return err
		}
		lot, err := lotArg(args[0])
		if err != nil {
			return err
		}
		d, err := destroyFlags(retained, copies)
		if err != nil {
			return err
		}
		r, err := askLot[bus.ClosingReply](ctx, env, office, bus.OfficeClosing, lot)
		if err != nil {
			return err
		}
		return draftDestroy(env, r, d, out)
	})
	c.Flags().StringVar(&retained, "retained", "", "end of the agreed retention: a day (its first moment, UTC) or a time like 2027-09-01T12:00:00Z")
	c.Flags().StringArrayVar(&copies, "copy", nil, "HOLDER,PLACE,PERSON,PERSON of a copy that is gone")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (default standard output)")
	return c
}

// destroyFlags reads what only the command line says.
func destroyFlags(retained string, copies []string) (d statement.Destroy, err error) {
	if d.Retained, err = time.Parse(time.DateOnly, retained); err != nil {
		d.Retained, err = time.Parse(time.RFC3339, retained)
	}
	if err != nil {
		return d, Usage("--retained %q is no day like 2027-09-01, and no time like 2027-09-01T12:00:00Z", retained)
	}
	for _, text := range copies {
		f := strings.Split(text, ",")
		if len(f) != 4 {
			return d, Usage("--copy %q is not HOLDER,PLACE,PERSON,PERSON", text)
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		holder, err := perso.ParseName(f[0])
		if err != nil || f[1] == "" || f[2] == "" || f[3] == "" || strings.EqualFold(f[2], f[3]) {
			return d, Usage("--copy %q: a holder, a place, and two different persons who saw it", text)
		}
		d.Copies = append(d.Copies, statement.LotCopy{Holder: holder, Place: f[1], By: [2]string{f[2], f[3]}})
	}
	if len(d.Copies) > statement.MaxLotCopies {
		return d, Usage("%d copies, at most %d", len(d.Copies), statement.MaxLotCopies)
	}
	return d, nil
}

func draftDestroy(env *Env, r bus.ClosingReply, d statement.Destroy, out string) error {
	if r.Gone != nil {
		return fmt.Errorf("destroying the key of lot %q: its key is destroyed: another statement ordered it already", r.Lot)
	}
	if err := d.After(r.Closed); err != nil {
		return fmt.Errorf("destroying the key of lot %q: %w", r.Lot, err)
	}
	d.Env, d.Site, d.Lot, d.Release, d.Close, d.At = r.Env, r.Site, r.Lot, r.Release, r.Close, r.Now
	if _, err := io.ReadFull(env.Rand, d.Nonce[:]); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	body, err := d.Encode()
	if err == nil {
		_, err = statement.ParseDestroy(body)
	}
	if err != nil {
		return fmt.Errorf("drafting the destruction of lot %q: %w", r.Lot, err)
	}
	return env.handOut(statement.KindDestroy, r.Lot, body, out)
}

// destroyedLot is the result of "lot destroy-keys".
type destroyedLot struct {
	Environment perso.Env  `json:"environment"`
	Lot         perso.Name `json:"lot"`
	Vault       perso.Name `json:"vault"`
	Keys        []string   `json:"keys"`
	Copies      uint64     `json:"copies_signed_off"`
	At          time.Time  `json:"at"`
	Hash        digest     `json:"certificate_hash"`
	Certificate string     `json:"certificate"`
}

func newLotDestroyKeysCmd(env *Env) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "destroy-keys FILE.signed",
		Short: "Destroy a lot's key with the officers' signatures",
		Long: Describe("Hands a statement that two officers of different role signed to the ledger, which logs it, and through it to the vault, which checks for\n"+
			"itself that the lot is closed and its retention over, and destroys the key. The vault's certificate of deletion is logged. It is\n"+
			"evidence and no proof: it says which copies the officers signed off. It cannot be undone.", destroyedLot{}),
		Example: `  perso lot destroy-keys demo.destroy.signed -o demo.deleted`,
		Args:    Takes("FILE.signed"),
		RunE: env.online(lengthy, func(ctx context.Context, office bus.Requester, args []string) error {
			return destroyKeys(ctx, env, office, args[0], out)
		}),
	}
	c.Flags().StringVarP(&out, "output", "o", "", "file to write the certificate to")
	return c
}

func destroyKeys(ctx context.Context, env *Env, office bus.Requester, path, out string) error {
	b, s, err := env.readSigned(path, statement.KindDestroy)
	if err != nil {
		return err
	}
	r, err := ask[bus.DestroyReply](ctx, office, bus.OfficeDestroy, bus.SignedRequest{Signed: b})
	if err != nil {
		return err
	}
	certificate, err := statement.DecodeSigned(r.Certificate)
	if err != nil {
		return fmt.Errorf("reading the certificate of deletion: %w", err)
	}
	d, err := statement.ParseDestroyed(certificate.Body)
	if err == nil && d.Destroy != s.Hash() {
		err = errors.New("the certificate is about another statement")
	}
	if err != nil {
		return err
	}
	if out != "" {
		if err := create(out, r.Certificate); err != nil {
			return err
		}
	}
	return env.Emit(destroyedLot{Environment: d.Env, Lot: d.Lot, Vault: d.Vault, Keys: d.Keys, Copies: d.Copies, At: d.At, Hash: certificate.Hash(),
		Certificate: string(r.Certificate)}, func(w io.Writer) {
		fmt.Fprintf(w, "environment %s: key %s is off the token of vault %s since %s; %d copies were signed off\ncertificate %s\n",
			d.Env, strings.Join(d.Keys, " and "), d.Vault, clock(d.At), d.Copies, digest(certificate.Hash()))
	})
}
