package keygen

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

// judge opens and checks the answers to the last window, in order, and keeps what later acts need of them.
func (r *run) judge() error {
	act := int(r.state.Act)
	if act >= len(r.l.script.Acts) || len(r.state.Skip) != len(r.l.script.Acts[act]) {
		return refuse("act %d is not in the script", r.act.N)
	}
	r.vars.captures = r.state.Captures
	answers := r.item.Responses
	if act == 0 && !r.l.plain() {
		if len(answers) == 0 {
			return failure{Reason: perso.ReasonContact, Step: stepAuthenticate, Again: true}
		}
		if _, sw, err := apdu.SWOf(answers[0]); err != nil || !sw.OK() {
			return failure{Reason: perso.ReasonStatus, Step: stepAuthenticate, SW: uint16(sw), Again: true}
		}
		answers = answers[1:]
	}
	rest := r.state.Marks
	for i := range r.l.script.Acts[act] {
		if r.state.Skip[i] {
			continue
		}
		for j := range r.l.script.Acts[act][i].Steps {
			st := &r.l.script.Acts[act][i].Steps[j]
			if len(answers) == 0 {
				return failure{Reason: perso.ReasonContact, Step: st.Label, Again: true}
			}
			var m scp.Mark
			if st.Secure && !r.l.plain() {
				var ok bool
				if m, rest, ok = rest.take(); !ok {
					return fmt.Errorf("judging step %q: the state has no mark for it", st.Label)
				}
			}
			if err := r.step(st, m, answers[0]); err != nil {
				return err
			}
			answers = answers[1:]
		}
	}
	if len(answers) > 0 {
		return refuse("%d answers more than commands", len(answers))
	}
	return r.loaded()
}

// step judges one answer.
func (r *run) step(st *script.Step, m scp.Mark, answer []byte) error {
	data, sw, err := r.unwrap(st, m, answer)
	if err != nil {
		return err
	}
	err = st.Check(data, sw, r.vars)
	var wrong *script.StepError
	switch {
	case errors.As(err, &wrong) && wrong.Why == script.WhyStatus:
		return failure{Reason: perso.ReasonStatus, Step: st.Label, SW: uint16(sw), Again: true}
	case errors.As(err, &wrong):
		// What the channel protects only the chip can have said; anything else a bad contact may have.
		return failure{Reason: reasonOf(st.Purpose), Step: st.Label, SW: uint16(sw), Again: !st.Secure || !r.l.terms.protectsAnswers()}
	case err != nil:
		return r.unbound(err)
	}
	switch st.Purpose {
	case script.PurposeProbe:
		r.state.Captures[st.Label] = bytes.Clone(data)
	case script.PurposeOpening:
		r.state.Captures[openingOf(st.Package)] = bytes.Clone(data)
	case script.PurposeObject:
		r.objects = append(r.objects, object{step: st, answer: bytes.Clone(data)})
	case script.PurposeECKA:
		return r.possession(st, data)
	case script.PurposeAUTS:
		return r.authentication(st, data)
	case script.PurposeReopen:
		return r.reopening(st, data)
	}
	return nil
}

func reasonOf(p script.Purpose) perso.Reason {
	switch p {
	case script.PurposeAUTS, script.PurposeReopen:
		return perso.ReasonProof
	case script.PurposeECKA:
		return perso.ReasonPossession
	}
	return perso.ReasonData
}

// unwrap opens an answer. An error status is never protected: it is taken where the script accepts it, since all it can
// do is to make a section run that need not. SCP02 protects nothing: ErrRMAC and ErrUnprotected do not come from it.
func (r *run) unwrap(st *script.Step, m scp.Mark, answer []byte) ([]byte, apdu.SW, error) {
	if !st.Secure || r.l.plain() {
		data, sw, err := apdu.SWOf(answer)
		if err != nil {
			return nil, 0, failure{Reason: perso.ReasonContact, Step: st.Label, Again: true}
		}
		return data, sw, nil
	}
	data, sw, err := r.host.UnwrapAt(m, answer)
	if errors.Is(err, scp.ErrUnprotected) {
		return nil, sw, nil
	}
	if err != nil {
		return nil, sw, failure{Reason: perso.ReasonRMAC, Step: st.Label, SW: uint16(sw), Again: true}
	}
	return data, sw, nil
}

// possession checks that the chip holds the key it shows.
func (r *run) possession(st *script.Step, data []byte) error {
	challenge, err := r.vars.Bind(nil, script.Public, "POP.CHALLENGE")
	if err != nil {
		return err
	}
	point := possession(data, challenge)
	if point == nil || r.l.injectsKey() && !bytes.Equal(point, r.givenKey()) {
		return failure{Reason: perso.ReasonPossession, Step: st.Label, SW: uint16(apdu.SWOK)}
	}
	r.state.Key, r.state.Held = point, true
	return nil
}

// autsAnswer is AUTHENTICATE's answer to a stale sequence number: DC, length, AUTS (TS 31.102 §7.1.2.1).
var autsAnswer = []byte{0xDC, byte(len(aka.AUTS{}))}

// authentication checks AUTS: only the new Ki makes it, and its counter must be that of a card that never authenticated.
func (r *run) authentication(st *script.Step, data []byte) error {
	bad := failure{Reason: perso.ReasonProof, Step: st.Label, SW: uint16(apdu.SWOK), Again: true}
	token, ok := bytes.CutPrefix(data, autsAnswer)
	if !ok || len(token) != len(aka.AUTS{}) {
		return bad
	}
	rand, err := r.vars.Bind(nil, script.Public, "AUTH.RAND")
	if err != nil {
		return err
	}
	m, err := r.vars.network()
	if err != nil {
		return err
	}
	defer m.Wipe()
	sqn, err := m.VerifyAUTS(aka.Rand(rand), aka.AUTS(token))
	if err != nil || sqn != (aka.SQN{}) {
		return bad
	}
	r.state.AUTS = true
	return nil
}

// reopening checks the card cryptogram of a second INITIALIZE UPDATE under the card's own keys.
func (r *run) reopening(st *script.Step, data []byte) error {
	bad := failure{Reason: perso.ReasonProof, Step: st.Label, SW: uint16(apdu.SWOK), Again: true}
	said, update, err := r.l.parseUpdate(data)
	if err != nil || said.KVN != r.l.release.CardKVN {
		return bad
	}
	if chip, err := id.ChipIDFromBytes(said.KDD[:]); err != nil || chip != r.claim.Chip {
		return bad
	}
	challenge, err := r.vars.Bind(nil, script.Public, "CHALLENGE2")
	if err != nil {
		return err
	}
	keys, err := r.vars.derived()
	if err != nil {
		return err
	}
	if err := update.verify(keys.isd(), challenge); errors.Is(err, scp.ErrCryptogram) || errors.Is(err, scp.ErrFormat) {
		return bad
	} else if err != nil {
		return fmt.Errorf("verifying session %s: %w", r.act.Session, err)
	}
	r.state.Reopened = true
	return nil
}

// unproven names a proof of the release that the session has not brought; none when all are there. Read-back is not among
// them: a step that was not answered as it must ended the session.
func (r *run) unproven() product.Proof {
	switch t := r.l.terms; {
	case t.proofs.Has(product.ProofAuthenticate) && !r.state.AUTS:
		return product.ProofAuthenticate
	case t.proofs.Has(product.ProofReopen) && !r.state.Reopened:
		return product.ProofReopen
	case (t.proofs.Has(product.ProofSignature) || r.l.injectsKey()) && !r.state.Held:
		return product.ProofSignature
	}
	return ""
}

// verdict demands every proof, and of an eUICC the certificate that is on record. That no more are good than were released is seen
// to when the receipt is made (I7).
func (r *run) verdict() error {
	if r.unproven() != "" {
		return failure{Reason: perso.ReasonProof, Step: "verdict"}
	}
	if r.l.release.EUICC() {
		if _, err := r.certificate(); err != nil {
			return r.unbound(err)
		}
	}
	if r.stored != nil {
		return refuse("certificate of the chip's key is not on record")
	}
	r.proven = true
	return nil
}
