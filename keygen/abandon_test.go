package keygen_test

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// giveUp logs two officers' word about a unit and hands it to the vault.
func (u *unit) giveUp(nonce byte) (func() (bus.AbandonReply, error), statement.Signed) {
	u.t.Helper()
	c := u.claim
	w := statement.Lost{Env: perso.EnvTest, Site: "S1", Lot: c.Lot, Release: u.signed.Hash(), Unit: c.Unit, Gen: c.Gen, Index: c.Index, EID: c.EID, Chip: c.Chip,
		Claim: entry.Hash(u.log.entries[u.seq]), Session: perso.Session{7}, Fate: statement.FateRejectLive, Reason: "refused", At: u.now, Nonce: [32]byte{nonce}}
	s := u.signWord(w, "ann", "bob")
	at := u.log.add(entry.Statement{What: statement.KindLost, Hash: s.Hash(), Lot: c.Lot, At: u.now})
	return func() (bus.AbandonReply, error) {
		return u.vault.Abandon(ctx, bus.AbandonRequest{Lot: u.lot, Register: [][]byte{u.register.Encode()}, Lost: s.Encode(), Checkpoint: u.note(),
			Claim: u.log.prove(u.seq), Ordered: u.log.prove(at)})
	}, s
}

// TestAbandonBreaks: the disk fails before or after the receipt is on it. Nobody hears of it then; the lot is opened again, and the
// same word ends with one receipt, in the chain, which is about no act.
func TestAbandonBreaks(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"not written": false, "written": true} {
		r := newRig(t)
		disk := r.withoutDisk()
		r.openLot()
		u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
		first := u.serve(u.begin())
		ask, word := u.giveUp(1)
		u.note() // signed before the disk fails, which keeps checkpoints too
		disk.fail, disk.after = true, after
		if _, err := ask(); err == nil || code(err) != "" {
			t.Fatalf("%s: %v", name, err)
		}
		disk.fail = false
		if _, err := ask(); code(err) != bus.FaultLotNotOpen {
			t.Errorf("%s: with an index of which nothing is known: %v", name, err)
		}
		r.openLot()
		a, err := ask()
		if err != nil || a.Good {
			t.Fatalf("%s: %+v, %v", name, a, err)
		}
		e, err := entry.ParseReceipt(a.Receipt)
		if err != nil || e.Result != entry.ResultAbandoned || e.Responses != word.Hash() || e.Output != [32]byte{} || e.N != 0 {
			t.Errorf("%s: receipt %+v, %v", name, e, err)
		}
		checkReceipts(t, r, [][]byte{first.Receipt, a.Receipt}, []string{"script", "abandoned"})
		if result := u.serve(u.begin()); !strings.Contains(result.Refused, "given up") {
			t.Errorf("%s: served: %+v", name, result)
		}
	}
}

// TestAbandonIgnoresExpiry: the lot of a release that has expired is open for this too.
func TestAbandonIgnoresExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	r.now = r.release.Expires.AddDate(0, 1, 0)
	r.reopenVault()
	r.openLot()
	ask, _ := u.giveUp(1)
	if a, err := ask(); err != nil || a.Good {
		t.Errorf("%+v, %v", a, err)
	}
}
