package cert

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/tlv"
)

func TestCheckECASD(t *testing.T) {
	t.Parallel()
	m := newMaker(t, P256)
	m.eum.by, m.eum.key = m.ci.key, testKey(P256, 6) // which signs in ecasd
	m.eum.set(SubjectKeyIDOf(must(FromECDSA(&m.eum.key.PublicKey)).ID()))
	eum := must(Parse(m.eum.der()))
	eid := must(hex.DecodeString(testEID))
	good := [][]byte{tlv.Encode(0x93, []byte{1}), tlv.Encode(0x42, []byte{2}), tlv.Encode(0x5F20, eid), tlv.Encode(0x95, []byte{0, 0x80}),
		tlv.Encode(0x5F25, []byte{0x20, 0x26, 1, 2}), tlv.Encode(0x5F24, []byte{0x20, 0x56, 1, 2}), tlv.Encode(0x45, eid),
		tlv.Encode(0x73, tlv.Encode(0xC9, eum.Values.SubjectKeyID)), tlv.Encode(0x7F49, tlv.Encode(0xB0, must(FromECDSA(&testKey(P256, 5).PublicKey)).Point()), tlv.Encode(0xF0, []byte{0}))}
	first, last := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2056, 1, 2, 23, 59, 59, 0, time.UTC)
	for _, c := range []struct {
		name  string
		at    time.Time
		field int
		value []byte
		want  []string
	}{
		{"good", inForce.At, 0, good[0], nil},
		{"on its first day", first, 0, good[0], nil},
		{"on its last day", last, 0, good[0], nil},
		{"before", first.Add(-time.Second), 0, good[0], []string{"euicc not-yet-valid"}},
		{"after", last.Add(time.Second), 0, good[0], []string{"euicc expired"}},
		{"no EID", inForce.At, 2, tlv.Encode(0x5F20, eid[:15]), []string{"euicc eid"}},
		{"check digits", inForce.At, 2, tlv.Encode(0x5F20, append(bytes.Clone(eid[:15]), 0x36)), []string{"euicc eid"}},
		{"for signatures", inForce.At, 3, tlv.Encode(0x95, []byte{0x82}), []string{"euicc key-usage"}},
		{"another EUM", inForce.At, 7, tlv.Encode(0x73, tlv.Encode(0xC9, []byte{1})), []string{"euicc authority-key-id"}},
		{"no EUM", inForce.At, 7, tlv.Encode(0x73, nil), []string{"euicc authority-key-id"}},
		{"another curve", inForce.At, 8, tlv.Encode(0x7F49, tlv.Encode(0xB0, must(FromECDSA(&testKey(BrainpoolP256r1, 5).PublicKey)).Point()), tlv.Encode(0xF0, []byte{3})), []string{"euicc curve"}},
	} {
		fields := slices.Clone(good)
		fields[c.field] = c.value
		err := CheckECASD(eum, must(ParseECASD(ecasd(t, P256, fields...))), c.at)
		if got := reasonsOf(err); !slices.Equal(got, c.want) {
			t.Errorf("%s: reasons %q, want %q\n%v", c.name, got, c.want, err)
		}
	}
	whole := ecasd(t, P256, good...)
	whole[len(whole)-1] ^= 1
	err := CheckECASD(eum, must(ParseECASD(whole)), inForce.At)
	if got := reasonsOf(err); !slices.Equal(got, []string{"euicc signature"}) || !strings.HasPrefix(err.Error(), "euicc certificate "+testEID+": signature: ") {
		t.Errorf("spoilt signature: %v", err)
	}
}
