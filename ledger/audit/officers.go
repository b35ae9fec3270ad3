package audit

import (
	"fmt"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// readOfficers reads the register's chain. It takes effect statement by statement, as the log names them, so that each
// release is judged by those who were officers then.
func (a *auditor) readOfficers() {
	for _, f := range a.files.listed {
		if !layout.IsRegister(f.Path) {
			continue
		}
		if f.Path != layout.Register(len(a.chain)) || len(a.chain) == layout.MaxRegister {
			a.find(f.Path, "I5", "the register's statements are not numbered from 0 without a gap")
			return
		}
		raw, err := a.files.read(f.Path)
		if err != nil {
			a.find(f.Path, "I5", "%v", err)
			return
		}
		s, err := statement.DecodeSigned(raw)
		if err != nil {
			a.find(f.Path, "I5", "%v", err)
			return
		}
		a.chain = append(a.chain, s)
	}
}

func (a *auditor) statement(e entry.Statement) {
	switch e.What {
	case statement.KindGenesis, statement.KindAdd, statement.KindRevoke:
		a.officers(e)
	case statement.KindRelease:
		a.release(e)
	case statement.KindAssigned:
		a.assigned(e)
	case statement.KindLost:
		a.lost(e)
	case statement.KindClose:
		a.close(e)
	case statement.KindDestroy:
		a.destroy(e)
	case statement.KindDestroyed:
		a.destroyed(e)
	case statement.KindForget:
		a.forget(e)
	case statement.KindReview:
		a.review(e)
	case statement.KindRestored:
		a.restored(e)
	case statement.KindPolicy:
		a.policy(e)
	case statement.KindFirstArticle:
		a.firstArticle(e)
	case statement.KindTaken, statement.KindCancelled:
		a.desk(e)
	case statement.KindSamples:
		a.samples(e)
	case statement.KindClearance:
		a.clearance(e)
	case statement.KindExplained:
		a.explain(e)
	case statement.KindRejects:
		a.rejects(e)
	case statement.KindShort:
		a.short(e)
	case statement.KindFreeze, statement.KindUnfreeze:
		a.freeze(e)
	default:
		a.bad("I5", "statements of kind %q are not known", e.What)
	}
}

// officers puts the chain's next statement in force; NewRegister checks it from the pinned genesis on.
func (a *auditor) officers(e entry.Statement) {
	if a.applied == len(a.chain) || a.chain[a.applied].Hash() != e.Hash {
		a.bad("I5", "the bundle has another or no statement %d of the officer register", a.applied)
		return
	}
	if kind, err := record.Kind(a.chain[a.applied].Body); err != nil || kind != e.What {
		a.bad("I5", "the statement is of kind %q", kind)
	}
	a.applied++
	reg, err := statement.NewRegister(a.opt.RegisterPin, a.chain[:a.applied])
	if err != nil {
		a.bad("I7", "%v", err)
		return
	}
	if reg.Env != a.genesis.Env || reg.Site != a.genesis.Site {
		a.bad("I7", "the register is of site %s (%s)", reg.Site, reg.Env)
	}
	before := a.register
	a.register = reg
	a.bereave(before, e)
}

// ofTheSite says that an entry's words are about the site: nothing is ever deleted of them, but what the order desk said of an order that was delivered, and every bundle holds them. Else whoever makes
// a bundle could leave out a freeze, or log a policy that nobody signed, and no auditor could tell. The lot that such an entry names is the
// ledger's word, so the kind counts too.
func ofTheSite(e entry.Statement) bool {
	switch e.What {
	case statement.KindPolicy, statement.KindFreeze, statement.KindUnfreeze, statement.KindTaken, statement.KindCancelled, statement.KindRestored, statement.KindReview:
		return true
	}
	return e.Lot == ""
}

// opening reads the words that an entry names by hash, which two officers must have signed. It is absent when the words were
// deleted after delivery, which two officers must have signed (forget.go), and which those of the site never are, but for what the order
// desk said of an order.
func (a *auditor) opening(e entry.Statement) (body []byte, found bool) {
	return a.openingBy(e, func(s statement.Signed) error { return a.register.Authorize(s) })
}

// openingNamed is opening, and names who signed.
func (a *auditor) openingNamed(e entry.Statement) (body []byte, by []string, found bool) {
	body, found = a.openingBy(e, func(s statement.Signed) error {
		signers, err := a.register.Signers(s)
		for _, o := range signers {
			by = append(by, fmt.Sprintf("%s (%s)", o.Person, o.Role))
		}
		if err != nil {
			return err
		}
		return a.register.Authorize(s)
	})
	return body, by, found
}

// openingBy is opening with another rule of who must have signed.
func (a *auditor) openingBy(e entry.Statement, authorize func(statement.Signed) error) (body []byte, found bool) {
	path := layout.Statement(e.Hash)
	if !a.files.has(path) {
		if ofTheSite(e) && e.What != statement.KindTaken {
			a.bad("I7", "the words of this %s, which is about the whole site, are not in the bundle", e.What)
			return nil, false
		}
		a.missing(e)
		return nil, false
	}
	raw, err := a.files.read(path)
	if err != nil {
		a.find(path, "I7", "%v", err)
		return nil, false
	}
	s, err := statement.DecodeSigned(raw)
	if err != nil {
		a.find(path, "I7", "%v", err)
		return nil, false
	}
	if s.Hash() != e.Hash {
		a.find(path, "I7", "its hash is %x", s.Hash())
		return nil, false
	}
	if a.register == nil {
		a.bad("I7", "no officer register is in force")
		return nil, false
	} else if err := authorize(s); err != nil {
		a.find(path, "I7", "%v", err)
	}
	return s.Body, true
}
