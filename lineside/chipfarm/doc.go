// Package chipfarm is a virtual handler with virtual chips: a reel, heads that contact chips, and bins.
//
// It exists so that a whole factory runs, and is broken, without a machine and without spending chips. A farm is a
// process of its own with a folder of its own: chips forget nothing when the line, the ledger or the farm itself is
// killed, and a client that goes away takes the power from the chips that it powered, wherever in a command they are.
//
// Contract. Create makes the folder and gives the chip maker's goods-in lists; Serve offers it on a socket (PROTOCOL.md);
// Client is the machine that a line works with. What a chip or the handler did is written before it is told. Files are
// not synced: they survive the death of the process, which is what is simulated, not that of the computer. Nobody else
// reads the folder; it holds the maker's master key and every key that the chips hold. A thousand chips share one file: a
// file each costs more than all that a chip does, and damage to one takes its thousand chips out of use.
//
// Heads may be under PC/SC readers (Readers): then pcscd powers the chips, and clients move them.
//
// Callers: perso/cmd for the process, lineside for Client, tests; tests alone for Records.
package chipfarm

import "errors"

// Limits.
const (
	// MaxChips bounds one farm: a day of the fastest line.
	MaxChips = 1_000_000
	// MaxReelChips bounds one goods-in list; a farm of more chips comes on several reels.
	MaxReelChips = 30_000
	// MaxHeads bounds the heads, as of a line.
	MaxHeads = 256
	// MaxFaultSpecs bounds the fault plan of a farm: each fault at each command of a long script.
	MaxFaultSpecs = 1024
)

var (
	// ErrExists says that the folder holds a farm already: chips are not made twice.
	ErrExists = errors.New("chip farm exists")
	// ErrLocked says that another process serves the farm.
	ErrLocked = errors.New("chip farm in use")
	// ErrCorrupt says that a file of the farm was damaged otherwise than by a torn last write.
	ErrCorrupt = errors.New("damaged chip farm file")
	// ErrVersion says that the folder is written in another way than this program's.
	ErrVersion = errors.New("chip farm of another version")
	// ErrRefused says that the handler does not do that: no such head or chip, no chip there, another client's head.
	ErrRefused = errors.New("refused by chip farm")
	// ErrLost says that the connection to the farm broke. What the last request did is unknown.
	ErrLost = errors.New("connection to chip farm lost")
)
