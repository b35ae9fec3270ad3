package keygen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// Words keeps what officers said of the whole site: the register's changes, the freezes and the lots that end short, in the order of the log. A word is never
// replaced; RememberWord returns when it is durable.
type Words interface {
	Heard() (words [][]byte, err error) // encoded statements, the register's genesis first
	RememberWord(n uint64, word []byte) error
}

// standing is what the words that a vault heard come to. Each is made of the one before, under Vault.hearing, and none is changed: what
// is appended to its rows lies behind the end of whoever still reads an older one.
type standing struct {
	heard    []heardWord
	chain    []statement.Signed // of the officer register
	register *statement.Register
	frozen   []frozen
	short    map[[32]byte]bool // by the hash of its release: lots that officers ended short
}

// heardWord is a word's place among those that were heard.
type heardWord struct {
	hash  [32]byte        // of the statement
	after statement.Words // all up to it
}

type frozen struct {
	statement.Freeze
	hash [32]byte
}

// said names all that was heard.
func (s standing) said() statement.Words { return s.first(uint64(len(s.heard))) }

// first names the first n words of those that were heard.
func (s standing) first(n uint64) statement.Words {
	if n == 0 {
		return statement.Words{}
	}
	return s.heard[n-1].after
}

// reply says how what was heard compares with what the ledger says it was.
func (s standing) reply(q bus.HeedRequest) bus.HeedReply {
	a := bus.HeedReply{Known: s.said().Count}
	if q.Known <= a.Known {
		a.Same = s.first(q.Known).Chain == q.Chain
	}
	if q.Known < a.Known {
		a.Next = s.heard[q.Known].hash
	}
	return a
}

// Heed takes in what officers said of the site, in the order in which the log has it. Each word is held against the register as it was
// then: so who was dismissed since is heard as of his time, and no later. What was heard is durable, binds what is served from then
// on, and is never unheard: a ledger that shows an older register, or goes on with what is frozen, is refused. No word is heard twice,
// and none after other words than the ledger has: what was lifted holds no more, and the two never drift apart unseen.
func (v *Vault) Heed(ctx context.Context, q bus.HeedRequest) (bus.HeedReply, error) {
	if len(q.Words) > bus.MaxBatch {
		return bus.HeedReply{}, bus.Refuse(bus.FaultBadMessage, "%d words, at most %d", len(q.Words), bus.MaxBatch)
	}
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.HeedReply{}, err
	}
	v.hearing.Lock()
	defer v.hearing.Unlock()
	s := v.heard()
	if a := s.reply(q); a.Known != q.Known || !a.Same {
		return a, nil
	}
	for _, word := range q.Words {
		next, err := v.hear(s, word)
		if err != nil {
			v.cfg.Log.Error("refused an officer's word", "seq", len(s.heard), "err", err)
			return bus.HeedReply{}, bus.Refuse(bus.FaultRefused, "word %d: %v", len(s.heard), err)
		}
		// COMMIT POINT: before it nobody is bound by the word; after it this vault always is.
		if err := v.cfg.Words.RememberWord(s.said().Count, word); err != nil {
			return bus.HeedReply{}, fmt.Errorf("remembering word %d: %w", len(s.heard), err)
		}
		s = next
		v.bind(s)
	}
	if s.said() != v.cfg.Life.Heard() {
		if err := v.cfg.Life.Hear(ctx, s.said()); err != nil {
			return bus.HeedReply{}, fmt.Errorf("making it unforgettable what officers said: %w", err)
		}
	}
	return bus.HeedReply{Taken: true, Known: s.said().Count, Same: true}, nil
}

// bind makes a standing the one that binds, after the answers that are being given.
func (v *Vault) bind(s standing) {
	last := s.heard[len(s.heard)-1]
	v.told[last.hash] = last.after.Count - 1
	v.answering.Lock()
	defer v.answering.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.standing = s
}

func (v *Vault) heard() standing {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.standing
}

// recallWords hears again what the vault remembers.
func (v *Vault) recallWords() error {
	words, err := v.cfg.Words.Heard()
	v.told = make(map[[32]byte]uint64, len(words))
	for i := 0; err == nil && i < len(words); i++ {
		var s standing
		if s, err = v.hear(v.standing, words[i]); err == nil {
			v.bind(s)
		}
	}
	if err == nil {
		err = v.forgotNone()
	}
	if err != nil {
		return fmt.Errorf("recalling what vault %q heard of officers: %w", v.cfg.Name, err)
	}
	return nil
}

// forgotNone demands that the vault remembers what its life says that it heard. It may remember more: the last word, before a crash.
func (v *Vault) forgotNone() error {
	noted, all := v.cfg.Life.Heard(), v.standing.said()
	if noted.Count > all.Count || v.standing.first(noted.Count) != noted {
		return fmt.Errorf("it heard %d words, and its memory has %d, or others: what they forbid would be allowed; put the folder words back as it was last (keygen/life/LIFE.md)", noted.Count, all.Count)
	}
	return nil
}

// hear gives what the next word makes of a standing, which it leaves as it is.
func (v *Vault) hear(s standing, word []byte) (standing, error) {
	signed, err := statement.DecodeSigned(word)
	if err != nil {
		return s, err
	}
	kind, err := record.Kind(signed.Body)
	if err != nil {
		return s, err
	}
	hash := signed.Hash()
	if n, ok := v.told[hash]; ok {
		return s, fmt.Errorf("statement %x was heard before, as word %d", hash, n)
	}
	s.heard = append(s.heard, heardWord{hash, s.said().And(hash)})
	switch kind {
	case statement.KindGenesis, statement.KindAdd, statement.KindRevoke:
		return v.hearRegister(s, signed)
	case statement.KindFreeze, statement.KindUnfreeze:
		s.frozen, err = v.hearFreeze(s, signed)
		return s, err
	case statement.KindShort:
		s.short, err = v.hearShort(s, signed)
		return s, err
	}
	return s, fmt.Errorf("a %q is no word for a vault", kind)
}

// hearRegister takes the register's genesis, or a change of it.
func (v *Vault) hearRegister(s standing, signed statement.Signed) (_ standing, err error) {
	s.chain = append(s.chain, signed)
	if len(s.chain) == 1 {
		s.register, err = statement.NewRegister(v.cfg.RegisterPin, s.chain)
	} else {
		s.register, err = s.register.After(signed)
	}
	if err == nil && (s.register.Env != v.cfg.Env || s.register.Site != v.cfg.Site) {
		err = errors.New("the officer register is of another site or environment")
	}
	return s, err
}

// hearFreeze gives what is frozen after a freeze, or what lifts one. One that lifts a freeze which this vault never heard of changes
// nothing: it is from before vaults were told.
func (v *Vault) hearFreeze(s standing, signed statement.Signed) ([]frozen, error) {
	if s.register == nil {
		return nil, errors.New("no officer register was heard before it")
	}
	if err := s.register.Authorize(signed); err != nil {
		return nil, err
	}
	f, err := statement.ParseFreeze(signed.Body)
	switch {
	case err != nil:
		return nil, err
	case f.Env != v.cfg.Env || f.Site != v.cfg.Site:
		return nil, fmt.Errorf("the statement is for site %q (%s)", f.Site, f.Env)
	case f.Kind == statement.KindUnfreeze:
		return slices.DeleteFunc(slices.Clone(s.frozen), func(x frozen) bool {
			return x.hash == f.Lifts && x.What == f.What && x.Name == f.Name
		}), nil
	}
	return append(s.frozen, frozen{f, signed.Hash()}), nil
}

// hearShort gives the lots that begin nothing any more after one was ended short.
func (v *Vault) hearShort(s standing, signed statement.Signed) (map[[32]byte]bool, error) {
	if s.register == nil {
		return nil, errors.New("no officer register was heard before it")
	}
	if err := s.register.Authorize(signed); err != nil {
		return nil, err
	}
	w, err := statement.ParseShort(signed.Body)
	if err != nil {
		return nil, err
	}
	if w.Env != v.cfg.Env || w.Site != v.cfg.Site {
		return nil, fmt.Errorf("the statement is for site %q (%s)", w.Site, w.Env)
	}
	all := maps.Clone(s.short)
	if all == nil {
		all = map[[32]byte]bool{}
	}
	all[w.Release] = true
	return all, nil
}

// heardWhole refuses an officer register that is not the one that this vault heard last: an older one, in which somebody signs who was
// dismissed since, or a newer one, which it is to be told first, so that it is remembered whatever becomes of the request.
func (v *Vault) heardWhole(chain []statement.Signed) error {
	heard := v.heard().chain
	n := min(len(heard), len(chain))
	switch {
	case len(heard) > len(chain) || n > 0 && heard[n-1].Hash() != chain[n-1].Hash():
		return bus.Refuse(bus.FaultRefused, "the officer register shown has %d statements, vault %q heard %d: it is an older one, or another", len(chain), v.cfg.Name, len(heard))
	case len(heard) < len(chain):
		return bus.Refuse(bus.FaultRefused, "vault %q was told %d of the officer register's %d statements: it is to hear the others first", v.cfg.Name, len(heard), len(chain))
	}
	return nil
}

// bound does for good what officers ordered, after a last look at the register: one of them may have been dismissed since the request
// came. A word that is heard meanwhile binds when it is done. What do does waits for no answer.
func (v *Vault) bound(chain []statement.Signed, do func() error) error {
	v.answering.RLock()
	defer v.answering.RUnlock()
	if err := v.heardWhole(chain); err != nil {
		return err
	}
	return do()
}

// mayGoOn refuses what is asked of a lot that an officer froze, or of its order, or a key of it.
func (v *Vault) mayGoOn(r statement.Release) error {
	for _, f := range v.heard().frozen {
		if f.Stops(r) {
			return standsStill(bus.FaultRefused, f)
		}
	}
	return nil
}

// mayServe refuses a batch of a lot that is frozen, or from a line that is. It is busy, and not refused, to the ledger: that knows the
// word too, and holds the head when it asks again.
func (v *Vault) mayServe(r statement.Release, items []bus.ServeItem) error {
	all := v.heard().frozen
	lines := map[perso.Name]frozen{}
	for _, f := range all {
		if f.Stops(r) {
			return standsStill(bus.FaultBusy, f)
		}
		if f.What == statement.FrozenLine {
			lines[perso.Name(f.Name)] = f
		}
	}
	for i := 0; len(lines) > 0 && i < len(items); i++ {
		act, err := entry.ParseAct(items[i].Act.Entry)
		if f, ok := lines[act.Present.Line]; err == nil && ok { // what is no act is refused when its turn comes
			return standsStill(bus.FaultBusy, f)
		}
	}
	return nil
}

func standsStill(code bus.FaultCode, f frozen) error {
	return bus.Refuse(code, "%s %s is frozen: %s", f.What, f.Name, f.Reason)
}
