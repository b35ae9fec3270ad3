package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/progress"
	"github.com/persoline/persoline/perso/entry"
)

func newLotCmd(env *Env) *cobra.Command {
	return Group("lot", "Release, watch, count, close and hand out lots", `  perso lot release demo.release.signed
  perso lot status L-2027-0001 --follow
  perso lot draft-close L-2027-0001 -o demo.close`,
		newLotReleaseCmd(env), newLotListCmd(env), newLotStatusCmd(env), newLotCountCmd(env),
		newLotDraftCloseCmd(env), newLotCloseCmd(env), newLotExportCmd(env), newLotBundleCmd(env),
		newLotInWorkCmd(env), newLotDraftLostCmd(env), newLotLoseCmd(env),
		newLotDraftClearanceCmd(env), newLotDraftFirstArticleCmd(env), newLotDraftSamplesCmd(env), newLotDraftExplainCmd(env), newLotDraftShortCmd(env),
		newLotDraftDestroyCmd(env), newLotDestroyKeysCmd(env), newLotDraftForgetCmd(env))
}

// lotState is how a lot stands, as "lot list" and "lot status" give it.
type lotState struct {
	bus.StatusReply
	Completed *time.Time `json:"completed,omitempty"`
	Balance   *balance   `json:"balance,omitempty"`
}

// listed is the result of "lot list".
type listed struct {
	Lots []lotState `json:"lots"`
	// Accepted are the oldest orders that wait for their release, Waiting counts all.
	Accepted []string `json:"orders_not_released,omitempty"`
	Waiting  uint64   `json:"orders_not_released_count"`
}

func lotStateOf(s bus.StatusReply) lotState {
	state := lotState{StatusReply: s, Balance: balanceOf(s.Balance)}
	if state.Reasons == nil && !s.Hidden {
		state.Reasons = []bus.ReasonCount{}
	}
	if !s.Completed.IsZero() {
		state.Completed = &s.Completed
	}
	return state
}

func newLotListCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the lots and how they stand",
		Long:  Describe("Lists every lot of the site, and says which orders wait for their release.", listed{}),
		Example: `  perso lot list
  perso lot list --json`,
		Args: Takes(),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, _ []string) error {
			r, err := ask[bus.LotsReply](ctx, office, bus.OfficeLots, bus.Empty{})
			if err != nil {
				return err
			}
			err = listLots(env, r)
			env.adviseWaiting(r.Accepted, r.Waiting)
			return err
		}),
	}
}

func listLots(env *Env, r bus.LotsReply) error {
	result := listed{Lots: []lotState{}, Accepted: r.Accepted, Waiting: r.Waiting}
	for _, s := range r.Lots {
		result.Lots = append(result.Lots, lotStateOf(s))
	}
	return env.Emit(result, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "LOT\tENVIRONMENT\tSTATE\tGOOD\tORDERED\tIN WORK\tLOST\tORDER")
		for _, s := range r.Lots {
			lost := strconv.FormatUint(s.Lost, 10)
			if s.Hidden {
				lost = "hidden"
			}
			state := string(s.State)
			if notAccepted(s) {
				state += ", NOT ACCEPTED"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", s.Lot, s.Env, state, s.Good, s.Ordered, s.Open, lost, s.Order)
		}
		_ = t.Flush() // into memory
	})
}

func newLotStatusCmd(env *Env) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:   "status LOT",
		Short: "Show how a lot stands, once or as it goes",
		Long: Describe("Shows a lot as the ledger holds it now. With --follow it is shown again and again until the lot is complete,\n"+
			"or until Ctrl-C, which ends no more than the showing; with --json each time is one object.", lotState{}),
		Example: `  perso lot status L-2027-0001
  perso lot status L-2027-0001 --follow`,
		Args: Takes("LOT"),
		RunE: env.online(unbounded, func(ctx context.Context, office bus.Requester, args []string) error {
			lot, err := lotArg(args[0])
			if err != nil {
				return err
			}
			if follow {
				return followLot(ctx, env, office, lot)
			}
			s, err := askLot[bus.StatusReply](ctx, env, office, bus.OfficeStatus, lot)
			if err != nil {
				return err
			}
			env.adviseOnTroubles(s)
			return env.Emit(lotStateOf(s), func(w io.Writer) { writeStatus(w, s) })
		}),
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "show it until the lot is complete, or until Ctrl-C")
	return c
}

// troubleHint is for heads that wait for the vault.
const troubleHint = "leave waiting chips under their heads: their identities stay with them, and the heads go on when the vault serves them. " +
	"Its log says why it does not; a chip taken away meanwhile is judged when it comes again, and the lot is not complete before"

// adviseOnTroubles says what to do about chips that wait, and about those that the vault refuses.
func (env *Env) adviseOnTroubles(s bus.StatusReply) {
	refused := slices.ContainsFunc(s.Troubles, func(t bus.Trouble) bool { return t.Refused })
	if slices.ContainsFunc(s.Troubles, func(t bus.Trouble) bool { return !t.Refused }) {
		env.Advise(troubleHint)
	}
	if refused {
		env.Advise("an act that the vault refuses is not mended by waiting: %s says which units never end, and how two officers give them up", env.Command("lot in-work", "%s", s.Lot))
	}
}

// writeStatus is a lot on one page.
func writeStatus(w io.Writer, s bus.StatusReply) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, a ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", a...) }
	yield, first := progress.Yield(s)
	row("lot", "%s, %s", s.Lot, strings.ToUpper(string(s.Env)))
	row("order", "%s", s.Order)
	if notAccepted(s) {
		row("quality", "NOT ACCEPTED: nothing of this lot may be handed out")
	}
	row("state", "%s", s.State)
	row("as of", "%s", clock(s.Now))
	row("released", "%s", clock(s.Released))
	if s.Vault != "" {
		row("vault", "%s", s.Vault)
	}
	if s.Waits != "" {
		row("waits", "%s", s.Waits)
	}
	if !s.Completed.IsZero() {
		row("completed", "%s", clock(s.Completed))
	}
	name, but := "good", ""
	if notAccepted(s) {
		name, but = "made good", ", and quality did not accept them"
	}
	row(name, "%d of %d (%s)%s", s.Good, s.Ordered, progress.Percent(s.Good, s.Ordered), but)
	if s.Hidden {
		row("in work", "%d", s.Open)
		row("proof", "%s", s.Proof)
	} else {
		row("in work", "%d, %d lost", s.Open, s.Lost)
		row("proof", "%s", s.Proof)
		row("identities", "%d of %d used", s.EIDsUsed, s.Ordered+s.Spares)
	}
	if s.Policy != (bus.Policy{}) {
		row("policy", "%s", policyText(s.Policy))
	}
	if s.Policy.FirstArticle > 0 {
		row("first article", "%s", map[bool]string{true: "signed", false: "not signed"}[s.Approved])
	}
	if s.Samples != nil {
		row("samples", "%s", samplesText(s.Samples, s.Hidden))
	}
	if s.Hidden {
		row("bins", "hidden until counted")
	} else {
		row("yield", "%s, first pass %s", yield, first)
		if r := progress.Rejects(s); r != "" {
			row("rejects", "%s", r)
		}
		row("bins", "%s", bins(s))
	}
	row("log", "%d entries", s.LogSize)
	if s.Balance != nil {
		row("balance", "%s", balanceOf(s.Balance))
	}
	for _, b := range s.Blocks {
		row("blocked", "%s", b)
	}
	writeTroubles(row, s)
	_ = t.Flush() // into memory
}

// writeTroubles lists the acts that the vault does not serve now.
func writeTroubles(row func(name, format string, a ...any), s bus.StatusReply) {
	for _, t := range s.Troubles {
		how := "waiting"
		if t.Refused {
			how = "refused"
		}
		row(how, "%s with chip %s since %s: act %d, asked of the vault %d times: %s", t.Present, t.Chip, clock(t.Since), t.N, t.Tries, t.Fault)
	}
	if s.MoreTroubles > 0 {
		row("waiting", "and %d more", s.MoreTroubles)
	}
}

func bins(s bus.StatusReply) string {
	var parts []string
	for _, v := range []perso.Verdict{perso.VerdictGood, perso.VerdictRejectBlank, perso.VerdictRejectLive, perso.VerdictReturn} {
		parts = append(parts, fmt.Sprintf("%s %d", v, s.Bins[v]))
	}
	if n := s.Bins[perso.VerdictSample]; n > 0 {
		parts = append(parts, fmt.Sprintf("%s %d", perso.VerdictSample, n))
	}
	return strings.Join(parts, ", ")
}

const (
	// pollTerminal is how often the ledger is asked when somebody looks: as often as the display is drawn.
	pollTerminal = 200 * time.Millisecond
	// pollPlain is enough for a line every few seconds.
	pollPlain = time.Second
)

// followLot shows the lot until it is complete. A ledger that does not answer is asked again: it may be starting anew.
func followLot(ctx context.Context, env *Env, office bus.Requester, lot perso.Name) error {
	display := progress.New(env.Out, progress.Options{TTY: env.OutTTY, Width: env.Width})
	show, say, poll := func(s bus.StatusReply) error { display.Update(s); return nil }, display.Say, pollPlain
	if env.JSON {
		show = func(s bus.StatusReply) error { return env.Emit(lotStateOf(s), nil) }
		say = func(text string) { fmt.Fprintf(env.Err, "perso: %s\n", text) }
	} else if env.OutTTY {
		poll = pollTerminal
	}
	waits := ""
	for {
		s, err := askLot[bus.StatusReply](ctx, env, office, bus.OfficeStatus, lot)
		if err == nil && s.Waits != waits && s.Waits != "" {
			say("the lot waits: " + s.Waits)
		}
		waits = s.Waits
		switch {
		case ctx.Err() != nil:
			return noLongerWatching(env)
		case errors.Is(err, bus.ErrNoAnswer):
			say("the ledger does not answer, asking again")
		case err != nil:
			return err
		default:
			if err := show(s); err != nil {
				return err
			}
			if s.State == perso.LotComplete || s.State == perso.LotClosed {
				display.Done()
				return nil
			}
		}
		if err := env.Sleep(ctx, poll); err != nil {
			return noLongerWatching(env)
		}
	}
}

// noLongerWatching ends the following of a lot when a person ends it, which is no fault.
func noLongerWatching(env *Env) error {
	fmt.Fprintln(env.Err, "perso: no longer watching; the lot goes on")
	return nil
}

// counted is the result of "lot count".
type counted struct {
	Lot         perso.Name `json:"lot"`
	In          uint64     `json:"in"`
	Good        uint64     `json:"good"`
	RejectBlank uint64     `json:"reject_blank"`
	RejectLive  uint64     `json:"reject_live"`
	Return      uint64     `json:"return"`
	Sample      uint64     `json:"sample,omitempty"`
}

func newLotCountCmd(env *Env) *cobra.Command {
	var n counted
	c := &cobra.Command{
		Use:   "count LOT",
		Short: "Report what was counted by hand in the bins",
		Long: Describe("Reports the hand count of a complete lot's bins; before, they still fill, and a count is refused. It is blind: nobody is told what to\n"+
			"find, only when the figures do not add up in themselves. A first count that differs from the ledger is counted again; what differs after two counts is named, and corrected by another\n"+
			"count or explained ('perso lot draft-explain'). All counts stay in the log.", n),
		Example: `  perso lot count L-2027-0001 --in 24 --good 20 --reject-blank 1 --reject-live 2 --return 1`,
		Args:    Takes("LOT"),
	}
	c.Flags().Uint64Var(&n.In, "in", 0, "chips that were fed")
	c.Flags().Uint64Var(&n.Good, "good", 0, "chips in the good bin")
	c.Flags().Uint64Var(&n.RejectBlank, "reject-blank", 0, "chips in the bin of blank rejects")
	c.Flags().Uint64Var(&n.RejectLive, "reject-live", 0, "chips in the locked bin of live rejects")
	c.Flags().Uint64Var(&n.Return, "return", 0, "blank chips returned to stock")
	c.Flags().Uint64Var(&n.Sample, "sample", 0, "samples that quality keeps")
	send := env.online(quick, func(ctx context.Context, office bus.Requester, args []string) (err error) {
		if n.Lot, err = lotArg(args[0]); err != nil {
			return err
		}
		return countLot(ctx, env, office, n)
	})
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "in", "good", "reject-blank", "reject-live", "return"); err != nil {
			return err
		}
		return send(cmd, args)
	}
	return c
}

func countLot(ctx context.Context, env *Env, office bus.Requester, n counted) error {
	q := bus.CountRequest{Lot: n.Lot, Source: entry.SourceHand, In: n.In, Good: n.Good, RejectBlank: n.RejectBlank, RejectLive: n.RejectLive, Return: n.Return, Sample: n.Sample}
	if _, err := io.ReadFull(env.Rand, q.ID[:]); err != nil {
		return fmt.Errorf("drawing the count's id: %w", err)
	}
	if _, err := ask[bus.Empty](ctx, office, bus.OfficeCount, q); err != nil {
		return err
	}
	// Who counts blind may be told what their own figures say, and nothing that the ledger has.
	if out := n.Good + n.RejectBlank + n.RejectLive + n.Return + n.Sample; out != n.In {
		env.Advise("the figures do not add up: %d fed, and %d = %d good + %d reject-blank + %d reject-live + %d return + %d sample; unless chips are missing, count again",
			n.In, out, n.Good, n.RejectBlank, n.RejectLive, n.Return, n.Sample)
	}
	return env.Emit(n, func(w io.Writer) { fmt.Fprintf(w, "the hand count of lot %s is on record\n", n.Lot) })
}

// handedOut is the result of "lot export".
type handedOut struct {
	Lot   perso.Name `json:"lot"`
	Paths []string   `json:"paths"`
	Units uint64     `json:"units"`
	Hash  digest     `json:"hash"`
}

// bundled is the result of "lot bundle": the bundle has its own seal, and its log says what was made.
type bundled struct {
	Lot   perso.Name `json:"lot"`
	Paths []string   `json:"paths"`
}

func newLotExportCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "export LOT",
		Short: "Write what the lot's receivers get",
		Long: Describe("Has the ledger write the EIS batch for the SM-SR and the output file for the provider, on its own host, and prints where.\n"+
			"It is a function of the ledger: the same lot gives the same files.", handedOut{}),
		Example: `  perso lot export L-2027-0001`,
		Args:    Takes("LOT"),
		RunE: env.online(lengthy, handOutLot(env, bus.OfficeExport, func(lot perso.Name, r bus.PathReply) any {
			fmt.Fprintf(env.Err, "perso: %d units of lot %s, hash %s\n", r.Units, lot, digest(r.Hash))
			return handedOut{Lot: lot, Paths: append([]string{}, r.Paths...), Units: r.Units, Hash: r.Hash}
		})),
	}
}

func newLotBundleCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "bundle LOT",
		Short: "Write the bundle that an auditor verifies offline",
		Long: Describe("Has the ledger write the audit bundle of a lot, on its own host, and prints where: log, proofs, officers' statements, receipts\n"+
			"of the vault. It holds no secret.", bundled{}),
		Example: `  perso lot bundle L-2027-0001
  perso audit verify "$(perso lot bundle L-2027-0001)"`,
		Args: Takes("LOT"),
		RunE: env.online(lengthy, handOutLot(env, bus.OfficeBundle, func(lot perso.Name, r bus.PathReply) any {
			return bundled{Lot: lot, Paths: append([]string{}, r.Paths...)}
		})),
	}
}

// handOutLot has the ledger write something on its own host; result says for programs what it was.
func handOutLot(env *Env, verb string, result func(lot perso.Name, r bus.PathReply) any) func(context.Context, bus.Requester, []string) error {
	return func(ctx context.Context, office bus.Requester, args []string) error {
		lot, s, err := env.standing(ctx, office, args[0])
		if err != nil {
			return err
		}
		r, err := askLot[bus.PathReply](ctx, env, office, verb, lot)
		if err != nil {
			return err
		}
		err = env.Emit(result(lot, r), func(w io.Writer) {
			for _, p := range r.Paths {
				fmt.Fprintln(w, p)
			}
		})
		if s.State != perso.LotClosed {
			fmt.Fprintf(env.Err, "perso: lot %s is not closed, it is %s: nobody has signed its counts\n", lot, s.State)
			env.Advise("next: count the bins, then %s", env.Command("lot draft-close", "%[1]s -o %[1]s.close", lot))
		}
		return err
	}
}
