package keygen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/sealing"
	"github.com/persoline/persoline/perso/tlv"
)

// Steps that are not in the script, as they are named in a failure.
const (
	stepInitialize   = "initialize-update"
	stepAuthenticate = "external-authenticate"
)

// failure is a chip that did not answer as it must.
type failure bus.Failed

func (f failure) Error() string {
	return fmt.Sprintf("step %q failed: %s, status %04X", f.Step, f.Reason, f.SW)
}

// run serves one act of one card: from the transcript to the next window or the verdict.
type run struct {
	ctx      context.Context
	v        *Vault
	l        *lot
	item     *bus.ServeItem
	place    int // of the item in its request
	claim    entry.Claim
	act      entry.Act
	previous *rendered // what was served for this act before, if anything

	proven bool    // the verdict is good
	past   history // what other acts of the claim came to
	vars   *variables
	host   channel
	onCard bool // the session runs on the card's own keys

	binding *stateKey
	state   state

	opening sealing.Opening // of a chip without a secure channel (plain.go)
	closed  []byte          // its window, sealed
	output  [32]byte        // what its receipt names that by

	cert    []byte // chosen or signed, whole
	ki      []byte // on record or drawn, sealed; of a lot with random Ki
	window  []bus.Play
	objects []object // what the chip said to the package of the last window
	stored  *bus.Stored

	end    error  // a failure, a refusal, or why nothing was decided
	sealed []byte // the state
}

// play decides the act. Its error is a failure, a refusal, or means that nothing was decided.
func (r *run) play() error {
	if err := r.open(); err != nil {
		return err
	}
	if r.act.N == 0 {
		return r.first()
	}
	var err error
	if r.state, err = openState(r.binding, r.act.N, r.item.State); err != nil {
		return err
	}
	if err := r.resumeKi(); err != nil {
		return err
	}
	r.vars.stamp = stampOf(r.vars.hash, r.state.Stamp)
	for name, value := range r.state.Carried {
		r.vars.carried[name] = value
	}
	if err := r.resume(); err != nil {
		return err
	}
	if err := r.judge(); err != nil {
		return err
	}
	return r.render(int(r.state.Act) + 1)
}

// resume puts the secure channel, if the chip has one, where the last window left it.
func (r *run) resume() error {
	if r.l.plain() {
		return nil
	}
	last, _, ok := r.state.Last.take()
	if !ok {
		return fmt.Errorf("resuming session %s: the state has no place in it", r.act.Session)
	}
	if err := r.host.Resume(r.l.terms.level(), last); err != nil {
		return fmt.Errorf("resuming session %s: %w", r.act.Session, err)
	}
	return nil
}

// open rebuilds the secure channel from its transcript. That the card cryptogram fits is proven before anything leaves.
func (r *run) open() error {
	if r.l.plain() {
		return r.openPlain()
	}
	host, err := r.l.proveCommand(r.item.Command, r.act.Serial)
	if err != nil {
		return err
	}
	data, sw, err := apdu.SWOf(r.item.Answer)
	if err != nil || !sw.OK() {
		return failure{Reason: perso.ReasonStatus, Step: stepInitialize, SW: uint16(sw), Again: true}
	}
	said, update, err := r.l.parseUpdate(data)
	if err != nil {
		return failure{Reason: perso.ReasonData, Step: stepInitialize, SW: uint16(sw), Again: true}
	}
	if err := r.sameChip(said.KDD); err != nil {
		return err
	}
	keys, err := r.staticKeys(said)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	r.host, err = update.open(keys, host, r.l.constants["AID.ISD"])
	if errors.Is(err, scp.ErrCryptogram) {
		return failure{Reason: perso.ReasonCryptogram, Step: stepInitialize, SW: uint16(sw), Again: true}
	}
	if err != nil {
		return fmt.Errorf("opening session %s: %w", r.act.Session, err)
	}
	r.vars.host = r.host
	r.binding, err = newStateKey(r.host, r.act.Session, r.vars.hash)
	return err
}

// sameChip compares the chip's own word with the claim: in INITIALIZE UPDATE, and where the product is identified by CPLC
// also in what the line read before.
func (r *run) sameChip(kdd [10]byte) error {
	if chip, err := id.ChipIDFromBytes(kdd[:]); err != nil || chip != r.claim.Chip {
		return refuse("chip %x is not the claimed one", kdd)
	}
	if r.act.N > 0 || r.l.release.ChipID != "cplc" {
		return nil
	}
	for i := range r.l.script.Identify {
		if r.l.script.Identify[i].Purpose != script.PurposeChip || i >= len(r.item.Responses) {
			continue
		}
		data, _, err := apdu.SWOf(r.item.Responses[i])
		if err != nil {
			continue
		}
		cplc, found, err := tlv.Find(data, 0x9F7F)
		if err != nil || !found {
			continue
		}
		if chip, err := id.ChipIDFromCPLC(cplc); err == nil && chip == r.claim.Chip {
			return nil
		}
	}
	return refuse("identification does not show chip %s", r.claim.Chip)
}

// staticKeys chooses by the key version that the card used: the maker's, diversified in one HSM operation, or its own.
func (r *run) staticKeys(said scp.Presented) (scp.StaticKeys, error) {
	switch said.KVN {
	case r.l.release.FactoryKVN:
		if r.past.good && !r.answered() { // its keys were replaced: this is a second chip of that name, and it would become a clone
			return scp.StaticKeys{}, refuse("%s: chip %s is good and shows the maker's keys", perso.ReasonTwin, r.claim.Chip)
		}
		in, err := r.l.diversify(said.KDD)
		if err != nil {
			return scp.StaticKeys{}, err
		}
		out, err := r.v.cfg.Token.EncryptECB(r.ctx, r.l.kmc, in[:])
		if err != nil {
			return scp.StaticKeys{}, fmt.Errorf("diversifying maker's key %q: %w", r.l.release.KMC, err)
		}
		return scp.StaticKeys{ENC: out[:16], MAC: out[16:32], DEK: out[32:48]}, nil
	case r.l.release.CardKVN:
		r.onCard = true
		k, err := r.vars.derived()
		if err != nil {
			return scp.StaticKeys{}, err
		}
		own := k.isd() // the channel's copy is wiped before the card's keys are
		return scp.StaticKeys{ENC: bytes.Clone(own.ENC), MAC: bytes.Clone(own.MAC), DEK: bytes.Clone(own.DEK)}, nil
	}
	return scp.StaticKeys{}, failure{Reason: perso.ReasonCryptogram, Step: stepInitialize, SW: uint16(apdu.SWOK)}
}

// answered says whether this very act had a window or the verdict before: what left then leaves again. An act that failed stays failed.
func (r *run) answered() bool {
	return r.previous != nil && slices.Contains([]string{entry.ResultScript, entry.ResultGood, entry.ResultGoodAgain}, r.previous.receipt.Result)
}

// first opens the channel and sends the open phase.
func (r *run) first() error {
	if !r.l.plain() {
		command, err := r.host.ExternalAuthenticate(r.l.terms.level())
		if err != nil {
			return failure{Reason: perso.ReasonData, Step: stepInitialize, SW: uint16(apdu.SWOK)} // a chip without this level
		}
		r.window = []bus.Play{{APDU: command, SW: apdu.ExactMask(apdu.SWOK).String()}}
	}
	r.state = state{Captures: map[string][]byte{}, Stamp: r.chooseStamp()}
	r.vars.stamp = stampOf(r.vars.hash, r.state.Stamp)
	if err := r.takeKi(); err != nil {
		return err
	}
	if r.injects() {
		if err := r.takePair(); err != nil {
			return err
		}
	}
	return r.render(0)
}

// render makes the next window: of act n, or of the next one of which the chip needs anything. Behind the last act comes
// the verdict, and nothing else ends a session well: an empty window proves nothing.
func (r *run) render(n int) error {
	for ; n < len(r.l.script.Acts); n++ {
		if err := r.renderAct(n); err != nil {
			return err
		}
		if len(r.window) == 0 {
			continue
		}
		if !r.l.plain() {
			r.state.Last = marks(nil).add(r.host.Mark())
		}
		if err := r.vars.carry(); err != nil {
			return err
		}
		r.state.Carried = r.vars.carried
		return nil
	}
	return r.verdict()
}

// renderAct decides which sections of an act the chip needs, fills them and wraps them for this session.
func (r *run) renderAct(n int) error {
	skip, err := r.decide(n)
	if err != nil {
		return err
	}
	commands, err := r.l.script.Render(n, skip, r.vars)
	if err != nil {
		return r.unbound(err)
	}
	defer script.Wipe(commands)
	r.state.N, r.state.Act, r.state.Skip, r.state.Marks, r.state.Loading = r.act.N, uint8(n), skip, nil, r.vars.sent()
	for _, c := range commands {
		mask := c.Step.SW.String()
		if !c.Step.Secure || r.l.plain() {
			r.window = append(r.window, bus.Play{APDU: c.APDU.Bytes(), SW: mask})
			r.state.Secrets = r.state.Secrets || holdsSecret(c.Step)
			continue
		}
		wrapped, m, err := r.host.Wrap(c.APDU)
		if err != nil {
			return fmt.Errorf("wrapping step %q: %w", c.Step.Label, err)
		}
		r.state.Marks = r.state.Marks.add(m)
		r.window = append(r.window, bus.Play{APDU: wrapped, SW: mask})
		r.state.Secrets = r.state.Secrets || holdsSecret(c.Step)
	}
	return nil
}

// decide says which sections of an act are left out.
func (r *run) decide(n int) ([]bool, error) {
	r.vars.deciding = true
	defer func() { r.vars.deciding = false }()
	if n > 0 {
		if err := r.mayWrite(); err != nil {
			return nil, err
		}
	}
	r.vars.captures = r.state.Captures
	skip, err := r.l.script.Skip(n, r.state.Captures, map[string]bool{whenECKA: r.needsKey(), whenStamp: r.stampsHere(), whenInject: r.injects(), whenPIN1: r.l.release.PIN1 != ""}, r.vars)
	if err != nil {
		return nil, r.unbound(err)
	}
	for i := range skip {
		sec := &r.l.script.Acts[n][i]
		if sec.When == whenECKA && !skip[i] && r.past.good && !r.answered() {
			return nil, refuse("unit %d is good with the key pair and the certificate that it has, and gets no others", r.claim.Unit)
		}
		// What an earlier session may have begun, and what is never done twice, cannot be mended.
		if sec.Redo == script.RedoNever && !skip[i] && (r.past.wroteBefore(r.act.Serial) || r.act.Present != r.claim.Present) {
			return nil, failure{Reason: perso.ReasonData, Step: sec.Name}
		}
	}
	return skip, nil
}

// tagChipKey is how the chip OS reports the public key of its ECASD pair.
const tagChipKey = 0xDF30

// needsKey says whether the chip must make a key pair: not when it reports the pair that the certificate on record is for.
func (r *run) needsKey() bool {
	if len(r.item.Stored.Key) != pointBytes {
		return true
	}
	reported := tlv.Encode(tagChipKey, r.item.Stored.Key)
	for _, answer := range r.state.Captures {
		if bytes.Contains(answer, reported) {
			return false
		}
	}
	return true
}

// unbound turns a value that the chip has no right to into what it is: the chip showed no key to certify, or said less than
// the script takes out of its answer.
func (r *run) unbound(err error) error {
	switch {
	case errors.Is(err, errNoCertificate):
		return failure{Reason: perso.ReasonPossession, Step: "certificate"}
	case errors.Is(err, script.ErrShortAnswer):
		return failure{Reason: perso.ReasonData, Step: "probe"}
	}
	return err
}

// certificate chooses: the one on record when it is for the chip's key, the one signed when this act was served before,
// else a new one, which the ledger must store before the window leaves (I1: ECDSA in an HSM is randomized).
func (r *run) certificate() ([]byte, error) {
	if r.cert != nil {
		return r.cert, nil
	}
	key, stored := r.state.Key, r.item.Stored
	if key == nil {
		if len(stored.Cert) == 0 || r.needsKey() {
			return nil, errNoCertificate
		}
		key = stored.Key
	}
	if bytes.Equal(key, stored.Key) {
		if err := r.v.checkCertificate(stored.Cert, r.claim.EID, key); err != nil {
			return nil, err
		}
		r.cert = stored.Cert
		return r.cert, nil
	}
	if r.l.injectsKey() {
		return nil, refuse("certificate on record is not for the key pair of session %s", r.act.Session)
	}
	if r.vars.deciding {
		return nil, errNoCertificate
	}
	if r.previous != nil && bytes.Equal(key, r.previous.Key) {
		r.cert = r.previous.Cert
	} else {
		var err error
		if r.cert, err = r.v.certify(r.ctx, r.claim.EID, key, r.v.cfg.Now().UTC()); err != nil {
			return nil, err
		}
	}
	r.keep().Cert, r.keep().Key = r.cert, key
	return r.cert, nil
}

// holdsSecret says whether a step sends a secret of the card; its maker's code is none.
func holdsSecret(st *script.Step) bool {
	for _, g := range st.Body {
		if g.Var != nil && (g.Var.Form == script.DEK || g.Var.Form == script.Secret || g.Var.Form == script.Sealed) && g.Var.Name != varTransport {
			return true
		}
	}
	return false
}
