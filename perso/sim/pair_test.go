package sim

import "testing"

// injecting is the product whose chips are given their key pairs.
const injecting = "m2m-200-inject-mff2"

// TestGivenKeys runs the usual mixtures of faults on lots whose key pairs the HSM makes: crashes of vault and ledger between
// any two steps, lost and doubled messages, torn chips. The checker knows that no private key is ever on two chips, and looks
// for each of them in all that was said and stored; afterwards no claim has a sealed one left.
func TestGivenKeys(t *testing.T) {
	t.Parallel()
	total := Stats{Verdicts: map[string]int{}}
	for seed := range uint64(20) {
		cfg := Draw(seed)
		cfg.Product = injecting
		if seed%2 == 1 {
			cfg.KiSource = "random" // then the claim keeps two sealed things, of two acts
		}
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
