package lotreport

import (
	"strings"

	"github.com/persoline/persoline/perso/statement"
)

// proofRow is one thing that made a unit good, with what it shows and what it does not.
type proofRow struct{ Name, Shows, Not string }

// proofTexts are the proofs of perso/product, for people who decide what "good" is worth.
var proofTexts = map[string]proofRow{
	"scp-reopen": {Shows: "The chip opened a second secure channel under its new keys: it holds the card's own key set.",
		Not: "Anything about the contents beside the key set."},
	"rmac-readback": {Shows: "Contents that can be read were read back under the channel's response MAC, and were what was written.",
		Not: "What no command reads: Ki, OPc, codes, and files whose access rules forbid reading."},
	"authenticate": {Shows: "The chip answered AUTHENTICATE as only the Ki and OPc of this unit can: the network will be able to authenticate it.",
		Not: "That a network accepts it: subscription, HLR or HSS entries, and radio are the operator's."},
	"euicc-signature": {Shows: "The chip signed with the private key of the certificate on record.",
		Not: "That no copy of a private key exists that was given to the chip (origin hsm), beyond what the vault destroyed."},
}

const trustsLine, trustsContents = "(trusts the line)", "(contents trust the line)"

// proofsOf explains the list that officers released.
func proofsOf(r statement.Release) []proofRow {
	list, trusts := strings.CutSuffix(r.Proof, trustsLine)
	list, contents := strings.CutSuffix(list, trustsContents)
	var rows []proofRow
	for name := range strings.SplitSeq(strings.TrimSpace(list), ", ") {
		if name == "" {
			continue
		}
		row := proofTexts[name]
		if row.Shows == "" {
			row = proofRow{Shows: "Not known to the program that made this report: see the product's document.", Not: "–"}
		}
		row.Name = name
		rows = append(rows, row)
	}
	if trusts {
		rows = append(rows, proofRow{Name: "trusts the line", Shows: "Nothing more: this product has no secure channel, so the line plays every secret itself.",
			Not: "That the line did not make the answers up, or did not write a second chip alike. Good rests on the line's word here."})
	}
	if contents {
		rows = append(rows, proofRow{Name: "contents trust the line", Shows: "Nothing more: the channel of this product protects commands, and no answer.",
			Not: "What was read back, the life cycle, and that no other chip of the same id had been written to: they rest on the line's word."})
	}
	return rows
}
