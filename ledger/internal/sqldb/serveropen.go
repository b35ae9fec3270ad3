package sqldb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Answers of a server that lets nobody in (PostgreSQL, appendix A), each with what people do about it.
var refusals = map[string]string{
	"28P01":      "the password is wrong: it stands in the file that password_file in site.json (or --database-password-file) names, else in .pgpass; without either none was sent",
	"28000":      "the server lets this user not in from here: its pg_hba.conf has no line that does, or there is no such user (createuser)",
	"3D000":      "the server has no database of that name: is the URL right? 'createdb --owner USER NAME' makes one (deploy/database/README.md)",
	"42501":      "the user lacks a right: it must own the database (deploy/database/README.md)",
	codeTooMany:  "all of the server's connections are taken: max_connections, or somebody who does not give his back",
	codeStarting: "the server is starting, or recovers, or is a standby that lets nobody in: wait, and look into its log",
	codeShutdown: "the server is being stopped",
}

// notOpened says why a server could not be opened, and what to do about it. What the operating system said of the way there is told and no
// longer to be asked for: a socket that is not there is no file that somebody misspelt.
func notOpened(err error) error {
	var e *pgconn.PgError
	var dial *pgconn.ConnectError
	if errors.Is(err, context.Canceled) || !errors.As(err, &e) && !errors.As(err, &dial) {
		return classifyServer(err)
	}
	kind := ErrDenied
	if unavailable(err) {
		kind = ErrUnavailable
	}
	said := strings.ReplaceAll(err.Error(), "\n\t", " ")
	if advice := adviceOn(err, e); advice != "" {
		said += "; " + advice
	}
	return fmt.Errorf("%w: %s", kind, said)
}

// adviceOn is what people do about an error; e is the server's own, if it gave one.
func adviceOn(err error, e *pgconn.PgError) string {
	var dns *net.DNSError
	switch {
	case e != nil:
		return refusals[e.Code]
	case errors.As(err, &dns):
		return "is the host's name right, and known to this machine?"
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return "does the server run, and does it listen there? The URL's host is its name, or the folder of its socket"
	case errors.Is(err, syscall.EACCES):
		return "this user may not use the server's socket"
	case pgconn.Timeout(err):
		return "the server does not answer: does it run, and is the way to it open?"
	}
	return ""
}
