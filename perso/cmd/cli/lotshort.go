package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

func newLotDraftShortCmd(env *Env) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "draft-short LOT",
		Short: "Write that a lot ends with what is made of it, for two officers to sign",
		Long: Describe("Writes that no more units of a running lot begin: no chips are left for it, or its order was cut. Two officers sign it, and 'perso hand-in'\n"+
			"hands it in; it can't be taken back. Units in work come to their end first: a chip that must be contacted anew from then on is refused by the\n"+
			"vault, and its unit given up ('perso lot in-work', 'perso lot draft-lost'). Then the lot is complete, with what is good: it is counted, closed and\n"+
			"exported as any other, and every audit tells who ended it and why.", drafted{}),
		Example: `  perso lot draft-short L-2027-0001 --reason "the reel is used up, and no other will come" -o demo.short`,
		Args:    Takes("LOT"),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, in words")
	return env.drafts(c, []string{"reason"}, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		lot, err := lotArg(args[0])
		if err != nil {
			return "", nil, err
		}
		r, err := ask[bus.InWorkReply](ctx, office, bus.OfficeInWork, bus.InWorkRequest{Lot: lot})
		if err != nil {
			return "", nil, err
		}
		if n := len(r.Units); n > 0 {
			env.Advise("%d units are in work: best it is handed in when they have ended ('perso lot in-work %s')", n, lot)
		}
		body, err := statement.Short{Header: h, Lot: lot, Release: r.Release, Reason: reason}.Encode()
		return statement.KindShort, body, err
	})
}
