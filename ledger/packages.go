package ledger

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/statement"
)

// named is what a release says of its packages.
func named(packages []order.Package) (all []statement.Package) {
	for _, p := range packages {
		all = append(all, statement.Package{Variable: p.Variable, Name: p.Name, Bytes: uint64(len(p.Bytes)), Hash: p.Hash()})
	}
	return all
}

// keepPackages stores the packages of a lot under their hashes: what the vault is given is what was released, whatever becomes of the
// catalogue. A package is a template: no byte of a card is in it.
func (l *Ledger) keepPackages(ctx context.Context, b *Batch, r statement.Release, o order.Order) (fault, err error) {
	packages, err := l.cat.Order.Packages(o)
	if err != nil {
		return bus.Refuse(bus.FaultRefused, "%v", err), nil
	}
	if len(packages) != len(r.Packages) {
		return bus.Refuse(bus.FaultRefused, "the release of lot %q names %d profile packages, its order has %d", r.Lot, len(r.Packages), len(packages)), nil
	}
	for i, p := range packages {
		hash := p.Hash()
		if hash != r.Packages[i].Hash {
			return bus.Refuse(bus.FaultRefused, "profile package %q changed since the release of lot %q was drafted; draft it anew", p.Name, r.Lot), nil
		}
		if _, err := b.Exec(ctx, sqlAddPackage, hash[:], p.Bytes); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// packagesOf reads the packages that a release names.
func packagesOf(ctx context.Context, tx sqldb.Tx, r statement.Release) (all [][]byte, err error) {
	for _, p := range r.Packages {
		var data []byte
		if err := tx.QueryRow(ctx, sqlPackage, p.Hash[:]).Scan(&data); err != nil {
			return nil, fmt.Errorf("reading profile package %q: %w", p.Name, err)
		}
		all = append(all, data)
	}
	return all, nil
}
