package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// NewDraftRestoredCmd and NewConfirmRestoredCmd are the part of the group "ledger" that speaks with a running site: two officers
// look at a ledger that was restored.
func NewDraftRestoredCmd(env *Env) *cobra.Command {
	var reason, out string
	c := &cobra.Command{
		Use:   "draft-restored",
		Short: "Write the statement about a restored ledger, for officers to read and sign",
		Long: Describe("A restored ledger issues no identities until two officers of different role have signed what was restored. This asks the log vault whether the\n"+
			"log is the one that it signed, and every vault for its receipts, each of which must be of a claim that the ledger holds, and writes down the\n"+
			"backup, the log, and per open lot the receipts and the identities that were issued between the backup and the loss.", drafted{}),
		Example: `  perso ledger draft-restored --reason "disk of the ledger's host failed, replaced" -o march.restored`,
		Args:    Takes(),
	}
	c.RunE = env.online(lengthy, func(ctx context.Context, office bus.Requester, _ []string) error {
		if err := needs(c, "reason"); err != nil {
			return err
		}
		r, err := ask[bus.RestoredReply](ctx, office, bus.OfficeRestored, bus.RestoredRequest{Reason: reason})
		if err != nil {
			return err
		}
		if _, err := statement.ParseRestored(r.Body); err != nil {
			return err
		}
		return env.handOut(statement.KindRestored, "", r.Body, out)
	})
	c.Flags().StringVar(&reason, "reason", "", "what happened, in words")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (default standard output)")
	return c
}

// NewConfirmRestoredCmd hands the signed statement in.
func NewConfirmRestoredCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "confirm-restored FILE.signed",
		Short:   "Let a restored ledger issue identities again, with the officers' signatures",
		Long:    Describe("Hands a statement that two officers of different role signed to the ledger, which holds it against its log. Held heads go on within seconds.", handedIn{}),
		Example: `  perso ledger confirm-restored march.restored.signed`,
		Args:    Takes("FILE.signed"),
		RunE:    env.handsIn(statement.KindRestored, "identities are issued again"),
	}
}
