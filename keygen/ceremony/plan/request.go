package plan

import (
	"crypto/elliptic"
	"fmt"
	"strconv"
	"strings"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/certify"
	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// schemes are the specifications that a request may be for, as the plan spells them.
var schemes = map[string]cert.Scheme{"sgp02": cert.SGP02, "sgp22": cert.SGP22}

func readRequest(m *mapping) transcript.Request {
	q := transcript.Request{Scheme: value(m, "scheme", parseScheme), Organization: value(m, "organization", text), CommonName: value(m, "common_name", text)}
	q.OID = value(m, "oid", func(s string) (string, error) { _, err := parseOID(s); return s, err })
	if m.items["country"] != nil {
		q.Country = value(m, "country", text)
	}
	if m.items["issuer_numbers"] != nil {
		var all []string
		for _, n := range names(m, "issuer_numbers") {
			all = append(all, string(n))
		}
		q.Issuers = strings.Join(all, ",")
	}
	return q
}

func parseScheme(s string) (string, error) {
	if _, ok := schemes[s]; !ok {
		return "", fmt.Errorf("%q is neither sgp02 nor sgp22", s)
	}
	return s, nil
}

// parseOID reads an object identifier in dots.
func parseOID(s string) (oid cert.OID, err error) {
	for _, part := range strings.Split(s, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return nil, fmt.Errorf("%q is no object identifier like 1.3.6.1.4.1.99999", s)
		}
		oid = append(oid, int(n))
	}
	return oid, nil
}

// CertRequest is what a step asks of an issuer for a key.
func CertRequest(q transcript.Request, key cert.PublicKey) (certify.Request, error) {
	oid, err := parseOID(q.OID)
	scheme, ok := schemes[q.Scheme]
	if err == nil && !ok {
		err = fmt.Errorf("scheme %q is none", q.Scheme)
	}
	r := certify.Request{Scheme: scheme, Country: q.Country, Organization: q.Organization, CommonName: q.CommonName, OID: oid, Key: key}
	if q.Issuers != "" {
		r.IssuerNumbers = strings.Split(q.Issuers, ",")
	}
	return r, err
}

// checkRequest makes the request with a key that anybody has, to hear of faults before the ceremony.
func checkRequest(a transcript.Act) error {
	key, err := hsm.ParseKey(string(a.Key))
	if err != nil {
		return err
	}
	if key.Class != hsm.ClassEUM && key.Class != hsm.ClassEUMBrainpool && key.Class != hsm.ClassEIS {
		return fmt.Errorf("keys of class %q have no certificate", key.Class)
	}
	base := elliptic.P256().Params()
	point := append([]byte{0x04}, base.Gx.FillBytes(make([]byte, base.BitSize/8))...)
	known, err := cert.NewPublicKey(cert.P256, append(point, base.Gy.FillBytes(make([]byte, base.BitSize/8))...))
	if err != nil {
		return err
	}
	q, err := CertRequest(a.Asked[0], known)
	if err != nil {
		return err
	}
	_, err = certify.RequestBody(q)
	return err
}
