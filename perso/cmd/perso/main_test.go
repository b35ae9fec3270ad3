package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/wire"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"perso": main}) }

func TestProgram(t *testing.T) {
	t.Parallel()
	repo, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("REPO", repo)
		return nil
	}})
}

// Every command of the program, those that start zones too, says what it is for, shows an example and knows --json.
func TestEveryCommandIsDescribed(t *testing.T) {
	t.Parallel()
	env := &cli.Env{}
	wire.Into(env)
	walk(cli.NewRootCmd(env), func(c *cobra.Command) {
		json := c.InheritedFlags().Lookup("json") != nil || c.PersistentFlags().Lookup("json") != nil
		if c.Short == "" || c.Example == "" || c.RunE == nil || !json {
			t.Errorf("%s: has Short %q, Example %q, a function: %v, --json: %v", c.CommandPath(), c.Short, c.Example, c.RunE != nil, json)
		}
	})
}

func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		walk(sub, visit)
	}
}
