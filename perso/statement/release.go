package statement

import (
	"fmt"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// KindRelease names the statement that lets a lot be made.
const KindRelease = "release"

// MaxLotUnits bounds Q+S of one lot; larger orders are cut into lots.
const MaxLotUnits = 1_000_000

// Release is what two officers sign so that the vault will make a lot: never more than Good units from Good+Spares
// identities (I7), with exactly these hashes, ranges, keys and receivers. The vault obeys this and nothing else.
type Release struct {
	Env     perso.Env
	Site    perso.Name
	Lot     perso.Name
	Order   string // order number
	At      time.Time
	Expires time.Time
	Nonce   [32]byte

	OrderHash   [32]byte // order.Canonical content
	Product     string   // SKU
	ProductHash [32]byte
	ScriptHash  [32]byte // compiled script

	Good   uint64
	Spares uint64
	EIDs   id.EIDRange // empty where the product is no eUICC
	ICCIDs id.ICCIDRange
	IMSIs  id.IMSIRange
	Remake string // "same-identity" or "fresh-identity"

	KiSource  string
	Customer  CustomerKi // with the Ki source "customer" only
	KeyOrigin string     // empty where the product is no eUICC
	Algorithm string
	Codes     string // policy of PIN, PUK and ADM (perso/order/codes); empty for the default one
	PIN1      string // "asked" when a device must ask for it; empty when not before the subscriber wants it

	ChipID     string // product's chip_id
	Channel    string // how secrets get onto the chip: "scp03", "scp02", or "adm" without a secure channel
	FactoryKVN byte   // 0 with "adm", as is CardKVN
	CardKVN    byte
	Proof      string // what makes a unit good, and whether that trusts the line (perso/product)
	AuthProof  string

	KMC           perso.Name // chip maker's key
	OP            perso.Name // sealed operator key
	TransportKey  perso.Name // K4
	TransportMode string     // layout of what is under it (perso/order/k4); empty for AES-ECB
	ReceiverKey   string     // of an envelope: number and fingerprint of the receiver's public key (perso/order/k4)
	WrapKey       perso.Name // SM-SR wrap key; empty where the product is no eUICC
	SMSR          perso.Name // receiver of the EIS batch; empty where the product is no eUICC
	Delivery      perso.Name // receiver of the output file

	// Asks is what the order asks the lot to go through, beyond the site's policy.
	Asks Demands
	// Constants of the lot: values of the script's public variables that are equal on every card, by variable name.
	Constants []Constant
	// Packages are the profile packages of the lot, in the order in which a chip gets them.
	Packages []Package
	// Operational is the subscription of the second package's profile; there with a package PackageOperational, and only then.
	Operational Operational
}

// PackageOperational is the variable of the package of an operational profile (script.PackageOperational).
const PackageOperational = "PROFILE2"

// Package is a profile package as the vault gets it: prepared for the lot, without a secret.
type Package struct {
	Variable string     // of the script
	Name     perso.Name // in the office's catalogue, for people
	Bytes    uint64
	Hash     [32]byte // SHA-256
}

// MaxPackages bounds the packages of a lot.
const MaxPackages = 8

// The Ki source whose Ki come in a file (perso/order).
const kiCustomer = "customer"

// CustomerKi is the file of Ki that an operator sent: the vault opens no row but those of this root, with this key.
type CustomerKi struct {
	Root       [32]byte   // of the rows (perso/order/kifile)
	Rows       uint64     // one for each unit
	ReceiveKey perso.Name // key that they are under
	Mode       string     // how
	Output     string     // "wrapped" when Ki go into the output file, "omitted" when they do not
}

// Constant is one lot constant.
type Constant struct {
	Name  string // variable name of the script
	Value []byte
}

// MaxConstants bounds the lot constants.
const MaxConstants = 64

// Units is Q+S.
func (r Release) Units() uint64 { return r.Good + r.Spares }

// EUICC says whether the lot's chips have EIDs and certificates.
func (r Release) EUICC() bool { return r.EIDs.Count() > 0 }

// The channel of a chip that has no secure one, and how its list of proofs ends (perso/product).
const (
	channelADM, trustsLine       = "adm", "(trusts the line)"
	channelSCP02, trustsContents = "scp02", "(contents trust the line)"
)

// TrustsLine says that "good" rests on the word of a line that reads the chip's secrets while it writes them.
func (r Release) TrustsLine() bool { return r.Channel == channelADM }

// TrustsContents says that a chip proves its keys, and that all else which was read from it is the line's word.
func (r Release) TrustsContents() bool { return r.Channel == channelSCP02 }

// Receivers says who gets which export of the lot, by the export's kind: the operator his output file; the subscription manager
// the EIS of eUICCs; of SIMs a list of cards goes where the output file goes.
func (r Release) Receivers() map[string]perso.Name {
	if r.HasOperational() {
		return map[string]perso.Name{"eis": r.SMSR, "output": r.Delivery, "operational": r.Operational.Delivery}
	}
	if r.EUICC() {
		return map[string]perso.Name{"eis": r.SMSR, "output": r.Delivery}
	}
	return map[string]perso.Name{"output": r.Delivery, "cards": r.Delivery}
}

// Encode gives the body to sign.
func (r Release) Encode() ([]byte, error) {
	w := record.New(KindRelease).Str("env", string(r.Env)).Str("site", string(r.Site)).Str("lot", string(r.Lot)).Str("order", r.Order).
		Time("at", r.At).Time("expires", r.Expires).Hex("nonce", r.Nonce[:]).
		Hex("order_hash", r.OrderHash[:]).Str("product", r.Product).Hex("product_hash", r.ProductHash[:]).Hex("script_hash", r.ScriptHash[:]).
		Uint("good", r.Good).Uint("spares", r.Spares).
		Str("eid_first", r.EIDs.First().String()).Uint("eid_count", r.EIDs.Count()).
		Str("iccid_first", r.ICCIDs.First().String()).Uint("iccid_count", r.ICCIDs.Count()).
		Str("imsi_first", r.IMSIs.First().String()).Uint("imsi_mnc_digits", uint64(r.IMSIs.First().MNCDigits())).Uint("imsi_count", r.IMSIs.Count()).
		Str("remake", r.Remake).Str("ki_source", r.KiSource)
	if k := r.Customer; r.KiSource == kiCustomer {
		w.Hex("ki_root", k.Root[:]).Uint("ki_rows", k.Rows).Str("receive_key", string(k.ReceiveKey)).Str("receive_mode", k.Mode).Str("ki_output", k.Output)
	}
	w.Str("key_origin", r.KeyOrigin).Str("algorithm", r.Algorithm).Str("codes", r.Codes).Str("pin1", r.PIN1).
		Str("chip_id", r.ChipID).Str("channel", r.Channel).Uint("factory_kvn", uint64(r.FactoryKVN)).Uint("card_kvn", uint64(r.CardKVN)).
		Str("proof", r.Proof).Str("auth_proof", r.AuthProof).
		Str("kmc", string(r.KMC)).Str("op", string(r.OP)).Str("transport_key", string(r.TransportKey)).Str("transport_mode", r.TransportMode).Str("receiver_key", r.ReceiverKey).Str("wrap_key", string(r.WrapKey)).
		Str("smsr", string(r.SMSR)).Str("delivery", string(r.Delivery)).Uint("packages", uint64(len(r.Packages)))
	for _, p := range r.Packages {
		w.Str("package", p.Variable).Str("package_name", string(p.Name)).Uint("package_bytes", p.Bytes).Hex("package_hash", p.Hash[:])
	}
	if r.HasOperational() {
		r.Operational.write(w)
	}
	if r.Asks != "" {
		w.Str("order_asks", string(r.Asks))
	}
	for _, c := range r.Constants {
		w.Str("constant", c.Name).Hex("value", c.Value)
	}
	return w.Bytes()
}

// ParseRelease reads a release body; it checks form and inner sense, not signatures.
func ParseRelease(body []byte) (Release, error) {
	d, err := record.Parse(body, KindRelease)
	if err != nil {
		return Release{}, fmt.Errorf("parsing release: %w", err)
	}
	var r Release
	r.Env, err = perso.ParseEnv(d.Raw("env"))
	d.Check(err)
	r.Site = d.Name("site")
	r.Lot = d.Name("lot")
	r.Order, r.At, r.Expires, r.Nonce = d.Raw("order"), d.Time("at"), d.Time("expires"), d.Hash("nonce")
	r.OrderHash, r.Product, r.ProductHash, r.ScriptHash = d.Hash("order_hash"), d.Raw("product"), d.Hash("product_hash"), d.Hash("script_hash")
	r.Good, r.Spares = d.Uint("good", 32), d.Uint("spares", 32)
	r.readRanges(d)
	r.Remake, r.KiSource = d.Raw("remake"), d.Raw("ki_source")
	if k := &r.Customer; r.KiSource == kiCustomer {
		k.Root, k.Rows = d.Hash("ki_root"), d.Uint("ki_rows", 32)
		k.ReceiveKey = d.Name("receive_key")
		k.Mode, k.Output = d.Raw("receive_mode"), d.Raw("ki_output")
	}
	r.KeyOrigin, r.Algorithm = d.Str("key_origin"), d.Raw("algorithm")
	r.Codes, r.PIN1 = d.Str("codes"), d.Str("pin1")
	r.ChipID, r.Channel, r.FactoryKVN, r.CardKVN = d.Raw("chip_id"), d.Raw("channel"), byte(d.Uint("factory_kvn", 8)), byte(d.Uint("card_kvn", 8))
	r.Proof, r.AuthProof = d.Raw("proof"), d.Raw("auth_proof")
	r.KMC = d.Name("kmc")
	r.OP = d.Name("op")
	r.TransportKey = d.Name("transport_key")
	r.TransportMode, r.ReceiverKey = d.Str("transport_mode"), d.Str("receiver_key")
	r.WrapKey = d.OptName("wrap_key")
	r.SMSR = d.OptName("smsr")
	r.Delivery = d.Name("delivery")
	r.readPackages(d)
	if r.HasOperational() {
		r.Operational.read(d)
	}
	if d.Next("order_asks") {
		r.Asks, err = ParseDemands(d.Raw("order_asks"))
		d.Check(err)
	}
	for d.More() && len(r.Constants) < MaxConstants {
		r.Constants = append(r.Constants, Constant{Name: d.Raw("constant"), Value: d.Hex("value")})
	}
	if err := d.Done(); err != nil {
		return Release{}, fmt.Errorf("parsing release: %w", err)
	}
	return r, r.sense()
}

func (r *Release) readPackages(d *record.Reader) {
	n := d.Uint("packages", 8)
	if n > MaxPackages {
		d.Check(fmt.Errorf("%d packages, at most %d", n, MaxPackages))
		return
	}
	for range n {
		p := Package{Variable: d.Raw("package")}
		p.Name = d.Name("package_name")
		p.Bytes, p.Hash = d.Uint("package_bytes", 32), d.Hash("package_hash")
		r.Packages = append(r.Packages, p)
	}
}

// readEIDs reads the range, which a product that is no eUICC does not have.
func (r *Release) readEIDs(d *record.Reader) {
	first, count := d.Str("eid_first"), d.Uint("eid_count", 32)
	if first == "" && count == 0 {
		return
	}
	eid, err := id.ParseEID(first)
	d.Check(err)
	r.EIDs, err = id.NewEIDRange(eid, count)
	d.Check(err)
}

func (r *Release) readRanges(d *record.Reader) {
	r.readEIDs(d)
	r.ICCIDs, r.IMSIs = readICCIDs(d, "iccid"), readIMSIs(d, "imsi")
}

func (r Release) sense() error {
	switch units := r.Units(); {
	case r.Good == 0 || units > MaxLotUnits:
		return fmt.Errorf("parsing release: %d good and %d spares are not within 1 to %d units", r.Good, r.Spares, MaxLotUnits)
	case r.EUICC() && r.EIDs.Count() < units || r.ICCIDs.Count() < units || r.IMSIs.Count() < units:
		return fmt.Errorf("parsing release: a range holds fewer than %d identities", units)
	case !r.Expires.After(r.At):
		return fmt.Errorf("parsing release: it expires before it begins")
	case r.KiSource == kiCustomer && r.Customer.Rows != units:
		return fmt.Errorf("parsing release: %d Ki of the customer for %d units", r.Customer.Rows, units)
	case r.PIN1 != "" && r.PIN1 != "asked":
		return fmt.Errorf("parsing release: unknown state %q of PIN1", r.PIN1)
	case r.Channel != channelADM && r.Channel != "scp03" && r.Channel != channelSCP02:
		return fmt.Errorf("parsing release: unknown channel %q", r.Channel)
	case r.TrustsLine() != strings.HasSuffix(r.Proof, " "+trustsLine), r.TrustsContents() != strings.HasSuffix(r.Proof, " "+trustsContents):
		return fmt.Errorf("parsing release: channel %q with the proof %q", r.Channel, r.Proof)
	case r.EUICC() != (r.KeyOrigin != "") || r.EUICC() != (r.SMSR != "") || r.EUICC() != (r.WrapKey != ""):
		return fmt.Errorf("parsing release: EIDs, key origin, wrap key and SM-SR belong to an eUICC, and to nothing else")
	case r.Remake != "same-identity" && r.Remake != "fresh-identity":
		return fmt.Errorf("parsing release: unknown re-make rule %q", r.Remake)
	}
	named := map[string]bool{}
	for _, p := range r.Packages {
		if named[p.Variable] {
			return fmt.Errorf("parsing release: package %q is there twice", p.Variable)
		}
		named[p.Variable] = true
	}
	if r.HasOperational() {
		if err := r.Operational.sense(r); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, c := range r.Constants { // who signs must not read one value while another is used
		if seen[c.Name] {
			return fmt.Errorf("parsing release: constant %q has two values", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}
