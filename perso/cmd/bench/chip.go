package bench

import (
	"errors"
	"os"

	"github.com/persoline/persoline/perso/cmd/dryrun"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/script"
)

// Chip is what one chip needs by itself.
type Chip struct {
	Commands   int     `json:"commands"`
	CPUMS      float64 `json:"cpu_ms"`          // of the virtual chip, without files, socket and host
	PhysicalMS float64 `json:"physical_ms"`     // a real chip's time, by cardsim's timing model
	Scale      float64 `json:"scale_for_demo"`  // at which 1,000 chips under 16 heads take demoSeconds
	Seconds    float64 `json:"seconds_at_full"` // 1,000 chips under 16 heads at scale 1
}

const (
	chipRounds  = 200
	demoUnits   = 1000
	demoHeads   = 16
	demoSeconds = 35
	// indexMS is the handler's time for one chip, as in the demo.
	indexMS = 300
	// certBytes and smsrBytes are usual lengths of what a lot brings along.
	certBytes = 200
	smsrBytes = 40
)

// chipFloor records the commands of one personalization, then lets fresh chips of the same kind answer them again.
func chipFloor(f *Factory) (c Chip, err error) {
	packages, err := dryrun.Beside(f.Site.Catalogue("products"), f.product)
	if err != nil {
		return c, err
	}
	s, err := script.CompileFile(os.DirFS(f.Site.Catalogue("products")), f.product.Script, dryrun.WithPackages(script.StandardCatalogue(smsrBytes, certBytes), packages))
	if err != nil {
		return c, err
	}
	trace, err := dryrun.Run(s, dryrun.Config{Product: f.product, Packages: packages})
	if err = errors.Join(err, trace.Failed); err != nil {
		return c, err
	}
	var commands [][]byte
	for _, e := range trace.Entries {
		if e.Kind == dryrun.KindCommand {
			commands = append(commands, e.Raw)
		}
	}
	before, err := ownCPU()
	if err != nil {
		return c, err
	}
	for range chipRounds {
		if err := replay(f.product, commands); err != nil {
			return c, err
		}
	}
	after, err := ownCPU()
	c = Chip{Commands: len(commands), CPUMS: milliseconds(after-before) / chipRounds, PhysicalMS: milliseconds(trace.Physical) + indexMS}
	c.Seconds = c.PhysicalMS / 1000 * demoUnits / demoHeads
	c.Scale = demoSeconds / c.Seconds
	return c, err
}

// replay lets a fresh chip answer commands that were made for one like it.
func replay(p product.Product, commands [][]byte) error {
	chip, err := dryrun.Chip(p)
	if err != nil {
		return err
	}
	chip.PowerOn()
	for _, command := range commands {
		if answer, _ := chip.Process(command); answer == nil {
			return errors.New("the chip does not answer")
		}
	}
	return nil
}
