package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// stillElsewhere says what the ledger cannot delete.
const stillElsewhere = "the ledger has deleted them. What was copied out of it before holds them still: backups and the redo log (delete the old ones, make two new ones: ledger/RESTORE.md), bundles and exports that were handed out, the customer's own file; other processes of this ledger, until they are started anew"

func newLotDraftForgetCmd(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "draft-forget LOT",
		Short: "Write the statement by which a lot's order and release are deleted, for two officers to sign",
		Long: Describe("Writes the statement by which the ledger deletes what opens a lot's entries in the log: the order as the customer sent it, the release,\n"+
			"and the order desk's words about the order. The lot's key is destroyed before ('perso lot destroy-keys'). Two officers of different role\n"+
			"sign it, and 'perso hand-in' hands it in. It cannot be undone: no export and no proof by ICCID or order can be made of the lot after it;\n"+
			"make its bundle first. The log stays whole, and so do the ranges that were issued, so that no number is issued twice.\n"+
			"Backups, redo logs, bundles and exports from before hold the deleted words still: they are for people to delete.", drafted{}),
		Example: `  perso lot draft-forget L-2027-0001 -o demo.forget`,
		Args:    Takes("LOT"),
	}
	return env.drafts(c, nil, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		lot, err := lotArg(args[0])
		if err != nil {
			return "", nil, err
		}
		r, err := askLot[bus.ClosingReply](ctx, env, office, bus.OfficeClosing, lot)
		switch {
		case err != nil:
			return "", nil, err
		case r.Gone == nil:
			return "", nil, Hint(fmt.Errorf("the key of lot %s is not destroyed: until then its release is needed", lot), "'perso lot draft-destroy' and 'perso lot destroy-keys' come first")
		case r.Gone.Forgotten:
			return "", nil, fmt.Errorf("the order and the release of lot %s are deleted already", lot)
		}
		g := r.Gone
		body, err := statement.Forget{Header: h, Lot: lot, Release: r.Release, Certificate: g.Certificate, Good: g.Good, Proof: g.Proof,
			Asks: statement.Demands(g.Asks), Taken: g.Taken}.Encode()
		return statement.KindForget, body, err
	})
}
