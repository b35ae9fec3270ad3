// Package modemtest is a modem on a pseudo terminal, with whatever chip a test puts into it.
//
// It exists because no modem is at hand where tests run. It echoes, talks out of turn and answers in pieces, as modems do. Tests
// of lineside/atcsim and of whole factories use it.
package modemtest

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// ATRCommand is the double's own command for the ATR.
const ATRCommand = "AT+ATR?"

// Chip lies in the modem.
type Chip interface {
	// PowerOn gives the ATR, or nothing.
	PowerOn() (atr []byte)
	PowerOff()
	// Exchange takes a T=0 block. An error is the loss of contact.
	Exchange(ctx context.Context, block []byte) ([]byte, error)
}

// Modem is the double.
type Modem struct {
	Port string // of the side that a program opens

	master *os.File
	chip   Chip

	mu    sync.Mutex
	echo  bool
	noise bool
	atr   []byte
	once  *string // what the next +CSIM is answered
}

// Start runs one until the test ends. Without pseudo terminals the test is skipped.
func Start(t *testing.T, chip Chip) *Modem {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("SKIP: no pseudo terminal: %v", err)
	}
	number, err := unlock(master)
	if err != nil {
		t.Fatalf("making a pseudo terminal: %v", errors.Join(err, master.Close()))
	}
	m := &Modem{Port: fmt.Sprintf("/dev/pts/%d", number), master: master, chip: chip, echo: true}
	held, err := os.OpenFile(m.Port, os.O_RDWR|unix.O_NOCTTY, 0) // a master that nobody else holds hangs up
	if err != nil {
		t.Fatal(errors.Join(err, master.Close()))
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		m.serve()
	}()
	t.Cleanup(func() {
		if err := errors.Join(held.Close(), master.Close()); err != nil {
			t.Error(err)
		}
		<-over
	})
	return m
}

func unlock(master *os.File) (number int, err error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return 0, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		if inner = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); inner == nil {
			number, inner = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	return number, errors.Join(err, inner)
}

// Noise has the modem talk out of turn around every answer, or not.
func (m *Modem) Noise(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noise = on
}

// Once has the next +CSIM answered by this text; an empty one is silence.
func (m *Modem) Once(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.once = &text
}

// Say has the modem say something by itself.
func (m *Modem) Say(text string) error {
	_, err := m.master.WriteString(text)
	return err
}

func (m *Modem) serve() {
	in := bufio.NewReader(m.master)
	for {
		command, err := in.ReadString('\r')
		if err != nil {
			return
		}
		for reply := m.reply(command); len(reply) > 0; { // in pieces, as they come from a wire
			const piece = 97
			n := min(len(reply), piece)
			if err := m.Say(reply[:n]); err != nil {
				return
			}
			reply = reply[n:]
		}
	}
}

func (m *Modem) reply(command string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	echo := m.echo
	reply := m.answer(strings.TrimSpace(command))
	if echo {
		reply = command + reply
	}
	if m.noise && reply != "" {
		reply = "\r\nRING\r\n\r\n+CREG: 1,\"00FF\"\r\n" + reply + strings.Repeat("x", 5_000) + "\r\n+CMTI: \"SM\",1\r\n"
	}
	return reply
}

func (m *Modem) answer(command string) string {
	const ok = "\r\nOK\r\n"
	switch {
	case command == "AT", command == "AT+CMEE=1", command == "AT+CSIM=?":
	case command == "ATE0":
		m.echo = false
	case command == "AT+CFUN=0":
		m.chip.PowerOff()
	case command == "AT+CFUN=4":
		m.atr = m.chip.PowerOn()
	case command == ATRCommand && len(m.atr) == 0:
		return "\r\n+CME ERROR: 10\r\n"
	case command == ATRCommand:
		return fmt.Sprintf("\r\n+ATR: \"%X\"\r\n", m.atr) + ok
	case strings.HasPrefix(command, "AT+CSIM=") && m.once != nil:
		text := *m.once
		m.once = nil
		return text
	case strings.HasPrefix(command, "AT+CSIM="):
		return m.csim(strings.TrimPrefix(command, "AT+CSIM="))
	default:
		return "\r\nERROR\r\n"
	}
	return ok
}

func (m *Modem) csim(arguments string) string {
	length, text, _ := strings.Cut(arguments, ",")
	text = strings.Trim(text, `"`)
	block, err := hex.DecodeString(text)
	if err != nil || length != fmt.Sprint(len(text)) {
		return "\r\n+CME ERROR: 50\r\n"
	}
	answer, err := m.chip.Exchange(context.Background(), block)
	if err != nil {
		return "\r\n+CME ERROR: 13\r\n"
	}
	return fmt.Sprintf("\r\n+CSIM: %d,\"%X\"\r\n\r\nOK\r\n", 2*len(answer), answer)
}
