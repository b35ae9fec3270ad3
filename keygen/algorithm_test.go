package keygen_test

import (
	"bytes"
	"crypto/aes"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/secret"
)

// algorithmRig has a release with another authentication, its operator key, and the script for its lengths.
func algorithmRig(t *testing.T, spelling string, op []byte) *rig {
	t.Helper()
	a, err := auth.Parse(spelling)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	sealed, err := r.token.Seal(ctx, r.made.Keys.Seal, secret.New(bytes.Clone(op)), keygen.OPContext(perso.EnvTest, "op-x"))
	if err == nil {
		err = journal.OPFolder(r.made.OPDir).Put("op-x", sealed)
	}
	if err != nil {
		t.Fatal(err)
	}
	catalogue := r.catalogueFor(a)
	if r.script, err = script.Compile([]byte(r.source()), catalogue); err != nil {
		t.Fatal(err)
	}
	r.release.ScriptHash, r.release.OP, r.release.Algorithm = r.script.Hash(), "op-x", spelling
	return r
}

// What was released is what the chip authenticates with, what it is proven by, and what the operator gets: K of its length,
// OPc or TOPc by the operator's own key, parameters and all.
func TestReleasedAlgorithm(t *testing.T) {
	t.Parallel()
	op, top := bytes.Repeat([]byte{0x0F}, 16), bytes.Repeat([]byte{0x70}, 32)
	own := "milenage r=4001204060 c=" + strings.Repeat("0", 63) + "1" + strings.Repeat("0", 31) + "2" + strings.Repeat("0", 31) + "4" + strings.Repeat("0", 31) + "8"
	for _, c := range []struct {
		algorithm, source string
		op                []byte
	}{
		{"milenage key=opc", "derived", op}, {own, "derived", op}, {"tuak k=128", "derived", top}, {"tuak k=256 res=128 ck=256 ik=256 iterations=2", "derived", top},
		{"tuak k=256 key=topc", "random", top}, {"tuak k=128", "random", top},
	} {
		t.Run(c.algorithm[:min(len(c.algorithm), 30)]+" "+c.source, func(t *testing.T) {
			t.Parallel()
			a, err := auth.Parse(c.algorithm)
			if err != nil {
				t.Fatal(err)
			}
			r := algorithmRig(t, c.algorithm, c.op)
			r.release.KiSource = c.source
			r.signed = r.sign(r.release, "ann", "bob")
			r.openLot()
			u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
			if got := u.session(); !got.Good {
				t.Fatalf("%+v", got)
			}
			outcome := u.good()
			q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOutput, Receiver: "auc-x", Checkpoint: r.note()}
			q.Items = []bus.ExportItem{{Claim: r.log.prove(u.seq), Outcome: r.log.prove(outcome), Ki: u.stored.Ki}}
			reply, err := r.vault.Export(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			ki, opc := reply.Results[0].Keys[0], reply.Results[0].Keys[1]
			k := decryptAll(t, testK4, ki.Value)
			want, err := a.Bind(k, c.op)
			kcvs := [2][3]byte{scp.KCV(k), scp.KCV(want)}
			if err != nil || ki.Name != "KI" || opc.Name != a.Column() || !bytes.Equal(decryptAll(t, testK4, opc.Value), want) ||
				!bytes.Equal(ki.KCV, kcvs[0][:]) || !bytes.Equal(opc.KCV, kcvs[1][:]) {
				t.Errorf("%s and %s of the operator: %v", ki.Name, opc.Name, err)
			}
			if chip := u.card; !bytes.Equal(chip.ki, k) || !bytes.Equal(chip.opc, want) || !bytes.Equal(chip.algorithm.Parameters(), a.Parameters()) {
				t.Errorf("the chip has other keys, or %v", chip.algorithm)
			}
		})
	}
}

// decryptAll undoes ECB of whole blocks.
func decryptAll(t *testing.T, key, value []byte) (out []byte) {
	t.Helper()
	for ; len(value) >= aes.BlockSize; value = value[aes.BlockSize:] {
		out = append(out, decrypt(t, key, value[:aes.BlockSize])...)
	}
	return out
}

// A vault opens no lot whose operator key is of another kind, whose script does not tell the chip, or whose keys an envelope
// has no place for.
func TestAlgorithmRefused(t *testing.T) {
	t.Parallel()
	top := bytes.Repeat([]byte{0x70}, 32)
	for name, c := range map[string]struct {
		algorithm, want string
		op              []byte
		change          func(*rig)
	}{
		"unknown":     {"tuak k=128", "unusable authentication algorithm", top, func(r *rig) { r.release.Algorithm = "xor" }},
		"OP for TUAK": {"tuak k=128", "16 bytes, not 32", top[:16], func(*rig) {}},
		"in an envelope": {"tuak k=128", "has no place", top, func(r *rig) {
			r.release.TransportMode, r.release.ReceiverKey = "RSA-OAEP-AES", "7/"+strings.Repeat("5a", 32)
		}},
		"another package": {"tuak k=128", "does not authenticate by tuak", top, func(r *rig) {
			r.compile()
			r.release.ScriptHash = r.script.Hash()
		}},
		"not told": {"tuak k=128", "does not write {AKA}", top, func(r *rig) {
			r.injecting()
			r.release.Algorithm = "tuak k=128"
			source := strings.NewReplacer("DF26 <{AKA} ", "DF26 <02 10 08 10 10 01 ", "<d {AKA} ", "<d 02 10 08 10 10 01 ").Replace(r.source())
			var err error
			if r.script, err = script.Compile([]byte(source), r.catalogue().For(6, 16, 32)); err != nil {
				r.t.Fatal(err)
			}
			r.release.ScriptHash = r.script.Hash()
		}},
	} {
		r := algorithmRig(t, c.algorithm, c.op)
		c.change(r)
		r.signed = r.sign(r.release, "ann", "bob")
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
