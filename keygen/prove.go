package keygen

import (
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// challengeBytes is a host challenge (SCP03 in S8 mode).
const challengeBytes = 8

// proveClaim reads a claim that stands in the log and lies within the release (I7).
func (l *lot) proveClaim(cp checkpoint.Checkpoint, p bus.Proven) (entry.Claim, error) {
	if err := proven(cp, p); err != nil {
		return entry.Claim{}, refuse("proving claim: %v", err)
	}
	c, err := entry.ParseClaim(p.Entry)
	if err != nil {
		return c, refuse("%v", err)
	}
	units := l.release.Units()
	switch {
	case c.Lot != l.release.Lot || c.Release != l.hash:
		return c, refuse("claim is of another lot or release")
	case uint64(c.Unit) >= units || uint64(c.Index) >= units:
		return c, refuse("unit %d with EID index %d: %d were released", c.Unit, c.Index, units)
	case c.Gen > perso.MaxGeneration:
		return c, refuse("generation %d, at most %d", c.Gen, perso.MaxGeneration)
	}
	if !l.release.EUICC() {
		if !c.EID.IsZero() {
			return c, refuse("EID %s, and the lot's chips have none", c.EID)
		}
		return c, nil
	}
	if eid, err := l.release.EIDs.At(uint64(c.Index)); err != nil || eid != c.EID {
		return c, refuse("EID %s is not number %d of the released range", c.EID, c.Index)
	}
	return c, nil
}

// proveLoss checks that a generation above 0 follows one that is accounted for, on another chip and with a fresh EID (I1).
func (l *lot) proveLoss(cp checkpoint.Checkpoint, c entry.Claim, claimSeq int64, p *bus.Proven) error {
	if c.Gen == 0 {
		if p != nil || c.Loss != 0 {
			return refuse("unit %d: a loss before generation 0", c.Unit)
		}
		return nil
	}
	if l.release.Remake != "same-identity" {
		return refuse("unit %d: the order forbids to make an identity again", c.Unit)
	}
	if p == nil || p.Seq < 0 || uint64(p.Seq) != c.Loss || p.Seq >= claimSeq {
		return refuse("unit %d generation %d: the loss of the one before is not shown", c.Unit, c.Gen)
	}
	if err := proven(cp, *p); err != nil {
		return refuse("proving loss: %v", err)
	}
	o, err := entry.ParseOutcome(p.Entry)
	switch {
	case err != nil:
		return refuse("%v", err)
	case o.Lot != c.Lot || o.Unit != c.Unit || o.Gen != c.Gen-1:
		return refuse("unit %d generation %d: the loss shown is of another", c.Unit, c.Gen)
	case !o.Verdict.Final() || o.Verdict == perso.VerdictGood:
		return refuse("unit %d generation %d ended %q", c.Unit, o.Gen, o.Verdict)
	case l.release.EUICC() && o.EID == c.EID || o.Chip == c.Chip:
		return refuse("unit %d generation %d: the EID or the chip of the one before", c.Unit, c.Gen)
	}
	return nil
}

// proveAct reads the act entry that stands in the log for exactly this item.
func proveAct(cp checkpoint.Checkpoint, c entry.Claim, item *bus.ServeItem) (entry.Act, error) {
	if err := proven(cp, item.Act); err != nil {
		return entry.Act{}, refuse("proving act: %v", err)
	}
	a, err := entry.ParseAct(item.Act.Entry)
	switch {
	case err != nil:
		return a, refuse("%v", err)
	case item.Act.Seq <= item.Claim.Seq:
		return a, refuse("act was logged before its claim")
	case a.Lot != c.Lot || a.Unit != c.Unit || a.Gen != c.Gen:
		return a, refuse("act is of another claim")
	case a.N >= perso.MaxActs:
		return a, refuse("act %d, at most %d", a.N, perso.MaxActs-1)
	case a.Session != entry.SessionOf(item.Command, item.Answer):
		return a, refuse("act is of another session")
	case a.Responses != entry.ResponsesHash(item.Responses):
		return a, refuse("answers are not the logged ones")
	case !a.At.Equal(item.At):
		return a, refuse("time is not the logged one")
	}
	return a, nil
}

// proveTime compares the ledger's stamp with the vault's clock and the release's end. Only the beginning of a session can be too
// old, and then it is begun again: what follows may have waited while the vault was away, and a verdict that is due never ages.
func (v *Vault) proveTime(l *lot, a entry.Act) error {
	now := v.cfg.Now()
	off := now.Sub(a.At)
	switch {
	case off < -MaxClockSkew:
		return refuse("the ledger's time is %v ahead", (-off).Round(time.Second))
	case a.N > 0:
		return nil
	case !a.At.Before(l.release.Expires) || !now.Before(l.release.Expires): // whatever the ledger's clock says
		return refuse("release of lot %q has expired", l.release.Lot)
	case v.heard().short[l.hash]:
		return refuse("officers ended lot %q short", l.release.Lot)
	case off > MaxClockSkew:
		return tooOld()
	}
	return nil
}

// tooOld ends a session that waited before its first act was served: it is over for good, and the chip begins another.
func tooOld() error { return failure{Reason: perso.ReasonStale, Step: stepInitialize, Again: true} }

// proveCommand checks that the session was opened with the challenge of the act's serial number.
func (l *lot) proveCommand(command []byte, serial uint64) (host []byte, err error) {
	c, err := apdu.Parse(command)
	if err != nil || c.CLA != 0x80 || c.INS != 0x50 || c.P2 != 0 || len(c.Data) != challengeBytes {
		return nil, refuse("command is no INITIALIZE UPDATE")
	}
	var want [32]byte
	err = l.challenge.Reveal(func(key []byte) error {
		want = challenge(key, serial)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if [challengeBytes]byte(c.Data) != [challengeBytes]byte(want[:challengeBytes]) {
		return nil, refuse("host challenge is not number %d of the lot", serial)
	}
	return c.Data, nil
}
