package product

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso/order/form"
)

const shippedDir = "../../deploy/products"

func shippedFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(shippedDir + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestShippedCatalogue(t *testing.T) {
	t.Parallel()
	c, err := LoadDir(os.DirFS(shippedDir))
	if err != nil {
		t.Fatal(err)
	}
	p, ok := c.Get("m2m-200s-mff2")
	if !ok || !p.Makeable || p.Family != EUICCM2M || p.Factory.KVN != 0xFF || p.Factory.I != 0x70 || p.ISDKVN != 0x30 {
		t.Errorf("m2m-200s-mff2 is %+v", p)
	}
	if !p.Proves(ProofReopen) || !p.Proves(ProofReadback) || p.Proves(ProofSignature) || p.AuthProof != AuthAUTS {
		t.Errorf("its proofs are %v, %v", p.Proof, p.AuthProof)
	}
	if len(p.AIDs.ISDP.Bytes()) != 16 || p.AIDs.ISD.String() != "A000000151000000" || p.Profile.AD(2) != [4]byte{3: 2} {
		t.Errorf("its AIDs and profile are %+v, %+v", p.AIDs, p.Profile)
	}
	if p.EIS.HTTPVersion.String() != "1.1.3" || p.EIS.CATTPVersion != (Version{}) {
		t.Errorf("its EIS is %+v", p.EIS)
	}
	not, ok := c.Get("crypto-110s-tssop")
	if !ok || not.Makeable || not.Reason == "" {
		t.Errorf("crypto-110s-tssop is %+v", not)
	}
	if _, ok := c.Get("none"); ok {
		t.Error("an unknown product was found")
	}
	if near, ok := c.Nearest("m2m-200s-mf2"); !ok || near != p.SKU {
		t.Errorf("nearest is %q", near)
	}
}

func TestHashIsOfTheContent(t *testing.T) {
	t.Parallel()
	text := shippedFile(t, "m2m-200s-mff2.json")
	hash := func(s string) [32]byte {
		p, err := Parse(strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		return p.Hash()
	}
	moved := strings.Replace(strings.Replace(text, `"isd_kvn": "30",`, "", 1), `"version": 1,`, "\r\n\"version\":1,\t\"isd_kvn\": \"30\",", 1)
	if hash(moved) != hash(text) {
		t.Error("another layout has another hash")
	}
	if hash(strings.Replace(text, `"isd_kvn": "30"`, `"isd_kvn": "31"`, 1)) == hash(text) {
		t.Error("another content has the same hash")
	}
}

func TestParseFaults(t *testing.T) {
	t.Parallel()
	good := shippedFile(t, "m2m-200s-mff2.json")
	for _, c := range []struct{ old, new, field, reason string }{
		{`"makeable": true`, `"makeable": false`, "reason", "exactly when makeable is false"},
		{`"makeable": true`, `"makeable": true, "reason": "x"`, "reason", "exactly when makeable is false"},
		{`"version": 1,`, `"version": 2,`, "version", "this release reads 1"},
		{`"atr": "3B`, `"atr": "3C`, "atr", "expected 3B or 3F"},
		{`XXXX",`, `XXX",`, "atr", "an even number"},
		{`XXXX",`, `XXXG",`, "atr", "character 44 is 'G'"},
		{`"30"`, `"00"`, "isd_kvn", "is 00, expected 01 to 7F"},
		{`"kvn": "FF"`, `"kvn": "30"`, "isd_kvn", "like the factory keyset"},
		{`"i": "70"`, `"i": "50"`, "factory.i", "which SCP03 does not know"},
		{`"i": "70"`, `"i": "10"`, "factory.i", "without R-MAC"},
		{`"i": "70"`, `"i": 70`, "factory.i", "is a number, expected a text"},
		{`"auth_proof": "auts"`, `"auth_proof": "none"`, "auth_proof", "does not fit the list of proofs"},
		{`"chip_id": "kdd"`, `"chip_id": "none"`, "chip_id", "its EID is bound to it"},
		{`"m2m-200s.script"`, `"../m2m-200s.script"`, "script", "is not the name of a script file"},
		{`"http_version": "1.1.3",`, ``, "eis.http_version", "exactly when http is true"},
		{`"2.0.0"`, `"2.0"`, "eis.platform_version", "is not a version"},
		{`"2.0.0"`, `"2.0.256"`, "eis.platform_version", "is not a version"},
		{`"available_memory": 458752`, `"available_memory": 524289`, "eis.available_memory", "more than the chip's 524288"},
		{`"isdr": "A000`, `"isdx": "A000`, "aids.isdr", "missing"},
		{`"isd": "A000000151000000"`, `"isd": "A0000001"`, "aids.isd", "is not 5 to 16 bytes"},
		{`"profile_type"`, `"ad_hex": "00000002", "profile_type"`, "profile.ad_hex", "is not 3 bytes"},
		{`"package": true`, `"package": true, "services": ["mbms"]`, "profile.services[0]", "javacard"},
		{`"package": true`, `"package": false, "services": ["javacard"]`, "profile.services", "the product loads none"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("nothing to replace: %s", c.old)
		}
		_, err := Parse(strings.NewReader(text))
		var list *form.FaultList
		if !errors.As(err, &list) {
			t.Errorf("%s: got %v, want faults", c.new, err)
			continue
		}
		found := false
		for _, f := range *list {
			found = found || f.Field == c.field && strings.Contains(f.Reason, c.reason)
		}
		if !found {
			t.Errorf("%s: no fault of %s with %q in:\n%v", c.new, c.field, c.reason, err)
		}
	}
}

// What SCP02 cannot do is no product.
func TestSCP02Faults(t *testing.T) {
	t.Parallel()
	good := shippedFile(t, "basic-100m-scp02-mff2.json")
	p, err := Parse(strings.NewReader(good))
	if err != nil || p.Channel() != ChannelSCP02 || p.Proofs().String() != "scp-reopen, authenticate "+TrustsContents || !p.Proofs().TrustsContents() || p.Proofs().TrustsLine() {
		t.Fatalf("%q, %v", p.Proofs(), err)
	}
	if again, err := ParseProofs(p.Proofs().String()); err != nil || again != p.Proofs() || !again.Has(ProofReopen) || again.Has(ProofReadback) {
		t.Errorf("read again: %q, %v", again, err)
	}
	for _, c := range []struct{ old, new, field, reason string }{
		{`"i": "55"`, `"i": "75"`, "factory.i", "this release speaks 55"},
		{`"isd_kvn": "20"`, `"isd_kvn": "30"`, "isd_kvn", "20 to 2F"},
		{`"scp-reopen", `, `"scp-reopen", "rmac-readback", `, "proof", "carry no MAC"},
		{`"scp-reopen", `, ``, "proof", "is its keys"},
		{`, "contents-trust-the-line"`, ``, "proof", "the line's word"},
		{`"scp": "02", "i": "55"`, `"scp": "03", "i": "70"`, "proof", "is for chips with SCP02"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("nothing to replace: %s", c.old)
		}
		_, err := Parse(strings.NewReader(text))
		var list *form.FaultList
		if !errors.As(err, &list) || !slices.ContainsFunc(*list, func(f form.Fault) bool { return f.Field == c.field && strings.Contains(f.Reason, c.reason) }) {
			t.Errorf("%s: no fault of %s with %q in:\n%v", c.new, c.field, c.reason, err)
		}
	}
}

func TestParseGivesAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Parse(strings.NewReader(`{"makeable": true, "family": "euicc-m2m"}`))
	var list *form.FaultList
	if !errors.As(err, &list) {
		t.Fatal(err)
	}
	// Every field that a complete product has, but the two above and the optional ones.
	want := "version sku title package interface grade certification chip_os memory_bytes atr chip_id proof auth_proof script isd_kvn factory aids profile eis"
	for _, field := range strings.Fields(want) {
		if !strings.Contains(err.Error(), ": "+field+": the field is missing") {
			t.Errorf("%s is not reported as missing", field)
		}
	}
	if len(*list) != len(strings.Fields(want)) {
		t.Errorf("%d faults, want %d:\n%v", len(*list), len(strings.Fields(want)), err)
	}
}

func TestLoadDirFaults(t *testing.T) {
	t.Parallel()
	good := &fstest.MapFile{Data: []byte(shippedFile(t, "m2m-200s-mff2.json"))}
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"empty":     {fstest.MapFS{}, "0 product files"},
		"misnamed":  {fstest.MapFS{"x.json": good, "m2m-200s.script": {}}, `the file must be named "m2m-200s-mff2.json"`},
		"no script": {fstest.MapFS{"m2m-200s-mff2.json": good}, "looking for its script"},
		"bad file":  {fstest.MapFS{"a.json": {Data: []byte("{")}}, `loading product file "a.json"`},
	} {
		if _, err := LoadDir(c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestLoadDirSaysThatThereIsNoFolder(t *testing.T) {
	t.Parallel()
	if _, err := LoadDir(os.DirFS(filepath.Join(t.TempDir(), "nowhere"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestATRMatch(t *testing.T) {
	t.Parallel()
	a, err := ParseATR("3b9fXX4X")
	if err != nil || a.String() != "3B9FXX4X" {
		t.Fatal(a, err)
	}
	for _, c := range []struct {
		answer []byte
		want   bool
	}{
		{[]byte{0x3B, 0x9F, 0x00, 0x4F}, true},
		{[]byte{0x3B, 0x9F, 0xFF, 0x40}, true},
		{[]byte{0x3B, 0x9F, 0xFF, 0x50}, false},
		{[]byte{0x3B, 0x9E, 0xFF, 0x40}, false},
		{[]byte{0x3B, 0x9F, 0xFF}, false},
		{nil, false},
	} {
		if a.Match(c.answer) != c.want {
			t.Errorf("%X: match is %t", c.answer, !c.want)
		}
	}
	if (ATR{}).Match(nil) {
		t.Error("no pattern matches no answer")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(shippedFile(f, "m2m-200s-mff2.json")))
	f.Add([]byte(shippedFile(f, "crypto-110s-tssop.json")))
	f.Add([]byte(`{"makeable": true, "family": "basic", "aids": {}, "profile": {}}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := Parse(bytes.NewReader(file))
		if err != nil {
			return
		}
		if p.Makeable && (p.Script == "" || p.ATR.IsZero() || len(p.Proof) == 0 || p.Reason != "") {
			t.Fatalf("makeable and not complete: %+v", p)
		}
		if !p.Makeable && p.Reason == "" {
			t.Fatal("not makeable without a reason")
		}
	})
}
