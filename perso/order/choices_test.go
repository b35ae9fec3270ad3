package order

import (
	"bytes"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/k4"
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
