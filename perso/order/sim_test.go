package order

import (
	"path/filepath"
	"strings"
	"testing"
)

const simOrder = `{
  "version": 1,
  "order": "SIM-2027-0001",
  "customer": "Demonstration Meters",
  "product": "basic-100m-mff2",
  "quantity": 20,
  "spares": 4,
  "iccid": {"first": "8988001020001000004"},
  "imsi": {"first": "001010200100000", "mnc_digits": 2},
  "auth": {"algorithm": "milenage", "op_key": "op-demo-1"},
  "transport_key": "tk-auc-demo",
  "pin1": "asked",
  "suci": "A:30:5A8D38864820197C3394B92613B20B91633CBD897119273BF8E4A6F4EEC0A650 null",
  "bootstrap_provider": "provider-demo",
  "delivery": {"target": "auc-demo"}
}`

func TestOrderOfSIMs(t *testing.T) {
	t.Parallel()
	cat := shipped(t)
	o, err := Intake(strings.NewReader(simOrder), cat)
	if err != nil {
		t.Fatal(err)
	}
	if !o.NoEID || o.EID.Count() != 0 || o.SMSR != "" || o.KeyOrigin != KeyNone || o.PIN1 != PIN1Asked || !strings.HasSuffix(o.SUCI, " null") {
		t.Errorf("read as %+v", o)
	}
	if again := mustParse(t, string(o.Canonical())); again != o {
		t.Errorf("the canonical form reads as %+v", again)
	}
	r, err := Resolve(o, Allocation{})
	if err != nil || r.Order().EID.Count() != 0 {
		t.Errorf("resolved with %d EIDs: %v", r.Order().EID.Count(), err)
	}
	if _, err := Resolve(o, Allocation{EID: cat.Site.EUM.EIDPool}); err == nil {
		t.Error("EIDs were reserved for SIMs")
	}
}

func TestFaultsOfSIMOrders(t *testing.T) {
	t.Parallel()
	cat := shipped(t)
	const eid, smsr = `"eid": {"first": "89049099002000000000000000000080"},`, `"sm_sr": "smsr-demo",`
	for _, c := range []struct{ old, new, field, reason string }{
		{`"version": 1,`, `"version": 1, "eid": "allocate",`, "eid", "a SIM without EID"},
		{`"version": 1,`, `"version": 1,` + smsr, "sm_sr", "a SIM without EID"},
		{`"version": 1,`, `"version": 1, "key_origin": "card",`, "key_origin", "a SIM without EID"},
		{`"milenage"`, `"tuak k=300"`, "auth.algorithm", "tuak"},
		{`A:30:5A8D`, `A:30:5A`, "suci", "31 bytes, X25519 has 32"},
		{`"A:30:5A8D38864820197C3394B92613B20B91633CBD897119273BF8E4A6F4EEC0A650 null"`, `"B:27:02FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"`, "suci", "no compressed point"},
		{`"A:30:5A8D38864820197C3394B92613B20B91633CBD897119273BF8E4A6F4EEC0A650 null"`, `"A:1:0000000000000000000000000000000000000000000000000000000000000000"`, "suci", "small order"},
		{`"asked"`, `"always"`, "pin1", "not one of off, asked"},
		{`"basic-100m-mff2"`, `"m2m-200s-mff2"`, "eid", "each chip of product"},
		{`"basic-100m-mff2"`, `"m2m-200s-mff2"`, "sm_sr", "registered with an SM-SR"},
		{`"version": 1,`, `"version": 1,` + eid + smsr, "eid", "a SIM without EID"},
	} {
		text := strings.Replace(simOrder, c.old, c.new, 1)
		_, err := Intake(strings.NewReader(text), cat)
		if err == nil {
			t.Errorf("%s: accepted", c.new)
			continue
		}
		found := false
		for _, f := range faultsOf(t, err) {
			found = found || f.Field == c.field && strings.Contains(f.Reason, c.reason)
		}
		if !found {
			t.Errorf("%s: no fault of %s with %q in:\n%v", c.new, c.field, c.reason, err)
		}
	}
	euicc := strings.Replace(strings.Replace(simOrder, "basic-100m-mff2", "m2m-200s-mff2", 1), `"version": 1,`, `"version": 1,`+eid+smsr, 1)
	_, err := Intake(strings.NewReader(euicc), cat)
	if err == nil || len(faultsOf(t, err)) != 2 {
		t.Errorf("an eUICC with PIN1 and SUCI of a SIM: %v", err)
	}
}

// A site without the EUM's keys takes orders for SIMs, and says of one for eUICCs which keys and which ceremony it lacks.
func TestSiteOfSIMsAlone(t *testing.T) {
	t.Parallel()
	cat := shipped(t)
	cat.SIMsOnly = true
	_, err := Intake(strings.NewReader(sample(t, "small-20.json")), cat)
	if err == nil || !strings.Contains(err.Error(), "class eum") || !strings.Contains(err.Error(), "class eis") || !strings.Contains(err.Error(), "perso site init") {
		t.Errorf("eUICCs: %v", err)
	}
	paths, _ := filepath.Glob(deploy + "/samples/orders/basic*.json")
	if len(paths) == 0 {
		t.Fatal("no sample order for SIMs")
	}
	for _, p := range paths {
		if _, err := Intake(strings.NewReader(string(readFile(t, p))), cat); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}
