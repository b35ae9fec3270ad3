// Package pcom reads command scripts in the notation that many SIM makers' engineers have from elsewhere, PCOM, and writes
// the same commands in the project's own language.
//
// It exists because a personalization engineer comes with drawers full of such scripts. PCOM knows no phases, channels or
// secrets, so what Import gives is commands to include in a phase, not a script. It reads the subset that LANGUAGE.md lists,
// and refuses all else by line and column: a command that is translated wrongly is found on chips.
//
// The package reads files from the folder that it is given and does no other I/O. Anybody may import it; perso/cmd/cli does.
package pcom

// Limits, those of the language that is written.
const (
	maxFiles     = 64
	maxDepth     = 8
	maxFileBytes = 256 << 10
	// maxLineBytes bounds a line with its definitions filled in: they may double with each one.
	maxLineBytes = 4096
)
