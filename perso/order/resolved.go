package order

import (
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
)

// Allocation is the ranges that the ledger reserved for an order: one for each "allocate", and no other; no EID for a SIM.
type Allocation struct {
	EID   id.EIDRange
	ICCID id.ICCIDRange
	IMSI  id.IMSIRange
	// Of the operational profile, if the order has one.
	OperationalICCID id.ICCIDRange
	OperationalIMSI  id.IMSIRange
}

// Resolved is an order whose every identity is known.
type Resolved struct{ order Order }

// Resolve puts an allocation into an order. It refuses one that is missing, too short, or not asked for: the last would
// mean that numbers were reserved for nothing.
func Resolve(o Order, a Allocation) (Resolved, error) {
	if o.Quantity == 0 {
		return Resolved{}, fmt.Errorf("resolving order %q: it was not parsed", o.ID)
	}
	full := o
	if o.Operational.Ordered() {
		one, err := Resolve(o.AsOrder(), Allocation{ICCID: a.OperationalICCID, IMSI: a.OperationalIMSI})
		if err != nil {
			return Resolved{}, fmt.Errorf("operational profile: %w", err)
		}
		full.Operational.ICCID, full.Operational.IMSI = one.order.ICCID, one.order.IMSI
	} else if a.OperationalICCID.Count()+a.OperationalIMSI.Count() > 0 {
		return Resolved{}, fmt.Errorf("resolving order %q: an allocation for an operational profile that it does not have", o.ID)
	}
	for _, r := range []struct {
		field           string
		asked, reserved uint64
	}{
		{"eid", o.EID.Count(), a.EID.Count()},
		{"iccid", o.ICCID.Count(), a.ICCID.Count()},
		{"imsi", o.IMSI.Count(), a.IMSI.Count()},
	} {
		switch {
		case r.field == "eid" && o.NoEID && r.reserved == 0:
		case r.asked > 0 && r.reserved > 0, r.field == "eid" && o.NoEID:
			return Resolved{}, fmt.Errorf("resolving order %q: an allocation for %s, which the order gives itself or does not have", o.ID, r.field)
		case r.asked+r.reserved < o.Total():
			return Resolved{}, fmt.Errorf("resolving order %q: %d numbers for %s, expected at least %d", o.ID, r.asked+r.reserved, r.field, o.Total())
		}
	}
	if o.EID.Count() == 0 && !o.NoEID {
		full.EID = a.EID
	}
	if o.ICCID.Count() == 0 {
		full.ICCID = a.ICCID
	}
	if o.IMSI.Count() == 0 {
		full.IMSI = a.IMSI
	}
	return Resolved{order: full}, nil
}

// Order is the order with every range filled in. Its Hash is not that of the order as it was sent.
func (r Resolved) Order() Order { return r.order }

// EID is the EID of an index below Q+S.
func (r Resolved) EID(i perso.EIDIndex) (id.EID, error) { return at(r, uint64(i), r.order.EID.At) }

// ICCID is the ICCID of a unit below Q+S.
func (r Resolved) ICCID(u perso.Unit) (id.ICCID, error) { return at(r, uint64(u), r.order.ICCID.At) }

// IMSI is the IMSI of a unit below Q+S.
func (r Resolved) IMSI(u perso.Unit) (id.IMSI, error) { return at(r, uint64(u), r.order.IMSI.At) }

// at refuses an index that is in the range, when the range has more numbers than the order has units (I7).
func at[T any](r Resolved, i uint64, number func(uint64) (T, error)) (T, error) {
	if i >= r.order.Total() {
		var none T
		return none, fmt.Errorf("numbering order %q: index %d, the order has %d", r.order.ID, i, r.order.Total())
	}
	return number(i)
}
