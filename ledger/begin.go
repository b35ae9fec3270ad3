package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// begin decides act 0 of a new session: whose chip is this, and may it be written?
func (a *act) begin(ctx context.Context, b *Batch) error {
	if done, err := a.usedPlace(ctx, b); done || err != nil {
		return err
	}
	if clear, err := a.lineClear(ctx, b); err != nil || !clear {
		return err
	}
	n, err := readCounts(ctx, b, a.lot.name)
	if err != nil {
		return err
	}
	if n.state == perso.LotClosed { // its counts are signed: not one more chip may enter them
		a.reply = say(perso.VerdictStop, perso.ReasonLotComplete, fmt.Sprintf("lot %s is closed", a.lot.name))
		return nil
	}
	if known, err := a.inStock(ctx, b); err != nil || !known {
		return err
	}
	if fresh, err := a.freshChallenge(ctx, b, n); err != nil || !fresh {
		return err
	}
	c, found, err := findClaim(ctx, b, sqlClaimOfChip, a.chip.Bytes())
	if err != nil {
		return err
	}
	// Without a secure channel nothing tells a chip with its maker's code from one with its own, but the stamp, which the vault looks at.
	factory := a.lot.plain() || a.said.KVN == a.lot.release.FactoryKVN
	switch {
	case !found && !factory:
		return a.stop(ctx, b, perso.ReasonForeignChip, "the chip has no claim, but not the maker's keys either")
	case !found:
		if holds, err := a.policyHolds(ctx, b, n); err != nil || holds {
			return err
		}
		if here, err := a.issuedHere(ctx, b, n); err != nil || !here {
			return err
		}
		return a.bind(ctx, b, n)
	case c.lot != a.lot.name:
		return a.stop(ctx, b, perso.ReasonForeignChip, fmt.Sprintf("the chip belongs to lot %s", c.lot))
	}
	a.claim = c
	return a.comeBack(ctx, b, factory && !a.lot.plain())
}

// comeBack decides on a chip that this lot has a claim for.
func (a *act) comeBack(ctx context.Context, b *Batch, factory bool) error {
	c := a.claim
	switch {
	case a.said.HasSeq && (a.counter() < c.counter || a.said.Raises() && a.counter() == c.counter):
		return a.alarm(ctx, b, perso.ReasonTwin, fmt.Sprintf("chip %s: sequence counter %d of key version %02X was passed before", a.chip, a.said.Seq, a.said.KVN))
	case c.state == perso.UnitLost:
		return a.onRecord(ctx, b, c.outcome, perso.ReasonNone)
	case c.state == perso.UnitGivenUp:
		a.givenUp()
		return nil
	case c.state == perso.UnitGood && factory:
		return a.alarm(ctx, b, perso.ReasonTwin, fmt.Sprintf("chip %s is good on record and has the maker's keys", a.chip))
	}
	return a.resume(ctx, b)
}

// givenUp answers for a chip whose unit officers gave up, until the vault has answered them.
func (a *act) givenUp() {
	a.reply = hold(perso.ReasonAbandoned, "two officers gave this unit up, and the vault has not answered yet: their statement must be handed in again")
}

// counter places a session among those of its chip: the sequence counter within its key set. A new key set counts from
// zero (Amendment D §6.2.2.1), and the card's own one takes the place of the maker's once and for ever.
func (a *act) counter() uint64 {
	const ownSet = 1 << 24 // above any counter of three bytes
	n := uint64(a.said.Seq)
	if a.said.KVN != a.lot.release.FactoryKVN {
		n += ownSet
	}
	return n
}

// usedPlace answers a presentation that has its verdict, and refuses one whose number was used for another chip: a line
// that lost its journal would otherwise overwrite what is on record.
func (a *act) usedPlace(ctx context.Context, b *Batch) (done bool, err error) {
	p, found, err := findPresentation(ctx, b, a.q.Present)
	if err != nil || !found {
		return false, err
	}
	if p.lot != a.lot.name || len(p.chip) > 0 && !bytes.Equal(p.chip, a.chip.Bytes()) || p.bin != "" {
		return true, a.alarm(ctx, b, perso.ReasonReplay, fmt.Sprintf("presentation %s is on record already, of lot %s and chip %x", a.q.Present, p.lot, p.chip))
	}
	if p.seq > 0 {
		return true, a.repeatVerdict(ctx, b, p)
	}
	return false, nil
}

// inStock asks whether the chip came in by a goods-in list of the lot's product.
func (a *act) inStock(ctx context.Context, b *Batch) (bool, error) {
	var reel, sku string
	err := b.QueryRow(ctx, sqlChip, a.chip.Bytes()).Scan(&reel)
	if err == nil {
		err = b.QueryRow(ctx, sqlReelOf, reel).Scan(&sku)
	}
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		return false, a.stop(ctx, b, perso.ReasonUnknownChip, fmt.Sprintf("chip %s is on no goods-in list", a.chip))
	case err != nil:
		return false, fmt.Errorf("looking for chip %s in stock: %w", a.chip, err)
	case sku != a.lot.release.Product:
		return false, a.stop(ctx, b, perso.ReasonUnknownChip, fmt.Sprintf("chip %s came in for product %s", a.chip, sku))
	}
	return true, nil
}

// freshChallenge demands a serial number that was reserved and never used: a challenge serves once.
func (a *act) freshChallenge(ctx context.Context, b *Batch, n counts) (bool, error) {
	if a.q.Serial >= n.challenge {
		return false, a.alarm(ctx, b, perso.ReasonReplay, fmt.Sprintf("host challenge %d was never given out", a.q.Serial))
	}
	var other []byte
	err := b.QueryRow(ctx, sqlSerialUsed, string(a.lot.name), int64(a.q.Serial)).Scan(&other)
	if errors.Is(err, sqldb.ErrNoRows) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for host challenge %d: %w", a.q.Serial, err)
	}
	return false, a.alarm(ctx, b, perso.ReasonReplay, fmt.Sprintf("host challenge %d served session %x already", a.q.Serial, other[:8]))
}

// stop halts the head on a chip that must not be written here.
func (a *act) stop(ctx context.Context, b *Batch, reason perso.Reason, text string) error {
	f, err := presentFinding(ctx, b, a.lot.name, a.q.Present, a.chip, perso.VerdictStop, reason)
	if err != nil {
		return err
	}
	a.reply = say(f.verdict, f.reason, text)
	return nil
}

// bind makes the claim: one identity, one chip (I1), within what was released (I7).
func (a *act) bind(ctx context.Context, b *Batch, n counts) error {
	switch {
	case n.made+n.open >= n.good:
		return a.noWork(ctx, b, n)
	case n.state == perso.LotComplete || n.nextEID >= n.good+n.spares:
		return a.noIdentity(ctx, b, n)
	case !b.begins(a.lot, n): // so the lot ends short
		return a.noIdentity(ctx, b, n)
	}
	if locked, err := a.awaitsOfficers(ctx, b); locked || err != nil {
		return err
	}
	e := entry.Claim{Lot: a.lot.name, Index: perso.EIDIndex(n.nextEID), Chip: a.chip, Release: a.lot.hash, Present: a.q.Present, At: b.At}
	left, err := a.pickUnit(ctx, b, n, &e)
	if err != nil {
		return err
	}
	if !left {
		return a.noIdentity(ctx, b, n)
	}
	if a.lot.release.EUICC() {
		if e.EID, err = a.lot.release.EIDs.At(n.nextEID); err != nil {
			return err
		}
	}
	if err := a.insertClaim(ctx, b, n, e); err != nil {
		return err
	}
	return a.recordSession(ctx, b)
}

// beginsMore says whether a lot wants one more chip: units are missing that are not in work, and identities are left to begin them with.
func (lt *lot) beginsMore(n counts, now time.Time) bool {
	return n.made+n.open < n.good && n.state != perso.LotComplete && n.nextEID < n.good+n.spares && now.Before(lt.release.Expires)
}

// unitsIn is how many units a lot may begin: with fresh identities every loss takes one more.
func (lt *lot) unitsIn(n counts) uint64 {
	if lt.release.Remake == remakeFresh {
		return n.good + n.spares
	}
	return n.good
}

const remakeFresh = "fresh-identity"

// pickUnit takes a unit that waits for its re-make, else the next new one. It reports false when none is left.
func (a *act) pickUnit(ctx context.Context, b *Batch, n counts, e *entry.Claim) (bool, error) {
	unit, gen, waits, err := nextLost(ctx, b, a.lot.name, n)
	if err != nil {
		return false, err
	}
	if !waits {
		e.Unit = perso.Unit(n.nextUnit)
		return n.nextUnit < a.lot.unitsIn(n), nil
	}
	lost, ok, err := findClaim(ctx, b, sqlClaim, string(a.lot.name), unit, gen)
	if err != nil || !ok {
		return false, errors.Join(err, missing(ok, "the lost claim, for session", a.q.Session))
	}
	e.Unit, e.Gen, e.Loss = perso.Unit(unit), perso.Generation(gen+1), uint64(lost.outcome)
	if _, err := b.Exec(ctx, sqlCutLost, string(a.lot.name), unit); err != nil {
		return false, fmt.Errorf("taking unit %d to re-make: %w", unit, err)
	}
	return true, nil
}

// nextLost finds a unit that waits for its re-make.
func nextLost(ctx context.Context, b *Batch, lot perso.Name, n counts) (unit, gen int64, waits bool, err error) {
	if n.lost == 0 {
		return 0, 0, false, nil
	}
	err = b.QueryRow(ctx, sqlNextLost, string(lot)).Scan(&unit, &gen)
	if errors.Is(err, sqldb.ErrNoRows) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("looking for a unit to re-make: %w", err)
	}
	return unit, gen, true, nil
}

func (a *act) insertClaim(ctx context.Context, b *Batch, n counts, e entry.Claim) error {
	seq, _, err := b.append(entry.KindClaim, unitSubject(e.Lot, e.Unit), e)
	if err != nil {
		return err
	}
	var eid []byte
	if b := e.EID.Bytes(); !e.EID.IsZero() {
		eid = b[:]
	}
	p := a.q.Present
	_, err = b.Exec(ctx, sqlAddClaim, string(e.Lot), int64(e.Unit), int64(e.Gen), int64(e.Index), eid, e.Chip.Bytes(), seq, int64(e.Loss),
		string(p.Line), int64(p.Head), int64(p.Number))
	if err != nil {
		return fmt.Errorf("claiming unit %d of lot %s: %w", e.Unit, e.Lot, err)
	}
	nextUnit := n.nextUnit
	if e.Gen == 0 {
		nextUnit++
	}
	if _, err := b.Exec(ctx, sqlLotClaimed, string(e.Lot), int64(nextUnit), int64(n.nextEID+1), string(perso.LotRunning)); err != nil {
		return fmt.Errorf("counting the claim of lot %s: %w", e.Lot, err)
	}
	a.claim = claimRow{lot: e.Lot, unit: e.Unit, gen: e.Gen, index: e.Index, eid: e.EID, chip: e.Chip, state: perso.UnitOpen, seq: seq, lossSeq: int64(e.Loss), at: p}
	return nil
}

// noWork answers when enough units are good or in work.
func (a *act) noWork(ctx context.Context, b *Batch, n counts) error {
	if n.made < n.good {
		a.reply = hold(perso.ReasonLotWaiting, "every unit left is in work on another head")
		return nil
	}
	return a.give(ctx, b, perso.VerdictReturn, perso.ReasonLotComplete)
}

// noIdentity answers when the released identities are used up, their release has expired, or officers ended the lot short; it ends once
// nothing is in work.
func (a *act) noIdentity(ctx context.Context, b *Batch, n counts) error {
	if n.open > 0 {
		a.reply = hold(perso.ReasonLotWaiting, "no identity is left, the release has expired, or officers ended the lot short; units in work may still fail or succeed")
		return nil
	}
	if err := completeLot(ctx, b, a.lot.name); err != nil {
		return err
	}
	return a.give(ctx, b, perso.VerdictReturn, perso.ReasonNoIdentity)
}

// completeWhenOver completes the lot when its last unit was made, or when what is lost can't be made again: nobody need
// present another chip for that.
func (a *act) completeWhenOver(ctx context.Context, b *Batch) error {
	n, err := readCounts(ctx, b, a.lot.name)
	if err != nil || n.open > 0 {
		return err
	}
	if n.made < n.good && n.nextEID < n.good+n.spares && b.begins(a.lot, n) {
		_, _, waits, err := nextLost(ctx, b, a.lot.name, n)
		if err != nil || waits || n.nextUnit < a.lot.unitsIn(n) {
			return err
		}
	}
	return completeLot(ctx, b, a.lot.name)
}

func completeLot(ctx context.Context, b *Batch, name perso.Name) error {
	if _, err := b.Exec(ctx, sqlLotComplete, string(name), b.At.UnixMicro()); err != nil {
		return fmt.Errorf("completing lot %s: %w", name, err)
	}
	return nil
}

// give records a final verdict on a chip without a claim.
func (a *act) give(ctx context.Context, b *Batch, v perso.Verdict, r perso.Reason) error {
	f, err := presentFinding(ctx, b, a.lot.name, a.q.Present, a.chip, v, r)
	a.final = &f
	return err
}

// resume lets a chip with a claim go on, or ends it when it was tried too often.
func (a *act) resume(ctx context.Context, b *Batch) error {
	if busy, err := a.elsewhere(ctx, b); busy || err != nil {
		return err
	}
	if open, err := a.unsettled(ctx, b); open || err != nil {
		return err
	}
	var inPlace int64
	if err := b.QueryRow(ctx, sqlSessionsOfPut, string(a.q.Present.Line), int64(a.q.Present.Head), int64(a.q.Present.Number)).Scan(&inPlace); err != nil {
		return fmt.Errorf("counting sessions of %s: %w", a.q.Present, err)
	}
	if a.claim.state == perso.UnitOpen && (a.claim.sessions >= perso.MaxSessionsPerChip || inPlace >= perso.MaxSessionsPerPresentation) {
		return a.reject(ctx, b, bus.Failed{Reason: perso.ReasonTries})
	}
	return a.openSession(ctx, b)
}

// elsewhere holds a chip whose session at another head may still be under way there.
func (a *act) elsewhere(ctx context.Context, b *Batch) (bool, error) {
	var line string
	var head, number, touched int64
	err := b.QueryRow(ctx, sqlLastSession, string(a.claim.lot), int64(a.claim.unit), int64(a.claim.gen)).Scan(&line, &head, &number, &touched)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the last session of chip %s: %w", a.claim.chip, err)
	}
	here := line == string(a.q.Present.Line) && head == int64(a.q.Present.Head)
	if here || b.At.UnixMicro()-touched >= sessionLease.Microseconds() {
		return false, nil
	}
	a.reply = hold(perso.ReasonSessionElse, fmt.Sprintf("the chip's session at %s/%d has not ended", line, head))
	return true, nil
}

// openSession ends any session before and records the new one with its act 0.
func (a *act) openSession(ctx context.Context, b *Batch) error {
	c, p := a.claim, a.q.Present
	if err := endSessions(ctx, b, c); err != nil {
		return err
	}
	if _, err := b.Exec(ctx, sqlClaimSession, string(c.lot), int64(c.unit), int64(c.gen), string(p.Line), int64(p.Head), int64(p.Number)); err != nil {
		return fmt.Errorf("counting sessions of chip %s: %w", a.chip, err)
	}
	return a.recordSession(ctx, b)
}

// recordSession writes a session, its act 0 and its presentation. The claim has counted it.
func (a *act) recordSession(ctx context.Context, b *Batch) error {
	c, p := a.claim, a.q.Present
	_, err := b.Exec(ctx, sqlAddSession, a.q.Session[:], string(c.lot), int64(c.unit), int64(c.gen), int64(a.q.Serial), a.q.Command, a.q.Answer,
		string(p.Line), int64(p.Head), int64(p.Number), b.At.UnixMicro())
	if err != nil {
		return fmt.Errorf("recording session %s: %w", a.q.Session, err)
	}
	if _, err := b.Exec(ctx, sqlAddPresentation, string(p.Line), int64(p.Head), int64(p.Number), string(c.lot), a.chip.Bytes()); err != nil {
		return fmt.Errorf("recording presentation %s: %w", p, err)
	}
	row, err := a.record(ctx, b, a.q.Serial)
	if err != nil {
		return err
	}
	return a.toServe(ctx, b, sessionRow{serial: a.q.Serial, command: a.q.Command, answer: a.q.Answer}, row)
}
