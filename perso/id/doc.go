// Package id holds the identifiers that a SIM maker must never confuse or
// issue twice: EID, ICCID, IMSI and the chip's own id, and ranges of them.
//
// They are parsed, comparable values: a value that is not zero has passed
// every check of its standard, may be a map key, and is equal to another
// exactly when it is the same identifier. There is one door per spelling
// (Parse… for text, …FromEF, …FromBytes, …FromCPLC for card forms). The zero
// value means "none": IsZero reports it, its String is empty, and it refuses
// to be marshalled (use the omitzero option for optional fields).
//
// The marshalled forms are canonical: Unmarshal… accepts only what Marshal…
// writes. The binary form is the text form; it exists because CBOR and gob
// look for it and would otherwise write a struct without visible content.
//
// Errors quote only what has the form of the identifier asked for: a key in the
// wrong column of an order file must not end up in a log. An IMSI is personal
// data; errors never quote one, and its LogValue masks the subscriber part.
//
// Any package may import this one; it imports the standard library only.
//
// Sources: ITU-T E.118 and ETSI TS 102 221 clause 13.2 (ICCID), GSMA SGP.02
// and SGP.29 (EID), 3GPP TS 23.003 and TS 31.102 clause 4.2.2 (IMSI),
// GlobalPlatform Card Specification (CPLC).
package id
