// Package certify makes the X.509 certificates of an eUICC maker: the request to the CI, and the certificate of each eUICC.
//
// It exists because crypto/x509 can neither write brainpool keys nor the order, string types and criticality that the GSMA
// prescribes. CERTIFICATES.md beside this file says field by field what is written.
//
// Contract. What is signed is made by pure functions (RequestBody, EUICCBody); a key in the HSM signs through Signer, and
// what comes back is verified before it is given on. Nothing here is secret. Who calls it has proof that the holder of the
// public key has the private one: a certificate is signed for whatever key it is given. Time is an argument, and there is
// no randomness: ECDSA's is the token's. Reading and judging certificates is the work of perso/cert.
//
// Callers: the vault and its ceremonies (keygen, keygen/ceremony), perso/cmd and tests.
//
// Specifications: SGP.22 v2 and v3 §4.5.2 (variant O), SGP.14 (what an EUM asks of a CI), PKCS#10 (RFC 2986), RFC 5280,
// RFC 2985 (extension request).
package certify
