package keygen

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/transport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/secret"
)

// transportID names the key of transportClass: the receiver's by the release, the one that signs envelopes by the site.
func (l *lot) transportID() perso.Name {
	if l.layout == k4.Envelope {
		return l.release.Site
	}
	return l.release.TransportKey
}

// exportable refuses a new lot whose output could never leave: the token does not hold the key, or its module cannot.
func (v *Vault) exportable(ctx context.Context, l *lot) error {
	has, err := v.cfg.Token.Has(ctx, l.out)
	if err != nil && !errors.Is(err, hsm.ErrUnsupported) {
		return fmt.Errorf("looking for transport key of lot %q: %w", l.release.Lot, err)
	}
	if !has {
		return bus.Refuse(bus.FaultRefused, "layout %q of lot %q needs the key %q, which is not on the token", l.layout, l.release.Lot, l.out)
	}
	if l.second == nil {
		return nil
	}
	if has, err = v.cfg.Token.Has(ctx, l.second.out); err != nil && !errors.Is(err, hsm.ErrUnsupported) {
		return fmt.Errorf("looking for transport key of the operational profile of lot %q: %w", l.release.Lot, err)
	}
	if !has {
		return bus.Refuse(bus.FaultRefused, "the operational profile of lot %q needs the key %q, which is not on the token", l.release.Lot, l.second.out)
	}
	return nil
}

// output is what the output of all units of a request has in common.
type output struct{ envelope *transport.SessionKeys }

func (o output) wipe() {
	if o.envelope != nil {
		o.envelope.Wipe()
	}
}

// beginOutput puts into the reply what comes once: the check value of the transport key, or the head of the envelope.
func (v *Vault) beginOutput(ctx context.Context, l *lot, receiver []byte, reply *bus.ExportReply) (o output, err error) {
	if l.layout != k4.Envelope {
		reply.KCV, err = v.checkValue(ctx, l.out, l.layout)
		return o, err
	}
	r, err := k4.ParseReceiver(l.rsaKey.KeyID, receiver)
	if err != nil {
		return o, bus.Refuse(bus.FaultBadMessage, "%v", err)
	}
	if r.Ref() != l.rsaKey {
		return o, bus.Refuse(bus.FaultRefused, "the receiver's key %s was not released for lot %q", r.Ref(), l.release.Lot)
	}
	key, err := v.cfg.Token.MAC(ctx, l.key, kdfInput(labelEnvelope, transport.EnvelopeContext(l.release.Lot, l.rsaKey.Fingerprint)))
	defer clear(key[:])
	if err != nil {
		return o, fmt.Errorf("deriving envelope key of lot %q: %w", l.release.Lot, err)
	}
	if o.envelope, err = transport.DeriveSessionKeys(&key); err != nil {
		return o, err
	}
	head, err := transport.SealHead(ctx, o.envelope, r, makerKey{v.cfg.Token, l.out})
	if err != nil {
		return o, err
	}
	reply.Envelope = &bus.EnvelopeHead{Vendor: head.Vendor, Sealed: head.Sealed, Signature: head.Signature}
	return o, nil
}

// checkValue is as KCV in hsm/KEYS.md: 16 bytes of 01 for AES (GlobalPlatform Amendment D), 8 of 00 for Triple DES (Card Specification B.5).
func (v *Vault) checkValue(ctx context.Context, under hsm.Key, layout k4.Layout) ([]byte, error) {
	block := make([]byte, layout.BlockBytes())
	if layout.AES() {
		block = bytes.Repeat([]byte{1}, aes.BlockSize)
	}
	sealed, err := v.cfg.Token.EncryptECB(ctx, under, block)
	if err != nil {
		return nil, fmt.Errorf("checking transport key %q: %w", under, err)
	}
	return sealed[:hsm.KCVBytes:hsm.KCVBytes], nil
}

// makerKey is the key that signs envelopes, in the HSM (transport.Signer).
type makerKey struct {
	token Token
	key   hsm.Key
}

// Public is the maker's public key.
func (k makerKey) Public(ctx context.Context) (crypto.PublicKey, error) {
	return k.token.Public(ctx, k.key)
}

// SignMessage signs inside the HSM.
func (k makerKey) SignMessage(ctx context.Context, msg []byte) ([]byte, error) {
	return k.token.SignMessage(ctx, k.key, msg)
}

func (v *Vault) exportUnit(ctx context.Context, l *lot, kind bus.ExportKind, c entry.Claim, item bus.ExportItem, o output) (bus.ExportResult, error) {
	if kind == bus.ExportSign {
		return v.signEIS(ctx, item.Signed)
	}
	x := &variables{ctx: ctx, v: v, l: l, claim: c, ki: func() (secret.Bytes, error) {
		return v.openKi(ctx, l, c, l.atRest(item.Ki, item.Customer))
	}}
	defer x.wipe()
	if kind == bus.ExportOperational {
		return x.operationalOutput(ctx)
	}
	keys, err := x.secrets()
	if err != nil {
		return bus.ExportResult{}, err
	}
	if kind == bus.ExportEIS {
		return v.wrapped(ctx, l.wrap, k4.AESECB, keyValue("OTA.KIC", keys.OTAKic[:]), keyValue("OTA.KID", keys.OTAKid[:]), keyValue("OTA.KIK", keys.OTAKik[:]))
	}
	if o.envelope != nil {
		return x.inEnvelope(o.envelope, keys)
	}
	return x.outputKeys(ctx, keys)
}

// inEnvelope seals the unit's keys and codes, and a SIM's OTA keys; in the file it stands under its EID, a SIM under its ICCID.
func (x *variables) inEnvelope(session *transport.SessionKeys, keys *cardKeys) (r bus.ExportResult, err error) {
	s := transport.Subscription{Name: x.claim.EID.String()}
	if s.ICCID, err = x.l.release.ICCIDs.At(uint64(x.claim.Unit)); err != nil {
		return r, err
	}
	if s.IMSI, err = x.l.release.IMSIs.At(uint64(x.claim.Unit)); err != nil {
		return r, err
	}
	if !x.l.release.EUICC() {
		s.Name = s.ICCID.String()
	}
	credentials, err := session.SealKeys(s, keys.KI, x.opc)
	if err != nil {
		return r, err
	}
	fields := [5][pinBytes]byte{keys.PIN1, keys.PUK1, keys.PIN2, keys.PUK2, keys.ADM1}
	defer clear(fields[:])
	sealed, err := session.SealCodes(s, &fields)
	if err != nil {
		return r, err
	}
	r.Keys = []bus.WrappedKey{{Name: "CREDENTIALS", Value: credentials}, {Name: "CODES", Value: sealed}}
	if len(x.l.packages) > 0 {
		if sealed, err = x.profileInEnvelope(session, s, keys); err != nil {
			return bus.ExportResult{}, err
		}
		r.Keys = append(r.Keys, bus.WrappedKey{Name: "PROFILE", Value: sealed})
	}
	if x.l.release.EUICC() {
		return r, nil
	}
	if sealed, err = session.SealOTA(s, keys.OTAKic[:], keys.OTAKid[:], keys.OTAKik[:]); err != nil {
		return bus.ExportResult{}, err
	}
	r.Keys = append(r.Keys, bus.WrappedKey{Name: "OTA", Value: sealed})
	return r, nil
}
