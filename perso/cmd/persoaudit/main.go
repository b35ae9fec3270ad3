// Command persoaudit is the auditor's part of perso alone: it verifies, proves and reports with files and public keys. It reaches
// no database, no bus and no HSM, and builds without cgo into one static file, so that an auditor can read and compile all that
// he relies on. "make audit-tool" builds it. What it does is what "perso audit" does.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/persoline/persoline/perso/cmd/auditor"
	"github.com/persoline/persoline/perso/cmd/console"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once what does not end by itself
	env := console.New(os.Stdin, os.Stdout, os.Stderr)
	code := env.Run(ctx, auditor.Program(&env, "persoaudit"), os.Args[1:])
	stop()
	os.Exit(code)
}
