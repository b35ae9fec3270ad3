package keygen

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/id"
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
	k, err := deriveCard(&seed)
	if err != nil {
		t.Fatal(err)
	}
	key := mac(lotKey[:], kdfInput(labelChallenge, []byte(lot)))
	check := k.pinCheck()
	out := map[string]string{"seed": hex.EncodeToString(seed[:]), "challenge key": hex.EncodeToString(key), "PINCHECK": hex.EncodeToString(check[:]),
		"receipt key": hex.EncodeToString(mac(receiptKey[:], kdfInput(labelReceipts, []byte(lot)))),
		"index key":   hex.EncodeToString(mac(receiptKey[:], kdfInput(labelIndex, []byte(lot))))}
	for name, b := range map[string][keyBytes]byte{"KI": k.KI, "ISD.ENC": k.ISDEnc, "ISD.MAC": k.ISDMac, "ISD.DEK": k.ISDDek,
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

func TestWeakCodes(t *testing.T) {
	t.Parallel()
	for code, weak := range map[string]bool{
		"0000": true, "1111": true, "1234": true, "4321": true, "6789": true, "9876": true, "12345678": true, "77777777": true,
		"0001": false, "1235": false, "1357": false, "9012": false, "1233": false, "12345679": false, "2002": false,
	} {
		if weakCode([]byte(code)) != weak {
			t.Errorf("%s: weak is %v", code, !weak)
		}
	}
}

// Over many cards every digit is as frequent as it should be, and no code is weak.
func TestCodesAreUnbiased(t *testing.T) {
	t.Parallel()
	var count [10]int
	const cards = 4000
	for i := range cards {
		seed := sha256.Sum256([]byte{byte(i >> 8), byte(i)})
		var code [pinBytes]byte
		if err := deriveCode(&seed, "PUK1", 8, &code); err != nil || weakCode(code[:]) {
			t.Fatalf("%s, %v", code, err)
		}
		for _, d := range code {
			count[d-'0']++
		}
	}
	for d, n := range count {
		if mean := cards * 8 / 10; n < mean*95/100 || n > mean*105/100 { // five percent are three deviations
			t.Errorf("digit %d comes %d times of %d", d, n, mean)
		}
	}
}
