package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// TestReadme: each command in the README and in deploy/BY_HAND.md is one of the program, with flags and arguments that it takes.
func TestReadme(t *testing.T) {
	t.Parallel()
	var text []byte
	for _, name := range []string{"README.md", "deploy/BY_HAND.md"} {
		page, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, page...)
	}
	seen, shell := 0, regexp.MustCompile(`\$[a-z]+`)
	for _, found := range regexp.MustCompile("bin/perso ([^\"`#&|)\n]*)").FindAllSubmatch(text, -1) {
		args := strings.Fields(shell.ReplaceAllString(string(found[1]), "1")) // what another command printed
		switch {
		case strings.HasSuffix(string(found[0]), "verify "), strings.HasSuffix(string(found[0]), "exceptions "), strings.HasSuffix(string(found[0]), "report "):
			args = append(args, "BUNDLE")
		case strings.HasSuffix(string(found[0]), "prove "):
			args = append(args, "BUNDLE", "KEY")
		case strings.HasSuffix(string(found[0]), "--reader "):
			args = append(args, "READER", "00A4040000")
		}
		env := &cli.Env{}
		wire.Into(env)
		c, rest, err := cli.NewRootCmd(env).Find(args)
		if err == nil {
			err = c.ParseFlags(rest)
		}
		if err == nil {
			err = c.ValidateArgs(c.Flags().Args())
		}
		if err != nil || c.HasSubCommands() {
			t.Errorf("perso %s: %v", strings.Join(args, " "), err)
		}
		seen++
	}
	const least = 15
	if seen < least {
		t.Errorf("%d commands were found, there are more", seen)
	}
}

// TestByHandLeavesNothingToCommit: what the blocks of deploy/BY_HAND.md make in a clone, sites with keys among it, is ignored there.
func TestByHandLeavesNothingToCommit(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	ignored := func(made string) bool {
		for _, pattern := range strings.Fields(read(".gitignore")) {
			if ok, _ := filepath.Match(strings.TrimSuffix(pattern, "/"), "/"+made); ok {
				return true
			}
		}
		return false
	}
	seen := 0
	for _, found := range regexp.MustCompile(`(?: -o| >|site init --site) ([a-z][a-z./-]*)`).FindAllStringSubmatch(read("deploy/BY_HAND.md"), -1) {
		made, _, _ := strings.Cut(found[1], "/")
		if seen++; !ignored(made) || strings.HasSuffix(made, ".release") && !ignored(made+".signed") {
			t.Errorf("%q, which deploy/BY_HAND.md makes, is not in .gitignore", made)
		}
	}
	const least = 12
	if seen < least {
		t.Errorf("%d files and folders were found, there are more", seen)
	}
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
