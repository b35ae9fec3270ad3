package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// This file is the stock's books: what people do with chips outside the heads.

// moved is the result of "chips issue", "chips return" and "chips sort".
type moved struct {
	Product   string        `json:"product"`
	Reel      perso.Name    `json:"reel,omitempty"`
	From      perso.Account `json:"from"`
	To        perso.Account `json:"to"`
	Chips     uint64        `json:"chips"`
	Left      int64         `json:"left"`
	There     int64         `json:"there"`
	Duplicate bool          `json:"duplicate"`
}

// movement is what the flags of a movement say.
type movement struct {
	product, reel, line, lot, from, to, by string
	chips                                  uint64
}

func (m *movement) flags(c *cobra.Command) {
	c.Flags().StringVar(&m.reel, "reel", "", "reel that the chips are on; without it, chips that lie on none")
	c.Flags().StringVar(&m.product, "product", "", "product of chips without a reel")
	c.Flags().Uint64Var(&m.chips, "chips", 0, "how many (default all of the reel that are there)")
	c.Flags().StringVar(&m.by, "by", "", "who moves them, as the log will say")
}

func newChipsIssueCmd(env *Env) *cobra.Command {
	var m movement
	c := &cobra.Command{
		Use:   "issue",
		Short: "Issue chips of a reel to a line or to a lot",
		Long: Describe("Books chips out of the store to a line, or to a lot; with --line and --lot both, from the line to the lot. A lot that chips were issued\n"+
			"to takes no others: a chip of another reel stops its head, one too many waits under its head until more are issued; and it is not\n"+
			"closed before what was not fed is given back. A lot that nothing was issued to takes every chip in stock of its product.", moved{}),
		Example: `  perso chips issue --reel R-1 --lot L-2027-0001 --by "Store Keeper"
  perso chips issue --reel R-1 --line line-1 --chips 1000 --by "Store Keeper"
  perso chips issue --product m2m-200s-mff2 --chips 12 --lot L-2027-0001 --by "Store Keeper"`,
		Args: Takes(),
	}
	m.flags(c)
	c.Flags().StringVar(&m.line, "line", "", "line that gets the chips, or gives them to the lot")
	c.Flags().StringVar(&m.lot, "lot", "", "lot that gets the chips")
	c.RunE = move(env, &m, func() (from, to perso.Account, err error) {
		line, lot, err := m.places()
		switch {
		case err != nil:
		case line == "" && lot == "":
			err = Usage("--line, --lot or both say where the chips go")
		case line == "":
			from, to = perso.AccountStore, lot
		case lot == "":
			from, to = perso.AccountStore, line
		default:
			from, to = line, lot
		}
		return from, to, err
	})
	return c
}

func newChipsReturnCmd(env *Env) *cobra.Command {
	var m movement
	c := &cobra.Command{
		Use:   "return",
		Short: "Give chips that were not fed back into the store",
		Long: Describe("Books what a line, or a lot, did not feed back into the store. What heads put into the bin of returned chips is not booked here: it is\n"+
			"counted with the lot, and is back in the store when the lot is closed.", moved{}),
		Example: `  perso chips return --reel R-1 --lot L-2027-0001 --chips 116 --by "Store Keeper"
  perso chips return --reel R-1 --line line-1 --by "Store Keeper"`,
		Args: Takes(),
	}
	m.flags(c)
	c.Flags().StringVar(&m.line, "line", "", "line that gives them back")
	c.Flags().StringVar(&m.lot, "lot", "", "lot that gives them back")
	c.RunE = move(env, &m, func() (from, to perso.Account, err error) {
		line, lot, err := m.places()
		switch {
		case err != nil:
		case (line == "") == (lot == ""):
			err = Usage("either --line or --lot says who gives the chips back")
		case line == "":
			from = lot
		default:
			from = line
		}
		return from, perso.AccountStore, err
	})
	return c
}

func newChipsSortCmd(env *Env) *cobra.Command {
	var m movement
	c := &cobra.Command{
		Use:   "sort",
		Short: "Sort blank rejects of closed lots",
		Long: Describe("Books blank rejects between reject-blank, contact (bad contacts) and retest, and from retest back into the store. Live rejects leave\n"+
			"their locked bin by destruction only.", moved{}),
		Example: `  perso chips sort --product m2m-200s-mff2 --from reject-blank --to retest --chips 9 --by "First Person"
  perso chips sort --product m2m-200s-mff2 --from retest --to store --chips 7 --by "First Person"`,
		Args: Takes(),
	}
	m.flags(c)
	c.Flags().StringVar(&m.from, "from", "", "reject-blank, contact or retest")
	c.Flags().StringVar(&m.to, "to", "", "retest, contact, reject-blank or store")
	c.RunE = move(env, &m, func() (from, to perso.Account, err error) {
		if from, err = perso.ParseAccount(m.from); err == nil {
			to, err = perso.ParseAccount(m.to)
		}
		if err != nil || !from.MayMove(to) || to == perso.AccountStore && from != perso.AccountRetest {
			err = Usage("--from %q --to %q is no way of a blank reject", m.from, m.to)
		}
		return from, to, err
	})
	return c
}

// places reads the accounts of a line and a lot; each may be left out.
func (m *movement) places() (line, lot perso.Account, err error) {
	if m.line != "" {
		name, err := perso.ParseName(m.line)
		if err != nil {
			return "", "", Usage("--line: %w", err)
		}
		line = perso.LineAccount(name)
	}
	if m.lot != "" {
		name, err := perso.ParseName(m.lot)
		if err != nil {
			return "", "", Usage("--lot: %w", err)
		}
		lot = perso.LotAccount(name)
	}
	return line, lot, nil
}

// move makes the function of a command that books a movement.
func move(env *Env, m *movement, ends func() (from, to perso.Account, err error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "by"); err != nil {
			return err
		}
		if strings.TrimSpace(m.by) == "" {
			return Usage("--by: the log is to say who moves them")
		}
		q := bus.BookRequest{Product: m.product, Chips: m.chips, By: m.by}
		var err error
		if q.From, q.To, err = ends(); err != nil {
			return err
		}
		if m.reel == "" && (m.product == "" || m.chips == 0) {
			return Usage("--reel says which chips; those without one need --product and --chips")
		}
		if m.reel != "" {
			if q.Reel, err = perso.ParseName(m.reel); err != nil {
				return Usage("--reel: %w", err)
			}
		}
		if _, err := io.ReadFull(env.Rand, q.ID[:]); err != nil {
			return fmt.Errorf("drawing the booking's id: %w", err)
		}
		return env.online(quick, func(ctx context.Context, office bus.Requester, _ []string) error {
			return bookMove(ctx, env, office, q)
		})(cmd, args)
	}
}

func bookMove(ctx context.Context, env *Env, office bus.Requester, q bus.BookRequest) error {
	r, err := ask[bus.BookReply](ctx, office, bus.OfficeBook, q)
	if err != nil {
		return err
	}
	m := moved{Product: r.Product, Reel: q.Reel, From: q.From, To: q.To, Chips: r.Chips, Left: r.Left, There: r.There, Duplicate: r.Duplicate}
	return env.Emit(m, func(w io.Writer) {
		fmt.Fprintf(w, "%d chips of %s went from %s (%d left) to %s (%d now)\n", m.Chips, m.Product, m.From, m.Left, m.To, m.There)
	})
}

// stocked is the result of "chips list" and "chips status".
type stocked struct {
	Environment perso.Env      `json:"environment"`
	Accounts    []bus.StockRow `json:"accounts"`
	More        uint64         `json:"more,omitempty"`
}

func newChipsListCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List where the chips of each reel are",
		Long: Describe("Lists each account with chips of each reel. The supplier's is minus what came in; 'unissued' is minus what closed lots used that nobody\n"+
			"had issued to them. A lot's own chips are booked when it is closed: until then 'perso lot status' counts them.", stocked{}),
		Example: `  perso chips list
  perso chips list --json`,
		Args: Takes(),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, _ []string) error {
			return listStock(ctx, env, office, func(r bus.StockReply) []bus.StockRow { return r.Rows })
		}),
	}
}

func newChipsStatusCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show how many chips of each product are where",
		Long:    Describe("Shows the accounts of the stock by product, whatever reel the chips came on. Those of one product are zero together.", stocked{}),
		Example: `  perso chips status`,
		Args:    Takes(),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, _ []string) error {
			return listStock(ctx, env, office, byProduct)
		}),
	}
}

// byProduct sums accounts over reels, in the order in which they come.
func byProduct(r bus.StockReply) []bus.StockRow {
	rows, at := []bus.StockRow{}, map[bus.StockRow]int{}
	for _, x := range r.Rows {
		key := bus.StockRow{Product: x.Product, Account: x.Account}
		i, ok := at[key]
		if !ok {
			i = len(rows)
			at[key], rows = i, append(rows, key)
		}
		rows[i].Chips += x.Chips
	}
	return rows
}

func listStock(ctx context.Context, env *Env, office bus.Requester, rows func(bus.StockReply) []bus.StockRow) error {
	r, err := ask[bus.StockReply](ctx, office, bus.OfficeStock, bus.Empty{})
	if err != nil {
		return err
	}
	s := stocked{Environment: r.Env, Accounts: append([]bus.StockRow{}, rows(r)...), More: r.More}
	return env.Emit(s, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "PRODUCT\tREEL\tACCOUNT\tCHIPS")
		for _, x := range s.Accounts {
			reel := string(x.Reel)
			if reel == "" {
				reel = "-"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", x.Product, reel, x.Account, x.Chips)
		}
		_ = t.Flush() // into memory
		if s.More > 0 {
			fmt.Fprintf(w, "and %d more rows\n", s.More)
		}
	})
}
