package conduct

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony/census"
	"github.com/persoline/persoline/keygen/ceremony/share"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// maxTries is how often a custodian may enter one component. It is typed by hand, 32 digits at a time.
const maxTries = 3

// noteBroken marks an act whose outcome was recorded by a later run.
const noteBroken = "gone on with after a break"

// noteTaken follows noteBroken where the key was on the token in a state in which nobody could use it.
const noteTaken = "; a key that could not be used was taken away"

// act does one act of the order: components first, which leave nothing; then the intent, the deed, the outcome.
func (r *run) act(ctx context.Context, n uint64) error {
	a := r.progress.Order.Acts[n-1]
	whole, err := r.whole(ctx, a)
	defer whole.Wipe()
	if err != nil {
		return err
	}
	if err := r.record(n, transcript.PhaseIntent, "", ""); err != nil {
		return err
	}
	return r.perform(ctx, n, whole, "")
}

// again goes on with an act whose intent is on disk and whose outcome is not.
func (r *run) again(ctx context.Context) error {
	n := r.progress.Act
	a := r.progress.Order.Acts[n-1]
	whole, err := r.whole(ctx, a)
	defer whole.Wipe()
	if err == nil {
		err = r.perform(ctx, n, whole, noteBroken)
	}
	if err != nil {
		return fmt.Errorf("going on with step %d of the plan, %s of %q: %w", n, a.Op, a.Subject(), err)
	}
	return nil
}

// perform does the deed and records it.
func (r *run) perform(ctx context.Context, n uint64, whole secret.Bytes, note string) error {
	a := r.progress.Order.Acts[n-1]
	result, more, err := r.deed(ctx, a, whole, note != "")
	if err != nil {
		return err
	}
	return r.record(n, transcript.PhaseDone, result, note+more)
}

// deed changes the token, or finds it changed when it was tried before, and says what the key is known by, and what more is to be noted.
func (r *run) deed(ctx context.Context, a transcript.Act, whole secret.Bytes, tried bool) (result, more string, err error) {
	switch a.Op {
	case transcript.OpGenerate:
		return r.generate(ctx, a, tried)
	case transcript.OpImport:
		result, err = r.importKey(ctx, a, whole, tried)
	case transcript.OpSealOP:
		result, err = r.sealOP(ctx, a, whole, tried)
	case transcript.OpRequest:
		result, err = r.request(ctx, a)
	case transcript.OpDestroy:
		err = r.destroy(ctx, a, tried)
	case transcript.OpAdd, transcript.OpRevoke:
		result, err = r.changeRegister(ctx, a)
	}
	return result, "", err // suspend, resume, retire and sign-off are words alone
}

func (r *run) generate(ctx context.Context, a transcript.Act, tried bool) (result, more string, err error) {
	k, err := hsm.ParseKey(string(a.Key))
	if err != nil {
		return "", "", err
	}
	has := false
	if tried { // made inside by the run before: the label was free when the order was signed
		if has, more, err = r.survived(ctx, k); err != nil {
			return "", "", err
		}
	}
	if !has {
		if err := r.Token.Generate(ctx, k); err != nil {
			return "", "", err
		}
	}
	local, err := r.Token.Local(ctx, k)
	if err == nil && !local {
		err = notInside(k)
	}
	if err == nil {
		result, err = census.Check(ctx, r.Token, k)
	}
	return result, more, err
}

func notInside(k hsm.Key) error {
	return fmt.Errorf("%w: key %q was not made inside the token", ErrToken, k)
}

// survived reports whether the run before made the key, and takes away what it made only half, which is to be noted: a token that died
// between the objects of a pair has a public key without a private one, and one that wrote a key's attributes before its value has a
// key that was not made inside and is refused to whoever uses it. One that can be used somebody brought meanwhile: it is no such key, and
// stays where people can look at it.
func (r *run) survived(ctx context.Context, k hsm.Key) (has bool, more string, err error) {
	if has, err = r.Token.Has(ctx, k); has {
		local := false
		if local, err = r.Token.Local(ctx, k); local {
			return true, "", nil
		}
		if err == nil {
			err = r.tryOut(ctx, k)
		}
		if err == nil {
			return false, "", notInside(k)
		}
	}
	if err != nil && !errors.Is(err, hsm.ErrRefused) {
		return false, "", err
	}
	if err = r.Token.Destroy(ctx, k); errors.Is(err, hsm.ErrNotFound) {
		return false, "", nil
	}
	return false, noteTaken, err
}

// tryOut uses a key that may be imported: ErrRefused says that it has no value.
func (r *run) tryOut(ctx context.Context, k hsm.Key) (err error) {
	if k.Admit(hsm.VerbKCV, 0) == nil {
		_, err = r.Token.KCV(ctx, k)
		return err
	}
	_, err = r.Token.Seal(ctx, k, secret.New([]byte{0}), nil) // a seal key, which shows nothing
	return err
}

func (r *run) importKey(ctx context.Context, a transcript.Act, whole secret.Bytes, tried bool) (string, error) {
	k, err := hsm.ParseKey(string(a.Key))
	if err != nil {
		return "", err
	}
	if tried { // an import is the same key each time: what may be there is replaced, not trusted
		if err := r.erase(ctx, k); err != nil {
			return "", err
		}
	}
	want, err := share.TokenCheck(a.Key.Class(), whole)
	if err != nil {
		return "", err
	}
	if err := r.Token.Import(ctx, k, whole); err != nil {
		return "", err
	}
	got, err := r.Token.KCV(ctx, k)
	if err == nil && got != want {
		err = fmt.Errorf("%w: on the token it is %x, of the components %x", share.ErrKCV, got, want)
		err = errors.Join(err, r.erase(ctx, k))
	}
	if err != nil {
		return "", err
	}
	return "kcv:" + hex.EncodeToString(got[:]), nil
}

func (r *run) erase(ctx context.Context, k hsm.Key) error {
	if err := r.Token.Destroy(ctx, k); err != nil && !errors.Is(err, hsm.ErrNotFound) {
		return err
	}
	return nil
}

func (r *run) destroy(ctx context.Context, a transcript.Act, tried bool) error {
	if a.Key.Class() == transcript.ClassOP {
		return errors.New("a sealed operator key is destroyed with the seal key that it rests under")
	}
	k, err := hsm.ParseKey(string(a.Key))
	if err != nil {
		return err
	}
	if err := r.Token.Destroy(ctx, k); err != nil && (!tried || !errors.Is(err, hsm.ErrNotFound)) {
		return err
	}
	has, err := r.Token.Has(ctx, k)
	if err == nil && has {
		err = fmt.Errorf("%w: key %q is still there", ErrToken, k)
	}
	return err
}

// sealOP keeps an operator key under the site's seal key, as the vault opens it.
func (r *run) sealOP(ctx context.Context, a transcript.Act, whole secret.Bytes, tried bool) (string, error) {
	keys, err := keygen.SiteKeys(r.Plan.Env, r.Plan.Site)
	if err != nil {
		return "", err
	}
	want, err := share.Check(transcript.ClassOP, whole)
	if err != nil {
		return "", err
	}
	aad := keygen.OPContext(r.Plan.Env, a.Key.ID())
	sealed, err := r.OPs.SealedOP(a.Key.ID())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if sealed, err = r.Token.Seal(ctx, keys.Seal, whole, aad); err == nil {
			err = r.OPs.Put(a.Key.ID(), sealed)
		}
	case err == nil && !tried:
		err = fmt.Errorf("an operator key %q is there already", a.Key.ID())
	}
	if err != nil {
		return "", err
	}
	opened, err := r.Token.Unseal(ctx, keys.Seal, sealed, aad)
	defer opened.Wipe()
	if err == nil && !opened.Equal(whole) {
		err = fmt.Errorf("the sealed operator key %q is another: move the file away", a.Key.ID())
	}
	if err != nil {
		return "", err
	}
	return "kcv:" + hex.EncodeToString(want[:]), nil
}

// change is an act on the register as a statement without place and time.
func change(a transcript.Act) statement.Change {
	c := statement.Change{Kind: statement.KindAdd, Officer: a.Person[0]}
	if a.Op == transcript.OpRevoke {
		c.Kind = statement.KindRevoke
	}
	return c
}

// changeRegister has an addition or a revocation signed, and takes it into the register.
func (r *run) changeRegister(ctx context.Context, a transcript.Act) (string, error) {
	before, err := r.registerAt(r.progress.Order.Register)
	if err != nil {
		return "", err
	}
	reg, err := statement.NewRegister(r.Plan.RegisterPin, r.register)
	if err != nil {
		return "", err
	}
	if s, ok := r.changed(a); ok {
		return transcript.StatementResult(s), nil
	}
	c := change(a)
	c.Prev, c.At = reg.Head, r.now()
	if _, err := io.ReadFull(r.Rand, c.Nonce[:]); err != nil {
		return "", fmt.Errorf("drawing a nonce: %w", err)
	}
	body, err := c.Encode()
	if err != nil {
		return "", err
	}
	signed, err := r.sign(ctx, body, before)
	if err != nil {
		return "", err
	}
	grown := append(append([]statement.Signed{}, r.register...), signed)
	if _, err := statement.NewRegister(r.Plan.RegisterPin, grown); err != nil {
		return "", err
	}
	if err := r.Store.Put(registerName(len(grown)), signed.Encode()); err != nil {
		return "", err
	}
	r.register = grown
	return transcript.StatementResult(signed), nil
}

// changed finds the statement of an act whose outcome was not recorded: it is the last on disk, and no step tells of it.
func (r *run) changed(a transcript.Act) (statement.Signed, bool) {
	told := map[string]bool{}
	for _, b := range r.steps {
		if s, err := transcript.ParseStep(b); err == nil {
			told[s.Result] = true
		}
	}
	if len(r.register) <= len(r.chain.Statements()) || len(r.register) == 1 {
		return statement.Signed{}, false
	}
	last := r.register[len(r.register)-1]
	if told[transcript.StatementResult(last)] || last.Hash() == r.progress.Order.Register {
		return statement.Signed{}, false
	}
	return last, true
}

// whole asks every custodian for his component and joins them. Whatever goes wrong, nothing is left.
func (r *run) whole(ctx context.Context, a transcript.Act) (whole secret.Bytes, err error) {
	if !a.Op.ByComponents() {
		return whole, nil
	}
	var components []secret.Bytes
	defer func() {
		for _, c := range components {
			c.Wipe()
		}
	}()
	for _, held := range a.Copies {
		c, err := r.component(ctx, a, held)
		if err != nil {
			return whole, err
		}
		components = append(components, c)
	}
	if whole, err = share.Join(components); err != nil {
		return whole, err
	}
	kcv, err := share.Check(a.Key.Class(), whole)
	if err == nil && a.KCV != "" && hex.EncodeToString(kcv[:]) != a.KCV {
		err = fmt.Errorf("%w: the joined key has %x, its sender says %s", share.ErrKCV, kcv, a.KCV)
	}
	if err != nil {
		whole.Wipe()
	}
	return whole, err
}

// component asks one custodian, and again when it was mistyped.
func (r *run) component(ctx context.Context, a transcript.Act, held transcript.Copy) (secret.Bytes, error) {
	who, ok := r.Plan.Custodian(held.Holder)
	if !ok {
		return secret.Bytes{}, fmt.Errorf("%q is no custodian", held.Holder)
	}
	var last error
	for try := 1; try <= maxTries; try++ {
		c, err := r.Room.Component(ctx, Request{Key: a.Key, Custodian: who, Bytes: int(a.Bytes), KCV: held.KCV, Try: try})
		if err == nil {
			err = share.Verify(a.Key.Class(), c, held.KCV, int(a.Bytes))
		}
		if err == nil {
			return c, nil
		}
		c.Wipe()
		last = fmt.Errorf("component of %q: %w", held.Holder, err)
		if !errors.Is(err, share.ErrKCV) && !errors.Is(err, share.ErrComponent) {
			break
		}
	}
	return secret.Bytes{}, last
}

// settle finds out whether an act that is given up was done. What is neither seen nor recorded was not done.
func (r *run) settle(ctx context.Context) error {
	n := r.progress.Act
	a := r.progress.Order.Acts[n-1]
	more := ""
	switch {
	case a.Op == transcript.OpGenerate || a.Op == transcript.OpDestroy:
		k, err := hsm.ParseKey(string(a.Key))
		if err != nil {
			return err
		}
		has := false
		if a.Op == transcript.OpGenerate {
			has, more, err = r.survived(ctx, k)
		} else {
			has, err = r.Token.Has(ctx, k)
		}
		if err != nil {
			return err
		}
		if has == (a.Op == transcript.OpGenerate) {
			return r.perform(ctx, n, secret.Bytes{}, noteBroken)
		}
	case a.Op == transcript.OpImport:
		k, err := hsm.ParseKey(string(a.Key))
		if err != nil {
			return err
		}
		if err := r.erase(ctx, k); err != nil {
			return err
		}
	case a.Op.OnOfficers():
		if _, ok := r.changed(a); ok {
			return r.perform(ctx, n, secret.Bytes{}, noteBroken)
		}
	case a.Op == transcript.OpSealOP:
		if _, err := r.OPs.SealedOP(a.Key.ID()); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(fmt.Errorf("operator key %q may be sealed: run the plan again, or move its file away and give up then", a.Key.ID()), err)
		}
	}
	return r.record(n, transcript.PhaseUndone, "", noteBroken+more)
}

// record makes one step durable.
func (r *run) record(n uint64, phase transcript.Phase, result, note string) error {
	a := r.progress.Order.Acts[n-1]
	s := transcript.Step{N: r.progress.Steps + 1, Prev: r.progress.Head, At: r.now(), Phase: phase, Act: n, Op: a.Op, Key: a.Subject(),
		Result: result, Note: note, By: r.people(a)}
	b, err := s.Encode()
	if err != nil {
		return err
	}
	if err := r.Store.Put(stepName(r.progress.Order.Number, len(r.steps)+1), b); err != nil {
		return err
	}
	if _, err := r.progress.Take(b); err != nil {
		return err
	}
	r.steps = append(r.steps, b)
	r.Room.Step(s)
	return nil
}

// people are who did an act: the officers present, and the custodians who entered or saw something.
func (r *run) people(a transcript.Act) []perso.Name {
	who := append([]perso.Name{}, r.Plan.Present...)
	add := func(id perso.Name) {
		for _, w := range who {
			if w == id {
				return
			}
		}
		who = append(who, id)
	}
	if a.Op.ByComponents() {
		for _, c := range a.Copies {
			add(c.Holder)
		}
	}
	for _, id := range a.By {
		add(id)
	}
	return who
}
