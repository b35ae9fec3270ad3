package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/cmd/console"
)

// certJudged is the result of "cert check".
type certJudged struct {
	OK     bool        `json:"ok"`
	At     string      `json:"at"`
	EUM    string      `json:"eum"`
	EUICC  string      `json:"euicc,omitempty"`
	Faults []certFault `json:"faults"`
}

type certFault struct {
	Certificate string `json:"certificate"` // its place in the chain
	Subject     string `json:"subject"`
	Reason      string `json:"reason"`
	Detail      string `json:"detail"`
}

// chainFiles are the flags of "cert check".
type chainFiles struct {
	ci, eum, euicc, at string
	subCAs             []string
	m2m                bool
}

func newCertCheckCmd(env *Env) *cobra.Command {
	var f chainFiles
	c := &cobra.Command{
		Use:   "check --ci FILE --eum FILE",
		Short: "Judge a chain from the CI to the EUM and its eUICC",
		Long: Describe("Judges whether a chain is acceptable to what the GSMA demands, and says all reasons why not. --ci may hold several roots: the one that\n"+
			"signed is found by its key. A certificate of tag 7F21 as --euicc, or --m2m, makes it a chain of SGP.02. The exit code is 3 when the\n"+
			"chain is not acceptable. Revocation lists are not fetched.", certJudged{}),
		Example: `  perso cert check --ci ci-roots.pem --eum eum.der
  perso cert check --ci ci.der --eum eum.der --euicc chip.der --at 2031-06-30`,
		Args: Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needs(cmd, "ci", "eum"); err != nil {
				return err
			}
			return checkChain(env, f)
		},
	}
	c.Flags().StringVar(&f.ci, "ci", "", "file of the trusted roots")
	c.Flags().StringVar(&f.eum, "eum", "", "file of the EUM's certificate")
	c.Flags().StringVar(&f.euicc, "euicc", "", "file of the eUICC's certificate")
	c.Flags().StringArrayVar(&f.subCAs, "sub-ca", nil, "file of a sub CA; again for the next one down")
	c.Flags().StringVar(&f.at, "at", "", "day (its beginning, UTC) or RFC 3339 time to judge at; now if not given")
	c.Flags().BoolVar(&f.m2m, "m2m", false, "judge the EUM by SGP.02: no name constraints, no role")
	return c
}

func checkChain(env *Env, f chainFiles) error {
	at, err := f.time(env.Now())
	if err != nil {
		return err
	}
	chain, m2m, err := f.read(env)
	if errors.Is(err, cert.ErrForm) && !errors.Is(err, errNoCertificate) {
		return console.Fail(ExitRefuted, err, console.HintFor(err))
	}
	if err != nil {
		return err
	}
	rules := cert.Rules{At: at}
	if f.m2m || m2m != nil {
		rules.Scheme = cert.SGP02
	}
	faults := refused(cert.Check(chain, rules))
	j := certJudged{At: at.Format(time.RFC3339), EUM: chain.EUM.String()}
	switch {
	case m2m != nil:
		j.EUICC = shownECASD(m2m).Subject
		faults = append(faults, refused(cert.CheckECASD(chain.EUM, m2m, at))...)
	case chain.EUICC != nil:
		j.EUICC = chain.EUICC.String()
	}
	j.OK, j.Faults = len(faults) == 0, []certFault{}
	for _, fault := range faults {
		j.Faults = append(j.Faults, certFault{fault.Of.String(), fault.Name, string(fault.Reason), fault.Detail})
	}
	if err := env.Emit(j, j.write); err != nil {
		return err
	}
	if !j.OK {
		return Refuted("the chain is not acceptable: %d reasons", len(j.Faults))
	}
	return nil
}

func refused(err error) []cert.Fault {
	var r *cert.Refusal
	if errors.As(err, &r) {
		return r.Faults
	}
	return nil
}

// time reads --at.
func (f chainFiles) time(now time.Time) (time.Time, error) {
	if f.at == "" {
		return now.UTC(), nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, f.at); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, Usage("--at %q is neither a day like 2031-06-30 nor an RFC 3339 time", f.at)
}

func (f chainFiles) read(env *Env) (c cert.Chain, m2m *cert.ECASD, err error) {
	if c.Roots, m2m, err = env.readCerts(f.ci); err != nil || m2m != nil {
		return c, nil, errors.Join(err, wrongForm(f.ci, m2m))
	}
	for _, path := range f.subCAs {
		sub, err := env.readOne(path)
		if err != nil {
			return c, nil, err
		}
		c.SubCAs = append(c.SubCAs, sub)
	}
	if c.EUM, err = env.readOne(f.eum); err != nil || f.euicc == "" {
		return c, nil, err
	}
	x509, m2m, err := env.readCerts(f.euicc)
	if err != nil || m2m != nil {
		return c, m2m, err
	}
	if len(x509) != 1 || f.m2m {
		return c, nil, Usage("%q: an eUICC has one certificate, under SGP.02 of tag 7F21", f.euicc)
	}
	c.EUICC = x509[0]
	return c, nil, nil
}

func (env *Env) readOne(path string) (*cert.Certificate, error) {
	x509, m2m, err := env.readCerts(path)
	if err != nil || m2m != nil {
		return nil, errors.Join(err, wrongForm(path, m2m))
	}
	if len(x509) != 1 {
		return nil, Usage("%q holds %d certificates, not one", path, len(x509))
	}
	return x509[0], nil
}

func wrongForm(path string, m2m *cert.ECASD) error {
	if m2m == nil {
		return nil
	}
	return Usage("%q is a certificate of tag 7F21, which only an eUICC has", path)
}

func (j certJudged) write(w io.Writer) {
	if j.OK {
		fmt.Fprintf(w, "acceptable at %s: %s\n", j.At, j.EUM)
		if j.EUICC != "" {
			fmt.Fprintf(w, "and its eUICC %s\n", j.EUICC)
		}
		return
	}
	for _, f := range j.Faults {
		fmt.Fprintf(w, "%s: %s certificate %s: %s\n", f.Reason, f.Certificate, f.Subject, f.Detail)
	}
}
