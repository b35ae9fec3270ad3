// Package saip reads, checks, makes and personalizes interoperable profile packages: the files in which an operator says
// what a profile on an eUICC consists of, and which every eUICC understands. It exists because a maker gets such a package
// once for a lot and has to hand out one per card, thousands in a second, without a mistake that only the chip would find.
//
// The way of a package:
//
//	Decode   bytes of a customer, or what Build made of a description  ->  *Package, by a schema; anything else is refused
//	Check    what the schema can't say: order, services, PINs, files, keys; all faults at once, each with its place
//	Prepare  the constants of a lot: algorithm, texts, networks. Lengths may change here, and only here
//	Compile  -> *Template: the bytes without any secret, and where each value of a card goes
//	Render   copy and patch, per card
//	Expand   -> *Chip: what a chip has after loading it, for a virtual chip and for people
//
// Errors and faults say the place: byte offset, number and name of the profile element, path of the field. Nothing here
// panics on data. A Template holds no secret: Compile zeroes the places of secrets, and Render's caller brings them.
//
// The package does no I/O and may be imported by any zone; it imports perso/id and perso/tlv. PROFILES.md tells the rest.
//
// Sources: TCA eUICC Profile Package, Interoperable Format Technical Specification 2.x and 3.x (cited as SAIP); ETSI TS 102
// 221 and TS 102 222; 3GPP TS 31.102 and 31.103; GlobalPlatform Card Specification.
package saip
