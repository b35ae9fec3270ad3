package id

import "testing"

func TestHomeNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		imsi string
		mnc  int
		plmn [3]byte
		impi string
	}{
		{"001010100000000", 2, [3]byte{0x00, 0xF1, 0x10}, "001010100000000@ims.mnc001.mcc001.3gppnetwork.org"},
		{"310410123456789", 3, [3]byte{0x13, 0x00, 0x14}, "310410123456789@ims.mnc410.mcc310.3gppnetwork.org"}, // TS 24.008: 13 00 14
	} {
		m, err := ParseIMSI(c.imsi, c.mnc)
		if err != nil {
			t.Fatal(err)
		}
		if m.PLMN() != c.plmn || m.IMPI() != c.impi || m.IMPU() != "sip:"+c.impi {
			t.Errorf("%s: network %x, identities %q %q", m.masked(), m.PLMN(), m.IMPI(), m.IMPU())
		}
	}
	if (IMSI{}).PLMN() != [3]byte{} {
		t.Error("no IMSI has a network")
	}
}
