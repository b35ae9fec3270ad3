package pcsc

import (
	"errors"
	"fmt"
)

// What an error of the library means for the one who called.
var (
	// ErrLibrary says that libpcsclite is not on this computer.
	ErrLibrary = errors.New("libpcsclite cannot be loaded: install the package libpcsclite1")
	// ErrService says that pcscd does not run, ended, or does not talk to this user.
	ErrService = errors.New("pcscd does not answer: is it running, and may this user use it?")
	// ErrReader says that there is no such reader, or no longer: unplugged, or not configured.
	ErrReader = errors.New("reader is not there: see 'perso readers' for those that are")
	// ErrBusy says that another program holds the reader.
	ErrBusy = errors.New("reader is held by another program")
	// ErrNoCard says that no chip lies in the reader.
	ErrNoCard = errors.New("no chip in the reader")
	// ErrMute says that something lies in the reader and does not answer to reset.
	ErrMute = errors.New("chip does not answer to reset")
	// ErrLost says that the chip was removed, reset or lost power, or that its answer did not come. What the last command
	// did is unknown.
	ErrLost = errors.New("chip lost contact")
	// ErrCall says that the library was called wrongly, or that it is broken.
	ErrCall = errors.New("fault in the use of libpcsclite")
	// ErrClosed says that the session was closed.
	ErrClosed = errors.New("PC/SC session is closed")
)

// Code is a return value of the library.
type Code uint32

// The return values (pcsclite.h).
const (
	success            Code = 0
	cancelled          Code = 0x80100002
	invalidHandle      Code = 0x80100003
	unknownReader      Code = 0x80100009
	timedOut           Code = 0x8010000A
	sharingViolation   Code = 0x8010000B
	noSmartcard        Code = 0x8010000C
	protoMismatch      Code = 0x8010000F
	commError          Code = 0x80100013
	notTransacted      Code = 0x80100016
	readerUnavailable  Code = 0x80100017
	noService          Code = 0x8010001D
	serviceStopped     Code = 0x8010001E
	noReadersAvailable Code = 0x8010002E
	commDataLost       Code = 0x8010002F
	unsupportedCard    Code = 0x80100065
	unresponsiveCard   Code = 0x80100066
	unpoweredCard      Code = 0x80100067
	resetCard          Code = 0x80100068
	removedCard        Code = 0x80100069
	securityViolation  Code = 0x8010006A
)

// Error is a call of the library that did not work.
type Error struct {
	Call string // as in "SCardConnect"
	Code Code
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %v (%08X)", e.Call, e.Unwrap(), uint32(e.Code))
}

// Unwrap is what the code means: one of the errors of this package.
func (e *Error) Unwrap() error {
	switch e.Code {
	case invalidHandle, noService, serviceStopped, securityViolation, cancelled, commError: // the last is of the way to pcscd
		return ErrService // a handle is invalid when pcscd was started anew
	case unknownReader, readerUnavailable, noReadersAvailable:
		return ErrReader
	case sharingViolation:
		return ErrBusy
	case noSmartcard:
		return ErrNoCard
	case unresponsiveCard, unpoweredCard, unsupportedCard, protoMismatch:
		return ErrMute
	case resetCard, removedCard, notTransacted, commDataLost:
		return ErrLost
	}
	return ErrCall
}

func check(call string, code int64) error {
	if c := Code(uint32(code)); c != success {
		return &Error{call, c}
	}
	return nil
}
