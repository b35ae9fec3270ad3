package keygen_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/statement"
)

// newRigOfTwo is a rig whose lot has an operational profile beside the bootstrap one, with numbers of its own.
func newRigOfTwo(t *testing.T, change ...func(*statement.Release)) *rig {
	t.Helper()
	r := newRig(t)
	r.two = true
	r.compile()
	r.release = r.newRelease("S1")
	r.release.Constants = append(r.release.Constants, statement.Constant{Name: "AID.ISDP2", Value: aidISDP2}, statement.Constant{Name: "PROFILE2.POL1", Value: []byte{0}})
	iccid, err1 := id.ParseICCID("8988247000200003318")
	imsi, err2 := id.ParseIMSI("901700000500001", 2)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	two := &r.release.Operational
	if two.ICCIDs, err1 = id.NewICCIDRange(iccid, 3); err1 == nil {
		two.IMSIs, err1 = id.NewIMSIRange(imsi, 3)
	}
	if err1 != nil {
		t.Fatal(err1)
	}
	two.Algorithm, two.OP, two.TransportKey, two.Delivery = "milenage", "op-1", "k4-1", "auc-y"
	for _, c := range change {
		c(&r.release)
	}
	r.signed = r.sign(r.release, "ann", "bob")
	return r
}

// secretsOf are the secret places of a loaded package.
func secretsOf(t *testing.T, pkg []byte) map[string][]byte {
	t.Helper()
	p, err := saip.Decode(bytes.Clone(pkg))
	if err != nil {
		t.Fatal(err)
	}
	points, err := p.Points()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, pt := range points {
		if pt.Secret {
			all[pt.Name] = pkg[pt.Offset : pt.Offset+pt.Length]
		}
	}
	return all
}

// A chip with two profiles has two packages, which share no secret, within the limits of HSM operations; each operator gets what is in
// his, and neither the other's.
func TestOperationalProfile(t *testing.T) {
	t.Parallel()
	r := newRigOfTwo(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := u.session(); !got.Good {
		t.Fatalf("%+v %+v", got, got.Failed)
	}
	u.checkOps("two profiles")
	if len(u.ops) != 6 || u.card.life[string(aidISDP2)] != 0x1F || u.card.life[string(aidISDP)] != 0x3F {
		t.Errorf("%d acts, second ISD-P in state %02X", len(u.ops), u.card.life[string(aidISDP2)])
	}
	first, second := secretsOf(t, u.card.pkg), secretsOf(t, u.card.pkg2)
	for name, value := range second {
		for other, known := range first {
			if bytes.Equal(value, known) && !strings.Contains(name, "pin.01") && !strings.Contains(name, "pin.81") {
				t.Errorf("%s of the operational profile is %s of the bootstrap one", name, other)
			}
		}
	}
	q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOperational, Receiver: "auc-y", Checkpoint: nil}
	outcome := u.good()
	q.Checkpoint, q.Items = r.note(), []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(outcome)}}
	got := map[string][]byte{}
	reply, err := r.vault.Export(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range reply.Results[0].Keys {
		got[k.Name] = decrypt(t, testK4, k.Value)
	}
	everySecretLeaves(t, u.card.pkg2, got)
	if bytes.Equal(got["KI"], u.card.ki) || len(reply.KCV) != 3 {
		t.Error("the second operator gets the first one's Ki")
	}
	for _, bad := range []bus.ExportRequest{{Kind: bus.ExportOperational, Receiver: "auc-x"}, {Kind: bus.ExportOutput, Receiver: "auc-y"}} {
		q.Kind, q.Receiver = bad.Kind, bad.Receiver
		if _, err := r.vault.Export(ctx, q); code(err) != bus.FaultRefused {
			t.Errorf("%s to %s: %v", q.Kind, q.Receiver, err)
		}
	}
}

// What officers may release of a second profile: numbers of its network, its own policy rules, a key that the token holds; and no number twice.
func TestOperationalRefusals(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*statement.Release){
		"identities of the profile speak of":             func(r *statement.Release) { r.Operational.IMSIs = otherNetwork(t) },
		"PROFILE2.POL1 is not what the package says":     func(r *statement.Release) { setConstant(r, "PROFILE2.POL1", []byte{2}) },
		"does not authenticate by":                       func(r *statement.Release) { r.Operational.Algorithm = "tuak k=128" },
		"which is not on the token":                      func(r *statement.Release) { r.Operational.TransportKey = "k4-none" },
		"not in an envelope":                             func(r *statement.Release) { r.Operational.TransportMode = "RSA-OAEP-AES" },
		"bootstrap and operational profile share number": func(r *statement.Release) { r.Operational.ICCIDs = r.ICCIDs },
	} {
		r := newRigOfTwo(t, change)
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
