package attack

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
)

// opened is a site whose lot the vault has open, and the liar that took over its ledger.
func opened(t *testing.T) *liar {
	t.Helper()
	s := newSite(t)
	_, err := s.vault.OpenLot(s.ctx, s.opening(s.signed))
	s.must(err)
	return s.liar()
}

// TestLiarCanWork: a ledger process that keeps to the rules is served, so that what is refused below is refused for the lie.
func TestLiarCanWork(t *testing.T) {
	t.Parallel()
	l := opened(t)
	c, seq := l.claim(1, 0, 0)
	if r := l.session(newChip(t, 1), attempt{claim: c, seq: seq}); !r.Good {
		t.Fatalf("%+v", r)
	}
	if _, err := l.export(bus.ExportOutput, "auc-demo", seq, l.good(c)); err != nil {
		t.Error(err)
	}
}

// TestLies: what a ledger process may tell the vault, and what it hears.
func TestLies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie  func(*liar) bus.ServeResult
		want string
	}{
		"I7: an EID beyond Q+S":  {claimed(0, 3), "were released"},
		"I7: a unit beyond Q+S":  {claimed(3, 0), "were released"},
		"I1: an EID of another":  {claimed(0, 0, func(c *entry.Claim) { c.Index = 1 }), "not number 1"},
		"I7: another release":    {claimed(0, 0, func(c *entry.Claim) { c.Release[0] ^= 1 }), "another lot or release"},
		"I7: another lot":        {claimed(0, 0, func(c *entry.Claim) { c.Lot = "OTHER" }), "another lot or release"},
		"I1: a re-make, no loss": {claimed(0, 1, func(c *entry.Claim) { c.Gen, c.Loss = 1, 4 }), "is not shown"},
		"I1: a re-make after a good unit": {func(l *liar) bus.ServeResult {
			before, loss := l.makeAndLose(1)
			if !before.Good {
				return before
			}
			return l.remake(2, loss)
		}, "is good in generation 0"},
		"I1: a re-make on the same chip": {func(l *liar) bus.ServeResult {
			_, loss := l.tearAndLose(1)
			return l.remake(1, loss)
		}, "the EID or the chip of the one before"},
		"I1: the superseded chip afterwards": {func(l *liar) bus.ServeResult {
			first, loss := l.tearAndLose(1)
			if r := l.remake(2, loss); !r.Good {
				return r
			}
			return l.session(newChip(l.T, 1), first)
		}, "claimed otherwise"},
		"I1: a second chip for a unit": {func(l *liar) bus.ServeResult {
			l.tearAndLose(1)
			return claimed(0, 1)(l)
		}, "claimed otherwise"},
		"I1: a second chip for an EID": {func(l *liar) bus.ServeResult {
			l.tearAndLose(1)
			return claimed(1, 0)(l)
		}, "claimed otherwise"},
		"I1: a twin of a good chip": {func(l *liar) bus.ServeResult {
			c, seq := l.claim(1, 0, 0)
			a := attempt{claim: c, seq: seq}
			if r := l.session(newChip(l.T, 1), a); !r.Good {
				return r
			}
			return l.session(newChip(l.T, 1), a)
		}, "shows the maker's keys"},
		"I5: a claim that is in no checkpoint": {shown(func(n uint8, i *bus.ServeItem) { i.Claim.Seq-- }), "proving claim"},
		"I5: a claim edited after it was signed": {shown(func(n uint8, i *bus.ServeItem) {
			i.Claim.Entry = bytes.Replace(i.Claim.Entry, []byte("index 0"), []byte("index 1"), 1)
		}), "proving claim"},
		"I5: an act that is in no checkpoint": {shown(func(n uint8, i *bus.ServeItem) { i.Act.Proof = i.Act.Proof[:1] }), "proving act"},
		"I5: answers that were not logged":    {shown(func(n uint8, i *bus.ServeItem) { i.Responses = i.Responses[1:] }), "not the logged ones"},
		"I4: other answers to a served act": {func(l *liar) bus.ServeResult {
			c, seq := l.claim(1, 0, 0)
			a := attempt{claim: c, seq: seq}
			if r := l.session(newChip(l.T, 1), a); !r.Good {
				return r
			}
			item := l.item
			item.Responses = append([][]byte{{0x90, 0x00}}, item.Responses[1:]...)
			return l.serve(a, 3, item)
		}, "replay"},
		"I4: a recorded session under another challenge": {func(l *liar) bus.ServeResult {
			c, seq := l.claim(1, 0, 0)
			a := attempt{claim: c, seq: seq}
			l.session(newChip(l.T, 1), a)
			l.serial++
			return l.serve(a, 0, bus.ServeItem{Command: l.item.Command, Answer: l.item.Answer})
		}, "host challenge is not number"},
		"I4: a challenge used twice": {func(l *liar) bus.ServeResult {
			c, seq := l.claim(1, 0, 0)
			a, chip := attempt{claim: c, seq: seq, head: func(h *head) { h.tear(20) }}, newChip(l.T, 1)
			l.session(chip, a)
			l.serial--
			return l.session(chip, a)
		}, "was used by another session"},
		"I4: a challenge that the attacker chose": {shown(func(n uint8, i *bus.ServeItem) {}, func(a *attempt) {
			a.at = func(e *entry.Act) { e.Serial++ }
		}), "host challenge is not number"},
		"I1: another chip's answer": {func(l *liar) bus.ServeResult {
			c, seq := l.claim(1, 0, 0)
			return l.session(newChip(l.T, 2), attempt{claim: c, seq: seq})
		}, "not the claimed one"},
		"I4: the state edited": {shown(func(n uint8, i *bus.ServeItem) {
			if n == 1 {
				i.State = bytes.Clone(i.State)
				i.State[len(i.State)-1] ^= 1
			}
		}), "state is not of session"},
		"I4: the state of the act before": {shown(keepState(2)), "came with act"},
		"time: an hour ahead": {shown(func(n uint8, i *bus.ServeItem) {}, func(a *attempt) {
			a.at = func(e *entry.Act) { e.At = e.At.Add(time.Hour) }
		}), "1h0m0s ahead"},
		"I7: after the release has expired": {func(l *liar) bus.ServeResult {
			l.now = l.release.Expires.Add(time.Second)
			return claimed(0, 0)(l)
		}, "has expired"},
		"I7: after it expired, with the clock turned back": {func(l *liar) bus.ServeResult {
			before := l.now
			l.now = l.release.Expires.Add(time.Second)
			return shown(func(n uint8, i *bus.ServeItem) {}, func(a *attempt) { a.at = func(e *entry.Act) { e.At = before } })(l)
		}, "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := c.lie(opened(t))
			if !strings.Contains(r.Refused, c.want) || r.Window != nil || r.Good || r.Receipt != nil {
				t.Errorf("got %+v %+v, want a refusal with %q", r, r.Failed, c.want)
			}
		})
	}
}

// claimed is a session under a claim of chip 3.
func claimed(u perso.Unit, index perso.EIDIndex, edits ...func(*entry.Claim)) func(*liar) bus.ServeResult {
	return func(l *liar) bus.ServeResult {
		c, seq := l.claim(3, u, index, edits...)
		return l.session(newChip(l.T, 3), attempt{claim: c, seq: seq})
	}
}

// shown is an honest session in which the vault is shown something else than was logged.
func shown(edit func(n uint8, i *bus.ServeItem), more ...func(*attempt)) func(*liar) bus.ServeResult {
	return func(l *liar) bus.ServeResult {
		c, seq := l.claim(1, 0, 0)
		a := attempt{claim: c, seq: seq, edit: edit}
		for _, f := range more {
			f(&a)
		}
		return l.session(newChip(l.T, 1), a)
	}
}

// keepState gives the vault at act n the state of the act before.
func keepState(at uint8) func(uint8, *bus.ServeItem) {
	var before []byte
	return func(n uint8, i *bus.ServeItem) {
		if n == at {
			i.State = before
		}
		before = i.State
	}
}

// tearAndLose begins to write chip n as unit 0 and logs it as lost.
func (l *liar) tearAndLose(n uint32) (attempt, *int64) {
	l.Helper()
	c, seq := l.claim(n, 0, 0)
	a := attempt{claim: c, seq: seq, head: func(h *head) { h.tear(30) }}
	if r := l.session(newChip(l.T, n), a); r.Failed == nil || !r.Failed.Secrets {
		l.Fatalf("torn: %+v", r)
	}
	return attempt{claim: c, seq: seq}, l.lost(c)
}

// makeAndLose makes chip n good as unit 0 and then says that it was lost.
func (l *liar) makeAndLose(n uint32) (bus.ServeResult, *int64) {
	l.Helper()
	c, seq := l.claim(n, 0, 0)
	r := l.session(newChip(l.T, n), attempt{claim: c, seq: seq})
	return r, l.lost(c)
}

// remake makes unit 0 again on chip n.
func (l *liar) remake(n uint32, loss *int64) bus.ServeResult {
	l.Helper()
	c, seq := l.claim(n, 0, 1, func(c *entry.Claim) { c.Gen, c.Loss = 1, uint64(*loss) })
	return l.session(newChip(l.T, n), attempt{claim: c, seq: seq, loss: loss})
}

// TestNeverMoreThanReleased (I7): claims for all of Q+S, each in order, bring Q good units and no more, also when the vault
// was restarted between them.
func TestNeverMoreThanReleased(t *testing.T) {
	t.Parallel()
	l := opened(t)
	for i := range uint32(good + spares) {
		c, seq := l.claim(i+1, perso.Unit(i), perso.EIDIndex(i))
		r := l.session(newChip(t, i+1), attempt{claim: c, seq: seq})
		if i < good && !r.Good || i >= good && !strings.Contains(r.Refused, "no more were released") {
			t.Errorf("unit %d: %+v", i, r)
		}
		l.startVault()
		_, err := l.vault.OpenLot(l.ctx, l.opening(l.signed))
		l.must(err)
	}
}

// TestOneLog (I5): the vault signs one history. A fork, of the same length or longer, and a log that was cut short stay
// unsigned, and a checkpoint that the attacker signed himself proves nothing.
func TestOneLog(t *testing.T) {
	t.Parallel()
	l := opened(t)
	l.claim(1, 0, 0)
	l.note()
	size := int64(len(l.entries))
	fork := l.liar()
	fork.entries, fork.hashes = fork.entries[:0], fork.hashes[:0]
	for i, e := range l.entries {
		if i == len(l.entries)-2 {
			e = bytes.Replace(e, []byte("\n"), []byte("\nx y\n"), 1)
		}
		fork.append(e)
	}
	same := fork.request(0)
	same.Old = size
	fork.claim(2, 0, 0)
	longer := fork.request(size)
	shorter := l.request(0)
	shorter.Old, shorter.Size = size, size-1
	for range 2 {
		for name, q := range map[string]bus.CheckpointRequest{"of the same size": same, "longer": longer, "shorter": shorter} {
			if r, err := l.vault.Checkpoint(l.ctx, q); err == nil || r.Note != nil {
				t.Errorf("a fork %s was signed: %v", name, err)
			}
		}
		l.startVault()
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	l.must(err)
	cp := checkpoint.Checkpoint{Origin: l.cfg.Origin, Size: longer.Size, Root: longer.Root}
	note, err := cp.Seal(pub, func(text []byte) ([]byte, error) { return ed25519.Sign(key, text), nil })
	l.must(err)
	_, err = l.vault.Serve(l.ctx, bus.ServeRequest{Lot: l.lot, Checkpoint: note, Items: make([]bus.ServeItem, 1)})
	refused(t, err, "opening checkpoint")
}

// TestExports (I7): keys leave for the receiver that was released, of units that proved themselves, once each in a request.
// An outcome in the log that says so is not enough.
func TestExports(t *testing.T) {
	t.Parallel()
	l := opened(t)
	made, seq := l.claim(1, 0, 0)
	if r := l.session(newChip(t, 1), attempt{claim: made, seq: seq}); !r.Good {
		t.Fatalf("%+v", r)
	}
	outcome := l.good(made)
	torn, tornSeq := l.claim(2, 1, 1)
	l.session(newChip(t, 2), attempt{claim: torn, seq: tornSeq, head: func(h *head) { h.tear(45) }})
	never, neverSeq := l.claim(3, 2, 2)
	for name, c := range map[string]struct {
		kind  bus.ExportKind
		to    perso.Name
		pairs []int64
		want  string
	}{
		"another receiver":        {bus.ExportOutput, "smsr-demo", []int64{seq, outcome}, "was not released"},
		"keys for the wrong kind": {bus.ExportEIS, "auc-demo", []int64{seq, outcome}, "was not released"},
		"a live reject":           {bus.ExportOutput, "auc-demo", []int64{tornSeq, l.good(torn)}, "did not prove it here"},
		"a unit never made":       {bus.ExportEIS, "smsr-demo", []int64{neverSeq, l.good(never)}, "did not prove it here"},
		"signature for it":        {bus.ExportSign, "smsr-demo", []int64{neverSeq, l.good(never)}, "did not prove it here"},
		"under another outcome":   {bus.ExportOutput, "auc-demo", []int64{tornSeq, l.good(made)}, "of another claim"},
		"twice":                   {bus.ExportOutput, "auc-demo", []int64{seq, outcome, seq, outcome}, "twice"},
		"another chip's claim": {bus.ExportOutput, "auc-demo", func() []int64 {
			c, other := l.claim(4, 0, 0)
			return []int64{other, l.good(c)}
		}(), "did not prove it here"},
		"with another certificate": {bus.ExportOutput, "auc-demo", []int64{seq, l.good(made, func(o *entry.Outcome) { o.Cert = [32]byte{9} })}, "another certificate"},
		"after it was called lost": {bus.ExportOutput, "auc-demo", []int64{seq, *l.lost(made)}, "ended"},
	} {
		r, err := l.export(c.kind, c.to, c.pairs...)
		if refused(t, err, c.want); r.Results != nil {
			t.Errorf("%s: keys left", name)
		}
	}
	if _, err := l.export(bus.ExportOutput, "auc-demo", seq, outcome); err != nil {
		t.Errorf("the honest export: %v", err)
	}
}

// TestTwoVaultsOnOneToken: a second vault process has no receipts of what the first made. On the first one's folders it
// cannot start; on folders of its own it makes nothing of the first one's lots.
func TestTwoVaultsOnOneToken(t *testing.T) {
	t.Parallel()
	l := opened(t)
	if _, err := journal.Open(l.made.JournalDir); err == nil {
		t.Error("two processes have the journal")
	}
	dir := t.TempDir()
	memory, err := journal.CreateMemory(dir + "/" + ceremony.FolderMemory)
	l.must(err)
	receipts, err := journal.Open(dir)
	l.must(err)
	defer receipts.Close()
	cfg := l.cfg
	cfg.Name, cfg.Memory, cfg.Journal = "vault-2", memory, receipts
	cfg.Life = l.lifeOf(cfg)
	second, err := keygen.New(l.ctx, cfg)
	l.must(err)
	_, err = second.OpenLot(l.ctx, l.opening(l.signed))
	refused(t, err, "this vault did not make it")
}

// TestStolenFactoryKeysMakeNoTwin (I1): an attacker who knows a chip's factory keys and owns the ledger shows the vault a
// second chip of that name between two sessions. The claim's stamp is missing on it.
func TestStolenFactoryKeysMakeNoTwin(t *testing.T) {
	t.Parallel()
	l := opened(t)
	c, seq := l.claim(1, 0, 0)
	a := attempt{claim: c, seq: seq, head: func(h *head) { h.tear(45) }}
	if r := l.session(newChip(t, 1), a); r.Failed == nil || !r.Failed.Secrets {
		t.Fatalf("torn: %+v", r)
	}
	twin := newChip(t, 1)
	a.head = nil
	if r := l.session(twin, a); r.Good {
		t.Error("two chips have the keys of one")
	}
}

// emulated is a chip whose keys the attacker made up.
func emulated(t *testing.T, n uint32) *cardsim.Chip {
	t.Helper()
	p := personality(t, n)
	var err error
	if p.Keys, err = scp.DiversifyKDF3(bytes.Repeat([]byte{0x66}, 16), p.ChipID()); err != nil {
		t.Fatal(err)
	}
	chip, err := cardsim.New(p, &cardsim.Memory{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return chip
}

// TestEmulatedChip (I2): who only knows a chip's name gets no window for it.
func TestEmulatedChip(t *testing.T) {
	t.Parallel()
	l := opened(t)
	c, seq := l.claim(1, 0, 0)
	if r := l.session(emulated(t, 1), attempt{claim: c, seq: seq}); r.Failed == nil || r.Failed.Reason != perso.ReasonCryptogram || r.Failed.Secrets {
		t.Errorf("%+v %+v", r, r.Failed)
	}
}

// TestReleasesThatOverlap (I1): officers sign what a lying ledger shows them: identities of another lot, another release
// under a lot's name. The vault remembers what it issued.
func TestReleasesThatOverlap(t *testing.T) {
	t.Parallel()
	l := opened(t)
	l.startVault()
	r := l.release
	r.Nonce[0] ^= 1
	_, err := l.vault.OpenLot(l.ctx, l.opening(l.sign(r, "ann", "bob")))
	refused(t, err, "was made for another release")
	r.Lot = "LOT-2"
	_, err = l.vault.OpenLot(l.ctx, l.opening(l.sign(r, "ann", "bob")))
	refused(t, err, "has EIDs of lot")
	r.EIDs = behind(t, r.EIDs)
	_, err = l.vault.OpenLot(l.ctx, l.opening(l.sign(r, "ann", "bob")))
	refused(t, err, "has ICCIDs of lot")
	r.ICCIDs = behind(t, r.ICCIDs)
	_, err = l.vault.OpenLot(l.ctx, l.opening(l.sign(r, "ann", "bob")))
	refused(t, err, "has IMSIs of lot")
	r.IMSIs = behind(t, r.IMSIs)
	_, err = l.vault.OpenLot(l.ctx, l.opening(l.sign(r, "ann", "bob")))
	l.must(err)
}

// behind is the range that follows a range.
func behind[T id.Number[T]](t *testing.T, r id.Range[T]) id.Range[T] {
	t.Helper()
	all, err := id.NewRange(r.First(), 2*r.Count())
	if err != nil {
		t.Fatal(err)
	}
	first, err := all.At(r.Count())
	if err != nil {
		t.Fatal(err)
	}
	next, err := id.NewRange(first, r.Count())
	if err != nil {
		t.Fatal(err)
	}
	return next
}
