package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// posting is one movement in the books: out of one account, into another.
type posting struct {
	product  string
	reel     perso.Name // empty for chips without one
	from, to perso.Account
	chips    uint64
}

// post writes both sides of a movement. The caller has seen that the chips are there.
func post(ctx context.Context, tx sqldb.Tx, p posting) error {
	if p.chips == 0 {
		return nil
	}
	for _, side := range []struct {
		account perso.Account
		chips   int64
	}{{p.from, -int64(p.chips)}, {p.to, int64(p.chips)}} {
		if _, err := tx.Exec(ctx, sqlAddAccount, p.product, string(p.reel), string(side.account)); err != nil {
			return fmt.Errorf("opening account %q: %w", side.account, err)
		}
		if _, err := tx.Exec(ctx, sqlPost, p.product, string(p.reel), string(side.account), side.chips); err != nil {
			return fmt.Errorf("booking %d chips into account %q: %w", side.chips, side.account, err)
		}
	}
	return nil
}

// holds is how many chips of a reel an account has.
func holds(ctx context.Context, tx sqldb.Tx, sku string, reel perso.Name, a perso.Account) (n int64, err error) {
	err = tx.QueryRow(ctx, sqlAccount, sku, string(reel), string(a)).Scan(&n)
	if errors.Is(err, sqldb.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading account %q: %w", a, err)
	}
	return n, nil
}

// maxByBytes bounds the name of who moved chips.
const maxByBytes = 100

// Book moves blank chips between the store, lines, lots and the places where rejects are sorted. Asked again with the same id it
// answers as before.
func (l *Ledger) Book(ctx context.Context, q bus.BookRequest) (r bus.BookReply, err error) {
	if err := checkBooking(q); err != nil {
		return r, err
	}
	var lots []*lot
	for _, a := range []perso.Account{q.From, q.To} {
		if a.Lot() == "" {
			continue
		}
		lt, err := l.lot(ctx, a.Lot())
		if err != nil {
			return r, err
		}
		lots = append(lots, lt)
	}
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		r = bus.BookReply{}
		fault, err = l.book(ctx, b, q, lots, &r)
		return err
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return bus.BookReply{}, fmt.Errorf("moving chips from %s to %s: %w", q.From, q.To, err)
	}
	return r, nil
}

// checkBooking refuses what no log entry could say.
func checkBooking(q bus.BookRequest) error {
	e := entry.Booking{ID: q.ID, Reel: q.Reel, From: q.From, To: q.To, Chips: max(q.Chips, 1), By: q.By}
	body, err := e.Encode()
	if err == nil {
		_, err = entry.ParseBooking(body)
	}
	switch {
	case err != nil:
		return bus.Refuse(bus.FaultBadMessage, "booking: %v", err)
	case q.By == "" || q.By == record.None || len(q.By) > maxByBytes:
		return bus.Refuse(bus.FaultBadMessage, "booking: say who moved the chips, in at most %d bytes", maxByBytes)
	case q.Reel == "" && (q.Product == "" || q.Chips == 0):
		return bus.Refuse(bus.FaultBadMessage, "booking: chips without a reel need their product and their number")
	}
	return nil
}

func (l *Ledger) book(ctx context.Context, b *Batch, q bus.BookRequest, lots []*lot, r *bus.BookReply) (fault, err error) {
	if r.Product, fault, err = l.productOf(ctx, b, q); fault != nil || err != nil {
		return fault, err
	}
	known, fault, err := bookedBefore(ctx, b, q, r)
	if known || fault != nil || err != nil {
		return fault, err
	}
	there, err := holds(ctx, b, r.Product, q.Reel, q.From)
	if err != nil {
		return nil, err
	}
	if r.Chips = q.Chips; r.Chips == 0 {
		r.Chips = uint64(max(there, 0))
	}
	if r.Chips == 0 || there < int64(r.Chips) {
		return bus.Refuse(bus.FaultRefused, "%s holds %d chips %s", q.From, there, ofReel(r.Product, q.Reel)), nil
	}
	for _, lt := range lots {
		if fault, err := b.mayGoOn(ctx, lt); fault != nil || err != nil {
			return fault, err
		}
		if fault, err := lotTakes(ctx, b, lt, q, r); fault != nil || err != nil {
			return fault, err
		}
	}
	if err := post(ctx, b, posting{r.Product, q.Reel, q.From, q.To, r.Chips}); err != nil {
		return nil, err
	}
	e := entry.Booking{ID: q.ID, Reel: q.Reel, From: q.From, To: q.To, Chips: r.Chips, By: q.By, At: b.At}
	subject := siteSubject()
	if len(lots) > 0 {
		subject = lotSubject(lots[0].name)
	}
	seq, _, err := b.append(entry.KindBooking, subject, e)
	if err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlAddBooking, q.ID[:], seq); err != nil {
		return nil, fmt.Errorf("keeping the booking's id: %w", err)
	}
	return nil, nowThere(ctx, b, q, r)
}

func ofReel(sku string, reel perso.Name) string {
	if reel == "" {
		return "of product " + sku + " that lie on no reel"
	}
	return "of reel " + string(reel)
}

// productOf finds what kind of chips are moved: that of their reel, or the one that is named.
func (l *Ledger) productOf(ctx context.Context, tx sqldb.Tx, q bus.BookRequest) (sku string, fault, err error) {
	if q.Reel == "" {
		if _, ok := l.cat.Order.Products.Get(product.SKU(q.Product)); !ok {
			return "", bus.Refuse(bus.FaultNotFound, "product %q is not in the catalogue", q.Product), nil
		}
		return q.Product, nil, nil
	}
	err = tx.QueryRow(ctx, sqlReelOf, string(q.Reel)).Scan(&sku)
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		return "", bus.Refuse(bus.FaultNotFound, "no reel %q was received", q.Reel), nil
	case err != nil:
		return "", nil, fmt.Errorf("looking for reel %q: %w", q.Reel, err)
	case q.Product != "" && q.Product != sku:
		return "", bus.Refuse(bus.FaultRefused, "reel %q is of product %s", q.Reel, sku), nil
	}
	return sku, nil, nil
}

// bookedBefore answers a booking that is on record: the same one again, or another one under its id.
func bookedBefore(ctx context.Context, b *Batch, q bus.BookRequest, r *bus.BookReply) (known bool, fault, err error) {
	var seq int64
	err = b.QueryRow(ctx, sqlBooking, q.ID[:]).Scan(&seq)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("looking for the booking: %w", err)
	}
	_, body, err := b.entry(ctx, seq)
	if err != nil {
		return false, nil, err
	}
	e, err := entry.ParseBooking(body)
	if err != nil {
		return false, nil, err
	}
	if e.Reel != q.Reel || e.From != q.From || e.To != q.To || q.Chips != 0 && e.Chips != q.Chips {
		return true, bus.Refuse(bus.FaultConflict, "log entry %d is another booking of this id", seq), nil
	}
	r.Chips, r.Duplicate = e.Chips, !b.ours(e.At)
	return true, nil, nowThere(ctx, b, q, r)
}

func nowThere(ctx context.Context, tx sqldb.Tx, q bus.BookRequest, r *bus.BookReply) (err error) {
	if r.Left, err = holds(ctx, tx, r.Product, q.Reel, q.From); err == nil {
		r.There, err = holds(ctx, tx, r.Product, q.Reel, q.To)
	}
	return err
}

// lotTakes holds a booking against the lot that gets or gives the chips, and counts what the lot has.
func lotTakes(ctx context.Context, b *Batch, lt *lot, q bus.BookRequest, r *bus.BookReply) (fault, err error) {
	n, err := readCounts(ctx, b, lt.name)
	if err != nil {
		return nil, err
	}
	switch {
	case n.state == perso.LotClosed:
		return bus.Refuse(bus.FaultRefused, "lot %s is closed: its counts are signed", lt.name), nil
	case lt.release.Product != r.Product:
		return bus.Refuse(bus.FaultRefused, "lot %s is of product %s, the chips are of %s", lt.name, lt.release.Product, r.Product), nil
	}
	moved := int64(r.Chips)
	if q.From.Lot() == lt.name {
		taken, err := takenChips(ctx, b, lt.name, n)
		if err != nil {
			return nil, err
		}
		if left := n.issued - min(n.issued, taken); left < r.Chips {
			return bus.Refuse(bus.FaultRefused, "%d chips were issued to lot %s and %d of them have a unit or lie in its bins: %d are left", n.issued, lt.name, taken, left), nil
		}
		moved = -moved
	}
	if _, err := b.Exec(ctx, sqlLotIssued, string(lt.name), moved); err != nil {
		return nil, fmt.Errorf("counting what was issued to lot %s: %w", lt.name, err)
	}
	return nil, nil
}

// takenChips counts the chips of a lot that none can be issued for once more: those that have a unit, be it in work, or ended while its
// chip is on the way to its bin, in the bin, or wherever officers say; and those that were binned without one.
func takenChips(ctx context.Context, tx sqldb.Tx, name perso.Name, n counts) (uint64, error) {
	bins, err := readBins(ctx, tx, name)
	return n.nextEID + bins[perso.VerdictRejectBlank] + bins[perso.VerdictReturn], err // each chip that is begun takes an identity
}

// issuedHere keeps a chip from being begun that was not issued to its lot, where the site issues chips to lots. One of a reel that lies
// elsewhere was mixed up and stops its head; one too many waits until more are issued. A lot that begins no more gives the chip back.
func (a *act) issuedHere(ctx context.Context, b *Batch, n counts) (bool, error) {
	if n.issued == 0 {
		return true, nil
	}
	var reel string
	if err := b.QueryRow(ctx, sqlChip, a.chip.Bytes()).Scan(&reel); err != nil {
		return false, fmt.Errorf("looking for the reel of chip %s: %w", a.chip, err)
	}
	account := perso.LotAccount(a.lot.name)
	of, err := holds(ctx, b, a.lot.release.Product, perso.Name(reel), account)
	if err == nil && of == 0 {
		of, err = holds(ctx, b, a.lot.release.Product, "", account) // chips without a reel, whichever they came on
	}
	if err != nil {
		return false, err
	}
	if of == 0 {
		return false, a.stop(ctx, b, perso.ReasonNotIssued, fmt.Sprintf("chip %s is of reel %s, which was not issued to lot %s", a.chip, reel, a.lot.name))
	}
	taken, err := takenChips(ctx, b, a.lot.name, n)
	if err == nil && taken >= n.issued && a.lot.beginsMore(n, b.At) {
		a.reply = hold(perso.ReasonNotIssued, fmt.Sprintf("all chips that were issued to lot %s have been taken", a.lot.name))
		a.reply.Verdict.RetryAfter = frozenFor
		return false, nil
	}
	return err == nil, err
}

// bookClosing books what a lot made of its chips, when it is closed: out of the lot, or out of the account of chips that nobody
// issued, into the bins; what came back blank lies in the store, on no reel. What was good in a lot that quality did not accept waits for
// its destruction.
func bookClosing(ctx context.Context, b *Batch, lt *lot, n counts, c statement.Counts) error {
	sku, from, back := lt.release.Product, perso.AccountUnissued, perso.AccountUnissued
	if n.issued > 0 {
		from, back = perso.LotAccount(lt.name), perso.AccountStore
		if err := offTheReel(ctx, b, sku, from); err != nil {
			return err
		}
	}
	drawn, err := readSamples(ctx, b, lt.name)
	if err != nil {
		return err
	}
	good, sample := perso.AccountGood, perso.AccountSample
	if drawn.state == samplesRejected {
		good, sample = perso.AccountRejectLive, perso.AccountRejectLive
	}
	for _, p := range []posting{
		{sku, "", from, good, c.Good}, {sku, "", from, perso.AccountRejectBlank, c.RejectBlank}, {sku, "", from, perso.AccountRejectLive, c.RejectLive},
		{sku, "", from, sample, c.Sample}, {sku, "", from, perso.AccountMissing, c.Missing}, {sku, "", from, back, c.Returned},
	} {
		if err := post(ctx, b, p); err != nil {
			return err
		}
	}
	return nil
}

// offTheReel forgets on which reels the chips of an account came: in the bins nobody sorts them by reel.
func offTheReel(ctx context.Context, tx sqldb.Tx, sku string, account perso.Account) error {
	rest := map[string]int64{}
	err := tx.Each(ctx, func(row sqldb.Row) error {
		var reel string
		var n int64
		err := row.Scan(&reel, &n)
		rest[reel] = n
		return err
	}, sqlAccountReels, string(account))
	if err != nil {
		return fmt.Errorf("reading account %q: %w", account, err)
	}
	for reel, n := range rest {
		if reel == "" {
			continue
		}
		for _, side := range []struct {
			reel  string
			chips int64
		}{{reel, -n}, {"", n}} {
			if _, err := tx.Exec(ctx, sqlAddAccount, sku, side.reel, string(account)); err != nil {
				return fmt.Errorf("opening account %q: %w", account, err)
			}
			if _, err := tx.Exec(ctx, sqlPost, sku, side.reel, string(account), side.chips); err != nil {
				return fmt.Errorf("booking in account %q: %w", account, err)
			}
		}
	}
	return nil
}

// maxStockRows bounds an answer about the stock, well below a message.
const maxStockRows = 5_000

// Stock lists the accounts that are not empty, by product, reel and account.
func (l *Ledger) Stock(ctx context.Context, _ bus.Empty) (bus.StockReply, error) {
	r := bus.StockReply{Env: l.site.env}
	err := l.db.View(ctx, func(tx sqldb.Tx) error {
		r.Rows = []bus.StockRow{}
		return tx.Each(ctx, func(row sqldb.Row) error {
			var x bus.StockRow
			err := row.Scan(&x.Product, (*string)(&x.Reel), (*string)(&x.Account), &x.Chips)
			r.Rows = append(r.Rows, x)
			return err
		}, sqlAccounts)
	})
	if err != nil {
		return bus.StockReply{}, fmt.Errorf("reading the stock: %w", err)
	}
	slices.SortFunc(r.Rows, func(a, b bus.StockRow) int {
		return cmp.Or(cmp.Compare(a.Product, b.Product), cmp.Compare(a.Reel, b.Reel), cmp.Compare(a.Account, b.Account))
	})
	if len(r.Rows) > maxStockRows {
		r.More, r.Rows = uint64(len(r.Rows)-maxStockRows), r.Rows[:maxStockRows]
	}
	return r, nil
}
