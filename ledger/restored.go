package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// A ledger that was restored (ledger/backup) issues no identity until two officers have signed what was restored: which backup, how much was
// done again behind it, which identities fell into that time. What was in work goes on meanwhile: its identities are issued, and the vault has
// receipts of them. Before there is anything to sign, the log vault must take the log for its own, and each of its receipts must be of a claim
// that the ledger holds.

// awaitsOfficers is what a restored ledger says.
const awaitsOfficers = "the ledger was restored, and issues no identities until two officers have signed what was restored: perso ledger draft-restored"

// Receipted is a vault that shows its receipts. A Vault that is none can't be asked what it served.
type Receipted interface {
	Receipts(ctx context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error)
}

// awaitsOfficers holds a head that wants an identity of a restored ledger.
func (a *act) awaitsOfficers(ctx context.Context, b *Batch) (bool, error) {
	_, locked, err := restored.Read(ctx, b)
	if err != nil || !locked {
		return false, err
	}
	a.reply = hold(perso.ReasonFrozen, awaitsOfficers)
	a.reply.Verdict.RetryAfter = frozenFor
	return true, nil
}

// DraftRestored gives the statement for officers to sign, after the vaults were asked.
func (l *Ledger) DraftRestored(ctx context.Context, q bus.RestoredRequest) (r bus.RestoredReply, err error) {
	s, err := l.draftRestored(ctx, q)
	if err == nil {
		r.Body, err = s.Encode()
	}
	if err != nil {
		return bus.RestoredReply{}, fmt.Errorf("drafting what was restored: %w", err)
	}
	return r, nil
}

func (l *Ledger) draftRestored(ctx context.Context, q bus.RestoredRequest) (s statement.Restored, err error) {
	var m restored.Mark
	locked := false
	if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		if m, locked, err = restored.Read(ctx, tx); err == nil && locked {
			s.Lots, err = readRestoredLots(ctx, tx, m)
		}
		return err
	}); err != nil {
		return s, err
	}
	if !locked {
		return s, bus.Refuse(bus.FaultRefused, "the ledger was not restored, or two officers have signed what was")
	}
	if clean(q.Reason) == "" {
		return s, bus.Refuse(bus.FaultBadMessage, "it needs a reason, in words")
	}
	if _, _, err := l.Signed(ctx); err != nil { // the log vault takes this log for its own
		return s, err
	}
	for i := range s.Lots {
		if err := l.holdReceipts(ctx, &s.Lots[i]); err != nil {
			return s, err
		}
	}
	s.Env, s.Site, s.Backup, s.BackupSize, s.BackupRoot = l.site.env, l.site.name, m.Backup, uint64(m.BackupSize), m.BackupRoot
	s.Redone, s.Size, s.Root, s.Reason, s.At = m.To-m.From, uint64(m.Size), m.Root, clean(q.Reason), l.now().UTC()
	l.randMu.Lock()
	defer l.randMu.Unlock()
	_, err = io.ReadFull(l.rand, s.Nonce[:])
	return s, err
}

// readRestoredLots counts the identities of lots that are not closed: those issued since the backup, and those in work at the loss.
func readRestoredLots(ctx context.Context, tx sqldb.Tx, m restored.Mark) (lots []statement.RestoredLot, err error) {
	names, err := unclosedLots(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		r, claims, err := readRestoredLot(ctx, tx, name, m)
		if err != nil {
			return nil, err
		}
		if claims > 0 {
			lots = append(lots, r)
		}
	}
	if len(lots) > statement.MaxRestoredLots {
		return nil, fmt.Errorf("%w: %d lots are open, a statement holds %d", ErrRefused, len(lots), statement.MaxRestoredLots)
	}
	return lots, nil
}

func readRestoredLot(ctx context.Context, tx sqldb.Tx, name perso.Name, m restored.Mark) (r statement.RestoredLot, claims int, err error) {
	r.Lot = name
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var index uint32
		var seq, ended int64
		if err := row.Scan(&index, &seq, &ended); err != nil {
			return err
		}
		claims++
		if ended == 0 || ended >= m.Size {
			r.InWork++
		}
		if seq < m.BackupSize {
			return nil
		}
		at := perso.EIDIndex(index)
		if r.Claims == 0 {
			r.First, r.Last = at, at
		}
		r.Claims, r.First, r.Last = r.Claims+1, min(r.First, at), max(r.Last, at)
		return nil
	}, sqlClaimsBefore, string(name), m.Size)
	if err != nil {
		return r, 0, fmt.Errorf("counting what was issued of lot %q: %w", name, err)
	}
	return r, claims, nil
}

// unitGen names a claim within its lot.
type unitGen struct {
	unit perso.Unit
	gen  perso.Generation
}

// holdReceipts asks the lot's vault for all that it served, and refuses one claim that this ledger does not hold.
func (l *Ledger) holdReceipts(ctx context.Context, r *statement.RestoredLot) error {
	lt, err := l.lot(ctx, r.Lot)
	if err != nil {
		return err
	}
	d, err := l.ownerOf(ctx, lt)
	if err != nil {
		return err
	}
	vault, ok := d.vault.(Receipted)
	if !ok {
		return bus.Refuse(bus.FaultRefused, "the vault of lot %q shows no receipts", r.Lot)
	}
	claims := map[unitGen][32]byte{}
	if err := l.db.View(ctx, func(tx sqldb.Tx) error {
		clear(claims)
		return tx.Each(ctx, func(row sqldb.Row) error {
			var at unitGen
			var body []byte
			err := row.Scan((*uint32)(&at.unit), (*uint8)(&at.gen), &body)
			claims[at] = entry.Hash(body)
			return err
		}, sqlClaimHashes, string(r.Lot))
	}); err != nil {
		return fmt.Errorf("reading the claims of lot %q: %w", r.Lot, err)
	}
	r.Vault = d.name
	for {
		part, err := vault.Receipts(ctx, bus.ReceiptsRequest{Lot: r.Lot, From: r.Receipts})
		var fault *bus.Fault
		if errors.As(err, &fault) && fault.Code == bus.FaultLotNotOpen {
			if err = l.openAtVault(ctx, lt, d); err == nil {
				part, err = vault.Receipts(ctx, bus.ReceiptsRequest{Lot: r.Lot, From: r.Receipts})
			}
		}
		if err != nil {
			return fmt.Errorf("asking for the receipts of lot %q: %w", r.Lot, err)
		}
		if err := takeReceipts(r, part, claims); err != nil {
			return err
		}
		if len(part.Head) > 0 {
			return l.holdHead(part, *r)
		}
		if len(part.Receipts) == 0 {
			return fmt.Errorf("%w: the vault gave neither receipts of lot %q nor their head", ErrRefused, r.Lot)
		}
	}
}

func (u unitGen) String() string { return fmt.Sprintf("unit %d generation %d", u.unit, u.gen) }

// takeReceipts takes a portion of receipts.
func takeReceipts(r *statement.RestoredLot, part bus.ReceiptsReply, claims map[unitGen][32]byte) error {
	for _, b := range part.Receipts {
		e, err := entry.ParseReceipt(b)
		if err != nil {
			return err
		}
		at := unitGen{e.Unit, e.Gen}
		switch {
		case e.Lot != r.Lot || e.Seq != r.Receipts || e.Prev != r.Head:
			return fmt.Errorf("%w: receipt %d of lot %q does not continue the chain", ErrRefused, r.Receipts, r.Lot)
		case claims[at] != e.Claim:
			return fmt.Errorf("%w: the vault served %s of lot %q under a claim that this ledger does not hold: it was restored from too little", ErrNotTheLedger, at, r.Lot)
		}
		r.Vault, r.Receipts, r.Head = e.Vault, r.Receipts+1, entry.Hash(b)
	}
	return nil
}

// holdHead checks the vault's signed word that these are all.
func (l *Ledger) holdHead(part bus.ReceiptsReply, r statement.RestoredLot) error {
	h, err := entry.ParseReceiptHead(part.Head)
	switch {
	case err != nil:
		return err
	case !ed25519.Verify(l.site.stmtKey, part.Head, part.Signature):
		return fmt.Errorf("%w: the head of the receipts of lot %q is not signed by the statement key", ErrRefused, r.Lot)
	case h.Lot != r.Lot || h.Count != r.Receipts || h.Head != r.Head:
		return fmt.Errorf("%w: the vault says that lot %q has %d receipts, and gave %d", ErrRefused, r.Lot, h.Count, r.Receipts)
	}
	return nil
}

// restoredWord lets a restored ledger issue identities again.
type restoredWord struct{ statement.Restored }

func (w restoredWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, "" }

func (w restoredWord) accept(ctx context.Context, _ *Ledger, b *Batch, _ [32]byte) (fault, err error) {
	m, locked, err := restored.Read(ctx, b)
	if err != nil {
		return nil, err
	}
	if !locked {
		return bus.Refuse(bus.FaultRefused, "the ledger was not restored, or two officers have signed what was"), nil
	}
	if w.Backup != m.Backup || w.BackupSize != uint64(m.BackupSize) || w.BackupRoot != m.BackupRoot || w.Redone != m.To-m.From || w.Size != uint64(m.Size) || w.Root != m.Root {
		return bus.Refuse(bus.FaultRefused, "the statement is about another restoration than this ledger's; draft it anew"), nil
	}
	lots, err := readRestoredLots(ctx, b, m)
	if err != nil {
		return nil, err
	}
	for _, want := range lots { // a lot may have been closed since the draft, and then it is in the statement only
		i := slices.IndexFunc(w.Lots, func(r statement.RestoredLot) bool { return r.Lot == want.Lot })
		if i < 0 {
			return bus.Refuse(bus.FaultRefused, "the statement does not name lot %s; draft it anew", want.Lot), nil
		}
		want.Vault, want.Receipts, want.Head = w.Lots[i].Vault, w.Lots[i].Receipts, w.Lots[i].Head
		if w.Lots[i] != want {
			return bus.Refuse(bus.FaultRefused, "the statement says of lot %s what the log does not; draft it anew", want.Lot), nil
		}
	}
	return nil, restored.Clear(ctx, b)
}
