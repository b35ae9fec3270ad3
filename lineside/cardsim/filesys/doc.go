// Package filesys is the file system of a UICC as a state machine: a tree of files with control parameters, access rules
// and life cycles, and the commands that select, read, write, create and delete them.
//
// It exists so that a virtual chip can hold the file system of a basic SIM or of a profile, made by CREATE FILE or loaded
// from a package, and is as strict as the specifications.
//
// Contract. A System is what the chip's memory holds; a Selection is what one logical channel remembers until power is
// lost. A command changes neither when it is refused. What it would change in memory it gives as Changes: the chip writes
// them in one piece, together with its own, and only then the System has them (Apply). PINs belong to the chip, which
// answers for them through Keys. There is no clock, no file and no goroutine in here, and no input panics.
//
// Callers: lineside/cardsim, tests.
//
// Specifications: ETSI TS 102 221 (file system §8, security §9, commands §11), TS 102 222 (administrative commands), ISO/IEC
// 7816-4 (control parameters, expanded security attributes).
package filesys
