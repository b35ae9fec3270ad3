package sim

import (
	"testing"

	"github.com/persoline/persoline/lineside/cardsim"
)

// TestTwin has a chip break off half-way, or as soon as it is stamped, while another one, with the same id, the same factory
// keys and a higher sequence counter, waits under the next head. Whichever was written for, the other one gets nothing.
func TestTwin(t *testing.T) {
	t.Parallel()
	caught := 0
	for seed := range uint64(12) {
		var first cardsim.Personality
		cfg := Config{Seed: seed, Units: 1, Spares: 2, Heads: 2, Chips: 4, Remake: "same-identity"}
		cfg.Chip = func(index int, b *Blank) {
			const stamped, halfWay = 16, 30 // commands
			switch index {
			case 0:
				first = b.Personality
				b.Faults = []cardsim.Fault{{Kind: cardsim.FaultTearAfter, Contact: 1, APDU: []uint32{halfWay, stamped}[seed%2]}, {Kind: cardsim.FaultContact, Contact: 2}}
			case 1:
				b.CPLC, b.Keys, b.Seq = first.CPLC, first.Keys, 100
				b.Faults = []cardsim.Fault{{Kind: cardsim.FaultContact, Contact: 1}} // so that the other one is first
			}
		}
		s, err := run(cfg, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if s.Good != 1 {
			t.Errorf("seed %d: %+v", seed, s)
		}
		caught += s.Verdicts["reject-live twin-chip"]
	}
	if caught == 0 {
		t.Error("the twin was never at the vault")
	}
}
