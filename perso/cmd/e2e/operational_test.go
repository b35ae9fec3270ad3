package e2e

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/scp"
)

// TestOperational makes a small lot with an operational profile beside the bootstrap one. Each chip is asked by the bootstrap profile's
// network as ever; then the second profile is enabled, as its SM-SR would, and answers the second operator's network with what stands in
// his file alone.
func TestOperational(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	requireTool(t, "openssl")
	bin, repo := ownProgram(t)
	f := smallLot(t, bin, repo, map[string]any{"operational": map[string]any{
		"provider": "provider-harbour", "iccid": "allocate", "imsi": "allocate", "auth": map[string]any{"algorithm": "tuak k=256", "op_key": "top-harbour"},
		"transport_key": "tk-auc-harbour", "delivery": map[string]any{"target": "auc-harbour"},
	}})
	f.start(t)
	f.askChips(t)
	a, err := auth.Parse("tuak k=256")
	if err != nil {
		t.Fatal(err)
	}
	first := f.openRows(t, "aes-128-ecb", strings.TrimSpace(string(readFile(t, f.site.PartnerKey("tk-auc-demo")))))
	second := f.openRowsOf(t, f.out("operational", string(lotName)+".out"), "aes-128-ecb", strings.TrimSpace(string(readFile(t, f.site.PartnerKey("tk-auc-harbour")))))
	for i, two := range second {
		one := first[i]
		for _, column := range []string{"ICCID", "IMSI", "EKI", "PUK1", "PUK2", "ADM1"} {
			if bytes.Equal(one[column], two[column]) {
				t.Errorf("EID %s: both profiles have one %s", one["EID"], column)
			}
		}
		if want, err := a.Bind(two["EKI"], f.partnerKey(t, "top-harbour.hex")); err != nil || !bytes.Equal(want, two["ETOPC"]) {
			t.Errorf("EID %s: Ki and TOPc do not belong together: %v", two["EID"], err)
		}
		f.rightOPc(t, one["EKI"], one["EOPC"])
		eid := string(two["EID"])
		f.answersCentre(t, auth.Default(), eid, one["EKI"], one["EOPC"])
		f.secondAnswers(t, eid, two)
		f.bothInEIS(t, eid, string(one["ICCID"]), string(two["ICCID"]))
	}
	for _, iccid := range [][]byte{first[0]["ICCID"], second[0]["ICCID"]} {
		if r := f.at(t, "trace", string(iccid)); r.code != 0 || !strings.Contains(r.out, string(first[0]["EID"])) {
			t.Errorf("trace %s: exit %d: %s%s", iccid, r.code, r.out, r.err)
		}
	}
}

// secondAnswers enables the second profile under the chip's own keys, which only its memory tells, and has the second network ask.
func (f *factory) secondAnswers(t *testing.T, eid string, two map[string][]byte) {
	t.Helper()
	const aidISD, aidISDP, aidISDP2, kvn = "A000000151000000", "A0000005591010FFFFFFFF8900001000", "A0000005591010FFFFFFFF8900001100", 0x30
	c := f.chipWith(t, eid)
	ref, challenge := chipfarm.Ref{Index: c.Index}, []byte{1, 2, 3, 4, 5, 6, 7, 8}
	open := [][]byte{unhex(t, "00A40400"+"08"+aidISD+"00"), unhex(t, "80503000"+"08"+hex.EncodeToString(challenge)+"00")}
	a, err := f.farm.Inspect(t.Context(), ref, open)
	if err != nil || len(a) != len(open) {
		t.Fatal(err)
	}
	before, err := scp.ParseInitUpdate(a[1][:len(a[1])-2])
	if err != nil {
		t.Fatal(err)
	}
	// The card challenge is pseudo-random: whoever has the keys knows the next one.
	keys := scp.StaticKeys{ENC: c.memory.key(domISD, kvn, 1), MAC: c.memory.key(domISD, kvn, 2), DEK: c.memory.key(domISD, kvn, 3)}
	_, next, err := scp.OpenCard(scp.CardConfig{Keys: keys, KVN: kvn, KDD: before.KDD, I: before.I, AID: unhex(t, aidISD), Seq: before.Seq + 1}, challenge)
	if err != nil {
		t.Fatal(err)
	}
	host, err := scp.OpenHost(keys, challenge, next)
	if err != nil {
		t.Fatal(err)
	}
	external, err := host.ExternalAuthenticate(scp.Level(0x33))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, marks := wrapAll(t, host, "80F0401F10"+aidISDP+"00", "80F0403F10"+aidISDP2+"00") // one goes, the other comes
	u, err := aka.NewTuak(two["EKI"], two["ETOPC"], aka.TuakParams{MAC: 64, RES: 64, CK: 128, IK: 128, Iterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	rand := aka.Rand{9, 8, 7}
	v, err := u.BuildVector(rand, aka.SQN{4: 16}, aka.AMF{0x80, 0})
	if err != nil {
		t.Fatal(err)
	}
	a, err = f.farm.Inspect(t.Context(), ref, append(open, external, wrapped[0], wrapped[1], unhex(t, selectMF), unhex(t, selectICCID), unhex(t, readICCID), unhex(t, selectUSIM),
		unhex(t, "0020000A08"+hex.EncodeToString(two["ADM1"][:8])), unhex(t, "00880081"+"22"+"10"+hex.EncodeToString(rand[:])+"10"+hex.EncodeToString(v.AUTN[:])+"00")))
	if err != nil || len(a) != 11 {
		t.Fatal(err)
	}
	for i, mark := range marks {
		if _, sw, err := host.UnwrapAt(mark, a[3+i]); err != nil || !sw.OK() {
			t.Fatalf("EID %s: SET STATUS %d: %v %v, EXTERNAL AUTHENTICATE %X", eid, i, sw, err, a[2])
		}
	}
	if got := swapped(a[7]); !strings.HasPrefix(got, string(two["ICCID"])) {
		t.Errorf("EID %s: the enabled profile has ICCID %s, the file says %s", eid, got, two["ICCID"])
	}
	if got := hex.EncodeToString(a[9]); got != "9000" {
		t.Errorf("EID %s: ADM1 of the second file is answered %s", eid, got)
	}
	want := append(append([]byte{0xDB, 8}, v.Keys.RES...), append(append([]byte{16}, v.Keys.CK...), append([]byte{16}, v.Keys.IK...)...)...)
	if !bytes.HasPrefix(a[10], want) || !bytes.HasSuffix(a[10], []byte{0x90, 0}) { // Kc between them
		t.Errorf("EID %s: the operational profile answers %X, its network expects %X", eid, a[10], want)
	}
}

// wrapAll puts commands into the secure channel, one after the other.
func wrapAll(t *testing.T, host *scp.Host, commands ...string) (wrapped [][]byte, marks []scp.Mark) {
	t.Helper()
	for _, text := range commands {
		command, err := apdu.Parse(unhex(t, text))
		if err != nil {
			t.Fatal(err)
		}
		w, mark, err := host.Wrap(command)
		if err != nil {
			t.Fatal(err)
		}
		wrapped, marks = append(wrapped, w), append(marks, mark)
	}
	return wrapped, marks
}

// bothInEIS: the SM-SR hears of both profiles, of which one is enabled and the other is not.
func (f *factory) bothInEIS(t *testing.T, eid, bootstrap, operational string) {
	t.Helper()
	doc := string(readFile(t, filepath.Join(f.out("eis"), eid+".xml")))
	for _, want := range []string{">" + bootstrap, ">" + operational, ">Enabled<", ">Disabled<", "A0000005591010FFFFFFFF8900001100"} {
		if !strings.Contains(doc, want) {
			t.Errorf("EID %s: the EIS does not have %q", eid, want)
		}
	}
}
