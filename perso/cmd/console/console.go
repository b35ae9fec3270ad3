// Package console is what every command of a program has in common: streams and terminal, results as text or JSON, errors that
// say what to do, exit codes. It knows no command, no zone and no bus, so that the auditor's own program (perso/cmd/persoaudit)
// is built of it alone. The conventions are those of perso/cmd/cli. Only perso/cmd calls it.
package console

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes of the program.
const (
	ExitOK      = 0
	ExitFailed  = 1 // it was tried and did not work, or was refused
	ExitUsage   = 2 // the command line makes no sense; nothing was tried
	ExitRefuted = 3 // a verification was carried out and says no
)

// Console is what a command may touch of the world outside.
type Console struct {
	In       io.Reader
	Out, Err io.Writer

	InTTY, OutTTY, ErrTTY bool
	Width                 func() int // columns of the terminal

	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	Rand  io.Reader

	// Hints gives what the reader of an error can do, when the error brings no hint of its own. May be nil.
	Hints func(err error) string
	// JSON is set by the flag of that name, before a command runs.
	JSON bool
}

// New is the console of a process.
func New(in io.Reader, out, errOut io.Writer) Console {
	return Console{
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

// Prepare gives a root command the manners of the program: its streams, the flag --json, faults of flags in words.
func (env *Console) Prepare(root *cobra.Command) {
	root.SetFlagErrorFunc(flagFault)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.PersistentFlags().BoolVar(&env.JSON, "json", false, "write JSON, one object on one line")
}

// Run runs one command line of a prepared root and gives the exit code.
func (env *Console) Run(ctx context.Context, root *cobra.Command, args []string) int {
	reached := false
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
	code := ExitCode(err)
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
