// Command perso is the one program of the factory: the office, the auditor, and every zone.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once what does not end by itself
	code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, wire.Into)
	stop()
	os.Exit(code)
}
