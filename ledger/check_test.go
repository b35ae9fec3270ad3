package ledger

import (
	"context"
	"fmt"
	"maps"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// tally is a lot as its log entries tell it.
type lotTally struct {
	claims, good, lost uint64
	bins               map[perso.Verdict]uint64
	reasons            map[[2]string]uint64
}

// replay reads the whole log anew and keeps what follows from it.
type replay struct {
	hashes  []tlog.Hash
	last    time.Time
	lots    map[perso.Name]*lotTally
	claims  map[int64]entry.Claim
	byChip  map[id.ChipID]int64
	byEID   map[id.EID]int64
	byUnit  map[string]int64
	ended   map[string]entry.Outcome // by unit and generation
	endSeq  map[string]int64
	acts    map[string]int64
	serials map[string]perso.Session
	kinds   map[string]int
}

func (r *replay) lot(n perso.Name) *lotTally {
	if r.lots[n] == nil {
		r.lots[n] = &lotTally{bins: map[perso.Verdict]uint64{}, reasons: map[[2]string]uint64{}}
	}
	return r.lots[n]
}

func unitKey(lot perso.Name, u perso.Unit, g perso.Generation) string {
	return fmt.Sprintf("%s/%d/%d", lot, u, g)
}

// check demands that log, claims, counters and tables tell one story.
func (b *bench) check() {
	b.t.Helper()
	r := &replay{lots: map[perso.Name]*lotTally{}, claims: map[int64]entry.Claim{}, byChip: map[id.ChipID]int64{}, byEID: map[id.EID]int64{}, byUnit: map[string]int64{},
		ended: map[string]entry.Outcome{}, endSeq: map[string]int64{}, acts: map[string]int64{}, serials: map[string]perso.Session{}, kinds: map[string]int{}}
	ctx := context.Background()
	err := b.db.View(ctx, func(tx ledgertest.Tx) error {
		log, err := tree.Open(ctx, tx)
		if err != nil {
			return err
		}
		if err := log.Entries(ctx, tx, 0, log.Size(), r.read); err != nil {
			return err
		}
		root, err := tlog.TreeHash(log.Size(), tlog.HashReaderFunc(r.stored))
		if err != nil || root != log.Root() {
			return fmt.Errorf("root of %d entries is not the log's (%v)", log.Size(), err)
		}
		if err := r.holdClaims(ctx, tx); err != nil {
			return err
		}
		return r.holdLots(ctx, tx)
	})
	if err != nil {
		b.t.Errorf("the ledger does not fit together: %v", err)
	}
}

func (r *replay) stored(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = r.hashes[x]
	}
	return out, nil
}

// read takes one entry in; it must parse, and its time must not go back.
func (r *replay) read(seq int64, kind string, body []byte) error {
	h, err := tlog.StoredHashes(seq, body, tlog.HashReaderFunc(r.stored))
	if err != nil {
		return err
	}
	r.hashes = append(r.hashes, h...)
	r.kinds[kind]++
	at, err := entry.TimeOf(body)
	if err != nil || at.Before(r.last) {
		return fmt.Errorf("entry %d: time %s after %s: %v", seq, at, r.last, err)
	}
	r.last = at
	if err := r.take(seq, kind, body); err != nil {
		return fmt.Errorf("entry %d of kind %q: %w", seq, kind, err)
	}
	return nil
}

func (r *replay) take(seq int64, kind string, body []byte) (err error) {
	switch kind {
	case entry.KindClaim:
		return r.claim(seq, body)
	case entry.KindAct:
		return r.act(seq, body)
	case entry.KindOutcome:
		return r.outcome(seq, body)
	case entry.KindPresent:
		e, err := entry.ParsePresent(body)
		r.lot(e.Lot).reasons[[2]string{string(e.Verdict), string(e.Reason)}]++
		return err
	case entry.KindBin:
		e, err := entry.ParseBin(body)
		r.lot(e.Lot).bins[e.Bin]++
		return err
	case entry.KindCertificate:
		_, err = entry.ParseCertificate(body)
	case entry.KindGenesis:
		_, err = entry.ParseGenesis(body)
	case entry.KindOrder:
		_, err = entry.ParseOrder(body)
	case entry.KindRefused:
		_, err = entry.ParseRefused(body)
	case entry.KindStatement:
		_, err = entry.ParseStatement(body)
	case entry.KindStock:
		_, err = entry.ParseStock(body)
	case entry.KindBooking:
		_, err = entry.ParseBooking(body)
	case entry.KindCount:
		_, err = entry.ParseCount(body)
	case entry.KindExport:
		_, err = entry.ParseExport(body)
	case entry.KindForbidden:
		_, err = entry.ParseForbidden(body)
	case entry.KindAlarm:
		_, err = entry.ParseAlarm(body)
	default:
		err = fmt.Errorf("unknown kind")
	}
	return err
}

// claim is I1: EID, chip, and unit with generation appear once, and a generation follows the loss of the one before.
func (r *replay) claim(seq int64, body []byte) error {
	e, err := entry.ParseClaim(body)
	if err != nil {
		return err
	}
	key := unitKey(e.Lot, e.Unit, e.Gen)
	_, chip := r.byChip[e.Chip]
	_, eid := r.byEID[e.EID]
	if _, unit := r.byUnit[key]; chip || eid || unit {
		return fmt.Errorf("chip %s, EID %s or unit %s is claimed twice", e.Chip, e.EID, key)
	}
	r.byChip[e.Chip], r.byEID[e.EID], r.byUnit[key], r.claims[seq] = seq, seq, seq, e
	t := r.lot(e.Lot)
	if uint64(e.Index) != t.claims {
		return fmt.Errorf("EID index %d, expected %d", e.Index, t.claims)
	}
	t.claims++
	if e.Gen == 0 {
		return nil
	}
	before := unitKey(e.Lot, e.Unit, e.Gen-1)
	if o, ok := r.ended[before]; !ok || o.Verdict != perso.VerdictRejectLive || r.endSeq[before] != int64(e.Loss) {
		return fmt.Errorf("unit %s does not follow a loss", key)
	}
	return nil
}

func (r *replay) act(seq int64, body []byte) error {
	e, err := entry.ParseAct(body)
	if err != nil {
		return err
	}
	if _, ok := r.byUnit[unitKey(e.Lot, e.Unit, e.Gen)]; !ok {
		return fmt.Errorf("act without a claim")
	}
	key := fmt.Sprintf("%s/%d", e.Session, e.N)
	if _, twice := r.acts[key]; twice {
		return fmt.Errorf("act %s is logged twice", key)
	}
	if _, ok := r.acts[fmt.Sprintf("%s/%d", e.Session, int(e.N)-1)]; e.N > 0 && !ok {
		return fmt.Errorf("act %s comes without the one before", key)
	}
	r.acts[key] = seq
	serial := fmt.Sprintf("%s/%d", e.Lot, e.Serial)
	if s, used := r.serials[serial]; used && s != e.Session {
		return fmt.Errorf("host challenge %s serves two sessions", serial)
	}
	r.serials[serial] = e.Session
	return nil
}

func (r *replay) outcome(seq int64, body []byte) error {
	e, err := entry.ParseOutcome(body)
	if err != nil {
		return err
	}
	key := unitKey(e.Lot, e.Unit, e.Gen)
	c, ok := r.claims[r.byUnit[key]]
	if _, twice := r.ended[key]; twice || !ok || c.EID != e.EID || c.Chip != e.Chip {
		return fmt.Errorf("outcome of %s fits no open claim", key)
	}
	r.ended[key], r.endSeq[key] = e, seq
	t := r.lot(e.Lot)
	t.reasons[[2]string{string(e.Verdict), string(e.Reason)}]++
	if e.Verdict == perso.VerdictGood {
		t.good++
	} else {
		t.lost++
	}
	return nil
}

// holdClaims compares the claim and act tables with the log.
func (r *replay) holdClaims(ctx context.Context, tx ledgertest.Tx) error {
	rows := 0
	err := tx.Each(ctx, func(row ledgertest.Row) error {
		rows++
		c, err := scanClaim(row)
		if err != nil {
			return err
		}
		key := unitKey(c.lot, c.unit, c.gen)
		e, ended := r.claims[c.seq], r.ended[key]
		if e.Chip != c.chip || e.EID != c.eid || e.Unit != c.unit || e.Gen != c.gen || c.outcome != r.endSeq[key] {
			return fmt.Errorf("claim %s is not what entry %d says", key, c.seq)
		}
		want := map[perso.Verdict]perso.UnitState{"": perso.UnitOpen, perso.VerdictGood: perso.UnitGood, perso.VerdictRejectLive: perso.UnitLost}[ended.Verdict]
		if c.state != want {
			return fmt.Errorf("claim %s is %s, its outcome says %q", key, c.state, ended.Verdict)
		}
		return nil
	}, `SELECT `+claimColumns+` FROM claim`)
	if err == nil && rows != len(r.claims) {
		err = fmt.Errorf("%d claims, %d claim entries", rows, len(r.claims))
	}
	if err != nil {
		return err
	}
	for query, want := range map[string]int{`SELECT COUNT(*) FROM act`: len(r.acts), `SELECT COUNT(*) FROM session`: len(r.serials),
		`SELECT COUNT(*) FROM customer_order`: r.kinds[entry.KindOrder], `SELECT (SELECT COUNT(*) FROM statement) + (SELECT COUNT(*) FROM forgotten)`: r.kinds[entry.KindStatement],
		`SELECT COUNT(*) FROM reel`: r.kinds[entry.KindStock], `SELECT COUNT(*) FROM export`: r.kinds[entry.KindExport],
		`SELECT COUNT(*) FROM stock_booking`: r.kinds[entry.KindBooking], `SELECT CAST(COALESCE(SUM(n), 0) AS BIGINT) FROM stock_account`: 0,
		`SELECT COUNT(*) FROM presentation WHERE bin <> ''`: r.kinds[entry.KindBin]} {
		var n int64
		if err := tx.QueryRow(ctx, query).Scan(&n); err != nil || n != int64(want) {
			return fmt.Errorf("%s: %d, the log says %d (%v)", query, n, want, err)
		}
	}
	return nil
}

// holdLots compares the counters with the log, and the limits of the release with both (I7).
func (r *replay) holdLots(ctx context.Context, tx ledgertest.Tx) error {
	var names []perso.Name
	if err := tx.Each(ctx, func(row ledgertest.Row) error {
		var name, state string
		err := row.Scan(&name, &state)
		names = append(names, perso.Name(name))
		return err
	}, sqlLots); err != nil {
		return err
	}
	for _, name := range names {
		t := r.lot(name)
		n, err := readCounts(ctx, tx, name)
		if err != nil {
			return err
		}
		if n.made != t.good || n.lost != t.lost || n.open != t.claims-t.good-t.lost || n.nextEID != t.claims {
			return fmt.Errorf("lot %s counts %+v, the log says %+v", name, n, t)
		}
		if n.made+n.open > n.good || n.nextEID > n.good+n.spares {
			return fmt.Errorf("lot %s is beyond its release: %+v", name, n)
		}
		if n.made == n.good && n.state != perso.LotComplete && n.state != perso.LotClosed {
			return fmt.Errorf("lot %s has all its units and is %s", name, n.state)
		}
		bins, err := readBins(ctx, tx, name)
		if err != nil || !maps.Equal(bins, t.bins) {
			return fmt.Errorf("lot %s has bins %v, the log says %v (%v)", name, bins, t.bins, err)
		}
		reasons := map[[2]string]uint64{}
		if err := tx.Each(ctx, func(row ledgertest.Row) error {
			var v, why string
			var count int64
			err := row.Scan(&v, &why, &count)
			reasons[[2]string{v, why}] = uint64(count)
			return err
		}, sqlReasons, string(name)); err != nil || !maps.Equal(reasons, t.reasons) {
			return fmt.Errorf("lot %s has reasons %v, the log says %v (%v)", name, reasons, t.reasons, err)
		}
	}
	return nil
}

// raw reads one value, for what no verb shows.
func (b *bench) raw(query string, args ...any) (n int64) {
	b.t.Helper()
	if err := b.db.View(context.Background(), func(tx ledgertest.Tx) error {
		return tx.QueryRow(context.Background(), query, args...).Scan(&n)
	}); err != nil {
		b.t.Fatal(err)
	}
	return n
}
