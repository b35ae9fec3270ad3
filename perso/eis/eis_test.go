package eis

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/tlv"
)

func sample(t testing.TB) Fields {
	t.Helper()
	eid, err := id.ParseEID("89049032123451234512345678901235")
	if err != nil {
		t.Fatal(err)
	}
	iccid, err := id.ParseICCID("8988247000100003319")
	if err != nil {
		t.Fatal(err)
	}
	imsi, err := id.ParseIMSI("001010123456789", 2)
	if err != nil {
		t.Fatal(err)
	}
	e, zero, free := eid.Bytes(), uint64(0), uint64(8192)
	return Fields{
		SignedFields: SignedFields{EID: eid, EUMID: "2.999.5", ProductionDate: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC),
			PlatformType: "M2M <OS> & \"200S\"", PlatformVersion: "1.0.0",
			LoadFileAID: reftest.Unhex(t, "A0000005591010FFFFFFFF8900000D00"), ModuleAID: reftest.Unhex(t, "A0000005591010FFFFFFFF8900000E00"),
			ECASD: SecurityDomain{AID: reftest.Unhex(t, "A0000005591010FFFFFFFF8900000200"), TAR: []byte{0, 0, 2}, SIN: e[:4], SDIN: e[:], Role: "ECASD",
				Keysets: []Keyset{{Version: 116, Type: "CA", Certificate: &Certificate{Index: 1, CAID: "2.999.5", Value: reftest.Unhex(t, "7F2101AA")}}}},
			Capabilities: Capabilities{HTTP: true, HTTPVersion: "1.1.3", SecurePacketVersion: "12.0.0", RemoteProvisioningVersion: "3.2.0"}},
		RemainingMemory: 524288, AvailableMemory: 458752, SMSRID: "2.999.20.1",
		Profiles: []Profile{{ICCID: iccid, ISDPAID: reftest.Unhex(t, "A0000005591010FFFFFFFF8900001000"), MNOID: "2.999.30.1", Fallback: true, IMSI: imsi,
			State: "Enabled", ProfileType: "Bootstrap", AllocatedMemory: 65536, FreeMemory: &free}},
		ISDR: SecurityDomain{AID: reftest.Unhex(t, "A0000005591010FFFFFFFF8900000100"), SIN: e[:4], SDIN: e[:], Role: "ISD-R", Keysets: []Keyset{
			{Version: 1, Type: "SCP80", Counter: &zero, Keys: []Key{{Index: 1, KCV: []byte{1, 2, 3}, Type: 0x88, Value: bytes.Repeat([]byte{7}, 16)}}}}},
	}
}

func TestSignedBytesStandInTheDocument(t *testing.T) {
	t.Parallel()
	f := sample(t)
	signed, err := EumSignedInfo(f.SignedFields)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := Document(f, Signature{Value: make([]byte, 64), SKI: make([]byte, 20)})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(signed)
	for _, part := range [][]byte{signed, SignedInfo(digest), []byte(base64.StdEncoding.EncodeToString(digest[:]))} {
		if bytes.Count(doc, part) != 1 {
			t.Errorf("not once in the document: %s", part)
		}
	}
	if eid, err := EIDOf(signed); err != nil || eid != f.EID {
		t.Errorf("EID %v, %v", eid, err)
	}
	order := []string{"EumSignedInfo", "EumSignature", "RemainingMemory", "AvailableMemoryForProfiles", "Smsr-id", "ProfileInfo", "Isd-r"}
	if got := children(t, doc); !slices.Equal(got, order) {
		t.Errorf("elements %v, want %v", got, order)
	}
}

// children lists the elements directly below the root; it also finds XML that is not well-formed.
func children(t *testing.T, doc []byte) (names []string) {
	t.Helper()
	d, depth := xml.NewDecoder(bytes.NewReader(doc)), 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if depth == 1 && e.Name.Space == Namespace {
				names = append(names, e.Name.Local)
			}
			depth++
		case xml.EndElement:
			depth--
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	f := sample(t)
	f.Spelling, f.EUMCertificateID = SpellingUpper, "id-1"
	f.Capabilities.CATTP, f.Capabilities.CATTPVersion = true, "6.13.0"
	doc, err := Document(f, Signature{Value: make([]byte, 64), SKI: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<rps:Eum-Id>2.999.5</rps:Eum-Id>", "</rps:Smsr-id><rps:EumCertificateId>id-1<", "<rps:CattpVersion>6.13.0<"} {
		if !bytes.Contains(doc, []byte(want)) {
			t.Errorf("%s is missing", want)
		}
	}
	signed, err := EumSignedInfo(f.SignedFields)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseEumSignedInfo(signed); err != nil || back.Spelling != SpellingUpper {
		t.Errorf("read back: %+v, %v", back, err)
	}
}

func TestRefusesToWrite(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Fields){
		"no EID":          func(f *Fields) { f.EID = id.EID{} },
		"control":         func(f *Fields) { f.PlatformType = "a\nb" },
		"long":            func(f *Fields) { f.PlatformType = strings.Repeat("a", MaxTextChars+1) },
		"fraction":        func(f *Fields) { f.ProductionDate = f.ProductionDate.Add(1) },
		"no ECASD keyset": func(f *Fields) { f.ECASD.Keysets = nil },
		"no profile":      func(f *Fields) { f.Profiles = nil },
		"no IMSI":         func(f *Fields) { f.Profiles[0].IMSI = id.IMSI{} },
		"no SM-SR":        func(f *Fields) { f.SMSRID = "" },
		"spelling":        func(f *Fields) { f.Spelling = "EUM-ID" },
	} {
		f := sample(t)
		change(&f)
		if doc, err := Document(f, Signature{Value: make([]byte, 64), SKI: []byte{1}}); err == nil {
			t.Errorf("%s: %s", name, doc)
		}
	}
	if _, err := Document(sample(t), Signature{Value: make([]byte, 70), SKI: []byte{1}}); err == nil {
		t.Error("a DER signature")
	}
}

func TestReadsOneSpelling(t *testing.T) {
	t.Parallel()
	signed, err := EumSignedInfo(sample(t).SignedFields)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"blank":        strings.Replace(string(signed), "><rps:Eid>", "> <rps:Eid>", 1),
		"comment":      strings.Replace(string(signed), "<rps:Eid>", "<!--x--><rps:Eid>", 1),
		"prefix":       strings.ReplaceAll(string(signed), "rps", "esm"),
		"lower hex":    strings.Replace(string(signed), "FFFFFFFF8900000D", "ffffffff8900000D", 1),
		"second EID":   strings.Replace(string(signed), "</rps:Eid>", "</rps:Eid><rps:Eid>89049032123451234512345678901235</rps:Eid>", 1),
		"check digits": strings.Replace(string(signed), "678901235</rps:Eid>", "678901236</rps:Eid>", 1),
		"more":         strings.Replace(string(signed), "</rps:Ecasd>", "<rps:X></rps:X></rps:Ecasd>", 1),
		"trailing":     string(signed) + " ",
		"twice":        string(signed) + string(signed),
		"entity":       strings.Replace(string(signed), "&lt;", "&#60;", 1),
		"nothing":      "",
		"large":        strings.Repeat(" ", MaxSignedInfoBytes+1),
	} {
		if bad == string(signed) {
			t.Errorf("%s: the test changes nothing", name)
		}
		if f, err := ParseEumSignedInfo([]byte(bad)); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func FuzzParseEumSignedInfo(f *testing.F) {
	signed, err := EumSignedInfo(sample(f).SignedFields)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(bytes.Replace(signed, []byte("CA</"), []byte("</"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, err := ParseEumSignedInfo(b)
		if err != nil {
			return
		}
		if again, err := EumSignedInfo(fields); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is written again as %q, %v", b, again, err)
		}
	})
}

// Both signed elements are what a canonicalizer makes of them, standing alone and taken out of the document.
func TestXMLLintAgrees(t *testing.T) {
	t.Parallel()
	reftest.RequireTool(t, "xmllint")
	f := sample(t)
	signed, err := EumSignedInfo(f.SignedFields)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := Document(f, Signature{Value: make([]byte, 64), SKI: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{signed, SignedInfo(sha256.Sum256(signed))} {
		if got := xmllint(t, b); !bytes.Equal(got, b) {
			t.Errorf("canonical form is\n%s\nnot\n%s", got, b)
		}
	}
	// The whole document canonicalized drops the declarations that are repeated; put back at the apex of each element, as
	// canonicalizing that element alone would, the bytes are the signed ones.
	whole := xmllint(t, doc)
	info := regexp.MustCompile(`(?s)<rps:EumSignedInfo>.*</rps:EumSignedInfo>`).Find(whole)
	info = bytes.Replace(info, []byte("<rps:EumSignedInfo>"), []byte(`<rps:EumSignedInfo xmlns:rps="`+Namespace+`">`), 1)
	if !bytes.Equal(info, signed) {
		t.Errorf("within the document it is\n%s", info)
	}
}

func xmllint(t *testing.T, b []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.xml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("xmllint", "--nonet", "--exc-c14n", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What the vault signs is what OpenSSL verifies.
func TestOpenSSLVerifies(t *testing.T) {
	t.Parallel()
	reftest.RequireTool(t, "openssl")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := EumSignedInfo(sample(t).SignedFields)
	if err != nil {
		t.Fatal(err)
	}
	info := SignedInfo(sha256.Sum256(signed))
	digest := sha256.Sum256(info)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	raw := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	doc, err := Document(sample(t), Signature{Value: raw, SKI: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	value := regexp.MustCompile(`<ds:SignatureValue[^>]*>([^<]*)<`).FindSubmatch(doc)
	found, err := base64.StdEncoding.DecodeString(string(value[1]))
	if err != nil {
		t.Fatal(err)
	}
	der, err := tlv.RawToECDSASig(found)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{"pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), "sig": der, "msg": info} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "msg")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

// The reference EIS was made by another program.
func TestAgreesWithTheReference(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		return bytes.TrimSuffix(reftest.Read(t, "data", "synthetic_eis", name), []byte("\n"))
	}
	signed := read("eum_signed_info.c14n")
	if _, err := ParseEumSignedInfo(signed); err != nil {
		t.Error(err)
	}
	if got := SignedInfo(sha256.Sum256(signed)); !bytes.Equal(got, read("signed_info.c14n")) {
		t.Errorf("SignedInfo is\n%s", got)
	}
}
