package order

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// partnerFiles is the shipped partners as files that a test may change.
func partnerFiles(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range []string{"eum-demo", "smsr-demo", "provider-demo", "auc-demo", "rk-auc-demo"} {
		files[name+".json"] = &fstest.MapFile{Data: readFile(t, deploy+"/partners/"+name+".json")}
	}
	return files
}

func TestLoadSite(t *testing.T) {
	t.Parallel()
	site, err := LoadSite(os.DirFS(deploy + "/partners"))
	if err != nil {
		t.Fatal(err)
	}
	if site.EUM.IIN != "89049099" || site.EUM.EIDPool.Count() != 1_000_000 || site.EUM.OID != "2.999.1.1" {
		t.Errorf("EUM is %+v", site.EUM)
	}
	p, ok := site.Provider("provider-demo")
	if spn := p.EFSPN(); !ok || p.MNCDigits() != 2 || string(spn[1:]) != "Demo Bootstrap\xff\xff" || spn[0] != 1 {
		t.Errorf("provider is %+v", p)
	}
	s, ok := site.SMSR("smsr-demo")
	if !ok || s.WrapKey != "wk-smsr-demo" || len(s.Addressing) != 11 {
		t.Errorf("SM-SR is %+v", s)
	}
	if target, ok := site.Target("auc-demo"); !ok || target.Directory != "auc-demo" {
		t.Errorf("target is %+v", target)
	}
	if r, ok := site.Receiver("rk-auc-demo"); !ok || r.KeyID != 7 || r.Public().N.BitLen() != 3072 {
		t.Errorf("receiver key is %v", r.Ref())
	}
	if _, ok := site.SMSR("auc-demo"); ok {
		t.Error("a delivery target is found as an SM-SR")
	}
}

func TestLoadSiteFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, old, new, want string }{
		{"eum-demo", `"oid": "2.999.1.1"`, `"oid": "2.0999.1"`, "oid: \"2.0999.1\" is not an object identifier"},
		{"eum-demo", `"oid": "2.999.1.1"`, `"oid": "1.40"`, "is not an object identifier"},
		{"eum-demo", `"iin": "89049099"`, `"iin": "89049098"`, "does not begin with the iin 89049098"},
		{"eum-demo", `000034"`, `000035"`, "check digits are 35, expected 34"},
		{"eum-demo", `"count": 1000000`, `"count": 1000000, "last": 1`, "eid_pool.last: unknown field"},
		{"eum-demo", `"kind": "eum"`, `"kind": "delivery-target"`, "directory: the field is missing"},
		{"smsr-demo", `"id": "smsr-demo"`, `"id": "smsr"`, `id: is "smsr" in a file named "smsr-demo.json"`},
		{"smsr-demo", `https:`, `http:`, "is not an https address"},
		{"smsr-demo", `"A309`, `"A308`, "addressing: parsing element at byte 10"},
		{"smsr-demo", `"A309`, `"A609`, "addressing: tag A6 is not an addressing parameter"},
		{"provider-demo", `"plmn": "00101"`, `"plmn": "001010"`, "mnc_digits: is 2, but the plmn 001010 has 6 digits"},
		{"provider-demo", `"plmn": "00101"`, `"plmn": "00102"`, "imsi_pool.first: belongs to network 00101, expected the plmn 00102"},
		{"provider-demo", `"iccid_iin": "8988001"`, `"iccid_iin": "8988002"`, "does not begin with the iccid_iin 8988002"},
		{"provider-demo", `"Demo Bootstrap"`, `"Demo_Bootstrap"`, "GSM default alphabet"},
		{"provider-demo", `["op-demo-1", "op-demo-2", "opc-demo/OPC", "top-demo/TOP", "topc-demo/TOPC"]`, `[]`, "op_keys: the list is empty"},
		{"provider-demo", `"top-demo/TOP"`, `"op-demo-1/TOP"`, `op_keys: the key "op-demo-1" is there twice`},
		{"provider-demo", `"top-demo/TOP"`, `"top-demo/OP"`, "its kind is one of [OPC TOP TOPC]"},
		{"provider-demo", `"tk-auc-192/AES-192"`, `"tk-auc-demo/AES-192"`, `transport_keys: the key "tk-auc-demo" is there twice`},
		{"provider-demo", `"tk-auc-old/3DES-2KEY"`, `"tk-auc-old/DES"`, `reading kind of transport key "DES"`},
		{"provider-demo", `"rk-auc-demo/RSA"`, `"rk-auc/RSA"`, `transport_keys: "rk-auc/RSA" needs a file "rk-auc.json" of kind receiver-key`},
		{"rk-auc-demo", `"public_key": "MII`, `"public_key": "-II`, "is not base64"},
		{"rk-auc-demo", `"public_key": "MII`, `"public_key": "MIJ`, "public_key: reading public key 7 of a receiver"},
		{"rk-auc-demo", `"key_id": 7`, `"key_id": 4294967296`, "key_id"},
		{"auc-demo", `"directory": "auc-demo"`, `"directory": "../auc"`, "directory: name"},
		{"auc-demo", `"version": 1`, `"version": 3`, "version: is 3, this release reads 1"},
		{"auc-demo", `"kind": "delivery-target"`, `"kind": "eum"`, "oid: the field is missing"},
	} {
		files := partnerFiles(t)
		text := string(files[c.file+".json"].Data)
		changed := strings.Replace(text, c.old, c.new, 1)
		if changed == text {
			t.Fatalf("nothing to replace: %s", c.old)
		}
		files[c.file+".json"] = &fstest.MapFile{Data: []byte(changed)}
		_, err := LoadSite(files)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file+".json") {
			t.Errorf("%s with %s: got %v, want %q", c.file, c.new, err, c.want)
		}
	}
}

func TestLoadSiteComparesFiles(t *testing.T) {
	t.Parallel()
	copyAs := func(files fstest.MapFS, from, to string) {
		text := strings.Replace(string(files[from+".json"].Data), `"id": "`+from+`"`, `"id": "`+to+`"`, 1)
		files[to+".json"] = &fstest.MapFile{Data: []byte(text)}
	}
	files := partnerFiles(t)
	copyAs(files, "provider-demo", "provider-b")
	if _, err := LoadSite(files); err == nil || !strings.Contains(err.Error(), `"provider-b" and "provider-demo" share numbers`) {
		t.Errorf("two providers with one pool: %v", err)
	}
	files = partnerFiles(t)
	copyAs(files, "eum-demo", "eum-two")
	if _, err := LoadSite(files); err == nil || !strings.Contains(err.Error(), "a second EUM") {
		t.Errorf("two EUMs: %v", err)
	}
	files = partnerFiles(t)
	delete(files, "eum-demo.json")
	if _, err := LoadSite(files); err == nil || !strings.Contains(err.Error(), "no file of kind eum") {
		t.Errorf("no EUM: %v", err)
	}
}
