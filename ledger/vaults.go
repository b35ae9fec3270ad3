package ledger

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// Assigner is the log vault of a site with several: it gives each lot to one of them, for good.
type Assigner interface {
	AssignLot(ctx context.Context, q bus.AssignLotRequest) (bus.AssignLotReply, error)
}

// Follower is a vault that does not sign the log: it is shown each checkpoint before it serves against it.
type Follower interface {
	Follow(ctx context.Context, q bus.FollowRequest) (bus.FollowReply, error)
}

// OtherVault is a vault of the site beside the log vault. It makes the lots that were assigned to it.
type OtherVault struct {
	Name     perso.Name
	Vault    Vault
	Follower Follower
}

// maxShows bounds how often a checkpoint is shown: the first time tells where the vault stands, which may be behind or
// ahead of what is known of it; more means that it moves without being shown anything.
const maxShows = 4

// knockPatience bounds how long a vault has to show that it is there before a lot is assigned: it answers within milliseconds.
const knockPatience = 2 * time.Second

// ordAssigned is the assignment's place among the statements about a lot.
const ordAssigned = 4

// door is one vault of the site as the ledger deals with it. Acts of one vault's lots wait for that vault only.
type door struct {
	name     perso.Name
	vault    Vault
	follower Follower // nil: the log vault, which need not be shown what it signed
	serves   combiner[*act]

	showing sync.Mutex // one checkpoint is shown at a time
	last    int64      // the size it was shown last
	tree    *tree.Log  // of that size; nil when it is not known

	telling sync.Mutex  // one batch of officers' words is told at a time
	told    uint64      // how many the vault knows
	deaf    atomic.Bool // it may not know what was said last; so each is thought of until this process told it

	mu    sync.Mutex
	away  time.Time // since when it does not answer; zero while it does
	birth [16]byte  // what it says that it was born as; zero when it was not asked yet, and of the log vault
}

// said notes what a vault answered to a checkpoint. One that remembers less than it once said it does was put back to an older
// state: it would forget on. It goes on when its own state is back.
func (d *door) said(a bus.FollowReply) error {
	if a.Last < d.last {
		return rolledBack(d.name, a.Last, d.last)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.birth = a.Birth
	return nil
}

// rolledBack is the refusal of a vault that remembers less of the log than was proven to it.
func rolledBack(vault perso.Name, remembers, knew int64) error {
	return fmt.Errorf("%w: vault %q remembers a log of %d entries, and knew of %d: its state was put back to an older one, and nothing is asked of it; start it from the state with which it ran last (keygen/life/LIFE.md)",
		ErrRefused, vault, remembers, knew)
}

func (d *door) born() [16]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.birth
}

// heard notices whether a vault answers, and passes the error on.
func (d *door) heard(now time.Time, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !errors.Is(err, bus.ErrNoAnswer):
		d.away = time.Time{}
	case d.away.IsZero():
		d.away = now.UTC()
	}
	return err
}

func (d *door) awaySince() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.away
}

// doorOf finds the vault that makes a lot. One that nobody has yet is assigned now, or is the only vault's.
func (l *Ledger) doorOf(ctx context.Context, lt *lot) (*door, error) {
	lt.assigning.Lock()
	defer lt.assigning.Unlock()
	if lt.door != nil {
		return lt.door, nil
	}
	name, err := l.assignedTo(ctx, lt.name) // also with one vault: there may have been another
	if err == nil && name == "" && len(l.doors) > 1 {
		name, err = l.assign(ctx, lt)
	}
	if err != nil {
		return nil, fmt.Errorf("finding the vault of lot %q: %w", lt.name, err)
	}
	d := l.doorNamed(name)
	if d == nil {
		return nil, notConfigured(lt.name, name)
	}
	lt.door = d
	return d, nil
}

// doorNamed is a vault's; "" is the log vault. It is nil of a vault that the site does not name.
func (l *Ledger) doorNamed(name perso.Name) *door {
	if i := slices.IndexFunc(l.doors, func(d *door) bool { return d.name == name }); i >= 0 {
		return l.doors[i]
	}
	if name == "" {
		return l.doors[0]
	}
	return nil
}

func notConfigured(lot, vault perso.Name) error {
	return bus.Refuse(bus.FaultRefused, "lot %q is vault %q's, which this site's configuration does not name any more", lot, vault)
}

// ownerOf finds the vault that makes a lot, and gives nothing away: a lot that nobody has yet is refused. One that was begun
// without a word is from a time when the log vault was the only one.
func (l *Ledger) ownerOf(ctx context.Context, lt *lot) (*door, error) {
	var name perso.Name
	var n counts
	if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		if name, err = readAssigned(ctx, tx, lt.name); err != nil {
			return err
		}
		n, err = readCounts(ctx, tx, lt.name)
		return err
	}); err != nil {
		return nil, fmt.Errorf("finding the vault of lot %q: %w", lt.name, err)
	}
	d := l.doorNamed(name)
	switch {
	case d == nil:
		return nil, notConfigured(lt.name, name)
	case name == "" && len(l.doors) > 1 && n.challenge == 0:
		return nil, bus.Refuse(bus.FaultRefused, "lot %q was given to no vault yet: that is done when it is released, or when a line asks for it", lt.name)
	case name == "":
		return l.doors[0], nil
	}
	return d, nil
}

// VaultOf names the vault that makes a lot. It assigns none: who reads changes nothing.
func (l *Ledger) VaultOf(ctx context.Context, name perso.Name) (perso.Name, error) {
	lt, err := l.lot(ctx, name)
	if err != nil {
		return "", err
	}
	d, err := l.ownerOf(ctx, lt)
	if err != nil {
		return "", err
	}
	return d.name, nil
}

// assignedTo reads whose a lot is; nobody's is "".
func (l *Ledger) assignedTo(ctx context.Context, lot perso.Name) (vault perso.Name, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		vault, err = readAssigned(ctx, tx, lot)
		return err
	})
	return vault, err
}

func readAssigned(ctx context.Context, tx sqldb.Tx, lot perso.Name) (vault perso.Name, err error) {
	err = tx.QueryRow(ctx, sqlAssigned, string(lot)).Scan((*string)(&vault), new([]byte))
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	return vault, err
}

// assign has the log vault give a lot away, to the idlest vault if it agrees, and writes down and logs what it said. It says the same again to whoever asks again.
func (l *Ledger) assign(ctx context.Context, lt *lot) (perso.Name, error) {
	if err := l.knock(ctx); err != nil {
		return "", err
	}
	q := bus.AssignLotRequest{Release: lt.signed}
	var err error
	if q.Register, err = l.tell(ctx, l.doors[0]); err != nil {
		return "", err
	}
	if err := l.db.View(ctx, func(tx sqldb.Tx) error {
		to, err := l.idlest(ctx, tx)
		if err == nil {
			q.Vault, q.Birth = to.name, to.born()
		}
		return err
	}); err != nil {
		return "", err
	}
	a, err := l.assigner.AssignLot(ctx, q)
	if err := l.doors[0].heard(l.now(), err); err != nil {
		return "", fmt.Errorf("asking log vault %q: %w", l.doors[0].name, err)
	}
	s, vault, err := l.checkAssigned(a.Assigned, lt)
	if err != nil {
		return "", err
	}
	hash := s.Hash()
	return vault, l.commit(ctx, func(ctx context.Context, b *Batch) error {
		if err := addStatement(ctx, b, statement.KindAssigned, ordAssigned, lt.name, s); err != nil {
			return err
		}
		_, err := b.Exec(ctx, sqlAddAssigned, string(lt.name), string(vault), hash[:])
		return err
	})
}

// idlest is the vault with the fewest lots that are not finished, of those that answer: a lot does not move, so none is given to
// a vault that may never come back. Only when no vault answers, all are asked for.
func (l *Ledger) idlest(ctx context.Context, tx sqldb.Tx) (*door, error) {
	open := map[perso.Name]int64{}
	if err := tx.Each(ctx, func(row sqldb.Row) error {
		var name string
		var n int64
		err := row.Scan(&name, &n)
		open[perso.Name(name)] = n
		return err
	}, sqlOpenLots); err != nil {
		return nil, fmt.Errorf("counting the vaults' open lots: %w", err)
	}
	here := slices.DeleteFunc(slices.Clone(l.doors), func(d *door) bool {
		return !d.awaySince().IsZero() || d.follower != nil && d.born() == [16]byte{}
	})
	if len(here) == 0 {
		here = l.doors
	}
	return slices.MinFunc(here, func(a, b *door) int { return cmp.Compare(open[a.name], open[b.name]) }), nil
}

// knock finds out which vaults answer, by showing each a checkpoint: one without a lot is not asked anything else, so nobody
// would notice that it went away, or came back. A vault that does not answer is no error.
func (l *Ledger) knock(ctx context.Context) error {
	t, note, err := l.Signed(ctx)
	if err != nil {
		return err
	}
	for _, d := range l.doors {
		if d.follower == nil || !d.showing.TryLock() {
			continue // who shows it one now hears whether it answers
		}
		short, cancel := context.WithTimeout(ctx, knockPatience)
		err := l.showLocked(short, d, t, note)
		cancel()
		d.showing.Unlock()
		if err != nil {
			l.log.WarnContext(ctx, "a vault takes no checkpoint before a lot is assigned", "vault", d.name, "err", err)
		}
	}
	return nil
}

// checkAssigned takes only what the site's log vault said about this very release.
func (l *Ledger) checkAssigned(encoded []byte, lt *lot) (s statement.Signed, vault perso.Name, err error) {
	if s, err = statement.DecodeSigned(encoded); err != nil {
		return s, "", fmt.Errorf("reading the assignment: %w", err)
	}
	a, err := statement.ParseAssigned(s.Body)
	if err != nil {
		return s, "", err
	}
	if len(s.Signatures) != 1 || !ed25519.Verify(l.site.stmtKey, s.Body, s.Signatures[0].Sig[:]) || a.Lot != lt.name || a.Release != lt.hash {
		return s, "", fmt.Errorf("%w: the assignment is not the log vault's, or about another lot", ErrRefused)
	}
	return s, a.Vault, nil
}

// show has a vault that does not sign the log follow a checkpoint. One that is older than what it saw last is proven to
// lie on the way there.
func (l *Ledger) show(ctx context.Context, d *door, t *tree.Log, note []byte) error {
	if d.follower == nil {
		return nil
	}
	d.showing.Lock()
	defer d.showing.Unlock()
	return l.showLocked(ctx, d, t, note)
}

// showNew shows a checkpoint that is newer than what the vault saw last. An older one it has most likely seen: if not, it says
// so.
func (l *Ledger) showNew(ctx context.Context, d *door, t *tree.Log, note []byte) error {
	if d.follower == nil {
		return nil
	}
	d.showing.Lock()
	defer d.showing.Unlock()
	if d.tree != nil && t.Size() <= d.last {
		return nil
	}
	return l.showLocked(ctx, d, t, note)
}

func (l *Ledger) showLocked(ctx context.Context, d *door, t *tree.Log, note []byte) error {
	for range maxShows {
		if t.Size() < d.last && (d.tree == nil || d.tree.Size() != d.last) { // we started anew: what it saw last is not in memory
			newer, itsNote, err := l.sign(ctx, d.last)
			if err != nil {
				return err
			}
			if newer.Size() < d.last {
				return fmt.Errorf("%w: vault %q was shown %d entries, this ledger has %d: it was rolled back", ErrRefused, d.name, d.last, newer.Size())
			}
			if err := l.showLocked(ctx, d, newer, itsNote); err != nil {
				return err
			}
		}
		q := bus.FollowRequest{Note: note, Last: d.last}
		from, to := d.last, t
		if t.Size() < d.last {
			from, to = t.Size(), d.tree
		}
		if err := l.fromEdge(ctx, func(tx sqldb.Tx) (err error) {
			q.Proof, err = to.ProveConsistency(ctx, tx, from)
			return err
		}); err != nil {
			return fmt.Errorf("proving consistency from %d: %w", from, err)
		}
		a, err := d.follower.Follow(ctx, q)
		if err := d.heard(l.now(), err); err != nil {
			return fmt.Errorf("showing a checkpoint of %d entries to vault %q: %w", t.Size(), d.name, err)
		}
		if err := d.said(a); err != nil {
			return err
		}
		if a.Taken {
			if t.Size() >= d.last {
				d.last, d.tree = t.Size(), t
			}
			return nil
		}
		if a.Last != d.last {
			d.last, d.tree = a.Last, nil
		}
	}
	return fmt.Errorf("%w: vault %q does not follow the log", ErrRefused, d.name)
}

// Ready opens a lot that has a vault there, which has forgotten it when it was restarted, and shows the vault a checkpoint.
func (l *Ledger) Ready(ctx context.Context, name perso.Name, log *tree.Log, note []byte) error {
	lt, err := l.lot(ctx, name)
	if err != nil {
		return fmt.Errorf("opening lot %q at the vault: %w", name, err)
	}
	d, err := l.ownerOf(ctx, lt)
	if err != nil {
		return err
	}
	return errors.Join(l.openAtVault(ctx, lt, d), l.show(ctx, d, log, note))
}

// waits says what a lot waits for while its vault is away, or not of the site any more.
func (l *Ledger) waits(vault perso.Name) string {
	if l.doorNamed(vault) == nil {
		return fmt.Sprintf("vault %q is not in this site's configuration any more: it goes on when that is named again", vault)
	}
	for i, d := range l.doors {
		since := d.awaySince()
		if since.IsZero() || i > 0 && d.name != vault {
			continue
		}
		what := "it goes on when that is back"
		if i == 0 && d.name != vault && vault != "" {
			what = "it signs the log, and no vault works without"
		}
		return fmt.Sprintf("vault %q has not answered since %s: %s", d.name, since.Format("15:04:05Z"), what)
	}
	return ""
}
