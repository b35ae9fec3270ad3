package certify

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/cert"
)

// CheckAnswer judges what a CI sent back: the chain is acceptable, its EUM certificate is of the key that the request is
// for, and it says what was asked. Nil, or a *cert.Refusal with everything that is wrong. The caller takes Request.Key from
// the HSM, not from the request file.
func CheckAnswer(r Request, c cert.Chain, rules cert.Rules) error {
	rules.Scheme = r.Scheme
	if len(r.Role) > 0 {
		rules.EUMPolicies = append(slices.Clone(rules.EUMPolicies), r.Role)
	}
	c.EUICC = nil
	var f cert.Faults
	var refusal *cert.Refusal
	if errors.As(cert.Check(c, rules), &refusal) {
		f = refusal.Faults
	}
	if c.EUM != nil {
		checkOwn(&f, r, c.EUM)
	}
	return f.Err()
}

func checkOwn(f *cert.Faults, r Request, eum *cert.Certificate) {
	if own := r.Key.ID(); eum.Key != r.Key || r.Key.IsZero() {
		f.Add(eum, cert.RoleEUM, cert.ReasonOtherKey, "its key is not ours, whose identifier is %x", own)
	} else if !bytes.Equal(eum.Values.SubjectKeyID, own[:]) {
		f.Add(eum, cert.RoleEUM, cert.ReasonNotAsked, "its key identifier is %x, asked was %x: eUICCs would name a key that nobody finds", eum.Values.SubjectKeyID, own)
	}
	for _, p := range []struct {
		kind cert.OID
		name string
		want string
	}{{cert.OIDOrganization, "organization", r.Organization}, {cert.OIDCommonName, "common name", r.CommonName}, {cert.OIDCountry, "country", r.Country}} {
		if got := eum.Subject.Values(p.kind); p.want == "" && len(got) > 0 || p.want != "" && !slices.Equal(got, []string{p.want}) {
			f.Add(eum, cert.RoleEUM, cert.ReasonNotAsked, "its %s is %q, asked was %q", p.name, got, p.want)
		}
	}
	if !slices.ContainsFunc(eum.Values.RegisteredIDs, r.OID.Equal) {
		f.Add(eum, cert.RoleEUM, cert.ReasonNotAsked, "its registered identifiers %v do not hold %s", eum.Values.RegisteredIDs, r.OID)
	}
	checkPairs(f, r, eum)
}

// checkPairs demands the pairs that were asked for, no fewer and no more: a number too many is another maker's.
func checkPairs(f *cert.Faults, r Request, eum *cert.Certificate) {
	var got, want []string
	for _, t := range eum.Values.Permitted {
		got = append(got, t.Organization.Text+"/"+t.IIN)
	}
	for _, ein := range eum.Values.PermittedEINs {
		got = append(got, r.Organization+"/"+ein)
	}
	for _, iin := range r.IssuerNumbers {
		want = append(want, r.Organization+"/"+iin)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.Add(eum, cert.RoleEUM, cert.ReasonNotAsked, "it permits (%s), asked was (%s)", strings.Join(got, " "), strings.Join(want, " "))
	}
}
