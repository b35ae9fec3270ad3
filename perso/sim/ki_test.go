package sim

import "testing"

// TestRandomKi runs the usual mixtures of faults on lots whose Ki are drawn: what is stored must survive every crash of vault
// and ledger, and both exports must come out, twice the same.
func TestRandomKi(t *testing.T) {
	t.Parallel()
	total := Stats{Verdicts: map[string]int{}}
	for seed := range uint64(20) {
		cfg := Draw(seed)
		cfg.KiSource = "random"
		s, err := run(cfg, t.TempDir())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		total.add(s)
	}
	if total.Good == 0 || total.VaultCrashes == 0 || total.LedgerCrashes == 0 {
		t.Errorf("%d good, %d crashes of the vault, %d of the ledger", total.Good, total.VaultCrashes, total.LedgerCrashes)
	}
}
