package carddata

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/bits"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/secret"
)

// testSeed is the seed of the vectors in KEYTREE.md.
func testSeed(t testing.TB) *[SeedBytes]byte {
	t.Helper()
	b, err := hex.DecodeString("4b00724955be9a13a23fdfaba48f72fd04257d16eba2b07b5d399c5fd0046cfc")
	if err != nil {
		t.Fatal(err)
	}
	return (*[SeedBytes]byte)(b)
}

func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../KEYTREE.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func reveal(t *testing.T, k secret.Bytes) (out []byte) {
	t.Helper()
	if err := k.Reveal(func(b []byte) error { out = bytes.Clone(b); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// The stream is that of the library's HKDF, and ends where it is said to.
func TestStreamIsHKDF(t *testing.T) {
	t.Parallel()
	seed := sha256.Sum256([]byte("seed"))
	want, err := hkdf.Expand(sha256.New, seed[:], labelCard+"PUK1", codeStreamBytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []int{1, 8, 16, 24, 32, 100} {
		s := NewExpander(&seed).Stream("PUK1", codeStreamBytes)
		var got []byte
		for part := make([]byte, step); s.Fill(part); {
			got = append(got, part...)
		}
		if whole := codeStreamBytes / step * step; !bytes.Equal(got, want[:whole]) {
			t.Errorf("in steps of %d: %X\nwant %X", step, got, want[:whole])
		}
	}
}

// The vectors of KEYTREE.md, which another program computed, read from the page itself.
func TestKeySetVectors(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile(`(?m)^\| (SCP\d\d)\.([A-Z]+)\.([0-9A-F]{2})\.([a-z0-9-]+) \| ([0-9a-f]+) \| ([0-9a-f]{6}) \|$`).FindAllStringSubmatch(page(t), -1)
	if len(rows) != 18 {
		t.Fatalf("%d rows on the page", len(rows))
	}
	for _, m := range rows {
		n, err := ParseSetName(m[1] + "." + m[3] + "." + m[4])
		if err != nil {
			t.Fatal(err)
		}
		s, err := DeriveSet(NewExpander(testSeed(t)), n)
		if err != nil {
			t.Fatal(err)
		}
		roles := n.Roles()
		i := slices.Index(roles[:], Role(m[2]))
		if got := hex.EncodeToString(reveal(t, s.Keys[i])); got != m[5] {
			t.Errorf("%s is %s, the page says %s", n.Label(roles[i]), got, m[5])
		}
		if got := hex.EncodeToString(s.KCVs[i][:]); got != m[6] {
			t.Errorf("check value of %s is %s, the page says %s", n.Label(roles[i]), got, m[6])
		}
		s.Wipe()
		if !s.Keys[i].IsZero() {
			t.Error("wiping leaves a key")
		}
	}
}

func TestCodeVectors(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile(`(?m)^\| ([A-Z]+\d) \| ([a-z]+(?::\d+)?) \| ([0-9a-f]+) \|$`).FindAllStringSubmatch(page(t), -1)
	if len(rows) != 8 {
		t.Fatalf("%d rows on the page", len(rows))
	}
	for _, m := range rows {
		r, err := codes.ParseRule(codes.Code(m[1]), m[2])
		if err != nil {
			t.Fatal(err)
		}
		var field [CodeBytes]byte
		if err := DeriveCode(NewExpander(testSeed(t)), codes.Code(m[1]), r, &field); err != nil {
			t.Fatal(err)
		}
		got := string(bytes.TrimRight(field[:], "\xFF"))
		if r.Way() == codes.Bytes {
			got = hex.EncodeToString(field[:])
		}
		if got != m[3] {
			t.Errorf("%s %s is %s, the page says %s", m[1], m[2], got, m[3])
		}
	}
}

// A seed whose first four digits are weak for one rule and not for the other; computed by another program.
func TestStrictPassesOver(t *testing.T) {
	t.Parallel()
	seed := sha256.Sum256([]byte{0, 0, 0, 4})
	for rule, want := range map[string]string{"random:4": "5355", "strict:4": "3832"} {
		r, err := codes.ParseRule(codes.PIN1, rule)
		if err != nil {
			t.Fatal(err)
		}
		var field [CodeBytes]byte
		if err := DeriveCode(NewExpander(&seed), codes.PIN1, r, &field); err != nil || string(field[:]) != want+"\xFF\xFF\xFF\xFF" {
			t.Errorf("%s gives %q, %v", rule, field, err)
		}
	}
}

func TestWeakCodes(t *testing.T) {
	t.Parallel()
	for code, weak := range map[string]struct{ random, strict bool }{
		"0000": {true, true}, "1234": {true, true}, "9876": {true, true}, "12345678": {true, true},
		"1212": {false, true}, "1122": {false, true}, "12341234": {false, true}, "123123": {false, true}, "00000001": {false, true},
		"1235": {false, false}, "9012": {false, false}, "20020731": {false, false}, "1231": {false, false},
	} {
		if got := WeakCode([]byte(code)); got != weak.random {
			t.Errorf("%s: weak is %v", code, got)
		}
		if got := weakStrict([]byte(code)); got != weak.strict {
			t.Errorf("%s: strictly weak is %v", code, got)
		}
	}
}

// Over many cards every digit is as frequent as it should be, for each rule, and no code is weak.
func TestCodesAreUnbiased(t *testing.T) {
	t.Parallel()
	const cards = 4000
	for _, rule := range []string{"random:8", "strict:8"} {
		r, err := codes.ParseRule(codes.PUK1, rule)
		if err != nil {
			t.Fatal(err)
		}
		var count [10]int
		for i := range cards {
			seed := sha256.Sum256([]byte{byte(i >> 8), byte(i)})
			var code [CodeBytes]byte
			if err := DeriveCode(NewExpander(&seed), codes.PUK1, r, &code); err != nil || WeakCode(code[:]) {
				t.Fatalf("%s: %v", rule, err)
			}
			for _, d := range code {
				count[d-'0']++
			}
		}
		for d, n := range count {
			if mean := cards * 8 / 10; n < mean*95/100 || n > mean*105/100 { // five percent are three deviations
				t.Errorf("%s: digit %d comes %d times of %d", rule, d, n, mean)
			}
		}
	}
}

// A fixed code is the order's, and a code that no rule fits is refused.
func TestFixedCode(t *testing.T) {
	t.Parallel()
	p, err := codes.ParsePolicy("PIN1=fixed:1234")
	if err != nil {
		t.Fatal(err)
	}
	r, _ := p.Rule(codes.PIN1)
	var field [CodeBytes]byte
	if err := DeriveCode(NewExpander(testSeed(t)), codes.PIN1, r, &field); err != nil || string(field[:]) != "1234\xFF\xFF\xFF\xFF" {
		t.Errorf("fixed PIN1: %q, %v", field, err)
	}
	for c, r := range map[codes.Code]codes.Rule{codes.PIN1: {}, codes.PUK1: r} {
		if err := DeriveCode(NewExpander(testSeed(t)), c, r, &field); !errors.Is(err, codes.ErrPolicy) {
			t.Errorf("%s by rule %s: %v", c, r, err)
		}
	}
}

func TestSetNames(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"SCP80.01.aes-128", "SCP80.0F.3des-3key", "SCP02.20.3des-2key", "SCP03.3F.aes-256"} {
		if n, err := ParseSetName(s); err != nil || n.String() != s {
			t.Errorf("%q reads as %v, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "SCP80", "SCP80.10.aes-128", "SCP80.00.aes-128", "SCP80.0f.aes-128", "SCP80.1.aes-128", "SCP80.+1.aes-128", "SCP02.20.aes-128",
		"SCP02.1F.3des-2key", "SCP03.30.3des-2key", "SCP81.40.aes-128", "SCP80.01.des", "SCP80.01.aes-128.", "SCP80. 1.aes-128"} {
		if n, err := ParseSetName(s); !errors.Is(err, ErrName) {
			t.Errorf("%q reads as %v, %v", s, n, err)
		}
	}
	if _, err := DeriveSet(NewExpander(testSeed(t)), SetName{}); !errors.Is(err, ErrName) {
		t.Error(err)
	}
	for _, a := range []Algorithm{AES128, AES192, AES256, TDES2, TDES3} {
		if got, err := ParseAlgorithm(string(a)); err != nil || got != a {
			t.Errorf("%s: %v", a, err)
		}
	}
	if _, err := ParseAlgorithm("des"); !errors.Is(err, ErrName) {
		t.Error(err)
	}
}

// No two keys of any sets share a label, and none has one of the key tree's fixed names.
func TestLabelsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, name := range []string{"KI", "ISD.ENC", "ISD.MAC", "ISD.DEK", "OTA.KIC", "OTA.KID", "OTA.KIK"} {
		seen[name] = true
	}
	for _, c := range codes.Codes() {
		seen[string(c)] = true
	}
	for _, p := range []Protocol{SCP02, SCP03, SCP80} {
		rule := p.rule()
		for v := rule.first; v <= rule.last; v++ {
			for _, a := range rule.algorithms {
				for _, r := range rule.roles {
					label := SetName{p, v, a}.Label(r)
					if seen[label] {
						t.Errorf("%s comes twice", label)
					}
					seen[label] = true
				}
			}
		}
	}
}

func TestWeakKeys(t *testing.T) {
	t.Parallel()
	for key, weak := range map[string]bool{
		strings.Repeat("00", 16):                           true,
		"0123456789abcdeffedcba9876543210":                 false,
		"0123456789abcdef0123456789abcdef":                 true,
		"0101010101010101fedcba9876543210":                 true, // weak
		"e0e0e0e0f1f1f1f1fedcba9876543210":                 true, // weak
		"01fe01fe01fe01fefedcba9876543210":                 true, // semi-weak
		"1fe01fe00ef10ef1fedcba9876543210":                 true, // semi-weak
		"fe1ffe1ffe0efe0efedcba9876543210":                 true, // semi-weak
		"1fe01fe0f10ef10efedcba9876543210":                 false,
		"0123456789abcdeffedcba98765432100123456789abcdef": true, // K1 = K3
		"0123456789abcdeffedcba98765432101032547698badcfe": false,
	} {
		b, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		a := TDES2
		if len(b) == 24 {
			a = TDES3
		}
		if weakKey(a, b) != weak {
			t.Errorf("%s: weak is %v", key, !weak)
		}
	}
	n := SetName{SCP80, 1, TDES3}
	for i := range 200 {
		seed := sha256.Sum256([]byte{byte(i)})
		s, err := DeriveSet(NewExpander(&seed), n)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range reveal(t, s.Keys[0]) {
			if bits.OnesCount8(b)%2 != 1 {
				t.Fatalf("seed %d: even parity", i)
			}
		}
	}
}

func FuzzParseSetName(f *testing.F) {
	f.Add("SCP80.02.aes-128")
	f.Add("SCP02.2F.3des-2key")
	f.Fuzz(func(t *testing.T, in string) {
		n, err := ParseSetName(in)
		if err != nil {
			if !errors.Is(err, ErrName) {
				t.Fatal(err)
			}
			return
		}
		if n.String() != in {
			t.Fatalf("%q became %q", in, n)
		}
		if _, err := DeriveSet(NewExpander(testSeed(t)), n); err != nil {
			t.Fatal(err)
		}
	})
}
