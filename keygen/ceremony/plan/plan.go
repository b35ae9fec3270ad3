// Package plan reads the one file that a key ceremony is made from: reviewed by people beforehand, then carried out as it
// stands.
//
// It exists because a slip in this file costs a ceremony: fields that nobody knows are refused, nothing is guessed or
// filled in, and all faults are told at once, each with its line and field. The file holds no secret and names no place
// where one lies. Every field is described in deploy/ceremony/PLAN.md.
//
// Callers: perso/cmd, for package conduct. It reads bytes, not files.
package plan

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// Version is the form of the file.
const Version = "1"

// MaxBytes bounds the file: 64 acts with all copies have 40 KiB.
const MaxBytes = 256 << 10

// None is how the file says that there is nothing to name.
const None = "none"

// PINSource is where the token's PIN comes from. It is never in the file, on a command line or in the environment.
type PINSource string

// The sources.
const (
	PINCustodians PINSource = "custodians" // two persons enter a half each
	PINTPM        PINSource = "tpm"        // a descriptor or credential file that a TPM unsealed
	PINFile       PINSource = "file"       // a file of mode 0600; environment test only
)

// ModuleSoftHSM names SoftHSM instead of a module's path.
const ModuleSoftHSM = "softhsm"

// Token says which token the ceremony is held on.
type Token struct {
	Module    string // path of a PKCS#11 module, or ModuleSoftHSM
	Directory string // of a SoftHSM token, else empty
	Label     string
	PIN       PINSource
	Halves    []perso.Name // the custodians of the PIN's halves, in order
}

// Vault says where the vault's folders are; empty when the ceremony does not touch them.
type Vault struct {
	Folder string
	Origin string // of the log, for the verifier key
}

// Plan is a file that was read.
type Plan struct {
	Env         perso.Env
	Site        perso.Name
	Ceremony    perso.Name
	Number      uint64
	Previous    [32]byte // head of the inventory before; zero in the first ceremony
	RegisterPin [32]byte // genesis of the officer register; zero in the first ceremony
	NotAfter    time.Time
	Inventory   string // folder
	Token       Token
	Vault       Vault
	Officers    []statement.Officer // the register's genesis, in the first ceremony
	Present     []perso.Name
	Custodians  []transcript.Custodian
	Acts        []transcript.Act
	Hash        [32]byte // SHA-256 of the file
}

// A Fault is one thing wrong with the file.
type Fault struct {
	Line  int
	Field string
	What  string
}

// Faults is every thing wrong with the file, by line.
type Faults []Fault

// Error has one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = fmt.Sprintf("line %d: %s: %s", x.Line, x.Field, x.What)
	}
	return strings.Join(lines, "\n")
}

// Parse reads the file. The error is Faults.
func Parse(b []byte) (*Plan, error) {
	d := &document{}
	root := d.root(b)
	p := &Plan{Hash: sha256.Sum256(b)}
	if root != nil {
		p.read(root)
		root.end()
	}
	if len(d.faults) == 0 {
		p.check(root)
	}
	if len(d.faults) > 0 {
		slices.SortStableFunc(d.faults, func(a, b Fault) int { return a.Line - b.Line })
		return nil, d.faults
	}
	return p, nil
}

func (p *Plan) read(m *mapping) {
	if v := m.text("version"); v != Version {
		m.fault("version", "it is %q, this program reads %s", v, Version)
	}
	p.Env = value(m, "environment", perso.ParseEnv)
	p.Site = value(m, "site", perso.ParseName)
	p.Ceremony = value(m, "ceremony", perso.ParseName)
	p.Number = value(m, "number", number(32))
	p.Previous = value(m, "previous", hashOrNone)
	p.RegisterPin = value(m, "register_pin", hashOrNone)
	p.NotAfter = value(m, "not_after", instant)
	p.Inventory = m.text("inventory")
	if t := m.mapping("token"); t != nil {
		p.readToken(t)
		t.end()
	}
	if v := m.optionalMapping("vault"); v != nil {
		p.Vault = Vault{Folder: v.text("folder"), Origin: v.text("origin")}
		v.end()
	}
	for _, o := range m.optionalList("officers") {
		p.Officers = append(p.Officers, readOfficer(o))
		o.end()
	}
	p.Present = names(m, "present")
	for _, c := range m.optionalList("custodians") {
		p.Custodians = append(p.Custodians, transcript.Custodian{ID: value(c, "id", perso.ParseName), Person: value(c, "person", text)})
		c.end()
	}
	for _, s := range m.list("steps") {
		before := len(m.doc.faults)
		a := p.readAct(s)
		s.end()
		if len(m.doc.faults) == before {
			p.checkAct(s, a)
		}
		p.Acts = append(p.Acts, a)
	}
}

func (p *Plan) readToken(t *mapping) {
	p.Token = Token{Module: t.text("module"), Label: value(t, "label", text), PIN: value(t, "pin", parsePIN)}
	if p.Token.Module == ModuleSoftHSM {
		p.Token.Directory = t.text("directory")
	}
	if p.Token.PIN == PINCustodians {
		p.Token.Halves = names(t, "pin_halves")
	}
	switch {
	case p.Token.PIN == PINFile && p.Env == perso.EnvProduction:
		t.fault("pin", "a file is for environment test only; production has two custodians or a TPM")
	case p.Token.Module == ModuleSoftHSM && p.Env == perso.EnvProduction:
		t.fault("module", "SoftHSM keeps keys in files that its user can read: no token for production")
	case p.Token.PIN == PINCustodians && (len(p.Token.Halves) != 2 || p.Token.Halves[0] == p.Token.Halves[1]):
		t.fault("pin_halves", "two different custodians enter the halves, %d are named", len(p.Token.Halves))
	}
}

func readOfficer(m *mapping) statement.Officer {
	o := statement.Officer{ID: value(m, "id", perso.ParseName), Person: value(m, "person", text), Role: value(m, "role", statement.ParseRole)}
	o.Key = value(m, "key", publicKey)
	return o
}

// check looks at what no single field shows.
func (p *Plan) check(m *mapping) {
	first := p.Number == 1
	for field, none := range map[string]bool{"previous": p.Previous == [32]byte{}, "register_pin": p.RegisterPin == [32]byte{}} {
		if none != first {
			m.fault(field, "the first ceremony of a site says %q here, and no other does", None)
		}
	}
	if (len(p.Officers) > 0) != first {
		m.fault("officers", "the first ceremony of a site names the officers, and no other does: later ones add and revoke")
	}
	for i, c := range p.Custodians {
		for _, o := range p.Custodians[:i] {
			if o.ID == c.ID || strings.EqualFold(o.Person, c.Person) {
				m.fault("custodians", "%q and %q are the same person", o.ID, c.ID)
			}
		}
	}
	for _, h := range p.Token.Halves {
		if !p.isCustodian(h) {
			m.fault("token", "%q enters half a PIN and is no custodian", h)
		}
	}
	if slices.ContainsFunc(p.Acts, func(a transcript.Act) bool { return a.Op == transcript.OpSealOP }) && p.Vault.Folder == "" {
		m.fault("vault", "it must name the folder in which sealed operator keys are kept")
	}
}

func (p *Plan) isCustodian(id perso.Name) bool {
	return slices.ContainsFunc(p.Custodians, func(c transcript.Custodian) bool { return c.ID == id })
}

// checkAct holds a step against the classes of the token and the custodians.
func (p *Plan) checkAct(m *mapping, a transcript.Act) {
	if err := a.Check(); err != nil {
		m.fault("do", "%v", err)
		return
	}
	if a.Op.Creates() && a.Until.Before(p.NotAfter) {
		m.fault("until", "the key's time would be over when the ceremony may still begin")
	}
	if a.Op.ByComponents() {
		for _, c := range a.Copies {
			if !p.isCustodian(c.Holder) {
				m.fault("components", "%q is no custodian", c.Holder)
			}
		}
	}
	if a.Op == transcript.OpDestroy && a.Key.Class() == transcript.ClassOP {
		m.fault("key", "an operator key is no object of the token: retire it; it is destroyed with the seal key that it rests under")
	}
	if a.Op == transcript.OpRequest {
		if err := checkRequest(a); err != nil {
			m.fault("key", "%v", err)
		}
	}
	if !a.Op.Creates() || a.Op == transcript.OpSealOP {
		return
	}
	key, err := hsm.ParseKey(string(a.Key))
	if err == nil {
		switch {
		case key.Class == hsm.ClassLot:
			err = fmt.Errorf("lot keys are made by the vault under a release, not in a ceremony")
		case key.Class == hsm.ClassLife:
			err = fmt.Errorf("a vault's life is begun by the vault itself, not in a ceremony")
		case a.Op == transcript.OpImport:
			if err = key.Admit(hsm.VerbImport, int(a.Bytes)); err == nil {
				err = key.Admit(hsm.VerbKCV, 0)
			}
		}
	}
	if err != nil {
		m.fault("key", "%v", err)
	}
}

// Order makes what officers sign.
func (p *Plan) Order(register [32]byte, at time.Time, nonce [32]byte) transcript.Order {
	return transcript.Order{Env: p.Env, Site: p.Site, Ceremony: p.Ceremony, Number: p.Number, Prev: p.Previous, Register: register, Plan: p.Hash,
		Token: p.Token.Label, At: at, NotAfter: p.NotAfter, Nonce: nonce, Present: p.Present, Custodians: p.Custodians, Acts: p.Acts}
}

// Custodian looks one up.
func (p *Plan) Custodian(id perso.Name) (transcript.Custodian, bool) {
	i := slices.IndexFunc(p.Custodians, func(c transcript.Custodian) bool { return c.ID == id })
	if i < 0 {
		return transcript.Custodian{}, false
	}
	return p.Custodians[i], true
}
