package saip

import (
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso/tlv"
)

// contents is what a design gives a file, by record or whole; nil for nothing. It is given in one way at most.
func (d FileDesign) contents(home Home) ([][]byte, error) {
	var ways [][][]byte
	add := func(records [][]byte, err error) error {
		if err == nil && records != nil {
			ways = append(ways, records)
		}
		return err
	}
	err := errors.Join(add(d.hexContent()), add(d.Name.content()), add(serviceTable(d.Services)), add(d.networks()), add(d.plmns()), add(identityTexts(d.Texts, home)), add(emergency(d.Numbers)))
	if err != nil {
		return nil, err
	}
	if len(ways) > 1 {
		return nil, errors.New("its content is given in more than one way")
	}
	if len(ways) == 0 {
		return nil, nil
	}
	return ways[0], nil
}

func (d FileDesign) hexContent() (records [][]byte, err error) {
	list := d.Records
	if d.Hex != "" {
		list = append([]string{d.Hex}, list...)
	}
	for _, text := range list {
		b, err := hexBytes("content", text, 0)
		if err != nil {
			return nil, err
		}
		records = append(records, b)
	}
	return records, nil
}

// content is EF.SPN: a byte of conditions and the name in the default alphabet, of which only letters, digits and marks
// that are as in ASCII are let through (TS 31.102 clause 4.2.12, TS 23.038 clause 6.2.1).
func (n *ServiceName) content() ([][]byte, error) {
	if n == nil {
		return nil, nil
	}
	const most, alike = 16, " !\"#%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if n.Text == "" || len(n.Text) > most || strings.Trim(n.Text, alike) != "" {
		return nil, fmt.Errorf("the name %q is not 1 to %d characters that are alike in ASCII and the default alphabet", n.Text, most)
	}
	conditions := byte(0)
	if n.ShowPLMN {
		conditions |= 0x01
	}
	if n.HideAbroad {
		conditions |= 0x02
	}
	content := make([]byte, 1+most)
	for i := range content {
		content[i] = 0xFF
	}
	content[0] = conditions
	copy(content[1:], n.Text)
	return [][]byte{content}, nil
}

// serviceTable is EF.UST or EF.IST: service n is bit n of the table, from 1.
func serviceTable(numbers []int) ([][]byte, error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	const most = 255
	var table []byte
	for _, n := range numbers {
		if n < 1 || n > most {
			return nil, fmt.Errorf("%d is no service", n)
		}
		for len(table) <= (n-1)/8 {
			table = append(table, 0)
		}
		table[(n-1)/8] |= 1 << ((n - 1) % 8)
	}
	return [][]byte{table}, nil
}

// accessBits are the access technologies of a list (TS 31.102 clause 4.2.5).
var accessBits = map[string]uint16{"utran": 0x8000, "eutran": 0x4000, "nr": 0x0800, "gsm": 0x0080}

func (d FileDesign) networks() ([][]byte, error) {
	if d.Networks == nil {
		return nil, nil
	}
	content := []byte{}
	for _, n := range *d.Networks {
		plmn, err := plmnOf(n.MCC, n.MNC)
		if err != nil {
			return nil, err
		}
		bits := uint16(0)
		for _, a := range n.Access {
			if accessBits[a] == 0 {
				return nil, fmt.Errorf("%q is no access technology: gsm, utran, eutran, nr", a)
			}
			bits |= accessBits[a]
		}
		content = append(append(content, plmn...), byte(bits>>8), byte(bits))
	}
	return [][]byte{content}, nil
}

func (d FileDesign) plmns() ([][]byte, error) {
	if d.PLMNs == nil {
		return nil, nil
	}
	content := []byte{}
	for _, n := range *d.PLMNs {
		plmn, err := plmnOf(n.MCC, n.MNC)
		if err != nil {
			return nil, err
		}
		content = append(content, plmn...)
	}
	return [][]byte{content}, nil
}

// plmnOf codes a network (TS 24.008 clause 10.5.1.13): digits swapped, F for the third of a short network code.
func plmnOf(mcc, mnc string) ([]byte, error) {
	if len(mcc) != 3 || len(mnc) < 2 || len(mnc) > 3 || strings.Trim(mcc+mnc, "0123456789") != "" {
		return nil, fmt.Errorf("%q and %q are not the codes of a network", mcc, mnc)
	}
	third := byte(0x0F)
	if len(mnc) == 3 {
		third = mnc[2] - '0'
	}
	return []byte{mcc[1]<<4 | mcc[0]&0x0F, third<<4 | mcc[2]&0x0F, mnc[1]<<4 | mnc[0]&0x0F}, nil
}

// identityTexts are the identities or the domain of an ISIM (TS 31.103 clause 4.2): a text in tag 80. The IMSI is of zeros
// but for its network.
func identityTexts(texts []string, home Home) (records [][]byte, err error) {
	const textTag, imsiDigits = 0x80, 15
	imsi := home.MCC + home.MNC
	imsi += strings.Repeat("0", max(imsiDigits-len(imsi), 0))
	mnc := home.MNC
	for len(mnc) < 3 {
		mnc = "0" + mnc
	}
	for _, text := range texts {
		text = strings.NewReplacer("{imsi}", imsi, "{mcc}", home.MCC, "{mnc}", mnc).Replace(text)
		if strings.ContainsAny(text, "{}") {
			return nil, fmt.Errorf("the text %q has a name in brackets that is none: {imsi}, {mcc}, {mnc}", text)
		}
		records = append(records, tlv.Encode(textTag, []byte(text)))
	}
	return records, nil
}

// emergency are records of EF.ECC (TS 31.102 clause 4.2.21): three bytes of swapped digits, and the category.
func emergency(numbers []Emergency) (records [][]byte, err error) {
	for _, n := range numbers {
		const most = 6
		if len(n.Number) == 0 || len(n.Number) > most || strings.Trim(n.Number, "0123456789") != "" {
			return nil, fmt.Errorf("%q is no emergency number", n.Number)
		}
		record := []byte{0xFF, 0xFF, 0xFF, byte(n.Category)}
		for i, c := range []byte(n.Number) {
			digit := c - '0'
			if i%2 == 0 {
				record[i/2] = 0xF0 | digit
			} else {
				record[i/2] = record[i/2]&0x0F | digit<<4
			}
		}
		records = append(records, record)
	}
	return records, nil
}
