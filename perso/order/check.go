package order

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/form"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
)

// Catalogue is what this site can make, and for whom.
type Catalogue struct {
	Products product.Catalogue
	Site     Site
	Profiles profile.Catalogue
	// SIMsOnly says that the site has none of the EUM's keys: it makes no eUICCs, whatever products there are.
	SIMsOnly bool
}

// Keys names the vault's keys that an order can be made or handed out with.
func (c Catalogue) Keys() (keys []perso.Name) {
	for _, sku := range c.Products.SKUs() {
		p, _ := c.Products.Get(sku)
		keys = append(keys, p.Factory.KMC)
	}
	for _, s := range c.Site.SMSRs() {
		keys = append(keys, s.WrapKey)
	}
	for _, p := range c.Site.Providers() {
		for _, k := range p.OPKeys {
			keys = append(keys, k.Name)
		}
		for _, k := range p.TransportKeys {
			keys = append(keys, k.Name)
		}
		keys = append(keys, p.ReceiveKeys...)
	}
	return keys
}

// Check compares an order with the catalogue and with what this release can do. An empty list means that it can be
// made, as far as the office can know: whether numbers are still free, the ledger says. Faults have no line; Intake
// adds it. Nothing is said about fields that are zero: that is Parse's matter.
func Check(o Order, cat Catalogue) FaultList {
	c := checker{order: o, cat: cat}
	c.product()
	c.making()
	c.provider()
	c.receivers()
	c.ranges()
	c.packages()
	c.operational()
	return c.faults
}

type checker struct {
	order  Order
	cat    Catalogue
	faults FaultList
}

func (c *checker) fault(field, hint, format string, args ...any) {
	c.faults.Add(Fault{Field: field, Reason: fmt.Sprintf(format, args...), Hint: hint})
}

func (c *checker) product() {
	sku := c.order.Product
	if sku == "" {
		return
	}
	p, known := c.cat.Products.Get(sku)
	switch {
	case !known:
		hint := ""
		if near, ok := c.cat.Products.Nearest(sku); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		c.fault("product", hint, "the product %q is not in the catalogue", sku)
	case !p.Makeable:
		c.fault("product", "", "the product %q cannot be made: %s", sku, p.Reason)
	case !p.Family.EUICC():
		c.sim(p)
	case c.cat.SIMsOnly:
		c.fault("product", "the two keys and their certificates are made in a site's first ceremony ('perso site init' on a catalogue that has an eUICC), and its log names them: it takes a new site",
			"the product %q is an eUICC, and this site has neither the EUM's key (class eum) that signs its certificate nor the one that signs its EIS (class eis)", sku)
	case c.order.NoEID:
		c.fault("eid", `give a range, or "allocate"`, "the field is missing, and each chip of product %q has an EID", sku)
	case c.order.KeyOrigin != KeyNone && c.order.KeyOrigin != KeyOrigin(p.KeyOrigin):
		c.fault("key_origin", fmt.Sprintf("order %q, or another product", p.KeyOrigin), "is %q, but chips of product %q have keys of origin %q", c.order.KeyOrigin, sku, p.KeyOrigin)
	case !c.order.Algorithm.IsZero() && !slices.Contains(p.Algorithms, c.order.Algorithm.Name):
		c.fault("auth.algorithm", "", "the product %q authenticates by %v, not by %s", sku, p.Algorithms, c.order.Algorithm.Name)
	case p.Family != product.EUICCM2M:
		c.fault("product", "", "the product %q is of family %s; version %d of the order form orders %s and %s only", sku, p.Family, fileVersion, product.EUICCM2M, product.Basic)
	}
	for _, f := range []struct {
		field string
		given bool
	}{{"suci", c.order.SUCI != ""}, {"pin1", c.order.PIN1 == PIN1Asked}} {
		if known && p.Makeable && p.Family.EUICC() && f.given {
			c.fault(f.field, "leave it out", "the product %q is an eUICC, whose bootstrap profile has none", sku)
		}
	}
	if known && p.Makeable && p.Family.EUICC() && c.order.SMSR == "" {
		c.fault("sm_sr", "name the one that manages these eUICCs", "the field is missing, and each eUICC is registered with an SM-SR")
	}
}

// sim refuses what belongs to an eUICC.
func (c *checker) sim(p product.Product) {
	o := c.order
	if p.Family != product.Basic {
		c.fault("product", "", "the product %q is of family %s; version %d of the order form orders %s and %s only", p.SKU, p.Family, fileVersion, product.EUICCM2M, product.Basic)
		return
	}
	for _, f := range []struct {
		field string
		given bool
	}{{"eid", !o.NoEID}, {"sm_sr", o.SMSR != ""}, {"key_origin", o.KeyOrigin != KeyNone && o.NoEID}} {
		if f.given {
			c.fault(f.field, "leave it out", "the product %q is of family %s, a SIM without EID, certificate and SM-SR", p.SKU, p.Family)
		}
	}
	if !o.Algorithm.IsZero() && !slices.Contains(p.Algorithms, o.Algorithm.Name) {
		c.fault("auth.algorithm", "", "the product %q authenticates by %v, not by %s", p.SKU, p.Algorithms, o.Algorithm.Name)
	}
}

// making refuses what the order form knows and this release of the vault does not make.
func (c *checker) making() {
	c.customerKi()
	if c.order.TransportKey.Layout == k4.Envelope && c.order.Algorithm.Name == auth.TUAK {
		c.fault("transport_key", "order another layout", "an envelope has no place for the keys of %s", auth.TUAK)
	}
	for _, code := range codes.Codes() {
		if _, ordered := c.order.Codes.Rule(code); ordered && code.Further() {
			c.fault("codes", "leave it out", "no product of this release has a code %s", code)
		}
	}
}

// customerKi demands a key that a customer's own Ki can come under, and an output that can be made of them.
func (c *checker) customerKi() {
	p, known := c.cat.Site.Provider(c.order.Provider)
	if c.order.KiSource == KiCustomer && known && len(p.ReceiveKeys) == 0 {
		c.fault("ki_source", "agree on one in a key ceremony", "provider %q has no key that Ki could come under", p.ID)
	}
	if c.order.KiSource == KiCustomer && !c.order.Algorithm.IsZero() && c.order.Algorithm.KBytes() != CustomerKiBytes {
		c.fault("auth.algorithm", "order k=128", "a file of Ki has Ki of %d bytes, and %s needs %d", CustomerKiBytes, c.order.Algorithm, c.order.Algorithm.KBytes())
	}
	if c.order.KiOutput == KiOmitted && c.order.TransportKey.Layout == k4.Envelope {
		c.fault("ki_output", fmt.Sprintf("order %q, or another layout", KiWrapped), "an envelope cannot leave Ki out")
	}
}

func (c *checker) provider() {
	o := c.order
	if o.Provider == "" {
		return
	}
	p, known := c.cat.Site.Provider(o.Provider)
	if !known {
		c.unknown("bootstrap_provider", "bootstrap provider", o.Provider, c.cat.Site.providers())
		return
	}
	c.operatorKey(p)
	c.transportKey(p)

	if imsi := o.IMSI.First(); !imsi.IsZero() && imsi.MNCDigits() != p.MNCDigits() {
		c.fault("imsi.mnc_digits", "", "is %d, but the network of provider %q is %s with a code of %d digits", imsi.MNCDigits(), p.ID, p.PLMN, p.MNCDigits())
	} else if plmn := imsi.MCC() + imsi.MNC(); !imsi.IsZero() && plmn != p.PLMN {
		c.fault("imsi.first", "", "belongs to network %s, expected %s of provider %q", plmn, p.PLMN, p.ID)
	}
	if iccid := o.ICCID.First(); !iccid.IsZero() && !strings.HasPrefix(iccid.String(), p.ICCIDIIN) {
		c.fault("iccid.first", "", "ICCID %q does not begin with %s of provider %q", iccid, p.ICCIDIIN, p.ID)
	}
	c.pool("iccid", o.ICCID.Count(), p.ICCIDPool.Count())
	c.pool("imsi", o.IMSI.Count(), p.IMSIPool.Count())
}

func (c *checker) receivers() {
	o, site := c.order, c.cat.Site
	if _, known := site.SMSR(o.SMSR); !known && o.SMSR != "" {
		c.unknown("sm_sr", "SM-SR", o.SMSR, site.smsrs())
	}
	if _, known := site.Target(o.Delivery); !known && o.Delivery != "" {
		c.unknown("delivery.target", "delivery target", o.Delivery, site.targets())
	}
	if eid := o.EID.First(); !eid.IsZero() && eid.IIN() != site.EUM.IIN {
		c.fault("eid.first", "", "EID %q begins with %s, expected %s: another maker's number", eid, eid.IIN(), site.EUM.IIN)
	}
	if !o.NoEID {
		c.pool("eid", o.EID.Count(), site.EUM.EIDPool.Count())
	}
}

// ranges refuses ranges that have fewer numbers than the order has units.
func (c *checker) ranges() {
	o := c.order
	for _, r := range []struct {
		field string
		count uint64
	}{{"eid", o.EID.Count()}, {"iccid", o.ICCID.Count()}, {"imsi", o.IMSI.Count()}} {
		if o.Quantity > 0 && r.count > 0 && r.count < o.Total() {
			c.fault(r.field+".count", "leave it out, or order fewer", "the range has %d numbers, the order needs %d (%d good and %d spares)", r.count, o.Total(), o.Quantity, o.Spares)
		}
	}
}

// pool refuses to allocate what a pool could not give even when untouched.
func (c *checker) pool(field string, ordered, inPool uint64) {
	if ordered == 0 && inPool < c.order.Total() {
		c.fault(field, "give a range", "the pool to allocate from has %d numbers, the order needs %d", inPool, c.order.Total())
	}
}

func (c *checker) allowed(field, what string, key perso.Name, keys []perso.Name, provider perso.Name) {
	if key != "" && !slices.Contains(keys, key) {
		c.fault(field, nearest(key, keys), "the %s %q is not one of provider %q", what, key, provider)
	}
}

// operatorKey refuses a key that the provider does not hold, and an algorithm for another kind of key.
func (c *checker) operatorKey(p Provider) {
	o := c.order
	names := make([]perso.Name, len(p.OPKeys))
	for i, held := range p.OPKeys {
		names[i] = held.Name
		if want := o.Algorithm.OPKind(); held.Name == o.OPKey && held.Kind != want && !o.Algorithm.IsZero() {
			c.fault("auth.op_key", "", "the operator key %q of provider %q is of kind %s, the algorithm %q takes %s", held.Name, p.ID, held.Kind, o.Algorithm, want)
		}
	}
	c.allowed("auth.op_key", "operator key", o.OPKey, names, p.ID)
}

// transportKey refuses a key that the provider does not hold, and a layout that is not one of the key's kind.
func (c *checker) transportKey(p Provider) {
	k := c.order.TransportKey
	names := make([]perso.Name, len(p.TransportKeys))
	for i, held := range p.TransportKeys {
		names[i] = held.Name
		if held.Name == k.Name && !k.Layout.Takes(held.Kind) {
			c.fault("transport_key", layoutsOf(held), "layout %q is not for the transport key %q of provider %q, which is %s", k.Layout, k.Name, p.ID, held.Kind)
		}
	}
	c.allowed("transport_key", "transport key", k.Name, names, p.ID)
}

// layoutsOf says how a key may be ordered.
func layoutsOf(held k4.Held) string {
	var ways []string
	for _, l := range k4.Layouts() {
		if l.Takes(held.Kind) {
			ways = append(ways, strconv.Quote(k4.Key{Name: held.Name, Layout: l}.String()))
		}
	}
	return "order " + strings.Join(ways, " or ")
}

func (c *checker) unknown(field, what string, name perso.Name, known []perso.Name) {
	c.fault(field, nearest(name, known), "the %s %q is not known at this site", what, name)
}

func nearest(name perso.Name, known []perso.Name) string {
	texts := make([]string, len(known))
	for i, k := range known {
		texts[i] = string(k)
	}
	if near, ok := form.Nearest(string(name), texts); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}
