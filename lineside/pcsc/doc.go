// Package pcsc talks to readers through pcscd, and makes one reader a place where the line contacts chips.
//
// It exists because pcscd is how every desktop, handler and test reader is reached on Linux. It is a thin binding on
// libpcsclite, which it loads when it is first needed: the one program of the factory also runs where no reader is, in the
// vault or on an auditor's desk, and must start there without that library.
//
// Contract. A Session is one connection to pcscd with a goroutine of its own, so that calls of one session come one after
// another and a call that hangs holds up nobody who does not need its answer: the context bounds the wait, not the call.
// Every error of the library is an *Error, which unwraps to what it means. Reader is what a head uses: it finds the way
// back by itself when the chip, the reader or pcscd went away and came again.
//
// Callers: lineside/rig through perso/cmd/site, perso/cmd for engineers, tests.
//
// Specifications: PC/SC Workgroup Part 5 (resource manager) and Part 3 (readers); ISO/IEC 7816-3 §12.2 for T=0.
package pcsc

import "time"

const (
	// MaxReaders bounds the readers of one pcscd; the library knows 16.
	MaxReaders = 16
	// maxNamesBytes bounds the list of readers: each name has at most 128 bytes.
	maxNamesBytes = 16 << 10
	// maxAnswerBytes is an extended answer with its status word, and what the library wants beside it.
	maxAnswerBytes = 65_548
	// stepWait is the longest that one wait for a change stays in the library, so that an end is seen soon.
	stepWait = 250 * time.Millisecond
	// closeWait is how long Close waits for a call that hangs in a reader.
	closeWait = 2 * time.Second
)
