package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
)

// The words of perso/cmd/console, under the names that the commands use.

// Exit codes of the program.
const (
	ExitOK      = console.ExitOK
	ExitFailed  = console.ExitFailed
	ExitUsage   = console.ExitUsage
	ExitRefuted = console.ExitRefuted
)

const (
	clockForm = console.ClockForm
	fileMode  = console.FileMode
)

type digest = console.Digest

// Usage is the error of a command line that makes no sense.
func Usage(format string, a ...any) error { return console.Usage(format, a...) }

// Refuted is the error of a verification that says no.
func Refuted(format string, a ...any) error { return console.Refuted(format, a...) }

// Hint adds to an error what its reader can do.
func Hint(err error, format string, a ...any) error { return console.Hint(err, format, a...) }

// Group makes a command that only holds others.
func Group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	return console.Group(use, short, example, subs...)
}

// Takes demands exactly these arguments, and names those that are missing.
func Takes(names ...string) cobra.PositionalArgs { return console.Takes(names...) }

// Describe ends a command's help with the fields of its result.
func Describe(text string, result any) string { return console.Describe(text, result) }

// Quoted is a path as a shell takes it for one word.
func Quoted(path string) string { return console.Quoted(path) }

func needs(cmd *cobra.Command, flags ...string) error    { return console.Needs(cmd, flags...) }
func clock(t time.Time) string                           { return console.Clock(t) }
func create(path string, content []byte) error           { return console.Create(path, content) }
func replace(path string, content []byte) error          { return console.Replace(path, content) }
func joinNames(names []perso.Name) string                { return console.Names(names) }
func fill(f *os.File, content []byte) error              { return console.Fill(f, content) }
func (env *Env) read(path string, n int) ([]byte, error) { return env.Read(path, n) }
func (env *Env) head(path string, n int) ([]byte, error) { return env.Head(path, n) }
