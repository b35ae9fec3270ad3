// Package vpcd makes virtual chips appear in PC/SC readers: it is the card's end of the vsmartcard driver for pcscd, and it
// starts a pcscd of its own with such readers.
//
// It exists so that the line's way through pcscd is tested without a reader, and so that other people's programs can look at
// our chips. No system service is touched: the readers, the drivers and the socket lie in a folder of the one who asked, and
// everything is on 127.0.0.1. One thing cannot be helped: pcscd writes its number to /run/pcscd/pcscd.pid and removes it in the
// end, so that a system's pcscd beside it does not hear "pcscd --hotplug" any more; it serves its clients as before.
//
// Contract. Serve speaks for one slot on one connection. Start wants every port listened on before and until pcscd has ended,
// and every connection kept: version 3.3 of the driver aborts pcscd when it has to connect a second time.
// Readers come and go with pcscd: one with udev, as Debian's 1.9.9, logs the signal of "pcscd --hotplug" and looks for nothing. So an empty slot
// can't be shown as one: pcscd always sees a chip, and where there is none, or a mute one, its ATR is NoChip, which no UICC
// has. A chip that was changed is found by the next reset; one that loses contact answers with one byte, which is no status
// word. pcscd ends with the process that started it.
//
// Callers: lineside/chipfarm, perso/cmd/site, tests.
//
// The framing is that of vsmartcard's vpcd 3.3: length (2 bytes, big endian) and body, where a body of one byte is 00 power
// off, 01 power on, 02 reset, 04 the ATR, and any other a command; the answers to 04 and to commands are framed alike.
package vpcd

const (
	// MaxSlots bounds the readers of one pcscd (PCSCLITE_MAX_READERS_CONTEXTS).
	MaxSlots = 16
	// SlotsOfDriver is how many slots one driver file has. Two entries on one file would corrupt each other.
	SlotsOfDriver = 2
	// maxFrameBytes bounds a command: an extended one with all its lengths.
	maxFrameBytes = 65_535
)

// NoChip is the ATR of a slot where no chip answers: TS, and no more.
func NoChip() []byte { return []byte{0x3B, 0x00} }
