package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka/suci"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/statement"
)

// releaseLasts is how long a release may be used when the order sets no date: a lot that is not made in that time goes
// back to the officers.
const releaseLasts = 90 * 24 * time.Hour

// Draft makes the release of an accepted order, for officers to read and sign.
func (l *Ledger) Draft(ctx context.Context, q bus.DraftRequest) (bus.DraftReply, error) {
	var o orderRow
	var kept uint64
	var fault error
	err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		fault = nil
		if o, err = readOrder(ctx, tx, q.Order); err != nil {
			return err
		}
		if o.state != perso.OrderAccepted {
			fault = bus.Refuse(bus.FaultRefused, "order %q is %s already", q.Order, o.state.Told())
			return nil
		}
		p, err := l.policyNow(ctx, tx)
		if err != nil {
			return err
		}
		kept = p.With(o.content.Asks, o.content.Quantity).Sampling.Undelivered(o.content.Quantity)
		fault, err = l.mannedLot(ctx, tx, o.content)
		return err
	})
	if err = cmp.Or(err, fault); err != nil {
		return bus.DraftReply{}, err
	}
	r, err := l.draft(o)
	if err != nil {
		return bus.DraftReply{}, fmt.Errorf("drafting the release of order %q: %w", q.Order, err)
	}
	body, err := r.Encode()
	return bus.DraftReply{Body: body, Kept: kept}, err
}

func (l *Ledger) draft(row orderRow) (statement.Release, error) {
	r, err := l.terms(row)
	if err != nil {
		return statement.Release{}, err
	}
	r.At = l.stamp()
	r.Expires = r.At.Add(releaseLasts)
	if o := row.content; !o.Expires.IsZero() && o.Expires.Before(r.Expires) {
		r.Expires = o.Expires
	}
	r.Nonce, err = l.nonce()
	return r, err
}

// terms is what a release of the order must say; its time, its end and its nonce are the officers'.
func (l *Ledger) terms(row orderRow) (statement.Release, error) {
	o := row.content
	p, ok := l.cat.Order.Products.Get(o.Product)
	if !ok {
		return statement.Release{}, unknown("no product %q in the catalogue", o.Product)
	}
	smsr, ok := l.cat.Order.Site.SMSR(o.SMSR)
	if !ok && o.SMSR != "" {
		return statement.Release{}, unknown("no SM-SR %q among the partners", o.SMSR)
	}
	provider, ok := l.cat.Order.Site.Provider(o.Provider)
	if !ok {
		return statement.Release{}, unknown("no bootstrap provider %q among the partners", o.Provider)
	}
	var receiver string
	if o.TransportKey.Layout == k4.Envelope {
		r, ok := l.cat.Order.Site.Receiver(o.TransportKey.Name)
		if !ok {
			return statement.Release{}, unknown("no receiver key %q among the partners", o.TransportKey.Name)
		}
		receiver = r.Ref().String()
	}
	packages, err := l.cat.Order.Packages(o)
	if err != nil {
		return statement.Release{}, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	named := named(packages)
	constants, err := constants(p, smsr, provider, o, packages)
	if err != nil {
		return statement.Release{}, err
	}
	compiled, err := l.compile(p, constants, o.Algorithm, named)
	if err != nil {
		return statement.Release{}, err
	}
	return statement.Release{
		Env: l.site.env, Site: l.site.name, Lot: lotName(o.ID), Order: string(o.ID),
		OrderHash: row.hash, Product: string(p.SKU), ProductHash: p.Hash(), ScriptHash: compiled.Hash(),
		Good: o.Quantity, Spares: o.Spares, EIDs: o.EID, ICCIDs: o.ICCID, IMSIs: o.IMSI,
		Remake: string(o.Remake), KiSource: string(o.KiSource), Customer: row.ki.terms, KeyOrigin: string(o.KeyOrigin), Algorithm: o.Algorithm.String(), Codes: o.Codes.String(), PIN1: pin1Of(o),
		ChipID: string(p.ChipID), Channel: string(p.Channel()), FactoryKVN: p.Factory.KVN, CardKVN: p.ISDKVN, Proof: p.Proofs().String(), AuthProof: string(p.AuthProof),
		KMC: p.Factory.KMC, OP: o.OPKey, TransportKey: o.TransportKey.Name, TransportMode: string(o.TransportKey.Layout), ReceiverKey: receiver, WrapKey: smsr.WrapKey, SMSR: o.SMSR, Delivery: o.Delivery,
		Asks: o.Asks, Constants: constants, Packages: named, Operational: operationalOf(o),
	}, nil
}

// operationalOf is what a release says of the subscription of an operational profile.
func operationalOf(o order.Order) statement.Operational {
	two := o.Operational
	if !two.Ordered() {
		return statement.Operational{}
	}
	return statement.Operational{ICCIDs: two.ICCID, IMSIs: two.IMSI, Algorithm: two.Algorithm.String(), OP: two.OPKey,
		TransportKey: two.TransportKey.Name, TransportMode: string(two.TransportKey.Layout), Delivery: two.Delivery}
}

// constants are the script's public variables that are equal on every card of the lot.
func constants(p product.Product, smsr order.SMSR, provider order.Provider, o order.Order, packages []order.Package) ([]statement.Constant, error) {
	ad, spn := p.Profile.AD(provider.MNCDigits()), provider.EFSPN()
	common := []statement.Constant{{Name: "AD", Value: ad[:]}, {Name: "SPN", Value: spn[:]}}
	if p.Channel() != product.ChannelADM {
		common = append(common, statement.Constant{Name: "AID.ISD", Value: p.AIDs.ISD.Bytes()})
	}
	if !p.Family.EUICC() {
		return simConstants(common, p, o)
	}
	usim := p.AIDs.USIM.Bytes()
	if aid := p.AIDs.ISDP2.Bytes(); len(aid) > 0 {
		common = append(common, statement.Constant{Name: "AID.ISDP2", Value: aid})
	}
	for _, one := range packages {
		common = append(common, statement.Constant{Name: one.Variable + ".POL1", Value: []byte{one.Template.Policy()}})
		if one.Variable == script.PackageBootstrap {
			usim = one.Template.USIM()
		}
	}
	return append(common, []statement.Constant{
		{Name: "SMSR.ADDR", Value: smsr.Addressing}, {Name: "AID.ISDR", Value: p.AIDs.ISDR.Bytes()}, {Name: "AID.ECASD", Value: p.AIDs.ECASD.Bytes()},
		{Name: "AID.ISDP", Value: p.AIDs.ISDP.Bytes()}, {Name: "AID.LOADFILE", Value: p.AIDs.LoadFile.Bytes()},
		{Name: "AID.MODULE", Value: p.AIDs.Module.Bytes()}, {Name: "AID.USIM", Value: usim},
	}...), nil
}

// simConstants adds what a SIM has of its network (perso/product): equal on every card, since all IMSIs are of one network.
func simConstants(common []statement.Constant, p product.Product, o order.Order) ([]statement.Constant, error) {
	var keys suci.Info
	var err error
	if o.SUCI != "" {
		if keys, err = suci.ParseInfo(o.SUCI); err != nil {
			return nil, err
		}
	}
	home := o.IMSI.First()
	domain, err := product.EFDomain(home)
	if err != nil {
		return nil, err
	}
	calculation, err := product.EFSUCI(keys)
	if err != nil {
		return nil, err
	}
	plmn := home.PLMN()
	if !p.AIDs.ISIM.IsZero() {
		common = append(common, statement.Constant{Name: "AID.ISIM", Value: p.AIDs.ISIM.Bytes()})
	}
	return append(common, []statement.Constant{
		{Name: "AID.USIM", Value: p.AIDs.USIM.Bytes()}, {Name: "HPLMN", Value: product.EFHPLMN(home)}, {Name: "EHPLMN", Value: plmn[:]},
		{Name: "IMS.DOMAIN", Value: domain}, {Name: "SUCI", Value: calculation}, {Name: "UST.5GS", Value: []byte{product.UST5GS(keys)}},
	}...), nil
}

// pin1Of is how a release spells the order's word about PIN1.
func pin1Of(o order.Order) string {
	if o.PIN1 == order.PIN1Asked {
		return string(o.PIN1)
	}
	return ""
}

// compile reads and compiles a product's script; lengths that differ by lot are those of the SM-SR's addressing, of the
// authentication, of the profile packages and of their USIM's AID.
func (l *Ledger) compile(p product.Product, constants []statement.Constant, a auth.Algorithm, packages []statement.Package) (*script.Script, error) {
	vars := script.StandardCatalogue(lengthOf(constants, "SMSR.ADDR"), l.cat.CertBytes).For(len(a.Parameters()), a.KBytes(), a.OPBytes())
	for _, one := range packages {
		vars = vars.WithPackage(one.Variable, int(one.Bytes)).WithUSIM(lengthOf(constants, "AID.USIM"))
	}
	s, err := script.CompileFile(l.cat.Scripts, p.Script, vars)
	if err != nil {
		return nil, fmt.Errorf("compiling %q: %w", p.Script, err)
	}
	return s, nil
}

// readSigned takes apart what officers signed; whether they may is for the register to say.
func readSigned[S any](q bus.SignedRequest, parse func([]byte) (S, error)) (signed statement.Signed, body S, err error) {
	if signed, err = statement.DecodeSigned(q.Signed); err == nil {
		body, err = parse(signed.Body)
	}
	if err == nil {
		err = statement.CheckReason(signed.Body)
	}
	if err != nil {
		return signed, body, bus.Refuse(bus.FaultBadMessage, "%v", err)
	}
	return signed, body, nil
}

// Release takes the officers' signed release in, makes the lot, has it assigned where there are several vaults, and opens it
// at its vault, which checks for itself.
func (l *Ledger) Release(ctx context.Context, q bus.SignedRequest) (bus.LotReply, error) {
	signed, r, err := readSigned(q, statement.ParseRelease)
	if err != nil {
		return bus.LotReply{}, err
	}
	p, ok := l.cat.Order.Products.Get(product.SKU(r.Product))
	if !ok {
		return bus.LotReply{}, bus.Refuse(bus.FaultRefused, "product %q is not in the catalogue", r.Product)
	}
	algorithm, err := auth.Parse(r.Algorithm)
	if err != nil {
		return bus.LotReply{}, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	compiled, err := l.compile(p, r.Constants, algorithm, r.Packages)
	if err != nil {
		return bus.LotReply{}, err
	}
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		fault, err = l.release(ctx, b, signed, r, compiled)
		return err
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return bus.LotReply{}, fmt.Errorf("releasing lot %q: %w", r.Lot, err)
	}
	return bus.LotReply{Lot: r.Lot}, l.OpenLot(ctx, r.Lot)
}

// lengthOf is the length of a constant, 0 of one that the lot does not have.
func lengthOf(constants []statement.Constant, name string) int {
	for _, c := range constants {
		if c.Name == name {
			return len(c.Value)
		}
	}
	return 0
}

func (l *Ledger) release(ctx context.Context, b *Batch, signed statement.Signed, r statement.Release, compiled *script.Script) (fault, err error) {
	hash := signed.Hash()
	var before []byte
	err = b.QueryRow(ctx, sqlLot, string(r.Lot)).Scan(&before, new(string), new([]byte), new([]byte))
	switch {
	case err == nil && string(before) == string(hash[:]):
		return nil, nil // the same release again
	case err == nil:
		return bus.Refuse(bus.FaultConflict, "the lot was released by another statement"), nil
	case !errors.Is(err, sqldb.ErrNoRows):
		return nil, err
	}
	o, err := readOrder(ctx, b, r.Order)
	if errors.Is(err, ErrNotFound) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	if fault, err := l.mayRelease(ctx, b, signed, r, o); fault != nil || err != nil {
		return fault, err
	}
	if compiled.Hash() != r.ScriptHash {
		return bus.Refuse(bus.FaultRefused, "the script changed since the release of lot %q was drafted; draft it anew", r.Lot), nil
	}
	if _, err := b.Exec(ctx, sqlAddStatement, hash[:], statement.KindRelease, int64(0), string(r.Lot), signed.Encode()); err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlAddScript, r.ScriptHash[:], compiled.Encode()); err != nil {
		return nil, err
	}
	if fault, err := l.keepPackages(ctx, b, r, o.content); fault != nil || err != nil {
		return fault, err
	}
	policy, err := policyInForce(ctx, b)
	if err != nil {
		return nil, err
	}
	_, err = b.Exec(ctx, sqlAddLot, string(r.Lot), r.Order, hash[:], string(perso.LotReleased), int64(r.Good), int64(r.Spares), r.ScriptHash[:], b.At.UnixMicro(), policy)
	if err != nil {
		return nil, err
	}
	if p, err := readPolicy(ctx, b, policy); err != nil {
		return nil, err
	} else if p.With(r.Asks, r.Good).Sampling != "" {
		if _, err := b.Exec(ctx, sqlAddSampling, string(r.Lot)); err != nil {
			return nil, fmt.Errorf("noting that lot %q has samples: %w", r.Lot, err)
		}
	}
	if _, err := b.Exec(ctx, sqlOrderState, r.Order, string(perso.OrderReleased)); err != nil {
		return nil, err
	}
	_, _, err = b.append(entry.KindStatement, lotSubject(r.Lot), entry.Statement{What: statement.KindRelease, Hash: hash, Lot: r.Lot, At: b.At})
	return nil, err
}

// mayRelease is the ledger's own judgement; the vault makes its own again.
func (l *Ledger) mayRelease(ctx context.Context, b *Batch, signed statement.Signed, r statement.Release, o orderRow) (fault, err error) {
	if fault, err := l.authorized(ctx, b, signed); fault != nil || err != nil {
		return fault, err
	}
	all, err := b.frozen(ctx)
	if err != nil {
		return nil, err
	}
	if _, locked, err := restored.Read(ctx, b); locked || err != nil {
		return bus.Refuse(bus.FaultRefused, awaitsOfficers), err
	}
	switch {
	case r.Env != l.site.env || r.Site != l.site.name:
		return bus.Refuse(bus.FaultRefused, "the release is for site %s (%s), this is %s (%s)", r.Site, r.Env, l.site.name, l.site.env), nil
	case o.state != perso.OrderAccepted:
		return bus.Refuse(bus.FaultRefused, "order %q is %s already", r.Order, o.state.Told()), nil
	case all.of(r) != "":
		return bus.Refuse(bus.FaultRefused, "%s", all.of(r)), nil
	case !b.At.Before(r.Expires) || !o.content.Expires.IsZero() && r.Expires.After(o.content.Expires):
		return bus.Refuse(bus.FaultRefused, "the release ends on %s: that has passed, or is later than the order allows", r.Expires.Format(time.DateOnly)), nil
	}
	if fault, err := l.mannedLot(ctx, b, o.content); fault != nil || err != nil {
		return fault, err
	}
	want, err := l.terms(o)
	if errors.Is(err, ErrNotFound) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	want.At, want.Expires, want.Nonce = r.At, r.Expires, r.Nonce
	body, err := want.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(body, signed.Body) {
		return bus.Refuse(bus.FaultRefused, "the release does not say what order %q, its product and its script say now; draft it anew", r.Order), nil
	}
	return nil, nil
}

// authorized refuses a statement that is not signed by whom the register of now asks for.
func (l *Ledger) authorized(ctx context.Context, b *Batch, signed statement.Signed) (fault, err error) {
	reg, err := l.register(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := reg.Authorize(signed); err != nil {
		return bus.Refuse(bus.FaultRefused, "%v", err), nil
	}
	return nil, nil
}

// register builds the officer register from the ledger's copy of its chain, checked against the pin of the log's genesis.
func (l *Ledger) register(ctx context.Context, tx sqldb.Tx) (*statement.Register, error) {
	chain, err := registerChain(ctx, tx)
	if err != nil {
		return nil, err
	}
	return statement.NewRegister(l.site.register, chain)
}
