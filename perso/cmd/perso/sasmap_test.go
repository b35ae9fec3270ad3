package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/cmd/auditor/sasmap"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/wire"
)

// requirements are how many the checklist has of each kind: keys, data, production, computers.
var requirements = map[string]int{"K": 11, "D": 16, "P": 9, "C": 11}

// TestSASMap holds deploy/sas_map.yaml to the tree: every requirement has a row, every test that is named is there to be run, and
// every command is one of the program, with flags that it takes.
func TestSASMap(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "deploy", "sas_map.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := sasmap.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for kind, n := range requirements {
		for i := range n {
			want = append(want, fmt.Sprint(kind, i+1))
		}
	}
	for _, r := range m.Requirements {
		got = append(got, r.ID)
		for _, p := range r.Proofs {
			if err := exists(root, p); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("rows are %q, want %q", got, want)
	}
	for _, planted := range []sasmap.Proof{{Test: "perso/cmd/perso TestNothingOfTheKind"}, {Command: "perso audit nothing"}, {Command: "perso trace"}, {Command: "perso trace --fast x"}} {
		if exists(root, planted) == nil {
			t.Errorf("the planted proof %+v was not found out", planted)
		}
	}
}

// exists reports a proof that nobody could run.
func exists(root string, p sasmap.Proof) error {
	if p.Test != "" {
		folder, name := p.TestName()
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*_test.go"))
		if err != nil {
			return err
		}
		function := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\)`)
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && function.Match(text) {
				return nil
			}
		}
		return fmt.Errorf("there is no test %q", p.Test)
	}
	if p.Command == "" {
		return nil // a check of "perso audit evidence": sasmap knows them
	}
	env := &cli.Env{}
	wire.Into(env)
	c, rest, err := cli.NewRootCmd(env).Find(strings.Fields(p.Command)[1:])
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err == nil && c.HasSubCommands() {
		err = fmt.Errorf("it names no command")
	}
	if err != nil {
		return fmt.Errorf("%q: %w", p.Command, err)
	}
	return nil
}
