// Package sim is the whole factory in one goroutine, in virtual time, from one seed: the same seed gives the same run.
//
// It exists to break what must always hold (architecture, section 2) in ways that nobody thought of, and to say at which
// event it broke. Every decision of a World (which message is lost, when a machine dies, how a chip misbehaves) comes from
// one PCG; after every event the invariants are checked, and at the end the chips themselves are asked.
//
// Real, as in the product: the ledger core over SQLite in memory, with its log, tree and checkpoints; the vault core; the
// line's station and heads with the line's journal; every message through the codec of perso/bus; the chips' operating
// system (lineside/cardsim) with the product's own script and order.
//
// Doubled: the HSM (the caller passes hsm/hsmfake), the vault's receipt journal and memory (in memory, they survive a
// crash), the line journal's disk (likewise, and it tears), the carrier, the shells of ledger and line (this package
// carries out their effects in virtual time), the handler, operators and officers.
//
// Of the lots some have chips with a second, operational profile (Config.Operational), and some go through a site's policy: a first article, and
// samples that quality examines, signs for and keeps or gives back, and of which it finds some bad.
//
// Faults: messages lost, doubled, late and out of order between line and ledger; requests to the vault lost before and
// after they were carried out; crashes of ledger, vault and line at any event and at each durable write; storage errors
// before and after commit, of known and of unknown outcome; power lost by one chip or by all at any command, before or
// after it was executed; bits flipped, wrong status words, mute, bad, dead, foreign, unknown and twin chips; handler
// faults; operators who pause, resume and set chips aside; an officer of quality whose words are lost, come twice or late.
//
// Checked after every event: claims, acts and outcomes of the log, replayed by other code than the ledger's (I1, I5, I7,
// GOOD terminal), the lot's counters and bins (I6); and at the borders, in the moment: nothing is told to the line that is
// not committed (I4), nothing is served without claim, act and receipt on the disk, no root is signed that is not the
// log's (I5), nothing is written to a chip that no committed claim names, and no key twice (I1). At the end: each chip is
// asked by APDU, each is in one place, samples as they are drawn by other code; the lot closes, or says why not, and what is
// not handed out of it is destroyed; everything that was ever asked is asked again and changes nothing; exports are the same
// twice (I8); the auditor reads the bundle; and what the chips hold is looked for in all that was said and stored (I2). When
// faults stop, the lot is done within half an hour.
//
// The ledger is driven by calls that stop wherever they wait for the vault, so that other requests come in between
// admitting an act and settling it. As many acts wait as the core sends to the vault at once, each in a batch of its own:
// one more would wait inside it for another goroutine, which is not there. Hence not simulated: batches, groups of more
// than one commit, two vaults, two lines, hands in a machine that runs, data races, fsync that lies, PostgreSQL.
// Signatures by the throw-away CI of the ceremony differ from run to run, and so do the hashes of entry 0; the trace hash
// covers what happened, to whom and when, and no such byte.
//
// Callers: its own tests. Habits: TigerBeetle's VOPR (seed, virtual time, checkers after each event).
package sim
