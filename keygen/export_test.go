package keygen_test

import (
	"bytes"
	"crypto/aes"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/eis"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
)

// exportRig has one good unit, and its export item.
func exportRig(t *testing.T) (*rig, *unit, bus.ExportRequest) {
	t.Helper()
	r := newRig(t)
	r.openLot()
	u, q := r.goodUnit()
	return r, u, q
}

// goodUnit makes a unit, and the request for its output.
func (r *rig) goodUnit() (*unit, bus.ExportRequest) {
	r.t.Helper()
	u := r.claimUnit(newCard(r.t, testKMC, 1), 0, 0)
	if got := u.session(); !got.Good {
		r.t.Fatalf("%+v", got)
	}
	outcome := u.good()
	q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOutput, Receiver: "auc-x", Checkpoint: r.note()}
	q.Items = []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(outcome)}}
	return u, q
}

// decrypt undoes ECB with a key the receiver has.
func decrypt(t testing.TB, key, value []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, len(value))
	block.Decrypt(out, value)
	return out
}

// What leaves for the operator is what is on the chip.
func TestExportsWhatTheChipHolds(t *testing.T) {
	t.Parallel()
	r, u, q := exportRig(t)
	reply, err := r.vault.Export(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	got, places := map[string][]byte{}, 0
	for _, k := range reply.Results[0].Keys {
		got[k.Name] = decrypt(t, testK4, k.Value)
		if strings.HasPrefix(k.Name, "sd.") {
			places++
			wantKCV(t, k, got[k.Name])
			continue
		}
		if kcv := scp.KCV(got[k.Name]); (k.Name == "KI" || k.Name == "OPC") != bytes.Equal(k.KCV, kcv[:]) {
			t.Errorf("%s with check value %X", k.Name, k.KCV)
		}
	}
	opc, err := aka.OPc(got["KI"], testOP)
	if err != nil || !bytes.Equal(got["KI"], u.card.ki) || !bytes.Equal(got["OPC"], opc[:]) || !bytes.Equal(opc[:], u.card.opc) {
		t.Errorf("Ki or OPc is not the chip's: %v", err)
	}
	ff := bytes.Repeat([]byte{0xFF}, 8)
	blocks := bytes.Join([][]byte{got["PIN1"][:8], got["PUK1"][:8], got["PIN2"][:8], got["PUK2"][:8], got["ADM1"][:8], ff}, nil)
	if !bytes.Equal(blocks, u.card.pins) || len(got) != 7+places || places != 3 || !bytes.Equal(got["PIN1"][4:], bytes.Repeat([]byte{0xFF}, 12)) {
		t.Errorf("codes are not the chip's: %d values", len(got))
	}
	everySecretLeaves(t, u.card.pkg, got)
	q.Kind, q.Receiver = bus.ExportEIS, "smsr-x"
	if reply, err = r.vault.Export(ctx, q); err != nil || len(reply.Results[0].Keys) != 3 {
		t.Fatalf("%v, %+v", err, reply)
	}
	for i, k := range reply.Results[0].Keys {
		if kcv := scp.KCV(decrypt(t, testKW, k.Value)); k.Name != []string{"OTA.KIC", "OTA.KID", "OTA.KIK"}[i] || !bytes.Equal(k.KCV, kcv[:]) {
			t.Errorf("%s with check value %X", k.Name, k.KCV)
		}
	}
}

// wantKCV: the check value of a key of a security domain is of its own kind.
func wantKCV(t *testing.T, k bus.WrappedKey, key []byte) {
	t.Helper()
	want := scp.KCV(key)
	if k.Kind == "3des-2key" {
		block, err := des.NewTripleDESCipher(append(bytes.Clone(key), key[:8]...))
		if err != nil {
			t.Fatal(err)
		}
		sum := make([]byte, des.BlockSize)
		block.Encrypt(sum, sum)
		want = [3]byte(sum)
	}
	if (k.Kind != "3des-2key" && k.Kind != "aes-128") || !bytes.Equal(k.KCV, want[:]) {
		t.Errorf("%s of kind %q with check value %X, want %X", k.Name, k.Kind, k.KCV, want)
	}
}

// everySecretLeaves: whatever secret a card got with its package, the operator gets.
func everySecretLeaves(t *testing.T, pkg []byte, got map[string][]byte) {
	t.Helper()
	p, err := saip.Decode(bytes.Clone(pkg))
	if err != nil {
		t.Fatal(err)
	}
	points, err := p.Points()
	if err != nil {
		t.Fatal(err)
	}
	secrets := 0
	for _, pt := range points {
		if !pt.Secret {
			continue
		}
		secrets++
		value, told := pkg[pt.Offset:pt.Offset+pt.Length], false
		for _, v := range got {
			told = told || bytes.HasPrefix(v, value)
		}
		if !told {
			t.Errorf("%s is on the card, and nobody gets it", pt.Name)
		}
	}
	if secrets == 0 {
		t.Error("the package has no secret")
	}
}

// signable is the EumSignedInfo of a unit.
func signable(t *testing.T, u *unit, change func(*eis.SignedFields)) []byte {
	t.Helper()
	e := u.claim.EID.Bytes()
	f := eis.SignedFields{EID: u.claim.EID, EUMID: "2.999.5", ProductionDate: start, PlatformType: "M2M-OS", PlatformVersion: "2.0.0",
		LoadFileAID: sgpAID(0x0D00), ModuleAID: sgpAID(0x0E00),
		ECASD: eis.SecurityDomain{AID: aidECASD, SIN: e[:4], SDIN: e[:], Role: "ECASD", Keysets: []eis.Keyset{
			{Version: 0x74, Type: "CA", Certificate: &eis.Certificate{Index: 1, CAID: "2.999.5", Value: u.stored.Cert}}}},
		Capabilities: eis.Capabilities{SecurePacketVersion: "12.1.0", RemoteProvisioningVersion: "4.2.0"}}
	change(&f)
	b, err := eis.EumSignedInfo(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSignsEIS(t *testing.T) {
	t.Parallel()
	r, u, q := exportRig(t)
	q.Kind, q.Receiver = bus.ExportSign, "smsr-x"
	for name, c := range map[string]struct {
		change func(*eis.SignedFields)
		ok     bool
	}{
		"its own": {func(*eis.SignedFields) {}, true},
		"another eUICC": {func(f *eis.SignedFields) {
			f.EID, _ = r.release.EIDs.At(1)
		}, false},
		"another certificate": {func(f *eis.SignedFields) {
			f.ECASD.Keysets[0].Certificate.Value = bytes.Repeat([]byte{1}, 239)
		}, false},
	} {
		q.Items[0].Signed = signable(t, u, c.change)
		reply, err := r.vault.Export(ctx, q)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		x, err := x509.ParseCertificate(r.made.EISCert)
		if err != nil {
			t.Fatal(err)
		}
		digest, sig := sha256.Sum256(eis.SignedInfo(sha256.Sum256(q.Items[0].Signed))), reply.Results[0].Signature
		if !ecdsa.Verify(x.PublicKey.(*ecdsa.PublicKey), digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
			t.Error("signature does not verify")
		}
	}
	q.Items[0].Signed = nil
	if _, err := r.vault.Export(ctx, q); err == nil {
		t.Error("signed nothing")
	}
}

func TestRefusesExports(t *testing.T) {
	t.Parallel()
	r, u, q := exportRig(t)
	outcome := func(f func(*entry.Outcome)) func(*bus.ExportRequest) {
		return func(q *bus.ExportRequest) {
			seq := u.good(f)
			q.Checkpoint = r.note()
			q.Items = []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(seq)}}
		}
	}
	for name, c := range map[string]struct {
		change func(*bus.ExportRequest)
		want   string
	}{
		"another receiver":         {func(q *bus.ExportRequest) { q.Receiver = "smsr-x" }, "not released"},
		"output to the SM-SR":      {func(q *bus.ExportRequest) { q.Kind = bus.ExportEIS }, "not released"},
		"unknown kind":             {func(q *bus.ExportRequest) { q.Kind = "all" }, "kind"},
		"a unit twice":             {func(q *bus.ExportRequest) { q.Items = append(q.Items, q.Items[0]) }, "twice"},
		"a rejected unit":          {outcome(func(o *entry.Outcome) { o.Verdict = perso.VerdictRejectLive }), "ended"},
		"an unproven unit":         {outcome(func(o *entry.Outcome) { o.Receipt = [32]byte{} }), "ended"},
		"another chip's outcome":   {outcome(func(o *entry.Outcome) { o.EID, _ = r.release.EIDs.At(1) }), "another claim"},
		"another generation's":     {outcome(func(o *entry.Outcome) { o.Gen = 1 }), "another claim"},
		"outcome not in the log":   {func(q *bus.ExportRequest) { q.Items[0].Outcome.Proof = nil }, "proving outcome"},
		"no items":                 {func(q *bus.ExportRequest) { q.Items = nil }, "0 units"},
		"checkpoint of another":    {func(q *bus.ExportRequest) { q.Checkpoint = bytes.ToUpper(q.Checkpoint) }, "checkpoint"},
		"claim instead of outcome": {func(q *bus.ExportRequest) { q.Items[0].Outcome = q.Items[0].Claim }, "kind"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := q
			bad.Items = append([]bus.ExportItem{}, q.Items...)
			c.change(&bad)
			if reply, err := r.vault.Export(ctx, bad); err == nil || !strings.Contains(err.Error(), c.want) || reply.Results != nil {
				t.Errorf("got %v, want a refusal with %q", err, c.want)
			}
		})
	}
}

// I7: claims and good outcomes in the log, put there by whoever owns the database, bring out nothing: not of a chip that
// was never made, nor of one that failed, nor under another certificate than the chip's.
func TestExportsOnlyWhatProvedItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	made := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := made.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	torn := r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	torn.card.tearAt = 40
	if got := torn.session(); got.Failed == nil || !got.Failed.Secrets {
		t.Fatalf("%+v", got)
	}
	export := func(u *unit, kind bus.ExportKind, to perso.Name, change ...func(*entry.Outcome)) error {
		outcome := u.good(change...)
		q := bus.ExportRequest{Lot: testLot, Kind: kind, Receiver: to, Checkpoint: r.note()}
		q.Items = []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(outcome)}}
		_, err := r.vault.Export(ctx, q)
		return err
	}
	for range 2 {
		for name, u := range map[string]*unit{"never made": r.claimUnit(newCard(t, testKMC, 3), 2, 2), "torn": torn} {
			for kind, to := range map[bus.ExportKind]perso.Name{bus.ExportOutput: "auc-x", bus.ExportEIS: "smsr-x", bus.ExportSign: "smsr-x"} {
				if err := export(u, kind, to); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "did not prove it here") {
					t.Errorf("%s, %s: %v", name, kind, err)
				}
			}
		}
		if err := export(made, bus.ExportOutput, "auc-x", func(o *entry.Outcome) { o.Cert = [32]byte{1} }); code(err) != bus.FaultRefused {
			t.Errorf("another certificate: %v", err)
		}
		if err := export(made, bus.ExportOutput, "auc-x"); err != nil {
			t.Errorf("the good one: %v", err)
		}
		r.reopenVault() // what counts is in the journal
		r.openLot()
	}
}
