package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// This file drafts what people sign at the lines, and hands it in: policy, line clearance, first article, why a count differs, and
// live rejects that are no more.

// handInKinds are the statements that "hand-in" takes; the others have a command of their own.
var handInKinds = []string{statement.KindAdd, statement.KindRevoke, statement.KindPolicy, statement.KindFirstArticle, statement.KindClearance, statement.KindExplained, statement.KindRejects, statement.KindSamples, statement.KindTaken, statement.KindCancelled, statement.KindForget, statement.KindShort}

func newHandInCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "hand-in FILE.signed",
		Short: "Hand in what people signed at the lines, or a change of the officer register",
		Long: Describe("Hands a signed statement to the ledger, which holds it against what it knows and against whose duty it is to sign it: a policy, a line\n"+
			"clearance, a first article, the samples of a lot, the explanation of a hand count, the end of a lot that is not made whole, the destruction of live rejects, the deletion of a lot's openings, the order\n"+
			"desk's word that an order was taken in as sent or is cancelled, or, from a key ceremony's folder, a change of the officer register: who was revoked signs nothing\n"+
			"from then on.", handedIn{}),
		Example: `  perso hand-in demo.first-article.signed
  perso hand-in ceremony/register-0001.signed`,
		Args: Takes("FILE.signed"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			b, s, err := env.readSigned(args[0], handInKinds...)
			if err != nil {
				return err
			}
			kind, err := record.Kind(s.Body)
			if err != nil {
				return err
			}
			return env.handIn(ctx, office, b, fmt.Sprintf("the %s is on record", kind))
		}),
	}
}

// drafts makes a command that writes a statement: make completes it, given its header.
func (env *Env) drafts(c *cobra.Command, flags []string, make func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (kind string, body []byte, err error)) *cobra.Command {
	out := c.Flags().StringP("output", "o", "", "file to write (default standard output)")
	c.RunE = env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
		if err := needs(c, flags...); err != nil {
			return err
		}
		standing, err := ask[bus.StandingReply](ctx, office, bus.OfficeStanding, bus.Empty{})
		if err != nil {
			return err
		}
		h := statement.Header{Env: standing.Env, Site: standing.Site, At: standing.Now}
		if _, err := io.ReadFull(env.Rand, h.Nonce[:]); err != nil {
			return fmt.Errorf("drawing a nonce: %w", err)
		}
		kind, body, err := make(ctx, office, args, h)
		if err == nil {
			_, err = readable(body)
		}
		if err != nil {
			return err
		}
		return env.handOut(kind, "", body, *out)
	})
	return c
}

func newPolicyCmd(env *Env) *cobra.Command {
	return Group("policy", "What every lot must go through that is released from now on", `  perso policy show
  perso policy draft --first-article 5 --clearance -o site.policy`,
		newPolicyShowCmd(env), newPolicyDraftCmd(env))
}

// policyShown is the result of "policy show".
type policyShown struct {
	bus.Policy
	Unmanned []string `json:"nobody_can_sign,omitempty"`
}

func newPolicyShowCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the policy in force",
		Long:    Describe("Shows what lots that are released now must go through, and what of it nobody can sign. A lot keeps the policy that it was released under: 'perso lot status'.", policyShown{}),
		Example: `  perso policy show`,
		Args:    Takes(),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, _ []string) error {
			r, err := ask[bus.StandingReply](ctx, office, bus.OfficeStanding, bus.Empty{})
			if err != nil {
				return err
			}
			env.adviseUnmanned(r.Unmanned)
			return env.Emit(policyShown{r.Policy, r.Unmanned}, func(w io.Writer) { fmt.Fprintf(w, "lots that are released now: %s\n", policyText(r.Policy)) })
		}),
	}
}

// policyText says a policy in words.
func policyText(p bus.Policy) string {
	var parts []string
	if p.FirstArticle > 0 {
		parts = append(parts, fmt.Sprintf("quality signs the first %d good chips", p.FirstArticle))
	}
	if p.Clearance {
		parts = append(parts, "each line is cleared before it starts")
	}
	if p.Issue {
		parts = append(parts, "its chips are issued to it")
	}
	if p.Blind {
		parts = append(parts, "its bins are hidden until they are counted")
	}
	if p.Samples != "" {
		parts = append(parts, samplingText(statement.Sampling(p.Samples)))
	}
	if len(parts) == 0 {
		return "nothing is asked"
	}
	return strings.Join(parts, "; ")
}

func newPolicyDraftCmd(env *Env) *cobra.Command {
	var p statement.Policy
	var samples samplingFlags
	c := &cobra.Command{
		Use:   "draft",
		Short: "Write a policy, for two officers to read and sign",
		Long: Describe("Writes what every lot must go through that is released after the policy is handed in; it replaces the policy before. Without flags it asks\n"+
			"for nothing. While a lot waits for what a policy asks, the lines that have it in hand take no other lot: 'perso lot status' says for what.", drafted{}),
		Example: `  perso policy draft --first-article 5 --clearance --issue -o site.policy
  perso policy draft --aql 1.0 --samples-become kept -o site.policy`,
		Args: Takes(),
	}
	c.Flags().Uint64Var(&p.FirstArticle, "first-article", 0, "good chips after which a lot stands until quality has signed")
	c.Flags().BoolVar(&p.Clearance, "clearance", false, "a lot starts at a line only when somebody signed that the line is empty")
	c.Flags().BoolVar(&p.Issue, "issue", false, "a lot takes only chips that were issued to it")
	c.Flags().BoolVar(&p.Blind, "blind-count", false, "lot status and lot list leave out what lies in a lot's bins before people have counted them; trace, audit bundle, report and the line's displays still tell it")
	samples.add(c)
	return env.drafts(c, nil, func(_ context.Context, _ bus.Requester, _ []string, h statement.Header) (_ string, _ []byte, err error) {
		if p.Sampling, err = samples.read(c.Flags().Changed); err != nil {
			return "", nil, err
		}
		if p.FirstArticle > statement.MaxLotUnits {
			return "", nil, Usage("--first-article: no lot has %d good chips; it has at most %d units", p.FirstArticle, statement.MaxLotUnits)
		}
		p.Header = h
		body, err := p.Encode()
		return statement.KindPolicy, body, err
	})
}

func newLotDraftFirstArticleCmd(env *Env) *cobra.Command {
	var f statement.FirstArticle
	c := &cobra.Command{
		Use:   "draft-first-article LOT",
		Short: "Write that a lot's first good chips are as they should be, for quality to sign",
		Long: Describe("Writes quality's word about the chips of a lot that are good so far. Where the policy asks for it the lot stands after so many good chips\n"+
			"until it is signed and handed in ('perso hand-in').", drafted{}),
		Example: `  perso lot draft-first-article L-2027-0001 --finding "five chips read back, profile as ordered" -o demo.first-article`,
		Args:    Takes("LOT"),
	}
	c.Flags().StringVar(&f.Finding, "finding", "", "what was examined and found, in words")
	return env.drafts(c, []string{"finding"}, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		lot, s, err := env.standing(ctx, office, args[0])
		if err != nil {
			return "", nil, err
		}
		f.Header, f.Lot, f.Good = h, lot, s.Good
		body, err := f.Encode()
		return statement.KindFirstArticle, body, err
	})
}

func newLotDraftClearanceCmd(env *Env) *cobra.Command {
	var line, finding string
	c := &cobra.Command{
		Use:   "draft-clearance LOT",
		Short: "Write that a line is empty and the lot may start there, for a person to sign",
		Long: Describe("Writes the clearance of a line for a lot: an operator, a supervisor or an officer signs it when no chip, tray or paper of another lot is at\n"+
			"the line, and 'perso hand-in' hands it in. The ledger refuses it while a head has not confirmed the bin of its last chip.", drafted{}),
		Example: `  perso lot draft-clearance L-2027-0001 --line line-1 --finding "all trays and bins looked through" -o demo.clearance`,
		Args:    Takes("LOT"),
	}
	c.Flags().StringVar(&line, "line", "", "line that is empty")
	c.Flags().StringVar(&finding, "finding", "", "what was looked at, in words")
	return env.drafts(c, []string{"line", "finding"}, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		lot, err := lotArg(args[0])
		if err != nil {
			return "", nil, err
		}
		at, err := perso.ParseName(line)
		if err != nil {
			return "", nil, Usage("--line: %w", err)
		}
		if err := siteHas(ctx, office, at); err != nil {
			return "", nil, err
		}
		body, err := statement.Clearance{Header: h, Line: at, Lot: lot, Finding: finding}.Encode()
		return statement.KindClearance, body, err
	})
}

// siteHas refuses a line that the site does not have before a person signs for it: the ledger would refuse it then.
func siteHas(ctx context.Context, office bus.Requester, line perso.Name) error {
	standing, err := ask[bus.StandingReply](ctx, office, bus.OfficeStanding, bus.Empty{})
	if err != nil || slices.Contains(standing.Lines, line) {
		return err
	}
	var has []string
	for _, l := range standing.Lines {
		has = append(has, string(l))
	}
	return Hint(fmt.Errorf("this site has no line %q", line), "is it spelled right? It has %s", strings.Join(has, ", "))
}

func newLotDraftExplainCmd(env *Env) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "draft-explain LOT",
		Short: "Write why a hand count differs, for two persons to sign",
		Long: Describe("Writes why the last hand count of a lot differs from the ledger, after people counted twice. Two officers or supervisors sign it, and\n"+
			"'perso hand-in' hands it in; the lot can then be closed with the ledger's counts, and every audit tells of it.", drafted{}),
		Example: `  perso lot draft-explain L-2027-0001 --reason "two chips stuck together, counted as one" -o demo.explained`,
		Args:    Takes("LOT"),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, in words")
	return env.drafts(c, []string{"reason"}, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		lot, s, err := env.standing(ctx, office, args[0])
		if err != nil {
			return "", nil, err
		}
		if s.HandCount == [32]byte{} {
			return "", nil, Hint(fmt.Errorf("lot %s has no hand count to explain: it agrees, is explained, or was counted once", lot), "%s", env.countHint(lot))
		}
		body, err := statement.Explained{Header: h, Lot: lot, Count: s.HandCount, Reason: reason}.Encode()
		return statement.KindExplained, body, err
	})
}

func newChipsDraftDestroyCmd(env *Env) *cobra.Command {
	var d statement.Rejects
	var found []string
	c := &cobra.Command{
		Use:   "draft-destroy LOT",
		Short: "Write the list of a lot's live rejects that are destroyed, for two officers to sign",
		Long: Describe("Writes the list of the live rejects of a closed lot, piece by piece (an id that a maker gave to two chips stands there twice), and its good chips if quality did not accept its samples. Two officers of different role see them destroyed and sign it, and\n"+
			"'perso hand-in' hands it in. Chips that were signed for as missing and turned up are named with --found.", drafted{}),
		Example: `  perso chips draft-destroy L-2027-0001 --place "cellar 2" --how "shredded to 2 mm" -o demo.rejects`,
		Args:    Takes("LOT"),
	}
	c.Flags().StringVar(&d.Place, "place", "", "where they are destroyed")
	c.Flags().StringVar(&d.How, "how", "", "how they are destroyed")
	c.Flags().StringArrayVar(&found, "found", nil, "chip id of one that was missing, and is destroyed too")
	return env.drafts(c, []string{"place", "how"}, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		lot, err := lotArg(args[0])
		if err != nil {
			return "", nil, err
		}
		r, err := askLot[bus.RejectsReply](ctx, env, office, bus.OfficeRejects, lot)
		if err != nil {
			return "", nil, err
		}
		d.Header, d.Lot = h, lot
		if d.Chips, err = destroyedChips(r.Chips, found); err != nil {
			return "", nil, err
		}
		if len(d.Chips) == 0 {
			return "", nil, fmt.Errorf("lot %s has no live rejects that wait for their destruction", lot)
		}
		if r.More > 0 {
			env.Advise("%d more are left for another list", r.More)
		}
		body, err := d.Encode()
		return statement.KindRejects, body, err
	})
}

// destroyedChips joins the ledger's list, in which an id stands once for each piece, with the chips that were found and are not in it.
func destroyedChips(listed, found []string) ([]id.ChipID, error) {
	var chips []id.ChipID
	for _, text := range listed {
		c, err := id.ParseChipID(text)
		if err != nil {
			return nil, fmt.Errorf("reading the ledger's list of rejects: %w", err)
		}
		chips = append(chips, c)
	}
	more, err := sortedChips("--found", found)
	if err != nil {
		return nil, err
	}
	more = slices.DeleteFunc(more, func(c id.ChipID) bool { return slices.Contains(chips, c) })
	return statement.Pieces(append(chips, more...)), nil
}

// sortedChips reads chip ids, of a flag, and gives them in the order of their bytes.
func sortedChips(flag string, texts []string) ([]id.ChipID, error) {
	chips := make([]id.ChipID, 0, len(texts))
	for _, text := range texts {
		c, err := id.ParseChipID(text)
		if err != nil {
			return nil, Usage("%s: %w", flag, err)
		}
		chips = append(chips, c)
	}
	return statement.InOrder(chips), nil
}

// standing reads the argument LOT, and asks how that lot stands.
func (env *Env) standing(ctx context.Context, office bus.Requester, arg string) (perso.Name, bus.StatusReply, error) {
	lot, err := lotArg(arg)
	if err != nil {
		return "", bus.StatusReply{}, err
	}
	s, err := askLot[bus.StatusReply](ctx, env, office, bus.OfficeStatus, lot)
	return lot, s, err
}
