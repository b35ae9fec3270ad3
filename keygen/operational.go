package keygen

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/carddata"
	"github.com/persoline/persoline/keygen/transport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// operational is what the second profile of a lot's chips needs beside its package: nothing of it is the bootstrap profile's.
type operational struct {
	auth   auth.Algorithm
	layout k4.Layout
	out    hsm.Key // its operator's transport key
	op     secret.Bytes
}

// operationalOf reads what the release says; nil of a lot without one.
func operationalOf(env perso.Env, r statement.Release) (*operational, error) {
	if !r.HasOperational() {
		return nil, nil
	}
	o := &operational{layout: k4.AESECB}
	var err error
	if o.auth, err = auth.Parse(r.Operational.Algorithm); err != nil {
		return nil, fmt.Errorf("operational profile: %w", err)
	}
	if r.Operational.TransportMode != "" {
		if o.layout, err = k4.ParseLayout(r.Operational.TransportMode); err != nil {
			return nil, fmt.Errorf("operational profile: %w", err)
		}
	}
	if o.layout == k4.Envelope {
		return nil, errors.New("operational profile: its keys leave under a symmetric key, not in an envelope")
	}
	class := hsm.ClassTransport3DES
	if o.layout.AES() {
		class = hsm.ClassTransport
	}
	if o.out, err = hsm.NewKey(string(env), class, string(r.Operational.TransportKey)); err != nil {
		return nil, fmt.Errorf("operational profile: %w", err)
	}
	return o, nil
}

// openOperational opens the operator key of the second profile.
func (v *Vault) openOperational(ctx context.Context, l *lot) (err error) {
	if l.second == nil {
		return nil
	}
	l.second.op, err = v.openOP(ctx, l.release.Operational.OP, l.second.auth)
	return err
}

// second are the secrets of the operational profile: those of a card of its own, whose seed follows from the card's. So no stream of
// the one profile is one of the other, whatever their labels are.
type second struct {
	keys *cardKeys
	opc  []byte
}

func (s *second) wipe() {
	if s != nil {
		s.keys.wipe()
		clear(s.opc)
	}
}

// operational derives them, once per act.
func (x *variables) operational() (*second, error) {
	if x.second != nil {
		return x.second, nil
	}
	if x.l.second == nil {
		return nil, fmt.Errorf("lot %q has no operational profile", x.l.release.Lot)
	}
	keys, err := x.derived()
	if err != nil {
		return nil, err
	}
	var seed [seedBytes]byte
	defer clear(seed[:])
	if err := deriveKey(carddata.NewExpander(&keys.seed), labelOperational, seed[:]); err != nil {
		return nil, err
	}
	s := &second{}
	if s.keys, err = deriveCard(&seed, codes.Default(), x.l.second.auth); err != nil {
		return nil, fmt.Errorf("deriving keys of the operational profile of unit %d: %w", x.claim.Unit, err)
	}
	s.keys.seed = seed
	err = x.l.second.op.Reveal(func(op []byte) error {
		s.opc, err = x.l.second.auth.Bind(s.keys.KI, op)
		return err
	})
	if err != nil {
		s.wipe()
		return nil, fmt.Errorf("deriving keys of the operational profile of unit %d: %w", x.claim.Unit, err)
	}
	x.second = s
	return s, nil
}

// subscriber is whose profile a package is: its secrets and its numbers.
type subscriber struct {
	keys  *cardKeys
	opc   []byte
	iccid id.ICCID
	imsi  id.IMSI
}

func (x *variables) subscriber(p *pack) (s subscriber, err error) {
	iccids, imsis := rangesOf(x.l.release, p.variable)
	if s.iccid, err = iccids.At(uint64(x.claim.Unit)); err != nil {
		return s, err
	}
	if s.imsi, err = imsis.At(uint64(x.claim.Unit)); err != nil {
		return s, err
	}
	if p.variable == script.PackageOperational {
		two, err := x.operational()
		if err != nil {
			return s, err
		}
		s.keys, s.opc = two.keys, two.opc
		return s, nil
	}
	s.keys, err = x.secrets()
	s.opc = x.opc
	return s, err
}

// rangesOf are the numbers of a package's profile.
func rangesOf(r statement.Release, variable string) (id.ICCIDRange, id.IMSIRange) {
	if variable == script.PackageOperational {
		return r.Operational.ICCIDs, r.Operational.IMSIs
	}
	return r.ICCIDs, r.IMSIs
}

// operationalOutput are the values of a row of the second operator's file.
func (x *variables) operationalOutput(ctx context.Context) (bus.ExportResult, error) {
	two, err := x.operational()
	if err != nil {
		return bus.ExportResult{}, err
	}
	code := func(name string, field [pinBytes]byte) transport.Value {
		return transport.CodeValue(x.l.second.layout, name, field)
	}
	k := two.keys
	values := []transport.Value{keyValue("KI", k.KI), keyValue(x.l.second.auth.Column(), two.opc),
		code("PIN1", k.PIN1), code("PUK1", k.PUK1), code("PIN2", k.PIN2), code("PUK2", k.PUK2), code("ADM1", k.ADM1)}
	further, err := placedIn(x.l.packages[script.PackageOperational], k)
	defer wipePlaced(further)
	if err != nil {
		return bus.ExportResult{}, err
	}
	for _, p := range further {
		values = append(values, transport.FilledValue(x.l.second.layout, p.name, p.value, p.check))
	}
	result, err := x.v.wrapped(ctx, x.l.second.out, x.l.second.layout, values...)
	return withKinds(result, further), err
}
