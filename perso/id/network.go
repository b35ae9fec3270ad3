package id

import "fmt"

// PLMN is the home network as lists of networks have it (TS 24.008 clause 10.5.1.13): digits swapped, F for the third of a
// short network code. It is all zero for the zero value.
func (m IMSI) PLMN() (plmn [3]byte) {
	if m.IsZero() {
		return plmn
	}
	mcc, mnc, third := m.MCC(), m.MNC(), byte(0x0F)
	if len(mnc) == 3 {
		third = mnc[2] & 0x0F
	}
	return [3]byte{mcc[1]<<4 | mcc[0]&0x0F, third<<4 | mcc[2]&0x0F, mnc[1]<<4 | mnc[0]&0x0F}
}

// IMSDomain is the home network's domain of a subscription without an ISIM of the operator's (TS 23.003 clause 13.2).
func (m IMSI) IMSDomain() string {
	mnc := m.MNC()
	if len(mnc) < 3 {
		mnc = "0" + mnc
	}
	return fmt.Sprintf("ims.mnc%s.mcc%s.3gppnetwork.org", mnc, m.MCC())
}

// IMPI is the private user identity that follows from the IMSI (TS 23.003 clause 13.3). It is personal data.
func (m IMSI) IMPI() string { return m.String() + "@" + m.IMSDomain() }

// IMPU is the public user identity that follows from the IMSI (TS 23.003 clause 13.4B). It is personal data.
func (m IMSI) IMPU() string { return "sip:" + m.IMPI() }
