// Package lineside is the line: heads that contact chips, play what the vault wrote for them, and bin them on a proven
// verdict.
//
// It exists so that a factory floor needs no key and no trust. The line cannot read what it plays (but for chips without a secure
// channel, sealed.go), and it cannot declare
// a unit good: only an outcome in the log, with its proof in a checkpoint signed by the log key that this line has
// pinned, moves a chip to the good bin. When an answer is missing a head holds its chip; it never guesses.
//
// Head is one place where chips are contacted, as a pure state machine: Step(now, event) gives effects. Station is all
// heads of a line with their work order and stock of host challenges, in the same form. Neither does I/O, starts a
// goroutine or reads a clock, so perso/sim drives them in virtual time. Worker is the shell: it carries out effects on a
// machine and the bus, one goroutine per head, and keeps the journal (package journal) that a restart begins from.
// STATES.md says what each state means and what the operator does in it.
//
// The machine is known through three small interfaces: the chip farm is all of it in one, and package rig makes one of a
// handler and of places that contact chips, PC/SC readers (package pcsc) or modems (package atcsim). The ledger is known through
// messages of perso/bus. The package imports neither the vault nor the ledger.
//
// Specifications: GlobalPlatform Card Specification Amendment D §7.1 (INITIALIZE UPDATE), SEMI E10 (equipment states),
// C2SP tlog-checkpoint and signed-note.
package lineside

import "time"

// Limits of trying and waiting.
const (
	// MaxEqualFailures stops a head that rejected as many chips in a row for one reason: it is the head, or the reel.
	MaxEqualFailures = 5
	// MaxContacts bounds contacts of one chip in one place. The ledger ends it earlier (3 plain, 8 sessions); this bound
	// holds when the ledger's word never comes.
	MaxContacts = 12
	// MaxHeads bounds the heads of one line.
	MaxHeads = 256
	// ChallengeBatch is how many host challenges are asked at once: one request per 64 chips.
	ChallengeBatch = 64
	// challengeLow is the stock below which the next batch is asked for: half a batch of warning.
	challengeLow = ChallengeBatch / 2

	// reelWait is the time between looks at an empty reel: people are putting in a new one.
	reelWait = time.Second
	// minHold and maxHold bound how long the ledger may let a head wait before it asks again.
	minHold = 20 * time.Millisecond
	maxHold = 30 * time.Second
	// firstRetry doubles up to lastRetry: soon enough after a lost message, gentle when a service stays away.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
	// hopelessTries in vain in a row say that a ledger is away, and not only an answer: a line that stops waits no longer.
	hopelessTries = 4
)

// backoff counts tries in vain.
type backoff struct{ tries uint8 }

func (b *backoff) next() time.Duration {
	d := firstRetry << b.tries
	if d >= lastRetry {
		return lastRetry
	}
	b.tries++
	return d
}

func (b *backoff) reset() { b.tries = 0 }
