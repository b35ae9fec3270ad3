package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// forgetWord is two officers' word that the openings of a lot are deleted: its order, its release, and the order desk's words about the
// order. They go in the transaction that logs the word, so that none is gone without it, and none is left after it. What stays is
// what keeps an identity from being issued twice: the ranges, and the order's number (I1).
type forgetWord struct{ statement.Forget }

func (w forgetWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, w.Lot }

func (w forgetWord) accept(ctx context.Context, l *Ledger, b *Batch, hash [32]byte) (fault, err error) {
	lt, err := l.readLot(ctx, b, w.Lot)
	if errors.Is(err, ErrNotFound) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	if fault, err := w.may(ctx, l, b, lt); fault != nil || err != nil {
		return fault, err
	}
	b.erased = true
	seq := b.base + int64(len(b.items)) // of the entry that names the word: it is the next one
	for _, opening := range w.Openings() {
		if _, err := b.Exec(ctx, sqlAddForgotten, opening[:], string(w.Lot), hash[:], seq, lt.release.Product); err != nil {
			return nil, fmt.Errorf("noting that statement %x is deleted: %w", opening[:8], err)
		}
		if _, err := b.Exec(ctx, sqlCutStatement, opening[:]); err != nil {
			return nil, fmt.Errorf("deleting statement %x: %w", opening[:8], err)
		}
	}
	return nil, forgetOrder(ctx, b, lt.order)
}

// may refuses what is too early, or not what would be drafted now.
func (w forgetWord) may(ctx context.Context, l *Ledger, b *Batch, lt *lot) (fault, err error) {
	if lt.forgotten {
		return bus.Refuse(bus.FaultConflict, "another statement had the openings of lot %s deleted already", w.Lot), nil
	}
	if fault, err := b.mayGoOn(ctx, lt); fault != nil || err != nil {
		return fault, err
	}
	e, err := l.readEnding(ctx, b, w.Lot)
	if err != nil {
		return nil, err
	}
	certificate := e.signed[statement.KindDestroyed]
	if certificate == nil {
		return bus.Refuse(bus.FaultRefused, "the key of lot %s is not destroyed: until then its release is needed", w.Lot), nil
	}
	now, err := l.leftOf(ctx, b, lt, certificate)
	if err != nil {
		return nil, err
	}
	if w.Release != lt.hash || w.Certificate != now.Certificate || w.Good != now.Good || w.Proof != now.Proof || string(w.Asks) != now.Asks || !slices.Equal(w.Taken, now.Taken) {
		return bus.Refuse(bus.FaultRefused, "the statement does not name what is on record of lot %s now; draft it anew", w.Lot), nil
	}
	return nil, nil
}

// leftOf is what a statement must name by which the openings of a lot are deleted.
func (l *Ledger) leftOf(ctx context.Context, tx sqldb.Tx, lt *lot, certificate []byte) (*bus.GoneLot, error) {
	s, err := statement.DecodeSigned(certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of deletion: %w", err)
	}
	r := &bus.GoneLot{Certificate: s.Hash(), Good: lt.release.Good, Proof: lt.release.Proof, Asks: string(lt.release.Asks), Forgotten: lt.forgotten}
	if lt.forgotten {
		return r, nil
	}
	r.Taken, err = takenWords(ctx, tx, lt.order)
	return r, err
}

// takenWords are the hashes of the order desk's words about an order, sorted.
func takenWords(ctx context.Context, tx sqldb.Tx, number string) (taken [][32]byte, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var hash, raw []byte
		if err := row.Scan(&hash, &raw); err != nil {
			return err
		}
		s, err := statement.DecodeSigned(raw)
		if err != nil {
			return err
		}
		d, err := statement.ParseDesk(s.Body)
		if err == nil && d.Order == number {
			taken = append(taken, [32]byte(hash))
		}
		return err
	}, sqlTakenWords)
	if err != nil {
		return nil, fmt.Errorf("reading the order desk's words about order %q: %w", number, err)
	}
	slices.SortFunc(taken, func(x, y [32]byte) int { return bytes.Compare(x[:], y[:]) })
	return taken, nil
}

// forgetOrder deletes an order's content, and puts the log's commitment in the place of its hash, at which anybody could guess who
// has the database.
func forgetOrder(ctx context.Context, b *Batch, number string) error {
	var nonce, canonical []byte
	if err := b.QueryRow(ctx, sqlOrderNonce, number).Scan(&nonce, &canonical); err != nil {
		return fmt.Errorf("reading order %q: %w", number, err)
	}
	commit := sha256.Sum256(append(nonce, canonical...))
	if _, err := b.Exec(ctx, sqlForgetOrder, number, commit[:]); err != nil {
		return fmt.Errorf("deleting the content of order %q: %w", number, err)
	}
	if _, err := b.Exec(ctx, sqlDropKi, number); err != nil { // the Ki themselves went with the key
		return fmt.Errorf("deleting what order %q says of the customer's Ki: %w", number, err)
	}
	return nil
}

// readForgotten gives what is left of a release whose deletion was signed for; one that is merely gone is an error.
func readForgotten(ctx context.Context, tx sqldb.Tx, lt *lot) (r statement.Release, forgotten bool, err error) {
	var word, raw []byte
	var product string
	err = tx.QueryRow(ctx, sqlForgotten, lt.hash[:]).Scan(&word, &product)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, false, errors.New("it is not in the ledger, and nobody signed that it be deleted")
	}
	if err == nil {
		err = tx.QueryRow(ctx, sqlStatement, word).Scan(&raw)
	}
	if err != nil {
		return r, false, fmt.Errorf("reading the word that had it deleted: %w", err)
	}
	s, err := statement.DecodeSigned(raw)
	if err != nil {
		return r, false, err
	}
	f, err := statement.ParseForget(s.Body)
	if err != nil {
		return r, false, err
	}
	return statement.Release{Env: f.Env, Site: f.Site, Lot: f.Lot, Order: lt.order, ScriptHash: lt.script, Product: product, Good: f.Good, Proof: f.Proof, Asks: f.Asks}, true, nil
}

// afterForgetting takes what was deleted out of this process and the database's files. It is gone from the tables whatever becomes of
// this; the service tries again.
func (l *Ledger) afterForgetting(ctx context.Context, lot perso.Name) {
	l.lotMu.Lock()
	delete(l.lots, lot)
	l.lotMu.Unlock()
	if err := l.Erase(ctx); err != nil {
		l.log.Warn("what was deleted may still stand in the write-ahead log", "lot", lot, "err", err)
	}
}
