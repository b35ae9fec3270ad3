package script

import (
	"bytes"
	"errors"
	"testing"
)

// card answers from a list and counts what it was sent.
type card struct {
	answers [][]byte
	sent    int
	err     error
}

func (c *card) transmit([]byte) ([]byte, error) {
	if c.sent == len(c.answers) {
		return nil, c.err
	}
	c.sent++
	return c.answers[c.sent-1], nil
}

func TestPlayWindow(t *testing.T) {
	t.Parallel()
	gone := errors.New("contact lost")
	get := []byte{0x80, 0xCA, 0x00, 0x66, 0x00}
	w := Window{{get, "9000"}, {get, "9000|6A88"}, {get, "9000"}}
	ok, absent := []byte{1, 0x90, 0x00}, []byte{0x6A, 0x88}
	for _, c := range []struct {
		name    string
		answers [][]byte
		want    int
		err     error
	}{
		{"all", [][]byte{ok, absent, ok}, 3, nil},
		{"stops at a status outside the mask", [][]byte{absent, ok, ok}, 1, nil},
		{"last status outside the mask", [][]byte{ok, ok, absent}, 3, nil},
		{"contact lost", [][]byte{ok}, 1, gone},
		{"no status", [][]byte{ok, {0x90}}, 1, ErrAnswer},
		{"too long", [][]byte{make([]byte, 259)}, 0, ErrAnswer},
	} {
		chip := &card{answers: c.answers, err: gone}
		got, err := PlayWindow(chip.transmit, w)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || len(got) != c.want {
			t.Errorf("%s: %d answers, %v; want %d, %v", c.name, len(got), err, c.want, c.err)
		}
		for i := range got {
			if !bytes.Equal(got[i], c.answers[i]) {
				t.Errorf("%s: answer %d is %X", c.name, i, got[i])
			}
		}
	}
}

func TestWindowLimits(t *testing.T) {
	t.Parallel()
	get := Play{APDU: []byte{0x80, 0xCA, 0x00, 0x66, 0x00}, SW: "9000"}
	full := make(Window, MaxWindowCommands)
	for i := range full {
		full[i] = get
	}
	if err := full.Check(); err != nil {
		t.Errorf("full window: %v", err)
	}
	for name, w := range map[string]Window{
		"one command more": append(full, get),
		"short command":    {get, {APDU: []byte{0, 0, 0}, SW: "9000"}},
		"long command":     {get, {APDU: make([]byte, maxAPDUBytes+1), SW: "9000"}},
		"no mask":          {get, {APDU: get.APDU}},
	} {
		chip := &card{}
		if _, err := PlayWindow(chip.transmit, w); !errors.Is(err, ErrWindow) || chip.sent != 0 {
			t.Errorf("%s: %v after %d commands", name, err, chip.sent)
		}
	}
}
