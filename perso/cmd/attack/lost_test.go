package attack

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// word is two officers' statement that a claim is given up.
func (l *liar) word(c entry.Claim, seq int64, edit func(*statement.Lost), by ...perso.Name) statement.Signed {
	l.Helper()
	w := statement.Lost{Env: perso.EnvTest, Site: "site-1", Lot: c.Lot, Release: l.signed.Hash(), Unit: c.Unit, Gen: c.Gen, Index: c.Index, EID: c.EID, Chip: c.Chip,
		Claim: entry.Hash(l.entries[seq]), Session: perso.Session{7}, Fate: statement.FateMissing, Reason: "fell off the belt", At: l.now, Nonce: [32]byte{4}}
	if edit != nil {
		edit(&w)
	}
	body, err := w.Encode()
	l.must(err)
	s := statement.Signed{Body: body}
	for _, o := range by {
		s.Sign(o, l.officers[o])
	}
	return s
}

// giveUp logs a statement and hands it to the vault.
func (l *liar) giveUp(s statement.Signed, claim int64) (bus.AbandonReply, error) {
	l.Helper()
	return l.giveUpBy(s, claim, l.log(entry.Statement{What: statement.KindLost, Hash: s.Hash(), Lot: l.lot, At: l.now}))
}

func (l *liar) giveUpBy(s statement.Signed, claim, ordered int64) (bus.AbandonReply, error) {
	l.Helper()
	note := l.note()
	return l.vault.Abandon(l.ctx, bus.AbandonRequest{Lot: l.lot, Register: l.opening(l.signed).Register, Lost: s.Encode(), Checkpoint: note,
		Claim: l.prove(claim), Ordered: l.prove(ordered)})
}

// TestUnitsThatNobodyMayGiveUp (I7): a ledger in an enemy's hand gives no unit up without two officers' word about that very
// claim, in the log behind it.
func TestUnitsThatNobodyMayGiveUp(t *testing.T) {
	t.Parallel()
	l := opened(t)
	c, seq := l.claim(1, 0, 0)
	other, otherSeq := l.claim(2, 1, 1)
	true2 := l.word(c, seq, nil, "ann", "bob")
	for want, try := range map[string]func() (bus.AbandonReply, error){
		"different person and role": func() (bus.AbandonReply, error) { return l.giveUp(l.word(c, seq, nil, "ann"), seq) },
		"person and role":           func() (bus.AbandonReply, error) { return l.giveUp(l.word(c, seq, nil, "ann", "cid"), seq) },
		"does not verify": func() (bus.AbandonReply, error) {
			s := l.word(c, seq, nil, "ann", "bob")
			s.Body = []byte(strings.Replace(string(s.Body), "fate missing", "fate reject-live", 1))
			return l.giveUp(s, seq)
		},
		"another claim or release": func() (bus.AbandonReply, error) { return l.giveUp(true2, otherSeq) }, // replayed for another unit
		"contradicts the claim": func() (bus.AbandonReply, error) {
			return l.giveUp(l.word(c, seq, func(w *statement.Lost) { w.Claim = entry.Hash(l.entries[otherSeq]) }, "ann", "bob"), otherSeq)
		},
		"is of lot": func() (bus.AbandonReply, error) {
			return l.giveUp(l.word(c, seq, func(w *statement.Lost) { w.Lot = "LOT-2" }, "ann", "bob"), seq)
		},
		"claim or release": func() (bus.AbandonReply, error) {
			return l.giveUp(l.word(c, seq, func(w *statement.Lost) { w.Release[0] ^= 1 }, "ann", "bob"), seq)
		},
		"site \"site-2\"": func() (bus.AbandonReply, error) {
			return l.giveUp(l.word(c, seq, func(w *statement.Lost) { w.Site = "site-2" }, "ann", "bob"), seq)
		},
		"not of this unit-lost": func() (bus.AbandonReply, error) {
			at := l.log(entry.Statement{What: statement.KindLost, Hash: [32]byte{1}, Lot: l.lot, At: l.now})
			return l.giveUpBy(true2, seq, at)
		},
		"logged before the claim": func() (bus.AbandonReply, error) { return l.giveUpBy(true2, seq, 0) },
		"kind": func() (bus.AbandonReply, error) {
			body, err := statement.Close{Env: perso.EnvTest, Lot: l.lot, At: l.now, Nonce: [32]byte{1}}.Encode()
			l.must(err)
			s := statement.Signed{Body: body}
			s.Sign("ann", l.officers["ann"])
			s.Sign("bob", l.officers["bob"])
			return l.giveUp(s, seq)
		},
	} {
		_, err := try()
		if refused(t, err, want); t.Failed() {
			t.Fatalf("%s", want)
		}
	}
	if r := l.session(newChip(t, 2), attempt{claim: other, seq: otherSeq}); !r.Good {
		t.Errorf("another unit: %+v", r)
	}
	if r := l.session(newChip(t, 1), attempt{claim: c, seq: seq}); !r.Good {
		t.Errorf("the unit that nobody gave up: %+v", r)
	}
}

// TestGivenUpForGood (I1): what two officers gave up is served nothing and called good for nobody, also by a vault that was
// restarted; its EID is not used again, and the unit is made again as after any loss. The same word is answered the same.
func TestGivenUpForGood(t *testing.T) {
	t.Parallel()
	for name, begun := range map[string]bool{"before its first act": false, "half written": true} {
		l := opened(t)
		c, seq := l.claim(1, 0, 0)
		chip := newChip(t, 1)
		if begun {
			l.session(chip, attempt{claim: c, seq: seq, head: func(h *head) { h.tear(30) }})
		}
		word := l.word(c, seq, nil, "ann", "bob")
		ordered := l.log(entry.Statement{What: statement.KindLost, Hash: word.Hash(), Lot: l.lot, At: l.now})
		first, err := l.giveUpBy(word, seq, ordered)
		if err != nil || first.Good {
			t.Fatalf("%s: %+v, %v", name, first, err)
		}
		for range 2 {
			if r := l.session(chip, attempt{claim: c, seq: seq}); !strings.Contains(r.Refused, "given up by two officers") {
				t.Errorf("%s: a late session: %+v", name, r)
			}
			again, err := l.giveUpBy(word, seq, ordered)
			if err != nil || string(again.Receipt) != string(first.Receipt) {
				t.Errorf("%s: asked again: %v", name, err)
			}
			l.startVault()
			_, err = l.vault.OpenLot(l.ctx, l.opening(l.signed))
			l.must(err)
		}
		_, err = l.giveUp(l.word(c, seq, func(w *statement.Lost) { w.Nonce[0]++ }, "ann", "bob"), seq)
		refused(t, err, "by another statement")
		if _, err := l.export(bus.ExportOutput, "auc-demo", seq, l.good(c)); err == nil {
			t.Errorf("%s: exported", name)
		}
		taken, takenSeq := l.claim(3, 1, 0)
		if r := l.session(newChip(t, 3), attempt{claim: taken, seq: takenSeq}); !strings.Contains(r.Refused, "claimed otherwise") {
			t.Errorf("%s: its EID on another chip: %+v", name, r)
		}
		if r := l.remake(2, l.lost(c)); !r.Good {
			t.Errorf("%s: made again: %+v", name, r)
		}
	}
}

// TestGoodStaysGood (I1): the word of two officers comes after the vault's: it gets the receipt of then, and changes nothing.
func TestGoodStaysGood(t *testing.T) {
	t.Parallel()
	l := opened(t)
	c, seq := l.claim(1, 0, 0)
	before := l.session(newChip(t, 1), attempt{claim: c, seq: seq})
	if !before.Good {
		t.Fatalf("%+v", before)
	}
	a, err := l.giveUp(l.word(c, seq, nil, "ann", "bob"), seq)
	if err != nil || !a.Good || string(a.Receipt) != string(before.Receipt) {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := l.export(bus.ExportOutput, "auc-demo", seq, l.good(c)); err != nil {
		t.Error(err)
	}
	if r := l.remake(2, l.lost(c)); !strings.Contains(r.Refused, "is good in generation 0") {
		t.Errorf("made again: %+v", r)
	}
}

// TestGivenUpUnderTheLedger: the whole way on an honest site, and what the auditor says to it and to lies about it.
func TestGivenUpUnderTheLedger(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie  func(*site)
		want string
	}{
		"nothing": {func(*site) {}, ""},
		"a word that no officer gave": {func(s *site) {
			s.forge(entry.Statement{What: statement.KindLost, Hash: [32]byte{3}, Lot: s.lot, At: s.now.Add(1e9)}, entry.KindStatement)
		}, "[I7]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.tornChip(30)
			r, err := s.ledger.InWork(s.ctx, bus.InWorkRequest{Lot: s.lot})
			s.must(err)
			claim := s.claimOf()
			w := statement.Lost{Env: r.Env, Site: r.Site, Lot: r.Lot, Release: r.Release, Unit: claim.Unit, Gen: claim.Gen, Index: claim.Index, EID: claim.EID, Chip: claim.Chip,
				Claim: r.Units[0].Claim, Session: r.Units[0].Session, Fate: statement.FateMissing, Reason: "not under its head any more", At: s.now, Nonce: [32]byte{4}}
			body, err := w.Encode()
			s.must(err)
			signed := statement.Signed{Body: body}
			for _, o := range []perso.Name{"ann", "bob"} {
				signed.Sign(o, s.officers[o])
			}
			a, err := s.ledger.Lose(s.ctx, bus.SignedRequest{Signed: signed.Encode()})
			if err != nil || a.Good {
				t.Fatalf("%+v, %v", a, err)
			}
			s.makeGood(newChip(t, 2)) // the unit again, in the next generation
			c.lie(s)
			var all []string
			for _, f := range s.audit().Findings {
				all = append(all, f.String())
			}
			if got := strings.Join(all, "\n"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}
