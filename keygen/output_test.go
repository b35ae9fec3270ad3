package keygen_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/envelope"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
)

// put brings a transport key in, as a later ceremony does.
func (r *rig) put(c hsm.Class, name string, value []byte) {
	r.t.Helper()
	k, err := hsm.NewKey(string(perso.EnvTest), c, name)
	if err == nil {
		err = r.token.Import(ctx, k, secret.New(bytes.Clone(value)))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// oneGood makes one good unit under the release as it was changed, and gives the request for its output.
func (r *rig) oneGood() bus.ExportRequest {
	r.t.Helper()
	r.signed = r.sign(r.release, "ann", "bob")
	r.openLot()
	u := r.claimUnit(newCard(r.t, testKMC, 1), 0, 0)
	if got := u.session(); !got.Good {
		r.t.Fatalf("%+v", got)
	}
	outcome := u.good()
	q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOutput, Receiver: "auc-x", Checkpoint: r.note()}
	q.Items = []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(outcome), Ki: u.stored.Ki}}
	return q
}

// openssl runs a cipher on whole blocks, IV zero; it knows nothing of this code. way is -d or -e.
func openssl(t *testing.T, way, mode string, key, in []byte) []byte {
	t.Helper()
	args := []string{"enc", way, "-" + mode, "-K", hex.EncodeToString(key), "-nopad"}
	if strings.HasSuffix(mode, "cbc") {
		args = append(args, "-iv", "00") // filled up with zeros
	}
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v", mode, err)
	}
	return out
}

// In every layout and with every length of key, another program finds Ki, OPc of the chip's own OP, codes that are filled
// up to a block, and check values of the right kind.
func TestOutputLayouts(t *testing.T) {
	t.Parallel()
	reftest.RequireTool(t, "openssl")
	key := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(7*i + n)
		}
		return b
	}
	for _, c := range []struct {
		layout k4.Layout
		class  hsm.Class
		mode   string
		key    []byte
	}{
		{k4.AESECB, hsm.ClassTransport, "aes-128-ecb", key(16)}, {k4.AESECB, hsm.ClassTransport, "aes-192-ecb", key(24)}, {k4.AESECB, hsm.ClassTransport, "aes-256-ecb", key(32)},
		{k4.AESCBC, hsm.ClassTransport, "aes-192-cbc", key(24)}, {k4.AESCBC, hsm.ClassTransport, "aes-256-cbc", key(32)},
		{k4.TDES2ECB, hsm.ClassTransport3DES, "des-ede-ecb", key(16)}, {k4.TDES2CBC, hsm.ClassTransport3DES, "des-ede-cbc", key(16)},
		{k4.TDES3ECB, hsm.ClassTransport3DES, "des-ede3-ecb", key(24)}, {k4.TDES3CBC, hsm.ClassTransport3DES, "des-ede3-cbc", key(24)},
	} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.put(c.class, "k4-x", c.key)
			r.release.TransportKey, r.release.TransportMode = "k4-x", string(c.layout)
			reply, err := r.vault.Export(ctx, r.oneGood())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]byte{}
			for _, k := range reply.Results[0].Keys {
				got[k.Name] = openssl(t, "-d", c.mode, c.key, k.Value)
				if isKey := k.Name == "KI" || k.Name == "OPC" || strings.HasPrefix(k.Name, "sd."); isKey != (k.KCV != nil) {
					t.Errorf("%s with check value %X", k.Name, k.KCV)
				} else if kcv := scp.KCV(got["KI"]); k.Name == "KI" && !bytes.Equal(k.KCV, kcv[:]) {
					t.Errorf("check value of Ki is %X, want %X", k.KCV, kcv)
				}
			}
			if opc, err := aka.OPc(got["KI"], testOP); err != nil || !bytes.Equal(opc[:], got["OPC"]) {
				t.Errorf("OPc is not of this Ki: %v", err)
			}
			for name, digits := range map[string]int{"PIN1": 4, "PUK1": 8, "PIN2": 4, "PUK2": 8, "ADM1": 8} {
				if code := bytes.TrimRight(got[name], "\xff"); len(code) != digits || len(got[name]) != c.layout.BlockBytes() {
					t.Errorf("%s opens as %x", name, got[name])
				}
			}
			check := make([]byte, c.layout.BlockBytes()) // zeros for Triple DES
			if c.layout.AES() {
				check = bytes.Repeat([]byte{1}, 16)
			}
			if want := openssl(t, "-e", c.mode[:len(c.mode)-3]+"ecb", c.key, check)[:3]; !bytes.Equal(reply.KCV, want) {
				t.Errorf("check value of the transport key is %X, want %X", reply.KCV, want)
			}
		})
	}
}

// envelopeRig has a release for a receiver's RSA key, and the site's key that signs envelopes.
func envelopeRig(t *testing.T) (r *rig, receiver *rsa.PrivateKey, der []byte) {
	t.Helper()
	receiver, err := rsa.GenerateKey(rand.Reader, k4.MinRSABits)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKIXPublicKey(receiver.Public()); err != nil {
		t.Fatal(err)
	}
	public, err := k4.ParseReceiver(7, der)
	if err != nil {
		t.Fatal(err)
	}
	r = newRig(t)
	r.release.TransportKey, r.release.TransportMode, r.release.ReceiverKey = "rk-x", string(k4.Envelope), public.Ref().String()
	return r, receiver, der
}

// The receiver opens what is on the chip, and the envelope is signed by the key in the HSM; asked again it is the same.
func TestOutputEnvelope(t *testing.T) {
	t.Parallel()
	r, receiver, der := envelopeRig(t)
	if err := r.token.Generate(ctx, r.made.Keys.Envelope); err != nil {
		t.Fatal(err)
	}
	q := r.oneGood()
	q.Key = der
	reply, err := r.vault.Export(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	public, err := r.token.Public(ctx, r.made.Keys.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	h := reply.Envelope
	o, err := envelope.NewHeader(7, h.Vendor, h.Sealed, h.Signature).Open(receiver, public.(*rsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{}
	for _, k := range reply.Results[0].Keys {
		s := envelope.NewSIM("89049032123451234512345678901235", "8988247000100003319", "901700000000001", k.Value)
		open, err := o.Open(s)
		if err != nil {
			t.Fatal(err)
		}
		_ = open.Reveal(func(b []byte) error { values[k.Name] = strings.Split(string(b), ":"); return nil })
	}
	ki, err := hex.DecodeString(values["CREDENTIALS"][3])
	opc, err2 := aka.OPc(ki, testOP)
	if err != nil || err2 != nil || values["CREDENTIALS"][4] != fmt.Sprintf("%X", opc) || len(values["CREDENTIALS"]) != 5 || len(values["CODES"]) != 8 {
		t.Errorf("opened %v, %v, %v", values, err, err2)
	}
	if pin, err := hex.DecodeString(values["CODES"][3]); err != nil || len(bytes.TrimRight(pin, "\xff")) != 4 {
		t.Errorf("PIN1 is %q", values["CODES"][3])
	}
	if p := values["PROFILE"]; len(p) != 3+3 || !strings.HasPrefix(p[3], "SD.01.01=") || !strings.HasPrefix(p[5], "SD.01.03=") || len(strings.TrimRight(p[5], string(rune(16))+string(rune(15)))) < 9+32 {
		t.Errorf("the profile's own keys are %d values", len(p))
	}
	if again, err := r.vault.Export(ctx, q); err != nil || fmt.Sprint(again.Results, *again.Envelope) != fmt.Sprint(reply.Results, *h) {
		t.Errorf("asked again, the envelope differs: %v", err)
	}
}

// An envelope goes to the key that was released and to no other, and not at all where nobody could sign it.
func TestOutputEnvelopeRefused(t *testing.T) {
	t.Parallel()
	r, _, der := envelopeRig(t)
	r.signed = r.sign(r.release, "ann", "bob")
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "is not on the token") {
		t.Errorf("without a key that signs: %v", err)
	}
	if err := r.token.Generate(ctx, r.made.Keys.Envelope); err != nil {
		t.Fatal(err)
	}
	q := r.oneGood()
	if _, err := r.vault.Export(ctx, q); code(err) != bus.FaultBadMessage {
		t.Errorf("without the receiver's key: %v", err)
	}
	_, _, other := envelopeRig(t)
	q.Key = other
	if _, err := r.vault.Export(ctx, q); code(err) != bus.FaultRefused {
		t.Errorf("to another key: %v", err)
	}
	q.Key = der
	if _, err := r.vault.Export(ctx, q); err != nil {
		t.Error(err)
	}
	for _, ref := range []string{"", "7", strings.Repeat("x", 80)} {
		rel := r.release
		rel.ReceiverKey = ref
		r.signed = r.sign(rel, "ann", "bob")
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
			t.Errorf("receiver %q: %v", ref, err)
		}
	}
}
