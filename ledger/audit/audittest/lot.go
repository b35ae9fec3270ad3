package audittest

import (
	"crypto/sha256"
	"time"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// Unit is a claim on its way.
type Unit struct {
	Lot     *Lot
	Claim   entry.Claim
	Hash    [32]byte
	Session perso.Session
	N       uint8 // of the next act
	Cert    [32]byte
	Receipt [32]byte // hash of the last
	Verdict perso.Verdict
	serial  uint64
}

// Claim binds a unit to a chip with the lot's next EID.
func (l *Lot) Claim(u perso.Unit, gen perso.Generation, loss int64, chip id.ChipID) *Unit {
	eid, err := l.Release.EIDs.At(l.index)
	if err != nil && l.Release.EUICC() {
		eid = l.Release.EIDs.Last() // a fraud: more claims than identities
	}
	l.Site.number++
	e := entry.Claim{Lot: l.Release.Lot, Unit: u, Gen: gen, Index: perso.EIDIndex(l.index), EID: eid, Chip: chip, Release: l.Hash, Loss: uint64(loss),
		Present: perso.Presentation{Line: "line-1", Head: 1, Number: l.Site.number}, At: l.Site.Tick()}
	l.index++
	return l.Enter(e)
}

// Enter logs a claim as it is given.
func (l *Lot) Enter(e entry.Claim) *Unit {
	l.Site.Append(e)
	c := &Unit{Lot: l, Claim: e, Hash: entry.Hash(Must(e.Encode()))}
	c.Reopen()
	return c
}

// Reopen begins a new session of the chip.
func (c *Unit) Reopen() {
	c.Lot.Site.serial++
	c.serial, c.N = c.Lot.Site.serial, 0
	c.Session = perso.Session(Hash("session %d", c.serial))
}

// Act logs the session's next act and has the vault serve it.
func (c *Unit) Act(responses string) entry.Act {
	a := c.Ask(responses)
	c.Serve(a, "script")
	return a
}

// Ask logs the session's next act, which the vault does not serve.
func (c *Unit) Ask(responses string) entry.Act {
	a := entry.Act{Lot: c.Claim.Lot, Unit: c.Claim.Unit, Gen: c.Claim.Gen, Session: c.Session, N: c.N, Responses: Hash("%s", responses),
		Serial: c.serial, Present: c.Claim.Present, At: c.Lot.Site.Tick()}
	c.Lot.Site.Append(a)
	c.N++
	return a
}

// Serve gives an act its receipt.
func (c *Unit) Serve(a entry.Act, result string) {
	c.ServeAs(a, result, func([32]byte) bool { return true })
}

// ServeAs gives an act a receipt with a hash that fits: of the MACs that only a vault knows, one by which it does.
func (c *Unit) ServeAs(a entry.Act, result string, fits func(hash [32]byte) bool) {
	chain := c.Lot.Site.Chains[a.Lot]
	r := entry.Receipt{Vault: c.Lot.Site.VaultOf(a.Lot), Lot: a.Lot, Seq: uint64(len(chain.Receipts)), Prev: chain.Head, Unit: a.Unit, Gen: a.Gen, Claim: c.Hash,
		Session: a.Session, N: a.N, Responses: a.Responses, Result: result, At: a.At, MAC: Hash("mac %d", len(chain.Receipts))}
	if result == "script" {
		r.Output = Hash("window %x %d", a.Session, a.N)
	}
	b := Must(r.Encode())
	for i := 0; !fits(entry.Hash(b)); i++ {
		r.MAC = Hash("mac %d, another %d", len(chain.Receipts), i)
		b = Must(r.Encode())
	}
	chain.Receipts, chain.Head = append(chain.Receipts, c.Lot.Site.texts.keep(b)), entry.Hash(b)
	c.Receipt = chain.Head
}

// Answer has the vault give the unit up by a statement that the log names at a time; edit spoils the receipt.
func (c *Unit) Answer(hash [32]byte, at time.Time, edit func(*entry.Receipt)) {
	chain := c.Lot.Site.Chains[c.Claim.Lot]
	r := entry.Receipt{Vault: c.Lot.Site.VaultOf(c.Claim.Lot), Lot: c.Claim.Lot, Seq: uint64(len(chain.Receipts)), Prev: chain.Head, Unit: c.Claim.Unit, Gen: c.Claim.Gen,
		Claim: c.Hash, Session: c.Session, Responses: hash, Result: entry.ResultAbandoned, At: at, MAC: Hash("mac %d", len(chain.Receipts))}
	edit(&r)
	b := Must(r.Encode())
	chain.Receipts, chain.Head = append(chain.Receipts, c.Lot.Site.texts.keep(b)), entry.Hash(b)
	c.Receipt = chain.Head
}

// Certify puts a certificate on record.
func (c *Unit) Certify(name string) {
	e := entry.Certificate{Lot: c.Claim.Lot, Unit: c.Claim.Unit, Gen: c.Claim.Gen, EID: c.Claim.EID, Cert: Hash("cert %s %s", name, c.Claim.EID),
		Key: Hash("key %s %s", name, c.Claim.EID), Supersedes: c.Cert, At: c.Lot.Site.Tick()}
	c.Lot.Site.Append(e)
	c.Cert = e.Cert
}

// Run takes the unit from its first act to good.
func (c *Unit) Run() { c.RunAs(func([32]byte) bool { return true }) }

// RunAs takes it there by a receipt with a hash that fits.
func (c *Unit) RunAs(fits func(hash [32]byte) bool) {
	c.Act("identify")
	if c.Lot.Release.EUICC() {
		c.Act("public key")
		c.Certify("first")
	}
	c.ServeAs(c.Ask("proof"), entry.ResultGood, fits)
	c.End(perso.VerdictGood, perso.ReasonNone)
}

// Outcome is what ends the claim; it is not logged yet.
func (c *Unit) Outcome(v perso.Verdict, r perso.Reason) entry.Outcome {
	e := entry.Outcome{Lot: c.Claim.Lot, Unit: c.Claim.Unit, Gen: c.Claim.Gen, EID: c.Claim.EID, Chip: c.Claim.Chip, Verdict: v, Reason: r,
		Session: c.Session, Present: c.Claim.Present, At: c.Lot.Site.Tick()}
	if v == perso.VerdictGood {
		e.Cert, e.Receipt = c.Cert, c.Receipt
	}
	return e
}

// End logs the outcome and returns its number.
func (c *Unit) End(v perso.Verdict, r perso.Reason) int64 {
	c.Verdict = v
	return c.Lot.Site.Append(c.Outcome(v, r))
}

// Lose rejects the chip.
func (c *Unit) Lose() int64 { return c.End(perso.VerdictRejectLive, perso.ReasonStatus) }

// Bin puts the chip where its verdict says.
func (c *Unit) Bin() { c.Lot.Put(c.Claim.Present, c.Claim.Chip, c.Verdict) }

// Put logs a bin.
func (l *Lot) Put(p perso.Presentation, chip id.ChipID, bin perso.Verdict) {
	l.Bins[bin]++
	l.Site.Append(entry.Bin{Lot: l.Release.Lot, Present: p, Chip: chip, Bin: bin, At: l.Site.Tick()})
}

// Contact logs a presentation without a claim and bins its chip when the verdict is final.
func (l *Lot) Contact(v perso.Verdict, r perso.Reason) perso.Presentation {
	l.Site.number++
	p := perso.Presentation{Line: "line-1", Head: 1, Number: l.Site.number}
	l.Site.Append(entry.Present{Lot: l.Release.Lot, Present: p, Verdict: v, Reason: r, At: l.Site.Tick()})
	if v.Final() {
		l.Put(p, id.ChipID{}, v)
	}
	return p
}

// Count logs a source's count of the bins, which is right.
func (l *Lot) Count(source string) { l.CountWith(source, func(*entry.Count) {}) }

// CountWith logs a source's count of the bins after an edit.
func (l *Lot) CountWith(source string, edit func(*entry.Count)) {
	c := l.count(source)
	edit(&c)
	l.Site.Append(c)
}

func (l *Lot) count(source string) entry.Count {
	b := l.Bins
	c := entry.Count{Lot: l.Release.Lot, Source: source, Good: b[perso.VerdictGood], RejectBlank: b[perso.VerdictRejectBlank],
		RejectLive: b[perso.VerdictRejectLive], Return: b[perso.VerdictReturn], At: l.Site.Tick()}
	c.Sample = b[perso.VerdictSample]
	c.In = c.Good + c.RejectBlank + c.RejectLive + c.Return + c.Sample
	return c
}

// NewClose is what two officers would sign now.
func (l *Lot) NewClose() statement.Close {
	c := l.count("")
	return statement.Close{Env: perso.EnvTest, Lot: l.Release.Lot, At: l.Site.Tick(), Nonce: Hash("close %s", l.Release.Lot),
		Counts: statement.Counts{In: c.In, Good: c.Good, RejectBlank: c.RejectBlank, RejectLive: c.RejectLive, Returned: c.Return, Sample: c.Sample}}
}

// Close has two officers close the lot.
func (l *Lot) Close() { l.CloseAs(l.NewClose(), "prod", "sec") }

// CloseAs logs a closing with the signatures of the named officers.
func (l *Lot) CloseAs(c statement.Close, signers ...perso.Name) {
	signed := Sign(Must(c.Encode()), signers...)
	l.Site.Openings = append(l.Site.Openings, signed)
	l.Site.Append(entry.Statement{What: statement.KindClose, Hash: signed.Hash(), Lot: l.Release.Lot, At: l.Site.Tick()})
}

// Export hands out all good units.
func (l *Lot) Export(what string, receiver perso.Name, manifest []byte) {
	l.Site.Exports[layout.Export(l.Release.Lot, what)] = manifest
	l.Site.Append(entry.Export{Lot: l.Release.Lot, What: what, Receiver: receiver, Units: l.Bins[perso.VerdictGood],
		Hash: sha256.Sum256(manifest), At: l.Site.Tick()})
}
