package e2e

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/envelope"
)

// TestLayouts makes a small lot for each kind of transport key, and openssl opens what the operator gets.
func TestLayouts(t *testing.T) {
	hsmtest.RequireSoftHSM(t)
	requireTool(t, "openssl")
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "perso")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./perso/cmd/perso")
	build.Dir = repo
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
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
			f := &factory{bin: bin, repo: repo, cwd: t.TempDir()}
			order, dir := filepath.Join(f.cwd, "order.json"), filepath.Join(t.TempDir(), "site")
			writeOrder(t, f, order, map[string]any{"order": orderID, "quantity": 3, "spares": 2, "transport_key": c.key})
			made := f.perso(t, "demo", "--dir", dir, "--order", order, "--catalogue", filepath.Join(repo, "deploy"), "--scale", "0", "--heads", "2")
			if made.code != 0 {
				t.Fatalf("the demo ended with exit %d\n%s%s%s", made.code, made.out, made.err, zoneLogs(dir))
			}
			if f.site, err = site.Open(dir); err != nil {
				t.Fatal(err)
			}
			if c.cipher == "" {
				f.openEnvelopes(t, f.site.ReceiverKey("rk-auc-demo"))
				return
			}
			key := strings.TrimSpace(string(readFile(t, filepath.Join(dir, "partners", name+".hex"))))
			f.openOutput(t, c.cipher, c.keys, key, c.check)
		})
	}
}

// openOutput opens rows of an output file with another program.
func (f *factory) openOutput(t *testing.T, cipher, ecb, key, check string) {
	t.Helper()
	text := string(readFile(t, f.out("output", string(lotName)+".out")))
	_, body, _ := strings.Cut(text, "\nvar_out: ")
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	columns := strings.Split(lines[0], "/")
	if len(lines) != 4 {
		t.Fatalf("the output file is\n%s", text)
	}
	run := func(way, mode string, in []byte) []byte {
		args := []string{"enc", way, "-" + mode, "-K", key, "-nopad"}
		if strings.HasSuffix(mode, "cbc") {
			args = append(args, "-iv", "00")
		}
		out, err := tool(t, f.cwd, in, "openssl", args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if kcv := upper(run("-e", ecb, unhex(t, check))[:3]); !strings.Contains(text, "\nTransport_KCV   : "+kcv+"\n") {
		t.Errorf("openssl's check value of the transport key is %s; the file is\n%s", kcv, text)
	}
	for _, line := range lines[1:] {
		open := map[string][]byte{}
		for i, v := range strings.Split(line, " ") {
			if c := columns[i]; strings.HasPrefix(c, "P") || strings.HasPrefix(c, "A") || c == "EKI" || c == "EOPC" {
				open[c] = run("-d", cipher, unhex(t, v))
			}
		}
		f.rightOPc(t, open["EKI"], open["EOPC"])
		if pin := bytes.TrimRight(open["PIN1"], "\xff"); len(pin) != 4 || len(bytes.Trim(pin, "0123456789")) > 0 {
			t.Errorf("PIN1 opens as %x", open["PIN1"])
		}
	}
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
	for suffix, values := range map[string]int{".json": 5, ".codes.json": 8} {
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
			} else if pin := bytes.TrimRight(unhex(t, v[3]), "\xff"); len(pin) != 4 {
				t.Errorf("PIN1 opens as %x", pin)
			}
		}
	}
	if _, err := os.Stat(f.out("output", string(lotName)+".out")); err == nil {
		t.Error("there is an output file beside the envelopes")
	}
}
