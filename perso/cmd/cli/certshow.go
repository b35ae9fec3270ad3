package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/cert"
)

// maxCertFileBytes is a bundle of as many certificates as are read, in PEM.
const maxCertFileBytes = 2 * cert.MaxBytes * cert.MaxCount

func newCertCmd(env *Env) *cobra.Command {
	return Group("cert", "Read certificates and judge their chains", `  perso cert show eum.der
  perso cert check --ci ci.pem --eum eum.der --euicc chip.der`, newCertShowCmd(env), newCertCheckCmd(env))
}

// certFile is the result of "cert show".
type certFile struct {
	Certificates []certShown `json:"certificates"`
}

// certShown is one certificate. A field that its form or role does not have is left out.
type certShown struct {
	Form          string     `json:"form"` // x509 or 7f21
	Role          string     `json:"role"`
	Subject       string     `json:"subject"`
	Issuer        string     `json:"issuer"`
	Serial        string     `json:"serial"`
	NotBefore     string     `json:"not_before,omitempty"`
	NotAfter      string     `json:"not_after"`
	Curve         string     `json:"curve"`
	KeyID         string     `json:"key_id"`
	AuthorityID   string     `json:"authority_key_id,omitempty"`
	KeyUsage      string     `json:"key_usage"`
	Policies      []string   `json:"policies,omitempty"`
	CA            bool       `json:"ca"`
	PathLength    *int       `json:"path_length,omitempty"`
	RegisteredIDs []string   `json:"registered_ids,omitempty"`
	DNSNames      []string   `json:"dns_names,omitempty"`
	Permitted     []certPair `json:"permitted,omitempty"`
	PermittedEINs []string   `json:"permitted_eins,omitempty"`
	CRLs          []string   `json:"crls,omitempty"`
	EID           string     `json:"eid,omitempty"`
	SHA256        digest     `json:"sha256"`
}

type certPair struct {
	Organization string `json:"organization"`
	IIN          string `json:"iin"`
}

func newCertShowCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Show the certificates of a file as the GSMA means them",
		Long: Describe("Shows the certificates of a file (- is standard input): X.509 in DER or PEM, or a GlobalPlatform certificate (tag 7F21) as bytes or in hex.\n"+
			"Nothing is judged: 'perso cert check' does.", certFile{}),
		Example: `  perso cert show eum.der
  perso cert show ci-roots.pem --json`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			x509, m2m, err := env.readCerts(args[0])
			if err != nil {
				return err
			}
			var f certFile
			for _, c := range x509 {
				f.Certificates = append(f.Certificates, shownX509(c))
			}
			if m2m != nil {
				f.Certificates = append(f.Certificates, shownECASD(m2m))
			}
			return env.Emit(f, f.write)
		},
	}
}

// readCerts reads a file of X.509 certificates, or of one of tag 7F21.
func (env *Env) readCerts(path string) (x509 []*cert.Certificate, m2m *cert.ECASD, err error) {
	content, err := env.read(path, maxCertFileBytes)
	if err != nil {
		return nil, nil, err
	}
	if b, err := hex.DecodeString(string(bytes.TrimSpace(content))); err == nil && len(b) > 0 {
		content = b
	}
	if bytes.HasPrefix(content, []byte{0x7F, 0x21}) {
		m2m, err = cert.ParseECASD(content)
	} else {
		x509, err = cert.ParseFile(content)
	}
	if err != nil && !certLike(content) {
		err = fmt.Errorf("%w: %w", errNoCertificate, err)
	}
	if err != nil {
		return nil, nil, Hint(fmt.Errorf("%q: %w", path, err), "X.509 certificates are read in DER or PEM, those of tag 7F21 as bytes or in hex")
	}
	return x509, m2m, nil
}

// errNoCertificate marks what is not even a damaged certificate: nothing was judged.
var errNoCertificate = errors.New("neither PEM nor DER")

// certLike tells a certificate that breaks the rules from a file of something else.
func certLike(content []byte) bool {
	if block, _ := pem.Decode(content); block != nil {
		return block.Type == "CERTIFICATE"
	}
	return bytes.HasPrefix(content, []byte{0x7F, 0x21}) || bytes.HasPrefix(content, []byte{0x30})
}

func shownX509(c *cert.Certificate) certShown {
	role, _ := c.Role()
	v, key := c.Values, c.Key.ID()
	s := certShown{
		Form: "x509", Role: role.String(), Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialText(),
		NotBefore: c.NotBefore.Format(time.RFC3339), NotAfter: c.NotAfter.Format(time.RFC3339), Curve: c.Key.Curve().String(),
		KeyID: hex.EncodeToString(v.SubjectKeyID), AuthorityID: hex.EncodeToString(v.AuthorityKeyID), KeyUsage: v.KeyUsage.String(),
		Policies: oidTexts(v.Policies), RegisteredIDs: oidTexts(v.RegisteredIDs), DNSNames: v.DNSNames, PermittedEINs: v.PermittedEINs,
		CRLs: v.CRLPoints, SHA256: sha256.Sum256(c.Raw),
	}
	if s.KeyID == "" && !c.Key.IsZero() {
		s.KeyID = hex.EncodeToString(key[:])
	}
	if v.Constraints != nil {
		s.CA = v.Constraints.CA
		if n := v.Constraints.PathLen; n >= 0 {
			s.PathLength = &n
		}
	}
	for _, t := range v.Permitted {
		s.Permitted = append(s.Permitted, certPair{Organization: t.Organization.Text, IIN: t.IIN})
	}
	if role == cert.RoleEUICC {
		s.EID, _ = c.Subject.Only(cert.OIDSerialNumber)
	}
	return s
}

func shownECASD(c *cert.ECASD) certShown {
	key := c.Key.ID()
	s := certShown{
		Form: "7f21", Role: cert.RoleNone.String(), Subject: hex.EncodeToString(c.Subject), Issuer: hex.EncodeToString(c.CA), Serial: hex.EncodeToString(c.Serial),
		NotAfter: c.Expires.Format(time.DateOnly), Curve: c.Key.Curve().String(), KeyID: hex.EncodeToString(key[:]), AuthorityID: hex.EncodeToString(c.AuthorityKeyID),
		KeyUsage: fmt.Sprintf("%04x", c.Usage), SHA256: sha256.Sum256(c.Raw),
	}
	if !c.Effective.IsZero() {
		s.NotBefore = c.Effective.Format(time.DateOnly)
	}
	const eidBytes = 16
	if c.Usage == cert.UsageKeyAgreement && len(c.Subject) == eidBytes {
		s.Role, s.EID = cert.RoleEUICC.String(), s.Subject
	}
	return s
}

func oidTexts(all []cert.OID) (texts []string) {
	for _, o := range all {
		texts = append(texts, o.String())
	}
	return texts
}

func (f certFile) write(w io.Writer) {
	for i, c := range f.Certificates {
		if i > 0 {
			fmt.Fprintln(w)
		}
		c.write(w)
	}
}

func (c certShown) write(w io.Writer) {
	use := c.KeyUsage
	if c.CA && c.PathLength != nil {
		use += fmt.Sprintf(", CA with path length %d", *c.PathLength)
	} else if c.CA {
		use += ", CA"
	}
	var permitted []string
	for _, p := range c.Permitted {
		permitted = append(permitted, fmt.Sprintf("%s of %q", p.IIN, p.Organization))
	}
	for _, line := range [][2]string{
		{"role", c.Role}, {"form", c.Form}, {"subject", c.Subject}, {"issuer", c.Issuer}, {"serial number", c.Serial}, {"EID", c.EID}, {"valid from", c.NotBefore},
		{"valid until", c.NotAfter}, {"key on", c.Curve}, {"key id", c.KeyID}, {"signed by key", c.AuthorityID}, {"key usage", use}, {"policies", strings.Join(c.Policies, " ")},
		{"own identifier", strings.Join(c.RegisteredIDs, " ")}, {"DNS names", quotedList(c.DNSNames)}, {"may name", strings.Join(permitted, ", ")},
		{"permitted EINs", strings.Join(c.PermittedEINs, " ")}, {"revocation lists", quotedList(c.CRLs)}, {"SHA-256", c.SHA256.String()},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%-17s %s\n", line[0], line[1])
		}
	}
}

// quotedList keeps texts that anybody may have put into a certificate from moving the reader's cursor.
func quotedList(all []string) string {
	quoted := slices.Clone(all)
	for i, s := range quoted {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(quoted, " ")
}
