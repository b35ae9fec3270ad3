package order

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/tlv"
)

func smallOrder(t testing.TB) string {
	t.Helper()
	return string(readFile(t, deploy+"/samples/orders/small-20.json"))
}

// A package that is no good is refused with the order, and the place of its fault; one that does not fit is refused with the reason.
func TestPackagesRefused(t *testing.T) {
	t.Parallel()
	good := readFile(t, deploy+"/profiles/bootstrap.der")
	wrongTag := bytes.Clone(good)
	wrongTag[0] ^= 0x1E
	wrongLength := bytes.Clone(good)
	wrongLength[1]++
	noEnd := good[:bytes.LastIndexByte(good, 0xAA)]
	if len(noEnd) == 0 {
		t.Fatal("the shipped package has changed its form")
	}
	files := fstest.MapFS{
		"bootstrap.der": {Data: good}, "truncated.der": {Data: good[:1000]}, "wrong-tag.der": {Data: wrongTag}, "wrong-length.der": {Data: wrongLength}, "no-end.der": {Data: noEnd},
		"behind.der": {Data: append(bytes.Clone(good), 0)}, "too-long.der": {Data: make([]byte, profile.MaxBytes+1)}, "north.der": {Data: readFile(t, deploy+"/profiles/north.der")},
	}
	cat := shipped(t)
	cat.Profiles = profile.Open(files)
	for name, want := range map[string][]string{
		"truncated": {"profile: ", "byte "}, "wrong-tag": {"byte 2", "PE 1"}, "wrong-length": {"byte "}, "no-end": {"byte "}, "behind": {"byte 2985"},
		"too-long": {"more than the 65536 bytes"}, "bootstrab": {"not in the catalogue", `did you mean "bootstrap"?`}, "north": {"do not fit package", "network"},
	} {
		text := strings.Replace(smallOrder(t), `"delivery"`, `"profile": "`+name+`", "delivery"`, 1)
		_, err := Intake(strings.NewReader(text), cat)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", name, err, w)
			}
		}
	}
	o, err := Intake(strings.NewReader(strings.Replace(smallOrder(t), `"delivery"`, `"profile": "bootstrap", "delivery"`, 1)), cat)
	if err != nil || o.Profile != "bootstrap" {
		t.Errorf("the good one: %q, %v", o.Profile, err)
	}
	plain, err := Intake(strings.NewReader(smallOrder(t)), cat)
	if err != nil || plain.Hash() == o.Hash() {
		t.Errorf("named or not is the same order: %v", err)
	}
	if again, err := Parse(bytes.NewReader(o.Canonical())); err != nil || again.Hash() != o.Hash() {
		t.Errorf("read back: %v", err)
	}
	injected := strings.Replace(string(readFile(t, deploy+"/samples/orders/injected-key-20.json")), `"delivery"`, `"profile": "bootstrap", "delivery"`, 1)
	if _, err := Intake(strings.NewReader(injected), cat); err == nil || !strings.Contains(err.Error(), "written by its script") {
		t.Errorf("a product without packages: %v", err)
	}
	cat.Profiles = profile.Catalogue{}
	if _, err := Intake(strings.NewReader(smallOrder(t)), cat); err == nil || !strings.Contains(err.Error(), "bootstrap_provider: the profile package") {
		t.Errorf("without a catalogue: %v", err)
	}
}

// A package that demands Java Card is for products whose chips have it.
func TestPackageDemands(t *testing.T) {
	t.Parallel()
	const tagHeader, tagServices = 0xA0, 0xA5
	good := readFile(t, deploy+"/profiles/bootstrap.der")
	header, rest, err := tlv.Parse(good)
	if err != nil || header.Tag != tagHeader {
		t.Fatal(err)
	}
	fields, err := tlv.ParseAll(header.Value)
	if err != nil {
		t.Fatal(err)
	}
	var with []byte
	for _, f := range fields {
		if f.Tag == tagServices {
			f.Value = append(bytes.Clone(f.Value), 0x8B, 0) // javacard
		}
		with = append(with, tlv.Encode(f.Tag, f.Value)...)
	}
	cat := shipped(t)
	cat.Profiles = profile.Open(fstest.MapFS{"java.der": {Data: append(tlv.Encode(tagHeader, with), rest...)}})
	text := strings.Replace(smallOrder(t), `"delivery"`, `"profile": "java", "delivery"`, 1)
	if _, err := Intake(strings.NewReader(text), cat); err == nil || !strings.Contains(err.Error(), `profile: profile package "java" demands the service "javacard", which chips of product "m2m-200s-mff2" do not have`) {
		t.Errorf("for a product without: %v", err)
	}
	if _, err := Intake(strings.NewReader(strings.Replace(text, "m2m-200s-mff2", "m2m-200a-mff2", 1)), cat); err != nil {
		t.Errorf("for a product with: %v", err)
	}
}

// Each of the four providers' samples is made with the package of its own.
func TestProvidersPackages(t *testing.T) {
	t.Parallel()
	cat, seen := shipped(t), map[string]string{}
	for _, p := range cat.Site.Providers() {
		sample := map[string]string{"provider-demo": "small-20"}[string(p.ID)]
		if sample == "" {
			sample = "bootstrap-" + strings.TrimPrefix(string(p.ID), "provider-") + "-20"
		}
		o, err := Intake(bytes.NewReader(readFile(t, deploy+"/samples/orders/"+sample+".json")), cat)
		if err != nil {
			t.Errorf("%s: %v", p.ID, err)
			continue
		}
		all, err := cat.Packages(o)
		if err != nil || len(all) != 1 || all[0].Name != p.Profile || all[0].Template.Policy() != p.POL1.Byte() {
			t.Errorf("%s: %d packages, %v", p.ID, len(all), err)
			continue
		}
		hash := all[0].Hash()
		if other := seen[string(hash[:])]; other != "" {
			t.Errorf("%s has the package of %s", p.ID, other)
		}
		seen[string(hash[:])] = string(p.ID)
	}
	if len(seen) != 4 {
		t.Errorf("%d providers", len(seen))
	}
}

// The second subscription is checked as the first is, under its own field, and shares nothing with it.
func TestOperationalOrders(t *testing.T) {
	t.Parallel()
	cat := shipped(t)
	sample := string(readFile(t, deploy+"/samples/orders/operational-20.json"))
	o, err := Intake(strings.NewReader(sample), cat)
	if err != nil {
		t.Fatal(err)
	}
	all, err := cat.Packages(o)
	if err != nil || len(all) != 2 || all[0].Name != "bootstrap" || all[1].Name != "harbour" || all[1].Variable != "PROFILE2" {
		t.Errorf("%d packages, %v", len(all), err)
	}
	if again, err := Parse(bytes.NewReader(o.Canonical())); err != nil || again.Hash() != o.Hash() || again.Operational != o.Operational {
		t.Errorf("read back: %v", err)
	}
	if plain, err := Intake(strings.NewReader(smallOrder(t)), cat); err != nil || strings.Contains(string(plain.Canonical()), "operational") {
		t.Errorf("an order without one speaks of it: %v", err)
	}
	for name, c := range map[string]struct{ old, put, want string }{
		"unknown provider":  {`"provider": "provider-harbour"`, `"provider": "provider-harbor"`, `operational.provider: the bootstrap provider "provider-harbor" is not known`},
		"the same provider": {`"provider": "provider-harbour"`, `"provider": "provider-demo"`, "operational.provider: is the bootstrap provider"},
		"another's key":     {`"top-harbour"`, `"op-north"`, "operational.auth.op_key"},
		"another's K4":      {`"tk-auc-harbour"`, `"tk-auc-north"`, "operational.transport_key"},
		"an envelope":       {`"tk-auc-harbour"`, `"rk-auc-demo/RSA-OAEP-AES"`, "not in an envelope"},
		"unknown receiver":  {`"auc-harbour"`, `"auc-harbor"`, "operational.delivery.target"},
		"another package":   {`"provider-harbour",`, `"provider-harbour", "profile": "north",`, "operational.profile"},
		"no such package":   {`"provider-harbour",`, `"provider-harbour", "profile": "harbor",`, `did you mean "harbour"?`},
		"random Ki":         {`"provider-harbour",`, `"provider-harbour", "ki_source": "random",`, "are derived in this release"},
		"numbers of another": {`"provider-harbour",
    "iccid": "allocate"`, `"provider-harbour",
    "iccid": {"first": "8988001010000000006"}`, "operational.iccid.first"},
		"unknown field": {`"provider-harbour",`, `"provider-harbour", "iccids": 1,`, "operational.iccids"},
		"no room":       {`"m2m-200s-mff2"`, `"m2m-200-inject-mff2"`, "has no room for an operational profile"},
	} {
		text := strings.Replace(sample, c.old, c.put, 1)
		if text == sample {
			t.Fatalf("%s: the sample has no %q", name, c.old)
		}
		if name == "no room" {
			text = strings.Replace(text, `"delivery"`, `"key_origin": "hsm", "delivery"`, 1)
		}
		if _, err := Intake(strings.NewReader(text), cat); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Resolve(o, Allocation{EID: cat.Site.EUM.EIDPool, ICCID: pool(t, cat, "provider-demo").ICCIDPool, IMSI: pool(t, cat, "provider-demo").IMSIPool}); err == nil {
		t.Error("resolved without numbers of the operational profile")
	}
}

func pool(t *testing.T, cat Catalogue, name perso.Name) Provider {
	t.Helper()
	p, ok := cat.Site.Provider(name)
	if !ok {
		t.Fatal(name)
	}
	return p
}
