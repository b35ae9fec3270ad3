package transcript

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// Limits of one ceremony. A day in a ceremony room is over long before these.
const (
	MaxActs       = 64
	MaxCopies     = 16
	MaxCustodians = 16
	MaxPresent    = statement.MaxSignatures
	// MaxTextChars bounds a place or a reason: one line of a printed page.
	MaxTextChars = 120
)

// MinComponents and MaxComponents bound the custodians who together make one key: one alone would know it, and more than
// eight never meet.
const (
	MinComponents = 2
	MaxComponents = 8
)

// Op is what one act of a ceremony does.
type Op string

// The operations.
const (
	OpGenerate Op = "generate"       // make a key inside the token
	OpImport   Op = "import"         // join components to a key on the token
	OpSealOP   Op = "seal-op"        // join components to an operator key, kept sealed under the site's seal key
	OpRequest  Op = "request"        // sign a request for a certificate of a key pair
	OpSuspend  Op = "suspend"        // no use until resumed
	OpResume   Op = "resume"         // use again
	OpRetire   Op = "retire"         // no use any more, never again
	OpDestroy  Op = "destroy"        // take a retired key off the token
	OpSignOff  Op = "sign-off"       // a copy of a destroyed key is gone, seen by two persons
	OpAdd      Op = "add-officer"    // an officer joins the register
	OpRevoke   Op = "revoke-officer" // an officer leaves it
)

// ParseOp accepts the closed set.
func ParseOp(s string) (Op, error) {
	switch o := Op(s); o {
	case OpGenerate, OpImport, OpSealOP, OpRequest, OpSuspend, OpResume, OpRetire, OpDestroy, OpSignOff, OpAdd, OpRevoke:
		return o, nil
	}
	return "", fmt.Errorf("unknown operation %q", s)
}

// Creates reports whether the act brings a key into being.
func (o Op) Creates() bool { return o == OpGenerate || o == OpImport || o == OpSealOP }

// ByComponents reports whether custodians enter components.
func (o Op) ByComponents() bool { return o == OpImport || o == OpSealOP }

// OnOfficers reports whether the act changes the officer register and no key.
func (o Op) OnOfficers() bool { return o == OpAdd || o == OpRevoke }

// Backup says where copies of a key may be.
type Backup string

// The backup policies. No key can be read out of a token (hsm/KEYS.md), so a copy on media exists only as the components
// that the key was made of.
const (
	BackupCluster Backup = "cluster-only" // in the tokens of one cluster, copied by their maker's own means
	BackupMedia   Backup = "media"        // also as component sets, held apart by custodians
)

// ParseBackup accepts the closed set.
func ParseBackup(s string) (Backup, error) {
	switch b := Backup(s); b {
	case BackupCluster, BackupMedia:
		return b, nil
	}
	return "", fmt.Errorf("unknown backup policy %q", s)
}

// ClassOP is the class of operator keys in labels. They are no token objects: they rest sealed in a file.
const ClassOP = "op"

var labelForm = regexp.MustCompile(`^persoline/(test|production)/([a-z][a-z0-9-]{0,15})/([A-Za-z0-9][A-Za-z0-9_-]{0,39})$`)

// Label is persoline/<env>/<class>/<id>, as on the token.
type Label string

// ParseLabel accepts a label of ours; whether the class exists, the vault knows.
func ParseLabel(s string) (Label, error) {
	if !labelForm.MatchString(s) {
		return "", fmt.Errorf("key label %q is not persoline/<environment>/<class>/<id>", s)
	}
	return Label(s), nil
}

func (l Label) part(n int) string {
	if m := labelForm.FindStringSubmatch(string(l)); m != nil {
		return m[n]
	}
	return ""
}

// Env is the label's environment.
func (l Label) Env() perso.Env { return perso.Env(l.part(1)) }

// Class is the label's third part.
func (l Label) Class() string { return l.part(2) }

// ID is the label's last part.
func (l Label) ID() perso.Name { return perso.Name(l.part(3)) }

// Copy is one place where a key, or a component of it, is kept beside the token of the ceremony.
type Copy struct {
	Holder perso.Name // a custodian for a component, a token's name for a member of a cluster
	Place  string
	KCV    string // of a component, 6 hex digits; else empty
}

// Act is one planned operation. Which fields are set depends on Op; Check refuses any other.
type Act struct {
	Op     Op
	Key    Label // empty when OnOfficers
	Backup Backup
	Bytes  uint64    // of an imported key
	KCV    string    // of an imported key, when its sender stated one
	Owner  string    // whose key it is, of a new key: the site, a chip maker, an operator
	Until  time.Time // end of its cryptoperiod, of a new key
	Reason string    // of suspend, resume, retire, destroy, revoke
	// Copies are those that exist once the act is done; of a sign-off, the one that is gone.
	Copies []Copy
	By     []perso.Name        // sign-off: the two persons who saw it
	Person []statement.Officer // add and revoke: exactly one
	Asked  []Request           // request: exactly one
}

// Request is what is asked of a certificate issuer, as keygen/certify writes it.
type Request struct {
	Scheme       string // sgp02 or sgp22
	Country      string // may be empty
	Organization string
	CommonName   string
	OID          string // dotted, the maker's own
	Issuers      string // issuer numbers with commas between; empty under SGP.02
}

var kcvForm = regexp.MustCompile(`^[0-9a-f]{6}$`)

// Check refuses an act that makes no sense by itself.
func (a Act) Check() error {
	if err := a.checkText(); err != nil {
		return err
	}
	switch {
	case a.Op.OnOfficers() != (a.Key == "") || a.Op.OnOfficers() != (len(a.Person) == 1):
		return fmt.Errorf("%s names the wrong kind of thing", a.Op)
	case (a.Op == OpRequest) != (len(a.Asked) == 1):
		return fmt.Errorf("%s of %q: what is asked of an issuer belongs to a request, and to each", a.Op, a.Key)
	case a.Op.ByComponents() != (a.Bytes > 0):
		return fmt.Errorf("%s of %d bytes", a.Op, a.Bytes)
	case (a.Op == OpSealOP) != (!a.Op.OnOfficers() && a.Key.Class() == ClassOP && a.Op.Creates()):
		return fmt.Errorf("%s of %q: operator keys, and nothing else, are sealed", a.Op, a.Key)
	case a.Op.Creates() != (a.Owner != "") || a.Op.Creates() == a.Until.IsZero():
		return fmt.Errorf("%s: an owner and the end of the cryptoperiod belong to new keys, and to each of them", a.Op)
	case a.KCV != "" && !a.Op.ByComponents():
		return fmt.Errorf("%s with a key check value", a.Op)
	case (a.Op == OpSuspend || a.Op == OpResume || a.Op == OpRetire || a.Op == OpDestroy || a.Op == OpRevoke) != (a.Reason != ""):
		return fmt.Errorf("%s: a reason belongs to suspend, resume, retire, destroy and revoke-officer, and to each of them", a.Op)
	}
	return a.checkCopies()
}

func (a Act) checkText() error {
	for _, kcv := range append([]string{a.KCV}, kcvs(a.Copies)...) {
		if kcv != "" && !kcvForm.MatchString(kcv) {
			return fmt.Errorf("key check value %q is not 6 digits of lower-case hex", kcv)
		}
	}
	for _, text := range append([]string{a.Reason, a.Owner}, places(a.Copies)...) {
		if n := len([]rune(text)); n > MaxTextChars || strings.TrimSpace(text) != text || text == record.None {
			return fmt.Errorf("text %q has %d characters, at most %d, without blanks around it", text, n, MaxTextChars)
		}
	}
	return nil
}

// checkCopies: who holds what must fit the operation and the backup policy.
func (a Act) checkCopies() error {
	for i, c := range a.Copies {
		if c.Place == "" {
			return fmt.Errorf("copy at %q has no place", c.Holder)
		}
		if slices.ContainsFunc(a.Copies[:i], func(o Copy) bool { return o.Holder == c.Holder && (a.Op.ByComponents() || o.Place == c.Place) }) {
			return fmt.Errorf("%q holds two copies of one key", c.Holder)
		}
		if a.Op.ByComponents() == (c.KCV == "") {
			return fmt.Errorf("copy at %q: a component, and nothing else, has a key check value of its own", c.Holder)
		}
	}
	n, byTwo := len(a.Copies), len(a.By) == 2 && a.By[0] != a.By[1]
	switch {
	case n > MaxCopies:
		return fmt.Errorf("%d copies, at most %d", n, MaxCopies)
	case a.Op.ByComponents() && (n < MinComponents || n > MaxComponents):
		return fmt.Errorf("%d components, expected %d to %d", n, MinComponents, MaxComponents)
	case a.Op.ByComponents() != (a.Backup == BackupMedia) || (a.Op == OpGenerate) != (a.Backup == BackupCluster):
		return fmt.Errorf("backup policy of %s is %q: what is made inside stays in its cluster, what is made of components is on media", a.Op, a.Backup)
	case (a.Op == OpSignOff) != byTwo || a.Op != OpSignOff && len(a.By) > 0:
		return fmt.Errorf("%s by %d persons: a sign-off, and nothing else, names two different ones", a.Op, len(a.By))
	case a.Op == OpSignOff && n != 1, !a.Op.Creates() && a.Op != OpSignOff && n > 0:
		return fmt.Errorf("%s names %d copies", a.Op, n)
	}
	return nil
}

func kcvs(copies []Copy) (out []string) {
	for _, c := range copies {
		out = append(out, c.KCV)
	}
	return out
}

func places(copies []Copy) (out []string) {
	for _, c := range copies {
		out = append(out, c.Place)
	}
	return out
}

// Subject is what the act is about: a key's label or an officer's name.
func (a Act) Subject() string {
	if a.Op.OnOfficers() && len(a.Person) == 1 {
		return string(a.Person[0].ID)
	}
	return string(a.Key)
}

func (a Act) write(w *record.Writer) {
	w.Str("act", string(a.Op)).Str("key", string(a.Key)).Str("backup", string(a.Backup)).Uint("bytes", a.Bytes).Str("kcv", a.KCV).Str("owner", a.Owner).Str("reason", a.Reason)
	if a.Until.IsZero() {
		w.Str("until", "")
	} else {
		w.Str("until", a.Until.UTC().Format(time.DateOnly))
	}
	w.Uint("copies", uint64(len(a.Copies)))
	for _, c := range a.Copies {
		w.Str("holder", string(c.Holder)).Str("place", c.Place).Str("component", c.KCV)
	}
	w.Uint("by", uint64(len(a.By)))
	for _, p := range a.By {
		w.Str("person", string(p))
	}
	w.Uint("officers", uint64(len(a.Person)))
	for _, o := range a.Person {
		w.Str("officer", string(o.ID)).Str("name", o.Person).Str("role", string(o.Role)).Hex("public", o.Key)
	}
	w.Uint("requests", uint64(len(a.Asked)))
	for _, q := range a.Asked {
		w.Str("scheme", q.Scheme).Str("country", q.Country).Str("organization", q.Organization).Str("common_name", q.CommonName).Str("oid", q.OID).Str("issuers", q.Issuers)
	}
}

func readAct(r *record.Reader) (a Act) {
	var err error
	a.Op, err = ParseOp(r.Raw("act"))
	r.Check(err)
	if v := r.Str("key"); v != "" {
		a.Key, err = ParseLabel(v)
		r.Check(err)
	}
	if v := r.Str("backup"); v != "" {
		a.Backup, err = ParseBackup(v)
		r.Check(err)
	}
	a.Bytes, a.KCV, a.Owner, a.Reason = r.Uint("bytes", 16), r.Str("kcv"), r.Str("owner"), r.Str("reason")
	if v := r.Str("until"); v != "" {
		a.Until, err = time.Parse(time.DateOnly, v)
		r.Check(err)
	}
	for range count(r, "copies", MaxCopies) {
		a.Copies = append(a.Copies, Copy{Holder: r.Name("holder"), Place: r.Raw("place"), KCV: r.Str("component")})
	}
	for range count(r, "by", 2) {
		a.By = append(a.By, r.Name("person"))
	}
	for range count(r, "officers", 1) {
		o := statement.Officer{ID: r.Name("officer"), Person: r.Raw("name")}
		o.Role, err = statement.ParseRole(r.Raw("role"))
		r.Check(err)
		o.Key = r.Hex("public")
		a.Person = append(a.Person, o)
	}
	for range count(r, "requests", 1) {
		a.Asked = append(a.Asked, Request{Scheme: r.Raw("scheme"), Country: r.Str("country"), Organization: r.Raw("organization"),
			CommonName: r.Raw("common_name"), OID: r.Raw("oid"), Issuers: r.Str("issuers")})
	}
	r.Check(a.Check())
	return a
}

// count takes the number of repetitions that follow, within a limit.
func count(r *record.Reader, key string, most uint64) uint64 {
	n := r.Uint(key, 16)
	if n > most {
		r.Check(fmt.Errorf("%s is %d, at most %d", key, n, most))
		return 0
	}
	return n
}
