package plan

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/persoline/persoline/perso/statement/transcript"
)

const good = `version: 1
environment: test
site: S1
ceremony: first-keys
number: 1
previous: none
register_pin: none
not_after: 2027-03-02T00:00:00Z
inventory: ./inventory
token: {module: softhsm, directory: ./token, label: tok, pin: custodians, pin_halves: [c1, c2]}
vault: {folder: ./keys, origin: factory.example/log}
officers:
  - {id: ann, person: Ann Example, role: production, key: 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c}
  - {id: bob, person: Bob Example, role: security, key: 8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394}
present: [ann, bob]
custodians:
  - {id: c1, person: First Keeper}
  - {id: c2, person: Second Keeper}
steps:
  - {do: generate, key: log/S1, backup: cluster-only, owner: site, until: 2037-01-01}   # remarks are for reviewers
  - do: import
    key: kmc/maker-1
    backup: media
    owner: maker
    until: 2032-01-01
    bytes: 16
    kcv: none
    components:
      - {custodian: c1, place: safe 1, kcv: 001122}
      - {custodian: c2, place: safe 2, kcv: 0e1122}
`

func TestReads(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Acts) != 2 || p.Acts[1].Copies[0].KCV != "001122" || p.Acts[1].Copies[1].KCV != "0e1122" || p.Acts[0].Key != "persoline/test/log/S1" {
		t.Errorf("%+v", p.Acts)
	}
	again, err := transcript.ParseOrder(must(p.Order([32]byte{1}, p.NotAfter, [32]byte{2}).Encode()))
	if err != nil || again.Plan != p.Hash || len(again.Acts) != 2 || again.Acts[1].Copies[1].Place != "safe 2" {
		t.Errorf("%+v, %v", again, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestTellsAllFaults: one reading tells everything that is wrong, with line and field.
func TestTellsAllFaults(t *testing.T) {
	t.Parallel()
	bad := good
	for _, change := range [][2]string{
		{"environment: test", "environment: live"}, {"number: 1", "number: 01"}, {"not_after: 2027-03-02T00:00:00Z", "not_after: tomorrow"},
		{"pin_halves: [c1, c2]", "pin_halves: [c1, c1]"}, {"role: security", "role: boss"}, {"backup: cluster-only,", "backup: media, colour: red,"},
		{"bytes: 16", "bytes: 17"}, {"kcv: 001122", "kcv: 00112"}, {"site: S1", "site: S1\nsite: S2\npin: 1234"},
	} {
		if !strings.Contains(bad, change[0]) {
			t.Fatalf("%q is not in the sample", change[0])
		}
		bad = strings.Replace(bad, change[0], change[1], 1)
	}
	_, err := Parse([]byte(bad))
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	for _, want := range []string{"line 2: environment: ", "line 4: site: it stands here twice", "line 5: pin: there is no such field here", "line 7: number: ",
		"line 10: not_after: ", "line 12: token.pin_halves: ", "line 16: officers[2].role: ", "line 22: steps[1].colour: there is no such field here",
		"line 31: steps[2].components[1].kcv: "} {
		if !strings.Contains("\n"+err.Error(), "\n"+want) {
			t.Errorf("nothing is said of %q in\n%v", want, err)
		}
	}
	for _, f := range faults {
		if strings.Contains(f.What, "1234") {
			t.Errorf("a fault tells a value: %v", f)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, other, want string }{
		"two documents":         {"version: 1", "version: 1\n---\nversion: 1", "more than one document"},
		"anchor":                {"site: S1", "site: &a S1", "line 3: site: one value"},
		"no YAML":               {"site: S1", "site: [", "line "},
		"not a mapping":         {good, "- 1\n", "line 1: it: fields with values"},
		"merge":                 {"site: S1", "<<: {site: S1}", "plain text"},
		"production file PIN":   {"environment: test\nsite", "environment: production\nsite", "SoftHSM keeps keys in files"},
		"lot key":               {"key: log/S1", "key: lot/L-1", "made by the vault"},
		"unknown class":         {"key: log/S1", "key: magic/S1", `"magic" is none`},
		"import of a signer":    {"key: kmc/maker-1", "key: eum/S1", "not for class"},
		"seal by components":    {"key: kmc/maker-1", "key: seal/S1", "line "},
		"other length":          {"bytes: 16", "bytes: 17", "takes [16 24 32]"},
		"one component":         {"      - {custodian: c2, place: safe 2, kcv: 0e1122}\n", "", "1 components"},
		"one custodian twice":   {"custodian: c2", "custodian: c1", "holds two copies"},
		"no custodian":          {"custodian: c2", "custodian: c9", "is no custodian"},
		"one person twice":      {"person: Second Keeper", "person: FIRST KEEPER", "the same person"},
		"media made inside":     {"backup: cluster-only", "backup: media", "backup policy"},
		"later without head":    {"number: 1", "number: 2", "no other does"},
		"first with a head":     {"previous: none", "previous: " + strings.Repeat("ab", 32), "no other does"},
		"officers later":        {"number: 1", "number: 2", "later ones add and revoke"},
		"unknown operation":     {"do: generate", "do: export", `unknown operation "export"`},
		"half by a stranger":    {"pin_halves: [c1, c2]", "pin_halves: [c1, c3]", "is no custodian"},
		"PIN in the file":       {"label: tok", "label: tok, pin_value: 1234", "no such field"},
		"no owner":              {"owner: site, ", "", "steps[1].owner: it is missing"},
		"over before it begins": {"until: 2037-01-01", "until: 2027-03-01", "steps[1].until: the key's time"},
		"request for a log key": {"  - do: import", "  - {do: request, key: log/S1, scheme: sgp02, organization: O, common_name: C, oid: 2.999.5}\n  - do: import", "have no certificate"},
		"request by nobody":     {"  - do: import", "  - {do: request, key: eum/S1, scheme: sgp22, organization: O, common_name: C, oid: 2.999.5}\n  - do: import", "0 issuer numbers"},
		"byte order mark":       {"version: 1", "\ufeffversion: 1", "line 1: file: it begins with a byte order mark"},
		"not UTF-8":             {"owner: site", "owner: s\xefte", "line 20: file: byte ef is not UTF-8"},
		"NUL":                   {"owner: site", "owner: s\x00te", "line 20: file: character U+0000"},
		"NUL in a remark":       {"# remarks", "# \x00", "line 20: file: character U+0000"},
		"turned text":           {"# remarks", "# \u202e", "line 20: file: character U+202E"},
		"unseen line's end":     {"# remarks", "# \u0085", "line 20: file: character U+0085"},
		"a key twice":           {"owner: site", "owner: site, owner: site", "steps[1].owner: it stands here twice"},
		"a key twice, quoted":   {"owner: site", `owner: site, "owner": site`, "steps[1].owner: it stands here twice"},
		"NUL by an escape":      {"inventory: ./inventory", `inventory: "./in\0ventory"`, "line 9: inventory: "},
		"a tag":                 {"owner: site", "owner: !!binary c2l0ZQ==", "steps[1].owner: one value"},
		"two lines in a person": {"person: First Keeper", `person: "First\nKeeper"`, "on one line"},
	} {
		text := strings.Replace(good, c.old, c.other, 1)
		if text == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text := strings.NewReplacer("environment: test", "environment: production", "module: softhsm, directory: ./token", "module: /usr/lib/hsm.so", "pin: custodians, pin_halves: [c1, c2]", "pin: file").Replace(good)
	if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "a file is for environment test only") {
		t.Errorf("a PIN file in production: %v", err)
	}
	for name, order := range map[string]binary.AppendByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian} {
		wide := []byte(name)
		for _, u := range utf16.Encode([]rune(good)) {
			wide = order.AppendUint16(wide, u)
		}
		if _, err := Parse(wide); err == nil || !strings.Contains(err.Error(), "it is UTF-16: save it as UTF-8") {
			t.Errorf("UTF-16: %v", err)
		}
		if _, err := Parse(wide[2:]); err == nil {
			t.Error("UTF-16 without a mark was read")
		}
	}
	if _, err := Parse([]byte(strings.ReplaceAll(good, "\n", "\r\n"))); err != nil {
		t.Errorf("other line ends: %v", err)
	}
	if _, err := Parse([]byte(strings.Repeat("#", MaxBytes+1))); err == nil {
		t.Error("a file of any size was read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: *a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		if _, err := transcript.ParseOrder(must(p.Order([32]byte{1}, p.NotAfter, [32]byte{2}).Encode())); err != nil {
			t.Fatalf("a plan was read that makes no order: %v", err)
		}
	})
}
