// Package script is the personalization language: what is sent to a chip, in which order, what the chip must answer,
// and which secret goes where, written by a personalization engineer in one readable file per product.
//
// A script is compiled once per product version (Compile), travels and is pinned by hash as canonical CBOR (Encode,
// Decode, Hash), and is filled per card without parsing anything again (Skip, Render, Check). The vault renders and checks;
// the line sees only finished commands and status masks (Window, PlayWindow) and learns nothing about variables. For the
// engineer at his desk, Format lays a source out and Lint finds in it what compiles and nobody should want.
//
// The rules that keep a secret inside the secure channel and a half-written chip safe are properties of a Script, not
// of its text: Compile and Decode apply the same ones, so there is no Script that breaks them.
//
// Any zone may import the package. It reads files only from the folder that CompileFile is given, and keeps no state; a
// *Script is read-only after it was made and may be shared by goroutines. The language is described in LANGUAGE.md.
//
// Specifications: GlobalPlatform Card Specification 2.3.1 §11 (commands), Amendment D §6 (SCP03 lengths), EMV Card
// Personalization 2.0 (data groupings), ISO/IEC 7816-4 §5.2.2 (BER length).
package script

// Limits. A script comes from a file or the bus, and the vault runs it in memory that holds secrets.
const (
	// MaxSourceBytes bounds a source text; the largest real script is under 20 KiB.
	MaxSourceBytes = 256 << 10
	// MaxEncodedBytes bounds a compiled script: it must fit one window of the bus with room to spare.
	MaxEncodedBytes = 128 << 10
	// MaxFaults bounds one report: nobody reads further.
	MaxFaults = 100
	// MaxActs bounds the rendered acts of one session; a seventh exchange (n = 6) only brings the verdict.
	MaxActs = 6
	// MaxSections bounds the sections of one act, so that skip decisions fit one log line.
	MaxSections = 64
	// maxMadeBytes bounds what all commands and definitions of a source come to: a few times what can be encoded.
	maxMadeBytes = 4 * MaxEncodedBytes
	// MaxSteps bounds the commands of one act: one act is one window.
	MaxSteps = MaxWindowCommands
	// MaxNameChars bounds script names, labels, section names, conditions and variable names.
	MaxNameChars = 48
	// MaxVarBytes bounds one variable: what one STORE DATA sequence can carry sensibly.
	MaxVarBytes = 2048
	// MaxStoreBytes bounds the content of one .STORE: 18 blocks, and no chip buffers more before it commits.
	MaxStoreBytes = 4096
	// MaxLoadBytes bounds the content of one .LOAD or streamed .STORE: as many full blocks as the block number counts.
	MaxLoadBytes = maxBlocks * 255
	// MaxPatternBytes bounds one pattern: a short answer has at most 256 data bytes.
	MaxPatternBytes = 256
	// MaxGroupDepth bounds nested <…>: the deepest real one, a key set in an INSTALL, has four.
	MaxGroupDepth = 8
)
