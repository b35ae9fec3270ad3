package keygen

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen/carddata"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
)

// The vectors of KEYTREE.md, read from the page itself.
func TestKeyTreeVectors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("KEYTREE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, vectors, _ := strings.Cut(string(page), "## Vectors")
	want := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Za-z0-9. ]+) \| ([0-9a-f]+) \|$`).FindAllStringSubmatch(vectors, -1) {
		want[m[1]] = m[2]
	}
	got := treeOf(t)
	if len(want) != len(got) {
		t.Errorf("%d vectors on the page, %d here", len(want), len(got))
	}
	for name, value := range got {
		if want[name] != value {
			t.Errorf("%s is %s, the page says %s", name, value, want[name])
		}
	}
}

func treeOf(t *testing.T) map[string]string {
	t.Helper()
	var lotKey, receiptKey [32]byte
	for i := range lotKey {
		lotKey[i], receiptKey[i] = byte(i), byte(i+32)
	}
	mac := func(key, msg []byte) []byte { h := hmac.New(sha256.New, key); h.Write(msg); return h.Sum(nil) }
	chip, err := id.ParseChipID("47906d2000010a0b0c0d")
	if err != nil {
		t.Fatal(err)
	}
	const lot = "LOT-2026-0001"
	seed := [32]byte(mac(lotKey[:], kdfInput(labelSeed, seedContext(lot, 41, 1, chip))))
	k, err := deriveCard(&seed, codes.Default(), auth.Default())
	if err != nil {
		t.Fatal(err)
	}
	key := mac(lotKey[:], kdfInput(labelChallenge, []byte(lot)))
	check := k.pinCheck()
	out := map[string]string{"seed": hex.EncodeToString(seed[:]), "challenge key": hex.EncodeToString(key), "PINCHECK": hex.EncodeToString(check[:]),
		"receipt key":  hex.EncodeToString(mac(receiptKey[:], kdfInput(labelReceipts, []byte(lot)))),
		"pairing key":  hex.EncodeToString(mac(lotKey[:], kdfInput(labelPairing, []byte(lot)))),
		"carrying key": hex.EncodeToString(mac(lotKey[:], kdfInput(labelCarrying, []byte(lot)))),
		"index key":    hex.EncodeToString(mac(receiptKey[:], kdfInput(labelIndex, []byte(lot))))}
	for name, b := range map[string][keyBytes]byte{"KI": [keyBytes]byte(k.KI), "ISD.ENC": k.ISDEnc, "ISD.MAC": k.ISDMac, "ISD.DEK": k.ISDDek,
		"OTA.KIC": k.OTAKic, "OTA.KID": k.OTAKid, "OTA.KIK": k.OTAKik} {
		out[name] = hex.EncodeToString(b[:])
	}
	for name, b := range map[string][pinBytes]byte{"PIN1": k.PIN1, "PIN2": k.PIN2, "PUK1": k.PUK1, "PUK2": k.PUK2, "ADM1": k.ADM1} {
		out[name] = string(bytes.TrimRight(b[:], "\xFF"))
	}
	for name, c := range map[string]struct {
		n      int
		suffix []byte
	}{"host challenge": {challengeBytes, nil}, "CHALLENGE2": {challengeBytes, []byte{useReopen}},
		"POP.CHALLENGE": {16, []byte{usePossession}}, "AUTH.RAND": {16, []byte{useAuth}}} {
		sum := challenge(key, 7, c.suffix...)
		out[name] = hex.EncodeToString(sum[:c.n])
	}
	return out
}

// The vectors of TUAK on the page: K of both lengths, and TOPc by the iterations of the order.
func TestTUAKVectors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("KEYTREE.md")
	if err != nil {
		t.Fatal(err)
	}
	value := regexp.MustCompile(`(?m)^\| (?:TOPc of )?(K\.tuak-([0-9]+)) \| (–|[0-9]+) \| ([0-9a-f]+) \|$`)
	seed, err := hex.DecodeString(treeOf(t)["seed"])
	if err != nil {
		t.Fatal(err)
	}
	var top [32]byte
	for i := range top {
		top[i] = byte(0x70 + i)
	}
	rows := value.FindAllStringSubmatch(string(page), -1)
	if len(rows) != 6 {
		t.Fatalf("the page has %d rows", len(rows))
	}
	for _, row := range rows {
		spelling := "tuak k=" + row[2]
		if row[3] != "–" && row[3] != "1" {
			spelling += " iterations=" + row[3]
		}
		a, err := auth.Parse(spelling)
		if err != nil || labelK(a) != row[1] {
			t.Fatalf("%s has label %q, %v", spelling, labelK(a), err)
		}
		k, err := deriveCard((*[seedBytes]byte)(seed), codes.Default(), a)
		if err != nil {
			t.Fatal(err)
		}
		got := k.KI
		if row[3] != "–" {
			if got, err = a.Bind(k.KI, top[:]); err != nil {
				t.Fatal(err)
			}
		}
		if hex.EncodeToString(got) != row[4] {
			t.Errorf("%s is %x, the page says %s", row[0], got, row[4])
		}
	}
}

// The vectors of an operational profile on the page: what it has of its own seed, and the keys of its ISD-P, which the card's seed gives.
func TestOperationalVectors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("KEYTREE.md")
	if err != nil {
		t.Fatal(err)
	}
	seed, err := hex.DecodeString(treeOf(t)["seed"])
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	fromCard := carddata.NewExpander((*[seedBytes]byte)(seed))
	var own [seedBytes]byte
	for name, key := range map[string][]byte{labelOperational: own[:], "PROFILE2.ENC": make([]byte, keyBytes), "PROFILE2.MAC": make([]byte, keyBytes), "PROFILE2.DEK": make([]byte, keyBytes)} {
		if err := deriveKey(fromCard, name, key); err != nil {
			t.Fatal(err)
		}
		got[name+" | seed"] = hex.EncodeToString(key)
	}
	for _, spelling := range []string{"milenage", "tuak k=256"} {
		a, err := auth.Parse(spelling)
		if err != nil {
			t.Fatal(err)
		}
		k, err := deriveCard(&own, codes.Default(), a)
		if err != nil {
			t.Fatal(err)
		}
		got[labelK(a)+" | "+labelOperational] = hex.EncodeToString(k.KI)
		for name, b := range map[string][pinBytes]byte{"PIN1": k.PIN1, "PUK1": k.PUK1, "ADM1": k.ADM1} {
			got[name+" | "+labelOperational] = string(bytes.TrimRight(b[:], "\xFF"))
		}
	}
	want := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([A-Z0-9a-z.-]+ \| (?:seed|PROFILE2\.SEED)) \| ([0-9a-f]+) \|$`).FindAllStringSubmatch(string(page), -1) {
		want[row[1]] = row[2]
	}
	if !maps.Equal(got, want) {
		t.Errorf("here %v, the page says %v", got, want)
	}
}

// Each part of a card's name gives other keys.
func TestSeedContextIsInjective(t *testing.T) {
	t.Parallel()
	chip := func(s string) id.ChipID {
		c, err := id.ParseChipID(s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	seen := map[string]int{}
	for i, c := range [][]byte{
		seedContext("L1", 0, 0, chip("01020304")), seedContext("L11", 0, 0, chip("01020304")), seedContext("L1", 1, 0, chip("01020304")),
		seedContext("L1", 0, 1, chip("01020304")), seedContext("L1", 0, 0, chip("0102030405")), seedContext("L1", 256, 0, chip("01020304")),
	} {
		if j, again := seen[string(c)]; again {
			t.Errorf("contexts %d and %d are equal", i, j)
		}
		seen[string(c)] = i
	}
}
