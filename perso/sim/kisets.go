package sim

import (
	"io"
	"maps"
	"slices"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/order"
)

// simKiSet is a set of prints on the vault's disk.
type simKiSet struct {
	set    keygen.KiSet
	prints []keygen.KiPrint
}

// KiSets is keygen.KiSets'.
func (d *vaultDisk) KiSets() (sets []keygen.KiSet, err error) {
	for _, o := range slices.Sorted(maps.Keys(d.kis)) {
		sets = append(sets, d.kis[o].set)
	}
	return sets, nil
}

// KiPrints is keygen.KiSets'.
func (d *vaultDisk) KiPrints(o order.ID) (keygen.Prints, error) {
	return &simPrints{rest: d.kis[o].prints}, nil
}

// KeepKi is keygen.KiSets'.
func (d *vaultDisk) KeepKi(s keygen.KiSet, prints func(emit func(keygen.KiPrint) error) error) error {
	kept := simKiSet{set: s}
	if err := prints(func(p keygen.KiPrint) error {
		kept.prints = append(kept.prints, p)
		return nil
	}); err != nil {
		return err
	}
	return d.write("prints of Ki", func() { d.kis[s.Order] = kept })
}

// DropKi is keygen.KiSets'.
func (d *vaultDisk) DropKi(o order.ID) error {
	return d.write("no prints of Ki", func() { delete(d.kis, o) })
}

// simPrints reads a set.
type simPrints struct{ rest []keygen.KiPrint }

// Next is keygen.Prints'.
func (p *simPrints) Next() (keygen.KiPrint, error) {
	if len(p.rest) == 0 {
		return keygen.KiPrint{}, io.EOF
	}
	first := p.rest[0]
	p.rest = p.rest[1:]
	return first, nil
}

// Close is keygen.Prints'.
func (p *simPrints) Close() error { return nil }
