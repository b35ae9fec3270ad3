// Package eis writes the EUICC Information Set of SGP.02 (ES1.RegisterEIS) byte by byte: what an EUM signs and what it
// delivers are made by the same code, so that what is signed equals what is written.
//
// EumSignedInfo and ds:SignedInfo are written in the form that Exclusive XML Canonicalization would give them, standing
// alone: no white space, no empty-element tags, each declaring its own prefix. In the document they stand as the same
// bytes; the declaration repeated there does not change what a verifier canonicalizes.
//
// The vault calls SignedInfo and ParseEumSignedInfo, the export calls Document. Pure functions, no I/O. Element names and
// order follow the public knowledge of the schema of namespace esim-messaging/3; two points are open there and are
// options: the spelling of Eum-id, and whether EumCertificateId is written.
//
// Specifications: SGP.02 (ES1, EIS), W3C Exclusive XML Canonicalization 1.0, XML Signature Syntax and Processing 1.1 §4
// (SignedInfo), RFC 4050 and its successor RFC 6931 §2.3.6 (ecdsa-sha256, r‖s).
package eis

// Namespaces and algorithm names.
const (
	Namespace   = "http://namespaces.gsma.org/esim-messaging/3"
	NamespaceDS = "http://www.w3.org/2000/09/xmldsig#"

	algC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"
	algECDSA  = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
	algDigest = "http://www.w3.org/2001/04/xmlenc#sha256"
)

// Limits of what is read and written.
const (
	// MaxSignedInfoBytes bounds an EumSignedInfo; a real one has 2 KiB.
	MaxSignedInfoBytes = 32 << 10
	// MaxKeysets bounds the key sets of a security domain: SGP.02 allows 127.
	MaxKeysets = 127
	// MaxTextChars bounds a text element (PlatformType: 100).
	MaxTextChars = 100
)
