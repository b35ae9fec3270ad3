package order

import (
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/form"
	"github.com/persoline/persoline/perso/order/k4"
)

// Operational is a subscription that each chip has beside the bootstrap one: the profile of another operator, loaded disabled. Its
// Ki are derived, and its codes made by the default policy, whatever the order says of the bootstrap profile's.
type Operational struct {
	Provider     perso.Name // empty in an order without an operational profile
	Profile      perso.Name // package; the provider's own when empty
	ICCID        id.ICCIDRange
	IMSI         id.IMSIRange
	Algorithm    auth.Algorithm
	OPKey        perso.Name
	TransportKey k4.Key
	Delivery     perso.Name
}

// Ordered says that there is one.
func (o Operational) Ordered() bool { return o.Provider != "" }

// AsOrder is the order for the operational profile as if it were the chip's only one: what is checked, prepared and numbered for the
// one subscription is so for the other.
func (o Order) AsOrder() Order {
	two := o.Operational
	o.Provider, o.Profile, o.ICCID, o.IMSI = two.Provider, two.Profile, two.ICCID, two.IMSI
	o.Algorithm, o.OPKey, o.TransportKey, o.Delivery = two.Algorithm, two.OPKey, two.TransportKey, two.Delivery
	o.KiSource, o.KiOutput, o.Codes, o.SMSR, o.NoEID, o.EID = KiDerived, KiWrapped, codes.Default(), "", true, id.EIDRange{}
	o.Operational = Operational{}
	return o
}

func readOperational(top *form.Object, total uint64) (o Operational) {
	const field = "operational"
	if !top.Has(field) {
		return o
	}
	f := top.Object(field)
	defer f.Close()
	o.Provider = form.Field(f, "provider", perso.ParseName)
	o.Profile = form.FieldOr(f, "profile", "", perso.ParseName)
	o.ICCID = readRange(f, "iccid", total, readICCID, id.NewICCIDRange)
	o.IMSI = readRange(f, "imsi", total, readIMSI, id.NewIMSIRange)
	network := f.Object("auth")
	o.Algorithm = form.Field(network, "algorithm", parseAlgorithm)
	o.OPKey = form.Field(network, "op_key", perso.ParseName)
	network.Close()
	o.TransportKey = form.Field(f, "transport_key", k4.ParseKey)
	delivery := f.Object("delivery")
	o.Delivery = form.Field(delivery, "target", perso.ParseName)
	delivery.Close()
	if source := form.FieldOr(f, "ki_source", KiDerived, form.OneOf(KiDerived, KiRandom, KiCustomer)); source != KiDerived && source != "" {
		f.Fault("ki_source", fmt.Sprintf("is %q, but Ki of an operational profile are derived in this release: no claim has room for a second sealed Ki, and no file for a second row", source), "leave it out")
	}
	return o
}

// canonical is the content of the field; the Ki source has one value, and is left out.
func (o Operational) canonical() map[string]any {
	content := map[string]any{
		"provider":      o.Provider,
		"iccid":         writeNumbers(o.ICCID, nil),
		"imsi":          writeNumbers(o.IMSI, map[string]any{"mnc_digits": o.IMSI.First().MNCDigits()}),
		"auth":          map[string]any{"algorithm": o.Algorithm.String(), "op_key": o.OPKey},
		"transport_key": o.TransportKey.String(),
		"delivery":      map[string]any{"target": o.Delivery},
	}
	if o.Profile != "" {
		content["profile"] = o.Profile
	}
	return content
}

// operational checks the second subscription as the first is checked, and what the two have to do with one another.
func (c *checker) operational() {
	two := c.order.Operational
	if !two.Ordered() {
		return
	}
	const field = "operational"
	p, known := c.cat.Products.Get(c.order.Product)
	switch {
	case known && p.Makeable && p.AIDs.ISDP2.IsZero():
		c.fault(field, "leave it out, or order another product", "the product %q has no room for an operational profile", p.SKU)
		return
	case two.Provider == c.order.Provider:
		c.fault(field+".provider", "name the operator of the operational profile", "is the bootstrap provider %q: a chip has one profile of an operator", two.Provider)
	}
	if two.TransportKey.Layout == k4.Envelope {
		c.fault(field+".transport_key", "order another layout", "keys of an operational profile leave in an output file, not in an envelope")
	}
	if a, b := c.order.ICCID, two.ICCID; a.Overlaps(b) {
		c.fault(field+".iccid", "", "bootstrap and operational profile share ICCIDs")
	}
	if a, b := c.order.IMSI, two.IMSI; a.Overlaps(b) {
		c.fault(field+".imsi", "", "bootstrap and operational profile share IMSIs")
	}
	as := checker{order: c.order.AsOrder(), cat: c.cat}
	as.algorithm()
	as.provider()
	as.receivers()
	as.ranges()
	as.packages()
	for _, f := range as.faults {
		if f.Field == "bootstrap_provider" {
			f.Field = "provider"
		}
		f.Field = field + "." + f.Field
		c.faults.Add(f)
	}
}

// algorithm refuses one that the product's chips don't have.
func (c *checker) algorithm() {
	if p, known := c.cat.Products.Get(c.order.Product); known && p.Makeable && !c.order.Algorithm.IsZero() && !slices.Contains(p.Algorithms, c.order.Algorithm.Name) {
		c.fault("auth.algorithm", "", "the product %q authenticates by %v, not by %s", p.SKU, p.Algorithms, c.order.Algorithm.Name)
	}
}
