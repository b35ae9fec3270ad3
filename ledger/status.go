package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// Status tells how a lot stands.
func (l *Ledger) Status(ctx context.Context, q bus.LotRequest) (bus.StatusReply, error) {
	return l.statusOf(ctx, q.Lot, maxTold)
}

// statusOf tells how a lot stands, with so many of the acts that its vault does not serve.
func (l *Ledger) statusOf(ctx context.Context, name perso.Name, told int) (bus.StatusReply, error) {
	lt, err := l.lot(ctx, name)
	if err != nil {
		return bus.StatusReply{}, err
	}
	r := bus.StatusReply{Env: l.site.env, Lot: lt.name, Order: lt.order, Proof: lt.release.Proof, Policy: policyTold(lt.policy), Now: l.now().UTC()}
	var stands, lacks string
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		if r.LogSize, err = tree.Size(ctx, tx); err != nil {
			return err
		}
		if err := l.forgetServed(ctx, tx, lt.name, r.Now); err != nil {
			return err
		}
		r.Troubles, r.MoreTroubles = l.troubles.of(lt.name, r.Now, told)
		if r.Vault, err = readAssigned(ctx, tx, lt.name); err != nil {
			return err
		}
		all, err := readFrozen(ctx, tx)
		if err != nil {
			return err
		}
		stands = all.of(lt.release)
		if err := fillStatus(ctx, tx, &r); err != nil {
			return err
		}
		if err := hideUncounted(ctx, tx, &r); err != nil {
			return err
		}
		if lacks, err = l.lacks(ctx, tx, lt); err != nil {
			return err
		}
		_, locked, err := restored.Read(ctx, tx)
		if locked && stands == "" && (r.State == perso.LotReleased || r.State == perso.LotRunning) {
			stands = awaitsOfficers
		}
		return err
	})
	switch {
	case stands != "":
		r.Waits = stands
	case err == nil && (r.State == perso.LotReleased || r.State == perso.LotRunning):
		if r.Waits, err = l.waitsFor(ctx, lt, &r); err != nil {
			return bus.StatusReply{}, err
		}
		r.Waits = andAlso(lacks, r.Waits)
	case err == nil && r.State == perso.LotComplete:
		r.Waits = andAlso(lacks, waitsToClose(&r))
	case err == nil && r.Samples != nil && r.Samples.State == samplesRejected:
		r.Waits = waitsNotAccepted(r.Lot)
	}
	if err != nil {
		return bus.StatusReply{}, fmt.Errorf("reading the status of lot %q: %w", name, err)
	}
	return r, nil
}

func fillStatus(ctx context.Context, tx sqldb.Tx, r *bus.StatusReply) error {
	n, err := readCounts(ctx, tx, r.Lot)
	if err != nil {
		return err
	}
	r.State, r.Ordered, r.Spares, r.Good, r.Open, r.Lost, r.EIDsUsed = n.state, n.good, n.spares, n.made, n.open, n.lost, n.nextEID
	r.Released, r.Completed, r.Approved, r.Short = n.created, n.completed, n.approved, n.short
	if r.Bins, err = readBins(ctx, tx, r.Lot); err != nil {
		return err
	}
	drawn, err := readSamples(ctx, tx, r.Lot)
	if err != nil {
		return err
	}
	r.Samples, r.Reasons = drawn.told(), nil
	if err := tx.Each(ctx, func(row sqldb.Row) error {
		var c bus.ReasonCount
		var count int64
		err := row.Scan((*string)(&c.Verdict), (*string)(&c.Reason), &count)
		c.Count = uint64(count)
		r.Reasons = append(r.Reasons, c)
		return err
	}, sqlReasons, string(r.Lot)); err != nil {
		return err
	}
	if n.state != perso.LotComplete && n.state != perso.LotClosed {
		return nil
	}
	c, blocks, err := balance(ctx, tx, r.Lot)
	if err != nil {
		return err
	}
	if r.Balance, r.Blocks = &c, blocks; r.Policy.FirstArticle > 0 && !n.approved {
		r.Blocks = append(r.Blocks, blockFirstArticle)
	}
	hand, err := readHandCount(ctx, tx, r.Lot)
	if hand.times >= minHandCounts && !hand.explained {
		compare(func(string, ...any) { r.HandCount = entry.Hash(hand.body) }, "", hand.Count, c)
	}
	return err
}

// hideUncounted takes out of the answer what lies in the bins of a lot that is to be counted blind, until people have counted. The good
// are told, as are those that were ordered: everybody at the line knows both.
func hideUncounted(ctx context.Context, tx sqldb.Tx, r *bus.StatusReply) error {
	if !r.Policy.Blind || r.State == perso.LotClosed {
		return nil
	}
	hide, err := uncounted(ctx, tx, r.Lot)
	if err != nil || !hide {
		return err
	}
	r.Hidden, r.Bins, r.Reasons, r.Balance, r.Lost, r.EIDsUsed = true, nil, nil, nil, 0, 0
	r.Blocks = veil(r.Blocks)
	if s := r.Samples; s != nil { // how many are drawn is known to who is to examine them; where they lie is what is counted
		s.InBin, s.Back, s.Kept, s.Failed = 0, 0, 0, 0
	}
	return nil
}

// Lots tells how all lots stand.
func (l *Ledger) Lots(ctx context.Context, _ bus.Empty) (bus.LotsReply, error) {
	var names []perso.Name
	var r bus.LotsReply
	err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		if r.Accepted, r.Waiting, err = readAccepted(ctx, tx); err != nil {
			return err
		}
		names = nil
		return tx.Each(ctx, func(row sqldb.Row) error {
			var name, state string
			err := row.Scan(&name, &state)
			names = append(names, perso.Name(name))
			return err
		}, sqlLots)
	})
	if err != nil {
		return bus.LotsReply{}, fmt.Errorf("listing lots: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		s, err := l.statusOf(ctx, name, maxToldOfMany)
		if err != nil {
			return bus.LotsReply{}, err
		}
		r.Lots = append(r.Lots, s)
	}
	return r, nil
}

// Trace gives the whole life of a unit: every log entry about it and about its chips, oldest first.
func (l *Ledger) Trace(ctx context.Context, q bus.TraceRequest) (bus.TraceReply, error) {
	var r bus.TraceReply
	err := l.db.View(ctx, func(tx sqldb.Tx) error {
		r = bus.TraceReply{}
		subjects, err := l.subjects(ctx, tx, strings.TrimSpace(q.Key), &r)
		for i := 0; err == nil && i < len(subjects); i++ {
			err = appendEntries(ctx, tx, subjects[i], &r)
		}
		return err
	})
	if err != nil {
		return r, fmt.Errorf("tracing %q: %w", q.Key, err)
	}
	if len(r.Entries) == 0 && r.Reel == "" {
		return r, nothingAbout(strings.TrimSpace(q.Key))
	}
	slices.SortFunc(r.Entries, func(a, b bus.TraceEntry) int { return cmp.Compare(a.Seq, b.Seq) })
	return r, nil
}

// nothingAbout says why a key leads nowhere. One with a wrong check digit may have been read as the id of a chip, in hex.
func nothingAbout(key string) error {
	if err := mistyped(key); err != nil {
		return bus.Refuse(bus.FaultNotFound, "%v", err)
	}
	return bus.Refuse(bus.FaultNotFound, "nothing is on record about %q", key)
}

// mistyped says which check digit of a key is wrong, and what it should be; nil if none is.
func mistyped(key string) error {
	_, asEID := id.ParseEID(key)
	_, asICCID := id.ParseICCID(key)
	for _, err := range []error{asEID, asICCID} {
		if errors.Is(err, id.ErrCheckDigit) {
			return err
		}
	}
	return nil
}

// subjects finds what a key means: an EID, an ICCID, or a chip id in hex. Digits can be read in more than one way; the
// first reading that is on record counts.
func (l *Ledger) subjects(ctx context.Context, tx sqldb.Tx, key string, r *bus.TraceReply) (found [][]byte, err error) {
	var known bool
	if eid, perr := id.ParseEID(key); perr == nil {
		b := eid.Bytes()
		known = true
		found, err = unitSubjects(ctx, tx, r, sqlClaimsByEID, b[:])
	}
	if iccid, perr := id.ParseICCID(key); perr == nil && len(found) == 0 && err == nil {
		known = true
		found, err = unitOfICCID(ctx, tx, iccid, r)
	}
	if chip, perr := id.ParseChipID(key); perr == nil && len(found) == 0 && err == nil {
		known = true
		if found, err = unitSubjects(ctx, tx, r, sqlClaimOfChip, chip.Bytes()); len(found) == 0 {
			found = [][]byte{chipSubject(chip.Bytes())}
		}
		if r.Lot == "" && err == nil {
			r.Reel, err = reelOf(ctx, tx, chip)
		}
	}
	if !known && mistyped(key) != nil {
		return nil, bus.Refuse(bus.FaultBadMessage, "%v", mistyped(key))
	}
	if !known {
		return nil, bus.Refuse(bus.FaultBadMessage, "%q is no EID (32 digits), no ICCID (19 or 20) and no chip id (hex)", key)
	}
	return found, err
}

// reelOf finds the reel that a chip came in on; none is no error.
func reelOf(ctx context.Context, tx sqldb.Tx, chip id.ChipID) (reel perso.Name, err error) {
	err = tx.QueryRow(ctx, sqlChip, chip.Bytes()).Scan((*string)(&reel))
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return "", fmt.Errorf("looking for chip %s in stock: %w", chip, err)
	}
	return reel, nil
}

// unitSubjects gives the subjects of the unit that a claim belongs to, and of every chip it was bound to.
func unitSubjects(ctx context.Context, tx sqldb.Tx, r *bus.TraceReply, query string, args ...any) ([][]byte, error) {
	first, found, err := findClaim(ctx, tx, query, args...)
	if err != nil || !found {
		return nil, err
	}
	r.Lot, r.Unit = first.lot, first.unit
	out := [][]byte{unitSubject(first.lot, first.unit)}
	err = tx.Each(ctx, func(row sqldb.Row) error {
		c, err := scanClaim(row)
		out = append(out, chipSubject(c.chip.Bytes()))
		return err
	}, sqlClaimsOfUnit, string(first.lot), int64(first.unit))
	return out, err
}

// unitOfICCID finds the lot whose range holds the ICCID, and its place in it.
func unitOfICCID(ctx context.Context, tx sqldb.Tx, iccid id.ICCID, r *bus.TraceReply) ([][]byte, error) {
	one, err := id.NewICCIDRange(iccid, 1)
	if err != nil {
		return nil, err
	}
	number, err := overlap(ctx, tx, kindICCID, one)
	if err != nil || number == "" {
		return nil, err
	}
	o, err := readOrder(ctx, tx, number)
	if err != nil {
		return nil, err
	}
	if o.forgotten {
		return nil, bus.Refuse(bus.FaultNotFound, "order %q, to which this ICCID was issued, was deleted on two officers' word: its units are found by chip id or EID alone", number)
	}
	u, ok := o.content.ICCID.Index(iccid)
	if !ok {
		u, ok = o.content.Operational.ICCID.Index(iccid) // of the profile beside the bootstrap one
	}
	if !ok {
		return nil, nil
	}
	return unitSubjects(ctx, tx, r, sqlClaimsOfUnit, string(lotName(o.content.ID)), int64(u))
}

func appendEntries(ctx context.Context, tx sqldb.Tx, subject []byte, r *bus.TraceReply) error {
	return tx.Each(ctx, func(row sqldb.Row) error {
		var e bus.TraceEntry
		err := row.Scan(&e.Seq, &e.Kind, &e.Body)
		r.Entries = append(r.Entries, e)
		return err
	}, sqlEntriesSubject, subject)
}
