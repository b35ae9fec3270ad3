// Package order is the door for what customers send: it turns an order file into an Order, or into a report of every
// fault in it, and turns an Order into a Resolved one whose identities are all known.
//
// The way of an order: Intake (Parse, then Check against the catalogue of products and partners), then the ledger gives
// numbers where the customer asked to "allocate", then Resolve. Officers release it with its Hash. An Order is a value;
// the same content is the same order, however it was laid out (Canonical, Hash). ORDER.md describes the file and the
// partner files.
//
// The office, the ledger and the commands call this package; the vault reads only what a release quotes from it. It does
// no I/O but through the reader and the file system that it is given, and reads no clock.
//
// Sources: GSMA SGP.02 (SM-SR, EIS, EUM), ITU-T E.118 (ICCID), 3GPP TS 23.003 (IMSI), TS 35.206 (Milenage), TS 35.231 (TUAK).
package order

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/form"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/statement"
)

const (
	// MaxFileBytes bounds an order file. One order has 1 KiB; lists of cards do not belong in it. A file of this size
	// still fits one message of the bus, so that the ledger itself refuses, and records, a larger one.
	MaxFileBytes = 512 << 10
	// MaxQuantity bounds good units and spares together: what one release can hold.
	MaxQuantity = 1_000_000
	// MaxIDChars fits columns, labels and file names.
	MaxIDChars = 32

	// fileVersion is the version of the order form (ORDER.md).
	fileVersion = 1
)

// Fault is one thing wrong with an order or a partner file.
type Fault = form.Fault

// FaultList is all that is wrong. Its pointer is an error, its Err gives nil when it is empty.
type FaultList = form.FaultList

// ID is the order number that customer and maker share, in capitals so that nobody tells two orders apart by case.
type ID string

var idForm = regexp.MustCompile(`^[A-Z0-9][A-Z0-9._-]{0,31}$`)

// ParseID reads 1 to 32 of A-Z 0-9 . _ - beginning with a letter or digit.
func ParseID(s string) (ID, error) {
	if !idForm.MatchString(s) {
		return "", form.Refuse("for example DEMO-2027-0001", "%.60q is not 1 to %d of A-Z 0-9 . _ - beginning with a letter or digit", s, MaxIDChars)
	}
	return ID(s), nil
}

// KiSource says where Ki comes from.
type KiSource string

// The sources of Ki.
const (
	KiDerived  KiSource = "derived"  // from the lot key and the chip id
	KiRandom   KiSource = "random"   // random of the HSM, sealed in the claim
	KiCustomer KiSource = "customer" // the customer's, as he encrypted them (package kifile)
)

// CustomerKiBytes is the length of the Ki that a customer's file can hold: that of Milenage and of TUAK with k=128.
const CustomerKiBytes = 16

// KiOutput says what of a customer's own Ki goes into the output file.
type KiOutput string

// What goes into the output file.
const (
	KiWrapped KiOutput = "wrapped" // Ki under the transport key, as from every other source
	KiOmitted KiOutput = "omitted" // only their check values: the customer's AuC has them
)

// PIN1State says whether a device has to ask for PIN1 of a new SIM.
type PIN1State string

// The states.
const (
	PIN1Off   PIN1State = "off" // not before the subscriber wants it
	PIN1Asked PIN1State = "asked"
)

// KeyOrigin says who makes the eUICC's certificate key pair.
type KeyOrigin string

// The origins of the key pair.
const (
	KeyCard KeyOrigin = "card" // the chip, which proves possession
	KeyHSM  KeyOrigin = "hsm"  // the vault, which injects it
	KeyNone KeyOrigin = ""     // nobody: the product is no eUICC
)

// Remake says what a unit gets when its chip was lost. The EID is a fresh one in any case (I1).
type Remake string

// The ways to re-make a unit.
const (
	SameIdentity  Remake = "same-identity"  // the same ICCID and IMSI with new keys
	FreshIdentity Remake = "fresh-identity" // ICCID and IMSI from the spares
)

// Order is what a customer asks for. Parse is its only door.
type Order struct {
	ID       ID
	Customer string // name, for people
	Product  product.SKU
	Quantity uint64 // Q: good units to deliver
	Spares   uint64 // S: identities beyond Q, for losses

	// The identities. An empty range asks the ledger to allocate one from the pools of the site.
	EID   id.EIDRange
	NoEID bool // the order names no EID, as one for a SIM does not: none is allocated
	ICCID id.ICCIDRange
	IMSI  id.IMSIRange

	Algorithm    auth.Algorithm
	OPKey        perso.Name // sealed operator key of the vault: OP, OPc, TOP or TOPc
	TransportKey k4.Key     // key that wraps Ki and OPc for the provider's AuC, and the layout that the AuC reads
	Codes        codes.Policy
	PIN1         PIN1State
	SUCI         string     // public keys of the home network, as suci.ParseInfo reads them; empty for none
	SMSR         perso.Name // receiver of the EIS; empty in an order for a SIM
	Provider     perso.Name // whose subscription it is: of the bootstrap profile, or of the SIM
	Profile      perso.Name // package of the bootstrap profile; the provider's own when empty
	Delivery     perso.Name // receiver of the output files
	Operational  Operational

	KiSource  KiSource
	KiOutput  KiOutput // KiWrapped but for an order with Ki of the customer
	KeyOrigin KeyOrigin
	Remake    Remake
	Asks      statement.Demands
	Expires   time.Time // UTC, whole seconds: no release may be used after it; zero when not limited
}

// Total is Q+S: the number of identities of each kind.
func (o Order) Total() uint64 { return o.Quantity + o.Spares }

// Hash is SHA-256 of the canonical form.
func (o Order) Hash() [32]byte { return sha256.Sum256(o.Canonical()) }

// Canonical is the content as an order file in the form of RFC 8785, with every default written out. Parse reads it back
// as the same order. What has no value in most orders, or none for the product, is left out (codes of the default policy, PIN1 off,
// no SUCI, Ki wrapped, no demands, no expiry; of a SIM EID, SM-SR and key origin). Two files with the same content, whatever their layout, have the same canonical form.
func (o Order) Canonical() []byte {
	content := map[string]any{
		"version":            fileVersion,
		"order":              o.ID,
		"customer":           o.Customer,
		"product":            o.Product,
		"quantity":           o.Quantity,
		"spares":             o.Spares,
		"iccid":              writeNumbers(o.ICCID, nil),
		"imsi":               writeNumbers(o.IMSI, map[string]any{"mnc_digits": o.IMSI.First().MNCDigits()}),
		"auth":               map[string]any{"algorithm": o.Algorithm.String(), "op_key": o.OPKey},
		"transport_key":      o.TransportKey.String(),
		"bootstrap_provider": o.Provider,
		"delivery":           map[string]any{"target": o.Delivery},
		"ki_source":          o.KiSource,
		"remake":             o.Remake,
	}
	if !o.NoEID {
		content["eid"] = writeNumbers(o.EID, nil)
	}
	if o.SMSR != "" {
		content["sm_sr"] = o.SMSR
	}
	if o.KeyOrigin != KeyNone {
		content["key_origin"] = o.KeyOrigin
	}
	if o.Codes != codes.Default() && o.Codes != (codes.Policy{}) {
		content["codes"] = o.Codes.String()
	}
	if o.PIN1 == PIN1Asked {
		content["pin1"] = o.PIN1
	}
	if o.SUCI != "" {
		content["suci"] = o.SUCI
	}
	if o.Profile != "" {
		content["profile"] = o.Profile
	}
	if o.Operational.Ordered() {
		content["operational"] = o.Operational.canonical()
	}
	if o.KiOutput == KiOmitted {
		content["ki_output"] = o.KiOutput
	}
	if o.Asks != "" {
		content["asks"] = string(o.Asks)
	}
	if !o.Expires.IsZero() {
		content["expires"] = o.Expires.Format(time.RFC3339)
	}
	b, err := form.Canonicalize(content)
	if err != nil {
		panic(fmt.Sprintf("order: an order that was not parsed: %v", err)) // a parsed order holds only valid text
	}
	return b
}

// numbers is what the three kinds of range have in common.
type numbers[T fmt.Stringer] interface {
	First() T
	Count() uint64
}

func writeNumbers[T fmt.Stringer](r numbers[T], more map[string]any) any {
	if r.Count() == 0 {
		return allocate
	}
	content := map[string]any{"first": r.First().String(), "count": r.Count()}
	for name, value := range more {
		content[name] = value
	}
	return content
}
