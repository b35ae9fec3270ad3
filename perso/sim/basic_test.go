package sim

import (
	"testing"

	"github.com/persoline/persoline/lineside/cardsim"
)

// The SIMs: written over SCP03, over SCP02, whose answers are the line's word, or under their maker's code by a line that reads what it plays.
var simProducts = []string{"basic-100m-mff2", "basic-100m-scp02-mff2", "basic-100s-2ff"}

// TestSIMs runs the usual mixtures of faults on lots of SIMs, which have neither EID nor certificate.
func TestSIMs(t *testing.T) {
	t.Parallel()
	for _, product := range simProducts {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			total := Stats{Verdicts: map[string]int{}}
			for seed := range uint64(10) {
				cfg := Draw(seed)
				cfg.Product = product
				if seed%3 == 1 {
					cfg.KiSource = "random"
				}
				s, err := run(cfg, t.TempDir())
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				total.add(s)
			}
			if total.Good == 0 || total.VaultCrashes == 0 || total.LedgerCrashes == 0 || total.LineCrashes == 0 {
				t.Errorf("%d good, %d crashes of the vault, %d of the ledger, %d of the line", total.Good, total.VaultCrashes, total.LedgerCrashes, total.LineCrashes)
			}
			t.Logf("%+v", total)
		})
	}
}

// TestTearMatrixOfSIMs takes the power away at every command of their long scripts.
func TestTearMatrixOfSIMs(t *testing.T) {
	t.Parallel()
	for _, product := range simProducts {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			tearMatrix(t, Config{Product: product}, 1, tearCase{cardsim.FaultTearBefore, false}, tearCase{cardsim.FaultTearAfter, false})
		})
	}
}
