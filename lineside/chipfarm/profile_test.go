package chipfarm

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"testing"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// loader is a host of a chip in the farm: the channel of its ISD, and SCP03t inside it.
type loader struct {
	t      testing.TB
	client *Client
	host   *scp.Host
}

func (l *loader) send(raw []byte) []byte {
	l.t.Helper()
	resp, err := l.client.Transmit(l.t.Context(), 0, raw)
	if err != nil {
		l.t.Fatal(err)
	}
	data, sw, err := apdu.SWOf(resp)
	if err != nil || !sw.OK() {
		l.t.Fatalf("%X is answered %X, %v", raw, resp, err)
	}
	return bytes.Clone(data)
}

func (l *loader) open(keys scp.StaticKeys, challenge []byte) {
	l.t.Helper()
	l.send(unhex(selectISD))
	iu, err := scp.ParseInitUpdate(l.send(scp.InitUpdateCommand(0, challenge).Bytes()))
	if err != nil {
		l.t.Fatal(err)
	}
	if l.host, err = scp.OpenHost(keys, challenge, iu); err != nil {
		l.t.Fatal(err)
	}
	auth, err := l.host.ExternalAuthenticate(scp.LevelAll)
	if err != nil {
		l.t.Fatal(err)
	}
	l.send(auth)
}

// secure sends a command of header and data through the channel.
func (l *loader) secure(header string, data []byte) []byte {
	l.t.Helper()
	h := unhex(header)
	raw, mark, err := l.host.Wrap(apdu.Command{CLA: h[0], INS: h[1], P1: h[2], P2: h[3], Data: data, Le: apdu.MaxLe})
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := l.client.Transmit(l.t.Context(), 0, raw)
	if err != nil {
		l.t.Fatal(err)
	}
	answer, sw, err := l.host.UnwrapAt(mark, resp)
	if err != nil || !sw.OK() {
		l.t.Fatalf("%s%X is answered %v, %v", header, data, sw, err)
	}
	return answer
}

// object sends one object of SCP03t.
func (l *loader) object(one []byte) (answer []byte) {
	l.t.Helper()
	const block = scp.MaxDataS16Level33
	for n := byte(0); len(one) > 0; n++ {
		size, p1 := min(block, len(one)), byte(0x11)
		if size == len(one) {
			p1 = 0x91
		}
		answer, one = l.secure("80E2"+hex.EncodeToString([]byte{p1, n}), one[:size]), one[size:]
	}
	return answer
}

// TestProfileInAFarm loads a whole package into a chip of the farm that speaks S16, stops the farm, and reads the profile in the
// next one.
func TestProfileInAFarm(t *testing.T) {
	t.Parallel()
	pkg, err := os.ReadFile("../../deploy/profiles/bootstrap.der") // its codes and keys are zeros
	if err != nil {
		t.Fatal(err)
	}
	spec := testSpec(1)
	spec.Options = cardsim.Options{S16: true}
	f := serve(t, spec)
	l := &loader{t: t, client: f.client()}
	mustContact(t, l.client, 0)
	m, err := newMaker(spec)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.personality(0)
	if err != nil {
		t.Fatal(err)
	}
	challenge := bytes.Repeat([]byte{5}, 16)
	l.open(p.Keys, challenge)

	const head, isdp = "A0000005591010FFFFFFFF8900", "A0000005591010FFFFFFFF8900001000"
	lv := func(hexes ...string) (out []byte) {
		for _, h := range hexes {
			out = append(append(out, byte(len(h)/2)), unhex(h)...)
		}
		return out
	}
	l.secure("80E60C00", lv(head+"000D00", head+"000E00", isdp, "80C000", "C90481020370", ""))
	l.secure("80E62000", slices.Concat([]byte{0, 0}, lv(isdp), []byte{0, 0, 0}))
	keys := scp.StaticKeys{ENC: bytes.Repeat([]byte{1}, 16), MAC: bytes.Repeat([]byte{2}, 16), DEK: bytes.Repeat([]byte{3}, 16)}
	for i, key := range [][]byte{keys.ENC, keys.MAC, keys.DEK} {
		enc, err := l.host.EncryptDEK(key)
		if err != nil {
			t.Fatal(err)
		}
		kcv := scp.KCV(key)
		template := slices.Concat([]byte{0x95, 1, []byte{0x38, 0x34, 0xC8}[i], 0x80, 1, 0x88, 0x81, 1, 16, 0x82, 1, byte(i + 1), 0x83, 1, 0x30, 0x84, 3}, kcv[:])
		l.secure("80E28800", tlv.AppendDGI(tlv.AppendDGI(nil, 0x00B9, template), 0x8113, enc))
	}
	iu, err := scp.ParseInitUpdateTLV(l.object(scp.InitUpdateTLV(0x30, 1, challenge)))
	if err != nil {
		t.Fatal(err)
	}
	host, err := scp.OpenHost(keys, challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := host.ExternalAuthenticateTLV()
	if err != nil {
		t.Fatal(err)
	}
	if err := scp.AuthenticatedTLV(l.object(auth)); err != nil {
		t.Fatal(err)
	}
	l.segments(host, pkg)

	f.stop()
	f.start()
	l.client = f.client()
	if atr, err := l.client.Contact(t.Context(), 0); err != nil || len(atr) == 0 {
		t.Fatalf("ATR %X, %v", atr, err)
	}
	l.send(unhex("00A40004022F0500"))
	if got := l.send(unhex("00B0000002")); !bytes.Equal(got, []byte("en")) {
		t.Errorf("EF.PL is %X", got)
	}
}

// segments sends a package, and wants the chip to have taken it.
func (l *loader) segments(host *scp.Host, pkg []byte) {
	l.t.Helper()
	var report []byte
	for len(pkg) > 0 {
		n := min(len(pkg), scp.MaxTLVData)
		sent, mark, err := host.WrapTLV(pkg[:n])
		if err != nil {
			l.t.Fatal(err)
		}
		if report, err = host.UnwrapTLV(mark, l.object(sent)); err != nil {
			l.t.Fatal(err)
		}
		pkg = pkg[n:]
	}
	if !bytes.Equal(report, unhex("3007A0053003800100")) {
		l.t.Fatalf("report %X", report)
	}
}
