package audit_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// world is a site with a lot of two good units and one spare, at work.
type world struct {
	*Site
	lot    *Lot
	bundle func(fstest.MapFS) // spoils the bundle before it is sealed
}

func newWorld() *world {
	s := New()
	return &world{Site: s, lot: s.Release("L1", 0, 2, 1)}
}

func (w *world) verify() (audit.Report, error) {
	b := w.Bundle("L1")
	if w.bundle != nil {
		w.bundle(b)
		w.Seal(b, "L1")
	}
	return audit.Verify(b, pins(w.Site))
}

func (w *world) claim(u perso.Unit, chip uint32) *Unit { return w.lot.Claim(u, 0, 0, Chip(chip)) }

// injecting is another lot, whose chips are given their keys.
func (w *world) injecting() *Lot {
	r := w.NewRelease("L2", 1, 2, 1)
	r.KeyOrigin = "hsm"
	return w.Admit(r, "prod", "sec")
}

func (w *world) good(u perso.Unit, chip uint32) *Unit {
	c := w.claim(u, chip)
	c.Run()
	return c
}

func (w *world) lost(u perso.Unit, chip uint32) (*Unit, int64) {
	c := w.claim(u, chip)
	c.Act("identify")
	return c, c.Lose()
}

// closing makes a lot of both units and gives its true closing statement.
func (w *world) closing() statement.Close {
	for u := range perso.Unit(2) {
		w.good(u, uint32(u)).Bin()
	}
	w.lot.Count(entry.SourceHandler)
	w.lot.Count(entry.SourceHand)
	return w.lot.NewClose()
}

// last rewrites the newest entry, which is an E.
func last[E interface{ Encode() ([]byte, error) }](w *world, parse func([]byte) (E, error), edit func(*E)) {
	n := len(w.Entries) - 1
	e := Must(parse(w.Entries[n]))
	edit(&e)
	w.Entries[n] = Must(e.Encode())
}

// TestFrauds: each by one who holds the log key and has any bundle sealed, but holds no officer's key and not the vault.
// The finding must name the invariant, at the entry or record that breaks it.
func TestFrauds(t *testing.T) {
	t.Parallel()
	for _, c := range frauds() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			c.commit(w)
			r, err := w.verify()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				if f.Invariant == c.invariant && strings.Contains(f.Place, c.place) && strings.Contains(f.What, c.what) {
					return
				}
			}
			t.Errorf("want a finding %q at %q with %q, got %v", c.invariant, c.place, c.what, r.Findings)
		})
	}
}

type fraud struct {
	name, invariant, place, what string
	commit                       func(*world)
}

func frauds() []fraud {
	return slices.Concat(unitFrauds(), outcomeFrauds(), sessionFrauds(), recordFrauds(), vaultFrauds(), receiptFrauds(), officerFrauds(),
		lotFrauds(), countFrauds(), nearFrauds())
}

func unitFrauds() []fraud {
	return []fraud{
		{"two units on one chip", "I1", "(claim)", "claimed before", func(w *world) { w.good(0, 1); w.claim(1, 1) }},
		{"one EID on two chips", "I1", "(claim)", "claimed before", func(w *world) {
			first := w.good(0, 1).Claim
			w.lot.Claim(1, 0, 0, Chip(2))
			last(w, entry.ParseClaim, func(e *entry.Claim) { e.Index, e.EID = first.Index, first.EID })
		}},
		{"one unit twice", "I1", "(claim)", "has not ended", func(w *world) { w.claim(0, 1); w.claim(0, 2) }},
		{"good unit made again", "I1", "(claim)", "is good", func(w *world) { w.good(0, 1); w.lot.Claim(0, 1, 8, Chip(2)) }},
		{"re-make without a loss", "I1", "(claim)", "has not ended", func(w *world) { w.claim(0, 1); w.lot.Claim(0, 1, 5, Chip(2)) }},
		{"re-make of another unit's loss", "I1", "(claim)", "names loss", func(w *world) {
			_, loss := w.lost(0, 1)
			w.lost(1, 2)
			w.lot.Claim(1, 1, loss, Chip(3))
		}},
		{"generation left out", "I1", "(claim)", "names loss", func(w *world) { _, loss := w.lost(0, 1); w.lot.Claim(0, 2, loss, Chip(2)) }},
		{"begins with generation 1", "I1", "(claim)", "follows none", func(w *world) { w.lot.Claim(0, 1, 3, Chip(1)) }},
		{"EID out of the order", "I1", "(claim)", "is not number", func(w *world) {
			w.lot.Claim(0, 0, 0, Chip(1))
			last(w, entry.ParseClaim, func(e *entry.Claim) { e.Index++ })
		}},
		{"unit beyond Q+S", "I7", "(claim)", "were released", func(w *world) { w.claim(3, 1) }},
		{"more EIDs than released", "I7", "(claim)", "were released", func(w *world) {
			for u := range perso.Unit(4) {
				w.claim(u%3, uint32(u)).Lose()
			}
		}},
	}
}

func outcomeFrauds() []fraud {
	return []fraud{
		{"more good than Q", "I7", "(outcome)", "3 units are good", func(w *world) { w.good(0, 1); w.good(1, 2); w.good(2, 3) }},
		{"good after lost", "I1", "(outcome)", "terminal", func(w *world) {
			c, _ := w.lost(0, 1)
			c.End(perso.VerdictGood, perso.ReasonNone)
		}},
		{"lost after good", "I1", "(outcome)", "terminal", func(w *world) { w.good(0, 1).Lose() }},
		{"superseded generation good", "I5", "(outcome)", "later one", func(w *world) {
			c, loss := w.lost(0, 1)
			w.lot.Claim(0, 1, loss, Chip(2))
			c.End(perso.VerdictGood, perso.ReasonNone)
		}},
		{"outcome for another chip", "I1", "(outcome)", "not what was claimed", func(w *world) {
			w.good(0, 1)
			last(w, entry.ParseOutcome, func(e *entry.Outcome) { e.Chip = Chip(7) })
		}},
		{"outcome without verdict", "I6", "(outcome)", "does not end", func(w *world) { w.claim(0, 1).End(perso.VerdictHold, perso.ReasonNone) }},
	}
}

func sessionFrauds() []fraud {
	return []fraud{
		{"acts after a loss", "I1", "(act)", "ended", func(w *world) { c, _ := w.lost(0, 1); c.Act("more") }},
		{"writing a good chip", "I1", "(act)", "ended", func(w *world) { c := w.good(0, 1); c.Reopen(); c.Act("identify"); c.Act("write") }},
		{"act left out", "I5", "(act)", "does not follow", func(w *world) { c := w.claim(0, 1); c.N = 1; c.Act("x") }},
		{"act replayed", "I5", "(act)", "does not follow", func(w *world) { c := w.claim(0, 1); c.Act("x"); c.N = 0; c.Act("y") }},
		{"challenge used twice", "I5", "(act)", "host challenge", func(w *world) {
			w.claim(0, 1).Act("x")
			w.claim(1, 2).Act("x")
			last(w, entry.ParseAct, func(e *entry.Act) { e.Serial = 1 })
		}},
		{"old session goes on", "I5", "(act)", "given up", func(w *world) {
			c := w.claim(0, 1)
			c.Act("x")
			old := c.Session
			c.Reopen()
			c.Act("x")
			c.Session = old
			c.Act("y")
		}},
		{"seventh act", "I9", "(act)", "at most", func(w *world) {
			c := w.claim(0, 1)
			for range perso.MaxActs + 1 {
				c.Act("x")
			}
		}},
	}
}

func recordFrauds() []fraud {
	return []fraud{
		{"certificate replaced silently", "I5", "(certificate)", "supersedes", func(w *world) { c := w.claim(0, 1); c.Certify("a"); c.Cert = [32]byte{}; c.Certify("b") }},
		{"second key pair in one session", "I5", "(certificate)", "given its key", func(w *world) {
			c := w.injecting().Claim(0, 0, 0, Chip(77))
			c.Act("identify")
			c.Certify("a")
			c.Certify("b")
		}},
		{"key pair without a session", "I5", "(certificate)", "given its key", func(w *world) { w.injecting().Claim(0, 0, 0, Chip(77)).Certify("a") }},
		{"certificate after the end", "I1", "(certificate)", "ended", func(w *world) { w.good(0, 1).Certify("b") }},
		{"certificate for another EID", "I1", "(certificate)", "not the claim's", func(w *world) {
			c := w.good(0, 1)
			w.claim(1, 2).Certify("a")
			last(w, entry.ParseCertificate, func(e *entry.Certificate) { e.EID = c.Claim.EID })
		}},
		{"other certificate on the chip", "I5", "(outcome)", "on record", func(w *world) {
			w.good(0, 1)
			last(w, entry.ParseOutcome, func(e *entry.Outcome) { e.Cert = Hash("x") })
		}},
		{"more chips than came in", "I6", "log", "came in", func(w *world) {
			w.good(0, 1)
			w.Entries[2] = Must(entry.Stock{Reel: "reel-1", File: Hash("reel"), Chips: 0, At: Must(entry.ParseStock(w.Entries[2])).At}.Encode())
		}},
		{"reel received twice", "I6", "(stock)", "before", func(w *world) { w.Append(entry.Stock{Reel: "reel-2", File: Hash("reel"), Chips: 9, At: w.Tick()}) }},
		{"time goes back", "I5", "(alarm)", "goes back", func(w *world) {
			w.Append(entry.Alarm{Reason: perso.ReasonTwin, Present: perso.Presentation{Line: "l"}, At: w.Tick().Add(-time.Hour)})
		}},
		{"unknown kind", "I5", "(dream)", "not known", func(w *world) {
			w.Entries = append(w.Entries, []byte("persoline/1 dream\nat 2027-03-01T08:00:00.000000Z\n"))
		}},
		{"second spelling", "I5", "(stock)", "canonical", func(w *world) { w.Entries[2] = bytes.Replace(w.Entries[2], []byte("chips 1"), []byte("chips 01"), 1) }},
		{"second genesis", "I5", "(log-genesis)", "entry 0", func(w *world) { w.Entries = append(w.Entries, w.Entries[0]) }},
	}
}

func vaultFrauds() []fraud {
	return []fraud{
		{"good without the vault", "I4", "(outcome)", "in no chain", func(w *world) {
			c := w.claim(0, 1)
			c.Act("identify")
			c.Receipt = Hash("made up")
			c.End(perso.VerdictGood, perso.ReasonNone)
		}},
		{"good although the vault said otherwise", "I4", "receipts/vault-1.L1.receipts receipt 1", "the vault said", func(w *world) {
			c := w.claim(0, 1)
			c.Act("identify")
			c.Serve(c.Ask("proof"), string(perso.ReasonProof))
			c.End(perso.VerdictGood, perso.ReasonNone)
		}},
		{"another unit's receipt", "I4", "receipt", "calls session", func(w *world) {
			first := w.good(0, 1)
			c := w.claim(1, 2)
			c.Act("identify")
			c.Receipt = first.Receipt
			w.Entries = w.Entries[:len(w.Entries)-1]
			c.N = 0
			c.Reopen()
			c.Serve(c.Ask("identify"), "good")
			c.End(perso.VerdictGood, perso.ReasonNone)
			last(w, entry.ParseOutcome, func(e *entry.Outcome) {
				e.Receipt = Must(entry.ParseReceipt(w.Chains["L1"].Receipts[0])).Prev
				e.Receipt = entry.Hash(w.Chains["L1"].Receipts[0])
			})
		}},
		{"good in a session that is none", "I4", "(outcome)", "not the claim's last", func(w *world) {
			w.good(0, 1)
			last(w, entry.ParseOutcome, func(e *entry.Outcome) { e.Session = perso.Session(Hash("none")) })
		}},
		{"good without naming a receipt", "I4", "(outcome)", "no receipt", func(w *world) {
			w.good(0, 1)
			last(w, entry.ParseOutcome, func(e *entry.Outcome) { e.Receipt = [32]byte{} })
		}},
	}
}

func receiptFrauds() []fraud {
	return []fraud{
		{"a card that the log does not know", "I5", "receipts/vault-1.L1.receipts receipt 0", "does not hold", func(w *world) {
			w.claim(0, 1).Act("identify")
			w.Entries = w.Entries[:len(w.Entries)-2] // claim and act vanish, the vault has served them
			w.Tick()
			w.good(1, 2)
		}},
		{"answers changed afterwards", "I5", "receipts/vault-1.L1.receipts receipt 0", "does not hold", func(w *world) {
			w.claim(0, 1).Act("identify")
			last(w, entry.ParseAct, func(e *entry.Act) { e.Responses = Hash("others") })
		}},
		{"claim changed afterwards", "I5", "receipts/vault-1.L1.receipts receipt 0", "does not hold", func(w *world) {
			c := w.claim(0, 1)
			c.Act("identify")
			c.Claim.Chip = Chip(9)
			w.Entries[len(w.Entries)-2] = Must(c.Claim.Encode())
		}},
		{"act that was never served", "I5", "(act)", "no receipt", func(w *world) { c := w.claim(0, 1); c.Ask("identify"); c.Act("key") }},
		{"receipts left out", "I5", "(act)", "lot has receipts: false", func(w *world) {
			w.good(0, 1)
			w.bundle = func(b fstest.MapFS) {
				delete(b, layout.Receipts(Vault, "L1"))
				delete(b, layout.ReceiptHead(Vault, "L1"))
				delete(b, layout.ReceiptHeadSig(Vault, "L1"))
			}
		}},
		{"chain cut before its head was signed", "I4", "(outcome)", "in no chain", func(w *world) {
			w.good(0, 1)
			c := w.Chains["L1"]
			c.Receipts = c.Receipts[:2]
			c.Head = entry.Hash(c.Receipts[1])
		}},
		{"session opened after the release expired", "I7", "receipts/vault-1.L1.receipts", "expired", func(w *world) {
			c := w.claim(0, 1)
			for range 3 {
				w.Tick()
			}
			c.Ask("identify")
			last(w, entry.ParseAct, func(e *entry.Act) {
				e.At = w.lot.Release.Expires
				c.Serve(*e, "script")
			})
		}},
	}
}

// release admits a second lot whose release is edited.
func release(edit func(*statement.Release), signers ...perso.Name) func(*world) {
	return func(w *world) {
		r := w.NewRelease("L2", 1, 2, 1)
		if edit != nil {
			edit(&r)
		}
		w.Admit(r, signers...)
	}
}

func officerFrauds() []fraud {
	return []fraud{
		{"release signed by nobody", "I7", "statements/", "two officers", release(nil)},
		{"release signed by one", "I7", "statements/", "two officers", release(nil, "prod")},
		{"release signed by a stranger", "I7", "statements/", "no officer", release(nil, "prod", "eve")},
		{"release signed before he was an officer", "I7", "statements/", "no officer", func(w *world) {
			release(nil, "prod", "qual")(w)
			w.Enlist("qual", statement.RoleQuality)
		}},
		{"release signed after he was revoked", "I7", "statements/", "no officer", func(w *world) {
			w.Enlist("qual", statement.RoleQuality)
			w.Dismiss("qual", statement.RoleQuality)
			release(nil, "prod", "qual")(w)
		}},
		{"release for another site", "I7", "(statement)", "given for", release(func(r *statement.Release) { r.Site = "site-2" }, "prod", "sec")},
		{"test release in production", "I7", "(statement)", "given for", release(func(r *statement.Release) { r.Env = perso.EnvProduction }, "prod", "sec")},
		{"release that had expired", "I7", "(statement)", "in force", release(func(r *statement.Release) { r.Expires = r.At.Add(time.Microsecond) }, "prod", "sec")},
		{"release over identities of another lot", "I1", "(statement)", "identities", release(func(r *statement.Release) { r.IMSIs = New().NewRelease("L1", 0, 2, 1).IMSIs }, "prod", "sec")},
		{"lot released twice", "I7", "(statement)", "already", func(w *world) { w.Release("L1", 1, 2, 1) }},
	}
}

func lotFrauds() []fraud {
	return []fraud{
		{"release under another lot's name", "I7", "(statement)", "releases lot", func(w *world) {
			release(nil, "prod", "sec")(w)
			last(w, entry.ParseStatement, func(e *entry.Statement) { e.Lot = "L3" })
		}},
		{"lot without a release", "I7", "(claim)", "never released", func(w *world) { w.claim(0, 1); last(w, entry.ParseClaim, func(e *entry.Claim) { e.Lot = "L9" }) }},
		{"claim under another release", "I7", "(claim)", "another release", func(w *world) {
			w.claim(0, 1)
			last(w, entry.ParseClaim, func(e *entry.Claim) { e.Release = Hash("x") })
		}},
		{"another lot's opening withheld", "I7", "(statement)", "the release of lot L2 are not in the bundle, and nobody signed", func(w *world) {
			hash := w.Release("L2", 1, 1, 1).Hash
			w.bundle = func(b fstest.MapFS) { delete(b, layout.Statement(hash)) }
		}},
		{"opening withheld", "I7", "(statement)", "nobody signed that they be deleted", func(w *world) {
			w.bundle = func(b fstest.MapFS) { delete(b, layout.Statement(w.Openings[0].Hash())) }
		}},
		{"opening of other words", "I7", "statements/", "hash", func(w *world) {
			w.bundle = func(b fstest.MapFS) {
				f := b[layout.Statement(w.Openings[0].Hash())]
				f.Data = bytes.Replace(bytes.Clone(f.Data), []byte("good 2\n"), []byte("good 3\n"), 1)
			}
		}},
		{"officer added by one", "I7", "(statement)", "two officers", func(w *world) {
			w.Enlist("eve", statement.RoleQuality)
			w.Register[1].Signatures = w.Register[1].Signatures[:1]
		}},
		{"officer kept out of the log", "I5", "register", "the log names", func(w *world) {
			w.Enlist("qual", statement.RoleQuality)
			w.Entries = w.Entries[:len(w.Entries)-1]
		}},
		{"revocation kept out of the bundle", "I5", "(statement)", "another or no statement", func(w *world) {
			w.Enlist("qual", statement.RoleQuality)
			w.Dismiss("qual", statement.RoleQuality)
			w.Register = w.Register[:2]
		}},
		{"export to a stranger", "I7", "(export)", "not released", func(w *world) { w.good(0, 1).Bin(); w.lot.Export("eis", "eve", nil) }},
		{"output to the SM-SR", "I7", "(export)", "not released", func(w *world) { w.good(0, 1).Bin(); w.lot.Export("output", "smsr", nil) }},
		{"export of units that are not good", "I7", "(export)", "are good", func(w *world) {
			w.good(0, 1).Bin()
			w.lot.Export("eis", "smsr", nil)
			last(w, entry.ParseExport, func(e *entry.Export) { e.Units = 2 })
		}},
		{"export twice", "I8", "(export)", "already", func(w *world) { w.good(0, 1).Bin(); w.lot.Export("eis", "smsr", nil); w.lot.Export("eis", "smsr", nil) }},
		{"export manifest of other files", "I8", "exports/L1.eis.manifest", "hash", func(w *world) {
			w.good(0, 1).Bin()
			w.lot.Export("eis", "smsr", nil)
			w.Exports["exports/L1.eis.manifest"] = fmt.Appendf(nil, "%x 1 x\n", Hash("x"))
		}},
	}
}

func countFrauds() []fraud {
	closed := func(edit func(*statement.Close), signers ...perso.Name) func(*world) {
		return func(w *world) {
			c := w.closing()
			edit(&c)
			w.lot.CloseAs(c, signers...)
		}
	}
	return []fraud{
		{"closed by one", "I7", "statements/", "two officers", closed(func(*statement.Close) {}, "prod")},
		{"closed with a difference", "I6", "(statement)", "difference 1", closed(func(c *statement.Close) { c.Counts.In++ }, "prod", "sec")},
		{"a good one hidden as missing", "I6", "(statement)", "good were signed", closed(func(c *statement.Close) { c.Counts.Good--; c.Counts.Missing++ }, "prod", "sec")},
		{"hand count differs", "I6", "(statement)", "the hand says", func(w *world) {
			c := w.closing()
			last(w, entry.ParseCount, func(e *entry.Count) { e.Good-- })
			w.lot.CloseAs(c, "prod", "sec")
		}},
		{"nobody counted", "I6", "(statement)", "the hand says", func(w *world) {
			c := w.closing()
			w.Entries = w.Entries[:len(w.Entries)-1]
			w.lot.CloseAs(c, "prod", "sec")
		}},
		{"closed with a claim open", "I6", "(statement)", "claims open", func(w *world) { c := w.closing(); w.claim(2, 9); w.lot.CloseAs(c, "prod", "sec") }},
		{"made after the close", "I6", "(claim)", "closed", func(w *world) { w.lot.CloseAs(w.closing(), "prod", "sec"); w.claim(2, 9) }},
		{"counted as a stranger", "I6", "(count)", "nobody", func(w *world) { w.lot.Count("rumour") }},
		{"reject put with the good", "I6", "(bin)", "verdict was", func(w *world) {
			c, _ := w.lost(0, 1)
			w.lot.Put(c.Claim.Present, c.Claim.Chip, perso.VerdictGood)
		}},
		{"blank put with the good", "I6", "(bin)", "verdict was", func(w *world) {
			p := w.lot.Contact(perso.VerdictStop, perso.ReasonTwin)
			w.lot.Put(p, Chip(5), perso.VerdictGood)
		}},
		{"binned twice", "I6", "(bin)", "before", func(w *world) { c := w.good(0, 1); c.Bin(); c.Bin() }},
		{"good chip in the bin twice", "I6", "(statement)", "times into the good bin", func(w *world) {
			first := w.good(0, 1)
			first.Bin()
			w.good(1, 2)
			first.Claim.Present.Number = 99
			first.Bin()
			w.lot.Count(entry.SourceHandler)
			w.lot.Count(entry.SourceHand)
			w.lot.Close()
		}},
		{"no such bin", "I6", "(bin)", "no bin", func(w *world) {
			p := w.lot.Contact(perso.VerdictStop, perso.ReasonTwin)
			w.lot.Put(p, Chip(5), perso.VerdictHold)
		}},
		{"good without an outcome", "I4", "(presentation)", "without an outcome", func(w *world) { w.lot.Contact(perso.VerdictGood, perso.ReasonNone) }},
	}
}
