package cert

import (
	"encoding/asn1"
	"slices"
)

// OID is an object identifier.
type OID = asn1.ObjectIdentifier

// Role is what a certificate is for. Its holder is named by the certificate policy.
type Role uint8

// The roles of SGP.22. RoleNone is a certificate that names no role that is known here.
const (
	RoleNone Role = iota
	RoleCI
	RoleCISubCA
	RoleEUMSubCA
	RoleEUM
	RoleEUICC
	RoleDPSubCA
	RoleDPTLS
	RoleDPAuth
	RoleDPPB
	RoleDSSubCA
	RoleDSTLS
	RoleDSAuth
)

// Variant is the family of chains that a role's object identifier belongs to.
type Variant uint8

// The variants. VariantO is SGP.22 version 2 and variant O of version 3; VariantNested are the others of version 3 (Ov3, A, B,
// C), whose role identifiers lie below that of the CI.
const (
	VariantNone Variant = iota
	VariantO
	VariantNested
)

type roleInfo struct {
	role    Role
	variant Variant
	oid     OID
}

// name says what each role is called in texts and in JSON.
var roleNames = map[Role]string{
	RoleNone: "unknown", RoleCI: "ci", RoleCISubCA: "ci-sub-ca", RoleEUMSubCA: "eum-sub-ca", RoleEUM: "eum", RoleEUICC: "euicc",
	RoleDPSubCA: "dp-sub-ca", RoleDPTLS: "dp-tls", RoleDPAuth: "dp-auth", RoleDPPB: "dp-pb", RoleDSSubCA: "ds-sub-ca",
	RoleDSTLS: "ds-tls", RoleDSAuth: "ds-auth",
}

func (r Role) String() string {
	if s, ok := roleNames[r]; ok {
		return s
	}
	return roleNames[RoleNone]
}

// roles are the certificate policies of SGP.22 §4.5.2. The CI has one in both families. Public sources disagree about the
// EUM's in the nested family, so Rules may name another.
var roles = []roleInfo{
	{RoleCI, VariantO, rspRole(0)}, {RoleEUICC, VariantO, rspRole(1)}, {RoleEUM, VariantO, rspRole(2)},
	{RoleDPTLS, VariantO, rspRole(3)}, {RoleDPAuth, VariantO, rspRole(4)}, {RoleDPPB, VariantO, rspRole(5)},
	{RoleDSTLS, VariantO, rspRole(6)}, {RoleDSAuth, VariantO, rspRole(7)},
	{RoleCISubCA, VariantNested, rspRole(0, 0)}, {RoleEUMSubCA, VariantNested, rspRole(0, 0, 0)},
	{RoleEUM, VariantNested, rspRole(0, 0, 0, 0)}, {RoleEUICC, VariantNested, rspRole(0, 0, 0, 0, 0)},
	{RoleDPSubCA, VariantNested, rspRole(0, 0, 1)}, {RoleDPTLS, VariantNested, rspRole(0, 0, 1, 0)},
	{RoleDPAuth, VariantNested, rspRole(0, 0, 1, 1)}, {RoleDPPB, VariantNested, rspRole(0, 0, 1, 2)},
	{RoleDSSubCA, VariantNested, rspRole(0, 0, 2)}, {RoleDSTLS, VariantNested, rspRole(0, 0, 2, 0)},
	{RoleDSAuth, VariantNested, rspRole(0, 0, 2, 1)},
}

// rspRole is an identifier below id-rspRole (2.23.146.1.2.1).
func rspRole(arcs ...int) OID { return append(OID{2, 23, 146, 1, 2, 1}, arcs...) }

// PolicyOf is the certificate policy of a role; nil when the variant has no such role.
func PolicyOf(r Role, v Variant) OID {
	for _, i := range roles {
		if i.role == r && (i.variant == v || r == RoleCI) {
			return slices.Clone(i.oid)
		}
	}
	return nil
}

// roleOf is the role that policies name; RoleNone when they name none or several.
func roleOf(policies []OID) (role Role, variant Variant) {
	for _, i := range roles {
		if !slices.ContainsFunc(policies, i.oid.Equal) {
			continue
		}
		if role != RoleNone {
			return RoleNone, VariantNone
		}
		role, variant = i.role, i.variant
	}
	return role, variant
}
