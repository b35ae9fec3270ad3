package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/persoline/persoline/perso/bus"
)

// failure is an error with what its reader can do, and the exit code that it asks for.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// Usage is the error of a command line that makes no sense.
func Usage(format string, a ...any) error {
	return &failure{code: ExitUsage, err: fmt.Errorf(format, a...)}
}

// Refuted is the error of a verification that says no.
func Refuted(format string, a ...any) error {
	return &failure{code: ExitRefuted, err: fmt.Errorf(format, a...)}
}

// Hint adds to an error what its reader can do.
func Hint(err error, format string, a ...any) error {
	if err == nil {
		return nil
	}
	return &failure{code: exitCode(err), err: err, hint: fmt.Sprintf(format, a...)}
}

func exitCode(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return ExitFailed
}

// complain writes an error, and each part of a joined one, with its hint. It reports whether there was any hint.
func (env *Env) complain(err error) (hinted bool) {
	if parts, ok := err.(interface{ Unwrap() []error }); ok {
		for _, part := range parts.Unwrap() {
			hinted = env.complain(part) || hinted
		}
		return hinted
	}
	for line := range strings.Lines(plainly(err)) {
		fmt.Fprintf(env.Err, "perso: error: %s\n", strings.TrimSuffix(line, "\n"))
	}
	hint := hintFor(err)
	if hint != "" {
		env.Advise("%s", hint)
	}
	return hint != ""
}

// Advise tells people, on standard error, what they can do next.
func (env *Env) Advise(format string, a ...any) {
	fmt.Fprintf(env.Err, "perso: hint: "+format+"\n", a...)
}

// Command is a command line to type next: of the site that the user named, unless that is where it is looked for anyway.
func (env *Env) Command(command, format string, a ...any) string {
	if filepath.Clean(env.SiteDir) != filepath.Clean(defaultSite) {
		command += " --site " + Quoted(env.SiteDir)
	}
	return strings.TrimSpace("perso " + command + " " + fmt.Sprintf(format, a...))
}

// Quoted is a path as a shell takes it for one word.
func Quoted(path string) string {
	const plain = "/._-+=:,@%"
	if path != "" && strings.IndexFunc(path, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(plain, r)
	}) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// hintFor is the hint that an error brings, or the one that is right for all errors of its class.
func hintFor(err error) string {
	var own *failure
	var fault *bus.Fault
	switch {
	case errors.As(err, &own) && own.hint != "":
		return own.hint
	case errors.Is(err, bus.ErrNoAnswer), errors.Is(err, context.DeadlineExceeded):
		return "is the site running? It needs some seconds after 'perso up'. Asking again is safe: what was done is not done twice"
	case errors.As(err, &fault) && fault.Code == bus.FaultBusy:
		return "try again in a few seconds"
	case errors.As(err, &fault) && fault.Code == bus.FaultInternal:
		return "the log of the ledger says more"
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		return "is the name spelled right, and right from this folder?"
	case errors.Is(err, fs.ErrNotExist):
		return "nothing has that name: is it spelled right, and right from this folder?"
	case errors.Is(err, fs.ErrExist):
		return "something has that name already, and is not replaced: name another, or remove it"
	case errors.Is(err, fs.ErrPermission):
		return "its owner or its permissions do not let this user"
	}
	return ""
}
