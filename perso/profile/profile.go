// Package profile turns a profile package of the catalogue into what the cards of an order get.
//
// It stands between perso/saip, which knows what a package is, and an order, which says for whom and how its cards
// authenticate. Prepare sets the few constants that an order may change; Ready judges the result as intake and vault both must: that
// its algorithm is the order's, that every place has a value, that a chip can be proven by it. The office prepares, officers
// release the SHA-256 of the prepared package, and the vault takes that package and no other.
//
// Contract. Packages hold no secret (their places are zeros). Nothing here reads a clock or randomness; Catalogue reads the folder
// that it is given. Any zone may import it. Sources: SAIP 2.3 to 3.3, GSMA SGP.02 §3.6 (POL1).
package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
)

// Suffix is that of package files.
const Suffix = ".der"

// MaxBytes bounds a package that is loaded into a chip.
const MaxBytes = scp.MaxPackage

// Catalogue is a folder of packages, <name>.der. It is read anew each time, so that what was imported can be ordered at once.
type Catalogue struct {
	folder fs.FS
	kept   *kept
}

// Open takes a folder.
func Open(folder fs.FS) Catalogue {
	return Catalogue{folder: folder, kept: &kept{all: map[keptKey]Prepared{}}}
}

// ErrUnknown says that the catalogue has no package of that name.
var ErrUnknown = errors.New("not in the catalogue of profile packages")

// Get reads a package and checks it. A fault in it is named with its place.
func (c Catalogue) Get(name perso.Name) (*saip.Package, error) {
	b, err := c.read(name)
	if err != nil {
		return nil, err
	}
	return sound(name, b)
}

// read gives the bytes of a package.
func (c Catalogue) read(name perso.Name) ([]byte, error) {
	if c.folder == nil {
		return nil, unread(name, ErrUnknown)
	}
	f, err := c.folder.Open(string(name) + Suffix)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrUnknown
	}
	if err != nil {
		return nil, unread(name, err)
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(b) > MaxBytes {
		err = fmt.Errorf("more than the %d bytes that a chip is sent", MaxBytes)
	}
	if err != nil {
		return nil, unread(name, err)
	}
	return b, nil
}

// sound decodes a package and refuses one with faults.
func sound(name perso.Name, b []byte) (*saip.Package, error) {
	p, err := saip.Decode(b)
	if err != nil {
		return nil, unread(name, err)
	}
	if bad := p.Check().Refusing(); len(bad) > 0 {
		return nil, unread(name, bad)
	}
	return p, nil
}

func unread(name perso.Name, err error) error {
	return fmt.Errorf("reading profile package %q: %w", name, err)
}

// Names are the packages that are there.
func (c Catalogue) Names() (names []perso.Name) {
	if c.folder == nil {
		return nil
	}
	files, err := fs.Glob(c.folder, "*"+Suffix)
	if err != nil {
		return nil
	}
	for _, f := range files {
		if name, err := perso.ParseName(strings.TrimSuffix(f, Suffix)); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// Terms are what an order says of its profile.
type Terms struct {
	Algorithm auth.Algorithm
	POL1      *POL1 // nil leaves the package's
}

// Prepare sets the terms. What a package has as the order wants it is left byte by byte as it is.
func Prepare(p *saip.Package, t Terms) (*saip.Package, error) {
	var lot saip.Lot
	same, err := authenticates(p, t.Algorithm)
	if err != nil {
		return nil, err
	}
	if !same {
		lotAlgorithm(&lot, t.Algorithm)
	}
	if t.POL1 != nil {
		have := p.Header().Policy
		if want := t.POL1.Byte(); len(have) != 1 && (want != 0 || len(have) != 0) || len(have) == 1 && have[0] != want {
			lot.Policy = []byte{want}
		}
	}
	if same && lot.Policy == nil {
		return blank(p)
	}
	out, err := saip.Prepare(p, lot)
	if err != nil {
		return nil, err
	}
	return blank(out)
}

// blank takes out what a customer left of secrets; a package without any stays as it is.
func blank(p *saip.Package) (*saip.Package, error) {
	out, err := p.Blank()
	if err != nil {
		return nil, fmt.Errorf("taking secrets out of a package: %w", err)
	}
	return out, nil
}

// lotAlgorithm says an algorithm as SAIP has it.
func lotAlgorithm(lot *saip.Lot, a auth.Algorithm) {
	told := a.Parameters()
	lot.KeyBytes = a.KBytes()
	if a.Name == auth.TUAK { // 02, bytes of K, RES, CK and IK, iterations (auth.Parameters)
		lot.Algorithm, lot.Options, lot.Keccak = saip.TUAK, []byte{saip.OptionsOf(int(told[2]), int(told[3]), int(told[4]))}, int(told[5])
		return
	}
	lot.Algorithm, lot.Options = saip.Milenage, []byte{saip.OptionsOf(8, 16, 16)}
	if constants := told[1:]; len(constants) > 0 {
		const rotations = 5
		lot.Rotation, lot.Xoring = constants[:rotations], constants[rotations:]
	}
}

// authenticates says whether every application of the package authenticates by the algorithm.
func authenticates(p *saip.Package, a auth.Algorithm) (bool, error) {
	chip, faults := p.Expand()
	if bad := faults.Refusing(); len(bad) > 0 {
		return false, bad
	}
	for _, k := range chip.AKAs {
		if k.MappedTo == nil && !bytes.Equal(Parameters(k), a.Parameters()) {
			return false, nil
		}
	}
	return true, nil
}

// Parameters are what auth.Algorithm.Parameters gives for an AKA parameter of a package; nil when it has no such form.
func Parameters(k saip.AKA) []byte {
	res, ck, ik, ok := k.Results()
	switch {
	case !ok:
		return nil
	case k.Algorithm == saip.TUAK:
		return []byte{0x02, byte(k.K.Len()), byte(res), byte(ck), byte(ik), byte(k.Keccak)}
	case k.Algorithm != saip.Milenage:
		return nil
	}
	usual := aka.DefaultConstants()
	r, c := k.Rotation, k.Xoring
	if len(r) == 0 {
		r = usual.R[:]
	}
	if len(c) == 0 {
		for i := range usual.C {
			c = append(c, usual.C[i][:]...)
		}
	}
	same := bytes.Equal(r, usual.R[:])
	for i := range usual.C {
		same = same && bytes.HasPrefix(c[min(i*len(usual.C[i]), len(c)):], usual.C[i][:])
	}
	if same {
		return auth.Default().Parameters()
	}
	return slices.Concat([]byte{0x11}, r, c)
}

// Ready compiles a prepared package, and refuses one that the cards of an order cannot be made or proven with.
func Ready(p *saip.Package, a auth.Algorithm) (*saip.Template, error) {
	if p.Len() > MaxBytes {
		return nil, fmt.Errorf("the package has %d bytes, a chip is sent at most %d", p.Len(), MaxBytes)
	}
	same, err := authenticates(p, a)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, fmt.Errorf("the package does not authenticate by %s", a)
	}
	if err := provable(p); err != nil {
		return nil, err
	}
	t, err := saip.Compile(p)
	if err != nil {
		return nil, err
	}
	if _, err := t.Uses(); err != nil {
		return nil, err
	}
	return t, nil
}

// provable refuses a profile that a chip can't prove in the factory: AUTHENTICATE needs a USIM that asks for no PIN, and a counter that
// begins at zero.
func provable(p *saip.Package) error {
	chip, _ := p.Expand()
	if !slices.ContainsFunc(chip.Applications(), func(f *saip.File) bool { return f.Application() == saip.PEUSIM }) {
		return errors.New("the package has no USIM, by which the chip is to authenticate")
	}
	const pin1 = 0x01
	for _, pin := range chip.PINs {
		if pin.Ref == pin1 && pin.SharedWith == "" && pin.Attributes&saip.PINEnabled != 0 {
			return errors.New("the package asks for PIN1: a chip could not authenticate in the factory; deliver it with PIN1 disabled")
		}
	}
	for _, k := range chip.AKAs {
		for _, sqn := range k.SQN {
			if len(bytes.Trim(sqn, "\x00")) > 0 {
				return errors.New("the package's sequence numbers do not begin at zero, which is what a new card is proven by")
			}
		}
	}
	return nil
}

// Admits says whether the numbers of a card fit the package: the network that its constants speak of.
func Admits(t *saip.Template, iccid id.ICCID, imsi id.IMSI) error {
	return t.Identify(make(saip.Values, len(t.Slots())), iccid, imsi)
}
