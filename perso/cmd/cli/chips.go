package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

func newChipsCmd(env *Env) *cobra.Command {
	return Group("chips", "Take chips into stock, move them and see where they are", `  perso chips receive reel-4711.json
  perso chips issue --reel R-1 --lot L-2027-0001 --by "Store Keeper"
  perso chips status`,
		newChipsReceiveCmd(env), newChipsIssueCmd(env), newChipsReturnCmd(env), newChipsSortCmd(env), newChipsListCmd(env), newChipsStatusCmd(env), newChipsDraftDestroyCmd(env))
}

// received is the result of "chips receive".
type received struct {
	Reel      perso.Name `json:"reel"`
	Chips     uint64     `json:"chips"`
	Duplicate bool       `json:"duplicate"`
}

func newChipsReceiveCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "receive FILE",
		Short: "Take the chip maker's list of a reel into stock",
		Long: Describe("Takes a goods-in list (- is standard input) into stock: type, keys and ids of the chips of one reel or wafer lot. A chip that is on no\n"+
			"list stops the head. The same list again changes nothing.", received{}),
		Example: `  perso chips receive reel-4711.json`,
		Args:    Takes("FILE"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			return receiveChips(ctx, env, office, args[0])
		}),
	}
}

func receiveChips(ctx context.Context, env *Env, office bus.Requester, path string) error {
	file, err := env.read(path, bus.MaxMessageBytes-messageRoomBytes)
	if err != nil {
		return err
	}
	r, err := ask[bus.ReceiveReply](ctx, office, bus.OfficeReceive, bus.ReceiveRequest{File: file})
	var fault *bus.Fault
	if errors.As(err, &fault) && (fault.Code == bus.FaultRefused || fault.Code == bus.FaultConflict) {
		return Hint(fmt.Errorf("%s: %w", path, err), "nothing was taken in; the list is the chip maker's: ask for it anew, or see 'perso product show' for what the product's chips are")
	}
	if err != nil {
		return err
	}
	return env.Emit(received(r), func(w io.Writer) {
		if r.Duplicate {
			fmt.Fprintf(w, "reel %s is known already: %d chips\n", r.Reel, r.Chips)
		} else {
			fmt.Fprintf(w, "reel %s is in stock: %d chips\n", r.Reel, r.Chips)
		}
	})
}
