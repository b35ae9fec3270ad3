// Package atcsim reaches a chip through a modem on a serial port, by the AT command +CSIM.
//
// It exists for chips that are soldered into a device already, where the modem is the only way, and for cheap test heads.
//
// Contract. A Modem is a rig.Place. It speaks T=0 blocks to the chip, as the modem does, and finds the way back by itself when
// the port went away, the modem hung, or an answer came too late: whatever may still be under way is then thrown away, so that
// no answer is taken for that of another command. Lines that nobody asked for (unsolicited result codes) are passed over.
// Standard AT commands do not show the ATR. A head needs it, so Contact wants the modem's own command; Power does without.
//
// Callers: perso/cmd/site, perso/cmd/wire for engineers, tests.
//
// Specifications: 3GPP TS 27.007 §8.17 (+CSIM), §8.2 (+CFUN), §9.2 (+CME ERROR); ITU-T V.250 §5.
package atcsim

import (
	"errors"
	"time"
)

const (
	// answerWait bounds one AT command: a chip that makes a key pair, and a modem that thinks about it.
	answerWait = 10 * time.Second
	// syncWait is how long a modem may take to answer AT; it is asked syncTries times.
	syncWait  = 1 * time.Second
	syncTries = 3
	// quiet is how long nothing must come before the line is taken for free of earlier answers.
	quiet = 100 * time.Millisecond
	// quietMost bounds the wait for that: a modem may be talkative.
	quietMost = 2 * time.Second
	// chipWait is how long a modem may take to find the chip that it was told to power.
	chipWait = 5 * time.Second
	// busyPause is the time between tries of a modem that uses the chip itself; within answerWait of a command.
	busyPause = 50 * time.Millisecond

	// maxBlockBytes is a block of a short command, and maxAnswerBytes its answer.
	maxBlockBytes  = 4 + 1 + 255 + 1
	maxAnswerBytes = 256 + 2
	// maxLineBytes is an answer in hex with what is around it; longer lines are noise.
	maxLineBytes = 2*maxAnswerBytes + 64

	defaultBaud = 115_200
)

var (
	// ErrModem says that the modem does not answer, or not as a modem does.
	ErrModem = errors.New("modem does not answer as it should")
	// ErrRefused says that the modem does not do what it was told.
	ErrRefused = errors.New("refused by modem")
	// ErrNoChip says that the modem finds no chip that works.
	ErrNoChip = errors.New("modem finds no chip")
	// ErrBusy says that the modem is using the chip.
	ErrBusy = errors.New("modem is busy with the chip")
	// ErrNoATR says that nobody told how this modem shows the ATR.
	ErrNoATR = errors.New("no command for the ATR is known for this modem; name it as \"atr_command\" in site.json")
)
