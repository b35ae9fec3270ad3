// Package auditor is the commands of who checks the factory from outside, with files and public keys: verification, proofs,
// witnesses, reports. They need no site, no bus, no database and no HSM, and a program is built of them alone
// (perso/cmd/persoaudit), which an auditor compiles for himself.
//
// Each command is a thin constructor around ledger/audit and what is below it; conventions are those of perso/cmd/cli. Only
// perso/cmd calls it.
package auditor

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/cmd/console"
)

// NewCmd is the group "audit" of the program perso. More are commands of the group that need a site.
func NewCmd(env *console.Console, more ...*cobra.Command) *cobra.Command {
	return console.Group("audit", "Verify what was made, offline", `  perso audit verify ./L-2027-0001.bundle
  perso audit consistency last-year.checkpoint ./L-2027-0001.bundle
  perso audit prove ./L-2027-0001.bundle 89049099002000000000000000000080 -o unit.proof
  perso audit report ./L-2027-0001.bundle -o L-2027-0001.html
  perso audit ceremony ./inventory`, append(commands(env), more...)...)
}

func commands(env *console.Console) []*cobra.Command {
	return []*cobra.Command{newVerifyCmd(env), newConsistencyCmd(env), newWitnessCmd(env), newReportCmd(env), newProveCmd(env), newCheckProofCmd(env), newExceptionsCmd(env), newDraftReviewCmd(env), newEvidenceCmd(env), newCeremonyCmd(env)}
}

// Program is the root of the auditor's own program: the same commands, without the group's name.
func Program(env *console.Console, name string) *cobra.Command {
	root := console.Group(name, "Verify what an eSIM factory made, offline", "  perso audit verify ./L-2027-0001.bundle", commands(env)...)
	root.Long = name + " checks audit bundles of the factory software perso with files and public keys alone. It is built without database, bus\n" +
		"and HSM.\n\nExit codes: 0 done, 1 failed or refused, 2 wrong use, 3 a verification says no."
	rename(root, name)
	env.Prepare(root)
	return root
}

// rename puts the program's own name into the examples.
func rename(c *cobra.Command, name string) {
	own := strings.NewReplacer("perso audit ", name+" ")
	c.Example, c.Long = own.Replace(c.Example), own.Replace(c.Long)
	for _, sub := range c.Commands() {
		rename(sub, name)
	}
}
