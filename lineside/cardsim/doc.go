// Package cardsim is one virtual chip: a pure state machine that takes APDUs and gives answers, with a memory that
// survives the loss of power.
//
// It exists to measure the factory. Its operating system, described in OS.md, checks what a strict real chip checks
// (cryptograms, MAC chains, check values, lengths, life cycle, counters), keeps the price of each command in bytes and
// memory writes, and misbehaves on demand: it loses power at any APDU, before or after the command took effect, says
// nothing, says the wrong thing, or claims to be another chip.
//
// Contract. A Chip belongs to one goroutine. There is no clock, no file and no goroutine in here, and randomness is
// passed in: the same inputs give the same chip. Every command that changes the chip is one record in its NVM, so it is
// done or not done, never half; a refused command writes nothing, except that a wrong PIN costs a try. No input panics.
//
// Like a chip, it holds keys in its memory and in its NVM; the owner keeps both away from other zones.
//
// Callers: lineside/chipfarm, perso/sim, tests. Packages t0 and t1 beside it speak T=0 and T=1 for it, package atr
// reads its answer to reset and answers PPS.
//
// Specifications: GlobalPlatform Card Specification 2.3.1 and Amendment D, ETSI TS 102 221, 3GPP TS 31.102, GSMA SGP.02,
// ISO/IEC 7816-3 and 7816-4.
package cardsim
