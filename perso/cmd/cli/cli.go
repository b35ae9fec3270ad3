// Package cli is the command line of perso: what officers, the office and the auditor type.
//
// Each command is a thin constructor newXCmd(env) around a function that does the work; everything a command touches
// (streams, terminal, clock, randomness, the way to the office) comes in with Env, so that a test runs it as a function.
// Main is the only entry. The conventions hold for every command:
//
//   - data goes to standard output, talk to standard error
//   - --json gives one JSON object on one line; what is watched gives one object per line. The fields are those that the
//     command's help lists, and they only ever grow.
//   - an error says what, where and why, and where it can, in a second line, what to do
//   - exit codes: ExitOK, ExitFailed, ExitUsage, ExitRefuted
//
// Only perso/cmd calls it. Commands that start zones are built elsewhere in perso/cmd and come in through Env.Extra.
package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/persoline/persoline/perso/bus"
)

// Exit codes of the program.
const (
	ExitOK      = 0
	ExitFailed  = 1 // it was tried and did not work, or was refused
	ExitUsage   = 2 // the command line makes no sense; nothing was tried
	ExitRefuted = 3 // a verification was carried out and says no
)

// defaultSite is the folder of the site when nobody names one.
const defaultSite = "./site"

// Office is a connection on which the ledger is asked.
type Office interface {
	bus.Requester
	Close() error
}

// Env is everything a command may touch.
type Env struct {
	In       io.Reader
	Out, Err io.Writer

	InTTY, OutTTY, ErrTTY bool
	Width                 func() int // columns of the terminal

	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	Rand  io.Reader

	// Dial connects to the office of the site in a folder.
	Dial func(ctx context.Context, siteDir string) (Office, error)
	// Extra makes further commands of the root.
	Extra []func(env *Env) *cobra.Command

	// Set by the persistent flags, before a command runs.
	SiteDir string
	JSON    bool
}

// Main runs one command line and gives the exit code. Each wire completes the environment before the commands are built.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer, wire ...func(*Env)) int {
	env := newEnv(in, out, errOut)
	for _, w := range wire {
		w(env)
	}
	return env.run(ctx, args)
}

func newEnv(in io.Reader, out, errOut io.Writer) *Env {
	return &Env{
		In: in, Out: out, Err: errOut, InTTY: isTerminal(in), OutTTY: isTerminal(out), ErrTTY: isTerminal(errOut),
		Width: func() int { return columns(out) }, Now: time.Now, Sleep: sleep, Rand: rand.Reader,
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func columns(stream any) int {
	const usual = 80
	if f, ok := stream.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return usual
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (env *Env) run(ctx context.Context, args []string) int {
	root, reached := NewRootCmd(env), false
	mark(root, &reached)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	help := "'" + cmd.CommandPath() + " --help' shows how it is used"
	if !reached {
		err = &failure{code: ExitUsage, err: err, hint: help}
	}
	code := exitCode(err)
	if hinted := env.complain(err); code == ExitUsage && !hinted {
		env.Advise("%s", help)
	}
	return code
}

// mark notes that a command's own function was reached: whatever went wrong before is a fault of the command line.
func mark(c *cobra.Command, reached *bool) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*reached = true
			return run(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		mark(sub, reached)
	}
}

// NewRootCmd is the tree of all commands; Main runs it.
func NewRootCmd(env *Env) *cobra.Command {
	root := Group("perso", "Personalize SIM and eSIM chips, and account for each of them", `  perso order check order.json
  perso lot status L-2027-0001 --follow
  perso audit verify ./L-2027-0001.bundle`,
		newOrderCmd(env), newOfficerCmd(env), newLotCmd(env), newChipsCmd(env), newTraceCmd(env), newKeyCmd(env), newAuditCmd(env), newCertCmd(env), newProductCmd(env), newProfileCmd(env), newScriptCmd(env), newVersionCmd(env))
	for _, extra := range env.Extra {
		root.AddCommand(extra(env))
	}
	root.Long = "perso takes an order file, lets officers release it, has chips personalized, and keeps a log that an auditor can check.\n\n" +
		"Exit codes: 0 done, 1 failed or refused, 2 wrong use, 3 a verification says no."
	root.Version = versionOf(debug.ReadBuildInfo()).String() // makes "perso --version", which everybody tries first
	root.SetFlagErrorFunc(flagFault)
	root.SetVersionTemplate("perso {{.Version}}\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.PersistentFlags().StringVar(&env.SiteDir, "site", defaultSite, "folder of the site")
	root.PersistentFlags().BoolVar(&env.JSON, "json", false, "write JSON, one object on one line")
	return root
}

// listsThem is the hint of whoever named no command of a group, or one that is not there.
const listsThem = "'%s --help' lists them"

// Group makes a command that only holds others. Without any of them, it shows its help and is a usage error, except at
// the root.
func Group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.ArbitraryArgs}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		if cmd.HasParent() {
			cmd.SetOut(cmd.ErrOrStderr()) // talk: a program that reads the output asked for data
			return errors.Join(cmd.Help(), Hint(Usage("'%s' needs a command", cmd.CommandPath()), listsThem, cmd.CommandPath()))
		}
		return cmd.Help()
	}
	c.AddCommand(subs...)
	return c
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := fmt.Sprintf(listsThem, cmd.CommandPath())
	const nearEnough = 2 // letters that differ
	cmd.SuggestionsMinimumDistance = nearEnough
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean '" + cmd.CommandPath() + " " + near[0] + "'?"
	}
	return &failure{code: ExitUsage, err: fmt.Errorf("there is no command %q under '%s'", name, cmd.CommandPath()), hint: hint}
}
