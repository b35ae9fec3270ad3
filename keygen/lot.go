package keygen

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// lot is an open lot. Whoever holds mu may use it, after a look at closed.
type lot struct {
	release statement.Release
	hash    [32]byte // of the release
	script  *script.Script
	unfit   error // why the script makes no more chips: it is from before a rule of today
	plan    plan
	terms   terms
	choices
	packages map[string]*pack // by variable
	second   *operational     // nil where chips have one profile

	key, kmc  hsm.Key
	wrap, out hsm.Key      // SM-SR wrap key, transport key or what signs envelopes
	seal      hsm.Key      // of random Ki; made only for a lot that has them
	receive   hsm.Key      // of the customer's own Ki; named only for a lot that has them
	scheme    scp02.Scheme // of the maker's key; empty: KDF3
	subkey    [16]byte     // of KDF3: K1 of the maker's key, worthless without it
	op        secret.Bytes
	challenge secret.Bytes // parent of all challenges of the lot
	receipts  secret.Bytes // MAC key of its receipts
	indexing  secret.Bytes // key of the tags in its index
	pairing   secret.Bytes // parent of the keys that seal key pairs; of a lot whose chips get theirs (pair.go)
	sealing   secret.Bytes // parent of the keys of sessions without a secure channel (plain.go)
	carrying  secret.Bytes // parent of the keys that seal Ki in states; of a lot whose Ki are not derived (carry.go)

	constants map[string][]byte // the release's

	mu     sync.Mutex
	flying []*run     // what is played while mu is free (wave.go)
	landed *sync.Cond // on mu: flying became less
	closed bool
	seen   *index
	pace   pace
	next   uint64   // number of the next receipt
	head   [32]byte // hash of the last one
}

// refusal is a refusal of one item: an alarm, not an error of the batch.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, a ...any) error { return refusal(fmt.Sprintf(format, a...)) }

// OpenLot checks the officers' word and makes the lot ready: its key, made once and for one release only, its OP, and
// what its earlier receipts say. A release that has expired, or a script that is not good enough any more, still opens a lot
// that was opened before, for its exports; Serve takes no new session under it.
func (v *Vault) OpenLot(ctx context.Context, q bus.OpenLotRequest) (bus.OpenLotReply, error) {
	release, hash, chain, err := v.authorized(q)
	if err != nil {
		return bus.OpenLotReply{}, err
	}
	compiled, unfit, err := releasedScript(release, q.Script)
	if err != nil {
		return bus.OpenLotReply{}, err
	}
	packages, misfit, err := releasedPackages(release, q.Packages, compiled)
	if err != nil {
		return bus.OpenLotReply{}, err
	}
	if unfit == nil {
		unfit = misfit
	}
	v.opening.Lock()
	defer v.opening.Unlock()
	if err := v.buried(release.Lot); err != nil {
		return bus.OpenLotReply{}, err
	}
	if err := v.cfg.Life.Look(ctx); err != nil {
		return bus.OpenLotReply{}, err
	}
	if err := v.mine(release, hash, q.Assigned); err != nil {
		v.cfg.Log.Error("refused a lot", "lot", release.Lot, "err", err)
		return bus.OpenLotReply{}, err
	}
	isNew, err := v.mayOpen(release, hash, chain)
	if err != nil {
		v.cfg.Log.Error("refused a release", "lot", release.Lot, "err", err)
		return bus.OpenLotReply{}, err
	}
	if isNew {
		if err := errors.Join(unfit, v.mayGoOn(release)); err != nil {
			return bus.OpenLotReply{}, err
		}
	}
	if l, err := v.take(release.Lot); err == nil {
		l.mu.Unlock()
		return bus.OpenLotReply{Lot: release.Lot}, nil
	}
	l := &lot{release: release, hash: hash, script: compiled, unfit: unfit, plan: planOf(compiled), constants: constantsOf(release), packages: packages}
	l.landed = sync.NewCond(&l.mu)
	if l.terms, err = termsOf(release); err != nil {
		return bus.OpenLotReply{}, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	if l.choices, err = choicesOf(release); err != nil {
		return bus.OpenLotReply{}, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	if l.second, err = operationalOf(v.cfg.Env, release); err != nil {
		return bus.OpenLotReply{}, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	if isNew {
		if err := v.canInject(ctx, l); err != nil {
			return bus.OpenLotReply{}, err
		}
		if err := v.issue(ctx, l, chain); err != nil {
			return bus.OpenLotReply{}, err
		}
	}
	created, err := v.prepare(ctx, l)
	if err != nil {
		l.close()
		return bus.OpenLotReply{}, err
	}
	v.admitLot(l)
	v.cfg.Log.Info("lot opened", "lot", release.Lot, "order", release.Order, "seq", l.next)
	return bus.OpenLotReply{Lot: release.Lot, Created: created}, nil
}

// mayOpen compares with what the vault remembers: one release per lot, none that expired before it was first opened, and
// nothing that another lot has.
func (v *Vault) mayOpen(r statement.Release, hash [32]byte, chain []statement.Signed) (isNew bool, err error) {
	v.mu.Lock()
	known, ok := v.memory.Lots[r.Lot]
	v.mu.Unlock()
	switch {
	case ok && known.Release != hash:
		return false, bus.Refuse(bus.FaultConflict, "lot %q was made for another release", r.Lot)
	case ok:
		return false, nil
	}
	return true, v.mayBegin(r, hash, chain)
}

// authorized verifies the register from its pinned genesis on, the two officers' signatures, and that this vault can make
// what they released.
func (v *Vault) authorized(q bus.OpenLotRequest) (release statement.Release, hash [32]byte, chain []statement.Signed, err error) {
	fail := func(err error) (statement.Release, [32]byte, []statement.Signed, error) {
		v.cfg.Log.Error("refused a release", "err", err)
		return release, hash, nil, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	for _, b := range q.Register {
		s, err := statement.DecodeSigned(b)
		if err != nil {
			return fail(err)
		}
		chain = append(chain, s)
	}
	register, err := statement.NewRegister(v.cfg.RegisterPin, chain)
	if err != nil {
		return fail(err)
	}
	signed, err := statement.DecodeSigned(q.Release)
	if err != nil {
		return fail(err)
	}
	denied := register.Authorize(signed)
	release, err = statement.ParseRelease(signed.Body)
	if denied != nil && (err != nil || v.authorizedThen(release.Lot, signed, chain) != nil) {
		return fail(fmt.Errorf("authorizing release: %w", denied))
	}
	if err != nil {
		return fail(err)
	}
	if register.Env != v.cfg.Env || register.Site != v.cfg.Site {
		return fail(errors.New("the officer register is of another site or environment"))
	}
	if err := v.makeable(release); err != nil {
		return fail(fmt.Errorf("release of lot %q: %w", release.Lot, err))
	}
	if err := v.heardWhole(chain); err != nil {
		v.cfg.Log.Error("refused a release", "lot", release.Lot, "err", err)
		return release, hash, nil, err
	}
	return release, signed.Hash(), chain, nil
}

// authorizedThen holds a release against the officers of the time when this vault made its lot, or gave it away: one of them who left
// since leaves no lot that nobody can finish.
func (v *Vault) authorizedThen(lot perso.Name, signed statement.Signed, chain []statement.Signed) error {
	v.mu.Lock()
	known, made := v.memory.Lots[lot]
	if given, ok := v.assigned[lot]; ok && !made {
		known, made = given.Issued, true
	}
	v.mu.Unlock()
	if !made || known.Release != signed.Hash() {
		return statement.ErrNotAuthorized
	}
	if err := known.continuedBy(lot, chain); err != nil {
		return err
	}
	then, err := statement.NewRegister(v.cfg.RegisterPin, chain[:known.Statements])
	if err != nil {
		return err
	}
	return then.Authorize(signed)
}

// makeable refuses what this vault cannot make as it was released.
func (v *Vault) makeable(r statement.Release) error {
	switch {
	case r.Env != v.cfg.Env:
		return fmt.Errorf("it is for environment %q, this vault is %q", r.Env, v.cfg.Env)
	case r.Site != v.cfg.Site:
		return fmt.Errorf("it is for site %q", r.Site)
	case r.EUICC() && v.eum == nil:
		return fmt.Errorf("it is for eUICCs, and vault %q has no certificates of the keys %q and %q, which a site's first ceremony makes when its catalogue has such a product: it makes SIMs only", v.cfg.Name, v.cfg.Keys.EUM, v.cfg.Keys.EIS)
	case r.EUICC() && r.KeyOrigin != string(order.KeyCard) && r.KeyOrigin != string(order.KeyHSM):
		return fmt.Errorf("key origin %q", r.KeyOrigin)
	case r.AuthProof != "auts":
		return fmt.Errorf("authentication proof %q", r.AuthProof)
	case r.ChipID != "kdd" && r.ChipID != "cplc":
		return fmt.Errorf("chip id %q", r.ChipID)
	case r.Channel == string(product.ChannelADM):
		if r.FactoryKVN != 0 || r.CardKVN != 0 || r.ChipID != "cplc" {
			return fmt.Errorf("channel %q with key versions %02X and %02X and chip id %q", r.Channel, r.FactoryKVN, r.CardKVN, r.ChipID)
		}
	case r.Channel == string(product.ChannelSCP02):
		if err := makeable02(r); err != nil {
			return err
		}
	case r.Channel != string(product.ChannelSCP03):
		return fmt.Errorf("channel %q", r.Channel)
	}
	if r.Channel != string(product.ChannelADM) && (r.FactoryKVN == r.CardKVN || r.CardKVN == 0) {
		return fmt.Errorf("factory key version %02X and card key version %02X", r.FactoryKVN, r.CardKVN)
	}
	_, err := choicesOf(r)
	_, bad := termsOf(r)
	return errors.Join(madeKi(r), err, bad)
}

// releasedScript decodes the script whose hash was released, and says whether it is fit: it has the proofs that make a unit good.
func releasedScript(r statement.Release, encoded []byte) (s *script.Script, unfit, err error) {
	if sha256.Sum256(encoded) != r.ScriptHash {
		return nil, nil, bus.Refuse(bus.FaultRefused, "script is not the one released for lot %q", r.Lot)
	}
	if s, err = script.Decode(encoded); err != nil {
		return nil, nil, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	t, err := termsOf(r)
	if err != nil {
		return nil, nil, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	if err := errors.Join(provable(s, t), bindable(s, constantsOf(r)), writesAlgorithm(s, r), asksPIN1(s, r)); err != nil {
		unfit = bus.Refuse(bus.FaultRefused, "script %q: %v", s.Name, err)
	}
	return s, unfit, nil
}

func constantsOf(r statement.Release) map[string][]byte {
	m := make(map[string][]byte, len(r.Constants))
	for _, c := range r.Constants {
		m[c.Name] = c.Value
	}
	return m
}

// issue binds a new lot's key to its release before the key exists: a crash between the two leaves a name without a key,
// never a key whose release is unknown. Such a key was made by a vault with another memory and other receipts, or this
// one's were lost: then nobody here knows which identities are on chips.
func (v *Vault) issue(ctx context.Context, l *lot, chain []statement.Signed) error {
	if err := l.nameKeys(v.cfg.Env); err != nil {
		return err
	}
	if err := errors.Join(v.findReceive(ctx, l), v.exportable(ctx, l)); err != nil {
		return err
	}
	has, err := v.cfg.Token.Has(ctx, l.key)
	if err != nil {
		return fmt.Errorf("looking for key of lot %q: %w", l.release.Lot, err)
	}
	if has {
		v.cfg.Log.Error("refused a release", "lot", l.release.Lot, "err", "its key is there")
		return bus.Refuse(bus.FaultConflict, "key of lot %q is on the token, and this vault did not make it", l.release.Lot)
	}
	i := issued(l.release, l.hash, chain)
	err = v.bound(chain, func() error {
		if err := v.mayGoOn(l.release); err != nil {
			return err
		}
		return v.cfg.Memory.RememberLot(l.release.Lot, i)
	})
	if err != nil {
		return fmt.Errorf("remembering lot %q: %w", l.release.Lot, err)
	}
	v.mu.Lock()
	v.memory.Lots[l.release.Lot] = i
	v.mu.Unlock()
	if err := v.cfg.Life.Turn(ctx); err != nil {
		return fmt.Errorf("making it unforgettable that lot %q was opened: %w", l.release.Lot, err)
	}
	return nil
}

// prepare makes or finds the lot's key, opens OP and reads the journal; v.opening is held.
func (v *Vault) prepare(ctx context.Context, l *lot) (created bool, err error) {
	if err := l.nameKeys(v.cfg.Env); err != nil {
		return false, err
	}
	has, err := v.made(ctx, l, l.key)
	if err != nil {
		return false, err
	}
	if err := v.prepareSeal(ctx, l); err != nil {
		return false, err
	}
	if !has {
		if err := v.cfg.Token.Generate(ctx, l.key); err != nil {
			return false, fmt.Errorf("making key of lot %q: %w", l.release.Lot, err)
		}
	}
	if err := v.openSecrets(ctx, l); err != nil {
		return false, err
	}
	_, err = v.replay(l)
	return !has, err
}

// made says whether a key of the lot is on the token, made inside it. One that was not is what a module left that was killed while
// it made the key, or somebody's who knows its value: it is taken away before anything is derived from it, and never used.
func (v *Vault) made(ctx context.Context, l *lot, k hsm.Key) (bool, error) {
	has, err := v.cfg.Token.Has(ctx, k)
	local := false
	if err == nil && has {
		local, err = v.cfg.Token.Local(ctx, k)
	}
	if err == nil && !local {
		err = v.makeRoom(ctx, l, k, has)
	}
	if err != nil {
		return false, fmt.Errorf("looking for a key of lot %q: %w", l.release.Lot, err)
	}
	return local, nil
}

// makeRoom sees that a key may be made, and takes one off the token that this vault can't have made. Of a lot with receipts none is made: it had
// one, which was destroyed or exchanged.
func (v *Vault) makeRoom(ctx context.Context, l *lot, k hsm.Key, has bool) error {
	n, err := v.replay(l)
	switch {
	case err != nil:
		return err
	case has && (n > 0 || v.cfg.Shredder == nil):
		v.cfg.Log.Error("a lot's key was not made inside the token", "lot", l.release.Lot)
		return bus.Refuse(bus.FaultRefused, "key %q was not made inside the token: it is not the one that this vault made", k)
	case n > 0:
		return bus.Refuse(bus.FaultRefused, "key %q of lot %q was destroyed", k, l.release.Lot)
	case !has:
		return nil
	}
	v.cfg.Log.Warn("took away a lot's key that was made only half", "lot", l.release.Lot)
	return v.cfg.Shredder.Destroy(ctx, k)
}

func (l *lot) nameKeys(env perso.Env) (err error) {
	for _, k := range []struct {
		class hsm.Class
		id    perso.Name
		to    *hsm.Key
	}{
		{hsm.ClassLot, l.release.Lot, &l.key}, {hsm.ClassKMC, l.release.KMC, &l.kmc},
		{hsm.ClassSMSR, l.release.WrapKey, &l.wrap}, {l.transportClass(), l.transportID(), &l.out},
	} {
		if k.class == hsm.ClassSMSR && !l.release.EUICC() {
			continue
		}
		if *k.to, err = hsm.NewKey(string(env), k.class, string(k.id)); err != nil {
			return fmt.Errorf("naming keys of lot %q: %w", l.release.Lot, err)
		}
	}
	if l.seal, err = kisource.LotSealKey(env, l.release.Lot); err == nil {
		err = l.nameReceive(env)
	}
	if err != nil {
		return fmt.Errorf("naming keys of lot %q: %w", l.release.Lot, err)
	}
	return nil
}

// openOP opens an operator key, whose length must be the algorithm's.
func (v *Vault) openOP(ctx context.Context, name perso.Name, a auth.Algorithm) (op secret.Bytes, err error) {
	sealed, err := v.cfg.OPs.SealedOP(name)
	if err != nil {
		return op, fmt.Errorf("reading sealed OP %q: %w", name, err)
	}
	if op, err = v.cfg.Token.Unseal(ctx, v.cfg.Keys.Seal, sealed, OPContext(v.cfg.Env, name)); err != nil {
		return op, fmt.Errorf("opening OP %q: %w", name, err)
	}
	if n := a.OPBytes(); op.Len() != n {
		return op, fmt.Errorf("opening %s %q: %d bytes, not %d", a.OPKind(), name, op.Len(), n)
	}
	return op, nil
}

// openSecrets fetches what is the same for the whole lot, so that an act needs few HSM operations.
func (v *Vault) openSecrets(ctx context.Context, l *lot) error {
	var err error
	if l.op, err = v.openOP(ctx, l.release.OP, l.auth); err != nil {
		return err
	}
	if err := v.openOperational(ctx, l); err != nil {
		return err
	}
	for _, d := range []struct {
		key   hsm.Key
		label string
		to    *secret.Bytes
	}{{l.key, labelChallenge, &l.challenge}, {v.cfg.Keys.Receipt, labelReceipts, &l.receipts}, {v.cfg.Keys.Receipt, labelIndex, &l.indexing}} {
		mac, err := v.cfg.Token.MAC(ctx, d.key, kdfInput(d.label, []byte(l.release.Lot)))
		if err != nil {
			return fmt.Errorf("deriving keys of lot %q: %w", l.release.Lot, err)
		}
		*d.to = secret.New(mac[:])
	}
	if err := errors.Join(v.openPairing(ctx, l), v.openCarrying(ctx, l), v.openSealing(ctx, l)); err != nil {
		return err
	}
	if err := v.findKMC(ctx, l); err != nil || l.scheme != "" {
		return err
	}
	first, err := v.cfg.Token.EncryptECB(ctx, l.kmc, make([]byte, keyBytes))
	defer clear(first)
	if err != nil {
		return fmt.Errorf("using chip maker's key %q: %w", l.release.KMC, err)
	}
	l.subkey = scp.CMACSubkey1([16]byte(first))
	return nil
}

// admitLot takes the lot in; the one opened longest ago gives way when there are too many; v.opening is held.
func (v *Vault) admitLot(l *lot) {
	v.mu.Lock()
	name := l.release.Lot
	v.lots[name] = l
	v.order = append(slices.DeleteFunc(v.order, func(n perso.Name) bool { return n == name }), name)
	var oldest *lot
	if len(v.order) > MaxOpenLots {
		oldest = v.lots[v.order[0]]
		delete(v.lots, v.order[0])
		v.order = v.order[1:]
	}
	v.mu.Unlock()
	if oldest != nil {
		oldest.mu.Lock()
		oldest.close()
		oldest.mu.Unlock()
	}
}

// close ends the use of a lot: the ledger must open it again, which reads its receipts anew. l.mu is held, and free while what
// is in flight still needs what is wiped here.
func (l *lot) close() {
	l.closed = true
	for len(l.flying) > 0 {
		l.landed.Wait()
	}
	l.subkey = [16]byte{}
	l.op.Wipe()
	if l.second != nil {
		l.second.op.Wipe()
	}
	l.challenge.Wipe()
	l.receipts.Wipe()
	l.indexing.Wipe()
	if l.seen != nil {
		_ = l.seen.close() // what it would say of the disk matters to nobody any more
	}
	l.pairing.Wipe()
	l.carrying.Wipe()
	l.sealing.Wipe()
}

// take locks an open lot. The caller unlocks it, and takes v.mu not before that.
func (v *Vault) take(name perso.Name) (*lot, error) {
	v.mu.Lock()
	l := v.lots[name]
	v.mu.Unlock()
	if l != nil {
		l.mu.Lock()
		if !l.closed {
			return l, nil
		}
		l.mu.Unlock()
	}
	return nil, bus.Refuse(bus.FaultLotNotOpen, "lot %q is not open", name)
}

// Challenges gives the host challenges of consecutive serial numbers.
func (v *Vault) Challenges(ctx context.Context, q bus.VaultChallengesRequest) (bus.VaultChallengesReply, error) {
	if q.Count == 0 || q.Count > bus.MaxBatch || q.First > math.MaxInt64-bus.MaxBatch {
		return bus.VaultChallengesReply{}, bus.Refuse(bus.FaultBadMessage, "%d challenges from %d, want 1 to %d of 63 bits", q.Count, q.First, bus.MaxBatch)
	}
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.VaultChallengesReply{}, err
	}
	l, err := v.take(q.Lot)
	if err != nil {
		return bus.VaultChallengesReply{}, err
	}
	defer l.mu.Unlock()
	reply := bus.VaultChallengesReply{Values: make([][]byte, q.Count)}
	err = l.challenge.Reveal(func(key []byte) error {
		for i := range reply.Values {
			sum := challenge(key, q.First+uint64(i))
			reply.Values[i] = sum[:challengeBytes]
		}
		return nil
	})
	return reply, err
}
