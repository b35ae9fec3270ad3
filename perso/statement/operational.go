package statement

import (
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// Operational is the subscription of an operational profile that a chip has beside its bootstrap profile: its own numbers, its own
// authentication, and the receiver of its keys. Its Ki is derived, whatever the source of the bootstrap profile's is.
type Operational struct {
	ICCIDs id.ICCIDRange
	IMSIs  id.IMSIRange

	Algorithm     string
	OP            perso.Name // sealed operator key
	TransportKey  perso.Name // K4 of this operator
	TransportMode string     // layout of what is under it (perso/order/k4); empty for AES-ECB
	Delivery      perso.Name // receiver of his output file
}

// HasOperational says whether the lot's chips have an operational profile.
func (r Release) HasOperational() bool {
	return slices.ContainsFunc(r.Packages, func(p Package) bool { return p.Variable == PackageOperational })
}

func (o Operational) write(w *record.Writer) {
	w.Str("operational_iccid_first", o.ICCIDs.First().String()).Uint("operational_iccid_count", o.ICCIDs.Count()).
		Str("operational_imsi_first", o.IMSIs.First().String()).Uint("operational_imsi_mnc_digits", uint64(o.IMSIs.First().MNCDigits())).Uint("operational_imsi_count", o.IMSIs.Count()).
		Str("operational_algorithm", o.Algorithm).Str("operational_op", string(o.OP)).
		Str("operational_transport_key", string(o.TransportKey)).Str("operational_transport_mode", o.TransportMode).Str("operational_delivery", string(o.Delivery))
}

func (o *Operational) read(d *record.Reader) {
	o.ICCIDs = readICCIDs(d, "operational_iccid")
	o.IMSIs = readIMSIs(d, "operational_imsi")
	o.Algorithm = d.Raw("operational_algorithm")
	o.OP = d.Name("operational_op")
	o.TransportKey = d.Name("operational_transport_key")
	o.TransportMode = d.Str("operational_transport_mode")
	o.Delivery = d.Name("operational_delivery")
}

// sense refuses an operational profile that could not be told from the bootstrap one, or has too few numbers.
func (o Operational) sense(r Release) error {
	switch units := r.Units(); {
	case !r.EUICC():
		return fmt.Errorf("parsing release: a SIM with an operational profile beside its own")
	case o.ICCIDs.Count() < units || o.IMSIs.Count() < units:
		return fmt.Errorf("parsing release: a range of the operational profile holds fewer than %d identities", units)
	case o.ICCIDs.Overlaps(r.ICCIDs) || o.IMSIs.Overlaps(r.IMSIs):
		return fmt.Errorf("parsing release: bootstrap and operational profile share numbers")
	}
	return nil
}

func readICCIDs(d *record.Reader, key string) id.ICCIDRange {
	first, err := id.ParseICCID(d.Raw(key + "_first"))
	d.Check(err)
	all, err := id.NewICCIDRange(first, d.Uint(key+"_count", 32))
	d.Check(err)
	return all
}

func readIMSIs(d *record.Reader, key string) id.IMSIRange {
	digits := d.Raw(key + "_first")
	first, err := id.ParseIMSI(digits, int(d.Uint(key+"_mnc_digits", 8)))
	d.Check(err)
	all, err := id.NewIMSIRange(first, d.Uint(key+"_count", 32))
	d.Check(err)
	return all
}
