package order

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/form"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/tlv"
)

func readEUM(top *form.Object, key perso.Name, name string) EUM {
	e := EUM{ID: key, Name: name, OID: form.Field(top, "oid", ParseOID), IIN: form.Field(top, "iin", digits(id.EIDIINDigits, id.EIDIINDigits))}
	e.EIDPool = readPool(top, "eid_pool", readEID, id.NewEIDRange)
	if eid := e.EIDPool.First(); !eid.IsZero() && e.IIN != "" && eid.IIN() != e.IIN {
		top.Fault("eid_pool.first", fmt.Sprintf("EID %q does not begin with the iin %s", eid, e.IIN), "")
	}
	return e
}

func readSMSR(top *form.Object, key perso.Name, name string) SMSR {
	return SMSR{
		ID: key, Name: name,
		OID:        form.Field(top, "oid", ParseOID),
		Endpoint:   form.Field(top, "endpoint", parseEndpoint),
		Addressing: form.Field(top, "addressing", parseAddressing),
		WrapKey:    form.Field(top, "wrap_key", perso.ParseName),
	}
}

func readProvider(top *form.Object, key perso.Name, name string) Provider {
	p := Provider{
		ID: key, Name: name,
		MNOOID:        form.Field(top, "mno_oid", ParseOID),
		SMDPOID:       form.FieldOr(top, "smdp_oid", "", ParseOID),
		SPN:           form.Field(top, "spn", parseSPN),
		PLMN:          form.Field(top, "plmn", digits(5, 6)),
		ICCIDIIN:      form.Field(top, "iccid_iin", parseICCIDIIN),
		OPKeys:        form.List(top, "op_keys", auth.ParseHeld),
		TransportKeys: form.List(top, "transport_keys", k4.ParseHeld),
	}
	for i, k := range p.OPKeys {
		if slices.ContainsFunc(p.OPKeys[:i], func(o auth.Held) bool { return o.Name == k.Name }) {
			top.Fault("op_keys", fmt.Sprintf("the key %q is there twice", k.Name), "")
		}
	}
	for i, k := range p.TransportKeys {
		if slices.ContainsFunc(p.TransportKeys[:i], func(o k4.Held) bool { return o.Name == k.Name }) {
			top.Fault("transport_keys", fmt.Sprintf("the key %q is there twice", k.Name), "")
		}
	}
	if top.Has("receive_keys") {
		p.ReceiveKeys = form.List(top, "receive_keys", perso.ParseName)
	}
	p.Profile = form.FieldOr(top, "profile", "", perso.ParseName)
	if top.Has("pol1") {
		p.POL1 = readPOL1(top)
	}
	mncDigits := int(top.Int("mnc_digits", 2, 3))
	if mncDigits != p.MNCDigits() && p.PLMN != "" && mncDigits != 0 {
		top.Fault("mnc_digits", fmt.Sprintf("is %d, but the plmn %s has %d digits", mncDigits, p.PLMN, len(p.PLMN)), "")
	}
	p.ICCIDPool = readPool(top, "iccid_pool", readICCID, id.NewICCIDRange)
	if c := p.ICCIDPool.First(); !c.IsZero() && !strings.HasPrefix(c.String(), p.ICCIDIIN) {
		top.Fault("iccid_pool.first", fmt.Sprintf("ICCID %q does not begin with the iccid_iin %s", c, p.ICCIDIIN), "")
	}
	p.IMSIPool = readPool(top, "imsi_pool", func(o *form.Object) id.IMSI {
		return form.Field(o, "first", func(s string) (id.IMSI, error) {
			if mncDigits == 0 {
				return id.IMSI{}, nil // mnc_digits has its own fault
			}
			return id.ParseIMSI(s, mncDigits)
		})
	}, id.NewIMSIRange)
	if m := p.IMSIPool.First(); !m.IsZero() && p.PLMN != "" && m.MCC()+m.MNC() != p.PLMN {
		top.Fault("imsi_pool.first", fmt.Sprintf("belongs to network %s, expected the plmn %s", m.MCC()+m.MNC(), p.PLMN), "")
	}
	return p
}

// readPOL1 reads the policy rules of a provider's profiles.
func readPOL1(top *form.Object) *profile.POL1 {
	words := form.List(top, "pol1", func(s string) (string, error) {
		_, err := profile.ParsePOL1([]string{s})
		return s, err
	})
	if top.Faulty("pol1") {
		return nil
	}
	p, err := profile.ParsePOL1(words)
	if err != nil {
		top.Fault("pol1", err.Error(), "")
	}
	return &p
}

func readReceiver(top *form.Object) k4.Receiver {
	number := top.Int("key_id", 0, math.MaxUint32)
	return form.Field(top, "public_key", func(s string) (k4.Receiver, error) {
		der, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return k4.Receiver{}, form.Refuse("the lines between BEGIN PUBLIC KEY and END PUBLIC KEY of a PEM file, joined", "%.20q is not base64", s)
		}
		return k4.ParseReceiver(uint32(number), der)
	})
}

func readPool[T, R any](top *form.Object, name string, first func(*form.Object) T, span func(T, uint64) (R, error)) R {
	var none R
	o := top.Object(name)
	from, count := first(o), o.Int("count", 1, MaxPoolNumbers)
	o.Close()
	if count == 0 || top.Faulty(name) {
		return none
	}
	r, err := span(from, count)
	if err != nil {
		o.Fault("first", err.Error(), "choose a lower first number, or a smaller count")
	}
	return r
}

var (
	endpointForm = regexp.MustCompile(`^https://[A-Za-z0-9.-]{1,200}(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?$`)
	iinForm      = regexp.MustCompile(`^89[0-9]{0,5}$`)
	// What ASCII and the GSM default alphabet code alike (3GPP TS 23.038).
	spnForm = regexp.MustCompile(`^[A-Za-z0-9 !"#%&'()*+,./:;<=>?-]*$`)
)

func parseEndpoint(s string) (string, error) {
	if !endpointForm.MatchString(s) {
		return "", form.Refuse("for example https://smsr.example:8443/es1", "%.100q is not an https address of host, port and path", s)
	}
	return s, nil
}

func parseICCIDIIN(s string) (string, error) {
	if !iinForm.MatchString(s) {
		return "", form.Refuse("for example 8988001", "%.20q is not 2 to 7 digits beginning with 89 (E.118)", s)
	}
	return s, nil
}

func parseSPN(s string) (string, error) {
	if _, err := form.Label(MaxSPNChars)(s); err != nil {
		return "", err
	}
	if !spnForm.MatchString(s) {
		return "", fmt.Errorf("%q holds a character that the GSM default alphabet codes otherwise than ASCII", s)
	}
	return s, nil
}

func parseAddressing(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) < 1 || len(b) > MaxAddressingBytes {
		return nil, fmt.Errorf("%.40q is not 1 to %d bytes in hexadecimal", s, MaxAddressingBytes)
	}
	elements, err := tlv.ParseAll(b)
	if err != nil {
		return nil, err
	}
	for _, e := range elements {
		if e.Tag < 0xA3 || e.Tag > 0xA5 {
			return nil, form.Refuse("SGP.02: A3 SMS, A4 CAT_TP, A5 HTTPS", "tag %X is not an addressing parameter", e.Tag)
		}
	}
	return b, nil
}

func digits(least, most int) func(string) (string, error) {
	return func(s string) (string, error) {
		if len(s) < least || len(s) > most || strings.Trim(s, "0123456789") != "" {
			return "", fmt.Errorf("%.20q is not %d to %d decimal digits", s, least, most)
		}
		return s, nil
	}
}
