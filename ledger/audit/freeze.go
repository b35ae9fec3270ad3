package audit

import (
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// frozen is a freeze in force.
type frozen struct {
	statement.Freeze
	hash [32]byte
}

// ofSite reads the words that an entry names, which are for this site.
func ofSite[S any](a *auditor, e entry.Statement, parse func([]byte) (S, error), of func(S) (perso.Env, perso.Name)) (s S, found bool) {
	body, found := a.opening(e)
	if !found {
		return s, false
	}
	s, err := parse(body)
	if err != nil {
		a.bad("I5", "%v", err)
		return s, false
	}
	if env, site := of(s); env != a.genesis.Env || site != a.genesis.Site {
		a.bad("I5", "the statement is of site %s (%s)", site, env)
		return s, false
	}
	return s, true
}

// freeze stops something, or lets it go on by the word of two.
func (a *auditor) freeze(e entry.Statement) {
	f, found := ofSite(a, e, statement.ParseFreeze, func(f statement.Freeze) (perso.Env, perso.Name) { return f.Env, f.Site })
	if !found {
		return
	}
	i := slices.IndexFunc(a.frozen, func(x frozen) bool { return x.What == f.What && x.Name == f.Name })
	switch {
	case f.Kind != e.What:
		a.bad("I5", "the statement is a %s", f.Kind)
	case f.Kind == statement.KindFreeze && i >= 0:
		a.bad("I5", "%s %s is frozen already", f.What, f.Name)
	case f.Kind == statement.KindFreeze:
		a.frozen = append(a.frozen, frozen{f, e.Hash})
		a.freezes++
	case i < 0 || a.frozen[i].hash != f.Lifts:
		a.bad("I5", "%s %s is not frozen by the word that is lifted", f.What, f.Name)
	default:
		a.frozen = slices.Delete(a.frozen, i, i+1)
	}
}

// standsStill finds what was done with something that stood still.
func (a *auditor) standsStill(l *lot, line perso.Name) {
	for _, f := range a.frozen {
		if f.What == statement.FrozenLine && f.Name == string(line) || l.release != nil && f.Stops(*l.release) {
			a.bad("I5", "%s %s was frozen then: %s", f.What, f.Name, f.Reason)
		}
	}
}
