package atcsim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/persoline/persoline/lineside/card"
)

// Config is what a modem needs.
type Config struct {
	Port string // as in /dev/ttyUSB2
	Baud int    // 0: 115200; of no account on USB
	// ATRCommand is the modem's own command that shows the ATR in hex, as in AT+ATR?. Empty: Contact cannot be.
	ATRCommand string
}

// The commands that every modem knows.
const (
	cmdNoEcho    = "ATE0"
	cmdNumbers   = "AT+CMEE=1" // errors as numbers
	cmdHasCSIM   = "AT+CSIM=?"
	cmdPowerOff  = "AT+CFUN=0"
	cmdPowerOn   = "AT+CFUN=4" // the chip, and not the radio: a modem that registers uses the chip itself
	cmdAttention = "AT"
)

// Modem is one modem with its chip. It is safe for concurrent use, one order after another.
type Modem struct {
	cfg Config

	mu   sync.Mutex
	port *port          // nil: not open, or of no more use
	over card.Transport // nil: no chip in contact
}

// New makes one. The port need not be there yet.
func New(cfg Config) (*Modem, error) {
	if cfg.Baud == 0 {
		cfg.Baud = defaultBaud
	}
	if _, ok := bauds()[cfg.Baud]; !ok || cfg.Port == "" {
		return nil, fmt.Errorf("making modem at port %q with %d baud: no port, or no such speed", cfg.Port, cfg.Baud)
	}
	if strings.ContainsAny(cfg.ATRCommand, "\r\n\x1a") || cfg.ATRCommand != "" && !strings.HasPrefix(strings.ToUpper(cfg.ATRCommand), "AT") {
		return nil, fmt.Errorf("making modem: %q is no AT command", cfg.ATRCommand)
	}
	return &Modem{cfg: cfg}, nil
}

// Contact takes the power from the chip, gives it again, and gives the ATR; empty when the modem finds no chip that works.
func (m *Modem) Contact(ctx context.Context) ([]byte, error) {
	if m.cfg.ATRCommand == "" {
		return nil, fmt.Errorf("contacting the chip at %q: %w", m.cfg.Port, ErrNoATR)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	lines, err := m.power(ctx, m.cfg.ATRCommand)
	if errors.Is(err, ErrNoChip) {
		return nil, nil
	}
	var found []byte
	if err == nil {
		found, err = atr(lines)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("contacting the chip at %q: %w", m.cfg.Port, err), m.drop(err))
	}
	m.over = card.Over(link{m}, card.T0)
	return found, nil
}

// Power resets the chip without looking at its ATR.
func (m *Modem) Power(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	const status = `AT+CSIM=10,"00F2000000"` // anything that a chip answers
	if _, err := m.power(ctx, status); err != nil {
		return errors.Join(fmt.Errorf("powering the chip at %q: %w", m.cfg.Port, err), m.drop(err))
	}
	m.over = card.Over(link{m}, card.T0)
	return nil
}

// power resets the chip, and asks until it is there.
func (m *Modem) power(ctx context.Context, ask string) (lines []string, err error) {
	m.over = nil
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	for _, c := range []string{cmdPowerOff, cmdPowerOn} {
		if _, err := m.command(ctx, c, answerWait); err != nil {
			return nil, err
		}
	}
	for began := time.Now(); ; {
		lines, err := m.command(ctx, ask, answerWait)
		if err == nil || !errors.Is(err, ErrBusy) && !errors.Is(err, ErrNoChip) || time.Since(began) > chipWait {
			return lines, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// Transmit sends a command to the chip in contact; card.ErrMute when the modem has lost it.
func (m *Modem) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over == nil {
		return nil, fmt.Errorf("transmitting at %q without contact: %w", m.cfg.Port, card.ErrMute)
	}
	answer, err := m.over.Transmit(ctx, command)
	if err == nil {
		return answer, nil
	}
	if errors.Is(err, ErrNoChip) && !errors.Is(err, card.ErrMute) {
		err = fmt.Errorf("%w: %w", card.ErrMute, err)
	}
	if errors.Is(err, card.ErrMute) {
		m.over = nil
	}
	return nil, errors.Join(fmt.Errorf("transmitting at %q: %w", m.cfg.Port, err), m.drop(err))
}

// Lift takes the chip's power.
func (m *Modem) Lift(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = nil
	if m.port == nil {
		return nil
	}
	if _, err := m.command(ctx, cmdPowerOff, answerWait); err != nil {
		return errors.Join(fmt.Errorf("lifting the chip at %q: %w", m.cfg.Port, err), m.drop(err))
	}
	return nil
}

// Close closes the port.
func (m *Modem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hangUp()
}

func (m *Modem) hangUp() error {
	p := m.port
	m.port, m.over = nil, nil
	if p == nil {
		return nil
	}
	return p.close()
}

// drop gives up the port unless the modem itself said what is wrong: then nothing is under way any more.
func (m *Modem) drop(err error) error {
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrBusy) || errors.Is(err, ErrNoChip) || errors.Is(err, card.ErrMute) && !errors.Is(err, ErrModem) {
		return nil
	}
	return m.hangUp()
}

// open opens the port and finds a modem there that knows +CSIM.
func (m *Modem) open(ctx context.Context) (err error) {
	if m.port != nil {
		return nil
	}
	if m.port, err = openPort(m.cfg.Port, m.cfg.Baud); err != nil {
		return err
	}
	if err := m.port.drain(time.Now); err != nil {
		return fmt.Errorf("listening to the modem: %w", err)
	}
	for try := 1; ; try++ {
		_, err := m.command(ctx, cmdAttention, syncWait)
		if err == nil {
			break
		}
		if try == syncTries || ctx.Err() != nil {
			return fmt.Errorf("calling the modem %d times: %w", try, err)
		}
	}
	for _, c := range []string{cmdNoEcho, cmdNumbers, cmdHasCSIM} {
		if _, err := m.command(ctx, c, answerWait); err != nil {
			return fmt.Errorf("greeting the modem: %w", err)
		}
	}
	return nil
}

// command sends one AT command and gives the lines before the final result, with whatever else came among them.
func (m *Modem) command(ctx context.Context, text string, wait time.Duration) (lines []string, err error) {
	until := time.Now().Add(wait)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	verb, _, _ := strings.Cut(text, "=")
	if err := m.port.write([]byte(text+"\r"), until); err != nil {
		return nil, fmt.Errorf("sending %s: %w: %w", verb, ErrModem, err)
	}
	const mostLines = 200 // a modem that says so much and never OK is none
	for range mostLines {
		line, err := m.port.line(until)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("waiting for the answer to %s: %w", verb, ErrModem)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the answer to %s: %w: %w", verb, ErrModem, err)
		}
		if line == text {
			continue // the echo
		}
		if is, err := final(line); is && err != nil {
			return nil, fmt.Errorf("commanding %s: %w", verb, err)
		} else if is {
			return lines, nil
		}
		lines = append(lines, line)
	}
	return nil, fmt.Errorf("waiting for the answer to %s in %d lines: %w", verb, mostLines, ErrModem)
}

// link is the modem's way to the chip.
type link struct{ m *Modem }

// Exchange implements card.Link. The caller holds the modem.
func (l link) Exchange(ctx context.Context, block []byte) ([]byte, error) {
	if len(block) > maxBlockBytes {
		return nil, fmt.Errorf("transmitting %d bytes, limit %d", len(block), maxBlockBytes)
	}
	text := fmt.Sprintf(`AT+CSIM=%d,"%s"`, 2*len(block), strings.ToUpper(hex.EncodeToString(block)))
	for began := time.Now(); ; {
		lines, err := l.m.command(ctx, text, answerWait)
		if errors.Is(err, ErrBusy) && time.Since(began) < answerWait {
			if err := pause(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		return answerOf(lines)
	}
}

// answerOf is the one answer among the lines.
func answerOf(lines []string) (answer []byte, err error) {
	for _, line := range lines {
		if !strings.HasPrefix(line, "+CSIM:") {
			continue
		}
		if answer != nil {
			return nil, fmt.Errorf("reading an answer that came twice: %w", ErrModem)
		}
		if answer, err = csim(line); err != nil {
			return nil, err
		}
	}
	if answer == nil {
		return nil, fmt.Errorf("looking for an answer in %d lines: there is none: %w", len(lines), ErrModem)
	}
	return answer, nil
}

func pause(ctx context.Context) error {
	t := time.NewTimer(busyPause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
