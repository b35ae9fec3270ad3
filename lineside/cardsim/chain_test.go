package cardsim_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/cardsim/t0"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

// simple is a SIM without a security domain, whose transport code was verified and whose MF has an EF of 400 bytes that is selected.
func simple(t *testing.T, o cardsim.Options) *cardsim.Chip {
	t.Helper()
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }
	o.SIM, o.NoDomain = true, true
	p := cardsim.Personality{ATR: []byte{0x3B, 0x00}, Keys: scp.StaticKeys{ENC: key(1), MAC: key(2), DEK: key(3)}, Options: o}
	c, err := cardsim.New(p, &cardsim.Memory{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.PowerOn()
	code := p.Keys.TransportCode()
	for _, command := range []string{fmt.Sprintf("0020000E08%X", code), mf(), ef()} {
		ask(t, c, command, apdu.SWOK)
	}
	return c
}

func mf() string { return created("8202 7821 8302 3F00 8A01 01 8B03 2F06 01") }
func ef() string { return created("8202 4121 8302 2F10 8A01 05 8B03 2F06 01 8002 0190 8800") }

func created(template string) string {
	t := strings.ReplaceAll(template, " ", "")
	return fmt.Sprintf("00E00000%02X62%02X%s", len(t)/2+2, len(t)/2, t)
}

func ask(t *testing.T, c *cardsim.Chip, command string, want apdu.SW) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(command, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	resp, _ := c.Process(raw)
	data, sw, err := apdu.SWOf(resp)
	if err != nil || sw != want {
		t.Fatalf("%s is answered %X (%v), expected %v", command, resp, err, want)
	}
	return data
}

// TestCommandChaining: pieces are one command, from whichever end they come.
func TestCommandChaining(t *testing.T) {
	t.Parallel()
	c := simple(t, cardsim.Options{Channels: 1})
	ask(t, c, "10D60000 02 0102", apdu.SWOK)
	ask(t, c, "10D60000 02 0304", apdu.SWOK)
	ask(t, c, "00D60000 01 05", apdu.SWOK)
	if got := ask(t, c, "00B0000006", apdu.SWOK); !bytes.Equal(got, []byte{1, 2, 3, 4, 5, 0xFF}) {
		t.Errorf("written %X", got)
	}
	// Another command drops the pieces, or is told that the last one is missing; on another logical channel it is another command.
	ask(t, c, "10D60000 01 AA", apdu.SWOK)
	ask(t, c, "10D60001 01 BB", apdu.SWLastOfChain)
	ask(t, c, "00D60001 01 0B", apdu.SWOK)
	ask(t, c, "10D60000 01 AA", apdu.SWOK)
	ask(t, c, "00B0000002", apdu.SWOK)
	ask(t, c, "00D60000 01 0A", apdu.SWOK)
	if got := ask(t, c, "00B0000003", apdu.SWOK); !bytes.Equal(got, []byte{0x0A, 0x0B, 3}) {
		t.Errorf("written %X", got)
	}
	ask(t, c, "14D60000 01 AA", apdu.SWChainingUnsupported)
	ask(t, c, "50D60000 01 AA", apdu.SWChannelUnsupported)
	for n := 0; n < 8; n++ {
		ask(t, c, "10D60000 FF"+strings.Repeat("00", 255), apdu.SWOK)
	}
	ask(t, c, "10D60000 FF"+strings.Repeat("00", 255), apdu.SWWrongLength)
	if got := ask(t, c, "00B0000001", apdu.SWOK); got[0] != 0x0A {
		t.Errorf("what was too long left %X", got)
	}
	// The line sends a long command so, by T=0 as well.
	link := t0.New(func(_ context.Context, command []byte) ([]byte, error) {
		if resp, _ := c.Process(command); resp != nil {
			return resp, nil
		}
		return nil, card.ErrMute
	})
	long := append([]byte{0x00, 0xD6, 0x00, 0x00, 0x00, 0x01, 0x90}, bytes.Repeat([]byte{0x77}, 400)...)
	if resp, err := card.Over(link, card.T0).Transmit(t.Context(), long); err != nil || !bytes.Equal(resp, []byte{0x90, 0x00}) {
		t.Fatalf("a command of 400 bytes is answered %X, %v", resp, err)
	}
	if got := ask(t, c, "00B0018F01", apdu.SWOK); got[0] != 0x77 {
		t.Errorf("its last byte is %X", got)
	}
	c.PowerOff()
	if _, err := card.Over(link, card.T0).Transmit(t.Context(), long); !errors.Is(err, card.ErrMute) {
		t.Errorf("without power: %v", err)
	}
}
