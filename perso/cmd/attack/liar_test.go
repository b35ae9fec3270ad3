package attack

import (
	"crypto/sha256"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// liar is a ledger process in the hands of an enemy: it has the log so far, may append whatever it likes, and talks to the
// vault as the ledger does.
type liar struct {
	*site
	entries [][]byte
	hashes  []tlog.Hash
	serial  uint64
	stored  bus.Stored
	item    bus.ServeItem // the last that was served
}

func (s *site) liar() *liar {
	s.Helper()
	l := &liar{site: s, serial: 1_000_000}
	s.must(s.db.View(s.ctx, func(tx ledgertest.Tx) error {
		return tx.Each(s.ctx, func(row ledgertest.Row) error {
			var body []byte
			err := row.Scan(&body)
			l.append(body)
			return err
		}, `SELECT body FROM log_entry ORDER BY seq`)
	}))
	return l
}

func (l *liar) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		out[i] = l.hashes[x]
	}
	return out, nil
}

func (l *liar) append(body []byte) int64 {
	l.Helper()
	n := int64(len(l.entries))
	stored, err := tlog.StoredHashes(n, body, l)
	l.must(err)
	l.entries, l.hashes = append(l.entries, body), append(l.hashes, stored...)
	return n
}

// log writes an entry.
func (l *liar) log(e interface{ Encode() ([]byte, error) }) int64 {
	l.Helper()
	body, err := e.Encode()
	l.must(err)
	return l.append(body)
}

// request asks for a signature on the log as it is.
func (l *liar) request(old int64) bus.CheckpointRequest {
	l.Helper()
	size := int64(len(l.entries))
	root, err := tlog.TreeHash(size, l)
	l.must(err)
	q := bus.CheckpointRequest{Old: old, Size: size, Root: root}
	if old > 0 && old < size {
		proof, err := tlog.ProveTree(size, old, l)
		l.must(err)
		for _, h := range proof {
			q.Proof = append(q.Proof, h)
		}
	}
	return q
}

// note has the log signed.
func (l *liar) note() []byte {
	l.Helper()
	info, err := l.vault.Info(l.ctx, bus.Empty{})
	l.must(err)
	reply, err := l.vault.Checkpoint(l.ctx, l.request(info.LogSize))
	l.must(err)
	return reply.Note
}

func (l *liar) prove(seq int64) bus.Proven {
	l.Helper()
	proof, err := tlog.ProveRecord(int64(len(l.entries)), seq, l)
	l.must(err)
	p := bus.Proven{Entry: l.entries[seq], Seq: seq}
	for _, h := range proof {
		p.Proof = append(p.Proof, h)
	}
	return p
}

// claim is the entry that binds a chip to a unit, after an edit.
func (l *liar) claim(chip uint32, unit perso.Unit, index perso.EIDIndex, edits ...func(*entry.Claim)) (entry.Claim, int64) {
	l.Helper()
	eid, err := l.release.EIDs.At(uint64(index) % l.release.EIDs.Count())
	l.must(err)
	c := entry.Claim{Lot: l.lot, Unit: unit, Index: index, EID: eid, Chip: chipID(l.T, chip), Release: l.signed.Hash(),
		Present: perso.Presentation{Line: "line-1", Head: 0, Number: 1}, At: l.now}
	for _, f := range edits {
		f(&c)
	}
	return c, l.log(c)
}

// attempt is one session that the liar has served.
type attempt struct {
	claim entry.Claim
	seq   int64
	loss  *int64
	edit  func(n uint8, item *bus.ServeItem) // of what the vault is shown, after it was proven
	at    func(*entry.Act)                   // of the act's log entry
	head  func(*head)
}

// serve logs an act and has it served.
func (l *liar) serve(a attempt, n uint8, item bus.ServeItem) bus.ServeResult {
	l.Helper()
	item.Stored, item.At = l.stored, l.now
	act := entry.Act{Lot: a.claim.Lot, Unit: a.claim.Unit, Gen: a.claim.Gen, Session: entry.SessionOf(item.Command, item.Answer), N: n,
		Responses: entry.ResponsesHash(item.Responses), Serial: l.serial, Present: a.claim.Present, At: item.At}
	if a.at != nil {
		a.at(&act)
		item.At = act.At
	}
	seq := l.log(act)
	note := l.note()
	item.Claim, item.Act = l.prove(a.seq), l.prove(seq)
	if a.loss != nil {
		p := l.prove(*a.loss)
		item.Loss = &p
	}
	if a.edit != nil {
		a.edit(n, &item)
	}
	l.item = item
	reply, err := l.vault.Serve(l.ctx, bus.ServeRequest{Lot: l.lot, Checkpoint: note, Items: []bus.ServeItem{item}})
	if err != nil {
		return bus.ServeResult{Refused: err.Error()}
	}
	return reply.Results[0]
}

// session takes a chip as far as the vault goes with it.
func (l *liar) session(chip *cardsim.Chip, a attempt) bus.ServeResult {
	l.Helper()
	l.serial++
	l.stored = bus.Stored{}
	c, err := l.vault.Challenges(l.ctx, bus.VaultChallengesRequest{Lot: l.lot, First: l.serial, Count: 1})
	l.must(err)
	h := l.head(chip)
	if a.head != nil {
		a.head(h)
	}
	var item bus.ServeItem
	item.Responses, item.Command, item.Answer = h.begin(c.Values[0])
	for n := uint8(0); ; n++ {
		r := l.serve(a, n, item)
		if len(r.Window) == 0 {
			return r
		}
		if r.Stored != nil {
			l.stored = *r.Stored
		}
		item.State, item.Responses = r.State, h.play(r.Window)
	}
}

// good logs a good outcome of a claim, whether it is or not.
func (l *liar) good(c entry.Claim, edits ...func(*entry.Outcome)) int64 {
	l.Helper()
	o := entry.Outcome{Lot: c.Lot, Unit: c.Unit, Gen: c.Gen, EID: c.EID, Chip: c.Chip, Verdict: perso.VerdictGood, Reason: perso.ReasonNone,
		Session: perso.Session{1}, Cert: sha256.Sum256(l.stored.Cert), Receipt: [32]byte{1}, Present: c.Present, At: l.now}
	for _, f := range edits {
		f(&o)
	}
	return l.log(o)
}

// lost logs that a claim was given up.
func (l *liar) lost(c entry.Claim) *int64 {
	l.Helper()
	seq := l.good(c, func(o *entry.Outcome) {
		o.Verdict, o.Reason, o.Receipt, o.Cert = perso.VerdictRejectLive, perso.ReasonContact, [32]byte{}, [32]byte{}
	})
	return &seq
}

// export asks for keys of claims with outcomes.
func (l *liar) export(kind bus.ExportKind, to perso.Name, pairs ...int64) (bus.ExportReply, error) {
	l.Helper()
	q := bus.ExportRequest{Lot: l.lot, Kind: kind, Receiver: to, Checkpoint: l.note()}
	for i := 0; i < len(pairs); i += 2 {
		q.Items = append(q.Items, bus.ExportItem{Claim: l.prove(pairs[i]), Outcome: l.prove(pairs[i+1])})
	}
	return l.vault.Export(l.ctx, q)
}

// chipID is the name of virtual chip n.
func chipID(t *testing.T, n uint32) id.ChipID {
	t.Helper()
	p := personality(t, n)
	kdd := p.ChipID()
	chip, err := id.ChipIDFromBytes(kdd[:])
	if err != nil {
		t.Fatal(err)
	}
	return chip
}
