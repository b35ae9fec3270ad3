package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// This file is how the order desk looks after its orders once they are taken in.

// listedOrders is the result of "order list".
type listedOrders struct {
	Orders []bus.OrderTold `json:"orders"`
}

func newOrderListCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the orders, and which of them nobody has released",
		Long: Describe("Lists every order that was accepted, the oldest first: what it is about, whether it is released, cancelled or waits for its release, and how\n"+
			"its lot stands. Quantity counts good units, spares the identities beyond. A refused file makes no order: it stands in the log alone.", listedOrders{}),
		Example: `  perso order list
  perso order list --json`,
		Args: Takes(),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, _ []string) error {
			result := listedOrders{Orders: []bus.OrderTold{}}
			for more := true; more; {
				r, err := ask[bus.OrdersReply](ctx, office, bus.OfficeOrders, bus.OrdersRequest{Skip: uint64(len(result.Orders))})
				if err != nil {
					return err
				}
				result.Orders = append(result.Orders, r.Orders...)
				more = r.More && len(r.Orders) > 0
			}
			err := env.Emit(result, func(w io.Writer) { writeOrders(w, result.Orders) })
			var waiting []string
			for _, o := range result.Orders {
				if o.State == perso.OrderAccepted {
					waiting = append(waiting, o.Order)
				}
			}
			env.adviseWaiting(waiting, uint64(len(waiting)))
			return err
		}),
	}
}

func writeOrders(w io.Writer, orders []bus.OrderTold) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ORDER\tSTATE\tQUANTITY\tSPARES\tPRODUCT\tTAKEN IN\tLOT\tLOT STATE\tGOOD\tCUSTOMER")
	for _, o := range orders {
		good, customer, product := "-", o.Customer, o.Product
		if o.Lot != "" {
			good = strconv.FormatUint(o.Good, 10)
		}
		if o.Deleted {
			customer, product = "(deleted)", "(deleted)"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", o.Order, orderState(o.State), o.Quantity, o.Spares, product, clock(o.TakenIn),
			cmp.Or(string(o.Lot), "-"), cmp.Or(string(o.LotState), "-"), good, customer)
	}
	_ = t.Flush() // into memory
}

// orderState says in words what an order waits for.
func orderState(s perso.OrderState) string {
	if s == perso.OrderAccepted {
		return "accepted, not released"
	}
	return s.Told()
}

// namedWaiting bounds the orders that are named in one line.
const namedWaiting = 5

// adviseWaiting says which orders nobody has released, of so many, the oldest first.
func (env *Env) adviseWaiting(oldest []string, all uint64) {
	if len(oldest) == 0 {
		return
	}
	named := oldest[:min(namedWaiting, len(oldest))]
	more := ""
	if n := all - uint64(len(named)); n > 0 {
		more = fmt.Sprintf(" and %d more ('%s')", n, env.Command("order list", ""))
	}
	env.Advise("accepted, and not released: %s%s; next: %s", strings.Join(named, ", "), more, env.Command("order draft", "%s -o FILE", named[0]))
}

// noOrder says where the orders stand when there is none of the name.
func (env *Env) noOrder(err error) error { return env.notFound(err, "order list") }

// keptHint says what a plan that keeps samples does to an order.
const keptHint = "quality keeps good samples of this order: they come out of its quantity, and are delivered to nobody"

// adviseKept says so of a lot that is about to be released.
func (env *Env) adviseKept(kept, good uint64) {
	if kept > 0 {
		env.Advise("%s: of %d good units at most %d are delivered, since a few more may be drawn than the plan asks for", keptHint, good, good-kept)
	}
}
