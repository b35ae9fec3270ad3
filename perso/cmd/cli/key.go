package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/keygen/ceremony/conduct"
	"github.com/persoline/persoline/keygen/ceremony/plan"
	"github.com/persoline/persoline/keygen/ceremony/share"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement/transcript"
)

func newKeyCmd(env *Env) *cobra.Command {
	return Group("key", "Hold key ceremonies, and compare the token with their inventory", `  perso key check ceremony.yaml
  perso key run ceremony.yaml --key ann.key --key bob.key
  perso key list ceremony.yaml --head "$HEAD"`,
		newKeyCheckCmd(env), newKeyComponentCmd(env), newKeyTokenCmd(env), newKeyRunCmd(env), newKeyAbandonCmd(env), newKeyListCmd(env))
}

// checkedPlan is the result of "key check".
type checkedPlan struct {
	Environment perso.Env        `json:"environment"`
	Site        perso.Name       `json:"site"`
	Ceremony    perso.Name       `json:"ceremony"`
	Number      uint64           `json:"number"`
	Plan        digest           `json:"plan"`
	Present     []perso.Name     `json:"present"`
	Steps       []checkedPlanAct `json:"steps"`
}

type checkedPlanAct struct {
	Op      transcript.Op `json:"op"`
	Subject string        `json:"subject"`
}

func newKeyCheckCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "check PLAN",
		Short: "Read a ceremony's plan and tell all its faults",
		Long: Describe("Reads the plan alone, without token or inventory: every fault is told with its line and field. Who is there and what is done is held\n"+
			"against the plan's own officers in the first ceremony; later, 'perso key run' does that with the register. What is printed is for the reviewers.", checkedPlan{}),
		Example: `  perso key check ceremony.yaml
  perso key check ceremony.yaml --json`,
		Args: Takes("PLAN"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := env.readPlan(args[0])
			if err != nil {
				return err
			}
			if err := conduct.Check(p); err != nil {
				return Hint(fmt.Errorf("%s cannot be carried out:\n%w", args[0], err), "'perso key run' would refuse it as well; deploy/ceremony/PLAN.md says what is needed")
			}
			c := checkedPlan{Environment: p.Env, Site: p.Site, Ceremony: p.Ceremony, Number: p.Number, Plan: p.Hash, Present: p.Present}
			for _, a := range p.Acts {
				c.Steps = append(c.Steps, checkedPlanAct{Op: a.Op, Subject: a.Subject()})
			}
			return env.Emit(c, func(w io.Writer) {
				fmt.Fprintf(w, "environment %s, site %s, ceremony %d %q\nplan %s\nofficers %s\n", c.Environment, c.Site, c.Number, c.Ceremony, c.Plan, joinNames(c.Present))
				for i, s := range c.Steps {
					fmt.Fprintf(w, "%3d  %s %s\n", i+1, s.Op, s.Subject)
				}
			})
		},
	}
}

// drawnComponent is the result of "key component".
type drawnComponent struct {
	File  string `json:"file"`
	Class string `json:"class"`
	Bytes int    `json:"bytes"`
	KCV   string `json:"kcv"`
}

func newKeyComponentCmd(env *Env) *cobra.Command {
	var class, out string
	var size int
	c := &cobra.Command{
		Use:   "component",
		Short: "Draw one component of a key, for its custodian alone",
		Long: Describe("Draws a random component into a new file that only its owner can read, and prints its check value, which goes into the plan.\n"+
			"Each custodian does this apart from the others, on a medium of his own. It is how a site makes a key that it wants on media.", drawnComponent{}),
		Example: `  perso key component --class kmc --bytes 16 -o /media/c1/kmc-1.hex`,
		Args:    Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needs(cmd, "class", "bytes", "output"); err != nil {
				return err
			}
			return drawComponent(env, class, size, out)
		},
	}
	c.Flags().StringVar(&class, "class", "", "class of the key, or op for an operator key")
	c.Flags().IntVar(&size, "bytes", 0, "length of the key")
	c.Flags().StringVarP(&out, "output", "o", "", "file to create")
	return c
}

func drawComponent(env *Env, class string, size int, path string) (err error) {
	const most = 32
	if size < 1 || size > most {
		return Usage("--bytes is %d, expected 1 to %d", size, most)
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(env.Rand, raw); err != nil {
		return fmt.Errorf("drawing the component: %w", err)
	}
	component := secret.New(raw)
	defer component.Wipe()
	kcv, err := share.Check(class, component)
	if err != nil {
		return Hint(err, "hsm/KEYS.md lists the classes of keys and their lengths; \"op\" is an operator key")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("creating the file: %w", err)
	}
	err = share.Format(component, func(text []byte) error {
		_, err := f.Write(append(text, '\n'))
		return err
	})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the component: %w", errors.Join(err, os.Remove(path)))
	}
	d := drawnComponent{File: path, Class: class, Bytes: size, KCV: hex.EncodeToString(kcv[:])}
	return env.Emit(d, func(w io.Writer) { fmt.Fprintf(w, "%s\n", d.KCV) })
}

// ceremonyFlagsOf adds the flags of people to a command.
func ceremonyFlagsOf(c *cobra.Command, f *ceremonyFlags, officers bool) {
	c.Flags().StringVar(&f.pin, "pin", "", "where a TPM or a test's file gives the PIN: fd:N, credential:NAME or file:PATH")
	c.Flags().StringArrayVar(&f.halves, "half", nil, "CUSTODIAN=SOURCE of a PIN's half; without it the terminal asks")
	if officers {
		c.Flags().StringArrayVar(&f.keys, "key", nil, "key file of an officer who is present")
		c.Flags().StringArrayVar(&f.from, "from", nil, "CUSTODIAN=SOURCE of components, one a line; without it the terminal asks")
		c.Flags().BoolVar(&f.yes, "yes", false, "sign without asking")
	}
}

// madeToken is the result of "key token".
type madeToken struct {
	Environment perso.Env `json:"environment"`
	Directory   string    `json:"directory"`
	Label       string    `json:"label"`
}

func newKeyTokenCmd(env *Env) *cobra.Command {
	var flags ceremonyFlags
	c := &cobra.Command{
		Use:   "token PLAN",
		Short: "Make the SoftHSM token of a test ceremony",
		Long: Describe("Makes the token that the plan names, with the PIN from where the plan says. SoftHSM is for tests; the token of a real HSM is made\n"+
			"with its maker's tool.", madeToken{}),
		Example: `  perso key token ceremony.yaml --half c1=file:/media/c1/pin --half c2=file:/media/c2/pin`,
		Args:    Takes("PLAN"),
		RunE:    func(_ *cobra.Command, args []string) error { return makeToken(env, args[0], flags) },
	}
	ceremonyFlagsOf(c, &flags, false)
	return c
}

func makeToken(env *Env, path string, flags ceremonyFlags) error {
	r, err := env.enter(path, flags)
	if err != nil {
		return err
	}
	defer r.leave()
	t := r.plan.Token
	if t.Module != plan.ModuleSoftHSM {
		return Hint(fmt.Errorf("module %q is not made here", t.Module), "use the tool of the HSM's maker")
	}
	pin, err := r.readPIN()
	defer pin.Wipe()
	if err != nil {
		return err
	}
	if err := softhsm.Init(r.path(t.Directory), t.Label, pin, pin); err != nil {
		return err
	}
	m := madeToken{Environment: r.plan.Env, Directory: r.path(t.Directory), Label: t.Label}
	return env.Emit(m, func(w io.Writer) { fmt.Fprintf(w, "%s token %q in %s\n", m.Environment, m.Label, m.Directory) })
}

// heldCeremony is the result of "key run" and "key abandon".
type heldCeremony struct {
	Environment perso.Env    `json:"environment"`
	Site        perso.Name   `json:"site"`
	Ceremony    perso.Name   `json:"ceremony"`
	Number      uint64       `json:"number"`
	Outcome     string       `json:"outcome"`
	Resumed     bool         `json:"resumed"`
	Transcript  string       `json:"transcript"`
	Public      []string     `json:"public"`
	SignedBy    []perso.Name `json:"signed_by"`
	RegisterPin digest       `json:"register_pin"`
	Head        digest       `json:"head"`
}

func newKeyRunCmd(env *Env) *cobra.Command {
	var flags ceremonyFlags
	c := &cobra.Command{
		Use:   "run PLAN",
		Short: "Carry a ceremony's plan out, or go on where it was cut off",
		Long: Describe("Has the officers sign what will be done, does it step by step, and has them sign what was done. Run again after a break, it looks on\n"+
			"the token for what was done and goes on. What it prints at the end, register pin and head, belongs on paper.", heldCeremony{}),
		Example: `  perso key run ceremony.yaml --key /media/ann/ann.key --key /media/bob/bob.key
  perso key run ceremony.yaml --key ann.key --key bob.key --from c1=tty:/dev/tty2 --from c2=tty:/dev/tty3`,
		Args: Takes("PLAN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return holdCeremony(cmd.Context(), env, args[0], flags, conduct.Run)
		},
	}
	ceremonyFlagsOf(c, &flags, true)
	return c
}

func newKeyAbandonCmd(env *Env) *cobra.Command {
	var flags ceremonyFlags
	c := &cobra.Command{
		Use:   "abandon PLAN",
		Short: "End a ceremony that cannot be finished",
		Long: Describe("Looks on the token what became of the step under way, and has the officers sign an end that says what was done and what not. What was\n"+
			"done stands; the next ceremony begins from there.", heldCeremony{}),
		Example: `  perso key abandon ceremony.yaml --key ann.key --key bob.key`,
		Args:    Takes("PLAN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return holdCeremony(cmd.Context(), env, args[0], flags, conduct.Abandon)
		},
	}
	ceremonyFlagsOf(c, &flags, true)
	return c
}

// holdCeremony opens room and token, and closes them whatever happens.
func holdCeremony(ctx context.Context, env *Env, path string, flags ceremonyFlags, do func(context.Context, conduct.Config) (conduct.Result, error)) (err error) {
	r, err := env.enter(path, flags)
	if err != nil {
		return err
	}
	defer r.leave()
	if err := errors.Join(r.store().Create(), r.makeVault()); err != nil {
		return err
	}
	token, err := r.openToken(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, token.Close()) }()
	c, err := r.config(token)
	if err != nil {
		return err
	}
	res, err := do(ctx, c)
	if errors.Is(err, conduct.ErrFinished) {
		env.Advise("this ceremony was finished before; nothing was done")
		err = nil
	}
	if err != nil {
		return ceremonyError(err)
	}
	h := heldCeremony{Environment: res.Order.Env, Site: res.Order.Site, Ceremony: res.Order.Ceremony, Number: res.Order.Number, Outcome: string(res.End.Outcome),
		Resumed: res.Resumed, Transcript: res.File, Public: append([]string{}, res.Public...), SignedBy: res.By, RegisterPin: res.RegisterPin, Head: res.Hash}
	return env.Emit(h, func(w io.Writer) {
		fmt.Fprintf(w, "environment %s, site %s, ceremony %d %q: %s\ntranscript %s, signed by %s\nregister pin %s\nhead %s\n",
			h.Environment, h.Site, h.Number, h.Ceremony, h.Outcome, h.Transcript, joinNames(h.SignedBy), h.RegisterPin, h.Head)
	})
}

// ceremonyError says what people can do, and turns what does not verify into a refutation.
func ceremonyError(err error) error {
	var fault *transcript.Fault
	switch {
	case errors.As(err, &fault):
		return console.Fail(ExitRefuted, err, "the inventory was changed: take it from its last copy, and find out by whom")
	case errors.Is(err, conduct.ErrToken):
		return console.Fail(ExitRefuted, err, "'perso key list' shows the whole comparison; hold no ceremony on this token")
	case errors.Is(err, share.ErrKCV), errors.Is(err, share.ErrComponent):
		return Hint(err, "nothing of this key is left on the token or on disk; run the plan again")
	case errors.Is(err, hsm.ErrSessionLost), errors.Is(err, hsm.ErrTokenGone), errors.Is(err, hsm.ErrBusy):
		return Hint(err, "run the plan again: it looks on the token for what was done")
	}
	return err
}
