package order

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
)

// An order may choose how codes are made and in which layout they leave. What it does not choose is the default, is left
// out of the canonical form, and so changes no hash.
func TestChoices(t *testing.T) {
	t.Parallel()
	plain := sample(t, "small-20.json")
	o := mustParse(t, plain)
	if o.Codes != codes.Default() || o.TransportKey != (k4.Key{Name: "tk-auc-demo", Layout: k4.AESECB}) || bytes.Contains(o.Canonical(), []byte("codes")) {
		t.Errorf("without a choice: %v, %v, %s", o.Codes, o.TransportKey, o.Canonical())
	}
	spelt := mustParse(t, strings.Replace(plain, `"transport_key": "tk-auc-demo"`, `"codes": "PIN1=random:4", "transport_key": "tk-auc-demo"`, 1))
	if spelt.Hash() != o.Hash() {
		t.Error("the default, spelt out, is another order")
	}
	chosen := strings.Replace(plain, `"transport_key": "tk-auc-demo"`, `"codes": "PIN1=fixed:1234 PUK1=strict:8", "transport_key": "tk-auc-demo/AES-CBC-0"`, 1)
	c, err := Intake(strings.NewReader(chosen), shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	if c.Codes.String() != "PIN1=fixed:1234 PIN2=random:4 PUK1=strict:8 PUK2=random:8 ADM1=random:8" || c.TransportKey.Layout != k4.AESCBC || c.Hash() == o.Hash() {
		t.Errorf("chosen: %v, %v", c.Codes, c.TransportKey)
	}
	again, err := Parse(bytes.NewReader(c.Canonical()))
	if err != nil || again.Hash() != c.Hash() || again.Codes != c.Codes || again.TransportKey != c.TransportKey {
		t.Errorf("read again: %+v, %v", again, err)
	}
}

func TestChoicesRefused(t *testing.T) {
	t.Parallel()
	for with, want := range map[string]string{
		`"codes": "PUK1=fixed:12345678", "transport_key": "tk-auc-demo"`: "codes: checking rule of PUK1: only a PIN may be fixed",
		`"codes": "ADM1=listed", "transport_key": "tk-auc-demo"`:         "no codes are taken that are listed card by card: the vault makes each card's own",
		`"codes": "ADM1=listed:adm.csv", "transport_key": "tk-auc-demo"`: "say random:8, or of an ADM bytes",
		`"codes": "ADM1=fixed:12345678", "transport_key": "tk-auc-demo"`: "codes: checking rule of ADM1: only a PIN may be fixed",
		`"codes": "ADM2=bytes", "transport_key": "tk-auc-demo"`:          "codes: no product of this release has a code ADM2; hint: leave it out",
		`"transport_key": "tk-auc-demo/AES-ECB"`:                         "leave it out",
		`"transport_key": "tk-auc-demo/DES"`:                             `transport_key: reading transport key "tk-auc-demo": reading transport layout "DES"`,
		`"transport_key": "tk-auc-demo/3DES-2KEY-ECB"`:                   `transport_key: layout "3DES-2KEY-ECB" is not for the transport key "tk-auc-demo" of provider "provider-demo", which is AES-128; hint: order "tk-auc-demo" or "tk-auc-demo/AES-CBC-0"`,
		`"transport_key": "tk-auc-old"`:                                  `which is 3DES-2KEY; hint: order "tk-auc-old/3DES-2KEY-ECB" or "tk-auc-old/3DES-2KEY-CBC-0"`,
		`"transport_key": "tk-auc-demo/RSA-OAEP-AES"`:                    `layout "RSA-OAEP-AES" is not for the transport key "tk-auc-demo"`,
		`"transport_key": "tk-other/AES-CBC-0"`:                          `transport_key: the transport key "tk-other" is not one of provider`,
	} {
		_, err := Intake(strings.NewReader(strings.Replace(sample(t, "small-20.json"), `"transport_key": "tk-auc-demo"`, with, 1)), shipped(t))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "line 12,") {
			t.Errorf("%s: %v, want %q", with, err, want)
		}
	}
}

// Every layout can be ordered with a key of its kind.
func TestLayoutsOrdered(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"tk-auc-192/AES-CBC-0", "tk-auc-256", "tk-auc-old/3DES-2KEY-ECB", "tk-auc-old/3DES-2KEY-CBC-0", "tk-auc-old3/3DES-3KEY-ECB",
		"tk-auc-old3/3DES-3KEY-CBC-0", "rk-auc-demo/RSA-OAEP-AES"} {
		o, err := Intake(strings.NewReader(strings.Replace(sample(t, "small-20.json"), `"tk-auc-demo"`, `"`+key+`"`, 1)), shipped(t))
		if err != nil || o.TransportKey.String() != key {
			t.Errorf("%s: %v, %v", key, o.TransportKey, err)
		}
	}
}

// An order may name each algorithm that its product has, with an operator key of the kind that the algorithm takes.
func TestAlgorithmsOrdered(t *testing.T) {
	t.Parallel()
	order := func(algorithm, op, more string) string {
		text := strings.Replace(sample(t, "small-20.json"), `"algorithm": "milenage", "op_key": "op-demo-1"`, fmt.Sprintf(`"algorithm": %q, "op_key": %q`, algorithm, op), 1)
		return strings.Replace(text, `"transport_key": "tk-auc-demo"`, `"transport_key": "tk-auc-demo`+more+`"`, 1)
	}
	plain, err := Parse(strings.NewReader(sample(t, "small-20.json")))
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, op := range map[string]string{"milenage": "op-demo-1", "milenage key=opc": "opc-demo", "tuak k=128": "top-demo", "tuak k=256 key=topc": "topc-demo",
		"tuak k=256 res=128 iterations=2": "top-demo"} {
		o, err := Intake(strings.NewReader(order(algorithm, op, "")), shipped(t))
		if err != nil || o.Algorithm.String() != algorithm || (o.Hash() == plain.Hash()) != (algorithm == "milenage") {
			t.Errorf("%s: %v, %v", algorithm, o.Algorithm, err)
		}
		if again, err := Parse(bytes.NewReader(o.Canonical())); err != nil || again.Hash() != o.Hash() || again.Algorithm != o.Algorithm {
			t.Errorf("%s read again: %v, %v", algorithm, again.Algorithm, err)
		}
	}
	for _, c := range [][3]string{
		{"tuak k=128", "op-demo-1", `auth.op_key: the operator key "op-demo-1" of provider "provider-demo" is of kind OP, the algorithm "tuak k=128" takes TOP`},
		{"milenage key=opc", "op-demo-1", "is of kind OP, the algorithm \"milenage key=opc\" takes OPC"}, {"milenage", "opc-demo", "is of kind OPC"},
		{"tuak", "top-demo", "auth.algorithm: reading authentication \"tuak\": k must be 128 or 256"}, {"tuac k=128", "top-demo", `did you mean "tuak"?`},
	} {
		if _, err := Intake(strings.NewReader(order(c[0], c[1], "")), shipped(t)); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s with %s: %v", c[0], c[1], err)
		}
	}
	text := strings.Replace(order("tuak k=128", "top-demo", ""), "tk-auc-demo", "rk-auc-demo/RSA-OAEP-AES", 1)
	if _, err := Intake(strings.NewReader(text), shipped(t)); err == nil || !strings.Contains(err.Error(), "transport_key: an envelope has no place for the keys of tuak") {
		t.Errorf("in an envelope: %v", err)
	}
	cat := shipped(t)
	products := fstest.MapFS{}
	for _, name := range []string{"m2m-200s-mff2.json", "m2m-200s.script"} {
		products[name] = &fstest.MapFile{Data: bytes.Replace(readFile(t, deploy+"/products/"+name), []byte(`["milenage", "tuak"]`), []byte(`["milenage"]`), 1)}
	}
	if cat.Products, err = product.LoadDir(products); err != nil {
		t.Fatal(err)
	}
	if _, err := Intake(strings.NewReader(order("tuak k=128", "top-demo", "")), cat); err == nil || !strings.Contains(err.Error(), `authenticates by [milenage], not by tuak`) {
		t.Errorf("of a product without: %v", err)
	}
}
