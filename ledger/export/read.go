package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/kirow"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/statement"
)

// pageUnits is how many units go to the vault together: with proofs and an EumSignedInfo each has some 5 KiB, and a
// message holds 900.
const pageUnits = 128

// The SQL of exports. A good unit whose chip officers gave up, and which lies in no bin, is handed to nobody; nor is a
// sample that failed, or that quality keeps.
const (
	sqlLot  = `SELECT l.state, l.good_count - (SELECT COUNT(*) FROM unit_lost u WHERE u.lot = l.lot AND u.good = TRUE AND u.bin = '') - (SELECT COUNT(*) FROM sample x WHERE x.lot = l.lot AND x.result IN ('kept', 'failed')), l.completed, s.signed, o.resolved FROM lot l, statement s, customer_order o WHERE l.lot = $1 AND s.hash = l.release_hash AND o.order_id = l.order_id`
	sqlGood = `SELECT unit, seq, outcome_seq, cert, eis_sig, ki FROM claim WHERE lot = $1 AND state = 'good' AND unit > $2
		AND NOT EXISTS (SELECT 1 FROM unit_lost u WHERE u.lot = claim.lot AND u.unit = claim.unit AND u.gen = claim.gen AND u.bin = '')
		AND NOT EXISTS (SELECT 1 FROM sample x WHERE x.chip = claim.chip AND x.result IN ('kept', 'failed')) ORDER BY unit LIMIT $3`
	sqlSampling = `SELECT COUNT(*) FROM sampling WHERE lot = $1 AND state = $2`
	sqlKeepSig  = `UPDATE claim SET eis_sig = $4 WHERE lot = $1 AND unit = $2 AND gen = $3 AND state = 'good' AND eis_sig IS NULL`
	sqlSig      = `SELECT eis_sig FROM claim WHERE lot = $1 AND unit = $2 AND gen = $3`
	sqlExported = `SELECT hash FROM export WHERE lot = $1 AND what = $2`
)

// lotFacts is what all units of a lot have in common.
type lotFacts struct {
	release   statement.Release
	order     order.Order // as resolved
	product   product.Product
	smsr      order.SMSR
	provider  order.Provider
	auth      auth.Algorithm
	receiver  k4.Receiver // of an envelope
	good      uint64
	completed time.Time
}

func (c Config) readLot(ctx context.Context, name perso.Name) (f lotFacts, err error) {
	var state string
	var completed, due, rejected int64
	var signed, resolved []byte
	err = c.DB.View(ctx, func(tx sqldb.Tx) error {
		if err := tx.QueryRow(ctx, sqlSampling, string(name), "due").Scan(&due); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlSampling, string(name), "rejected").Scan(&rejected); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sqlLot, string(name)).Scan(&state, &f.good, &completed, &signed, &resolved)
	})
	switch s := perso.LotState(state); {
	case errors.Is(err, sqldb.ErrNoRows):
		return f, fmt.Errorf("lot %q: %w", name, ErrUnknown)
	case err != nil:
		return f, err
	case s != perso.LotComplete && s != perso.LotClosed:
		return f, fmt.Errorf("%w: it is %s", ErrNotComplete, s)
	case due > 0:
		return f, fmt.Errorf("%w: quality has not signed its samples", ErrNotComplete)
	case rejected > 0:
		return f, fmt.Errorf("%w: its samples were worse than the plan allows, and nothing of it may be handed out; 'perso chips draft-destroy %s' and a new order follow", ErrNotAccepted, name)
	case resolved == nil:
		return f, fmt.Errorf("the order of lot %q was deleted: %w", name, ErrUnknown)
	}
	f.completed = time.UnixMicro(completed)
	s, err := statement.DecodeSigned(signed)
	if err != nil {
		return f, err
	}
	if f.release, err = statement.ParseRelease(s.Body); err != nil {
		return f, err
	}
	if f.auth, err = auth.Parse(f.release.Algorithm); err != nil {
		return f, err
	}
	if f.order, err = order.Parse(bytes.NewReader(resolved)); err != nil {
		return f, fmt.Errorf("reading the order as stored: %w", err)
	}
	return f, c.partners(&f)
}

// partners looks up product, subscription manager and operator. A product that changed since the release is refused.
func (c Config) partners(f *lotFacts) error {
	var ok bool
	r := f.release
	if f.product, ok = c.Products.Get(product.SKU(r.Product)); !ok || f.product.Hash() != r.ProductHash {
		return fmt.Errorf("product %q on this host is not the one that was released", r.Product)
	}
	if f.smsr, ok = c.Site.SMSR(r.SMSR); !ok && r.EUICC() {
		return fmt.Errorf("SM-SR %q is not among the partners", r.SMSR)
	}
	if f.provider, ok = c.Site.Provider(f.order.Provider); !ok {
		return fmt.Errorf("provider %q is not among the partners", f.order.Provider)
	}
	if r.TransportMode != string(k4.Envelope) {
		return nil
	}
	if f.receiver, ok = c.Site.Receiver(r.TransportKey); !ok || f.receiver.Ref().String() != r.ReceiverKey {
		return fmt.Errorf("receiver key %q among the partners is not %s, which was released", r.TransportKey, r.ReceiverKey)
	}
	return nil
}

// unit is one good unit.
type unit struct {
	claim   entry.Claim
	outcome entry.Outcome
	item    bus.ExportItem
	iccid   id.ICCID
	imsi    id.IMSI
	cert    []byte
	sig     []byte // the EUM's signature, nil before it was made
}

// name is what a unit goes by: an eUICC by its EID, a SIM by its ICCID.
func (u unit) name() string {
	if u.claim.EID.IsZero() {
		return u.iccid.String()
	}
	return u.claim.EID.String()
}

// goodUnits reads the next page, each unit with the proofs that the vault wants.
func (j *job) goodUnits(ctx context.Context, after int64) (units []unit, err error) {
	err = j.DB.View(ctx, func(tx sqldb.Tx) error {
		rows, err := goodRows(ctx, tx, j.lot.release.Lot, after)
		if err != nil {
			return err
		}
		units = make([]unit, len(rows))
		for i, row := range rows {
			if units[i], err = j.unit(ctx, tx, row); err != nil {
				return fmt.Errorf("reading unit %d: %w", row.unit, err)
			}
		}
		return nil
	})
	return units, err
}

type goodRow struct {
	unit, seq, outcome int64
	cert, sig, ki      []byte
}

func goodRows(ctx context.Context, tx sqldb.Tx, lot perso.Name, after int64) (rows []goodRow, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var r goodRow
		err := row.Scan(&r.unit, &r.seq, &r.outcome, &r.cert, &r.sig, &r.ki)
		rows = append(rows, r)
		return err
	}, sqlGood, string(lot), after, int64(pageUnits))
	if err != nil {
		return nil, fmt.Errorf("reading good units: %w", err)
	}
	return rows, nil
}

// unit goes by the log: the row only says where to look.
func (j *job) unit(ctx context.Context, tx sqldb.Tx, row goodRow) (u unit, err error) {
	u.cert, u.sig, u.item.Ki = row.cert, row.sig, row.ki
	if r := j.lot.release; r.KiSource == string(order.KiCustomer) {
		if u.item.Customer, err = kirow.Read(ctx, tx, r.Order, perso.Unit(row.unit)); err != nil {
			return u, err
		}
	}
	if u.item.Claim, err = j.prove(ctx, tx, row.seq); err != nil {
		return u, err
	}
	if u.item.Outcome, err = j.prove(ctx, tx, row.outcome); err != nil {
		return u, err
	}
	if u.claim, err = entry.ParseClaim(u.item.Claim.Entry); err != nil {
		return u, err
	}
	if u.outcome, err = entry.ParseOutcome(u.item.Outcome.Entry); err != nil {
		return u, err
	}
	c, o := u.claim, u.outcome
	if c.Lot != j.lot.release.Lot || int64(c.Unit) != row.unit || o.Lot != c.Lot || o.Unit != c.Unit || o.Gen != c.Gen || o.Verdict != perso.VerdictGood {
		return u, fmt.Errorf("log entries %d and %d are not its claim and its good outcome", row.seq, row.outcome)
	}
	if u.iccid, err = j.lot.release.ICCIDs.At(uint64(c.Unit)); err != nil {
		return u, err
	}
	u.imsi, err = j.lot.release.IMSIs.At(uint64(c.Unit))
	return u, err
}

func (j *job) prove(ctx context.Context, tx sqldb.Tx, seq int64) (p bus.Proven, err error) {
	p.Seq = seq
	if _, p.Entry, err = j.log.EntryAt(ctx, tx, seq); err != nil {
		return p, err
	}
	p.Proof, err = j.log.Prove(ctx, tx, seq)
	return p, err
}

// recorded is the hash of the export on record, nil when there is none.
func (j *job) recorded(ctx context.Context) (hash []byte, err error) {
	err = j.DB.View(ctx, func(tx sqldb.Tx) error {
		return tx.QueryRow(ctx, sqlExported, string(j.lot.release.Lot), j.what).Scan(&hash)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	return hash, err
}

// keepSignature stores a signature in the claim unless one is there, and gives the one that is there now.
func (j *job) keepSignature(ctx context.Context, tx sqldb.Tx, c entry.Claim, sig []byte) (kept []byte, err error) {
	key := []any{string(c.Lot), int64(c.Unit), int64(c.Gen)}
	if _, err := tx.Exec(ctx, sqlKeepSig, append(key, sig)...); err != nil {
		return nil, fmt.Errorf("keeping the signature of unit %d: %w", c.Unit, err)
	}
	if err := tx.QueryRow(ctx, sqlSig, key...).Scan(&kept); err != nil {
		return nil, fmt.Errorf("reading the signature of unit %d: %w", c.Unit, err)
	}
	return kept, nil
}
