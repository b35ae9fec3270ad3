package statement

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// KindRestored names the statement by which two officers let a restored ledger issue identities again.
const KindRestored = "ledger-restored"

// MaxRestoredLots bounds the lots of one statement: those that were not closed.
const MaxRestoredLots = 128

// RestoredLot is one lot that was open when the ledger was lost.
type RestoredLot struct {
	Lot      perso.Name
	Vault    perso.Name
	Receipts uint64   // that the vault has of it; each is of a claim that the restored ledger holds
	Head     [32]byte // hash of the last of them, zero when there is none
	Claims   uint64   // identities that were issued between the backup and the loss
	First    perso.EIDIndex
	Last     perso.EIDIndex // the lowest and the highest of them; 0 when there is none
	InWork   uint64         // of all identities of the lot, those that had no verdict when the ledger was lost
}

// Restored is what two officers sign after a ledger was lost and made again: from which backup, what was done again behind it, what log
// came out, and which identities of open lots were issued in between. Until then the ledger issues none. The log vault judges the
// log for itself; the statement names who looked at the rest, and tells the auditor when it was.
type Restored struct {
	Env        perso.Env
	Site       perso.Name
	Backup     [32]byte // hash of its manifest
	BackupSize uint64   // entries of its log
	BackupRoot [32]byte
	Redone     uint64 // transactions that were done again
	Size       uint64 // entries of the log as it was lost, and restored
	Root       [32]byte
	Reason     string // people's words
	At         time.Time
	Nonce      [32]byte
	Lots       []RestoredLot
}

// Encode gives the body to sign.
func (s Restored) Encode() ([]byte, error) {
	w := record.New(KindRestored).Str("env", string(s.Env)).Str("site", string(s.Site)).Hex("backup", s.Backup[:]).
		Uint("backup_size", s.BackupSize).Hex("backup_root", s.BackupRoot[:]).Uint("redone", s.Redone).
		Uint("size", s.Size).Hex("root", s.Root[:]).Str("reason", s.Reason).Time("at", s.At).Hex("nonce", s.Nonce[:])
	for _, l := range s.Lots {
		head := l.Head[:]
		if l.Head == [32]byte{} {
			head = nil
		}
		w.Str("lot", string(l.Lot)).Str("vault", string(l.Vault)).Uint("receipts", l.Receipts).Hex("head", head).
			Uint("claims", l.Claims).Uint("first", uint64(l.First)).Uint("last", uint64(l.Last)).Uint("in_work", l.InWork)
	}
	return w.Bytes()
}

// ParseRestored reads the body; it checks form and inner sense, not signatures.
func ParseRestored(body []byte) (Restored, error) {
	r, err := record.Parse(body, KindRestored)
	if err != nil {
		return Restored{}, fmt.Errorf("parsing restoration of the ledger: %w", err)
	}
	var s Restored
	s.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	s.Site = r.Name("site")
	s.Backup, s.BackupSize, s.BackupRoot = r.Hash("backup"), r.Uint("backup_size", 63), r.Hash("backup_root")
	s.Redone, s.Size, s.Root, s.Reason = r.Uint("redone", 63), r.Uint("size", 63), r.Hash("root"), r.Raw("reason")
	s.At, s.Nonce = r.Time("at"), r.Hash("nonce")
	if s.BackupSize == 0 || s.BackupSize > s.Size || s.Reason == record.None {
		r.Check(fmt.Errorf("a log of %d entries from a backup of %d, or no reason", s.Size, s.BackupSize))
	}
	for r.More() && len(s.Lots) < MaxRestoredLots {
		var l RestoredLot
		l.Lot = r.Name("lot")
		l.Vault = r.Name("vault")
		l.Receipts, l.Head = r.Uint("receipts", 48), r.OptHash("head")
		l.Claims, l.First, l.Last, l.InWork = r.Uint("claims", 32), perso.EIDIndex(r.Uint("first", 32)), perso.EIDIndex(r.Uint("last", 32)), r.Uint("in_work", 32)
		if (l.Receipts == 0) != (l.Head == [32]byte{}) || l.First > l.Last || l.Claims == 0 && l.Last > 0 {
			r.Check(fmt.Errorf("lot %q contradicts itself", l.Lot))
		}
		if n := len(s.Lots); n > 0 && s.Lots[n-1].Lot >= l.Lot {
			r.Check(fmt.Errorf("lots are not in order"))
		}
		s.Lots = append(s.Lots, l)
	}
	if err := r.Done(); err != nil {
		return Restored{}, fmt.Errorf("parsing restoration of the ledger: %w", err)
	}
	return s, nil
}
