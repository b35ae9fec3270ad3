// Package keygen is the vault: the one place where a card's secrets exist outside the HSM and the chip, for as long as
// one act is served.
//
// It obeys officers' signatures, not a database: a lot is opened by a release that the pinned officer register
// authorizes, and an act is served only against a claim and an act entry proven to be in a checkpoint that this vault
// signed itself, or followed (I5, I7). It ends the chip's secure channel: what leaves is wrapped for one session of one chip, and a
// unit is good only when the answers prove it. Everything a card needs is derived again for each act (KEYTREE.md), so the
// vault keeps no card state; what it keeps durably is its receipts, the last checkpoint it signed or followed, which release
// each lot key was made for, to which vault each lot was given, and which lot keys were destroyed. Package life keeps it from
// serving with any of that lost or put back, and two processes from serving as one vault.
//
// A site may have several vaults. One of them, the log vault, signs checkpoints and gives each lot to one vault, for good
// (assign.go); the others open a lot with its signed word only, and serve against checkpoints that provably lie on one line
// with all that they were ever shown (follow.go).
//
// Contract. The methods of Vault are the bus messages of perso/bus; each may be called again with the same message and
// gives the same answer. A refusal is a *bus.Fault or ServeResult.Refused; a chip that answers wrongly is
// ServeResult.Failed; any other error means that nothing was decided and nothing left. No error or log line holds a
// secret. The package starts no goroutine and reads no clock or environment: time comes in the requests and is compared
// with Config.Now. Callers: perso/cmd through Register, perso/sim and tests through the methods.
//
// Specifications: GlobalPlatform Card Specification 2.3.1 Amendment D (SCP03), NIST SP 800-108 (KDF), RFC 5869 (HKDF),
// SGP.02 (certificate of the eUICC, EIS), 3GPP TS 33.102, TS 35.206 and TS 35.231 (AKA), C2SP tlog-checkpoint.
package keygen
