package cert

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/perso/id"
)

// MaxSubCAs is the longest chain of SGP.22 v3: CI, its sub CA, that of the EUM, EUM, eUICC (variant C).
const MaxSubCAs = 2

// Chain is the certificates from the root down. EUICC may be nil: then the chain ends with the EUM.
type Chain struct {
	Roots  []*Certificate // trusted; the one whose key signed is taken
	SubCAs []*Certificate // from the CI's side
	EUM    *Certificate
	EUICC  *Certificate
}

// Scheme is the specification that a chain is of.
type Scheme uint8

// The schemes. Under SGP.02 the certificate of the eUICC is no X.509 certificate (ECASD), the names of its roles are not
// public, and the EUM has no name constraints.
const (
	SGP22 Scheme = iota
	SGP02
)

// Rules are what Check goes by.
type Rules struct {
	At     time.Time
	Scheme Scheme
	// EUMPolicies are further certificate policies that name an EUM: of variants whose identifiers public sources disagree
	// about, and of SGP.02. With none of them, an SGP.02 chain is not checked for roles.
	EUMPolicies []OID
}

// link is one certificate of the chain at its place.
type link struct {
	*Certificate
	role  Role
	above *Certificate // itself for the root
	below int          // CAs between it and the last certificate
}

// Check says whether the chain is acceptable at a time: nil, or a *Refusal with everything that is wrong.
func Check(c Chain, r Rules) error {
	var f Faults
	if c.EUM == nil || len(c.SubCAs) > MaxSubCAs || c.EUICC != nil && r.Scheme == SGP02 {
		f.Add(c.EUM, RoleEUM, ReasonChainNotWhole, "there is no EUM, more than %d sub CAs, or an X.509 certificate of an SGP.02 eUICC", MaxSubCAs)
		return f.Err()
	}
	links := c.links(&f)
	for _, l := range links {
		l.checkForm(&f)
		l.checkLink(&f)
		l.checkTime(&f, r.At)
		l.checkUse(&f)
		l.checkRole(&f, r)
		l.checkExtensions(&f)
	}
	checkVariant(&f, links, r)
	checkEUM(&f, c.EUM, r)
	if c.EUICC != nil {
		checkEUICC(&f, c.EUM, c.EUICC)
	}
	return f.Err()
}

// CheckRoot says whether a certificate is that of a CI: self-signed and of the form that roots have.
func CheckRoot(root *Certificate, r Rules) error {
	var f Faults
	l := link{Certificate: root, role: RoleCI, above: root}
	l.checkForm(&f)
	l.checkLink(&f)
	l.checkTime(&f, r.At)
	l.checkUse(&f)
	l.checkRole(&f, r)
	l.checkExtensions(&f)
	return f.Err()
}

func (c Chain) links(f *Faults) (all []link) {
	path := slices.Concat(c.SubCAs, []*Certificate{c.EUM})
	if c.EUICC != nil {
		path = append(path, c.EUICC)
	}
	root := FindRoot(c.Roots, path[0])
	if root == nil {
		f.Add(path[0], c.roleAt(0), ReasonUnknownCI, "none of %d trusted roots has the name %s and the key identifier %x", len(c.Roots), path[0].Issuer, path[0].Values.AuthorityKeyID)
	} else {
		all = append(all, link{Certificate: root, role: RoleCI, above: root, below: len(c.SubCAs) + 1})
	}
	above := root
	for i, p := range path {
		all = append(all, link{Certificate: p, role: c.roleAt(i), above: above, below: max(0, len(c.SubCAs)-i)})
		above = p
	}
	return all
}

// roleAt is the role of the place below the root.
func (c Chain) roleAt(i int) Role {
	switch n := len(c.SubCAs); {
	case i == n:
		return RoleEUM
	case i > n:
		return RoleEUICC
	case n == 1: // variants A and B differ in whose sub CA it is
		if role, _ := c.SubCAs[0].Role(); role == RoleCISubCA {
			return RoleCISubCA
		}
		return RoleEUMSubCA
	case i == 0:
		return RoleCISubCA
	default:
		return RoleEUMSubCA
	}
}

// FindRoot is the root that a certificate names as its issuer, by key identifier and name; nil when there is none.
func FindRoot(roots []*Certificate, below *Certificate) *Certificate {
	i := slices.IndexFunc(roots, func(c *Certificate) bool {
		return len(c.Values.SubjectKeyID) > 0 && bytes.Equal(c.Values.SubjectKeyID, below.Values.AuthorityKeyID) && bytes.Equal(c.Subject.Raw, below.Issuer.Raw)
	})
	if i < 0 {
		return nil
	}
	return roots[i]
}

func (l link) checkForm(f *Faults) {
	if l.Version != 3 {
		f.Add(l.Certificate, l.role, ReasonVersion, "it is of version %d, not 3", l.Version)
	}
	if sign := l.Serial.Sign(); sign < 0 || sign == 0 && l.role != RoleCI { // drafts of the test roots have 0
		f.Add(l.Certificate, l.role, ReasonSerial, "its serial number %s is not positive", l.SerialText())
	}
	if !l.Algorithm.Equal(oidECDSAWithSHA256) {
		f.Add(l.Certificate, l.role, ReasonAlgorithm, "it is signed with %s, not with ECDSA and SHA-256 (%s)", l.Algorithm, oidECDSAWithSHA256)
	}
	if l.Key.IsZero() {
		f.Add(l.Certificate, l.role, ReasonCurve, "its key is of kind %s, not on P-256 or brainpoolP256r1", l.KeyKind)
	}
	if len(l.Values.SubjectKeyID) == 0 {
		f.Add(l.Certificate, l.role, ReasonSubjectKey, "it has no subject key identifier")
	}
}

// checkLink compares with the certificate above. Without one there is nothing to compare with, and a fault already.
func (l link) checkLink(f *Faults) {
	if l.above == nil {
		return
	}
	root := l.role == RoleCI
	if !bytes.Equal(l.Issuer.Raw, l.above.Subject.Raw) {
		f.Add(l.Certificate, l.role, ReasonIssuer, "its issuer is %s, the certificate above is of %s", l.Issuer, l.above.Subject)
	}
	aki := l.Values.AuthorityKeyID
	if (!root || len(aki) > 0) && (len(aki) == 0 || !bytes.Equal(aki, l.above.Values.SubjectKeyID)) {
		f.Add(l.Certificate, l.role, ReasonAuthorityKey, "it names the key %s, the certificate above has %s", hexOrNone(aki), hexOrNone(l.above.Values.SubjectKeyID))
	}
	if !l.Key.IsZero() && l.Key.curve != l.above.Key.curve {
		f.Add(l.Certificate, l.role, ReasonCurve, "its key is on %s, that of the certificate above on %s: a chain has one curve", l.Key.curve, l.above.Key.curve)
	}
	if !l.above.Key.IsZero() && !l.SignedBy(l.above.Key) {
		f.Add(l.Certificate, l.role, ReasonSignature, "its signature is not of the key of %s", l.above.Subject)
	}
}

func (l link) checkTime(f *Faults, at time.Time) {
	const day = time.DateOnly
	switch {
	case l.NotAfter.Before(l.NotBefore):
		f.Add(l.Certificate, l.role, ReasonExpired, "it ends on %s, before it begins on %s", l.NotAfter.Format(day), l.NotBefore.Format(day))
	case at.Before(l.NotBefore):
		f.Add(l.Certificate, l.role, ReasonNotYetValid, "it begins on %s, and is judged at %s", l.NotBefore.Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case at.After(l.NotAfter):
		f.Add(l.Certificate, l.role, ReasonExpired, "it ended on %s, and is judged at %s", l.NotAfter.Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
}

// checkUse compares key usage and basic constraints with the place in the chain.
func (l link) checkUse(f *Faults) {
	use, basic := l.Values.KeyUsage, l.Values.Constraints
	if l.role == RoleEUICC {
		if use != UsageDigitalSignature {
			f.Add(l.Certificate, l.role, ReasonKeyUsage, "it is for %s, not for digitalSignature alone", use)
		}
		if basic != nil {
			f.Add(l.Certificate, l.role, ReasonConstraints, "it has basic constraints, which an eUICC has not")
		}
		return
	}
	if more := use &^ (UsageCertSign | UsageCRLSign); use&UsageCertSign == 0 || more != 0 || l.role == RoleEUM && use != UsageCertSign {
		f.Add(l.Certificate, l.role, ReasonKeyUsage, "it is for %s; a CA's is keyCertSign, and cRLSign above the EUM", use)
	}
	switch {
	case basic == nil || !basic.CA:
		f.Add(l.Certificate, l.role, ReasonConstraints, "it is not a CA by its basic constraints")
	case basic.PathLen >= 0 && basic.PathLen < l.below:
		f.Add(l.Certificate, l.role, ReasonPathLength, "it allows %d CAs below it, there are %d", basic.PathLen, l.below)
	case l.role == RoleEUM && basic.PathLen != 0:
		f.Add(l.Certificate, l.role, ReasonPathLength, "an EUM signs no CA: its path length must be 0")
	}
}

func (l link) checkRole(f *Faults, r Rules) {
	if r.Scheme == SGP02 && (l.role != RoleEUM || len(r.EUMPolicies) == 0) {
		return
	}
	if r.Scheme == SGP22 {
		if role, _ := l.Role(); role == l.role {
			return
		}
	}
	if l.role == RoleEUM && slices.ContainsFunc(l.Values.Policies, func(p OID) bool { return slices.ContainsFunc(r.EUMPolicies, p.Equal) }) {
		return
	}
	role, _ := l.Role()
	f.Add(l.Certificate, l.role, ReasonRole, "its policies %s name the role %s", oidList(l.Values.Policies), role)
}

// mustBeCritical are the extensions whose meaning a reader must not skip.
var mustBeCritical = []OID{OIDKeyUsage, OIDBasicConstraints, OIDPolicies, OIDNameConstraints}

func (l link) checkExtensions(f *Faults) {
	for _, e := range l.Extensions {
		switch {
		case e.Critical && !understood(e.OID):
			f.Add(l.Certificate, l.role, ReasonCritical, "its extension %s is critical and not known here", e.OID)
		case !e.Critical && slices.ContainsFunc(mustBeCritical, e.OID.Equal):
			f.Add(l.Certificate, l.role, ReasonNotCritical, "its extension %s must be critical", e.OID)
		case l.role == RoleEUICC && (e.OID.Equal(OIDNameConstraints) || e.OID.Equal(OIDPermittedEINs)):
			f.Add(l.Certificate, l.role, ReasonNotAllowed, "its extension %s is one of an EUM", e.OID)
		}
	}
}

// checkVariant demands roles of one family. A policy that only the rules know belongs to either.
func checkVariant(f *Faults, links []link, r Rules) {
	if r.Scheme == SGP02 {
		return
	}
	seen := VariantNone
	for _, l := range links {
		role, v := l.Role()
		if l.role == RoleCI || role != l.role {
			continue
		}
		if seen != VariantNone && v != seen {
			f.Add(l.Certificate, l.role, ReasonVariant, "its role is of another family than those above it")
			return
		}
		seen = v
	}
}

func checkEUM(f *Faults, eum *Certificate, r Rules) {
	if len(eum.Values.RegisteredIDs) == 0 {
		f.Add(eum, RoleEUM, ReasonOwnID, "its subject alternative name has no registered identifier")
	}
	if o, ok := eum.Subject.Only(OIDOrganization); !ok || o == "" {
		f.Add(eum, RoleEUM, ReasonOrganization, "its subject %s has not one organization", eum.Subject)
	}
	if r.Scheme == SGP22 && len(eum.Values.Permitted) == 0 && len(eum.Values.PermittedEINs) == 0 {
		f.Add(eum, RoleEUM, ReasonNameMissing, "neither name constraints nor permitted EINs bind it to an issuer number")
	}
}

// checkEUICC applies what the EUM may name to the subject of the eUICC.
func checkEUICC(f *Faults, eum, euicc *Certificate) {
	text, one := euicc.Subject.Only(OIDSerialNumber)
	if _, err := id.ParseEID(text); !one || err != nil {
		f.Add(euicc, RoleEUICC, ReasonEID, "its subject has not one EID as serial number: %v", err)
	}
	organization, one := euicc.Subject.Only(OIDOrganization)
	if !one {
		f.Add(euicc, RoleEUICC, ReasonOrganization, "its subject has not one organization")
		return
	}
	checkPermitted(f, eum, euicc, organization, text)
}

func checkPermitted(f *Faults, eum, euicc *Certificate, organization, eid string) {
	own, _ := eum.Subject.Only(OIDOrganization)
	same := func(t Subtree) bool { return t.Organization.Text == organization }
	begins := func(t Subtree) bool { return same(t) && strings.HasPrefix(eid, t.IIN) }
	if v := eum.Values; len(v.Permitted) > 0 {
		switch {
		case !slices.ContainsFunc(v.Permitted, same):
			f.Add(euicc, RoleEUICC, ReasonOrganization, "its organization %q is none that the EUM may name", organization)
		case !slices.ContainsFunc(v.Permitted, begins):
			f.Add(euicc, RoleEUICC, ReasonEIDPrefix, "its EID %q is outside the issuer numbers %q of organization %q", eid, iins(v.Permitted, organization), organization)
		}
		return
	}
	if organization != own {
		f.Add(euicc, RoleEUICC, ReasonOrganization, "its organization %q is not that of its EUM, %q", organization, own)
	}
	ein := func(p string) bool { return strings.HasPrefix(eid, p) }
	if v := eum.Values; len(v.PermittedEINs) > 0 && !slices.ContainsFunc(v.PermittedEINs, ein) {
		f.Add(euicc, RoleEUICC, ReasonEIDPrefix, "its EID %q is outside the permitted EINs %q", eid, v.PermittedEINs)
	}
}

func iins(permitted []Subtree, organization string) (all []string) {
	for _, t := range permitted {
		if t.Organization.Text == organization {
			all = append(all, t.IIN)
		}
	}
	return all
}

func hexOrNone(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return hex.EncodeToString(b)
}

func oidList(all []OID) string {
	texts := make([]string, len(all))
	for i, o := range all {
		texts[i] = o.String()
	}
	return "(" + strings.Join(texts, " ") + ")"
}
