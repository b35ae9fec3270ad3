package audit

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// lot is what became of one release.
type lot struct {
	number  uint32             // in the order of releases: what is kept by the million names a lot so
	release *statement.Release // nil when its opening was deleted
	vault   perso.Name         // that it was assigned to; empty when it was not
	hash    [32]byte
	units   spread[place] // the latest generation of each
	indexes numberSet     // of identities in the released range
	serials numberSet     // host challenges used

	claims, good, lost, open uint64
	floor
	drawn
	issued                int64 // chips that were issued to it and not given back
	bins                  map[perso.Verdict]uint64
	counts                map[string]entry.Count // last of each source
	exported              map[string]bool
	closed, chained, gone bool
	short                 bool // two officers ended it: no claim follows
	losses                []*loss
	gaveUp                map[[32]byte]*claim // by the claim's hash: what officers gave up
	closing, ending       [32]byte            // hashes of the close, and of the last order to destroy the key
	closedAt              time.Time           // as the close says
	early                 error               // what is wrong with the retention that the last order names
	certificate           [32]byte            // hash of the vault's word that it is destroyed
}

// injects says whether the lot's chips are given their keys.
func (l *lot) injects() bool { return l.release != nil && l.release.KeyOrigin == "hsm" }

// release lets a lot be made: signed by two officers, in force, and over identities that no other lot has (I1, I7).
func (a *auditor) release(e entry.Statement) {
	if e.Lot == "" || a.lots[e.Lot] != nil {
		a.bad("I7", "lot %q is released already, or is none", e.Lot)
		return
	}
	l := &lot{hash: e.Hash, units: newSpread[place](), indexes: numberSet{}, serials: numberSet{}, bins: map[perso.Verdict]uint64{},
		counts: map[string]entry.Count{}, exported: map[string]bool{}, floor: floor{policy: a.asks, unopened: a.asksUnknown}, gaveUp: map[[32]byte]*claim{}}
	l.number = uint32(len(a.numbered))
	a.lots[e.Lot], a.numbered = l, append(a.numbered, l)
	a.lockedUp()
	a.named[e.Hash] = opened{e.What, e.Lot}
	body, found := a.opening(e)
	if !found {
		if f, forgotten := a.toForget[e.Hash]; forgotten {
			l.policy = l.policy.With(f.Asks, f.Good)
		}
		return
	}
	r, err := statement.ParseRelease(body)
	if err != nil {
		a.bad("I7", "%v", err)
		return
	}
	switch {
	case r.Lot != e.Lot:
		a.bad("I7", "the statement releases lot %s", r.Lot)
	case r.Env != a.genesis.Env || r.Site != a.genesis.Site:
		a.bad("I7", "it was given for site %s (%s)", r.Site, r.Env)
	case e.At.Before(r.At) || !e.At.Before(r.Expires):
		a.bad("I7", "it is in force from %s to %s", r.At.Format(record.TimeForm), r.Expires.Format(record.TimeForm))
	}
	if a.cancelled[r.OrderHash] {
		a.bad("I7", "the order desk had cancelled order %s", r.Order)
	}
	for name, other := range a.lots {
		if other.release != nil && shareIdentities(other.release, &r) {
			a.bad("I1", "lot %s was released with identities that are also lot %s's", e.Lot, name)
		}
	}
	if r.TrustsLine() {
		a.report.Trusts = append(a.report.Trusts, fmt.Sprintf("lot %s is good by %s: a line that lies could have said it, or written a second chip alike", e.Lot, r.Proof))
	}
	if r.TrustsContents() {
		a.report.Trusts = append(a.report.Trusts, fmt.Sprintf("lot %s is good by %s: each chip proved its keys; that its contents and life cycle are as written is a line's word", e.Lot, r.Proof))
	}
	l.release, l.policy = &r, l.policy.With(r.Asks, r.Good)
	a.standsStill(l, "")
}

// shareIdentities looks at the first Q+S of each range: no more may be made of them.
func shareIdentities(a, b *statement.Release) bool {
	if a.EUICC() && b.EUICC() && share(a.EIDs, b.EIDs, a.Units(), b.Units(), id.NewEIDRange) {
		return true
	}
	for _, one := range subscriptionsOf(a) {
		for _, other := range subscriptionsOf(b) {
			if share(one.iccids, other.iccids, a.Units(), b.Units(), id.NewICCIDRange) || share(one.imsis, other.imsis, a.Units(), b.Units(), id.NewIMSIRange) {
				return true
			}
		}
	}
	return false
}

// numbers are those of one of a release's profiles.
type numbers struct {
	iccids id.ICCIDRange
	imsis  id.IMSIRange
}

// subscriptionsOf are the numbers of the profile, and of an operational one beside it.
func subscriptionsOf(r *statement.Release) []numbers {
	all := []numbers{{r.ICCIDs, r.IMSIs}}
	if r.HasOperational() {
		all = append(all, numbers{r.Operational.ICCIDs, r.Operational.IMSIs})
	}
	return all
}

type span[T any, R any] interface {
	First() T
	Overlaps(R) bool
}

func share[T any, R span[T, R]](a, b R, na, nb uint64, make func(T, uint64) (R, error)) bool {
	first, err1 := make(a.First(), na)
	second, err2 := make(b.First(), nb)
	return err1 != nil || err2 != nil || first.Overlaps(second)
}

// delivered says whether every export of the lot is on record; of a lot whose release was deleted, whether any is.
func (l *lot) delivered() bool {
	if l.release == nil {
		return l.exported["output"]
	}
	for what := range l.release.Receivers() {
		if !l.exported[what] {
			return false
		}
	}
	return true
}

// lotOf finds the lot of the entry at hand, which must be released and not closed.
func (a *auditor) lotOf(name perso.Name) *lot {
	l := a.lots[name]
	switch {
	case l == nil:
		a.bad("I7", "lot %q was never released", name)
	case l.closed:
		a.bad("I6", "lot %s was closed before", name)
	default:
		return l
	}
	return nil
}

// export hands units out: good ones only, never more than released, to a receiver that the officers named (I7, I8).
func (a *auditor) export(e entry.Export) {
	a.exports++
	l := a.lots[e.Lot]
	if l == nil {
		a.bad("I7", "lot %q was never released", e.Lot)
		return
	}
	a.standsStill(l, "")
	if l.exported[e.What] {
		a.bad("I8", "the %s export of lot %s is on record already", e.What, e.Lot)
	}
	l.exported[e.What] = true
	a.examined(l, "it was handed out")
	if !l.drawn.accepted && l.policy.Sampling != "" {
		a.bad("I7", "units were handed out of a lot that quality did not accept")
	}
	if good := l.good - l.accounted().good - l.drawn.kept - l.drawn.failed; e.Units > good {
		a.bad("I7", "%d units were handed out, %d are good", e.Units, good)
	}
	a.exportFile(e)
	if l.release == nil {
		return
	}
	receiver, known := l.release.Receivers()[e.What]
	if !known || e.Receiver != receiver {
		a.bad("I7", "receiver %s of a %s export was not released", e.Receiver, e.What)
	}
	if e.Units > l.release.Good {
		a.bad("I7", "%d units were handed out, %d were released", e.Units, l.release.Good)
	}
}
