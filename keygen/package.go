package keygen

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/keygen/carddata"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/statement"
)

// pack is a profile package of a lot: read, checked and made a template once, filled for each card.
type pack struct {
	variable string
	template *saip.Template
}

// What a script may ask of a package, behind its name (script.Catalogue.WithPackage).
const (
	partHash      = ".HASH"
	partPOL1      = ".POL1"
	partChallenge = ".CHALLENGE"
)

// packageNames are the packages that this vault makes.
func packageNames() []string { return []string{script.PackageBootstrap, script.PackageOperational} }

// releasedPackages takes the packages that were released, and no other, and says whether the lot can be made with them.
func releasedPackages(r statement.Release, packages [][]byte, s *script.Script) (all map[string]*pack, unfit, err error) {
	if len(packages) != len(r.Packages) {
		return nil, nil, bus.Refuse(bus.FaultRefused, "%d profile packages came with lot %q, %d were released", len(packages), r.Lot, len(r.Packages))
	}
	all = map[string]*pack{}
	for i, released := range r.Packages {
		b, algorithm := packages[i], r.Algorithm
		if released.Variable == script.PackageOperational {
			algorithm = r.Operational.Algorithm
		}
		a, err := auth.Parse(algorithm)
		if err != nil {
			return nil, nil, bus.Refuse(bus.FaultRefused, "%v", err)
		}
		if sha256.Sum256(b) != released.Hash {
			return nil, nil, bus.Refuse(bus.FaultRefused, "profile package %q is not the one released for lot %q", released.Name, r.Lot)
		}
		t, err := readPackage(b, a)
		if err != nil {
			return nil, nil, bus.Refuse(bus.FaultRefused, "profile package %q: %v", released.Name, err)
		}
		all[released.Variable] = &pack{variable: released.Variable, template: t}
	}
	if err := loadable(r, s, all); err != nil {
		unfit = bus.Refuse(bus.FaultRefused, "script %q: %v", s.Name, err)
	}
	return all, unfit, nil
}

func readPackage(b []byte, a auth.Algorithm) (*saip.Template, error) {
	p, err := saip.Decode(bytes.Clone(b))
	if err != nil {
		return nil, err
	}
	return profile.Ready(p, a)
}

// loadable demands that the script loads the released packages, each at its length, and no other; and that the proof is asked of the
// package's own application.
func loadable(r statement.Release, s *script.Script, packages map[string]*pack) error {
	loads := s.Packages()
	for _, name := range loads {
		p := packages[name]
		switch {
		case !slices.Contains(packageNames(), name):
			return fmt.Errorf("it loads a package %s, which this vault does not make", name)
		case p == nil:
			return fmt.Errorf("it loads a package %s, which was not released", name)
		case !s.Carries(name, p.template.Len()):
			return fmt.Errorf("it was compiled for another length of package %s than %d bytes", name, p.template.Len())
		}
	}
	if len(loads) != len(packages) {
		return fmt.Errorf("it loads the packages %v, and %d were released", loads, len(packages))
	}
	p := packages[script.PackageBootstrap]
	if p == nil && len(packages) > 0 {
		return errors.New("it has an operational profile, and no bootstrap profile from a package")
	}
	if p == nil {
		return nil
	}
	constants := constantsOf(r)
	if !bytes.Equal(constants["AID.USIM"], p.template.USIM()) {
		return errors.New("AID.USIM is not that of the package's USIM")
	}
	for _, p := range packages {
		if err := admitted(r, constants, p); err != nil {
			return err
		}
	}
	return nil
}

// admitted demands that a package's policy rules are those released, and that its numbers are of its network.
func admitted(r statement.Release, constants map[string][]byte, p *pack) error {
	if pol1 := constants[p.variable+partPOL1]; !bytes.Equal(pol1, []byte{p.template.Policy()}) {
		return fmt.Errorf("%s%s is not what the package says", p.variable, partPOL1)
	}
	iccids, imsis := rangesOf(r, p.variable)
	for _, unit := range []uint64{0, r.Units() - 1} {
		iccid, err1 := iccids.At(unit)
		imsi, err2 := imsis.At(unit)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if err := profile.Admits(p.template, iccid, imsi); err != nil {
			return err
		}
	}
	return nil
}

// packageVariable takes a variable's name apart: of which package it is, and what of it.
func (l *lot) packageVariable(name string) (p *pack, what string) {
	base, _, _ := strings.Cut(name, ".")
	if p = l.packages[base]; p == nil {
		return nil, ""
	}
	return p, strings.TrimPrefix(name, base)
}

// packageName says that a variable is one of a package that the vault gives itself.
func packageName(name string) bool {
	base, part, _ := strings.Cut(name, ".")
	if !slices.Contains(packageNames(), base) {
		return false
	}
	switch "." + part {
	case ".", partHash, partChallenge, ".ENC", ".MAC", ".DEK":
		return true
	}
	return false
}

// loading is what an act made of a package.
type loading struct {
	pkg    []byte // of the card; secret
	digest [32]byte
	host   *scp.Host
	marks  []scp.Mark
}

func (l *loading) wipe() {
	clear(l.pkg)
	if l.host != nil {
		l.host.Wipe()
	}
}

// loadState is what the next act must know of a package that went out: how a chip that takes it answers.
type loadState struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Answers [32]byte // SHA-256 of the answers to all objects, end to end
}

// object is what the chip said to one object of SCP03t.
type object struct {
	step   *script.Step
	answer []byte
}

// openingOf is where a state keeps what the chip said to the opening of a package.
func openingOf(name string) string { return "opening " + name }

// rendered is the package of the card, made once in an act.
func (x *variables) rendered(p *pack) (*loading, error) {
	if l := x.loads[p.variable]; l != nil {
		return l, nil
	}
	s, err := x.subscriber(p)
	if err != nil {
		return nil, err
	}
	v := make(saip.Values, len(p.template.Slots()))
	if err := p.template.Identify(v, s.iccid, s.imsi); err != nil {
		return nil, err
	}
	f := filler{keys: s.keys, opc: s.opc, pool: make([]byte, 0, len(v)*maxSecretBytes)}
	defer f.wipe()
	if err := p.template.Fill(v, f.give); err != nil {
		return nil, err
	}
	l := &loading{pkg: make([]byte, 0, p.template.Len())}
	if l.pkg, err = p.template.Render(l.pkg, v); err != nil {
		return nil, err
	}
	l.digest = sha256.Sum256(l.pkg)
	if x.loads == nil {
		x.loads = map[string]*loading{}
	}
	x.loads[p.variable] = l
	return l, nil
}

// filler gives the secrets of a card to the places of its package.
type filler struct {
	keys *cardKeys
	opc  []byte
	pool []byte // in which the values lie until they are in the package
}

func (f *filler) wipe() { clear(f.pool[:cap(f.pool)]) }

func (f *filler) give(u saip.Use, length int) ([]byte, error) {
	start := len(f.pool)
	if start+length > cap(f.pool) {
		return nil, fmt.Errorf("place %q has %d bytes, more than any secret", u.Name, length)
	}
	f.pool = f.pool[:start+length]
	to := f.pool[start : start+length : start+length]
	k := f.keys
	var value []byte
	switch u.Kind {
	case saip.UseKi:
		value = k.KI
	case saip.UseOPc:
		value = f.opc
	case saip.UsePIN1:
		value = k.PIN1[:]
	case saip.UsePIN2:
		value = k.PIN2[:]
	case saip.UsePUK1:
		value = k.PUK1[:]
	case saip.UsePUK2:
		value = k.PUK2[:]
	case saip.UseADM1:
		value = k.ADM1[:]
	default:
		return to, k.derivePlace(u, to)
	}
	if len(value) != length {
		return nil, fmt.Errorf("place %q has %d bytes, its value %d", u.Name, length, len(value))
	}
	copy(to, value)
	return to, nil
}

// derivePlace makes what a card has only because its package has a place for it: further ADM codes, keys of a security domain.
func (k *cardKeys) derivePlace(u saip.Use, to []byte) error {
	x := carddata.NewExpander(&k.seed)
	if code, is := furtherCode(u.Kind); is {
		rule, err := codes.ParseRule(code, "random:8")
		if err != nil {
			return err
		}
		if len(to) != pinBytes {
			return fmt.Errorf("place %q has %d bytes", u.Name, len(to))
		}
		return carddata.DeriveCode(x, code, rule, (*[pinBytes]byte)(to))
	}
	return carddata.DerivePlace(x, carddata.Place{Name: u.Name, Domain: u.Domain, KVN: u.KVN, KID: u.KID, DES: u.Type == keyTypeDES}, to)
}

// Types of keys (GlobalPlatform Card Specification, table 11-16).
const (
	keyTypeDES    = 0x80
	keyTypeDESCBC = 0x82
	keyTypeAES    = 0x88
)

func furtherCode(k saip.UseKind) (codes.Code, bool) {
	switch k {
	case saip.UseADM2:
		return codes.ADM2, true
	case saip.UseADM3:
		return codes.ADM3, true
	case saip.UseADM4:
		return codes.ADM4, true
	}
	return "", false
}

// packagePublic gives what of a package is no secret.
func (x *variables) packagePublic(dst []byte, p *pack, what string) ([]byte, error) {
	switch what {
	case partChallenge:
		return x.challenge(dst, challengeBytes, usePackage+byte(slices.Index(packageNames(), p.variable)))
	case partHash:
		l, err := x.rendered(p)
		if err != nil {
			return dst, err
		}
		return append(dst, l.digest[:]...), nil
	}
	return dst, fmt.Errorf("variable %q is unknown", p.variable+what)
}

// packageKey gives a key of the ISD-P's set into the room; nil for another variable.
func (x *variables) packageKey(room *[maxSecretBytes]byte, k *cardKeys, name string) ([]byte, error) {
	p, what := x.l.packageVariable(name)
	if p == nil {
		return nil, nil
	}
	switch what {
	case ".ENC", ".MAC", ".DEK":
		key := room[:keyBytes]
		return key, deriveKey(carddata.NewExpander(&k.seed), p.variable+what, key)
	}
	return nil, nil
}

// session opens SCP03t of a package with what the chip said.
func (x *variables) session(p *pack) (*scp.Host, error) {
	keys, err := x.derived()
	if err != nil {
		return nil, err
	}
	iu, err := scp.ParseInitUpdateTLV(x.captures[openingOf(p.variable)])
	if err != nil {
		return nil, failure{Reason: perso.ReasonData, Step: openingOf(p.variable), SW: uint16(apdu.SWOK)}
	}
	challenge, err := x.packagePublic(nil, p, partChallenge)
	if err != nil {
		return nil, err
	}
	var static scp.StaticKeys
	for _, key := range []struct {
		part string
		to   *[]byte
	}{{".ENC", &static.ENC}, {".MAC", &static.MAC}, {".DEK", &static.DEK}} {
		*key.to = make([]byte, keyBytes)
		if err := deriveKey(carddata.NewExpander(&keys.seed), p.variable+key.part, *key.to); err != nil {
			return nil, err
		}
	}
	defer static.Wipe()
	host, err := scp.OpenHost(static, challenge, iu)
	if errors.Is(err, scp.ErrCryptogram) {
		return nil, failure{Reason: perso.ReasonCryptogram, Step: openingOf(p.variable), SW: uint16(apdu.SWOK)}
	}
	if err != nil {
		return nil, failure{Reason: perso.ReasonData, Step: openingOf(p.variable), SW: uint16(apdu.SWOK)}
	}
	return host, nil
}

// stream gives the package under SCP03t, for the session that the act before opened.
func (x *variables) stream(dst []byte, name string) ([]byte, error) {
	p := x.l.packages[name]
	if p == nil {
		return dst, fmt.Errorf("package %q is unknown", name)
	}
	l, err := x.rendered(p)
	if err != nil {
		return dst, err
	}
	if l.host, err = x.session(p); err != nil {
		return dst, err
	}
	dst, l.marks, err = l.host.SealStream(dst, l.pkg)
	return dst, err
}

// sent is what the next act must know of the package that this one sends; nil when it sends none.
func (x *variables) sent() *loadState {
	for name, l := range x.loads {
		if l.marks != nil {
			return &loadState{Name: name, Answers: sha256.Sum256(l.host.AnswersTLV(l.marks, saip.InstalledReport()))}
		}
	}
	return nil
}

// loaded judges what the chip said to a package: as a chip says that installed it and has nothing else to say, which needs no key; or
// else what it said is opened, under keys that are derived once more.
func (r *run) loaded() error {
	if len(r.objects) == 0 {
		return nil
	}
	h := sha256.New()
	for _, o := range r.objects {
		h.Write(o.answer)
	}
	want := r.state.Loading
	if want == nil {
		return fmt.Errorf("judging package of step %q: the state knows none", r.objects[0].step.Label)
	}
	if [32]byte(h.Sum(nil)) == want.Answers {
		return nil
	}
	return r.openReport(want.Name)
}

// openReport finds out what a chip said otherwise.
func (r *run) openReport(name string) error {
	if _, err := r.vars.stream(nil, name); err != nil {
		return err
	}
	l := r.vars.loads[name]
	if len(r.objects) != len(l.marks)+1 {
		return refuse("%d answers to a package of %d segments", len(r.objects), len(l.marks))
	}
	bad := func(o object) error {
		return failure{Reason: perso.ReasonData, Step: o.step.Label, SW: uint16(apdu.SWOK), Again: true}
	}
	if scp.AuthenticatedTLV(r.objects[0].answer) != nil {
		return bad(r.objects[0])
	}
	for i, m := range l.marks {
		o := r.objects[i+1]
		data, err := l.host.UnwrapTLV(m, o.answer)
		if err != nil {
			return bad(o)
		}
		if last := i == len(l.marks)-1; !last && len(data) == 0 {
			continue
		} else if report, err := saip.ParseReport(data); err != nil || !last || !report.Installed() {
			if err == nil {
				r.v.cfg.Log.Warn("profile package refused", "lot", r.l.release.Lot, "unit", r.claim.Unit, "step", o.step.Label, "err", report)
			}
			return failure{Reason: perso.ReasonData, Step: o.step.Label, SW: uint16(apdu.SWOK)}
		}
	}
	clear(l.marks)
	l.marks = nil
	return nil
}
