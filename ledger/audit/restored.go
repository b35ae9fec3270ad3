package audit

import (
	"io/fs"
	"iter"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// restoration is a word that the ledger was lost and made again, and what the log says of it. It is read before the log, because it speaks of
// roots and claims that come long before it.
type restoration struct {
	statement.Restored
	hash             [32]byte
	logged           int64 // its entry, 0 while there is none
	backupRoot, root checkpoint.Hash
	issued           map[perso.Name]*statement.RestoredLot // between backup and loss, by the log
	heads            map[perso.Name]bool                   // whose receipts went through what the statement says
}

// readRestored finds the statements in the bundle. Whether they may be believed is asked when the log names them.
func (a *auditor) readRestored() {
	for s := range a.bundled() {
		r, err := statement.ParseRestored(s.Body)
		if err != nil {
			continue
		}
		a.restorations = append(a.restorations, &restoration{Restored: r, hash: s.Hash(), issued: map[perso.Name]*statement.RestoredLot{}, heads: map[perso.Name]bool{}})
	}
}

// bundled gives the statements of the bundle, as far as they can be read; of the others the entries that name them say so.
func (a *auditor) bundled() iter.Seq[statement.Signed] {
	return func(yield func(statement.Signed) bool) {
		for _, f := range a.files.listed {
			if !layout.IsStatement(f.Path) {
				continue
			}
			raw, err := fs.ReadFile(a.files.fsys, f.Path)
			if err != nil {
				continue
			}
			if s, err := statement.DecodeSigned(raw); err == nil && !yield(s) {
				return
			}
		}
	}
}

// reached notes how the log stands at the sizes that a restoration speaks of.
func (a *auditor) reached(size int64, root func() checkpoint.Hash) {
	for _, r := range a.restorations {
		if uint64(size) == r.BackupSize {
			r.backupRoot = root()
		}
		if uint64(size) == r.Size {
			r.root = root()
			for name, l := range a.lots {
				r.lot(name).InWork = l.open
			}
		}
	}
}

func (r *restoration) lot(name perso.Name) *statement.RestoredLot {
	l := r.issued[name]
	if l == nil {
		l = &statement.RestoredLot{Lot: name}
		r.issued[name] = l
	}
	return l
}

// issues notes an identity, which a restored ledger may not issue before its word is in the log.
func (a *auditor) issues(e entry.Claim) {
	for _, r := range a.restorations {
		switch seq := uint64(a.seq); {
		case seq < r.BackupSize:
		case seq < r.Size:
			l := r.lot(e.Lot)
			if l.Claims == 0 {
				l.First, l.Last = e.Index, e.Index
			}
			l.Claims, l.First, l.Last = l.Claims+1, min(l.First, e.Index), max(l.Last, e.Index)
		}
	}
	a.lockedUp()
}

// lockedUp finds what a restored ledger did before two officers had signed.
func (a *auditor) lockedUp() {
	for _, r := range a.restorations {
		if uint64(a.seq) >= r.Size && r.logged == 0 {
			a.bad("I7", "the ledger was restored with %d entries, and nobody had signed for it yet", r.Size)
		}
	}
}

// restored takes two officers' word for a restored ledger, and holds what it says against the log.
func (a *auditor) restored(e entry.Statement) {
	if _, found := ofSite(a, e, statement.ParseRestored, func(s statement.Restored) (perso.Env, perso.Name) { return s.Env, s.Site }); !found {
		return
	}
	for _, r := range a.restorations {
		if r.hash != e.Hash {
			continue
		}
		if r.logged = a.seq; uint64(a.seq) < r.Size {
			a.bad("I5", "it speaks of %d entries, which there were not yet", r.Size)
			return
		}
		if r.backupRoot != r.BackupRoot {
			a.bad("I5", "FORKED: the first %d entries have the root %x, the backup had %x: it was of another history", r.BackupSize, r.backupRoot, r.BackupRoot)
		}
		if r.root != r.Root {
			a.bad("I5", "FORKED: the first %d entries have the root %x, %x was restored: it was another history", r.Size, r.root, r.Root)
		}
		a.restoredLots(r)
	}
}

func (a *auditor) restoredLots(r *restoration) {
	named := map[perso.Name]bool{}
	for _, l := range r.Lots {
		named[l.Lot] = true
		got := *r.lot(l.Lot)
		got.Vault, got.Receipts, got.Head = l.Vault, l.Receipts, l.Head
		if got != l {
			a.bad("I1", "of lot %s it says that %d identities (%d to %d) were issued since the backup, and %d were in work; the log says %d (%d to %d), and %d",
				l.Lot, l.Claims, l.First, l.Last, l.InWork, got.Claims, got.First, got.Last, got.InWork)
		}
	}
	for name, got := range r.issued {
		if l := a.lots[name]; got.Claims > 0 && !named[name] && (l == nil || !l.closed) {
			a.bad("I1", "it does not name lot %s, of which %d identities were issued since the backup", name, got.Claims)
		}
	}
}

func (a *auditor) restoredTimes() (n uint64) {
	for _, r := range a.restorations {
		if r.logged > 0 {
			n++
		}
	}
	return n
}

// passes holds the place that a chain of receipts is at against what restorations say of it.
func (a *auditor) passes(vault, lot perso.Name, count uint64, head [32]byte) {
	for _, r := range a.restorations {
		for _, l := range r.Lots {
			if l.Lot == lot && l.Receipts == count && l.Vault == vault && l.Head == head {
				r.heads[lot] = true
			}
		}
	}
}

// checkRestored finds words about receipts that are not those of the vaults.
func (a *auditor) checkRestored() {
	for _, r := range a.restorations {
		for _, l := range r.Lots {
			known := a.lots[l.Lot]
			if r.logged > 0 && l.Receipts > 0 && known != nil && known.chained && !r.heads[l.Lot] {
				a.find(logPlace(r.logged, entry.KindStatement), "I5", "it says that vault %s had %d receipts of lot %s, the last %x: its chain has no such place", l.Vault, l.Receipts, l.Lot, l.Head)
			}
		}
	}
}
