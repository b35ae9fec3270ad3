package conduct

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/ceremony/census"
	"github.com/persoline/persoline/keygen/ceremony/plan"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// Token is what a ceremony does to the HSM; *hsm.Token and the test double give it.
type Token interface {
	census.Token
	Generate(ctx context.Context, k hsm.Key) error
	Import(ctx context.Context, k hsm.Key, value secret.Bytes) error
	Destroy(ctx context.Context, k hsm.Key) error
	SignDigest(ctx context.Context, k hsm.Key, digest []byte) ([]byte, error)
	Seal(ctx context.Context, k hsm.Key, plaintext secret.Bytes, aad []byte) ([]byte, error)
	Unseal(ctx context.Context, k hsm.Key, sealed, aad []byte) (secret.Bytes, error)
}

// Request asks a custodian for his component.
type Request struct {
	Key       transcript.Label
	Custodian transcript.Custodian
	Bytes     int
	KCV       string
	Try       int // from 1
}

// Room is the people.
type Room interface {
	// Sign shows a statement to an officer, asks, and adds the signature. An officer who is not there is an error.
	Sign(ctx context.Context, officer perso.Name, s *statement.Signed) error
	// Component lets a custodian enter one. The engine checks and wipes it.
	Component(ctx context.Context, r Request) (secret.Bytes, error)
	// Step hears of each record as soon as it is durable.
	Step(s transcript.Step)
}

// OPs keeps sealed operator keys; journal.OPFolder is one.
type OPs interface {
	SealedOP(op perso.Name) ([]byte, error)
	Put(op perso.Name, sealed []byte) error
}

// Config is what a ceremony is held with.
type Config struct {
	Plan  *plan.Plan
	Token Token
	Store Store
	Room  Room
	OPs   OPs // nil when no operator key is sealed
	Now   func() time.Time
	Rand  io.Reader // for nonces
	// Lots are the lots that the vault made, for the look at the token before the first step; nil when there is no vault yet.
	Lots census.Lots
}

// ErrFinished says that the plan was carried out before.
var ErrFinished = errors.New("this ceremony is finished")

// ErrToken says that the token is not as the inventory has it.
var ErrToken = errors.New("the token differs from the inventory")

// Result is a finished ceremony.
type Result struct {
	transcript.Told
	File        string // name of the transcript in the store
	RegisterPin [32]byte
	Public      []string // names of public artefacts in the store
	Resumed     bool
}

// run is one ceremony under way.
type run struct {
	Config
	chain    *transcript.Chain
	register []statement.Signed // on disk
	order    statement.Signed
	steps    [][]byte
	progress transcript.Progress
	resumed  bool
}

// Run carries the plan out, or goes on with it where it was cut off. A plan that is finished is ErrFinished, with the
// result.
func Run(ctx context.Context, c Config) (Result, error) {
	r, err := open(c)
	if err != nil {
		return Result{}, err
	}
	if r.chain.Number == c.Plan.Number {
		return r.result(), ErrFinished
	}
	if err := r.begin(ctx); err != nil {
		return Result{}, err
	}
	if r.progress.Ended {
		return Result{}, errors.New("this ceremony was given up: end it with abandon")
	}
	if r.progress.Open {
		if err := r.again(ctx); err != nil {
			return Result{}, err
		}
	}
	for n := r.progress.Act + 1; n <= uint64(len(c.Plan.Acts)); n++ {
		if err := r.act(ctx, n); err != nil {
			return Result{}, fmt.Errorf("step %d of the plan, %s of %q: %w", n, c.Plan.Acts[n-1].Op, c.Plan.Acts[n-1].Subject(), err)
		}
	}
	if err := r.publish(ctx); err != nil {
		return Result{}, err
	}
	return r.end(ctx, transcript.OutcomeComplete)
}

// Abandon gives a ceremony up that was begun and cannot be finished. What was done stands; an act under way is looked for
// on the token. The officers who signed the order sign this end.
func Abandon(ctx context.Context, c Config) (Result, error) {
	r, err := open(c)
	if err != nil {
		return Result{}, err
	}
	if r.chain.Number == c.Plan.Number {
		return r.result(), ErrFinished
	}
	if found, err := r.resume(); err != nil || !found {
		return Result{}, errors.Join(err, unless(found, "this ceremony was not begun: there is nothing to give up"))
	}
	if r.progress.Open {
		if err := r.settle(ctx); err != nil {
			return Result{}, err
		}
	}
	if r.progress.Complete() {
		return Result{}, errors.New("every step was done: run the plan again to end it")
	}
	if err := r.publish(ctx); err != nil {
		return Result{}, err
	}
	return r.end(ctx, transcript.OutcomeAbandoned)
}

func unless(ok bool, what string) error {
	if ok {
		return nil
	}
	return errors.New(what)
}

// open verifies what earlier ceremonies left, and that the plan follows it.
func open(c Config) (*run, error) {
	chain, err := Load(c.Store, c.Plan.RegisterPin)
	if err != nil {
		return nil, fmt.Errorf("verifying the inventory: %w", err)
	}
	r := &run{Config: c, chain: chain}
	if r.register, err = readRegister(c.Store); err != nil {
		return nil, err
	}
	p := c.Plan
	switch {
	case chain.Number == p.Number && r.planOf(p.Number) == p.Hash:
		return r, nil
	case p.Number != chain.Number+1:
		return nil, fmt.Errorf("the plan is for ceremony number %d, the last one was %d", p.Number, chain.Number)
	case p.Previous != chain.Head:
		return nil, fmt.Errorf("the plan follows %x, the last ceremony ended with %x: one of the two is not of this site, or the inventory was put back to an older state", p.Previous, chain.Head)
	case chain.Number > 0 && (p.Env != chain.Env || p.Site != chain.Site):
		return nil, fmt.Errorf("the inventory is of site %q, environment %s", chain.Site, chain.Env)
	}
	return r, nil
}

// planOf is the hash of the plan of a ceremony that has an order on disk; zero when it has none.
func (r *run) planOf(number uint64) [32]byte {
	b, err := r.Store.Get(orderName(number))
	if err != nil {
		return [32]byte{}
	}
	s, err := statement.DecodeSigned(b)
	if err != nil {
		return [32]byte{}
	}
	o, err := transcript.ParseOrder(s.Body)
	if err != nil {
		return [32]byte{}
	}
	return o.Plan
}

// begin has the order signed, or finds it.
func (r *run) begin(ctx context.Context) error {
	found, err := r.resume()
	if err != nil || found {
		return err
	}
	if now := r.Now(); now.After(r.Plan.NotAfter) {
		return fmt.Errorf("the plan was to be begun by %s, it is %s", r.Plan.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if err := Check(r.Plan); err != nil {
		return err
	}
	if err := r.genesis(ctx); err != nil {
		return err
	}
	reg, err := r.registerNow()
	if err != nil {
		return err
	}
	var nonce [32]byte
	if _, err := io.ReadFull(r.Rand, nonce[:]); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	o := r.Plan.Order(reg.Head, r.now(), nonce)
	if err := errors.Join(o.CheckPeople(reg), dryRun(o, reg, r.chain.Inventory), r.look(ctx)); err != nil {
		return err
	}
	body, err := o.Encode()
	if err != nil {
		return err
	}
	signed, err := r.sign(ctx, body, reg)
	if err != nil {
		return fmt.Errorf("having the order signed: %w", err)
	}
	// COMMIT POINT: before it, nothing was begun; after it, this plan is the one that is carried out.
	if err := r.Store.Put(orderName(r.Plan.Number), signed.Encode()); err != nil {
		return err
	}
	_, err = r.resume()
	return err
}

// resume reads the order and the steps that are on disk.
func (r *run) resume() (found bool, err error) {
	b, err := r.Store.Get(orderName(r.Plan.Number))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.order, err = statement.DecodeSigned(b); err != nil {
		return false, err
	}
	o, err := transcript.ParseOrder(r.order.Body)
	if err != nil {
		return false, err
	}
	if o.Plan != r.Plan.Hash || o.Prev != r.chain.Head || o.Number != r.Plan.Number {
		return false, fmt.Errorf("ceremony %d was begun with another plan (its hash is %x): finish or abandon that one", o.Number, o.Plan)
	}
	reg, err := r.registerAt(o.Register)
	if err != nil {
		return false, err
	}
	if err := errors.Join(transcript.Authorized(r.order, o.Present, reg), o.CheckPeople(reg)); err != nil {
		return false, fmt.Errorf("reading the order: %w", err)
	}
	r.progress = transcript.Progress{Order: o, Head: r.order.Hash(), Last: o.At}
	r.steps = nil
	for {
		b, err := r.Store.Get(stepName(o.Number, len(r.steps)+1))
		if errors.Is(err, fs.ErrNotExist) {
			r.resumed = r.resumed || len(r.steps) > 0
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if _, err := r.progress.Take(b); err != nil {
			return false, fmt.Errorf("reading %q: %w", stepName(o.Number, len(r.steps)+1), err)
		}
		r.steps = append(r.steps, b)
	}
}

// genesis makes the officer register in the first ceremony: everybody in it signs it.
func (r *run) genesis(ctx context.Context) error {
	if len(r.register) > 0 {
		return nil
	}
	g := statement.Genesis{Env: r.Plan.Env, Site: r.Plan.Site, At: r.now(), Officers: r.Plan.Officers}
	if _, err := io.ReadFull(r.Rand, g.Nonce[:]); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	body, err := g.Encode()
	if err != nil {
		return err
	}
	s := statement.Signed{Body: body}
	for _, o := range g.Officers {
		if err := r.Room.Sign(ctx, o.ID, &s); err != nil {
			return fmt.Errorf("having the officer register signed by %q: %w", o.ID, err)
		}
	}
	if _, err := statement.NewRegister([32]byte{}, []statement.Signed{s}); err != nil {
		return err
	}
	if err := r.Store.Put(registerName(1), s.Encode()); err != nil {
		return err
	}
	r.register = []statement.Signed{s}
	return nil
}

// registerNow is the officer register by all that is on disk. In the first ceremony it must be the plan's.
func (r *run) registerNow() (*statement.Register, error) {
	reg, err := statement.NewRegister(r.Plan.RegisterPin, r.register)
	if err != nil {
		return nil, err
	}
	if r.Plan.Number == 1 && len(r.register) == 1 {
		same := func(a, b statement.Officer) bool {
			return a.ID == b.ID && a.Person == b.Person && a.Role == b.Role && a.Key.Equal(b.Key)
		}
		planned := slices.SortedFunc(slices.Values(r.Plan.Officers), func(a, b statement.Officer) int { return compare(a.ID, b.ID) })
		if !slices.EqualFunc(reg.Officers(), planned, same) {
			return nil, errors.New("the officer register on disk is not the plan's: an earlier plan began it; use a new inventory folder")
		}
	}
	return reg, nil
}

func compare(a, b perso.Name) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// registerAt is the officer register up to a head.
func (r *run) registerAt(head [32]byte) (*statement.Register, error) {
	n := slices.IndexFunc(r.register, func(s statement.Signed) bool { return s.Hash() == head })
	if n < 0 {
		return nil, fmt.Errorf("the order was made under register %x, which is not on disk", head)
	}
	return statement.NewRegister(r.Plan.RegisterPin, r.register[:n+1])
}

// sign collects the signatures of everybody present, and verifies them as the vault does: against the register, not
// against what the room says.
func (r *run) sign(ctx context.Context, body []byte, reg *statement.Register) (statement.Signed, error) {
	s := statement.Signed{Body: body}
	for _, id := range r.Plan.Present {
		if err := r.Room.Sign(ctx, id, &s); err != nil {
			return s, fmt.Errorf("officer %q: %w", id, err)
		}
	}
	if !slices.Equal(s.Body, body) {
		return s, errors.New("the text was changed while it was signed")
	}
	return s, transcript.Authorized(s, r.Plan.Present, reg)
}

// Check is what the plan alone shows of whether it can be carried out: Run asks it before anybody signs, a reviewer before
// anybody comes. Before the first ceremony that is all there is but the token; later, register and inventory decide as well.
func Check(p *plan.Plan) error {
	o := p.Order([32]byte{}, p.NotAfter, [32]byte{})
	if p.Number > 1 {
		return o.CheckPresent()
	}
	reg, err := statement.Genesis{Env: p.Env, Site: p.Site, At: o.At, Officers: p.Officers}.Rehearse()
	if err != nil {
		return fmt.Errorf("the officers of the plan: %w", err)
	}
	o.Register = reg.Head
	return errors.Join(o.CheckPeople(reg), dryRun(o, reg, &transcript.Inventory{}))
}

// dryRun tries all acts out on a copy of the inventory and on the register: a plan that could not be finished is not begun.
func dryRun(o transcript.Order, reg *statement.Register, inv *transcript.Inventory) error {
	inv = inv.Clone()
	var errs []error
	var changes []statement.Change
	for i, a := range o.Acts {
		if a.Op.OnOfficers() {
			changes = append(changes, change(a))
		}
		if err := inv.Apply(a, transcript.Done{Ceremony: o.Number, At: o.At}); err != nil {
			errs = append(errs, fmt.Errorf("step %d of the plan: %w", i+1, err))
		}
	}
	return errors.Join(append(errs, reg.Rehearse(changes))...)
}

// look compares the token with the inventory before the first step.
func (r *run) look(ctx context.Context) error {
	c, err := census.Take(ctx, r.Token, r.chain.Inventory, r.Plan.Env, r.Lots)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range c.Alarms() {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrToken, l.Key, l.What))
	}
	return errors.Join(errs...)
}

// now is the clock, never before the last record and in the record's precision.
func (r *run) now() time.Time {
	now := r.Now().UTC().Truncate(time.Microsecond)
	for _, last := range []time.Time{r.progress.Last, r.chain.LastTime()} {
		if now.Before(last) {
			now = last
		}
	}
	return now
}

// end has the whole signed, verifies it as an auditor would, and writes it.
func (r *run) end(ctx context.Context, how transcript.Outcome) (Result, error) {
	o := r.progress.Order
	reg, err := statement.NewRegister(r.Plan.RegisterPin, r.register)
	if err != nil {
		return Result{}, err
	}
	before, err := r.registerAt(o.Register)
	if err != nil {
		return Result{}, err
	}
	body, err := transcript.End{Env: o.Env, Site: o.Site, Ceremony: o.Ceremony, Number: o.Number, Order: r.order.Hash(), Prev: r.progress.Head,
		Steps: r.progress.Steps, Register: reg.Head, At: r.now(), Outcome: how}.Encode()
	if err != nil {
		return Result{}, err
	}
	signed, err := r.sign(ctx, body, before)
	if err != nil {
		return Result{}, fmt.Errorf("having the end signed: %w", err)
	}
	f := transcript.File{Register: r.register, Order: r.order, Steps: r.steps, End: signed}
	if _, err := r.chain.Follow(f); err != nil {
		return Result{}, fmt.Errorf("verifying the transcript: %w", err)
	}
	// COMMIT POINT: from here on the inventory has this ceremony.
	if err := r.Store.Put(transcriptName(o.Number), f.Encode()); err != nil {
		return Result{}, err
	}
	return r.result(), nil
}

// result tells of the last ceremony of the chain.
func (r *run) result() Result {
	out := Result{File: transcriptName(r.chain.Number), RegisterPin: r.chain.Register.Pin, Resumed: r.resumed}
	if b, err := r.Store.Get(out.File); err == nil {
		if f, err := transcript.Decode(b); err == nil {
			out.Told, _ = transcript.NewPartial(out.RegisterPin).Follow(f)
		}
	}
	out.Public = r.publicNames(out.Told)
	return out
}

// publicKey reads the public half of a pair.
func (r *run) publicKey(ctx context.Context, l transcript.Label) (crypto.PublicKey, error) {
	k, err := hsm.ParseKey(string(l))
	if err != nil {
		return nil, err
	}
	return r.Token.Public(ctx, k)
}
