package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/lineside/cardsim"
)

// tearCase is one way to lose a chip's power during its first contact.
type tearCase struct {
	kind cardsim.FaultKind
	dead bool // and it never answers again
}

func (c tearCase) String() string {
	what := map[cardsim.FaultKind]string{cardsim.FaultTearBefore: "command lost", cardsim.FaultTearAfter: "executed, answer lost", cardsim.FaultTearInside: "half executed"}[c.kind]
	if c.dead {
		return what + ", chip dead"
	}
	return what
}

// maxTears bounds the commands of one chip: an eUICC's script has less than sixty, a SIM's some three hundred.
const maxTears = 900

// TestTearMatrix takes the power away at every single command of the script with its two profiles, before and after it is executed,
// and at some while a chip writes whose writing is not atomic, or dies. The chip that is presented again ends good; one that is dead is rejected: as
// blank before anything was written to it, as live after. The lot is made in either case, and the invariants hold throughout.
func TestTearMatrix(t *testing.T) {
	t.Parallel()
	tearMatrix(t, Config{Operational: true}, 1, tearCase{cardsim.FaultTearBefore, false}, tearCase{cardsim.FaultTearAfter, false})
	tearMatrix(t, Config{Operational: true}, wideTears, tearCase{cardsim.FaultTearInside, false}, tearCase{cardsim.FaultTearBefore, true}, tearCase{cardsim.FaultTearAfter, true})
}

// wideTears is the distance of the commands that are torn where others take each one: those that are lost half executed are also tried
// without ledger and vault, every one (perso/cmd/dryrun).
const wideTears = 4

// TestTearMatrixOfOneProfile does so where the chips have the bootstrap profile alone.
func TestTearMatrixOfOneProfile(t *testing.T) {
	t.Parallel()
	tearMatrix(t, Config{}, 1, tearCase{cardsim.FaultTearBefore, false}, tearCase{cardsim.FaultTearAfter, false},
		tearCase{cardsim.FaultTearBefore, true}, tearCase{cardsim.FaultTearAfter, true})
}

// TestTearMatrixOfAGivenKey does so with the chip that makes no key pair: whenever it comes back, the certificate is for the
// key that it has. (A dead one does not come back, whoever made its key.)
func TestTearMatrixOfAGivenKey(t *testing.T) {
	t.Parallel()
	tearMatrix(t, Config{Product: injecting}, 1, tearCase{cardsim.FaultTearBefore, false}, tearCase{cardsim.FaultTearAfter, false})
}

// tearMatrix tears at every step-th command, and at each of the last ones.
func tearMatrix(t *testing.T, like Config, step int, cases ...tearCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			step := step
			var rows []string
			last := 0
			for n := 1; ; n += step {
				if n > maxTears {
					t.Fatal("the script never ends")
				}
				end := tearAt(t, like, c, n)
				if end == "good at once" && step == 1 {
					break // the script has no command n
				}
				if end == "good at once" { // go through what was passed over
					n, step = n-step, 1
					continue
				}
				last = n
				if !c.dead && !strings.HasPrefix(end, "good") || c.dead && !strings.HasPrefix(end, "reject") {
					t.Errorf("command %d: %s", n, end)
				}
				rows = addRow(rows, n, end)
			}
			if last < 50 {
				t.Errorf("only %d commands were torn", last)
			}
			t.Log("\n" + strings.Join(rows, "\n"))
		})
	}
}

// addRow adds a command to the table, to the last row when it ended the same.
func addRow(rows []string, n int, end string) []string {
	if len(rows) > 0 {
		var from, to int
		var before string
		if _, err := fmt.Sscanf(rows[len(rows)-1], "%d-%d", &from, &to); err == nil {
			_, before, _ = strings.Cut(rows[len(rows)-1], "\t")
			if before == end && to == n-1 {
				rows[len(rows)-1] = fmt.Sprintf("%d-%d\t%s", from, n, end)
				return rows
			}
		}
	}
	return append(rows, fmt.Sprintf("%d-%d\t%s", n, n, end))
}

// tearAt makes a lot of one unit. The first chip is torn at its nth command, the second one is sound.
func tearAt(t *testing.T, cfg Config, c tearCase, n int) string {
	t.Helper()
	cfg.Seed, cfg.Units, cfg.Spares, cfg.Heads, cfg.Chips, cfg.Remake = uint64(n), 1, 1, 1, 2, "same-identity"
	cfg.Chip = func(index int, b *Blank) {
		if index == 0 {
			b.Faults = []cardsim.Fault{{Kind: c.kind, Contact: 1, APDU: uint32(n), Dead: c.dead}}
		}
	}
	where := ""
	cfg.Binned = func(name, bin string) {
		if name == "chip 0" {
			where = bin
		}
	}
	s, err := run(cfg, t.TempDir())
	if err != nil {
		t.Fatalf("command %d: %v", n, err)
	}
	if s.Good != 1 || !s.Closed {
		t.Fatalf("command %d: %+v", n, s)
	}
	var on []string
	for _, v := range slices.Sorted(maps.Keys(s.Verdicts)) {
		if !strings.HasPrefix(v, "good -") && !strings.HasPrefix(v, "return") {
			on = append(on, v)
		}
	}
	if len(on) == 0 {
		return where + " at once"
	}
	return where + " after " + strings.Join(on, ", ")
}
