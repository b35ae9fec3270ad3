package atcsim

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/atcsim/modemtest"
	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/card/cardtest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/cardsim/t0"
)

const (
	atrOfChip = "3B9F96801F878031E073FE2113674D324D32303000AA"
	selectISD = "00A4040000"
	getCPLC   = "80CA9F7F00"
)

// chip is a virtual chip in a modem.
type chip struct {
	*t0.Interface
	sim *cardsim.Chip
}

func (c *chip) PowerOn() []byte {
	c.Reset()
	return c.sim.PowerOn()
}

func (c *chip) PowerOff() { c.sim.PowerOff() }

func newChip(t *testing.T) *chip {
	t.Helper()
	p := cardsim.Personality{ATR: unhex(t, atrOfChip), KVN: 0xFF}
	p.Keys.ENC, p.Keys.MAC, p.Keys.DEK = make([]byte, 16), make([]byte, 16), make([]byte, 16)
	sim, err := cardsim.New(p, &cardsim.Memory{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &chip{sim: sim, Interface: t0.New(func(_ context.Context, command []byte) ([]byte, error) {
		if resp, _ := sim.Process(command); resp != nil {
			return resp, nil
		}
		return nil, card.ErrMute
	})}
}

// contacted is a modem with its chip in contact.
func contacted(t *testing.T) (*Modem, *modemtest.Modem, *chip) {
	t.Helper()
	c := newChip(t)
	d := modemtest.Start(t, c)
	m, err := New(Config{Port: d.Port, ATRCommand: modemtest.ATRCommand})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if got, err := m.Contact(t.Context()); err != nil || !bytes.Equal(got, unhex(t, atrOfChip)) {
		t.Fatalf("contact: ATR %X, %v", got, err)
	}
	return m, d, c
}

func TestTransport(t *testing.T) {
	t.Parallel()
	for name, noise := range map[string]bool{"quiet": false, "noisy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cardtest.Run(t, func(t *testing.T) cardtest.Fixture {
				m, d, c := contacted(t)
				d.Noise(noise)
				return cardtest.Fixture{Transport: m, Lose: func(*testing.T) { c.PowerOff() }}
			})
		})
	}
}

func TestAnswersOfModems(t *testing.T) {
	t.Parallel()
	m, d, _ := contacted(t)
	for name, c := range map[string]struct {
		line string
		want error
	}{
		"without quotes":        {"\r\n+CSIM: 4,9000\r\nOK\r\n", nil},
		"lower case":            {"\r\n+CSIM: 8,\"abcd9000\"\r\n\r\nOK\r\n", nil},
		"not allowed":           {"\r\n+CME ERROR: 3\r\n", ErrRefused},
		"in words":              {"\r\n+CME ERROR: SIM failure\r\n", ErrRefused},
		"plain error":           {"\r\nERROR\r\n", ErrRefused},
		"no chip":               {"\r\n+CME ERROR: 10\r\n", card.ErrMute},
		"chip fails":            {"\r\n+CME ERROR: 13\r\n", card.ErrMute},
		"wrong length":          {"\r\n+CSIM: 6,\"9000\"\r\nOK\r\n", ErrModem},
		"odd length":            {"\r\n+CSIM: 3,\"900\"\r\nOK\r\n", ErrModem},
		"no length":             {"\r\n+CSIM: \"9000\"\r\nOK\r\n", ErrModem},
		"no hex":                {"\r\n+CSIM: 4,\"90ZZ\"\r\nOK\r\n", ErrModem},
		"too long":              {"\r\n+CSIM: 520,\"" + strings.Repeat("00", 260) + "\"\r\nOK\r\n", ErrModem},
		"nothing":               {"\r\nOK\r\n", ErrModem},
		"twice":                 {"\r\n+CSIM: 4,\"9000\"\r\n+CSIM: 4,\"9000\"\r\nOK\r\n", ErrModem},
		"half a status word":    {"\r\n+CSIM: 2,\"90\"\r\nOK\r\n", card.ErrMute},
		"busy, and then not so": {"\r\n+CME ERROR: 14\r\n", nil},
	} {
		if _, err := m.Contact(t.Context()); err != nil {
			t.Fatalf("before %s: %v", name, err)
		}
		d.Once(c.line)
		answer, err := m.Transmit(t.Context(), unhex(t, "00A4000C023F00"))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || (err == nil) != (len(answer) >= 2) {
			t.Errorf("%s: %X, %v", name, answer, err)
		}
	}
}

// TestLateAnswer: an answer that comes after its command was given up is not taken for that of the next.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	m, d, _ := contacted(t)
	d.Once("")
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if answer, err := m.Transmit(short, unhex(t, selectISD)); !errors.Is(err, ErrModem) || errors.Is(err, card.ErrMute) {
		t.Fatalf("a modem that says nothing: %X, %v", answer, err)
	}
	if err := d.Say("\r\n+CSIM: 8,\"DEAD9000\"\r\n\r\nOK\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Transmit(t.Context(), unhex(t, selectISD)); !errors.Is(err, card.ErrMute) {
		t.Errorf("a command without contact: %v", err)
	}
	if _, err := m.Contact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answer, err := m.Transmit(t.Context(), unhex(t, selectISD)); err != nil || bytes.HasPrefix(answer, unhex(t, "DEAD")) {
		t.Errorf("after the late answer: %X, %v", answer, err)
	}
}

func TestPower(t *testing.T) {
	t.Parallel()
	c := newChip(t)
	m, err := New(Config{Port: modemtest.Start(t, c).Port})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Contact(t.Context()); !errors.Is(err, ErrNoATR) {
		t.Errorf("contact without a command for the ATR: %v", err)
	}
	if err := m.Power(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{selectISD, getCPLC} {
		if answer, err := m.Transmit(t.Context(), unhex(t, command)); err != nil || !bytes.HasSuffix(answer, []byte{0x90, 0x00}) {
			t.Errorf("%s: %X, %v", command, answer, err)
		}
	}
	if err := m.Lift(t.Context()); err != nil || c.sim.Powered() {
		t.Errorf("lifted: %v", err)
	}
	if err := errors.Join(m.Close(), m.Close(), m.Lift(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestWrongPorts(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{}, {Port: "/dev/null", Baud: 1}, {Port: "/dev/null", ATRCommand: "ATR\r"}, {Port: "/dev/null", ATRCommand: "+ATR?"}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	for _, path := range []string{"/dev/null", t.TempDir() + "/nothing"} {
		m, err := New(Config{Port: path, ATRCommand: modemtest.ATRCommand})
		if err != nil {
			t.Fatal(err)
		}
		if atr, err := m.Contact(t.Context()); err == nil {
			t.Errorf("%s: ATR %X", path, atr)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzCSIM(f *testing.F) {
	f.Add(`+CSIM: 4,"9000"`)
	f.Add(`+CSIM: 4,9000`)
	f.Fuzz(func(t *testing.T, line string) {
		b, err := csim(line)
		if err != nil {
			return
		}
		if again, err := csim(fmt.Sprintf(`+CSIM: %d,"%X"`, 2*len(b), b)); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q: %X came back as %X, %v", line, b, again, err)
		}
	})
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
