package certify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/id"
)

// EUICCValidDays is how long the certificate of an eUICC is valid: as in the GSMA's test certificates, for ever as far as a
// chip is concerned. A notBefore of 2020 gives the year 7496.
const EUICCValidDays = 2_000_000

// lastYear is the last one that GeneralizedTime can say.
const lastYear = 9999

// serialKeyBytes of a hash of the key follow the EID in a serial number: 16 + 3 and a leading zero are the 20 bytes that RFC
// 5280 §4.1.2.2 allows.
const serialKeyBytes = 3

// EUICC is what the certificate of one eUICC (CERT.EUICC.ECDSA) says. Everything else is the EUM's, or fixed.
type EUICC struct {
	EUM        *cert.Certificate // of the signing key, variant O
	EID        id.EID
	Key        cert.PublicKey // of the eUICC, on the EUM's curve
	CommonName string         // e.g. the product's name
	NotBefore  time.Time      // to the second; within the EUM's own validity
}

// Issue signs the certificate of an eUICC and gives it as it will be read.
func Issue(ctx context.Context, s Signer, e EUICC) (*cert.Certificate, error) {
	c, err := issue(ctx, s, e)
	if err != nil {
		return nil, fmt.Errorf("certifying eUICC %s: %w", e.EID, err)
	}
	return c, nil
}

func issue(ctx context.Context, s Signer, e EUICC) (*cert.Certificate, error) {
	body, err := EUICCBody(e)
	if err != nil {
		return nil, err
	}
	der, err := seal(ctx, s, e.EUM.Key, body)
	if err != nil {
		return nil, err
	}
	return cert.Parse(der)
}

// EUICCBody is what the EUM signs (TBSCertificate). It is a pure function, and refuses what no checker would accept.
func EUICCBody(e EUICC) ([]byte, error) { return e.body(SerialNumber(e.EID, e.Key)) }

func (e EUICC) body(serial *big.Int) ([]byte, error) {
	subject, err := e.subject()
	if err != nil {
		return nil, err
	}
	from := e.NotBefore.UTC().Truncate(time.Second)
	to := from.AddDate(0, 0, EUICCValidDays)
	switch {
	case to.Year() > lastYear:
		return nil, fmt.Errorf("it would end in the year %d", to.Year())
	case from.Before(e.EUM.NotBefore) || from.After(e.EUM.NotAfter):
		return nil, fmt.Errorf("it would begin on %s, when the EUM's certificate is not valid (%s to %s)", from.Format(time.RFC3339),
			e.EUM.NotBefore.Format(time.RFC3339), e.EUM.NotAfter.Format(time.RFC3339))
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Uint64(2) }) // version 3
		b.AddASN1BigInt(serial)
		addAlgorithm(b)
		b.AddBytes(e.EUM.Subject.Raw) // byte by byte: readers compare so
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			cert.AddTime(b, from)
			cert.AddTime(b, to)
		})
		cert.AddName(b, subject...)
		e.Key.AddTo(b)
		b.AddASN1(casn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { cert.AddExtensions(b, e.extensions()) })
	})
	return b.Bytes()
}

// extensions in the order of the GSMA's certificates.
func (e EUICC) extensions() []cert.Extension {
	return []cert.Extension{
		cert.AuthorityKeyIDOf([cert.KeyIDBytes]byte(e.EUM.Values.SubjectKeyID)),
		cert.SubjectKeyIDOf(e.Key.ID()),
		cert.KeyUsageOf(cert.UsageDigitalSignature),
		cert.PoliciesOf(cert.PolicyOf(cert.RoleEUICC, cert.VariantO)),
	}
}

// subject is country, organization, EID and common name, once the EUM may name them.
func (e EUICC) subject() ([]cert.Part, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	organization, err := e.organization()
	if err != nil {
		return nil, err
	}
	var parts []cert.Part
	if country, ok := partOf(e.EUM.Subject, cert.OIDCountry); ok {
		parts = append(parts, country)
	}
	eid, err := cert.NewPart(cert.OIDSerialNumber, e.EID.String())
	if err != nil {
		return nil, err
	}
	name, err := cert.NewPart(cert.OIDCommonName, e.CommonName)
	if err != nil {
		return nil, err
	}
	return append(parts, organization, eid, name), nil
}

func (e EUICC) check() error {
	if e.EUM == nil || e.EID.IsZero() || e.Key.IsZero() {
		return errors.New("the EUM's certificate, the EID or the key is missing")
	}
	role, variant := e.EUM.Role()
	switch {
	case role != cert.RoleEUM || variant != cert.VariantO:
		return fmt.Errorf("the signing certificate %s is not that of an EUM of variant O", e.EUM)
	case len(e.EUM.Values.SubjectKeyID) != cert.KeyIDBytes:
		return fmt.Errorf("the EUM's key identifier has %d bytes, not %d", len(e.EUM.Values.SubjectKeyID), cert.KeyIDBytes)
	case e.Key.Curve() != e.EUM.Key.Curve():
		return fmt.Errorf("its key is on %s, the EUM's on %s: a chain has one curve", e.Key.Curve(), e.EUM.Key.Curve())
	case e.Key == e.EUM.Key:
		return errors.New("its key is the EUM's own")
	}
	return nil
}

// organization is that of the pair that permits the EID, in the pair's own bytes; the EUM's own where several do.
func (e EUICC) organization() (cert.Part, error) {
	own, _ := partOf(e.EUM.Subject, cert.OIDOrganization)
	var found []cert.Part
	for _, t := range e.EUM.Values.Permitted {
		if t.Permits(e.EID) {
			found = append(found, t.Organization)
		}
	}
	if len(found) == 0 {
		return cert.Part{}, fmt.Errorf("EID %s is outside the issuer numbers that the CI permits %s", e.EID, e.EUM)
	}
	if i := slices.IndexFunc(found, func(p cert.Part) bool { return p.Text == own.Text }); i >= 0 {
		return found[i], nil
	}
	return found[0], nil
}

func partOf(n cert.Name, kind cert.OID) (cert.Part, bool) {
	i := slices.IndexFunc(n.Parts, func(p cert.Part) bool { return p.OID.Equal(kind) })
	if i < 0 {
		return cert.Part{}, false
	}
	return n.Parts[i], true
}

// SerialNumber is that of the certificate for a key of an eUICC: its EID, so that no two eUICCs of an EUM share one, and the
// beginning of a hash of the key, because a chip that was begun again has a new key under the same EID.
func SerialNumber(eid id.EID, key cert.PublicKey) *big.Int {
	digits, sum := eid.Bytes(), sha256.Sum256(key.Point())
	return new(big.Int).SetBytes(append(digits[:], sum[:serialKeyBytes]...))
}
