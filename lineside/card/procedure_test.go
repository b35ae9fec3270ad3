package card_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/perso/apdu"
)

// dialogue is a link that expects one command after another: "sent>answered".
type dialogue struct {
	t     *testing.T
	lines []string
}

func (d *dialogue) Exchange(_ context.Context, command []byte) ([]byte, error) {
	if len(d.lines) == 0 {
		d.t.Errorf("%X was sent and nothing expected", command)
		return nil, card.ErrMute
	}
	sent, answered, _ := strings.Cut(d.lines[0], ">")
	d.lines = d.lines[1:]
	if want := unhex(d.t, sent); !bytes.Equal(command, want) {
		d.t.Errorf("sent %X, expected %X", command, want)
	}
	return unhex(d.t, answered), nil
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOver(t *testing.T) {
	t.Parallel()
	all := strings.Repeat("5A", 256)
	for name, c := range map[string]struct {
		protocol card.Protocol
		command  string
		answer   string
		lines    []string
	}{
		"T=0 case 1":                  {card.T0, "00200001", "63C3", []string{"0020000100>63C3"}},
		"T=1 case 1":                  {card.T1, "00200001", "63C3", []string{"00200001>63C3"}},
		"T=0 case 2":                  {card.T0, "00B000000A", "AABB9000", []string{"00B000000A>AABB9000"}},
		"wrong Le":                    {card.T0, "80CA9F7F00", "0102039000", []string{"80CA9F7F00>6C03", "80CA9F7F03>0102039000"}},
		"wrong Le T=1":                {card.T1, "80CA9F7F05", "0102039000", []string{"80CA9F7F05>6C03", "80CA9F7F03>0102039000"}},
		"wrong Le twice":              {card.T0, "80CA9F7F00", "6C04", []string{"80CA9F7F00>6C03", "80CA9F7F03>6C04"}},
		"wrong Le after data":         {card.T0, "80E2000001AA00", "6C04", []string{"80E2000001AA>6C04"}},
		"T=0 case 3":                  {card.T0, "80E2000001AA", "9000", []string{"80E2000001AA>9000"}},
		"T=0 case 3, data unasked":    {card.T0, "00A40004023F00", "9000", []string{"00A40004023F00>6117"}},
		"T=0 case 4":                  {card.T0, "80E2000001AA00", "01029000", []string{"80E2000001AA>6102", "00C0000002>01029000"}},
		"T=1 case 4":                  {card.T1, "80E2000001AA00", "01029000", []string{"80E2000001AA00>01029000"}},
		"T=1, Le is reached":          {card.T1, "00B0000004", "010203049000", []string{"00B0000004>010203046104"}},
		"T=1 in pieces":               {card.T1, "80E2000001AA00", "0102039000", []string{"80E2000001AA00>016102", "00C0000002>02039000"}},
		"in pieces":                   {card.T0, "80E2000001AA00", "0102039000", []string{"80E2000001AA>6102", "00C0000002>01026101", "00C0000001>039000"}},
		"256 bytes wait":              {card.T0, "80E2000001AA00", all + "9000", []string{"80E2000001AA>6100", "00C0000000>" + all + "9000"}},
		"no more than Le":             {card.T0, "80E2000001AA02", "01029000", []string{"80E2000001AA>6105", "00C0000002>01026103"}},
		"GET RESPONSE with wrong Le":  {card.T0, "80E2000001AA00", "01029000", []string{"80E2000001AA>6100", "00C0000000>6C02", "00C0000002>01029000"}},
		"data behind a warning":       {card.T0, "80E2000001AA00", "0162F1", []string{"80E2000001AA>62F1", "00C0000000>6C01", "00C0000001>019000"}},
		"nothing behind a warning":    {card.T0, "80E2000001AA00", "6300", []string{"80E2000001AA>6300", "00C0000000>6985"}},
		"warning of case 3":           {card.T0, "8082000001AA", "6300", []string{"8082000001AA>6300"}},
		"GSM class":                   {card.T0, "A0A40000023F0000", "019000", []string{"A0A40000023F00>6101", "A0C0000001>019000"}},
		"channel 2":                   {card.T0, "82E2000001AA00", "019000", []string{"82E2000001AA>6101", "02C0000001>019000"}},
		"channel 5":                   {card.T0, "C1E2000001AA00", "019000", []string{"C1E2000001AA>6101", "41C0000001>019000"}},
		"secured":                     {card.T0, "84E2000001AA00", "019000", []string{"84E2000001AA>6101", "00C0000001>019000"}},
		"extended length, one block":  {card.T1, "80E20000000001AA", "9000", []string{"80E2000001AA>9000"}},
		"extended length, two blocks": {card.T0, "80E2000000010001" + all[:510] + "0000", "079000", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.lines == nil {
				c.command = "80E20000000100" + all + "0000"
				c.lines = []string{"90E20000FF" + all[:510] + ">9000", "80E20000015A>6101", "00C0000001>079000"}
			}
			d := &dialogue{t: t, lines: c.lines}
			answer, err := card.Over(d, c.protocol).Transmit(t.Context(), unhex(t, c.command))
			if err != nil || !bytes.Equal(answer, unhex(t, c.answer)) {
				t.Errorf("answered %X (%v), expected %s", answer, err, c.answer)
			}
			if len(d.lines) > 0 {
				t.Errorf("not sent: %q", d.lines)
			}
		})
	}
}

// link is a function.
type link func(command []byte) ([]byte, error)

func (l link) Exchange(_ context.Context, command []byte) ([]byte, error) { return l(command) }

func TestOverEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		link    link
		command string
		want    error
	}{
		"a chip that always has more": {func([]byte) ([]byte, error) { return []byte{1, 0x61, 0x01}, nil }, "80CA000000", card.ErrProcedure},
		"half a status word":          {func([]byte) ([]byte, error) { return []byte{0x90}, nil }, "80CA000000", card.ErrMute},
		"an error of the link":        {func([]byte) ([]byte, error) { return nil, broken }, "80CA000000", broken},
		"an error while fetching": {func(b []byte) ([]byte, error) {
			if b[1] == 0xC0 {
				return nil, broken
			}
			return []byte{0x61, 0x01}, nil
		}, "80CA000000", broken},
		"no command":               {nil, "80CA", apdu.ErrMalformed},
		"an extended length short": {nil, "80E20000000002AA", apdu.ErrMalformed},
		"a chain that is secured":  {nil, "84E20000000001AA", apdu.ErrMalformed},
	} {
		if answer, err := card.Over(c.link, card.T0).Transmit(t.Context(), unhex(t, c.command)); !errors.Is(err, c.want) || len(answer) > 0 {
			t.Errorf("%s: %X, %v", name, answer, err)
		}
	}
	long := "80E20000000100" + strings.Repeat("5A", 256)
	sent := 0
	answer, err := card.Over(link(func([]byte) ([]byte, error) { sent++; return unhex(t, "6A80"), nil }), card.T1).Transmit(t.Context(), unhex(t, long))
	if sent != 1 || err != nil || fmt.Sprintf("%X", answer) != "6A80" {
		t.Errorf("a chain that is refused: %d blocks sent, %X, %v", sent, answer, err)
	}
}
