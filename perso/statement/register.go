package statement

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of register statements.
const (
	KindGenesis = "officer-register"
	KindAdd     = "officer-add"
	KindRevoke  = "officer-revoke"
)

// MaxOfficers bounds a site's register.
const MaxOfficers = 64

// Role is what a person in the register has to do; which statements it may sign, and which roles exclude one another, is in duties.go.
type Role string

// The officers' roles, of which two release, close and destroy.
const (
	RoleProduction Role = "production"
	RoleSecurity   Role = "security"
	RoleQuality    Role = "quality"
)

// The other roles of a site.
const (
	RoleOrderDesk  Role = "order-desk"
	RoleOperator   Role = "operator"
	RoleSupervisor Role = "supervisor"
	RoleAuditor    Role = "auditor"
	RoleCustodian  Role = "key-custodian"
	RoleAdmin      Role = "admin"
)

// Roles are all of them.
func Roles() []Role {
	return []Role{RoleProduction, RoleSecurity, RoleQuality, RoleOrderDesk, RoleOperator, RoleSupervisor, RoleAuditor, RoleCustodian, RoleAdmin}
}

// ParseRole accepts the closed set.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", fmt.Errorf("unknown officer role %q: it is none of %s", s, roles(Roles()))
}

// Officer is a person in a role with a key. One person holds several active entries only for roles that do not exclude one another.
type Officer struct {
	ID     perso.Name
	Person string
	Role   Role
	Key    ed25519.PublicKey
}

// Genesis begins a register: the statement made in the key ceremony, signed by every officer in it.
type Genesis struct {
	Env      perso.Env
	Site     perso.Name
	At       time.Time
	Nonce    [32]byte
	Officers []Officer
}

// Encode gives the body to sign.
func (g Genesis) Encode() ([]byte, error) {
	w := record.New(KindGenesis).Str("env", string(g.Env)).Str("site", string(g.Site)).Time("at", g.At).Hex("nonce", g.Nonce[:])
	for _, o := range g.Officers {
		writeOfficer(w, o)
	}
	return w.Bytes()
}

// Rehearse gives the register that the genesis will make when everybody in it has signed. It is for looking a plan over:
// nobody signed it yet, so nothing may be authorized with it.
func (g Genesis) Rehearse() (*Register, error) {
	body, err := g.Encode()
	if err != nil {
		return nil, err
	}
	return g.found(Signed{Body: body}.Hash())
}

// found is the register before the signatures of the genesis are looked at.
func (g Genesis) found(hash [32]byte) (*Register, error) {
	reg := &Register{Env: g.Env, Site: g.Site, Pin: hash, Head: hash, officers: map[perso.Name]Officer{}}
	for _, o := range g.Officers {
		if err := reg.admit(o); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// Change adds or revokes one officer; Prev is the hash of the register statement before it.
type Change struct {
	Kind    string // KindAdd or KindRevoke
	Prev    [32]byte
	At      time.Time
	Nonce   [32]byte
	Officer Officer // for a revocation only ID counts, the rest must repeat the register
}

// Encode gives the body to sign.
func (c Change) Encode() ([]byte, error) {
	w := record.New(c.Kind).Hex("prev", c.Prev[:]).Time("at", c.At).Hex("nonce", c.Nonce[:])
	writeOfficer(w, c.Officer)
	return w.Bytes()
}

func writeOfficer(w *record.Writer, o Officer) {
	w.Str("officer", string(o.ID)).Str("person", o.Person).Str("role", string(o.Role)).Hex("key", o.Key)
}

func readOfficer(r *record.Reader) Officer {
	o := Officer{ID: r.Name("officer"), Person: r.Raw("person")}
	var err error
	o.Role, err = ParseRole(r.Raw("role"))
	r.Check(err)
	o.Key = ed25519.PublicKey(r.Hex("key"))
	if len(o.Key) != ed25519.PublicKeySize {
		r.Check(fmt.Errorf("officer key is not %d bytes", ed25519.PublicKeySize))
	}
	return o
}

// Register is the set of officers who may sign now, and the head of the chain that says so.
type Register struct {
	Env      perso.Env
	Site     perso.Name
	Pin      [32]byte // hash of the genesis
	Head     [32]byte
	officers map[perso.Name]Officer
}

// NewRegister builds the register from its chain, the genesis first. pin is the genesis hash known from elsewhere; the
// zero pin accepts any genesis and is for a first look only: the caller must show the hash to a person.
func NewRegister(pin [32]byte, chain []Signed) (*Register, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("building officer register: no genesis statement")
	}
	g, err := parseGenesis(chain[0].Body)
	if err != nil {
		return nil, fmt.Errorf("building officer register: %w", err)
	}
	if h := chain[0].Hash(); pin != [32]byte{} && pin != h {
		return nil, fmt.Errorf("building officer register: %w: genesis is %x, pinned is %x", ErrNotAuthorized, h, pin)
	}
	reg, err := g.found(chain[0].Hash())
	if err != nil {
		return nil, fmt.Errorf("building officer register: %w", err)
	}
	signers, err := reg.Signers(chain[0])
	if err != nil {
		return nil, fmt.Errorf("building officer register: %w", err)
	}
	if len(signers) != len(g.Officers) {
		return nil, fmt.Errorf("building officer register: %w: genesis needs all %d officers, has %d", ErrNotAuthorized, len(g.Officers), len(signers))
	}
	for i, s := range chain[1:] {
		if err := reg.apply(s); err != nil {
			return nil, fmt.Errorf("building officer register: statement %d: %w", i+1, err)
		}
	}
	return reg, nil
}

func parseGenesis(body []byte) (Genesis, error) {
	r, err := record.Parse(body, KindGenesis)
	if err != nil {
		return Genesis{}, fmt.Errorf("parsing register genesis: %w", err)
	}
	var g Genesis
	g.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	g.Site = r.Name("site")
	g.At, g.Nonce = r.Time("at"), r.Hash("nonce")
	for r.More() && len(g.Officers) < MaxOfficers {
		g.Officers = append(g.Officers, readOfficer(r))
	}
	if err := r.Done(); err != nil {
		return Genesis{}, fmt.Errorf("parsing register genesis: %w", err)
	}
	if len(g.Officers) < 2 {
		return Genesis{}, fmt.Errorf("parsing register genesis: %d officers, at least 2 are needed", len(g.Officers))
	}
	return g, nil
}

func (reg *Register) admit(o Officer) error {
	for _, other := range reg.officers {
		switch {
		case other.ID == o.ID:
			return fmt.Errorf("%w: officer %q is already in the register", ErrNotAuthorized, o.ID)
		case strings.EqualFold(other.Person, o.Person) && Exclude(other.Role, o.Role):
			return fmt.Errorf("%w: %q and %q are the same person, and nobody may be both %s and %s", ErrNotAuthorized, other.ID, o.ID, other.Role, o.Role)
		case bytes.Equal(other.Key, o.Key):
			return fmt.Errorf("%w: %q and %q have the same key", ErrNotAuthorized, other.ID, o.ID)
		}
	}
	if len(reg.officers) == MaxOfficers {
		return fmt.Errorf("register holds %d officers already", MaxOfficers)
	}
	reg.officers[o.ID] = o
	return nil
}

// After is the register after one more change. The receiver stays as it is.
func (reg *Register) After(s Signed) (*Register, error) {
	next := *reg
	next.officers = maps.Clone(reg.officers)
	if err := next.apply(s); err != nil {
		return nil, fmt.Errorf("building officer register: %w", err)
	}
	return &next, nil
}

func (reg *Register) apply(s Signed) error {
	if err := reg.Authorize(s); err != nil {
		return err
	}
	c, err := ParseChange(s.Body)
	if err != nil {
		return err
	}
	if err := reg.follows(c); err != nil {
		return err
	}
	err = reg.change(c.Kind, c.Officer)
	if err == nil {
		reg.Head = s.Hash()
	}
	return err
}

// follows demands that a change was made for the register as it is now.
func (reg *Register) follows(c Change) error {
	if c.Prev != reg.Head {
		return fmt.Errorf("%w: it follows %x, the register's head is %x", ErrNotAuthorized, c.Prev, reg.Head)
	}
	return nil
}

// ParseChange reads the body of an addition or a revocation; it checks form, not signatures.
func ParseChange(body []byte) (Change, error) {
	kind, err := record.Kind(body)
	if err != nil {
		return Change{}, err
	}
	if kind != KindAdd && kind != KindRevoke {
		return Change{}, fmt.Errorf("kind %q does not change a register", kind)
	}
	r, err := record.Parse(body, kind)
	if err != nil {
		return Change{}, err
	}
	c := Change{Kind: kind, Prev: r.Hash("prev"), At: r.Time("at"), Nonce: r.Hash("nonce"), Officer: readOfficer(r)}
	return c, r.Done()
}

// MayFollow says whether a change, once it is signed, can be the register's next; it changes nothing.
func (reg *Register) MayFollow(c Change) error {
	if err := reg.follows(c); err != nil {
		return err
	}
	return reg.Rehearse([]Change{c})
}

// change adds or removes an officer.
func (reg *Register) change(kind string, o Officer) error {
	if kind == KindAdd {
		return reg.admit(o)
	}
	known, ok := reg.officers[o.ID]
	if !ok {
		return fmt.Errorf("officer %q is not in the register", o.ID)
	}
	if known.Person != o.Person || known.Role != o.Role || !bytes.Equal(known.Key, o.Key) {
		return fmt.Errorf("revocation of %q does not repeat what the register says", o.ID)
	}
	delete(reg.officers, o.ID)
	if !Dual(reg.Officers()) {
		return fmt.Errorf("without officer %q nobody could sign any more: add another first", o.ID)
	}
	return nil
}

// Rehearse tries changes out, without signatures and without effect.
func (reg *Register) Rehearse(changes []Change) error {
	trial := &Register{officers: maps.Clone(reg.officers)}
	for _, c := range changes {
		if err := trial.change(c.Kind, c.Officer); err != nil {
			return err
		}
	}
	return nil
}

// Officer looks one up.
func (reg *Register) Officer(id perso.Name) (Officer, bool) {
	o, ok := reg.officers[id]
	return o, ok
}

// Signers verifies each signature, and says whose they are; a signature that is wrong or not from an officer refuses the whole statement.
func (reg *Register) Signers(s Signed) ([]Officer, error) {
	var out []Officer
	for _, g := range s.Signatures {
		o, ok := reg.officers[g.Officer]
		if !ok {
			return nil, fmt.Errorf("%w: %q is no officer in the register", ErrNotAuthorized, g.Officer)
		}
		if !ed25519.Verify(o.Key, s.Body, g.Sig[:]) {
			return nil, fmt.Errorf("%w: signature of %q does not verify", ErrNotAuthorized, g.Officer)
		}
		for _, seen := range out {
			if seen.ID == o.ID {
				return nil, fmt.Errorf("%w: %q signed twice", ErrNotAuthorized, o.ID)
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// Dual reports whether two of them differ in person and in role, both in a role that releases, closes and destroys.
func Dual(of []Officer) bool {
	of = slices.DeleteFunc(slices.Clone(of), func(o Officer) bool { return !slices.Contains(officers, o.Role) })
	for i, a := range of {
		for _, b := range of[i+1:] {
			if a.Role != b.Role && !strings.EqualFold(a.Person, b.Person) {
				return true
			}
		}
	}
	return false
}

// Officers lists those who may sign now, by name.
func (reg *Register) Officers() []Officer {
	return slices.SortedFunc(maps.Values(reg.officers), func(a, b Officer) int { return strings.Compare(string(a.ID), string(b.ID)) })
}
