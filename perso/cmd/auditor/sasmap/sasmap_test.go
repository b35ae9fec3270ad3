package sasmap_test

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/cmd/auditor/sasmap"
)

const good = `requirements:
  - id: K1
    family: "8"
    what: something
    proofs:
      - test: hsm TestX
      - run: verify
      - command: perso version
    site: a duty
`

// TestParse: a row says what it is about, and has a proof that can be run, or a reason.
func TestParse(t *testing.T) {
	t.Parallel()
	m, err := sasmap.Parse([]byte(good))
	if err != nil || len(m.Requirements) != 1 || len(m.Requirements[0].Proofs) != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
	if folder, name := m.Requirements[0].Proofs[0].TestName(); folder != "hsm" || name != "TestX" {
		t.Errorf("%q, %q", folder, name)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"no rows":          "requirements: []\n",
		"unknown key":      strings.Replace(good, "site:", "sight:", 1),
		"twice":            good + strings.TrimPrefix(good, "requirements:\n"),
		"no id":            strings.Replace(good, "id: K1", `id: ""`, 1),
		"no proof, no why": "requirements:\n  - id: K1\n    family: a\n    what: b\n",
		"no such check":    strings.Replace(good, "run: verify", "run: hope", 1),
		"no test":          strings.Replace(good, "hsm TestX", "hsm", 1),
		"another program":  strings.Replace(good, "perso version", "rm -r", 1),
		"two in one":       strings.Replace(good, "- run: verify", "- run: verify\n        test: hsm TestY", 1),
	} {
		if _, err := sasmap.Parse([]byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
