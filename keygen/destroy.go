package keygen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// Shredder takes keys off the token; *hsm.Token and the test double give it.
type Shredder interface {
	Destroy(ctx context.Context, k hsm.Key) error
}

// Grave is what the vault remembers of a lot whose key it destroyed.
type Grave struct {
	Statement [32]byte // hash of the officers' statement
	Copies    uint64
	At        time.Time
}

// Graves remembers durably, and for good, which lots' keys were destroyed. RememberDestroyed is called before the key is
// touched: a crash between the two leaves a key that may not be used any more.
type Graves interface {
	RememberDestroyed(lot perso.Name, g Grave) error
	Destroyed(lot perso.Name) (g Grave, found bool, err error)
}

// burial is the destruction of a lot's keys as officers ordered it.
type burial struct {
	statement.Destroy
	hash    [32]byte // of the statement
	chain   []statement.Signed
	release statement.Release
	keys    []hsm.Key
}

// DestroyLot destroys a lot's key, by the word of two officers, after the lot was closed and its retention ended. Both
// statements must stand in the log, so that no key goes unlogged. Asked again it gives the same certificate.
func (v *Vault) DestroyLot(ctx context.Context, q bus.DestroyLotRequest) (bus.DestroyLotReply, error) {
	if v.cfg.Shredder == nil || v.cfg.Graves == nil {
		return bus.DestroyLotReply{}, bus.Refuse(bus.FaultRefused, "vault %q destroys no lot keys", v.cfg.Name)
	}
	v.opening.Lock() // no lot is opened meanwhile
	defer v.opening.Unlock()
	d, err := v.mayDestroy(q)
	if err != nil {
		v.cfg.Log.Error("refused to destroy a lot's key", "err", err)
		return bus.DestroyLotReply{}, bus.Refuse(v.refusal(d.Lot), "%v", err)
	}
	if err := v.cfg.Life.Look(ctx); err != nil {
		return bus.DestroyLotReply{}, err
	}
	grave, found, err := v.cfg.Graves.Destroyed(d.Lot)
	switch {
	case err != nil:
		return bus.DestroyLotReply{}, fmt.Errorf("looking whether key of lot %q was destroyed: %w", d.Lot, err)
	case found && grave.Statement != d.hash:
		return bus.DestroyLotReply{}, bus.Refuse(bus.FaultConflict, "key of lot %q was destroyed by another statement", d.Lot)
	case !found:
		grave = Grave{Statement: d.hash, Copies: uint64(len(d.Copies)), At: v.cfg.Now().UTC().Truncate(time.Microsecond)}
		if err := v.bury(d, grave); err != nil {
			return bus.DestroyLotReply{}, err
		}
	}
	v.forgetLot(d.Lot)
	if err := v.cfg.Life.Turn(ctx); err != nil {
		return bus.DestroyLotReply{}, fmt.Errorf("making it unforgettable that key of lot %q is destroyed: %w", d.Lot, err)
	}
	return v.shred(ctx, d.Lot, grave, d.keys)
}

// refusal is how a statement about a lot is refused: only FaultRefused says that nothing was decided, so that officers may sign another in
// its place.
func (v *Vault) refusal(lot perso.Name) bus.FaultCode {
	if lot == "" { // it could not be read
		return bus.FaultRefused
	}
	if _, found, err := v.cfg.Graves.Destroyed(lot); found || err != nil {
		return bus.FaultConflict
	}
	return bus.FaultRefused
}

// bury decides it, unless a freeze or a dismissal was heard since the statements were checked; and no freeze is said to be heard before what it came too
// late for is durable.
func (v *Vault) bury(d burial, g Grave) error {
	err := v.bound(d.chain, func() error {
		if err := v.mayGoOn(d.release); err != nil {
			return err
		}
		// COMMIT POINT: before it the key may be used; after it never again, whether or not it is still on the token.
		return v.cfg.Graves.RememberDestroyed(d.Lot, g)
	})
	if err != nil {
		v.cfg.Log.Error("a lot's key is not destroyed", "lot", d.Lot, "err", err)
		return fmt.Errorf("remembering that key of lot %q is destroyed: %w", d.Lot, err)
	}
	return nil
}

// shred takes the lot's keys off the token, sees that they are gone, and says so.
func (v *Vault) shred(ctx context.Context, lot perso.Name, g Grave, keys []hsm.Key) (bus.DestroyLotReply, error) {
	c := statement.Destroyed{Env: v.cfg.Env, Vault: v.cfg.Name, Lot: lot, Destroy: g.Statement, Copies: g.Copies, At: g.At}
	for _, k := range keys {
		if err := v.cfg.Shredder.Destroy(ctx, k); err != nil && !errors.Is(err, hsm.ErrNotFound) {
			return bus.DestroyLotReply{}, fmt.Errorf("destroying a key of lot %q: %w", lot, err)
		}
		has, err := v.cfg.Token.Has(ctx, k)
		if err == nil && has {
			err = fmt.Errorf("%q is still there", k)
		}
		if err != nil {
			return bus.DestroyLotReply{}, fmt.Errorf("destroying a key of lot %q: %w", lot, err)
		}
		c.Keys = append(c.Keys, k.Label)
	}
	body, err := c.Encode()
	if err != nil {
		return bus.DestroyLotReply{}, err
	}
	s, err := v.sayIt(ctx, body)
	if err != nil {
		return bus.DestroyLotReply{}, fmt.Errorf("signing the certificate of deletion of lot %q: %w", lot, err)
	}
	v.cfg.Log.Info("lot key destroyed", "lot", lot)
	return bus.DestroyLotReply{Lot: lot, Certificate: s.Encode()}, nil
}

// mayDestroy checks the officers' words, from the pinned register on, and their places in the log.
func (v *Vault) mayDestroy(q bus.DestroyLotRequest) (d burial, err error) {
	var signed [3]statement.Signed
	for i, b := range [][]byte{q.Release, q.Close, q.Destroy} {
		if signed[i], err = statement.DecodeSigned(b); err != nil {
			return d, err
		}
	}
	if d.Destroy, err = statement.ParseDestroy(signed[2].Body); err != nil {
		return d, err
	}
	chain, register, err := v.registerOf(q.Register)
	if err != nil {
		return d, err
	}
	d.chain = chain
	// The release is of its own time: its officers may have left since. This vault opened the lot under it.
	for _, s := range signed[1:] {
		if err := register.Authorize(s); err != nil {
			return d, err
		}
	}
	c, err := statement.ParseClose(signed[1].Body)
	if err != nil {
		return d, err
	}
	d.hash = signed[2].Hash()
	if d.release, err = statement.ParseRelease(signed[0].Body); err != nil {
		return d, err
	}
	if d.keys, err = v.lotKeys(d.release); err != nil {
		return d, err
	}
	if err := v.agrees(d, c, signed, chain); err != nil {
		return d, fmt.Errorf("destroying key of lot %q: %w", d.Lot, err)
	}
	cp, err := v.openCheckpoint(q.Checkpoint)
	if err != nil {
		return d, err
	}
	for _, p := range []struct {
		entry bus.Proven
		kind  string
		hash  [32]byte
	}{{q.Closed, statement.KindClose, signed[1].Hash()}, {q.Ordered, statement.KindDestroy, d.hash}} {
		if err := proveStatement(cp, p.entry, p.kind, p.hash, d.Lot); err != nil {
			return d, fmt.Errorf("destroying key of lot %q: %w", d.Lot, err)
		}
	}
	return d, nil
}

// lotKeys are those that the vault made for a lot: its own, and of random Ki the key that they are sealed under.
func (v *Vault) lotKeys(r statement.Release) ([]hsm.Key, error) {
	l := &lot{release: r}
	if err := l.nameKeys(v.cfg.Env); err != nil {
		return nil, err
	}
	if l.randomKi() {
		return []hsm.Key{l.key, l.seal}, nil
	}
	return []hsm.Key{l.key}, nil
}

// agrees holds the statements against one another, the vault's memory and the clock.
func (v *Vault) agrees(d burial, c statement.Close, signed [3]statement.Signed, chain []statement.Signed) error {
	v.mu.Lock()
	known, made := v.memory.Lots[d.Lot]
	v.mu.Unlock()
	if err := errors.Join(v.mayGoOn(d.release), v.registerContinues(chain)); err != nil {
		return err
	}
	switch {
	case d.Env != v.cfg.Env || d.Site != v.cfg.Site || c.Env != v.cfg.Env:
		return fmt.Errorf("the statements are of site %q, environment %q", d.Site, d.Env)
	case !made || known.Release != signed[0].Hash():
		return errors.New("this vault did not make the lot under this release")
	case d.Destroy.Release != known.Release || d.Close != signed[1].Hash() || c.Lot != d.Lot:
		return errors.New("the statement is about another release or another closing")
	case v.cfg.Now().Before(d.Retained):
		return fmt.Errorf("retention ends %s", d.Retained.Format(time.RFC3339))
	}
	return d.After(c.At)
}

// registerOf builds the officer register from its pinned genesis on. It is the one that this vault heard last, or refused.
func (v *Vault) registerOf(encoded [][]byte) (chain []statement.Signed, register *statement.Register, err error) {
	for _, b := range encoded {
		s, err := statement.DecodeSigned(b)
		if err != nil {
			return nil, nil, err
		}
		chain = append(chain, s)
	}
	if register, err = statement.NewRegister(v.cfg.RegisterPin, chain); err == nil {
		err = v.heardWhole(chain)
	}
	return chain, register, err
}

// proveStatement checks that the log names a statement about a lot.
func proveStatement(cp checkpoint.Checkpoint, p bus.Proven, kind string, hash [32]byte, lot perso.Name) error {
	if err := proven(cp, p); err != nil {
		return fmt.Errorf("proving %s: %w", kind, err)
	}
	e, err := entry.ParseStatement(p.Entry)
	if err == nil && (e.What != kind || e.Hash != hash || e.Lot != lot) {
		err = fmt.Errorf("the log entry shown is not of this %s", kind)
	}
	return err
}

// forgetLot closes an open lot and wipes what it held.
func (v *Vault) forgetLot(name perso.Name) {
	v.mu.Lock()
	l := v.lots[name]
	delete(v.lots, name)
	v.order = slices.DeleteFunc(v.order, func(n perso.Name) bool { return n == name })
	v.mu.Unlock()
	if l != nil {
		l.mu.Lock()
		l.close()
		l.mu.Unlock()
	}
}

// buried refuses a lot whose key was destroyed, also when a key with its label is there: the token was put back.
func (v *Vault) buried(lot perso.Name) error {
	if v.cfg.Graves == nil {
		return nil
	}
	_, found, err := v.cfg.Graves.Destroyed(lot)
	if err != nil {
		return fmt.Errorf("looking whether key of lot %q was destroyed: %w", lot, err)
	}
	if found {
		v.cfg.Log.Error("refused a release", "lot", lot, "err", "its key was destroyed")
		return bus.Refuse(bus.FaultRefused, "key of lot %q was destroyed", lot)
	}
	return nil
}

// remains gives, locked, what is left of a lot whose key was destroyed: its receipts, which outlive it, so that bundles of
// other lots can still be made. Any other lot gets the error back with which it was not open.
func (v *Vault) remains(ctx context.Context, name perso.Name, notOpen error) (*lot, error) {
	if v.cfg.Graves == nil {
		return nil, notOpen
	}
	v.opening.Lock()
	defer v.opening.Unlock()
	_, found, err := v.cfg.Graves.Destroyed(name)
	if err != nil || !found {
		return nil, errors.Join(notOpen, err)
	}
	if v.remain == nil || v.remain.release.Lot != name {
		l, err := v.readRemains(ctx, name)
		if err != nil {
			return nil, err
		}
		v.remain = l
	}
	v.remain.mu.Lock()
	return v.remain, nil
}

// readRemains checks the receipts of a destroyed lot; nothing else of it is there.
func (v *Vault) readRemains(ctx context.Context, name perso.Name) (*lot, error) {
	mac, err := v.cfg.Token.MAC(ctx, v.cfg.Keys.Receipt, kdfInput(labelReceipts, []byte(name)))
	if err != nil {
		return nil, fmt.Errorf("deriving the receipt key of lot %q: %w", name, err)
	}
	l := &lot{release: statement.Release{Lot: name}, receipts: secret.New(mac[:])}
	defer l.receipts.Wipe()
	err = v.cfg.Journal.Read(name, 0, func(b []byte) (bool, error) {
		r, err := parseRendered(b)
		if err != nil {
			return false, err
		}
		e := r.receipt
		if e.Vault != v.cfg.Name || e.Lot != name || e.Seq != l.next || e.Prev != l.head {
			return false, fmt.Errorf("receipt %d does not continue the chain", l.next)
		}
		l.head, l.next = entry.Hash(r.Receipt), l.next+1
		return true, l.verifyReceipt(e)
	})
	if err != nil {
		return nil, fmt.Errorf("reading receipts of destroyed lot %q: %w", name, err)
	}
	return l, nil
}
