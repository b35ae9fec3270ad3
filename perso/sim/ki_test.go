package sim

import (
	"errors"
	"strings"
	"testing"
)

// TestKiSources runs the usual mixtures of faults on lots whose Ki are drawn, or the operator's own: what is stored must survive
// every crash of vault and ledger, and both exports must come out, twice the same.
func TestKiSources(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"random", "customer"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			total := Stats{Verdicts: map[string]int{}}
			for seed := range uint64(20) {
				cfg := Draw(seed)
				cfg.KiSource = source
				s, err := run(cfg, t.TempDir())
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				total.add(s)
			}
			if total.Good == 0 || total.VaultCrashes == 0 || total.LedgerCrashes == 0 {
				t.Errorf("%d good, %d crashes of the vault, %d of the ledger", total.Good, total.VaultCrashes, total.LedgerCrashes)
			}
		})
	}
}

// The checker knows the operator's Ki: a chip with another one is a violation.
func TestCustomerKiIsLookedAt(t *testing.T) {
	t.Parallel()
	cfg := Draw(1)
	cat, err := catalogues()
	if err != nil {
		t.Fatal(err)
	}
	cfg.KiSource, cfg.Catalogues, cfg.NewToken, cfg.Dir = "customer", cat, newToken, t.TempDir()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, ki := range w.site.ki {
		ki[0] ^= 1
	}
	var v *Violation
	if _, err := w.Run(); !errors.As(err, &v) || v.Invariant != "I1" || !strings.Contains(v.Text, "not the operator's") {
		t.Errorf("another Ki on a chip: %v", err)
	}
}
