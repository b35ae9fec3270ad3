// Package cert reads the certificates of the GSMA's public key infrastructure and judges their chains, CI to EUM to eUICC.
//
// It exists because general verifiers cannot: crypto/x509 knows no brainpool curve and leaves the name constraints of an EUM
// unhandled, openssl refuses them, and neither knows what an EID is. Nobody in the field checks all of it, so a mistake of
// this factory would be found on a phone.
//
// Contract. Parse and ParseECASD take untrusted bytes, never panic, and read DER in its one spelling only. A certificate that
// is well-formed but wrong is read, so that it can be shown; Check then says everything that is wrong with a chain, as a
// *Refusal of Faults that each have a Reason. Time is an argument. There is no secret and no signing in this package: it may
// be called by any zone. Certificates are made in keygen/certify.
//
// Name constraints have the GSMA's meaning, which is not that of RFC 5280: each permitted directory name is a pair of an
// organization, which the eUICC's must equal, and a serial number, with which the eUICC's EID must begin. Certificates of
// the variants of SGP.22 version 3 have an extension of permitted EINs in their place.
//
// Verification on brainpoolP256r1 uses general arithmetic (crypto/elliptic below a library), which does not run in constant
// time. It sees public values only.
//
// Specifications: SGP.22 v2 and v3 §4.5 (certificates, role object identifiers), SGP.26 (the test certificates that show
// them), SGP.02 and SGP.14 (M2M), RFC 5280, RFC 5639 (brainpool), GlobalPlatform Card Specification Amendments E and F
// (certificates of tag 7F21).
package cert
