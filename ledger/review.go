package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// Review takes a named person's word about exceptions that the log shows, and logs it. Asked again with the same word it answers
// as before.
func (l *Ledger) Review(ctx context.Context, q bus.SignedRequest) (bus.ReviewReply, error) {
	signed, v, err := readSigned(q, statement.ParseReview)
	if err != nil {
		return bus.ReviewReply{}, err
	}
	r := bus.ReviewReply{Reviewed: uint64(len(v.Items))}
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		r.By, fault, err = l.review(ctx, b, signed, v)
		return err
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return bus.ReviewReply{}, fmt.Errorf("signing off exceptions: %w", err)
	}
	return r, nil
}

func (l *Ledger) review(ctx context.Context, b *Batch, signed statement.Signed, v statement.Review) (by []string, fault, err error) {
	if v.Env != l.site.env || v.Site != l.site.name {
		return nil, bus.Refuse(bus.FaultRefused, "the statement is for site %s (%s)", v.Site, v.Env), nil
	}
	reg, err := l.register(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	signers, err := reg.Signers(signed)
	if err == nil {
		err = reg.Authorize(signed)
	}
	if err != nil {
		return nil, bus.Refuse(bus.FaultRefused, "%v", err), nil
	}
	for _, o := range signers {
		by = append(by, o.Person)
	}
	for _, x := range v.Items {
		if int64(x.Entry) >= b.base {
			return nil, bus.Refuse(bus.FaultRefused, "the log has no entry %d yet", x.Entry), nil
		}
		_, body, err := b.entry(ctx, int64(x.Entry))
		if err != nil {
			return nil, nil, err
		}
		if got := entry.Hash(body); got != x.Hash {
			return nil, bus.Refuse(bus.FaultRefused, "entry %d of this log is %x, the statement is about %x: it is of another log", x.Entry, got[:8], x.Hash[:8]), nil
		}
	}
	return by, nil, addReview(ctx, b, signed)
}

// reviewsRow is what statements about no lot are kept under, beside the officer register, which is kept under no name at all. It
// is no lot's name.
const reviewsRow = ".reviews"

// addReview keeps and logs a review, once.
func addReview(ctx context.Context, b *Batch, s statement.Signed) error {
	hash := s.Hash()
	var before []byte
	err := b.QueryRow(ctx, sqlStatement, hash[:]).Scan(&before)
	if !errors.Is(err, sqldb.ErrNoRows) {
		return err
	}
	if _, err := b.Exec(ctx, sqlAddStatement, hash[:], statement.KindReview, int64(0), reviewsRow, s.Encode()); err != nil {
		return err
	}
	_, _, err = b.append(entry.KindStatement, []byte(reviewsRow), entry.Statement{What: statement.KindReview, Hash: hash, At: b.At})
	return err
}

// maxLooked bounds the entries that one question about the log looks at: some milliseconds.
const maxLooked = 20_000

// maxLogBytes bounds the entries of an answer, well below a message.
const maxLogBytes = 512 << 10

// Log gives entries as they stand, from a number on, or the newest ones: those of the kinds and with the text that are asked for.
func (l *Ledger) Log(ctx context.Context, q bus.LogRequest) (bus.LogReply, error) {
	r := bus.LogReply{Size: l.head.get().Size()}
	from, to := q.From, r.Size
	if q.Last > 0 {
		from = max(0, r.Size-int64(min(q.Last, maxLooked)))
	}
	if from < 0 {
		return r, bus.Refuse(bus.FaultBadMessage, "the log begins with entry 0")
	}
	to = min(to, from+maxLooked)
	err := l.db.View(ctx, func(tx sqldb.Tx) error {
		r.Entries, r.Next = nil, max(from, to)
		room := maxLogBytes
		return tx.Each(ctx, func(row sqldb.Row) error {
			var e bus.TraceEntry
			if err := row.Scan(&e.Seq, &e.Kind, &e.Body); err != nil {
				return err
			}
			if e.Seq >= r.Next || !q.Wants(e) {
				return nil
			}
			if room -= len(e.Body); room < 0 {
				r.Next = e.Seq
				return nil
			}
			e.Body = slices.Clone(e.Body)
			r.Entries = append(r.Entries, e)
			return nil
		}, sqlEntriesFrom, from, to)
	})
	if err != nil {
		return bus.LogReply{}, fmt.Errorf("reading the log from entry %d: %w", from, err)
	}
	return r, nil
}
