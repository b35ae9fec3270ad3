package certify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/cert"
)

// maxIssuerNumbers bounds what one certificate may be asked for, so that it still goes onto a chip.
const maxIssuerNumbers = 16

var oidExtensionRequest = cert.OID{1, 2, 840, 113549, 1, 9, 14}

// Request is what an EUM asks of a CI.
type Request struct {
	Scheme       cert.Scheme
	Country      string // two letters; may be left out
	Organization string
	CommonName   string
	OID          cert.OID // the EUM's own, e.g. 1.3.6.1.4.1.x
	// IssuerNumbers are the 8 digits that its EIDs begin with (IIN), for the name constraints of SGP.22.
	IssuerNumbers []string
	// Role is the certificate policy to ask for. Empty is the one of SGP.22, and none under SGP.02, whose identifiers are not
	// public: the CI's own procedure says which.
	Role cert.OID
	Key  cert.PublicKey
}

// SignRequest makes the PKCS#10 request in DER, signed with the key that it is for.
func SignRequest(ctx context.Context, s Signer, r Request) ([]byte, error) {
	body, err := RequestBody(r)
	if err == nil {
		body, err = seal(ctx, s, r.Key, body)
	}
	if err != nil {
		return nil, fmt.Errorf("requesting a certificate for %q: %w", r.Organization, err)
	}
	return body, nil
}

// RequestBody is what is signed (CertificationRequestInfo). It is a pure function.
func RequestBody(r Request) ([]byte, error) {
	name, err := r.name()
	if err != nil {
		return nil, err
	}
	wanted, err := r.extensions()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Uint64(0)
		cert.AddName(b, name...)
		r.Key.AddTo(b)
		b.AddASN1(casn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidExtensionRequest)
				b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { cert.AddExtensions(b, wanted) })
			})
		})
	})
	return b.Bytes()
}

func (r Request) name() (parts []cert.Part, err error) {
	for _, p := range []struct {
		kind cert.OID
		text string
	}{{cert.OIDCountry, r.Country}, {cert.OIDOrganization, r.Organization}, {cert.OIDCommonName, r.CommonName}} {
		if p.text == "" && p.kind.Equal(cert.OIDCountry) {
			continue
		}
		part, err := cert.NewPart(p.kind, p.text)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// extensions asks for what the certificate of an EUM has, in the order of the GSMA's. What only the CI knows is not asked for:
// its own key identifier and its revocation lists.
func (r Request) extensions() ([]cert.Extension, error) {
	permitted, err := r.permitted()
	if err != nil {
		return nil, err
	}
	switch {
	case r.Key.IsZero():
		return nil, errors.New("there is no key")
	case !writable(r.OID):
		return nil, fmt.Errorf("the EUM's own object identifier %q is none", r.OID)
	case len(r.Role) > 0 && !writable(r.Role):
		return nil, fmt.Errorf("the role's object identifier %q is none", r.Role)
	}
	all := []cert.Extension{cert.SubjectKeyIDOf(r.Key.ID()), cert.KeyUsageOf(cert.UsageCertSign)}
	if role := r.role(); role != nil {
		all = append(all, cert.PoliciesOf(role))
	}
	all = append(all, cert.RegisteredIDOf(r.OID), cert.BasicConstraintsOf(0))
	if len(permitted) > 0 {
		all = append(all, cert.NameConstraintsOf(permitted))
	}
	return all, nil
}

func (r Request) role() cert.OID {
	if len(r.Role) == 0 && r.Scheme == cert.SGP22 {
		return cert.PolicyOf(cert.RoleEUM, cert.VariantO)
	}
	return r.Role
}

func (r Request) permitted() (all []cert.Subtree, err error) {
	if r.Scheme == cert.SGP02 {
		if len(r.IssuerNumbers) > 0 {
			return nil, errors.New("an EUM of SGP.02 has no name constraints: leave the issuer numbers out")
		}
		return nil, nil
	}
	if n := len(r.IssuerNumbers); n == 0 || n > maxIssuerNumbers {
		return nil, fmt.Errorf("%d issuer numbers, want 1 to %d", n, maxIssuerNumbers)
	}
	for i, iin := range r.IssuerNumbers {
		if slices.Contains(r.IssuerNumbers[:i], iin) {
			return nil, fmt.Errorf("issuer number %q is there twice", iin)
		}
		t, err := cert.NewSubtree(r.Organization, iin)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// writable reports whether an object identifier has a form in DER (X.660).
func writable(oid cert.OID) bool {
	var b cryptobyte.Builder
	b.AddASN1ObjectIdentifier(oid)
	_, err := b.Bytes()
	return err == nil && len(oid) > 1
}
