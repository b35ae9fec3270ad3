// Package cardtest is what every transport of the line must do, whatever lies behind it: a reader, a modem, the chip farm.
//
// A package that offers a card.Transport calls Run from its tests. The chip behind it must be a GlobalPlatform chip that
// answers SELECT of its default application and GET DATA 9F7F; nothing on it is changed.
package cardtest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
)

// Fixture is a transport to a chip in contact.
type Fixture struct {
	Transport card.Transport
	// Lose takes the chip's contact away. Nil when the test cannot.
	Lose func(t *testing.T)
}

// Run runs the suite; open is called for each test of it.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*testing.T, Fixture){
		"Transmit": transmit, "WrongLe": wrongLe, "Play": play, "PlayStops": playStops, "PlayRefuses": playRefuses, "Lost": lost, "Cancelled": cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

const (
	selectDefault = "00A4040000"
	readCPLC      = "80CA9F7F00"
	unknown       = "80FE000000"

	readCPLCInPart = "80CA9F7F05"
)

// playOn uses the transport's own Play when it has one.
func playOn(ctx context.Context, tr card.Transport, window []bus.Play) ([][]byte, error) {
	if p, ok := tr.(card.Player); ok {
		return p.Play(ctx, window)
	}
	return card.PlayVia(ctx, tr, window)
}

func transmit(t *testing.T, f Fixture) {
	want(t, send(t, f, selectDefault), apdu.SWOK)
	first := send(t, f, readCPLC)
	want(t, first, apdu.SWOK)
	kept := bytes.Clone(first)
	want(t, send(t, f, unknown), apdu.SWUnknownINS)
	if !bytes.Equal(first, kept) {
		t.Error("an answer changed when the next came")
	}
}

// wrongLe: the transport finds the right one by itself (card.Over).
func wrongLe(t *testing.T, f Fixture) {
	want(t, send(t, f, selectDefault), apdu.SWOK)
	whole, asked := send(t, f, readCPLC), send(t, f, readCPLCInPart)
	want(t, asked, apdu.SWOK)
	if !bytes.Equal(whole, asked) {
		t.Errorf("with a wrong Le the answer is %X, with the right one %X", asked, whole)
	}
}

func play(t *testing.T, f Fixture) {
	responses, err := playOn(t.Context(), f.Transport, window("9000", selectDefault, readCPLC, readCPLC))
	if err != nil || len(responses) != 3 || !bytes.Equal(responses[1], responses[2]) {
		t.Fatalf("%X, %v", responses, err)
	}
	if responses, err = playOn(t.Context(), f.Transport, nil); err != nil || len(responses) != 0 {
		t.Errorf("an empty window gave %X, %v", responses, err)
	}
}

func playStops(t *testing.T, f Fixture) {
	w := window("9000", selectDefault, unknown, readCPLC)
	responses, err := playOn(t.Context(), f.Transport, w)
	if err != nil || len(responses) != 2 {
		t.Fatalf("%X, %v", responses, err)
	}
	want(t, responses[1], apdu.SWUnknownINS)
	w[1].SW = "9000|6DXX"
	if responses, err = playOn(t.Context(), f.Transport, w); err != nil || len(responses) != 3 {
		t.Errorf("%X, %v", responses, err)
	}
}

func playRefuses(t *testing.T, f Fixture) {
	for _, second := range []bus.Play{{APDU: unhex(readCPLC), SW: "900"}, {APDU: unhex("80CA"), SW: "9000"}} {
		responses, err := playOn(t.Context(), f.Transport, append(window("9000", selectDefault), second))
		if err == nil || errors.Is(err, card.ErrMute) || len(responses) != 0 {
			t.Errorf("a malformed window was played: %X, %v", responses, err)
		}
	}
	want(t, send(t, f, selectDefault), apdu.SWOK)
}

func lost(t *testing.T, f Fixture) {
	if f.Lose == nil {
		t.Skip("contact cannot be taken away in this test")
	}
	want(t, send(t, f, selectDefault), apdu.SWOK)
	f.Lose(t)
	if resp, err := f.Transport.Transmit(t.Context(), unhex(readCPLC)); !errors.Is(err, card.ErrMute) || len(resp) != 0 {
		t.Errorf("transmitting without contact: %X, %v", resp, err)
	}
	if responses, err := playOn(t.Context(), f.Transport, window("9000", readCPLC)); !errors.Is(err, card.ErrMute) || len(responses) != 0 {
		t.Errorf("playing without contact: %X, %v", responses, err)
	}
}

func cancelled(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if responses, err := playOn(ctx, f.Transport, window("9000", selectDefault)); err == nil {
		t.Errorf("playing after the end gave %X", responses)
	}
}

func window(mask string, commands ...string) (w []bus.Play) {
	for _, c := range commands {
		w = append(w, bus.Play{APDU: unhex(c), SW: mask})
	}
	return w
}

func send(t *testing.T, f Fixture, command string) []byte {
	t.Helper()
	resp, err := f.Transport.Transmit(t.Context(), unhex(command))
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return resp
}

func want(t *testing.T, resp []byte, sw apdu.SW) {
	t.Helper()
	if _, got, err := apdu.SWOf(resp); err != nil || got != sw {
		t.Fatalf("%X (%v), expected %v", resp, err, sw)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
