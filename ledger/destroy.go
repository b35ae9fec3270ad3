package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// Shredder is a vault that destroys lots' keys. A Vault that is none refuses.
type Shredder interface {
	DestroyLot(ctx context.Context, q bus.DestroyLotRequest) (bus.DestroyLotReply, error)
}

// Order of the statements about one lot, after release and close.
const (
	ordDestroy   = 2
	ordDestroyed = 3
)

// ending is what is on record about the end of a lot's key: statements by kind, and the log entries that name them.
type ending struct {
	signed map[string][]byte
	seqs   map[string]int64
	bodies map[string][]byte
}

// readEnding reads the statements about a lot and their entries.
func (l *Ledger) readEnding(ctx context.Context, tx sqldb.Tx, name perso.Name) (e ending, err error) {
	e = ending{signed: map[string][]byte{}, seqs: map[string]int64{}, bodies: map[string][]byte{}}
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var seq int64
		var kind string
		var body []byte
		if err := row.Scan(&seq, &kind, &body); err != nil || kind != entry.KindStatement {
			return err
		}
		s, err := entry.ParseStatement(body)
		if err == nil {
			e.seqs[s.What], e.bodies[s.What] = seq, body
		}
		return err
	}, sqlEntriesSubject, lotSubject(name))
	if err != nil {
		return e, fmt.Errorf("reading the entries of lot %q: %w", name, err)
	}
	for what, body := range e.bodies {
		s, err := entry.ParseStatement(body)
		if err != nil {
			return e, err
		}
		var signed []byte
		err = tx.QueryRow(ctx, sqlStatement, s.Hash[:]).Scan(&signed)
		if what == statement.KindRelease && errors.Is(err, sqldb.ErrNoRows) {
			continue // it may be deleted, and is no part of the end
		}
		if err != nil {
			return e, fmt.Errorf("reading the %s of lot %q: %w", what, name, err)
		}
		e.signed[what] = signed
	}
	return e, nil
}

// Closing gives what a statement about the end of a lot's key must name. A lot that is not closed is refused.
func (l *Ledger) Closing(ctx context.Context, q bus.LotRequest) (bus.ClosingReply, error) {
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.ClosingReply{}, err
	}
	r := bus.ClosingReply{Env: l.site.env, Site: l.site.name, Lot: q.Lot, Release: lt.hash, Now: l.now().UTC()}
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		e, err := l.readEnding(ctx, tx, q.Lot)
		if err != nil {
			return err
		}
		if e.signed[statement.KindClose] == nil {
			return bus.Refuse(bus.FaultRefused, "lot %q is not closed", q.Lot)
		}
		s, err := statement.DecodeSigned(e.signed[statement.KindClose])
		if err != nil {
			return err
		}
		c, err := statement.ParseClose(s.Body)
		if err != nil {
			return err
		}
		r.Close, r.Closed = s.Hash(), c.At
		if certificate := e.signed[statement.KindDestroyed]; certificate != nil {
			r.Gone, err = l.leftOf(ctx, tx, lt, certificate)
		}
		return err
	})
	return r, err
}

// DestroyKeys has the vault destroy a lot's key on two officers' word: the word is logged first, the vault checks it and
// its place in the log, its certificate of deletion is logged after. Asked again it goes on where it was.
func (l *Ledger) DestroyKeys(ctx context.Context, q bus.SignedRequest) (bus.DestroyReply, error) {
	signed, d, err := readSigned(q, statement.ParseDestroy)
	if err != nil {
		return bus.DestroyReply{}, err
	}
	certificate, err := l.destroy(ctx, signed, d)
	if err != nil {
		return bus.DestroyReply{}, fmt.Errorf("destroying the key of lot %q: %w", d.Lot, err)
	}
	// Who destroys a lot's key wants nothing of the lot left. The key is gone whatever becomes of this; the service tries again.
	l.unerased.Store(true)
	if err := l.Erase(ctx); err != nil {
		l.log.Warn("what was deleted may still stand in the write-ahead log", "lot", d.Lot, "err", err)
	}
	return bus.DestroyReply{Lot: d.Lot, Certificate: certificate}, nil
}

func (l *Ledger) destroy(ctx context.Context, signed statement.Signed, d statement.Destroy) (certificate []byte, err error) {
	lt, err := l.lot(ctx, d.Lot)
	if err != nil {
		return nil, err
	}
	at, err := l.ownerOf(ctx, lt)
	if err != nil {
		return nil, err
	}
	if lt.forgotten {
		return l.certified(ctx, signed, d.Lot)
	}
	shredder, ok := at.vault.(Shredder)
	if !ok {
		return nil, bus.Refuse(bus.FaultRefused, "its vault destroys no lot keys")
	}
	// INTENT: the word is in the log before the key is gone.
	before, err := l.order(ctx, lt, signed, d, [32]byte{})
	if err == nil && before != [32]byte{} {
		err = l.supersede(ctx, lt, at, shredder, before)
		if err == nil {
			_, err = l.order(ctx, lt, signed, d, before)
		}
	}
	if err != nil {
		return nil, err
	}
	return l.carryOut(ctx, lt, at, shredder, signed.Hash())
}

// order logs the officers' word. Another one that is on record, and is not the one that the vault refused, it gives back, and logs nothing.
func (l *Ledger) order(ctx context.Context, lt *lot, signed statement.Signed, d statement.Destroy, refused [32]byte) (before [32]byte, err error) {
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		before, fault, err = l.orderDestruction(ctx, b, lt, signed, d, refused)
		return err
	})
	return before, errors.Join(err, fault)
}

// supersede has the vault say once more what it makes of the word on record: nobody else knows whether it carried it out and its answer was lost. Only one
// that it refuses may be replaced, so that the last word of a log is the one that the key is destroyed on.
func (l *Ledger) supersede(ctx context.Context, lt *lot, at *door, shredder Shredder, before [32]byte) error {
	_, err := l.carryOut(ctx, lt, at, shredder, before)
	if err == nil {
		return bus.Refuse(bus.FaultConflict, "its key is destroyed: another statement ordered it already")
	}
	var fault *bus.Fault
	if errors.As(err, &fault) && fault.Code == bus.FaultRefused {
		return nil
	}
	return fmt.Errorf("asking the vault about statement %x, which ordered it already: %w", before[:8], err)
}

// carryOut has the vault destroy the key on the word on record, and logs its certificate.
func (l *Ledger) carryOut(ctx context.Context, lt *lot, at *door, shredder Shredder, ordered [32]byte) (certificate []byte, err error) {
	request, err := l.destroyRequest(ctx, lt, at)
	if err != nil {
		return nil, err
	}
	a, err := shredder.DestroyLot(ctx, request)
	if err != nil {
		return nil, err
	}
	done, err := l.checkCertificate(a.Certificate, ordered, lt.name)
	if err != nil {
		return nil, err
	}
	// OUTCOME: the certificate.
	return a.Certificate, l.commit(ctx, func(ctx context.Context, b *Batch) error {
		if _, err := b.Exec(ctx, sqlDropKiPages, lt.order); err != nil { // of the customer's own Ki nothing stays, not even as received
			return fmt.Errorf("deleting the customer's Ki: %w", err)
		}
		return addStatement(ctx, b, statement.KindDestroyed, ordDestroyed, lt.name, done)
	})
}

// certified gives the certificate that is on record, of a lot whose release is deleted.
func (l *Ledger) certified(ctx context.Context, ordered statement.Signed, lot perso.Name) (certificate []byte, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		e, err := l.readEnding(ctx, tx, lot)
		if err != nil {
			return err
		}
		certificate = e.signed[statement.KindDestroyed]
		_, err = l.checkCertificate(certificate, ordered.Hash(), lot)
		return err
	})
	return certificate, err
}

// orderDestruction takes the officers' word in, as order says.
func (l *Ledger) orderDestruction(ctx context.Context, b *Batch, lt *lot, signed statement.Signed, d statement.Destroy, refused [32]byte) (before [32]byte, fault, err error) {
	e, err := l.readEnding(ctx, b, d.Lot)
	if err != nil {
		return before, nil, err
	}
	if e.signed[statement.KindDestroy] != nil {
		known, err := statement.DecodeSigned(e.signed[statement.KindDestroy])
		if err != nil {
			return before, nil, err
		}
		before = known.Hash()
	}
	gone := e.signed[statement.KindDestroyed] != nil
	switch {
	case before == signed.Hash() && gone:
		return [32]byte{}, nil, nil
	case gone:
		return before, bus.Refuse(bus.FaultConflict, "its key is destroyed: another statement ordered it already"), nil
	}
	if fault, err := b.mayGoOn(ctx, lt); fault != nil || err != nil || before == signed.Hash() {
		return [32]byte{}, fault, err // it may have been frozen since the word was logged, and the key is there still
	}
	if fault, err := l.mayOrder(ctx, b, lt, e, signed, d); fault != nil || err != nil {
		return before, fault, err
	}
	if before != refused {
		return before, nil, nil
	}
	return [32]byte{}, nil, addStatement(ctx, b, statement.KindDestroy, ordDestroy, d.Lot, signed)
}

// mayOrder refuses a word that the vault would refuse, or that is not what would be drafted now.
func (l *Ledger) mayOrder(ctx context.Context, b *Batch, lt *lot, e ending, signed statement.Signed, d statement.Destroy) (fault, err error) {
	closed := e.signed[statement.KindClose]
	if closed == nil {
		return bus.Refuse(bus.FaultRefused, "the lot is not closed"), nil
	}
	s, err := statement.DecodeSigned(closed)
	if err != nil {
		return nil, err
	}
	c, err := statement.ParseClose(s.Body)
	if err != nil {
		return nil, err
	}
	if fault, err := l.authorized(ctx, b, signed); fault != nil || err != nil {
		return fault, err
	}
	hash := signed.Hash()
	err = b.QueryRow(ctx, sqlStatement, hash[:]).Scan(new([]byte))
	switch {
	case err == nil: // it is on record, and not the last
		return bus.Refuse(bus.FaultConflict, "another statement took the place of this one"), nil
	case !errors.Is(err, sqldb.ErrNoRows):
		return nil, err
	case d.Env != l.site.env || d.Site != l.site.name:
		return bus.Refuse(bus.FaultRefused, "the statement is for site %s (%s)", d.Site, d.Env), nil
	case d.Release != lt.hash || d.Close != s.Hash():
		return bus.Refuse(bus.FaultRefused, "the statement names another release or closing; draft it anew"), nil
	case b.At.Before(d.Retained):
		return bus.Refuse(bus.FaultRefused, "retention ends %s", d.Retained.Format("2006-01-02 15:04:05Z")), nil
	}
	if err := d.After(c.At); err != nil {
		return bus.Refuse(bus.FaultRefused, "%v", err), nil
	}
	return delivered(ctx, b, lt)
}

// delivered demands an export of each kind, but of a lot that quality did not accept: it is handed to nobody.
func delivered(ctx context.Context, b *Batch, lt *lot) (fault, err error) {
	if drawn, err := readSamples(ctx, b, lt.name); err != nil || drawn.state == samplesRejected {
		return nil, err
	}
	for _, what := range slices.Sorted(maps.Keys(lt.release.Receivers())) {
		err := b.QueryRow(ctx, sqlExport, string(lt.name), what).Scan(new([]byte))
		if errors.Is(err, sqldb.ErrNoRows) {
			return bus.Refuse(bus.FaultRefused, "the lot was not delivered: there is no %s export, and without the key there never will be", what), nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// addStatement keeps and logs a statement about a lot, once.
func addStatement(ctx context.Context, b *Batch, kind string, ord int64, lot perso.Name, s statement.Signed) error {
	hash := s.Hash()
	var before []byte
	err := b.QueryRow(ctx, sqlStatement, hash[:]).Scan(&before)
	if !errors.Is(err, sqldb.ErrNoRows) {
		return err
	}
	if _, err := b.Exec(ctx, sqlAddStatement, hash[:], kind, ord, string(lot), s.Encode()); err != nil {
		return err
	}
	_, _, err = b.append(entry.KindStatement, lotSubject(lot), entry.Statement{What: kind, Hash: hash, Lot: lot, At: b.At})
	return err
}

// destroyRequest collects what the vault checks for itself.
func (l *Ledger) destroyRequest(ctx context.Context, lt *lot, d *door) (q bus.DestroyLotRequest, err error) {
	t, note, err := l.Signed(ctx)
	if err == nil {
		err = l.show(ctx, d, t, note)
	}
	var register [][]byte
	if err == nil {
		register, err = l.tell(ctx, d)
	}
	if err != nil {
		return q, err
	}
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		e, err := l.readEnding(ctx, tx, lt.name)
		if err != nil {
			return err
		}
		q = bus.DestroyLotRequest{Release: lt.signed, Close: e.signed[statement.KindClose], Destroy: e.signed[statement.KindDestroy], Checkpoint: note, Register: register}
		if q.Closed, err = prove(ctx, tx, t, e.seqs[statement.KindClose], e.bodies[statement.KindClose]); err != nil {
			return err
		}
		q.Ordered, err = prove(ctx, tx, t, e.seqs[statement.KindDestroy], e.bodies[statement.KindDestroy])
		return err
	})
	return q, err
}

// checkCertificate takes only what the vault of this log signed about this very statement.
func (l *Ledger) checkCertificate(encoded []byte, ordered [32]byte, lot perso.Name) (statement.Signed, error) {
	s, err := statement.DecodeSigned(encoded)
	if err != nil {
		return s, fmt.Errorf("reading the certificate of deletion: %w", err)
	}
	c, err := statement.ParseDestroyed(s.Body)
	if err != nil {
		return s, err
	}
	if len(s.Signatures) != 1 || !ed25519.Verify(l.site.stmtKey, s.Body, s.Signatures[0].Sig[:]) || c.Destroy != ordered || c.Lot != lot || c.Env != l.site.env {
		return s, fmt.Errorf("%w: the certificate of deletion is not the vault's, or about another lot", ErrRefused)
	}
	return s, nil
}
