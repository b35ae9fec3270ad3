package cert

import (
	"fmt"
	"strings"
)

// Reason is why a certificate or a chain is not acceptable. It is an error, so that errors.Is finds it in a Refusal.
type Reason string

func (r Reason) Error() string { return string(r) }

// The reasons. Their texts are part of what commands write as JSON: they are not changed.
const (
	ReasonUnknownCI     Reason = "unknown-ci"             // no trusted root has the key that signed
	ReasonVersion       Reason = "version"                // not X.509 version 3
	ReasonAlgorithm     Reason = "algorithm"              // not ECDSA with SHA-256
	ReasonCurve         Reason = "curve"                  // not a curve of the GSMA, or not the chain's
	ReasonSerial        Reason = "serial"                 // not a positive number
	ReasonIssuer        Reason = "issuer"                 // not the subject of the certificate above, byte by byte
	ReasonAuthorityKey  Reason = "authority-key-id"       // not the key identifier of the certificate above
	ReasonSubjectKey    Reason = "subject-key-id"         // not there
	ReasonSignature     Reason = "signature"              // not of the key above
	ReasonNotYetValid   Reason = "not-yet-valid"          // before notBefore
	ReasonExpired       Reason = "expired"                // after notAfter
	ReasonKeyUsage      Reason = "key-usage"              // not the role's
	ReasonConstraints   Reason = "basic-constraints"      // no CA where one signs, or a CA where none may
	ReasonPathLength    Reason = "path-length"            // more CAs below than allowed
	ReasonRole          Reason = "role"                   // certificate policies name another role, or none
	ReasonVariant       Reason = "variant"                // roles of different families in one chain
	ReasonNameMissing   Reason = "name-constraints"       // the EUM is bound to no issuer number
	ReasonOwnID         Reason = "registered-id"          // the subject alternative name has no identifier
	ReasonOrganization  Reason = "organization"           // the eUICC is of an organization that the EUM may not name
	ReasonEID           Reason = "eid"                    // no EID, or its check digits are wrong
	ReasonEIDPrefix     Reason = "eid-prefix"             // the EID is outside the issuer numbers of the EUM
	ReasonCritical      Reason = "critical-extension"     // an extension that must be understood and is not
	ReasonNotCritical   Reason = "extension-not-critical" // an extension that must be critical and is not
	ReasonNotAllowed    Reason = "extension-not-allowed"  // an extension that this role does not have
	ReasonOtherKey      Reason = "other-key"              // the certificate is of another key than ours
	ReasonNotAsked      Reason = "not-as-requested"       // the certificate says something else than the request
	ReasonEndsTooEarly  Reason = "ends-too-early"         // it does not outlive what it is needed for
	ReasonChainNotWhole Reason = "chain"                  // a link is missing, or there are too many
)

// Fault is one thing that is wrong.
type Fault struct {
	Of     Role   // of the certificate at fault, by its place in the chain
	Name   string // its subject
	Reason Reason
	Detail string
}

func (f Fault) Error() string {
	return fmt.Sprintf("%s certificate %s: %s: %s", f.Of, f.Name, f.Reason, f.Detail)
}

// Unwrap is the reason.
func (f Fault) Unwrap() error { return f.Reason }

// Refusal is everything that is wrong with a chain, from the root down. It is never empty.
type Refusal struct{ Faults []Fault }

func (r *Refusal) Error() string {
	lines := make([]string, len(r.Faults))
	for i, f := range r.Faults {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the faults to errors.Is and errors.As.
func (r *Refusal) Unwrap() []error {
	all := make([]error, len(r.Faults))
	for i, f := range r.Faults {
		all[i] = f
	}
	return all
}

// Faults collects what is wrong. The zero value is empty.
type Faults []Fault

// Add notes one fault of the certificate that has this place in a chain.
func (f *Faults) Add(c *Certificate, of Role, reason Reason, format string, a ...any) {
	name := ""
	if c != nil {
		name = c.String()
	}
	*f = append(*f, Fault{Of: of, Name: name, Reason: reason, Detail: fmt.Sprintf(format, a...)})
}

// Err is nil, or a *Refusal.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return &Refusal{Faults: f}
}
