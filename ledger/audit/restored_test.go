package audit_test

import (
	"math/bits"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/statement"
)

// rootOf is RFC 6962, section 2.1, word for word.
func rootOf(entries [][]byte) checkpoint.Hash {
	if len(entries) == 1 {
		return checkpoint.Leaf(entries[0])
	}
	k := 1 << (bits.Len(uint(len(entries)-1)) - 1)
	return tlog.NodeHash(rootOf(entries[:k]), rootOf(entries[k:]))
}

// restoration drafts the word for a ledger that was lost now, with a backup that had so many entries.
func (w *world) restoration(backupSize int, lots ...statement.RestoredLot) statement.Restored {
	return statement.Restored{Env: perso.EnvTest, Site: SiteName, Backup: Hash("backup"), BackupSize: uint64(backupSize), BackupRoot: rootOf(w.Entries[:backupSize]), Redone: 3,
		Size: uint64(len(w.Entries)), Root: rootOf(w.Entries), Reason: "a drill", At: w.Tick(), Nonce: Hash("restored"), Lots: lots}
}

func (w *world) restored(s statement.Restored, signers ...perso.Name) {
	w.Word(Sign(Must(s.Encode()), signers...), "")
}

// TestRestored: what officers signed of a restored ledger is held against the log and the receipts, and nothing is issued before.
func TestRestored(t *testing.T) {
	t.Parallel()
	// lost makes one unit after the backup, and one that is in work at the loss.
	lost := func(w *world) statement.Restored {
		at := len(w.Entries)
		w.good(0, 1)
		c := w.claim(1, 2)
		c.Act("identify")
		chain := w.Chains["L1"]
		return w.restoration(at, statement.RestoredLot{Lot: "L1", Vault: Vault, Receipts: uint64(len(chain.Receipts)), Head: chain.Head, Claims: 2, First: 0, Last: 1, InWork: 1})
	}
	for name, c := range map[string]struct {
		live func(w *world)
		want string
	}{
		"restored": {func(w *world) {
			w.restored(lost(w), "prod", "sec")
			w.claim(2, 3)
		}, ""},
		"by one": {func(w *world) { w.restored(lost(w), "sec") }, "two officers of different person and role"},
		"issued before": {func(w *world) {
			s := lost(w)
			w.claim(2, 3)
			w.restored(s, "prod", "sec")
		}, "nobody had signed for it yet"},
		"released before": {func(w *world) {
			s := lost(w)
			w.Release("L2", 1, 1, 1)
			w.restored(s, "prod", "sec")
		}, "nobody had signed for it yet"},
		"of another backup": {func(w *world) {
			s := lost(w)
			s.BackupRoot[0] ^= 1
			w.restored(s, "prod", "sec")
		}, "FORKED: the first"},
		"of another log": {func(w *world) {
			s := lost(w)
			s.Root[0] ^= 1
			w.restored(s, "prod", "sec")
		}, "FORKED: the first"},
		"of a longer log": {func(w *world) {
			s := lost(w)
			s.Size += 10
			w.restored(s, "prod", "sec")
		}, "which there were not yet"},
		"an identity left out": {func(w *world) {
			s := lost(w)
			s.Lots[0].Claims, s.Lots[0].Last = 1, 0
			w.restored(s, "prod", "sec")
		}, "the log says 2 (0 to 1)"},
		"in work left out": {func(w *world) {
			s := lost(w)
			s.Lots[0].InWork = 0
			w.restored(s, "prod", "sec")
		}, "0 were in work"},
		"a lot left out": {func(w *world) {
			s := lost(w)
			s.Lots = nil
			w.restored(s, "prod", "sec")
		}, "it does not name lot L1"},
		"other receipts": {func(w *world) {
			s := lost(w)
			s.Lots[0].Head[0] ^= 1
			w.restored(s, "prod", "sec")
		}, "its chain has no such place"},
		"of another site": {func(w *world) {
			s := lost(w)
			s.Site = "site-2"
			w.restored(s, "prod", "sec")
		}, "of site site-2"},
	} {
		w := newWorld()
		c.live(w)
		r, err := w.verify()
		if err != nil || (c.want == "") != r.OK() {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
			continue
		}
		found := c.want == ""
		for _, f := range r.Findings {
			found = found || strings.Contains(f.What, c.want)
		}
		if !found {
			t.Errorf("%s: %v", name, r.Findings)
		}
	}
}
