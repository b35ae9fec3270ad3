// Package sasmap reads deploy/sas_map.yaml: what a GSMA SAS-UP audit asks of a site as far as software can be checked for it, and
// where the answer is. It lists evidence. A site is certified, never a product.
//
// The commands of perso/cmd/auditor use it, and a test that holds the file to the tree.
package sasmap

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxBytes bounds the file; ours has 15 KiB.
const MaxBytes = 1 << 20

// Run is a check that "perso audit evidence" carries out itself.
type Run string

// The checks: three on a bundle, one on an inventory of key ceremonies.
const (
	RunVerify     Run = "verify"
	RunExceptions Run = "exceptions"
	RunReport     Run = "report"
	RunCeremony   Run = "ceremony"
)

// Runs are all of them.
var Runs = []Run{RunVerify, RunExceptions, RunReport, RunCeremony}

// Map is the file.
type Map struct {
	Requirements []Requirement `yaml:"requirements"`
}

// Requirement is a row.
type Requirement struct {
	ID     string  `yaml:"id"`
	Family string  `yaml:"family"` // clauses, as far as they are known
	What   string  `yaml:"what"`   // in our own words
	Proofs []Proof `yaml:"proofs"`
	Site   string  `yaml:"site"` // what stays the site's duty
	Open   string  `yaml:"open"` // what the software does not do yet
}

// Proof is one of three.
type Proof struct {
	Test    string `yaml:"test"` // package and test
	Run     Run    `yaml:"run"`
	Command string `yaml:"command"` // for a person, on the site
}

// TestName takes the name of a test apart: its folder in the tree, and its function.
func (p Proof) TestName() (folder, name string) {
	folder, name, _ = strings.Cut(p.Test, " ")
	return folder, name
}

// Parse reads the file; whatever is unknown, empty or twice there is an error.
func Parse(b []byte) (Map, error) {
	var m Map
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("reading the SAS map: %w", err)
	}
	seen := map[string]bool{}
	for _, r := range m.Requirements {
		if err := r.check(); err != nil {
			return m, fmt.Errorf("reading the SAS map: requirement %q: %w", r.ID, err)
		}
		if seen[r.ID] {
			return m, fmt.Errorf("reading the SAS map: requirement %q is there twice", r.ID)
		}
		seen[r.ID] = true
	}
	if len(m.Requirements) == 0 {
		return m, errors.New("reading the SAS map: it has no requirements")
	}
	return m, nil
}

func (r Requirement) check() error {
	switch {
	case r.ID == "" || r.Family == "" || r.What == "":
		return errors.New("id, family and what must be there")
	case len(r.Proofs) == 0 && r.Site == "" && r.Open == "":
		return errors.New("it has no proof, and no reason why")
	}
	for i, p := range r.Proofs {
		folder, name := p.TestName()
		switch {
		case p.Test != "" && p.Run == "" && p.Command == "":
			if folder == "" || !strings.HasPrefix(name, "Test") {
				return fmt.Errorf("proof %d: %q is no package and test", i+1, p.Test)
			}
		case p.Test == "" && p.Run != "" && p.Command == "":
			if !slices.Contains(Runs, p.Run) {
				return fmt.Errorf("proof %d: there is no check %q", i+1, p.Run)
			}
		case p.Test == "" && p.Run == "" && strings.HasPrefix(p.Command, "perso "):
		default:
			return fmt.Errorf("proof %d is not one of test, run and command", i+1)
		}
	}
	return nil
}
