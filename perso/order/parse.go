package order

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka/suci"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/form"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/statement"
)

// allocate, in place of a range, asks for numbers from the site's pools.
const allocate = "allocate"

const (
	maxCustomerChars = 64
	// Years of an expiry: outside, it is a typing error, and four digits keep one spelling in UTC.
	minExpiryYear, maxExpiryYear = 2020, 2099
)

// Parse reads an order file of at most MaxFileBytes. A file with faults gives every one of them, as a *FaultList. It knows
// the form alone; Check knows what can be made, and which fields belong to which product.
func Parse(r io.Reader) (Order, error) {
	o, doc, err := read(r)
	if err != nil {
		return Order{}, err
	}
	if err := doc.Err(); err != nil {
		return Order{}, err
	}
	return o, nil
}

// Intake is Parse and Check in one, so that a customer hears of all faults at once, each with its line.
func Intake(r io.Reader, cat Catalogue) (Order, error) {
	o, doc, err := read(r)
	if err != nil {
		return Order{}, err
	}
	for _, f := range Check(o, cat) {
		if !doc.Faulty(f.Field) {
			doc.Fault(f.Field, f.Reason, f.Hint)
		}
	}
	if err := doc.Err(); err != nil {
		return Order{}, err
	}
	return o, nil
}

// read gives the order as far as it can be read, with its faults in the document. Fields with a fault are zero.
func read(r io.Reader) (Order, *form.Doc, error) {
	doc, err := form.Read(r, MaxFileBytes)
	if err != nil {
		return Order{}, nil, err
	}
	top := doc.Top()
	if v := top.Int("version", 0, math.MaxInt32); v != fileVersion && !top.Faulty("version") {
		top.Fault("version", fmt.Sprintf("is %d, this release reads %d", v, fileVersion), "")
	}
	o := Order{
		ID:       form.Field(top, "order", ParseID),
		Customer: form.Field(top, "customer", form.Label(maxCustomerChars)),
		Product:  form.Field(top, "product", product.ParseSKU),
		Quantity: top.Int("quantity", 1, MaxQuantity),
		Spares:   top.Int("spares", 0, MaxQuantity),
	}
	if o.Total() > MaxQuantity {
		top.Fault("quantity", fmt.Sprintf("%d with %d spares is more than %d", o.Quantity, o.Spares, MaxQuantity), "cut it into several orders")
	}
	total := o.Total()
	if top.Faulty("quantity") || top.Faulty("spares") {
		total = 0
	}
	if o.NoEID = !top.Has("eid"); !o.NoEID {
		o.EID = readRange(top, "eid", total, readEID, id.NewEIDRange)
	}
	o.ICCID = readRange(top, "iccid", total, readICCID, id.NewICCIDRange)
	o.IMSI = readRange(top, "imsi", total, readIMSI, id.NewIMSIRange)
	readRoles(top, &o)
	o.Operational = readOperational(top, total)
	for _, name := range []string{"iccid", "imsi"} {
		if o.KiSource == KiCustomer && top.IsText(name) {
			top.Fault(name, "Ki of the customer belong to his own numbers, which cannot be allocated", "give the range that your Ki are for")
		}
	}
	top.Close()
	return o, doc, nil
}

// readRoles reads who gets what, and how keys are made.
func readRoles(top *form.Object, o *Order) {
	network := top.Object("auth")
	o.Algorithm = form.Field(network, "algorithm", parseAlgorithm)
	o.OPKey = form.Field(network, "op_key", perso.ParseName)
	network.Close()
	o.TransportKey = form.Field(top, "transport_key", k4.ParseKey)
	o.Codes = form.FieldOr(top, "codes", codes.Default(), codes.ParsePolicy)
	o.PIN1 = form.FieldOr(top, "pin1", PIN1Off, form.OneOf(PIN1Off, PIN1Asked))
	o.Asks = form.FieldOr(top, "asks", "", statement.ParseDemands)
	o.SUCI = form.FieldOr(top, "suci", "", parseSUCI)
	o.SMSR = form.FieldOr(top, "sm_sr", "", perso.ParseName)
	o.Provider = form.Field(top, "bootstrap_provider", perso.ParseName)
	o.Profile = form.FieldOr(top, "profile", "", perso.ParseName)
	delivery := top.Object("delivery")
	o.Delivery = form.Field(delivery, "target", perso.ParseName)
	delivery.Close()
	o.KiSource = form.FieldOr(top, "ki_source", KiDerived, form.OneOf(KiDerived, KiRandom, KiCustomer))
	o.KiOutput = form.FieldOr(top, "ki_output", KiWrapped, form.OneOf(KiWrapped, KiOmitted))
	if o.KiOutput == KiOmitted && o.KiSource != KiCustomer && !top.Faulty("ki_source") {
		top.Fault("ki_output", fmt.Sprintf("only Ki of source %q may be left out", KiCustomer), "nobody else would have them")
	}
	origin := KeyCard
	if o.NoEID {
		origin = KeyNone
	}
	o.KeyOrigin = form.FieldOr(top, "key_origin", origin, form.OneOf(KeyCard, KeyHSM))
	o.Remake = form.FieldOr(top, "remake", SameIdentity, form.OneOf(SameIdentity, FreshIdentity))
	o.Expires = form.FieldOr(top, "expires", time.Time{}, parseExpiry)
}

// parseAlgorithm looks at the name first, for which there is a hint.
func parseAlgorithm(s string) (auth.Algorithm, error) {
	name, _, _ := strings.Cut(s, " ")
	if _, err := form.OneOf(auth.Milenage, auth.TUAK)(name); err != nil {
		return auth.Algorithm{}, err
	}
	return auth.Parse(s)
}

// parseSUCI refuses a key that is no point of its curve, and more keys than the card's file has room for.
func parseSUCI(s string) (string, error) {
	keys, err := suci.ParseInfo(s)
	if err == nil {
		_, err = product.EFSUCI(keys)
	}
	if err != nil {
		return "", form.Refuse(`for example "B:27:0272DA71…", as the network's operator gives it`, "%v", err)
	}
	return keys.String(), nil
}

// readRange reads {"first", "count"} or "allocate", which is the empty range. total is the count by default; 0 means that
// it is not known because the quantity has a fault.
func readRange[T, R any](top *form.Object, name string, total uint64, first func(*form.Object) T, span func(T, uint64) (R, error)) R {
	var none R
	if top.IsText(name) {
		form.Field(top, name, parseAllocate)
		return none
	}
	o := top.Object(name)
	from, count := first(o), total
	if o.Has("count") {
		count = o.Int("count", 1, MaxQuantity)
	}
	o.Close()
	if count == 0 || top.Faulty(name) {
		return none
	}
	r, err := span(from, count)
	if err != nil {
		o.Fault("first", err.Error(), "choose a lower first number, or a smaller quantity")
	}
	return r
}

func parseAllocate(s string) (string, error) {
	if s != allocate {
		return "", form.Refuse(`{"first": …} or "allocate"`, "%.60q is neither a range nor %q", s, allocate)
	}
	return s, nil
}

func readEID(o *form.Object) id.EID { return form.Field(o, "first", id.ParseEID) }

func readICCID(o *form.Object) id.ICCID {
	return form.Field(o, "first", func(s string) (id.ICCID, error) {
		c, err := id.ParseICCID(s)
		if full := c.WithCheckDigit(); err == nil && full != c {
			return id.ICCID{}, form.Refuse(fmt.Sprintf("with its check digit it would be %s", full), "ICCID %q has 18 digits and no check digit", s)
		}
		return c, err
	})
}

func readIMSI(o *form.Object) id.IMSI {
	mncDigits := int(o.Int("mnc_digits", 2, 3))
	return form.Field(o, "first", func(s string) (id.IMSI, error) {
		if mncDigits == 0 {
			return id.IMSI{}, nil // mnc_digits has its own fault
		}
		return id.ParseIMSI(s, mncDigits)
	})
}

// parseExpiry reads a time of RFC 3339 with whole seconds.
func parseExpiry(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Nanosecond() != 0 {
		return time.Time{}, form.Refuse("for example 2027-12-31T00:00:00Z", "%.40q is not a time of RFC 3339 with whole seconds", s)
	}
	t = t.UTC()
	if t.Year() < minExpiryYear || t.Year() > maxExpiryYear {
		return time.Time{}, fmt.Errorf("the year %d is not from %d to %d", t.Year(), minExpiryYear, maxExpiryYear)
	}
	return t, nil
}
