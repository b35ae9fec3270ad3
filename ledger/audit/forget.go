package audit

import (
	"fmt"
	"strings"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// openings is what is known of words that are not, or must not be, in the bundle.
type openings struct {
	// toForget are the words by which releases were deleted, by the release. Until the log names them they are nobody's: they
	// only say what a lot went through whose release is gone.
	toForget map[[32]byte]statement.Forget
	named    map[[32]byte]opened // the releases and the order desk's words that the log has named
	absent   []absent
	deleted  map[[32]byte]string // by whose word
}

// opened is a statement that may be deleted.
type opened struct {
	what string
	lot  perso.Name
}

// absent is a statement without its words.
type absent struct {
	entry.Statement
	seq int64
}

func newOpenings() openings {
	return openings{toForget: map[[32]byte]statement.Forget{}, named: map[[32]byte]opened{}, deleted: map[[32]byte]string{}}
}

// readForget looks for the words by which openings were deleted, before the log is replayed: they come after what they delete.
func (a *auditor) readForget() {
	for s := range a.bundled() {
		if f, err := statement.ParseForget(s.Body); err == nil {
			a.toForget[f.Release] = f
		}
	}
}

// forget is two officers' word that a lot's openings are deleted, after its key is destroyed. It covers nothing but the lot's
// release and what the order desk signed.
func (a *auditor) forget(e entry.Statement) {
	body, by, found := a.openingNamed(e)
	if !found {
		return
	}
	f, err := statement.ParseForget(body)
	l := a.lots[e.Lot]
	switch {
	case err != nil:
		a.bad("I7", "%v", err)
		return
	case f.Lot != e.Lot || f.Env != a.genesis.Env || f.Site != a.genesis.Site:
		a.bad("I7", "the statement is about lot %s of site %s (%s)", f.Lot, f.Site, f.Env)
		return
	case l == nil || !l.gone || f.Certificate != l.certificate:
		a.bad("I7", "the openings of lot %q were deleted, and no vault had certified that its key is destroyed", e.Lot)
		return
	case f.Release != l.hash:
		a.bad("I7", "the statement names another release of lot %s", e.Lot)
		return
	}
	a.standsStill(l, "")
	a.forgotten(f, fmt.Sprintf("the word of %s, %s", strings.Join(by, " and "), logPlace(a.seq, a.kind)))
}

// forgotten notes which words are covered; those that the bundle has all the same were not deleted.
func (a *auditor) forgotten(f statement.Forget, by string) {
	for i, hash := range f.Openings() {
		n, named := a.named[hash]
		switch {
		case !named || (i == 0) != (n.what == statement.KindRelease) || i == 0 && n.lot != f.Lot:
			a.bad("I7", "statement %x is no release of lot %s and no word of the order desk: it may not be deleted", hash[:8], f.Lot)
		case a.deleted[hash] != "":
			a.bad("I7", "the %s %x was deleted before", n.what, hash[:8])
		case a.files.has(layout.Statement(hash)):
			a.bad("I7", "the %s %x was to be deleted, and is in the bundle", n.what, hash[:8])
		default:
			a.deleted[hash] = by
		}
	}
	if f.TrustsLine() {
		a.report.Trusts = append(a.report.Trusts, fmt.Sprintf("lot %s was good by %s, says the word that deleted its release: a line that lies could have said it, or written a second chip alike", f.Lot, f.Proof))
	}
	if f.TrustsContents() {
		a.report.Trusts = append(a.report.Trusts, fmt.Sprintf("lot %s was good by %s, says the word that deleted its release: each chip proved its keys; that its contents and life cycle are as written is a line's word", f.Lot, f.Proof))
	}
}

// missing notes that the entry at hand has no words in the bundle. Whether it may be so the rest of the log says.
func (a *auditor) missing(e entry.Statement) {
	a.absent = append(a.absent, absent{e, a.seq})
}

// checkAbsent demands of every absence that two officers signed for it.
func (a *auditor) checkAbsent() {
	for _, x := range a.absent {
		if by := a.deleted[x.Hash]; by != "" {
			a.note("the words of %s were deleted on %s: what they allowed was not checked", about(x), by)
			continue
		}
		a.find(logPlace(x.seq, entry.KindStatement), "I7", "the words of %s are not in the bundle, and nobody signed that they be deleted: what they allowed was not checked", about(x))
	}
}

func about(x absent) string {
	if x.Lot == "" {
		return fmt.Sprintf("the %s of log entry %d", x.What, x.seq)
	}
	return fmt.Sprintf("the %s of lot %s", x.What, x.Lot)
}
