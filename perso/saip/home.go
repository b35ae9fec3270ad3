package saip

import (
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso/id"
)

// home is what a package says of the network of its subscriptions, in constants of the lot.
type home struct {
	texts     []string // "mnc001.mcc001", in identities that hold an IMSI
	mncDigits int      // by EF.AD; 0 where it doesn't say
	// equivalent are the networks of EF.EHPLMN, three bytes each: where there are any, a phone takes no other for its home (TS 31.102
	// clause 4.2.84).
	equivalent [][]byte
}

const (
	fidAD        = 0x6FAD
	fidEHPLMN    = 0x6FD9
	plmnBytes    = 3
	adMNCDigits  = 3    // byte of EF.AD with the length of the network code
	adMNCLowBits = 0x0F // of which the rest is reserved
)

func homeOf(chip *Chip) (h home) {
	for _, f := range chip.Files {
		d := chip.byPath[f.Path.Parent()]
		if d == nil || f.Link != "" {
			continue
		}
		switch kind := d.Application(); {
		case kind == PEISIM && (f.FID == fidIMPI || f.FID == fidIMPU):
			for _, one := range f.pieces {
				if one.node == nil {
					continue
				}
				if _, digits := imsiIn(one.node.value); digits > 0 {
					h.texts = append(h.texts, networkText.FindAllString(string(one.node.value), -1)...)
				}
			}
		case kind == PEUSIM && f.FID == fidAD && len(f.Content) > adMNCDigits:
			h.mncDigits = int(f.Content[adMNCDigits] & adMNCLowBits)
		case kind == PEUSIM && f.FID == fidEHPLMN:
			for plmn := range slices.Chunk(f.Content, plmnBytes) {
				if len(plmn) == plmnBytes && len(withoutFiller(plmn)) > 0 {
					h.equivalent = append(h.equivalent, slices.Clone(plmn))
				}
			}
		}
	}
	return h
}

// admits holds an IMSI to the network. The error doesn't quote it.
func (h home) admits(imsi id.IMSI) error {
	if h.mncDigits != 0 && h.mncDigits != imsi.MNCDigits() {
		return fmt.Errorf("its network code has %d digits, and EF.AD of the profile says %d", imsi.MNCDigits(), h.mncDigits)
	}
	want := Network{MCC: imsi.MCC(), MNC: imsi.MNC()}.text()
	for _, text := range h.texts {
		if text != want {
			return fmt.Errorf("its network is %s, and the identities of the profile speak of %s", want, text)
		}
	}
	own := imsi.PLMN()
	if len(h.equivalent) > 0 && !slices.ContainsFunc(h.equivalent, func(plmn []byte) bool { return slices.Equal(plmn, own[:]) }) {
		return fmt.Errorf("its network is %s, which is none of the home networks in EF.EHPLMN", want)
	}
	return nil
}

// text is the network as domains have it (TS 23.003 clause 13.2).
func (n Network) text() string {
	mnc := n.MNC
	for len(mnc) < 3 {
		mnc = "0" + mnc
	}
	return "mnc" + mnc + ".mcc" + n.MCC
}

// ProviderLot is the lot of a package that is made one of a provider's: home network and name in those files that the
// package has. EF.AD gets the length of the network code; EF.HPLMNwAcT and EF.EHPLMN get the network as their first entry,
// with all access technologies; EF.SPN gets the name, of at most 16 plain characters. The caller adds what else there is.
func ProviderLot(p *Package, network Network, name string) (Lot, error) {
	plmn, err := plmnOf(network.MCC, network.MNC)
	if err != nil {
		return Lot{}, fmt.Errorf("setting a provider: %w", err)
	}
	spn, err := (&ServiceName{Text: name}).content()
	if err != nil {
		return Lot{}, fmt.Errorf("setting a provider: %w", err)
	}
	chip, faults := p.Expand()
	if bad := faults.Refusing(); len(bad) > 0 {
		return Lot{}, bad
	}
	access := accessBits["utran"] | accessBits["eutran"] | accessBits["nr"] | accessBits["gsm"]
	lot := Lot{Home: &network}
	for _, c := range []Constant{
		{File: "usim/ef-spn", Content: spn[0]}, {File: "usim/ef-hplmnwact", Content: append(slices.Clone(plmn), byte(access>>8), byte(access))}, {File: "usim/ef-ehplmn", Content: plmn},
	} {
		if f := chip.Named(c.File); f != nil && f.Link == "" {
			lot.Files = append(lot.Files, c)
		}
	}
	if f := chip.Named("usim/ef-ad"); f != nil && len(f.Content) > adMNCDigits {
		ad := slices.Clone(f.Content)
		ad[adMNCDigits] = ad[adMNCDigits]&^adMNCLowBits | byte(len(network.MNC))
		lot.Files = append(lot.Files, Constant{File: "usim/ef-ad", Content: ad})
	}
	return lot, nil
}

// SampleIMSI is an IMSI of the network that the template's constants speak of, in no subscription's use: for dry runs.
func (t *Template) SampleIMSI() string {
	const digits, mccDigits, textMNC = 15, 3, 3
	mcc, mnc := "001", "01"
	if len(t.home.equivalent) > 0 && len(t.home.texts) == 0 { // nibbles: MCC 2 1, MNC 3 and MCC 3, MNC 2 1 (TS 24.008)
		e := fmt.Sprintf("%X", t.home.equivalent[0])
		if mcc, mnc = e[1:2]+e[0:1]+e[3:4], e[5:6]+e[4:5]; e[2] != 'F' {
			mnc += e[2:3]
		}
		return (mcc + mnc + "999999999999")[:digits]
	}
	if n := t.home.mncDigits; n != 0 {
		mnc = "001"[textMNC-n:]
	}
	if len(t.home.texts) > 0 { // mnc001.mcc001
		text := t.home.texts[0]
		mcc = text[len(text)-mccDigits:]
		mnc = text[len("mnc"):][:textMNC]
		if t.home.mncDigits != textMNC {
			mnc = mnc[1:]
		}
	}
	imsi := mcc + mnc
	for len(imsi) < digits {
		imsi += "9"
	}
	return imsi
}

// MNCDigits is the length of the network code, 2 or 3.
func (t *Template) MNCDigits() int {
	if t.home.mncDigits != 0 {
		return t.home.mncDigits
	}
	return 2
}
