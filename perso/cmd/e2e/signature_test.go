package e2e

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/tlv"
)

// The certificates, as the bundle hands them to the auditor and the customer.
const (
	eumCert = "eum.der"
	eisCert = "eis.der"
)

// certificate is the file of one of the maker's certificates: the one with which the log began.
func (f *factory) certificate(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(f.bundle(t), "certs", name)
	if own := readFile(t, filepath.Join(f.site.Dir, "vault", "keys", name)); !bytes.Equal(own, readFile(t, path)) {
		t.Errorf("the bundle holds another %s than the vault", name)
	}
	return path
}

// verifies has openssl check an ECDSA signature, r and s one after the other, with a certificate's key.
func verifies(t *testing.T, cert string, message, rs []byte) error {
	t.Helper()
	dir := t.TempDir()
	pub, err := tool(t, dir, nil, "openssl", "x509", "-inform", "DER", "-in", cert, "-pubkey", "-noout")
	if err != nil {
		t.Fatal(err)
	}
	der, err := tlv.RawToECDSASig(rs)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "pub"), pub)
	writeFile(t, filepath.Join(dir, "sig"), der)
	out, err := tool(t, dir, message, "openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// eisByXMLLint: a receiver with xmllint and openssl accepts every file as XML and a sample's signature, and refuses it
// with one digit changed.
func eisByXMLLint(t *testing.T, f *factory) {
	requireTool(t, "xmllint", "openssl")
	files := f.eisFiles(t)
	if out, err := tool(t, f.out(), nil, "xmllint", append([]string{"--nonet", "--noout"}, files...)...); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	cert := f.certificate(t, eisCert)
	for _, path := range []string{files[0], files[quantity/2], files[quantity-1]} {
		doc := readFile(t, path)
		if err := xmllintVerifies(t, cert, doc); err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
		for _, forged := range forgeries(t, doc) {
			if err := xmllintVerifies(t, cert, forged.doc); err == nil {
				t.Errorf("%s with %s is accepted", filepath.Base(path), forged.what)
			}
		}
		if err := xmllintVerifies(t, f.certificate(t, eumCert), doc); err == nil {
			t.Errorf("%s verifies with the key of another certificate", filepath.Base(path))
		}
	}
}

// xmllintVerifies takes a document's signature apart with nothing of ours.
func xmllintVerifies(t *testing.T, cert string, doc []byte) error {
	t.Helper()
	dir := t.TempDir()
	canonical := func(name string) []byte {
		part, err := tool(t, dir, doc, "xmllint", "--nonet", "--xpath", fmt.Sprintf("//*[local-name()='%s']", name), "-")
		if err != nil {
			t.Fatal(err)
		}
		out, err := tool(t, dir, part, "xmllint", "--nonet", "--exc-c14n", "-")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var e element
	if err := xml.Unmarshal(doc, &e); err != nil {
		t.Fatal(err)
	}
	digest, err := tool(t, dir, canonical("EumSignedInfo"), "openssl", "dgst", "-sha256", "-binary")
	if err != nil {
		t.Fatal(err)
	}
	if got := base64.StdEncoding.EncodeToString(digest); got != e.text("DigestValue") {
		return fmt.Errorf("digest is %s, the document says %s", got, e.text("DigestValue"))
	}
	rs, err := base64.StdEncoding.DecodeString(e.text("SignatureValue"))
	if err != nil {
		return err
	}
	// The certificate is named by its key identifier.
	text, err := tool(t, dir, nil, "openssl", "x509", "-inform", "DER", "-in", cert, "-noout", "-ext", "subjectKeyIdentifier")
	if err != nil {
		t.Fatal(err)
	}
	ski, err := base64.StdEncoding.DecodeString(e.text("X509SKI"))
	if err != nil {
		return err
	}
	if !strings.Contains(strings.ReplaceAll(string(text), ":", ""), upper(ski)) {
		return fmt.Errorf("it names key %X, the certificate has %s", ski, text)
	}
	return verifies(t, cert, canonical("SignedInfo"), rs)
}

// forgery is a document that must be refused.
type forgery struct {
	what string
	doc  []byte
}

func forgeries(t *testing.T, doc []byte) (all []forgery) {
	t.Helper()
	for what, pattern := range map[string]string{
		"a digit of the EID changed": `<rps:Eid>\d{30}`, "a digit of the certificate changed": `<rps:Value>7F21`,
		"the digest changed": `<ds:DigestValue>`, "the signature changed": `<ds:SignatureValue[^>]*>`,
	} {
		at := regexp.MustCompile(pattern).FindIndex(doc)
		if at == nil {
			t.Fatalf("no %s in the document", pattern)
		}
		forged := bytes.Clone(doc)
		if c := &forged[at[1]]; *c == '1' {
			*c = '2'
		} else {
			*c = '1'
		}
		all = append(all, forgery{what, forged})
	}
	return all
}

// eisByJava: the XML signature classes of the JDK accept every file and refuse every forged one.
func eisByJava(t *testing.T, f *factory) {
	requireTool(t, "java")
	dir := t.TempDir()
	program, err := filepath.Abs(filepath.Join("testdata", "VerifyEIS.java"))
	if err != nil {
		t.Fatal(err)
	}
	files := f.eisFiles(t)
	want := map[string]bool{}
	for _, path := range files {
		want[path] = true
	}
	for i, forged := range forgeries(t, readFile(t, files[1])) {
		path := filepath.Join(dir, fmt.Sprintf("forged-%d.xml", i))
		writeFile(t, path, forged.doc)
		want[path], files = false, append(files, path)
	}
	cmd := exec.CommandContext(t.Context(), "java", append([]string{"-XX:TieredStopAtLevel=1", program, f.certificate(t, eisCert)}, files...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for path, accepted := range want {
		if !bytes.Contains(out, []byte(fmt.Sprintf("%s %v\n", path, accepted))) {
			t.Errorf("%s: want accepted %v, the JDK says %s", path, accepted, regexp.MustCompile(regexp.QuoteMeta(path)+".*").Find(out))
		}
	}
}

// chipCertificates: each chip's certificate is of its EID and its key, and openssl verifies it with the EUM's key. The
// chip and the EIS give the same one (identities and eisContent say so for all).
func chipCertificates(t *testing.T, f *factory) {
	requireTool(t, "openssl")
	const everyNth = 9
	cert := f.certificate(t, eumCert)
	serials := map[string]bool{}
	for i, c := range f.good() {
		template, rest, err := tlv.Parse(c.cert)
		if err != nil || len(rest) > 0 || template.Tag != 0x7F21 {
			t.Fatalf("chip %s has certificate %X: %v", c.eid, c.cert, err)
		}
		fields, err := template.Children()
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		content := map[uint32][]byte{}
		for _, v := range fields {
			order, content[v.Tag] = append(order, fmt.Sprintf("%X", v.Tag)), v.Value
		}
		if got, want := strings.Join(order, " "), "93 42 5F20 95 5F25 5F24 45 73 7F49 5F37"; got != want {
			t.Errorf("EID %s: the certificate has %s, want %s", c.eid, got, want)
		}
		if hex.EncodeToString(content[0x5F20]) != c.eid || serials[string(content[0x93])] || !bytes.Equal(content[0x95], []byte{0x00, 0x80}) {
			t.Errorf("EID %s: the certificate is of %X, serial number %X, for use %X", c.eid, content[0x5F20], content[0x93], content[0x95])
		}
		serials[string(content[0x93])] = true
		f.checkKey(t, c, content[0x7F49])
		signature := content[0x5F37]
		signed := bytes.TrimSuffix(template.Value, tlv.Encode(0x5F37, signature))
		if len(signature) != 64 || len(signed) == len(template.Value) {
			t.Fatalf("EID %s: the certificate does not end with a signature of 64 bytes", c.eid)
		}
		if i%everyNth != 0 {
			continue
		}
		if err := verifies(t, cert, signed, signature); err != nil {
			t.Errorf("EID %s: %v", c.eid, err)
		}
		signed = bytes.Clone(signed)
		signed[len(signed)-1] ^= 1
		if verifies(t, cert, signed, signature) == nil {
			t.Errorf("EID %s: the signature verifies over something else", c.eid)
		}
	}
}

// checkKey: the certified key is the public half of the one that never left the chip.
func (f *factory) checkKey(t *testing.T, c chip, certified []byte) {
	t.Helper()
	const scalarBytes = 32
	private, err := ecdh.P256().NewPrivateKey(c.memory.cells[cell{domECASD, kindPair, 0}][:scalarBytes])
	if err != nil {
		t.Fatal(err)
	}
	want := append(tlv.Encode(0xB0, private.PublicKey().Bytes()), 0xF0, 0x01, 0x00)
	if !bytes.Equal(certified, want) {
		t.Errorf("EID %s: key %X is certified, the chip's is %X", c.eid, certified, want)
	}
}
