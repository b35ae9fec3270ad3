package console

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"unicode"
)

// failure is an error with what its reader can do, and the exit code that it asks for.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// Fail is an error with the exit code that it asks for, and what its reader can do; the hint may be empty.
func Fail(code int, err error, hint string) error { return &failure{code: code, err: err, hint: hint} }

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
	return &failure{code: ExitCode(err), err: err, hint: fmt.Sprintf(format, a...)}
}

// ExitCode is what an error asks for: ExitFailed if it says nothing.
func ExitCode(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return ExitFailed
}

// complain writes an error, and each part of a joined one, with its hint. It reports whether there was any hint.
func (env *Console) complain(err error) (hinted bool) {
	if parts, ok := err.(interface{ Unwrap() []error }); ok {
		for _, part := range parts.Unwrap() {
			hinted = env.complain(part) || hinted
		}
		return hinted
	}
	for line := range strings.Lines(plainly(err)) {
		fmt.Fprintf(env.Err, "perso: error: %s\n", strings.TrimSuffix(line, "\n"))
	}
	hint := env.hintFor(err)
	if hint != "" {
		env.Advise("%s", hint)
	}
	return hint != ""
}

// Advise tells people, on standard error, what they can do next.
func (env *Console) Advise(format string, a ...any) {
	fmt.Fprintf(env.Err, "perso: hint: "+format+"\n", a...)
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
func (env *Console) hintFor(err error) string {
	var own *failure
	if errors.As(err, &own) && own.hint != "" {
		return own.hint
	}
	if env.Hints != nil {
		if hint := env.Hints(err); hint != "" {
			return hint
		}
	}
	return HintFor(err)
}

// HintFor is the hint that is right for all errors of a class of the operating system's; empty if there is none.
func HintFor(err error) string {
	switch {
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
