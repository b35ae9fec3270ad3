package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// MaxExceptions bounds the exceptions kept in full; all are counted.
const MaxExceptions = 10_000

// Exception is an entry that a named person must look at and sign off: an alarm, a refused order, an act
// that was refused, a chip that stopped its head, an officer's revocation after which nobody can sign what is asked for, quality's word that a lot is not accepted.
type Exception struct {
	Seq     int64
	Kind    string
	At      time.Time
	Lot     perso.Name // empty when it concerns no lot
	What    string
	Hash    [32]byte
	Reviews []Reviewed
}

// Reviewed is one officer's word about it.
type Reviewed struct {
	By      statement.Officer
	At      time.Time // when it was signed
	Finding string
	Entry   int64 // that put it on record
}

// Open reports that nobody has signed it off.
func (e Exception) Open() bool { return len(e.Reviews) == 0 }

// exceptional says in words why an entry is an exception; empty if it is none.
func exceptional(e any) (lot perso.Name, what string) {
	switch e := e.(type) {
	case entry.Alarm:
		what = fmt.Sprintf("alarm at %s: %s", e.Present, e.Reason)
		if e.Detail != "" {
			what += ", " + e.Detail
		}
		return e.Lot, what
	case entry.Refused:
		what = fmt.Sprintf("file %x was refused, %d faults", e.File[:8], e.Count)
		if len(e.Faults) > 0 {
			what += ", the first: " + e.Faults[0]
		}
		return "", what
	case entry.Forbidden:
		return "", fmt.Sprintf("%s was refused: %s", e.Verb, e.Reason)
	case entry.Present:
		if e.Verdict == perso.VerdictStop {
			return e.Lot, fmt.Sprintf("stopped at %s: %s", e.Present, e.Reason)
		}
	}
	return "", ""
}

// except notes an entry that somebody must look at.
func (a *auditor) except(p parsed) {
	lot, what := exceptional(p.entry)
	if what == "" {
		what = a.bereft
	}
	if a.rejected != "" {
		lot, what = a.rejected, fmt.Sprintf("quality did not accept lot %s: nothing of it may be handed out", a.rejected)
	}
	if a.bereft, a.rejected = "", ""; what == "" {
		return
	}
	if len(a.exceptions) < MaxExceptions {
		a.exceptions[a.seq] = &Exception{Seq: a.seq, Kind: p.kind, At: p.at, Lot: lot, What: what, Hash: p.hash}
		return
	}
	a.moreExceptions++
}

// review takes a person's word about entries before it. What it names is looked up at the end: it may be any entry.
func (a *auditor) review(e entry.Statement) {
	a.reviews++
	var signers []statement.Officer
	body, found := a.openingBy(e, func(s statement.Signed) (err error) {
		signers, err = a.register.Signers(s)
		if err == nil {
			err = a.register.Authorize(s)
		}
		return err
	})
	if !found {
		return
	}
	v, err := statement.ParseReview(body)
	switch {
	case err != nil:
		a.bad("I5", "%v", err)
		return
	case v.Env != a.genesis.Env || v.Site != a.genesis.Site:
		a.bad("I5", "the review is of site %s (%s)", v.Site, v.Env)
		return
	}
	for _, x := range v.Items {
		if int64(x.Entry) >= a.seq {
			a.bad("I5", "it signs off entry %d, which did not exist then", x.Entry)
			continue
		}
		for _, o := range signers {
			a.signedOff[int64(x.Entry)] = append(a.signedOff[int64(x.Entry)], signedOff{Reviewed{By: o, At: v.At, Finding: x.Finding, Entry: a.seq}, x.Hash})
		}
	}
}

// signedOff is a word about an entry, as it was named.
type signedOff struct {
	Reviewed
	hash [32]byte
}

// checkReviews holds every word against the entry that it is about, and gives the report its list.
func (a *auditor) checkReviews() {
	for _, seq := range slices.Sorted(maps.Keys(a.signedOff)) {
		x := a.exceptions[seq]
		hash, err := a.hashOf(seq, x)
		for _, w := range a.signedOff[seq] {
			switch {
			case err != nil:
				a.find(logPlace(w.Entry, entry.KindStatement), "I5", "it signs off entry %d: %v", seq, err)
			case hash != w.hash:
				a.find(logPlace(w.Entry, entry.KindStatement), "I5", "it signs off entry %d as %x, which is %x", seq, w.hash, hash)
			case x != nil:
				x.Reviews = append(x.Reviews, w.Reviewed)
			}
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(a.exceptions)) {
		a.report.Exceptions = append(a.report.Exceptions, *a.exceptions[seq])
	}
}

// hashOf is the hash of an entry of this log.
func (a *auditor) hashOf(seq int64, known *Exception) ([32]byte, error) {
	if known != nil {
		return known.Hash, nil
	}
	n := seq / tilepath.Width
	t := tilepath.Tile{Level: tilepath.Entries, N: n, Width: int(min(a.report.Size-n*tilepath.Width, tilepath.Width))}
	data, err := a.files.read(layout.LogPrefix + t.Path())
	if err != nil {
		return [32]byte{}, err
	}
	entries, err := splitEntries(data, t.Width)
	if err != nil {
		return [32]byte{}, err
	}
	return entry.Hash(entries[seq%tilepath.Width]), nil
}

// openExceptions counts those that nobody has signed off.
func (r Report) openExceptions() (n uint64) {
	for _, e := range r.Exceptions {
		if e.Open() {
			n++
		}
	}
	return n
}

// toldExceptions are printed one by one; the rest is counted.
const toldExceptions = 20

func (e Exception) String() string {
	return fmt.Sprintf("%s, %s: %s", logPlace(e.Seq, e.Kind), e.At.Format(record.TimeForm), e.What)
}

// bereave notes of a revocation after which nobody can sign what lots need. It is in force at once, and lots stand until somebody else is in
// the register.
func (a *auditor) bereave(before *statement.Register, e entry.Statement) {
	if e.What != statement.KindRevoke || before == nil {
		return
	}
	if lacks := a.lacks(a.register); lacks != "" && lacks != a.lacks(before) {
		a.bereft = "an officer was revoked, and nobody can sign what is asked for: " + lacks
	}
}

// toldLacks bounds the lots that an exception names.
const toldLacks = 10

// lacks says who is missing in a register for the policy in force, and for lots at work.
func (a *auditor) lacks(reg *statement.Register) string {
	var all []string
	if err := reg.Fulfils(a.asks); err != nil {
		all = append(all, fmt.Sprintf("the site's policy: %v", err))
	}
	for _, name := range slices.Sorted(maps.Keys(a.lots)) {
		l := a.lots[name]
		left := l.policy
		if l.approved {
			left.FirstArticle = 0
		}
		if l.drawn.signed {
			left.Sampling = ""
		}
		if err := reg.Fulfils(left); err != nil && !l.closed {
			all = append(all, fmt.Sprintf("lot %s: %v", name, err))
		}
	}
	if more := len(all) - toldLacks; more > 0 {
		all = append(all[:toldLacks], fmt.Sprintf("and %d lots more", more))
	}
	return strings.Join(all, "; ")
}
