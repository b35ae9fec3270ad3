package card_test

import (
	"context"
	"errors"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/card/cardtest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/script"
)

// direct is a virtual chip without a way to it.
type direct struct{ chip *cardsim.Chip }

func (d direct) Exchange(_ context.Context, apdu []byte) ([]byte, error) {
	if resp, _ := d.chip.Process(apdu); resp != nil {
		return resp, nil
	}
	return nil, card.ErrMute
}

func TestDirect(t *testing.T) {
	t.Parallel()
	cardtest.Run(t, func(t *testing.T) cardtest.Fixture {
		p := cardsim.Personality{ATR: []byte{0x3B, 0x00}, KVN: 0xFF}
		p.Keys.ENC, p.Keys.MAC, p.Keys.DEK = make([]byte, 16), make([]byte, 16), make([]byte, 16)
		c, err := cardsim.New(p, &cardsim.Memory{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.PowerOn()
		return cardtest.Fixture{Transport: card.Over(direct{c}, card.T1), Lose: func(*testing.T) { c.PowerOff() }}
	})
}

// canned answers from a list.
type canned struct{ answers [][]byte }

func (c *canned) Transmit(context.Context, []byte) ([]byte, error) {
	if len(c.answers) == 0 {
		return nil, card.ErrMute
	}
	a := c.answers[0]
	c.answers = c.answers[1:]
	return a, nil
}

func TestPlayViaKeepsWhatCameBeforeTheLoss(t *testing.T) {
	t.Parallel()
	play := bus.Play{APDU: []byte{0x80, 0xCA, 0x9F, 0x7F, 0x00}, SW: "9000"}
	ok := []byte{0x90, 0x00}
	for name, c := range map[string]struct {
		answers [][]byte
		kept    int
		want    error
	}{
		"silence":        {[][]byte{ok, ok}, 2, card.ErrMute},
		"half an answer": {[][]byte{ok, {0x90}}, 1, card.ErrMute},
		"too much":       {[][]byte{ok, make([]byte, 259)}, 1, card.ErrMute},
		"all":            {[][]byte{ok, ok, ok}, 3, nil},
	} {
		responses, err := card.PlayVia(t.Context(), &canned{c.answers}, []bus.Play{play, play, play})
		if len(responses) != c.kept || !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %X, %v", name, responses, err)
		}
	}
	if _, err := card.PlayVia(t.Context(), &canned{}, []bus.Play{{SW: "9000"}}); !errors.Is(err, script.ErrWindow) {
		t.Errorf("an empty command: %v", err)
	}
}
