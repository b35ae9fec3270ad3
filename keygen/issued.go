package keygen

import (
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// Issued is what the vault remembers for ever of a lot that it made a key for. Officers sign what a ledger shows them, and
// do not know every number that was ever issued: the vault does.
type Issued struct {
	Release [32]byte // hash of the statement that allowed it
	// Register is the newest statement of the officer register as it was then, Statements how many there were.
	Register   [32]byte
	Statements uint64

	EIDs   id.EIDRange // empty of a lot of SIMs
	ICCIDs id.ICCIDRange
	IMSIs  id.IMSIRange

	// Of an operational profile beside the bootstrap one; empty where there is none.
	OperationalICCIDs id.ICCIDRange
	OperationalIMSIs  id.IMSIRange

	Ki [32]byte // root of the customer's file of Ki; zero where there is none
}

func issued(r statement.Release, hash [32]byte, chain []statement.Signed) Issued {
	return Issued{Release: hash, Register: chain[len(chain)-1].Hash(), Statements: uint64(len(chain)), EIDs: r.EIDs, ICCIDs: r.ICCIDs, IMSIs: r.IMSIs, Ki: r.Customer.Root,
		OperationalICCIDs: r.Operational.ICCIDs, OperationalIMSIs: r.Operational.IMSIs}
}

// shared names a kind of identity that two lots have in common, or nothing.
func (i Issued) shared(other Issued) string {
	switch {
	case i.EIDs.Overlaps(other.EIDs):
		return "EIDs"
	case shared(i.ICCIDs, i.OperationalICCIDs, other.ICCIDs, other.OperationalICCIDs):
		return "ICCIDs"
	case shared(i.IMSIs, i.OperationalIMSIs, other.IMSIs, other.OperationalIMSIs):
		return "IMSIs"
	case i.Ki != [32]byte{} && i.Ki == other.Ki:
		return "Ki"
	}
	return ""
}

// shared says whether a number of either range of one lot is in either of another.
func shared[R interface{ Overlaps(R) bool }](a1, a2, b1, b2 R) bool {
	return a1.Overlaps(b1) || a1.Overlaps(b2) || a2.Overlaps(b1) || a2.Overlaps(b2)
}

// mayIssue refuses a new lot that contradicts the lots before it: identities that were issued (I1), or an officer register
// from which statements are missing that were in force before, say the revocation of who signed now (I7).
func (r Recollection) mayIssue(lot perso.Name, next Issued, chain []statement.Signed) error {
	for name, old := range r.Lots {
		if kind := next.shared(old); kind != "" {
			return bus.Refuse(bus.FaultRefused, "lot %q has %s of lot %q", lot, kind, name)
		}
		if err := old.continuedBy(name, chain); err != nil {
			return err
		}
	}
	return nil
}

// continuedBy refuses an officer register from which statements are missing that were in force when a lot was released (I7).
func (i Issued) continuedBy(lot perso.Name, chain []statement.Signed) error {
	if i.Statements > uint64(len(chain)) || chain[i.Statements-1].Hash() != i.Register {
		return bus.Refuse(bus.FaultRefused, "the officer register does not continue the %d statements that lot %q was released under", i.Statements, lot)
	}
	return nil
}

// registerContinues refuses a register that does not continue all that this vault has seen in force: whoever was dismissed
// since would sign again.
func (v *Vault) registerContinues(chain []statement.Signed) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, i := range v.memory.Lots {
		if err := i.continuedBy(name, chain); err != nil {
			return err
		}
	}
	for name, a := range v.assigned {
		if err := a.continuedBy(name, chain); err != nil {
			return err
		}
	}
	return nil
}
