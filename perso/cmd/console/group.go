package console

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

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
