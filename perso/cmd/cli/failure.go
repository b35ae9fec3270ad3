package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/console"
)

// Command is a command line to type next: of the site that the user named, unless that is where it is looked for anyway.
func (env *Env) Command(command, format string, a ...any) string {
	if filepath.Clean(env.SiteDir) != filepath.Clean(defaultSite) {
		command += " --site " + console.Quoted(env.SiteDir)
	}
	return strings.TrimSpace("perso " + command + " " + fmt.Sprintf(format, a...))
}

// hintFor is what can be done about an error of the bus; empty for others.
func hintFor(err error) string {
	var fault *bus.Fault
	switch {
	case errors.Is(err, bus.ErrNoAnswer), errors.Is(err, context.DeadlineExceeded):
		return "is the site running? It needs some seconds after 'perso up'. Asking again is safe: what was done is not done twice"
	case errors.As(err, &fault) && fault.Code == bus.FaultBusy:
		return "try again in a few seconds"
	case errors.As(err, &fault) && fault.Code == bus.FaultInternal:
		return "the log of the ledger says more"
	}
	return ""
}
