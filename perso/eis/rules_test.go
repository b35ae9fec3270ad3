package eis

import (
	"strings"
	"testing"
)

// The rules of a profile stand last in it, spelled as the schema has them; what is no rule is refused.
func TestRules(t *testing.T) {
	t.Parallel()
	f := sample(t)
	sig := Signature{Value: make([]byte, 64), SKI: []byte{1}}
	f.Profiles[0].Rules = []Rule{{"DISABLE", "Auto-Delete"}, {"DELETE", "Not-Allowed"}}
	doc, err := Document(f, sig)
	if err != nil {
		t.Fatal(err)
	}
	const want = "<rps:pol2><rps:Rule><rps:Subject>PROFILE</rps:Subject><rps:Action>DISABLE</rps:Action><rps:Qualification>Auto-Delete</rps:Qualification></rps:Rule>" +
		"<rps:Rule><rps:Subject>PROFILE</rps:Subject><rps:Action>DELETE</rps:Action><rps:Qualification>Not-Allowed</rps:Qualification></rps:Rule></rps:pol2></rps:ProfileInfo>"
	if !strings.Contains(string(doc), want) {
		t.Errorf("%s", doc)
	}
	for _, bad := range []Rule{{"Disable", "Not-Allowed"}, {"DELETE", ""}} {
		f.Profiles[0].Rules = []Rule{bad}
		if _, err := Document(f, sig); err == nil {
			t.Errorf("%+v is written", bad)
		}
	}
}
