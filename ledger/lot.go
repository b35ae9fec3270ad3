package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// lot is what never changes about a lot once it is released, and assigned to a vault.
type lot struct {
	name    perso.Name
	release statement.Release
	signed  []byte
	hash    [32]byte // of the release
	script  [32]byte
	order   string
	policy  statement.Policy // that it was released under, with what its order asks for

	// forgotten says that two officers had the release deleted: signed is nil, and of release there is only what is still asked of
	// a lot that is over.
	forgotten bool

	assigning sync.Mutex
	door      *door // of its vault; under assigning, nil until it was looked up
}

// lot finds a released lot, from memory when it was asked for before.
func (l *Ledger) lot(ctx context.Context, name perso.Name) (*lot, error) {
	l.lotMu.Lock()
	known := l.lots[name]
	l.lotMu.Unlock()
	if known != nil {
		return known, nil
	}
	var found *lot
	err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		found, err = l.readLot(ctx, tx, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading lot %q: %w", name, err)
	}
	l.lotMu.Lock()
	defer l.lotMu.Unlock()
	if len(l.lots) >= maxLots {
		clear(l.lots)
	}
	l.lots[name] = found
	return found, nil
}

func (l *Ledger) readLot(ctx context.Context, tx sqldb.Tx, name perso.Name) (*lot, error) {
	var releaseHash, script, policy []byte
	out := &lot{name: name}
	err := tx.QueryRow(ctx, sqlLot, string(name)).Scan(&releaseHash, &out.order, &script, &policy)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, unknown("no lot %q", name)
	} else if err != nil {
		return nil, err
	}
	copy(out.hash[:], releaseHash)
	copy(out.script[:], script)
	if err := out.readRelease(ctx, tx); err != nil {
		return nil, fmt.Errorf("reading the release: %w", err)
	}
	if out.policy, err = readPolicy(ctx, tx, policy); err != nil {
		return nil, err
	}
	out.policy = out.policy.With(out.release.Asks, out.release.Good)
	return out, nil
}

// readRelease reads the officers' words, or, when they were deleted, what is left of them.
func (lt *lot) readRelease(ctx context.Context, tx sqldb.Tx) error {
	err := tx.QueryRow(ctx, sqlStatement, lt.hash[:]).Scan(&lt.signed)
	if errors.Is(err, sqldb.ErrNoRows) {
		lt.release, lt.forgotten, err = readForgotten(ctx, tx, lt)
		return err
	}
	if err != nil {
		return err
	}
	signed, err := statement.DecodeSigned(lt.signed)
	if err != nil {
		return err
	}
	if signed.Hash() != lt.hash {
		return fmt.Errorf("it is not the one that the lot was released by")
	}
	lt.release, err = statement.ParseRelease(signed.Body)
	return err
}

// unclosedLots are the names of the lots that are not closed, sorted.
func unclosedLots(ctx context.Context, tx sqldb.Tx) (names []perso.Name, err error) {
	if err := tx.Each(ctx, func(row sqldb.Row) error {
		var name string
		err := row.Scan(&name)
		names = append(names, perso.Name(name))
		return err
	}, sqlUnclosedLots); err != nil {
		return nil, fmt.Errorf("listing the lots that are not closed: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// unknown is ErrNotFound for who calls, and a fault of that meaning for who asks over the bus.
func unknown(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrNotFound, bus.Refuse(bus.FaultNotFound, format, args...))
}

// counts is what changes about a lot.
type counts struct {
	state              perso.LotState
	good, spares       uint64
	nextUnit, nextEID  uint64
	open, made, lost   uint64
	challenge, issued  uint64 // issued: chips from reels, less what was given back
	approved           bool   // quality signed the first article
	short              bool   // two officers ended it short
	created, completed time.Time
}

// metaShort is before the name of a lot that officers ended short, in the key under which the hash of their word is kept.
const metaShort = "short/"

func readCounts(ctx context.Context, tx sqldb.Tx, name perso.Name) (c counts, err error) {
	var created, completed, short int64
	err = tx.QueryRow(ctx, sqlLotCounts, string(name)).Scan((*string)(&c.state), &c.good, &c.spares, &c.nextUnit, &c.nextEID,
		&c.open, &c.made, &c.lost, &c.challenge, &c.issued, &c.approved, &created, &completed, &short)
	if err != nil {
		return c, fmt.Errorf("reading the counts of lot %q: %w", name, err)
	}
	c.created, c.completed, c.short = fromMicros(created), fromMicros(completed), short > 0
	return c, nil
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Subjects index log entries by what they are about.

// lotSubject groups what concerns a lot as a whole.
func lotSubject(name perso.Name) []byte { return append([]byte("lot\x00"), name...) }

// unitSubject groups the whole life of a unit, all generations.
func unitSubject(name perso.Name, u perso.Unit) []byte {
	b := append([]byte("unit\x00"), name...)
	return binary.BigEndian.AppendUint32(append(b, 0), uint32(u))
}

// chipSubject groups what happened to a chip before or without a claim.
func chipSubject(chip []byte) []byte { return append([]byte("chip\x00"), chip...) }

// presentSubject groups what happened at a contact that nothing else is known of.
func presentSubject(p perso.Presentation) []byte { return append([]byte("present\x00"), p.String()...) }

// orderSubject groups what concerns an order.
func orderSubject(number string) []byte { return append([]byte("order\x00"), number...) }

// fileSubject groups what became of a file that was refused.
func fileSubject(hash [32]byte) []byte { return append([]byte("file\x00"), hash[:]...) }

// siteSubject groups what concerns the site.
func siteSubject() []byte { return []byte("site") }
