package sim

import (
	"math/rand/v2"
	"time"

	"github.com/persoline/persoline/perso/statement"
)

// Faults says how often what goes wrong. Rates are probabilities for each occasion; a mean is the time between two such
// events, 0 for never. The zero value is a factory in which nothing goes wrong.
type Faults struct {
	Until time.Duration // from then on nothing new goes wrong

	Lost, Doubled, Late float64 // of each message between line and ledger, each way
	VaultLost           float64 // of each message between ledger and vault, each way
	VaultDoubled        float64
	Commit              float64 // of each transaction: storage fault, with or without a crash
	Read                float64 // of each read transaction
	VaultWrite          float64 // of each durable write of the vault: fault, with or without a crash
	HSM                 float64 // of each HSM operation
	LineWrite           float64 // of each write of the line's journal
	Contact             float64 // of each command: power lost before or after it
	Noise               float64 // of each answer: a bit flips on the way
	Handler             float64 // of each movement
	Chip                float64 // of each chip: a fault of its own
	Strange             float64 // of each chip: unknown, foreign, or a twin of another

	LedgerCrash, VaultCrash, LineCrash, PowerLoss, Operator, Hands time.Duration // means
}

// Every so many seeds have a second profile; none of those in testdata/seeds does.
const operationalEvery, operationalFrom = 6, 1

// Every so many seeds have a policy; none of those in testdata/seeds does.
const policyEvery, policyFrom = 5, 1

// Draw makes a configuration of a seed: which kinds of fault it has, and how many. A run with few kinds goes deeper into
// each than one that has all of them.
func Draw(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0xD1B54A32D192ED03))
	rate := func(most float64) float64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return most * r.Float64()
	}
	mean := func(least time.Duration) time.Duration {
		if r.IntN(3) != 0 {
			return 0
		}
		return least + time.Duration(r.Int64N(int64(3*least)))
	}
	c := Config{Seed: seed, Units: 3 + r.Uint64N(4), Spares: r.Uint64N(5), Heads: uint16(2 + r.IntN(3)), Remake: "same-identity"}
	if r.IntN(3) == 0 {
		c.Remake = "fresh-identity"
	}
	c.Chips = int(c.Units) + r.IntN(5)
	c.Operational = seed%operationalEvery == operationalFrom // not drawn, so that the other seeds stay what they were
	if seed%policyEvery == policyFrom {
		turn := seed / policyEvery
		c.FirstArticle, c.Sampling = 1+turn%2, []statement.Sampling{"output 10:2/1", "kept 10:2/0", "output 3:1/0 10:3/1"}[turn%3]
	}
	c.Faults = Faults{Until: time.Duration(10+r.IntN(110)) * time.Second,
		Lost: rate(0.2), Doubled: rate(0.2), Late: rate(0.1), VaultLost: rate(0.2), VaultDoubled: rate(0.2), Commit: rate(0.15), Read: rate(0.02),
		VaultWrite: rate(0.1), HSM: rate(0.05), LineWrite: rate(0.05), Contact: rate(0.01), Noise: rate(0.01), Handler: rate(0.05), Chip: rate(0.5), Strange: rate(0.15),
		LedgerCrash: mean(4 * time.Second), VaultCrash: mean(4 * time.Second), LineCrash: mean(4 * time.Second), PowerLoss: mean(3 * time.Second), Operator: mean(3 * time.Second), Hands: mean(time.Second)}
	return c
}

// disasters plans the events that come by themselves until all is calm.
func (w *World) disasters() {
	f := &w.cfg.Faults
	w.calm = f.Until == 0
	if w.calm {
		return
	}
	w.after(f.Until, "world", "from here on nothing new goes wrong", func() { w.calm = true })
	w.repeat(f.LedgerCrash, func() { w.ledger.crash("power cut") })
	w.repeat(f.VaultCrash, func() { w.vault.crash("power cut") })
	w.repeat(f.LineCrash, func() { w.line.crash("power cut") })
	w.repeat(f.PowerLoss, func() { w.line.machine.powerCut() })
	w.repeat(f.Operator, func() { w.line.whim() })
	w.repeat(f.Hands, func() { w.line.machine.swap() })
}

// repeat lets something happen at random times.
func (w *World) repeat(mean time.Duration, f func()) {
	if mean == 0 {
		return
	}
	w.after(time.Duration(w.rng.ExpFloat64()*float64(mean)), "world", "", func() {
		if w.calm {
			return
		}
		f()
		w.repeat(mean, f)
	})
}
