package dryrun

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

// load is a package on its way to the chip.
type load struct {
	host  *scp.Host
	marks []scp.Mark
	at    int // objects that were answered
}

// render makes the package of the one card of a dry run, with the values that the script's own variables have.
func (v *values) render(name string, t *saip.Template) error {
	if t == nil {
		return fmt.Errorf("loading package %s: none is given: %w", name, ErrCannot)
	}
	iccid, err1 := id.ParseICCID("8988001999999999998")
	imsi, err2 := id.ParseIMSI(t.SampleIMSI(), t.MNCDigits())
	filled := make(saip.Values, len(t.Slots()))
	if err := errors.Join(err1, err2, t.Identify(filled, iccid, imsi)); err != nil {
		return fmt.Errorf("loading package %s: %w: %w", name, ErrCannot, err)
	}
	if err := t.Fill(filled, v.secretOf); err != nil {
		return fmt.Errorf("loading package %s: %w: %w", name, ErrCannot, err)
	}
	pkg, err := t.Render(nil, filled)
	if err != nil {
		return fmt.Errorf("loading package %s: %w", name, err)
	}
	digest := sha256.Sum256(pkg)
	v.byName[name], v.byName[name+".HASH"] = pkg, digest[:]
	v.byName[name+".POL1"] = []byte{t.Policy()}
	return nil
}

// secretOf is a secret of the card by its use: the script's own where it has it.
func (v *values) secretOf(u saip.Use, length int) ([]byte, error) {
	switch u.Kind {
	case saip.UseKi, saip.UseOPc:
		value := v.byName[string(u.Kind)]
		if len(value) != length {
			value = made(string(u.Kind), length)
			v.byName[string(u.Kind)] = value
		}
		return value, nil
	case saip.UsePIN1, saip.UsePIN2:
		return []byte("0000\xFF\xFF\xFF\xFF"), nil
	case saip.UsePUK1, saip.UsePUK2, saip.UseADM1, saip.UseADM2, saip.UseADM3, saip.UseADM4:
		return []byte("12345678"), nil
	}
	return made(u.Name, length), nil
}

// opened begins the session of a package with what the chip said.
func (v *values) opened(st *script.Step, answer []byte) error {
	iu, err := scp.ParseInitUpdateTLV(answer)
	if err != nil {
		return wrong("step %q: %w", st.Label, err)
	}
	name := st.Package
	keys := scp.StaticKeys{ENC: v.byName[name+".ENC"], MAC: v.byName[name+".MAC"], DEK: v.byName[name+".DEK"]}
	host, err := scp.OpenHost(keys, v.byName[name+".CHALLENGE"], iu)
	if err != nil {
		return wrong("step %q: %w", st.Label, err)
	}
	v.loads[name] = &load{host: host}
	return nil
}

func (v *values) sealed(dst []byte, name string) (_ []byte, err error) {
	l := v.loads[name]
	if l == nil {
		return dst, fmt.Errorf("loading package %s, which was not opened: %w", name, ErrCannot)
	}
	dst, l.marks, err = l.host.SealStream(dst, v.byName[name])
	return dst, err
}

// object judges what the chip said to one object of SCP03t.
func (v *values) object(st *script.Step, answer []byte) error {
	l := v.loads[st.Package]
	l.at++
	if l.at == 1 {
		if err := scp.AuthenticatedTLV(answer); err != nil {
			return wrong("step %q: %w", st.Label, err)
		}
		return nil
	}
	data, err := l.host.UnwrapTLV(l.marks[l.at-2], answer)
	if err != nil {
		return wrong("step %q: %w", st.Label, err)
	}
	if len(data) == 0 && l.at <= len(l.marks) {
		return nil
	}
	report, err := saip.ParseReport(data)
	if err == nil && (!report.Installed() || l.at <= len(l.marks)) {
		err = fmt.Errorf("the chip reports %v", report)
	}
	if err != nil {
		return wrong("step %q: %w", st.Label, err)
	}
	return nil
}

// BesideProducts is where the catalogue of a site has the bootstrap profile, seen from the folder of products and scripts.
const BesideProducts = "../profiles/bootstrap.der"

// ReadPackage reads a profile package for a dry run: it is made ready as for an order with the usual algorithm.
func ReadPackage(path string) (*saip.Template, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a profile package: %w", err)
	}
	p, err := saip.Decode(b)
	if err == nil {
		p, err = profile.Prepare(p, profile.Terms{Algorithm: auth.Default()})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t, err := profile.Ready(p, auth.Default())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// WithPackages adds packages to the variables that a script is compiled with.
func WithPackages(c script.Catalogue, packages map[string]*saip.Template) script.Catalogue {
	for name, t := range packages {
		c = c.WithPackage(name, t.Len())
		if n := len(t.USIM()); name == script.PackageBootstrap && n > 0 {
			c = c.WithUSIM(n)
		}
	}
	return c
}

// Beside gives the packages for a product of a catalogue's folder: the bootstrap profile that lies beside it, for a product that loads one.
func Beside(folder string, p product.Product) (map[string]*saip.Template, error) {
	if !p.Profile.Package {
		return nil, nil
	}
	t, err := ReadPackage(filepath.Join(folder, filepath.FromSlash(BesideProducts)))
	if err != nil {
		return nil, err
	}
	return map[string]*saip.Template{script.PackageBootstrap: t}, nil
}
