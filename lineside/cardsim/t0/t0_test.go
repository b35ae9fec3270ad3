package t0_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/card/cardtest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/cardsim/t0"
)

// TestBlocks checks block by block; a line is "sent>answered by the chip>answered". Without a middle, the chip must not be asked.
func TestBlocks(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{
		"case 1":                       {"00200001>63C3>63C3"},
		"case 2, exact":                {"80CA9F7F03>0102039000>0102039000"},
		"case 2, wrong Le":             {"80CA9F7F00>0102039000>6C03", "80CA9F7F03>>0102039000"},
		"case 2, the held one is gone": {"80CA9F7F00>0102039000>6C03", "00B0000003>0405069000>0405069000", "80CA9F7F03>0102039000>0102039000"},
		"case 2, wrong Le again":       {"80CA9F7F00>0102039000>6C03", "80CA9F7F05>>6C03", "80CA9F7F03>>0102039000"},
		"case 2, refused":              {"80CA9F7F00>6A88>6A88"},
		"the chip's own 6Cxx":          {"00B0000020>6C0A>6C0A"},
		"SELECT without data":          {"00A4040000>6F009000>6102", "00C0000002>>6F009000"},
		"case 3":                       {"80E2000001AA>9000>9000"},
		"case 4":                       {"80E2000001AA>01029000>6102", "00C0000002>>01029000"},
		"case 4, in pieces":            {"80E2000001AA>0102039000>6103", "00C0000002>>01026101", "00C0000001>>039000", "00C0000001>>6985"},
		"case 4, too much":             {"80E2000001AA>01029000>6102", "00C0000000>>6C02", "00C0000002>>01029000"},
		"case 4, not fetched":          {"80E2000001AA>01029000>6102", "00200001>63C3>63C3", "00C0000002>>6985"},
		"case 4 with Le":               {"80E2000001AA00>01029000>01029000"},
		"a warning with data":          {"80E2000001AA>0162F1>62F1", "00C0000001>>019000"},
		"GET RESPONSE alone":           {"00C0000000>>6985"},
		"no block":                     {"80CA>>6700"},
	} {
		var answer []byte
		asked := false
		chip := t0.New(func(context.Context, []byte) ([]byte, error) { asked = true; return bytes.Clone(answer), nil })
		for _, line := range lines {
			parts := bytes.Split([]byte(line), []byte(">"))
			answer, asked = unhex(t, string(parts[1])), false
			got, err := chip.Exchange(t.Context(), unhex(t, string(parts[0])))
			if err != nil || fmt.Sprintf("%X", got) != string(parts[2]) || asked != (len(answer) > 0) {
				t.Errorf("%s: %s was answered %X (%v), the chip asked: %t", name, line, got, err, asked)
			}
		}
	}
}

func TestResetForgets(t *testing.T) {
	t.Parallel()
	chip := t0.New(func(context.Context, []byte) ([]byte, error) { return []byte{1, 0x90, 0x00}, nil })
	if _, err := chip.Exchange(t.Context(), unhex(t, "80E2000001AA")); err != nil {
		t.Fatal(err)
	}
	chip.Reset()
	if got, err := chip.Exchange(t.Context(), unhex(t, "00C0000001")); err != nil || fmt.Sprintf("%X", got) != "6985" {
		t.Errorf("after a reset, GET RESPONSE gives %X, %v", got, err)
	}
	lost := errors.New("lost")
	chip = t0.New(func(context.Context, []byte) ([]byte, error) { return nil, lost })
	if _, err := chip.Exchange(t.Context(), unhex(t, "80E2000001AA")); !errors.Is(err, lost) {
		t.Errorf("a lost chip: %v", err)
	}
}

// TestTransport has both ends of T=0 talk to each other.
func TestTransport(t *testing.T) {
	t.Parallel()
	cardtest.Run(t, func(t *testing.T) cardtest.Fixture {
		p := cardsim.Personality{ATR: []byte{0x3B, 0x00}, KVN: 0xFF}
		p.Keys.ENC, p.Keys.MAC, p.Keys.DEK = make([]byte, 16), make([]byte, 16), make([]byte, 16)
		c, err := cardsim.New(p, &cardsim.Memory{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.PowerOn()
		chip := t0.New(func(_ context.Context, command []byte) ([]byte, error) {
			if resp, _ := c.Process(command); resp != nil {
				return resp, nil
			}
			return nil, card.ErrMute
		})
		return cardtest.Fixture{Transport: card.Over(chip, card.T0), Lose: func(*testing.T) { c.PowerOff() }}
	})
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte{0x00, 0xA4, 0x04, 0x00, 0x00, 0xFF, 0x00, 0xC0, 0x00, 0x00, 0x00})
	f.Fuzz(func(t *testing.T, blocks []byte) {
		chip := t0.New(func(_ context.Context, command []byte) ([]byte, error) { return append(command, 0x90, 0x00), nil })
		for _, block := range bytes.Split(blocks, []byte{0xFF}) {
			answer, err := chip.Exchange(t.Context(), block)
			if err != nil || len(answer) < 2 {
				t.Fatalf("%X was answered %X, %v", block, answer, err)
			}
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
