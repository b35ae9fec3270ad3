package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// This file is for stopping work at once, by one officer, and letting it go on, by two.

// handedIn is the result of a command that hands a signed word in.
type handedIn struct {
	Kind      string `json:"kind"`
	Hash      digest `json:"hash"`
	Duplicate bool   `json:"duplicate"`
	Unknown   bool   `json:"unknown,omitempty"`
	// Untold are the vaults that were not told, and hear of it before they go on.
	Untold []perso.Name `json:"untold_vaults,omitempty"`
	// Apart are those of them that hear nothing more from this ledger, and why.
	Apart map[perso.Name]string `json:"vaults_apart,omitempty"`
	// Unmanned is what stands after a revocation, because nobody can sign what it needs.
	Unmanned []string `json:"nobody_can_sign,omitempty"`
}

// frozenThing is what stands still.
type frozenThing struct {
	What   string    `json:"what"`
	Name   string    `json:"name"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Hash   digest    `json:"statement_hash"`
}

// frozenList is the result of "frozen".
type frozenList struct {
	Frozen   []frozenThing `json:"frozen"`
	Unmanned []string      `json:"nobody_can_sign,omitempty"`
}

func newFrozenCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "frozen",
		Short:   "List what stands still, and why",
		Long:    Describe("Lists the orders, lots, lines and keys on which all work was stopped, and says what stands because nobody can sign what it needs.", frozenList{}),
		Example: `  perso frozen`,
		Args:    Takes(),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, _ []string) error {
			r, err := ask[bus.StandingReply](ctx, office, bus.OfficeStanding, bus.Empty{})
			if err != nil {
				return err
			}
			env.adviseUnmanned(r.Unmanned)
			list := frozenList{Frozen: []frozenThing{}, Unmanned: r.Unmanned}
			for _, f := range r.Frozen {
				list.Frozen = append(list.Frozen, frozenThing{f.What, f.Name, f.Reason, f.Since, f.Hash})
			}
			return env.Emit(list, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "WHAT\tNAME\tSINCE\tREASON")
				for _, f := range list.Frozen {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.What, f.Name, clock(f.Since), f.Reason)
				}
				_ = t.Flush() // into memory
			})
		}),
	}
}

func newFreezeCmd(env *Env) *cobra.Command {
	var reason, key string
	var yes bool
	c := &cobra.Command{
		Use:   "freeze order|lot|line|key NAME",
		Short: "Stop all work on an order, a lot, a line or a key, at once",
		Long: Describe("Stops work at once, by one officer's or supervisor's signature: heads hold their chips where they are and ask again, and nothing is\n"+
			"released, closed, exported or destroyed. A key is frozen by its name, with every lot that is made or handed out with it. Chips that\n"+
			"lie in bins, counts and audit bundles are taken and given as before. Two officers let it go on: 'perso draft-unfreeze'. A line keeps\n"+
			"the order that it has in hand: while that stands still, it takes no other lot. A name that nothing has is frozen too, for what may\n"+
			"come, and said to be unknown.", handedIn{}),
		Example: `  perso freeze lot L-2027-0001 --reason "seal of the locked bin is broken" --key sec-1.key
  perso freeze line line-1 --reason "head 3 heats its chips" --key prod-1.key --yes
  perso freeze key kmc-m2m-200s --reason "the chip maker reports a loss" --key sec-1.key
  perso freeze order DEMO-2027-0002 --reason "the customer asks to wait" --key prod-1.key`,
		Args: Takes("order|lot|line|key", "NAME"),
	}
	c.RunE = env.online(unbounded, func(ctx context.Context, office bus.Requester, args []string) error {
		if err := needs(c, "reason", "key"); err != nil {
			return err
		}
		f, err := frozenArgs(args, reason)
		if err != nil {
			return err
		}
		f.Kind = statement.KindFreeze
		return env.freeze(ctx, office, f, key, yes)
	})
	c.Flags().StringVar(&reason, "reason", "", "why, in words")
	c.Flags().StringVar(&key, "key", "", "key file of who freezes it")
	c.Flags().BoolVar(&yes, "yes", false, "sign without asking")
	return c
}

func frozenArgs(args []string, reason string) (f statement.Freeze, err error) {
	if f.What, err = statement.ParseFrozen(args[0]); err != nil {
		return f, Usage("%w", err)
	}
	f.Name, f.Reason = args[1], reason
	return f, nil
}

// freeze drafts the word, has it signed and hands it in, in one go.
func (env *Env) freeze(ctx context.Context, office bus.Requester, f statement.Freeze, key string, yes bool) error {
	k, err := loadKey(key)
	if err != nil {
		return err
	}
	defer k.Wipe()
	standing, err := ask[bus.StandingReply](ctx, office, bus.OfficeStanding, bus.Empty{})
	if err != nil {
		return err
	}
	body, err := env.freezeBody(f, standing)
	if err != nil {
		return err
	}
	s := statement.Signed{Body: body}
	if err := env.consent(ctx, s, f.Kind, k.Officer, yes); err != nil {
		return err
	}
	k.Sign(&s)
	return env.handIn(ctx, office, s.Encode(), fmt.Sprintf("%s %s is frozen", f.What, f.Name))
}

func (env *Env) freezeBody(f statement.Freeze, standing bus.StandingReply) ([]byte, error) {
	f.Env, f.Site, f.At = standing.Env, standing.Site, standing.Now
	if _, err := io.ReadFull(env.Rand, f.Nonce[:]); err != nil {
		return nil, fmt.Errorf("drawing a nonce: %w", err)
	}
	body, err := f.Encode()
	if err == nil {
		_, err = statement.ParseFreeze(body)
	}
	if err != nil {
		return nil, fmt.Errorf("drafting: %w", err)
	}
	if err := statement.CheckReason(body); err != nil {
		return nil, Usage("--reason: %w", err)
	}
	return body, nil
}

// handIn gives the ledger a signed word.
func (env *Env) handIn(ctx context.Context, office bus.Requester, signed []byte, done string) error {
	r, err := ask[bus.WordReply](ctx, office, bus.OfficeWord, bus.SignedRequest{Signed: signed})
	if err != nil {
		return err
	}
	if r.Unknown {
		env.Advise("NOTHING STOPS: nothing here has that name; is it spelled right? Whatever may come under it is frozen until two officers lift that")
	}
	if r.Kind == statement.KindForget {
		env.Advise("%s", stillElsewhere)
	}
	env.adviseUnmanned(r.Unmanned)
	apart := map[perso.Name]string{}
	for _, a := range r.Apart {
		apart[a.Vault] = a.Why
	}
	for _, v := range r.Untold {
		if why, ok := apart[v]; ok {
			env.Advise("VAULT %s IS NOT BOUND BY THIS: %s", v, why)
			continue
		}
		env.Advise("vault %s does not answer: the ledger keeps this, and tells the vault before it asks it for anything", v)
	}
	return env.Emit(handedIn{Kind: r.Kind, Hash: r.Hash, Duplicate: r.Duplicate, Unknown: r.Unknown, Untold: r.Untold, Apart: apart, Unmanned: r.Unmanned}, func(w io.Writer) {
		if r.Duplicate {
			fmt.Fprintf(w, "this %s is on record already\n", r.Kind)
			return
		}
		fmt.Fprintf(w, "%s\n", done)
	})
}

// adviseUnmanned says loudly what stands because nobody can sign what it needs.
func (env *Env) adviseUnmanned(all []string) {
	for _, what := range all {
		env.Advise("NOBODY CAN SIGN: %s", what)
	}
}

func newDraftUnfreezeCmd(env *Env) *cobra.Command {
	var reason, out string
	c := &cobra.Command{
		Use:   "draft-unfreeze order|lot|line|key NAME",
		Short: "Write the statement by which work goes on, for officers to read and sign",
		Long: Describe("Writes the statement that lifts the freeze in force, and no other: two officers of different role sign it, and 'perso unfreeze' hands\n"+
			"it in.", drafted{}),
		Example: `  perso draft-unfreeze lot L-2027-0001 --reason "the bin was counted, nothing is missing" -o demo.unfreeze`,
		Args:    Takes("order|lot|line|key", "NAME"),
	}
	c.RunE = env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
		if err := needs(c, "reason"); err != nil {
			return err
		}
		f, err := frozenArgs(args, reason)
		if err != nil {
			return err
		}
		standing, err := ask[bus.StandingReply](ctx, office, bus.OfficeStanding, bus.Empty{})
		if err != nil {
			return err
		}
		f.Kind = statement.KindUnfreeze
		for _, x := range standing.Frozen {
			if x.What == string(f.What) && x.Name == f.Name {
				f.Lifts = x.Hash
			}
		}
		if f.Lifts == [32]byte{} {
			return Hint(fmt.Errorf("%s %s is not frozen", f.What, f.Name), "'%s' lists what is", env.Command("frozen", ""))
		}
		body, err := env.freezeBody(f, standing)
		if err != nil {
			return err
		}
		return env.handOut(f.Kind, "", body, out)
	})
	c.Flags().StringVar(&reason, "reason", "", "why it may go on, in words")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (default standard output)")
	return c
}

func newUnfreezeCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "unfreeze FILE.signed",
		Short:   "Let frozen work go on with the officers' signatures",
		Long:    Describe("Hands a statement that two officers of different role signed to the ledger. Held heads go on within seconds.", handedIn{}),
		Example: `  perso unfreeze demo.unfreeze.signed`,
		Args:    Takes("FILE.signed"),
		RunE:    env.handsIn(statement.KindUnfreeze, "it goes on"),
	}
}

// handsIn makes the function of a command that hands a signed statement of one kind in.
func (env *Env) handsIn(kind, done string) func(*cobra.Command, []string) error {
	return env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
		b, _, err := env.readSigned(args[0], kind)
		if err != nil {
			return err
		}
		return env.handIn(ctx, office, b, done)
	})
}
