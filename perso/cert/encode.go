package cert

import (
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The constructors below write extensions as the GSMA's certificates have them, with their criticality. What they are given
// comes from code and configuration: something that cannot be written is a mistake of the program, and panics.

// AuthorityKeyIDOf is the key identifier alone, without issuer and serial number.
func AuthorityKeyIDOf(id [KeyIDBytes]byte) Extension {
	return extensionOf(OIDAuthorityKeyID, false, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(context(0), func(b *cryptobyte.Builder) { b.AddBytes(id[:]) })
		})
	})
}

// SubjectKeyIDOf is the key's own identifier.
func SubjectKeyIDOf(id [KeyIDBytes]byte) Extension {
	return extensionOf(OIDSubjectKeyID, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(id[:]) })
}

// KeyUsageOf is critical.
func KeyUsageOf(u KeyUsage) Extension {
	return extensionOf(OIDKeyUsage, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.BIT_STRING, func(b *cryptobyte.Builder) {
			size := (bits.Len16(uint16(u)) + 7) / 8
			b.AddUint8(uint8(8*size - bits.Len16(uint16(u))))
			for i := range size {
				b.AddUint8(bits.Reverse8(uint8(u >> (8 * i))))
			}
		})
	})
}

// PoliciesOf names one role; it is critical.
func PoliciesOf(policy OID) Extension {
	return extensionOf(OIDPolicies, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(policy) })
		})
	})
}

// RegisteredIDOf is a subject alternative name of one object identifier: the holder's own.
func RegisteredIDOf(own OID) Extension {
	return extensionOf(OIDSubjectAltName, false, func(b *cryptobyte.Builder) {
		var id cryptobyte.Builder
		id.AddASN1ObjectIdentifier(own)
		element := cryptobyte.String(id.BytesOrPanic())
		var content cryptobyte.String
		element.ReadASN1(&content, casn1.OBJECT_IDENTIFIER)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(context(nameRegistered), func(b *cryptobyte.Builder) { b.AddBytes(content) })
		})
	})
}

// BasicConstraintsOf is that of a CA, critical. Below 0 is no limit of the path.
func BasicConstraintsOf(pathLen int) Extension {
	return extensionOf(OIDBasicConstraints, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Boolean(true)
			if pathLen >= 0 {
				b.AddASN1Int64(int64(pathLen))
			}
		})
	})
}

// NameConstraintsOf permits pairs of an organization and an issuer number; it is critical.
func NameConstraintsOf(permitted []Subtree) Extension {
	return extensionOf(OIDNameConstraints, true, func(b *cryptobyte.Builder) { addNameConstraints(b, permitted) })
}

func extensionOf(oid OID, critical bool, value func(b *cryptobyte.Builder)) Extension {
	var b cryptobyte.Builder
	value(&b)
	return Extension{OID: oid, Critical: critical, Value: b.BytesOrPanic()}
}

// AddExtensions writes a list of extensions in its order.
func AddExtensions(b *cryptobyte.Builder, all []Extension) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range all {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(e.OID)
				if e.Critical {
					b.AddASN1Boolean(true)
				}
				b.AddASN1OctetString(e.Value)
			})
		}
	})
}
