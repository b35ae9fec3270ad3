package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/envelope"
	"github.com/persoline/persoline/perso/order/auth"
)

// smallLot makes three good units of the sample order with some fields changed.
func smallLot(t *testing.T, bin, repo string, change map[string]any) *factory {
	t.Helper()
	f := &factory{bin: bin, repo: repo, cwd: t.TempDir()}
	order, dir := filepath.Join(f.cwd, "order.json"), filepath.Join(t.TempDir(), "site")
	all := map[string]any{"order": orderID, "quantity": 3, "spares": 2}
	maps.Copy(all, change)
	writeOrder(t, f, order, all)
	made := f.perso(t, "demo", "--dir", dir, "--order", order, "--catalogue", filepath.Join(repo, "deploy"), "--scale", "0", "--heads", "2")
	if made.code != 0 {
		t.Fatalf("the demo ended with exit %d\n%s%s%s", made.code, made.out, made.err, zoneLogs(dir))
	}
	var err error
	if f.site, err = site.Open(dir); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLayouts makes a small lot for each kind of transport key, and openssl opens what the operator gets.
func TestLayouts(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	requireTool(t, "openssl")
	bin, repo := ownProgram(t)
	for _, c := range []struct {
		key, cipher, keys, check string
	}{
		{"tk-auc-192", "aes-192-ecb", "aes-192-ecb", strings.Repeat("01", 16)},
		{"tk-auc-256/AES-CBC-0", "aes-256-cbc", "aes-256-ecb", strings.Repeat("01", 16)},
		{"tk-auc-old/3DES-2KEY-CBC-0", "des-ede-cbc", "des-ede-ecb", strings.Repeat("00", 8)},
		{"tk-auc-old3/3DES-3KEY-ECB", "des-ede3-ecb", "des-ede3-ecb", strings.Repeat("00", 8)},
		{"rk-auc-demo/RSA-OAEP-AES", "", "", ""},
	} {
		name, _, _ := strings.Cut(c.key, "/")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := smallLot(t, bin, repo, map[string]any{"transport_key": c.key})
			if c.cipher == "" {
				f.openEnvelopes(t, f.site.ReceiverKey("rk-auc-demo"))
				return
			}
			key := strings.TrimSpace(string(readFile(t, f.site.PartnerKey(perso.Name(name)))))
			f.openOutput(t, c.cipher, c.keys, key, c.check)
		})
	}
}

// openOutput opens the output file with another program.
func (f *factory) openOutput(t *testing.T, cipher, ecb, key, check string) {
	t.Helper()
	text := string(readFile(t, f.out("output", string(lotName)+".out")))
	if kcv := upper(f.openssl(t, "-e", ecb, key, unhex(t, check))[:3]); !strings.Contains(text, "\nTransport_KCV   : "+kcv+"\n") {
		t.Errorf("openssl's check value of the transport key is %s; the file is\n%s", kcv, text)
	}
	for _, open := range f.openRows(t, cipher, key) {
		f.rightOPc(t, open["EKI"], open["EOPC"])
		if pin := bytes.TrimRight(open["PIN1"], "\xff"); len(pin) != 4 || len(bytes.Trim(pin, "0123456789")) > 0 {
			t.Errorf("PIN1 opens as %x", open["PIN1"])
		}
	}
}

// openssl runs a cipher on whole blocks, IV zero.
func (f *factory) openssl(t *testing.T, way, mode, key string, in []byte) []byte {
	t.Helper()
	args := []string{"enc", way, "-" + mode, "-K", key, "-nopad"}
	if strings.HasSuffix(mode, "cbc") {
		args = append(args, "-iv", "00") // filled up with zeros
	}
	out, err := tool(t, f.cwd, in, "openssl", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// openRows gives each row of the output file by column: what is under the transport key in clear, the rest as it stands.
func (f *factory) openRows(t *testing.T, cipher, key string) (rows []map[string][]byte) {
	t.Helper()
	return f.openRowsOf(t, f.out("output", string(lotName)+".out"), cipher, key)
}

func (f *factory) openRowsOf(t *testing.T, path, cipher, key string) (rows []map[string][]byte) {
	t.Helper()
	text := string(readFile(t, path))
	_, body, _ := strings.Cut(text, "\nvar_out: ")
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	columns := strings.Split(lines[0], "/")
	if len(lines) != 4 {
		t.Fatalf("the output file is\n%s", text)
	}
	for _, line := range lines[1:] {
		open := map[string][]byte{}
		for i, v := range strings.Split(line, " ") {
			open[columns[i]] = []byte(v)
			if c := columns[i]; strings.HasPrefix(c, "P") || c == "ADM1" || c == "EKI" || c == "EOPC" || c == "ETOPC" {
				open[c] = f.openssl(t, "-d", cipher, key, unhex(t, v))
			}
		}
		rows = append(rows, open)
	}
	return rows
}

// rightOPc: OPc follows from Ki and the operator's OP, which no other Ki and OPc of this size would.
func (f *factory) rightOPc(t *testing.T, ki, opc []byte) {
	t.Helper()
	if want, err := aka.OPc(ki, f.partnerKey(t, "op-demo-1.hex")); err != nil || !bytes.Equal(want[:], opc) {
		t.Errorf("Ki and OPc do not belong together: %v", err)
	}
}

// openEnvelopes opens both envelopes by openssl alone, with the receiver's private key and the maker's public one.
func (f *factory) openEnvelopes(t *testing.T, private string) {
	t.Helper()
	maker := filepath.Join(f.site.Dir, "vault", "keys", "envelope.pub.pem")
	for suffix, values := range map[string]int{".json": 5, ".codes.json": 8, ".profile.json": 6} {
		e, err := envelope.Read(bytes.NewReader(readFile(t, f.out("output", string(lotName)+suffix))), 1<<20)
		if err != nil || len(e.SIMs) != 3 || e.KeyID != 7 {
			t.Fatalf("the envelope is %+v, %v", e, err)
		}
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "key"), unhex(t, e.EncryptedTransportKey))
		writeFile(t, filepath.Join(dir, "sig"), unhex(t, e.SignedTransportKey))
		run := func(in []byte, args ...string) []byte {
			out, err := tool(t, dir, in, "openssl", args...)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		run(nil, "dgst", "-sha512", "-verify", maker, "-signature", "sig", "key")
		both := run(nil, "pkeyutl", "-decrypt", "-inkey", private, "-in", "key", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256")
		for _, s := range e.SIMs {
			sealed := unhex(t, s.Properties.Credentials)
			mac := run(sealed[64:], "dgst", "-sha512", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(both[32:]), "-binary")
			if !bytes.Equal(mac, sealed[:64]) {
				t.Errorf("EID %s: the MAC is not openssl's", s.Name)
			}
			plain := run(sealed[80:], "enc", "-d", "-aes-256-cbc", "-K", hex.EncodeToString(both[:32]), "-iv", hex.EncodeToString(sealed[64:80]))
			v := strings.Split(string(plain), ":")
			if len(v) != values || v[0] != "1" || v[1] != s.Properties.ICCID || v[2] != s.Properties.IMSI {
				t.Fatalf("EID %s opens as %q", s.Name, plain)
			}
			if suffix == ".json" {
				f.rightOPc(t, unhex(t, v[3]), unhex(t, v[4]))
			} else if suffix == ".profile.json" {
				if !strings.HasPrefix(v[3], "SD.01.01=") || !strings.HasPrefix(v[5], "SD.01.03=") {
					t.Errorf("EID %s: its profile has the keys %.9s and %.9s", s.Name, v[3], v[5])
				}
			} else if pin := bytes.TrimRight(unhex(t, v[3]), "\xff"); len(pin) != 4 {
				t.Errorf("PIN1 opens as %x", pin)
			}
		}
	}
	if _, err := os.Stat(f.out("output", string(lotName)+".out")); err == nil {
		t.Error("there is an output file beside the envelopes")
	}
}

// TestAlgorithms makes a small lot for each way to authenticate. The chips answer a centre that knows what stands in the order,
// in the output file, and the operator's own key.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	requireTool(t, "openssl")
	bin, repo := ownProgram(t)
	own := "milenage r=4001204060 c=" + strings.Repeat("0", 63) + "1" + strings.Repeat("0", 31) + "2" + strings.Repeat("0", 31) + "4" + strings.Repeat("0", 31) + "8"
	for name, c := range map[string]struct{ algorithm, op, kiSource string }{
		"OPc": {"milenage key=opc", "opc-demo", "derived"}, "own constants": {own, "op-demo-2", "derived"},
		"TUAK 128": {"tuak k=128", "top-demo", "derived"}, "TUAK 256": {"tuak k=256 res=128 ck=256 ik=256 iterations=2", "top-demo", "random"},
		"TOPc": {"tuak k=256 key=topc", "topc-demo", "derived"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := smallLot(t, bin, repo, map[string]any{"auth": map[string]any{"algorithm": c.algorithm, "op_key": c.op}, "ki_source": c.kiSource,
				"transport_key": "tk-auc-256/AES-CBC-0"})
			a, err := auth.Parse(c.algorithm)
			if err != nil {
				t.Fatal(err)
			}
			f.start(t)
			f.askChips(t)
			op := f.partnerKey(t, c.op+".hex")
			key := strings.TrimSpace(string(readFile(t, f.site.PartnerKey("tk-auc-256"))))
			for _, row := range f.openRows(t, "aes-256-cbc", key) {
				k, opc := row["EKI"], row["E"+a.Column()]
				if want, err := a.Bind(k, op); err != nil || !bytes.Equal(want, opc) || upper(kcv(t, opc)) != string(row[a.Column()+"_KCV"]) || upper(kcv(t, k)) != string(row["KI_KCV"]) {
					t.Errorf("EID %s: K and %s do not belong together, or not to their check values: %v", row["EID"], a.Column(), err)
				}
				f.answersCentre(t, a, string(row["EID"]), k, opc)
			}
		})
	}
}

// answersCentre: the network's functions, which have the standards' own vectors, and the chip agree.
func (f *factory) answersCentre(t *testing.T, a auth.Algorithm, eid string, k, opc []byte) {
	t.Helper()
	rand, sqn, amf := aka.Rand{1, 2, 3, 4}, aka.SQN{4: 16}, aka.AMF{0x80, 0}
	var autn aka.AUTN
	var keys aka.WideKeys
	switch p := a.Parameters(); a.Name {
	case auth.TUAK:
		u, err := aka.NewTuak(k, opc, aka.TuakParams{MAC: 64, RES: 8 * int(p[2]), CK: 8 * int(p[3]), IK: 8 * int(p[4]), Iterations: int(p[5])})
		if err != nil {
			t.Fatal(err)
		}
		v, err := u.BuildVector(rand, sqn, amf)
		if err != nil {
			t.Fatal(err)
		}
		autn, keys = v.AUTN, v.Keys
	default:
		con := aka.DefaultConstants()
		if len(p) > 1 {
			con.R[1] = p[2]
		}
		m, err := aka.NewWithConstants(k, opc, con)
		if err != nil {
			t.Fatal(err)
		}
		v := m.BuildVector(rand, sqn, amf)
		autn, keys = v.AUTN, aka.WideKeys{RES: v.Keys.RES[:], CK: v.Keys.CK[:], IK: v.Keys.IK[:]}
	}
	want := "db"
	for _, part := range [][]byte{keys.RES, keys.CK, keys.IK} {
		want += fmt.Sprintf("%02x%x", len(part), part)
	}
	f.authenticate(t, eid, hex.EncodeToString(rand[:]), hex.EncodeToString(autn[:]), want)
}
