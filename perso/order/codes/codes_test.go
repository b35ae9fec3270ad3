package codes

import (
	"errors"
	"testing"
)

func TestPolicy(t *testing.T) {
	t.Parallel()
	if got := Default().String(); got != "PIN1=random:4 PIN2=random:4 PUK1=random:8 PUK2=random:8 ADM1=random:8" {
		t.Errorf("default policy is %q", got)
	}
	p, err := ParsePolicy("PIN1=fixed:1234 PUK1=strict:8 ADM2=bytes")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.String(); got != "PIN1=fixed:1234 PIN2=random:4 PUK1=strict:8 PUK2=random:8 ADM1=random:8 ADM2=bytes" {
		t.Errorf("policy is %q", got)
	}
	if again, err := ParsePolicy(p.String()); err != nil || again != p {
		t.Errorf("read again: %q, %v", again, err)
	}
	if r, ok := p.Rule(PIN1); !ok || r.Way() != Fixed || r.Value() != "1234" || r.Digits() != 0 {
		t.Errorf("rule of PIN1 is %v", r)
	}
	if r, ok := p.Rule(PUK1); !ok || r.Way() != Strict || r.Value() != "" || r.Digits() != 8 {
		t.Errorf("rule of PUK1 is %v", r)
	}
	if _, ok := p.Rule(ADM4); ok {
		t.Error("ADM4 has a rule")
	}
	if _, ok := p.Rule("X"); ok {
		t.Error("X has a rule")
	}
	for _, bad := range []string{"", "PIN1", "PIN1=", "PIN1=random:3", "PIN1=random:9", "PIN1=random:04", "PIN1=random:+4", "PIN1=fixed:12", "PIN1=fixed:12a4",
		"PIN1=bytes", "PUK1=fixed:12345678", "ADM1=fixed:12345678", "PUK1=random:4", "ADM1=random:4", "PUK1=bytes", "ADM1=bytes:8", "PIN3=random:4",
		"PIN2=random:4 PIN1=random:4", "PIN1=random:4 PIN1=random:4", "PIN1=random:4  PIN2=random:4", "PIN1=RANDOM:4"} {
		if p, err := ParsePolicy(bad); !errors.Is(err, ErrPolicy) {
			t.Errorf("%q reads as %q, %v", bad, p, err)
		}
	}
	if err := (Rule{}).Check(PIN1); !errors.Is(err, ErrPolicy) {
		t.Errorf("no rule: %v", err)
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add(Default().String())
	f.Add("PIN1=fixed:0000 PUK2=strict:8 ADM4=bytes")
	f.Fuzz(func(t *testing.T, in string) {
		p, err := ParsePolicy(in)
		if err != nil {
			if !errors.Is(err, ErrPolicy) {
				t.Fatal(err)
			}
			return
		}
		again, err := ParsePolicy(p.String())
		if err != nil || again != p {
			t.Fatalf("%q became %q, %v", in, again, err)
		}
		for _, c := range Codes() {
			if r, ok := p.Rule(c); ok && r.Check(c) != nil {
				t.Fatalf("%s has a rule %v that it cannot have", c, r)
			}
		}
	})
}
