package statement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/record"
)

// officers are the roles that release, close and destroy. Nobody holds two of them.
var officers = []Role{RoleProduction, RoleSecurity, RoleQuality}

// together lists the pairs of roles that one person may hold; every other pair excludes one another (SAS: order, keys, operation,
// audit and administration are apart). A person with two roles has a key and an entry for each.
var together = [][2]Role{{RoleOperator, RoleSupervisor}, {RoleProduction, RoleSupervisor}}

// Exclude reports whether one person may not hold both roles.
func Exclude(a, b Role) bool {
	return !slices.Contains(together, [2]Role{a, b}) && !slices.Contains(together, [2]Role{b, a})
}

// duty says who must sign a kind of statement: so many persons of these roles, of whom two must differ in role where apart is set.
type duty struct {
	persons int
	roles   []Role
	apart   bool
}

// duties is the whole of it: what is not in it nobody may sign. Vaults sign words of their own with their own key.
var duties = map[string]duty{
	KindAdd:     {2, officers, true},
	KindRevoke:  {2, officers, true},
	KindRelease: {2, officers, true},
	KindClose:   {2, officers, true},
	KindDestroy: {2, officers, true},
	KindLost:    {2, officers, true},
	KindForget:  {2, officers, true},
	KindShort:   {2, officers, true},

	KindRestored: {2, officers, true},

	"ceremony-order": {2, officers, true}, // perso/statement/transcript
	"ceremony-step":  {2, officers, true},
	"ceremony-end":   {2, officers, true},

	KindPolicy:       {2, officers, true},
	KindRejects:      {2, officers, true},
	KindExplained:    {2, append([]Role{RoleSupervisor}, officers...), false},
	KindFirstArticle: {1, []Role{RoleQuality}, false},
	KindSamples:      {1, []Role{RoleQuality}, false},
	KindClearance:    {1, append([]Role{RoleOperator, RoleSupervisor}, officers...), false},

	KindTaken:     {1, []Role{RoleOrderDesk}, false},
	KindCancelled: {1, []Role{RoleOrderDesk}, false},

	KindReview:   {1, append([]Role{RoleSupervisor, RoleAuditor}, officers...), false},
	KindFreeze:   {1, append([]Role{RoleSupervisor}, officers...), false},
	KindUnfreeze: {2, officers, true},
}

// Authorize demands the valid signatures that the duty of the statement's kind asks for. Others may sign beside them, if they are
// in the register; one signature that is wrong, or of nobody in it, refuses the statement.
func (reg *Register) Authorize(s Signed) error {
	signers, err := reg.Signers(s)
	if err != nil {
		return err
	}
	kind, err := record.Kind(s.Body)
	if err != nil {
		return err
	}
	d, known := duties[kind]
	if !known {
		return fmt.Errorf("%w: a %q is nothing that officers sign", ErrNotAuthorized, kind)
	}
	entitled := slices.DeleteFunc(signers, func(o Officer) bool { return !slices.Contains(d.roles, o.Role) })
	switch {
	case d.apart && !Dual(entitled):
		return fmt.Errorf("%w: two officers of different person and role are needed (%s), %d signed", ErrNotAuthorized, roles(d.roles), len(entitled))
	case persons(entitled) < d.persons:
		return fmt.Errorf("%w: %d of %s must sign the %s, %d did", ErrNotAuthorized, d.persons, roles(d.roles), kind, persons(entitled))
	}
	return nil
}

// Wants are the kinds of statements that a policy asks people for: a lot stands until they are signed.
func (p Policy) Wants() (kinds []string) {
	for _, want := range []struct {
		asked bool
		kind  string
	}{{p.FirstArticle > 0, KindFirstArticle}, {p.Sampling != "", KindSamples}, {p.Clearance, KindClearance}} {
		if want.asked {
			kinds = append(kinds, want.kind)
		}
	}
	return kinds
}

// Fulfils says whether people in the register could sign all that a policy asks for; the error says who is missing.
func (reg *Register) Fulfils(p Policy) error {
	var lacks []string
	for _, kind := range p.Wants() {
		if lack := reg.lack(kind); lack != "" {
			lacks = append(lacks, lack)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return errors.New(strings.Join(lacks, "; "))
}

// lack says who is missing so that people in the register could sign a kind of statement together; empty if nobody is.
func (reg *Register) lack(kind string) string {
	d := duties[kind]
	entitled := slices.DeleteFunc(reg.Officers(), func(o Officer) bool { return !slices.Contains(d.roles, o.Role) })
	if d.apart && Dual(entitled) || !d.apart && d.persons > 0 && persons(entitled) >= d.persons {
		return ""
	}
	return fmt.Sprintf("%d of %s must sign a %s, and the register has %d", d.persons, roles(d.roles), kind, persons(entitled))
}

// persons counts people, not keys.
func persons(of []Officer) int {
	var names []string
	for _, o := range of {
		if name := strings.ToLower(o.Person); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return len(names)
}

func roles(all []Role) string {
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}
