package keygen

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// Words keeps what officers said of the whole site: the register's changes and the freezes, in the order of the log. A word is never
// replaced; RememberWord returns when it is durable.
type Words interface {
	Heard() (words [][]byte, err error) // encoded statements, the register's genesis first
	RememberWord(n uint64, word []byte) error
}

// standing is what the words that a vault heard come to.
type standing struct {
	words  uint64
	chain  []statement.Signed // of the officer register
	frozen []frozen
}

type frozen struct {
	statement.Freeze
	hash [32]byte
}

// Heed takes in what officers said of the site, in the order in which the log has it. Each word is held against the register as it was
// then: so who was dismissed since is heard as of his time, and no later. What was heard is durable, binds what is served from then
// on, and is never unheard: a ledger that shows an older register, or goes on with what is frozen, is refused.
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
	if q.Known != s.words {
		return bus.HeedReply{Known: s.words}, nil
	}
	for _, word := range q.Words {
		next, err := v.hear(s, word)
		if err != nil {
			v.cfg.Log.Error("refused an officer's word", "seq", s.words, "err", err)
			return bus.HeedReply{}, bus.Refuse(bus.FaultRefused, "word %d: %v", s.words, err)
		}
		// COMMIT POINT: before it nobody is bound by the word; after it this vault always is.
		if err := v.cfg.Words.RememberWord(s.words, word); err != nil {
			return bus.HeedReply{}, fmt.Errorf("remembering word %d: %w", s.words, err)
		}
		s = next
		v.mu.Lock()
		v.standing = s
		v.mu.Unlock()
	}
	if len(q.Words) > 0 {
		if err := v.cfg.Life.Turn(ctx); err != nil {
			return bus.HeedReply{}, fmt.Errorf("making it unforgettable what officers said: %w", err)
		}
	}
	return bus.HeedReply{Taken: true, Known: s.words}, nil
}

func (v *Vault) heard() standing {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.standing
}

// recallWords hears again what the vault remembers.
func (v *Vault) recallWords() error {
	words, err := v.cfg.Words.Heard()
	for i := 0; err == nil && i < len(words); i++ {
		v.standing, err = v.hear(v.standing, words[i])
	}
	if err != nil {
		return fmt.Errorf("recalling what vault %q heard of officers: %w", v.cfg.Name, err)
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
	s.words++
	switch kind {
	case statement.KindGenesis, statement.KindAdd, statement.KindRevoke:
		s.chain = append(slices.Clip(s.chain), signed)
		register, err := statement.NewRegister(v.cfg.RegisterPin, s.chain)
		if err == nil && (register.Env != v.cfg.Env || register.Site != v.cfg.Site) {
			err = errors.New("the officer register is of another site or environment")
		}
		return s, err
	case statement.KindFreeze, statement.KindUnfreeze:
		s.frozen, err = v.hearFreeze(s, signed)
		return s, err
	}
	return s, fmt.Errorf("a %q is no word for a vault", kind)
}

// hearFreeze gives what is frozen after a freeze, or what lifts one. One that lifts a freeze which this vault never heard of changes
// nothing: it is from before vaults were told.
func (v *Vault) hearFreeze(s standing, signed statement.Signed) ([]frozen, error) {
	register, err := statement.NewRegister(v.cfg.RegisterPin, s.chain)
	if err != nil {
		return nil, err
	}
	if err := register.Authorize(signed); err != nil {
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
	return append(slices.Clip(s.frozen), frozen{f, signed.Hash()}), nil
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
