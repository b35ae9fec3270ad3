package keygen_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/statement"
)

// sims makes the lot one of SIMs that are written over SCP03: no EID, no certificate, no SM-SR.
func (r *rig) sims() *rig {
	r.t.Helper()
	src, err := os.ReadFile("testdata/plain-sim.script")
	if err == nil {
		r.script, err = script.Compile(src, script.StandardCatalogue(len(smsrAddr), keygen.CertValueBytes))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.plain = true
	r.release.ScriptHash = r.script.Hash()
	r.release.EIDs, r.release.KeyOrigin, r.release.WrapKey, r.release.SMSR = id.EIDRange{}, "", "", ""
	r.signed = r.sign(r.release, "ann", "bob")
	return r
}

// fit makes a card one of the lot's product: of a SIM the application itself takes what the script stores.
func (r *rig) fit(c *card) *card {
	if r.plain {
		c.tags[string(aidUSIM)] = map[uint32][]byte{}
		delete(c.tags, string(aidECASD))
		delete(c.tags, string(aidISDR))
	}
	c.scp02 = r.scp02
	return c
}

// newCard is a card of the lot's product.
func (r *rig) newCard(number byte) *card { return r.fit(newCard(r.t, testKMC, number)) }

// A SIM is good by its three proofs, and what is issued, claimed and handed out knows no EID.
func TestMakesSIMs(t *testing.T) {
	t.Parallel()
	r := newRig(t).sims()
	r.openLot()
	u := r.claimUnit(r.newCard(1), 0, 0)
	if got := u.session(); !got.Good || len(u.results) != 3 {
		t.Fatalf("%+v %+v after %d acts", got, got.Failed, len(u.results))
	}
	u.checkOps("sim")
	if c := u.card; c.ki == nil || c.opc == nil || c.pins == nil || c.isdr != 3 || len(c.keys[0x30].ENC) == 0 || c.life[string(aidISD)] != 0x0F || c.pair != nil {
		t.Errorf("the card has Ki %v, OPc %v, PINs %v, %d OTA keys, key sets %v, life cycle %X", c.ki != nil, c.opc != nil, c.pins != nil, c.isdr, len(c.keys), c.life)
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
	if !bytes.Equal(got["KI"], u.card.ki) || len(got["OTA.KIC"]) != 16 || len(got["OTA.KIK"]) != 16 {
		t.Errorf("handed out: %d keys, Ki that of the card: %t", len(got), bytes.Equal(got["KI"], u.card.ki))
	}
	for _, kind := range []bus.ExportKind{bus.ExportEIS, bus.ExportSign} {
		q.Kind, q.Receiver = kind, ""
		if _, err := r.vault.Export(ctx, q); code(err) != bus.FaultRefused {
			t.Errorf("%s of a SIM: %v", kind, err)
		}
	}
}

// An outcome that names a certificate is none of a SIM's, and a claim with an EID is none either.
func TestSIMHasNoEIDAndNoCertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t).sims()
	r.openLot()
	u := r.claimUnit(r.newCard(1), 0, 0, func(c *entry.Claim) {
		c.EID, _ = id.ParseEID("89049032123451234512345678901235")
	})
	if got := u.session(); got.Refused == "" {
		t.Errorf("a claim with an EID: %+v", got)
	}
	u = r.claimUnit(r.newCard(2), 0, 0)
	if got := u.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	outcome := u.good(func(o *entry.Outcome) { o.Cert = [32]byte{1} })
	q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOutput, Receiver: "auc-x", Checkpoint: r.note()}
	q.Items = []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(outcome)}}
	if _, err := r.vault.Export(ctx, q); code(err) != bus.FaultRefused {
		t.Errorf("an outcome with a certificate: %v", err)
	}
}

// What officers released is what is made: a list of proofs that is too short, a script without one of them, what only an eUICC has.
func TestRefusedReleasesOfSIMs(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*statement.Release){
		"no AUTHENTICATE": func(r *statement.Release) { r.Proof = "scp-reopen, rmac-readback" },
		"no reopening":    func(r *statement.Release) { r.Proof = "authenticate" },
		"unknown proof":   func(r *statement.Release) { r.Proof += ", hope" },
		"signature":       func(r *statement.Release) { r.Proof += ", euicc-signature" },
		"SCP01":           func(r *statement.Release) { r.Channel = "scp01" },
		"trust":           func(r *statement.Release) { r.Proof += " (trusts the line)" },
		"SM-SR":           func(r *statement.Release) { r.SMSR = "smsr-x" },
		"key origin":      func(r *statement.Release) { r.KeyOrigin = "card" },
	} {
		r := newRig(t).sims()
		rel := r.release
		change(&rel)
		r.signed = r.sign(rel, "ann", "bob")
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := newRig(t).sims()
	r.compile() // the eUICC's
	rel := r.release
	rel.ScriptHash = r.script.Hash()
	r.signed = r.sign(rel, "ann", "bob")
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "only an eUICC has") {
		t.Errorf("the eUICC's script: %v", err)
	}
}

// A site that makes SIMs alone has no EUM: its vault makes them, and no eUICC.
func TestVaultWithoutEUM(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.EUMCert, r.cfg.EISCert = nil, nil
	r.reopenVault()
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), r.cfg.Keys.EUM.Label) || !strings.Contains(err.Error(), "first ceremony") {
		t.Errorf("eUICCs: %v", err)
	}
	r.sims()
	r.openLot()
	if got := r.claimUnit(r.newCard(1), 0, 0).session(); !got.Good {
		t.Errorf("%+v %+v", got, got.Failed)
	}
}
