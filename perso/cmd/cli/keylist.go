package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/keygen/ceremony/census"
	"github.com/persoline/persoline/keygen/ceremony/conduct"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// remindBefore is how long before the end of a cryptoperiod the list reminds of it: a successor needs a ceremony, for a
// certificate key also the CI.
const remindBefore = 90 * 24 * time.Hour

// listedKeys is the result of "key list".
type listedKeys struct {
	OK          bool        `json:"ok"`
	Environment perso.Env   `json:"environment"`
	Site        perso.Name  `json:"site"`
	Token       string      `json:"token"`
	Number      uint64      `json:"ceremonies"`
	Head        digest      `json:"head"`
	Keys        []listedKey `json:"keys"`
}

type listedKey struct {
	Key      string       `json:"key"`
	State    string       `json:"state"`
	Verdict  string       `json:"verdict"`
	What     string       `json:"what"`
	Check    string       `json:"check"`
	Origin   string       `json:"origin"`
	Backup   string       `json:"backup"`
	Owner    string       `json:"owner"`
	Until    string       `json:"until"`
	Ceremony uint64       `json:"ceremony"`
	Copies   []listedCopy `json:"copies"`
}

type listedCopy struct {
	Holder perso.Name   `json:"holder"`
	Place  string       `json:"place"`
	Gone   bool         `json:"gone"`
	By     []perso.Name `json:"signed_off_by"`
}

func newKeyListCmd(env *Env) *cobra.Command {
	var flags ceremonyFlags
	var head string
	c := &cobra.Command{
		Use:   "list PLAN",
		Short: "Compare the keys on the token with the signed inventory",
		Long: Describe("Verifies every ceremony's transcript, and compares the token with what follows from them. The plan, usually the last one, says which\n"+
			"token and which inventory. A key that is unknown, missing, changed, or destroyed and there again is an alarm: the exit code is 3.", listedKeys{}),
		Example: `  perso key list ceremony.yaml --head "$HEAD"
  perso key list ceremony.yaml --json`,
		Args: Takes("PLAN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return listKeys(cmd.Context(), env, args[0], flags, head)
		},
	}
	ceremonyFlagsOf(c, &flags, false)
	c.Flags().StringVar(&head, "head", "", "hash of the last ceremony, in hex, as its transcript was printed")
	return c
}

func listKeys(ctx context.Context, env *Env, path string, flags ceremonyFlags, head string) (err error) {
	r, err := env.enter(path, flags)
	if err != nil {
		return err
	}
	defer r.leave()
	chain, err := r.history(head)
	if err != nil {
		return err
	}
	lots, err := r.lots()
	if err != nil {
		return err
	}
	token, err := r.openToken(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, token.Close()) }()
	c, err := census.Take(ctx, token, chain.Inventory, r.plan.Env, lots)
	if err != nil {
		return err
	}
	l := listedKeysOf(c, chain)
	l.Token = r.plan.Token.Label
	if err := env.Emit(l, l.write); err != nil {
		return err
	}
	for _, e := range chain.Inventory.Keys() {
		if e.State.OnToken() && e.Until.Before(env.Now().Add(remindBefore)) {
			env.Advise("the cryptoperiod of %s ends %s: plan its successor", e.Key, e.Until.Format(time.DateOnly))
		}
	}
	if head == "" {
		env.Advise("nothing says that this is the newest inventory: compare the head with paper, or give it as --head")
	}
	if n := len(c.Alarms()); n > 0 {
		return Refuted("ALARM: the token differs from the inventory in %d keys; the vault refuses them", n)
	}
	return nil
}

// history verifies all transcripts of the plan's inventory, and that none is missing at the end.
func (r *ceremonyRoom) history(head string) (*transcript.Chain, error) {
	chain, err := conduct.Load(r.store(), r.plan.RegisterPin)
	if err != nil {
		return nil, ceremonyError(err)
	}
	if chain.Number == 0 {
		return nil, Hint(fmt.Errorf("there is no transcript in %q", r.path(r.plan.Inventory)), "no ceremony was finished with this inventory, or it lies elsewhere: 'perso key run' holds one")
	}
	if chain.Env != r.plan.Env || chain.Site != r.plan.Site {
		return nil, fmt.Errorf("the inventory is of site %q, environment %s", chain.Site, chain.Env)
	}
	if head == "" {
		return chain, nil
	}
	b, err := console.Pin("--head", head)
	if err == nil && [32]byte(b) != chain.Head {
		err = Refuted("the last ceremony of the inventory ended with %x, --head is %x: it was put back to an older state", chain.Head, b)
	}
	return chain, err
}

func listedKeysOf(c census.Census, chain *transcript.Chain) listedKeys {
	l := listedKeys{OK: len(c.Alarms()) == 0, Environment: chain.Env, Site: chain.Site, Number: chain.Number, Head: chain.Head, Keys: []listedKey{}}
	for _, line := range c {
		k := listedKey{Key: line.Key, State: "-", Verdict: string(line.Verdict), What: line.What, Copies: []listedCopy{}}
		if e := line.Entry; e != nil {
			k.fill(e)
		}
		l.Keys = append(l.Keys, k)
	}
	for _, e := range chain.Inventory.Keys() {
		if e.Key.Class() == transcript.ClassOP {
			k := listedKey{Key: string(e.Key), Verdict: string(census.OK), What: "sealed in a file, not on the token"}
			k.fill(e)
			l.Keys = append(l.Keys, k)
		}
	}
	return l
}

func (k *listedKey) fill(e *transcript.Entry) {
	k.Owner, k.Until = e.Owner, e.Until.Format(time.DateOnly)
	k.State, k.Check, k.Origin, k.Backup, k.Ceremony, k.Copies = string(e.State), e.Check, string(e.Origin), string(e.Backup), e.Ceremony, []listedCopy{}
	for _, h := range e.Copies {
		k.Copies = append(k.Copies, listedCopy{Holder: h.Holder, Place: h.Place, Gone: !h.Gone.IsZero(), By: append([]perso.Name{}, h.By...)})
	}
}

func (l listedKeys) write(w io.Writer) {
	fmt.Fprintf(w, "environment %s, site %s, token %q, %d ceremonies, head %s\n\n", l.Environment, l.Site, l.Token, l.Number, l.Head)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tSTATE\tOWNER\tUNTIL\tBACKUP\tCOPIES\tKNOWN BY\tTOKEN")
	for _, k := range l.Keys {
		left := 0
		for _, c := range k.Copies {
			if !c.Gone {
				left++
			}
		}
		verdict := k.Verdict
		if v := census.Verdict(k.Verdict); v != census.OK && v != census.Gone {
			verdict = "ALARM " + verdict + ": " + k.What
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d of %d\t%s\t%s\n", k.Key, k.State, k.Owner, k.Until, k.Backup, left, len(k.Copies), console.Short(k.Check), verdict)
	}
	_ = t.Flush() // into memory
}
