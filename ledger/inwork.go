package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// maxInWork bounds the units that one reply lists: there are as many as heads, and those that were left behind.
const maxInWork = 200

// InWork lists the units of a lot that have begun and not ended, with what a statement of their loss names; of one chip alone,
// whatever became of it.
func (l *Ledger) InWork(ctx context.Context, q bus.InWorkRequest) (bus.InWorkReply, error) {
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.InWorkReply{}, err
	}
	query, args := sqlClaimsInWork, []any{string(q.Lot), int64(maxInWork + 1)}
	if q.Chip != "" {
		chip, err := id.ParseChipID(q.Chip)
		if err != nil {
			return bus.InWorkReply{}, bus.Refuse(bus.FaultBadMessage, "%v", err)
		}
		query, args = sqlClaimOfChip, []any{chip.Bytes()}
	}
	var r bus.InWorkReply
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		r = bus.InWorkReply{Env: l.site.env, Site: l.site.name, Lot: q.Lot, Release: lt.hash, Now: l.now().UTC(), Expires: lt.release.Expires}
		var claims []claimRow
		if err := tx.Each(ctx, func(row sqldb.Row) error {
			c, err := scanClaim(row)
			claims = append(claims, c)
			return err
		}, query, args...); err != nil {
			return err
		}
		if r.More = len(claims) > maxInWork; r.More {
			claims = claims[:maxInWork]
		}
		for _, c := range claims {
			if c.lot != q.Lot {
				return bus.Refuse(bus.FaultNotFound, "chip %s is lot %s's", c.chip, c.lot)
			}
			u, err := inWork(ctx, tx, c)
			if err != nil {
				return err
			}
			r.Units = append(r.Units, u)
		}
		return nil
	})
	if err == nil && q.Chip != "" && len(r.Units) == 0 {
		err = bus.Refuse(bus.FaultNotFound, "chip %s has no unit", q.Chip)
	}
	if err != nil {
		return r, fmt.Errorf("listing what is in work of lot %q: %w", q.Lot, err)
	}
	return r, nil
}

// inWork says how one unit stands.
func inWork(ctx context.Context, tx sqldb.Tx, c claimRow) (u bus.UnitInWork, err error) {
	u = bus.UnitInWork{Unit: c.unit, Gen: c.gen, Index: c.index, EID: c.eid.String(), Chip: c.chip.String(), State: c.state, Present: c.at}
	_, body, err := readEntry(ctx, tx, c.seq)
	if err != nil {
		return u, err
	}
	u.Claim = entry.Hash(body)
	if u.Session, _, err = lastSession(ctx, tx, c); err != nil {
		return u, err
	}
	s, found, err := findSession(ctx, tx, u.Session)
	if err != nil || !found {
		return u, errors.Join(err, missing(found, "the session", u.Session))
	}
	u.Since, u.Acts = s.touched, s.lastN+1
	if err := tx.QueryRow(ctx, sqlDueOf, string(c.lot), int64(s.serial)).Scan(new(int64)); err == nil {
		u.Due = c.state == perso.UnitOpen
	} else if !errors.Is(err, sqldb.ErrNoRows) {
		return u, err
	}
	var sample int64
	if err := tx.QueryRow(ctx, sqlSampleOf, string(c.lot), c.chip.Bytes()).Scan(&sample); err != nil {
		return u, fmt.Errorf("looking for sample %s: %w", c.chip, err)
	}
	u.Sample = sample > 0
	if u.Stays, err = goodStays(ctx, tx, c); err != nil {
		return u, err
	}
	var alarm []byte
	err = tx.QueryRow(ctx, sqlNewestEntry, chipSubject(c.chip.Bytes()), entry.KindAlarm).Scan(&alarm)
	if errors.Is(err, sqldb.ErrNoRows) {
		return u, nil
	}
	if err != nil {
		return u, err
	}
	e, err := entry.ParseAlarm(alarm)
	u.Alarm = fmt.Sprintf("%s: %s", e.Reason, e.Detail)
	return u, err
}
