package keygen_test

import (
	"bytes"
	"testing"

	"github.com/persoline/persoline/perso/bus"
)

// What the officers released for codes is what is on the card and what the operator gets.
func TestReleasedCodes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rel := r.release
	rel.Codes, rel.TransportMode = "PIN1=fixed:1234 PIN2=random:8 ADM1=bytes", "AES-CBC-0"
	r.signed = r.sign(rel, "ann", "bob")
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := u.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	outcome := u.good()
	q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOutput, Receiver: "auc-x", Checkpoint: r.note()}
	q.Items = []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(outcome)}}
	reply, err := r.vault.Export(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, k := range reply.Results[0].Keys {
		got[k.Name] = decrypt(t, testK4, k.Value)
	}
	if pin := got["PIN1"]; !bytes.Equal(pin, append([]byte("1234"), bytes.Repeat([]byte{0xFF}, 12)...)) {
		t.Errorf("PIN1 is %x", pin)
	}
	if pin := got["PIN2"]; bytes.IndexByte(pin, 0xFF) != 8 || len(bytes.Trim(pin[:8], "0123456789")) > 0 {
		t.Errorf("PIN2 is %x", pin)
	}
	if adm := got["ADM1"]; len(bytes.Trim(adm[:8], "0123456789")) == 0 || !bytes.Equal(adm[8:], bytes.Repeat([]byte{0xFF}, 8)) {
		t.Errorf("ADM1 is %x", adm)
	}
}

// A release that asks for what this vault does not make opens no lot.
func TestChoicesThatAreNotMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"fixed PUK": {"PUK1=fixed:12345678", ""}, "second ADM": {"ADM2=bytes", ""}, "no policy": {"x", ""},
		"unknown layout": {"", "AES"}, "Triple DES, of which no key is on the token": {"", "3DES-3KEY-ECB"}, "envelope to nobody": {"", "RSA-OAEP-AES"},
	} {
		r := newRig(t)
		rel := r.release
		rel.Codes, rel.TransportMode = c[0], c[1]
		r.signed = r.sign(rel, "ann", "bob")
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
