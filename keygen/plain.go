package keygen

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/sealing"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/tlv"
)

// A chip without a secure channel is written under its maker's code, by a line that reads what it plays.
//
// The session is opened by the worker: a challenge of the vault, used once, and the public key of a pair that he made for this
// one presentation, with the chip's own word who it is. The act entry in the log names the session, so it names the key. Each
// window is sealed to that key and bound to lot, unit, generation, chip, presentation, session, act and script
// (perso/sealing); a new presentation has a new key, and gets the same content again, since that is a function of the claim.
//
// No answer is bound to the chip. So the state of a session, which holds what the chip said, is sealed under keys of the lot's own,
// and what the proofs are worth is said wherever they are told: they trust the line.

// plain says that the lot's chips have no secure channel.
func (l *lot) plain() bool { return l.terms.channel == product.ChannelADM }

// openSealing derives the key that the keys of such sessions come from.
func (v *Vault) openSealing(ctx context.Context, l *lot) error {
	if !l.plain() {
		return nil
	}
	key, err := v.cfg.Token.MAC(ctx, l.key, kdfInput(labelSealing, []byte(l.release.Lot)))
	defer clear(key[:])
	if err != nil {
		return fmt.Errorf("deriving keys of lot %q: %w", l.release.Lot, err)
	}
	l.sealing = secret.New(key[:])
	return nil
}

// sessionKey is a key that only this session of this claim has, for one use.
func (r *run) sessionKey(use string) (key [sha256.Size]byte, err error) {
	err = r.l.sealing.Reveal(func(parent []byte) error {
		h := hmac.New(sha256.New, parent)
		h.Write([]byte(use))
		h.Write([]byte{0})
		h.Write(r.act.Session[:])
		h.Write(r.vars.hash[:])
		h.Sum(key[:0])
		return nil
	})
	return key, err
}

// openPlain takes up a session without a secure channel.
func (r *run) openPlain() error {
	var err error
	if r.opening, err = r.l.proveOpening(r.item.Command, r.act.Serial); err != nil {
		return err
	}
	if chip, err := cplcChip(r.item.Answer); err != nil || chip != r.claim.Chip {
		return refuse("identification does not show chip %s", r.claim.Chip)
	}
	switch good := r.past.good && !r.answered(); {
	case good && r.act.N > 0:
		// A good chip that comes back has shown its stamp. Nothing that it says is bound to it, so whoever puts himself in the ledger's
		// place, with a key of his own, would have its secrets until the lot's key is gone.
		return refuse("unit %d is good: what is on its chip is sent to nobody again", r.claim.Unit)
	case good && !r.identifiesAs(stampOf(r.vars.hash, r.past.session)):
		return failure{Reason: perso.ReasonTwin, Step: whenStamp} // a second chip of that name: it would become a clone
	}
	state, err := r.sessionKey(labelState)
	defer clear(state[:])
	if err != nil {
		return err
	}
	hide, err := r.sessionKey(labelHide)
	defer clear(hide[:])
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(hide[:])
	if err != nil {
		return err
	}
	r.binding = &stateKey{session: r.act.Session, claim: r.vars.hash, hash: hmac.New(sha256.New, state[:]), cipher: block}
	return nil
}

// proveOpening checks that the session was opened with the challenge of the act's serial number.
func (l *lot) proveOpening(command []byte, serial uint64) (o sealing.Opening, err error) {
	if o, err = sealing.ParseOpening(command); err != nil {
		return o, refuse("%v", err)
	}
	var want [32]byte
	if err := l.challenge.Reveal(func(key []byte) error {
		want = challenge(key, serial)
		return nil
	}); err != nil {
		return o, err
	}
	if o.Challenge != [sealing.ChallengeBytes]byte(want[:challengeBytes]) {
		return o, refuse("host challenge is not number %d of the lot", serial)
	}
	return o, nil
}

// cplcChip reads the chip's id from an answer to GET DATA 9F7F.
func cplcChip(answer []byte) (id.ChipID, error) {
	data, sw, err := apdu.SWOf(answer)
	if err != nil || !sw.OK() {
		return id.ChipID{}, fmt.Errorf("reading CPLC: status %04X", uint16(sw))
	}
	cplc, found, err := tlv.Find(data, 0x9F7F)
	if err != nil || !found {
		return id.ChipID{}, fmt.Errorf("reading CPLC: it is not in the answer")
	}
	return id.ChipIDFromCPLC(cplc)
}

// identifiesAs says whether the chip showed a stamp before anything was opened.
func (r *run) identifiesAs(s stamp) bool {
	for _, answer := range r.item.Responses {
		if bytes.Contains(answer, s[:]) {
			return true
		}
	}
	return false
}

// sealWindow seals what the act plays to the worker's key, and wipes it. The receipt names it by a MAC under a key of the lot: the
// sealed bytes differ each time, and a bare hash of secrets is nothing to show around.
func (r *run) sealWindow() error {
	defer sealing.Wipe(r.window)
	b := sealing.Binding{Lot: r.claim.Lot, Unit: r.claim.Unit, Gen: r.claim.Gen, Chip: r.claim.Chip, Present: r.act.Present,
		Session: r.act.Session, N: r.act.N, Script: r.l.release.ScriptHash}
	var err error
	if r.closed, err = sealing.Seal(r.opening, b, r.window); err != nil {
		return err
	}
	encoded, err := bus.Encode(r.window)
	defer clear(encoded)
	if err != nil {
		return err
	}
	key, err := r.sessionKey(labelOutput)
	defer clear(key[:])
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte{r.act.N})
	mac.Write(encoded)
	mac.Sum(r.output[:0])
	return nil
}

// transportCode is the code with which the chip left its maker, diversified as his keys are, in one HSM operation.
func (x *variables) transportCode() ([scp.TransportCodeBytes]byte, error) {
	kdd, in := x.claim.Chip.Bytes(), [10]byte{}
	if copy(in[:], kdd) != len(in) || len(kdd) != len(in) {
		return [scp.TransportCodeBytes]byte{}, refuse("chip id %s has %d bytes, and no maker's code", x.claim.Chip, len(kdd))
	}
	blocks := scp.KDF3ECBInputs(in, x.l.subkey)
	out, err := x.v.cfg.Token.EncryptECB(x.ctx, x.l.kmc, blocks[:])
	if err != nil {
		return [scp.TransportCodeBytes]byte{}, fmt.Errorf("diversifying maker's key %q: %w", x.l.release.KMC, err)
	}
	keys := scp.StaticKeys{ENC: out[:16], MAC: out[16:32], DEK: out[32:48]}
	defer keys.Wipe()
	return keys.TransportCode(), nil
}
