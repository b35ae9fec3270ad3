package design

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/saip"
)

func shipped(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(profiles, "bootstrap.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestBuildRefuses changes one thing of the shipped description each; the error names it.
func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ from, to, want string }{
		"field":         {"profile: Bootstrap", "profil: Bootstrap", "line 8: field profil not found"},
		"field twice":   {"profile: Bootstrap", "profile: Bootstrap\nprofile: Other", "line 9: mapping key \"profile\" already defined"},
		"document":      {"profile: Bootstrap", "---\nprofile: Bootstrap\n---\nprofile: Other", "more than one document"},
		"format":        {`format: "2.3"`, `format: "2"`, `format "2" is no version`},
		"format 9":      {`format: "2.3"`, `format: "9.3"`, "version 9.3 of the format"},
		"network":       {`home: {mcc: "001", mnc: "01"}`, `home: {mcc: "001", mnc: "1"}`, "home network"},
		"algorithm":     {"name: milenage", "name: comp128", "algorithmID"},
		"key of 32":     {"name: milenage", "name: milenage, key_bytes: 32", "milenage with a key of 32 bytes"},
		"key of -1":     {"name: milenage", "name: milenage, key_bytes: -1", "algorithm: key_bytes is -1"},
		"options":       {`options: "02"`, `options: "0202"`, "algorithm options"},
		"service":       {"profile: Bootstrap", "profile: Bootstrap\nservices: [teleport]", `there is no field "teleport"`},
		"tries":         {`{ref: "01", tries: 10}`, `{ref: "01", tries: 16}`, "puks: 01: tries is 16"},
		"reference":     {`{ref: "01", tries: 10}`, `{ref: "g", tries: 10}`, `PUK reference "g"`},
		"PUK missing":   {`{ref: "01", tries: 10}`, `{ref: "02", tries: 10}`, "PIN 01 is unblocked by PUK 01, which the package doesn't have"},
		"act":           {"- read always; update pin1;", "- reed always; update pin1;", `rule 1: "reed" is no act`},
		"condition":     {"- read always; update pin1;", "- read always; update pin9;", `rule 1: "pin9" is no condition`},
		"half a rule":   {"- read always; update pin1;", "- read; update pin1;", "rule 1"},
		"application":   {"{kind: isim,", "{kind: rsim,", `application "rsim": only usim and isim are built`},
		"directory":     {"with: [gsm-access]", "with: [gsm]", `there is no directory "gsm"`},
		"AID":           {"aid: A0000000871004FF86FF0389FFFFFFFF", "aid: A0000000", "dfName: 4 bytes"},
		"unknown file":  {"file: usim/ef-li,", "file: usim/ef-lo,", `file "usim/ef-lo": nothing in this design has it`},
		"no content":    {`{file: usim/ef-est, hex: "00"}`, `{file: usim/ef-smss}`, `file "usim/ef-est": the template has no content for it`},
		"file twice":    {"file: usim/ef-est", "file: usim/ef-spn", `file "usim/ef-spn" stands there twice`},
		"two ways":      {`{file: usim/ef-est, hex: "00"}`, `{file: usim/ef-est, hex: "00", services: [1]}`, "more than one way"},
		"no hex":        {`{file: usim/ef-est, hex: "00"}`, `{file: usim/ef-est, hex: "0"}`, `content "0" is not hex`},
		"too long":      {`{file: usim/ef-est, hex: "00"}`, `{file: usim/ef-est, hex: "0000", size: 1}`, "content of 2 bytes for a file of 1"},
		"size":          {`{file: usim/ef-est, hex: "00"}`, `{file: usim/ef-est, hex: "00", size: 70000}`, "usim/ef-est: size is 70000"},
		"rule":          {`{file: usim/ef-est, hex: "00"}`, `{file: usim/ef-est, hex: "00", rule: 255}`, "usim/ef-est: rule is 255"},
		"name":          {"text: Demo Bootstrap", "text: Démo", "the name \"Démo\""},
		"access":        {"access: [eutran, utran, gsm]", "access: [wimax]", `"wimax" is no access technology`},
		"PLMN":          {`plmns: [{mcc: "001", mnc: "01"}]`, `plmns: [{mcc: "0G1", mnc: "01"}]`, "are not the codes of a network"},
		"text":          {`texts: ["{imsi}@ims`, `texts: ["{eid}@ims`, "{imsi}, {mcc}, {mnc}"},
		"number":        {`number: "911"`, `number: "sos"`, `"sos" is no emergency number`},
		"category":      {`{number: "911", category: 0}`, `{number: "911", category: 256}`, "category is 256"},
		"UST":           {"services: [10, 12,", "services: [0, 12,", "0 is no service"},
		"key type":      {"type: aes, bytes: 16", "type: rsa, bytes: 16", `"rsa" is no type of key`},
		"key length":    {"type: aes, bytes: 16", "type: aes, bytes: 17", "has 17 bytes, which is none of its type 88"},
		"endless key":   {"type: aes, bytes: 16", "type: aes, bytes: 1000000000", "bytes is 1000000000"},
		"TAR":           {"tars: [B00001]", "tars: [B00000]", "TAR B00000 is that of another instance"},
		"TAR of two":    {"tars: [B00001]", "tars: [B000]", `TAR "B000" is not hex of 3 bytes`},
		"RFM in nobody": {"files: isim}", "files: csim}", `there is no application "csim"`},
	} {
		text := bytes.Replace(shipped(t), []byte(c.from), []byte(c.to), 1)
		if bytes.Equal(text, shipped(t)) {
			t.Errorf("%s: %q is not in the description", name, c.from)
			continue
		}
		d, err := Parse(text)
		if err == nil {
			_, err = saip.Build(d)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestOtherParts builds what the shipped description has none of.
func TestOtherParts(t *testing.T) {
	t.Parallel()
	text := string(shipped(t))
	for _, c := range [][2]string{
		{"name: milenage", "name: tuak, key_bytes: 32"},
		{"with: [gsm-access]", "with: [5gs, saip]"},
		{"  - {file: gsm-access/ef-kc}\n  - {file: gsm-access/ef-kcgprs}\n", `  - {file: 5gs/ef-suci-calc-info, hex: A0020000, size: 118}
  - {file: 5gs/ef-uac-aic, hex: "00000000"}
  - {file: 5gs/ef-routing-indicator}
  - {file: saip/ef-suci-calc-info-usim, hex: A0020000, size: 118, rule: 2}
  - {file: telecom/ef-adn, fid: 4F3A, size: 280, record: 28}
  - {file: telecom/ef-pbr, size: 10, record: 10}
  - {file: usim/ef-acm, size: 15, record: 3}
  - {file: usim/ef-imsconfigdata, size: 200}
  - {file: usim/ef-netpar, absent: true}
`},
		{"profile: Bootstrap", "profile: Bootstrap\nservices: [get-identity, profile-a-x25519]"},
		{"- read always; update pin1;", "- read always; update pin1/adm2;"},
	} {
		text = strings.Replace(text, c[0], c[1], 1)
	}
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := saip.Build(d)
	if err != nil {
		t.Fatal(err)
	}
	chip, faults := p.Expand()
	if len(faults) > 0 {
		t.Error(faults)
	}
	for path, want := range map[saip.Path]struct {
		kind         saip.FileKind
		size, record int
	}{
		"3F00/7FD0/5FC0/4F07": {saip.Transparent, 118, 0}, "3F00/7FD0/5FD0/4F01": {saip.Transparent, 118, 0}, "3F00/7F10/5F3A/4F3A": {saip.LinearFixed, 280, 28},
		"3F00/7F10/5F3A/4F30": {saip.LinearFixed, 10, 10}, "3F00/7FD0/6F39": {saip.Cyclic, 15, 3}, "3F00/7FD0/6FF8": {saip.BERTLV, 200, 0},
	} {
		if f := chip.File(path); f == nil || f.Kind != want.kind || f.Size != want.size || f.RecordSize != want.record {
			t.Errorf("%s is %+v", path, f)
		}
	}
	if chip.File("3F00/7FD0/6FC4") != nil {
		t.Error("a file that must be absent is there")
	}
	if got := strings.Join(chip.Header.Services, " "); got != "usim isim tuak256 ber-tlv get-identity profile-a-x25519" {
		t.Errorf("the services are %s", got)
	}
	if a := chip.AKAs[1]; a.Algorithm != saip.TUAK || a.K.Len() != 32 || a.OPc.Len() != 32 {
		t.Errorf("the ISIM's algorithm is %v", a.Algorithm)
	}
}

func FuzzBuild(f *testing.F) {
	f.Add(shipped(f))
	f.Add([]byte("profile: x\nformat: \"2.3\"\nhome: {mcc: \"001\", mnc: \"01\"}\nrules: [read always]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		p, err := saip.Build(d)
		if err != nil {
			return
		}
		if faults := p.Check().Refusing(); len(faults) > 0 {
			t.Fatalf("built, and refused: %v", faults)
		}
		file := p.Encode()
		again, err := saip.Decode(bytes.Clone(file))
		if err != nil || !bytes.Equal(again.Encode(), file) {
			t.Fatalf("what was built is read as another: %v", err)
		}
	})
}
