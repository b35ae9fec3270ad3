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
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/auditor"
	"github.com/persoline/persoline/perso/cmd/console"
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
	console.Console

	// Dial connects to the office of the site in a folder.
	Dial func(ctx context.Context, siteDir string) (Office, error)
	// Extra makes further commands of the root.
	Extra []func(env *Env) *cobra.Command

	// SiteDir is set by a persistent flag, before a command runs.
	SiteDir string
}

// Main runs one command line and gives the exit code. Each wire completes the environment before the commands are built.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer, wire ...func(*Env)) int {
	env := newEnv(in, out, errOut)
	for _, w := range wire {
		w(env)
	}
	return env.Run(ctx, NewRootCmd(env), args)
}

func newEnv(in io.Reader, out, errOut io.Writer) *Env {
	env := &Env{Console: console.New(in, out, errOut)}
	env.Hints = hintFor
	return env
}

// NewRootCmd is the tree of all commands; Main runs it.
func NewRootCmd(env *Env) *cobra.Command {
	root := Group("perso", "Personalize SIM and eSIM chips, and account for each of them", `  perso order check order.json
  perso lot status L-2027-0001 --follow
  perso audit verify ./L-2027-0001.bundle`,
		newOrderCmd(env), newOfficerCmd(env), newLotCmd(env), newChipsCmd(env), newFreezeCmd(env), newDraftUnfreezeCmd(env), newUnfreezeCmd(env), newFrozenCmd(env), newPolicyCmd(env), newHandInCmd(env), newTraceCmd(env), newKeyCmd(env), newLogCmd(env), auditor.NewCmd(&env.Console, newAuditExportCmd(env), newAuditReviewCmd(env)), newCertCmd(env), newProductCmd(env), newProfileCmd(env), newScriptCmd(env), newVersionCmd(env))
	for _, extra := range env.Extra {
		root.AddCommand(extra(env))
	}
	root.Long = "perso takes an order file, lets officers release it, has chips personalized, and keeps a log that an auditor can check.\n\n" +
		"Exit codes: 0 done, 1 failed or refused, 2 wrong use, 3 a verification says no."
	root.Version = versionOf(debug.ReadBuildInfo()).String() // makes "perso --version", which everybody tries first
	root.SetVersionTemplate("perso {{.Version}}\n")
	env.Prepare(root)
	root.PersistentFlags().StringVar(&env.SiteDir, "site", defaultSite, "folder of the site")
	return root
}
