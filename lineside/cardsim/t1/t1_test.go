package t1_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/card/cardtest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/cardsim/atr"
	"github.com/persoline/persoline/lineside/cardsim/t1"
)

// echo is a chip that answers with the command and 9000, and counts.
type echo struct{ done int }

func (e *echo) run(_ context.Context, command []byte) ([]byte, error) {
	e.done++
	return append(bytes.Clone(command), 0x90, 0x00), nil
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBlocks checks block by block; a pair is "sent", "answered".
func TestBlocks(t *testing.T) {
	t.Parallel()
	for name, blocks := range map[string][]string{
		"one command":             {"00000400A404 00A4", "00 00 06 00A404009000 36"},
		"numbers alternate":       {"000001AAAB", "000003AA900039", "004001BBFA", "004003BB900068"},
		"a command in two":        {"002001AA8B", "00900090", "004001BBFA", "000004AABB900085"},
		"the last block again":    {"000001AAAB", "000003AA900039", "00800080", "000003AA900039"},
		"wrong check byte":        {"000001AAAA", "00810081"},
		"no block":                {"0000", "00820082"},
		"a wrong number":          {"004001AAEB", "00820082"},
		"a reserved bit":          {"000101AAAA", "00820082"},
		"length of information":   {"00C101FE3E", "00E101FE1E"},
		"a length of none":        {"00C10100C0", "00820082"},
		"a new beginning":         {"000001AAAB", "000003AA900039", "00C000C0", "00E000E0", "000001AAAB", "000003AA900039"},
		"aborted":                 {"002001AA8B", "00900090", "00C200C2", "00E200E2", "004001BBFA", "000003BB900028"},
		"nothing to repeat":       {"00800080", "00800080"},
		"time that was not asked": {"00E30101E3", "00820082"},
		"to another node":         {"010001AAAA", "00820082"},
	} {
		chip := t1.NewCard(new(echo).run)
		for i := 0; i < len(blocks); i += 2 {
			sent := unhex(t, string(bytes.ReplaceAll([]byte(blocks[i]), []byte(" "), nil)))
			want := unhex(t, string(bytes.ReplaceAll([]byte(blocks[i+1]), []byte(" "), nil)))
			if name == "one command" {
				sent = unhex(t, "00000400A4040"+"0A4")
			}
			got, err := chip.Exchange(t.Context(), sent)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %X was answered %X (%v), expected %X", name, sent, got, err, want)
			}
		}
	}
}

// line has both ends talk, and does to the n-th block that passes what a bad contact does.
type line struct {
	chip   *t1.Card
	passed int
	spoil  func(n int, b []byte) []byte
}

func (l *line) wire(ctx context.Context, block []byte) ([]byte, error) {
	there := l.pass(block)
	if there == nil {
		return nil, nil
	}
	back, err := l.chip.Exchange(ctx, there)
	if err != nil {
		return nil, err
	}
	return l.pass(back), nil
}

func (l *line) pass(b []byte) []byte {
	l.passed++
	if l.spoil != nil {
		return l.spoil(l.passed, bytes.Clone(b))
	}
	return b
}

func command(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// TestBadContact loses, bends and cuts each block of an exchange in turn, up to three times in a row: the command is carried out
// once, and its answer comes whole.
func TestBadContact(t *testing.T) {
	t.Parallel()
	bend := map[string]func([]byte) []byte{
		"lost": func([]byte) []byte { return nil },
		"bent": func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b },
		"cut":  func(b []byte) []byte { return b[:len(b)-1] },
	}
	const longest = 600
	for name, bent := range bend {
		for _, times := range []int{1, 3} {
			for at := 1; ; at++ {
				e := new(echo)
				chip := t1.NewCard(e.run)
				chip.Extend = func([]byte) int { return 2 }
				l := &line{chip: chip, spoil: func(n int, b []byte) []byte {
					if n >= at && n < at+times {
						return bent(b)
					}
					return b
				}}
				r := t1.NewReader(l.wire, 64)
				for _, n := range []int{longest, 5} {
					got, err := r.Exchange(t.Context(), command(n))
					if err != nil || !bytes.Equal(got, append(command(n), 0x90, 0x00)) {
						t.Fatalf("%s %d times at block %d: %d bytes, %v", name, times, at, len(got), err)
					}
				}
				if e.done != 2 {
					t.Fatalf("%s %d times at block %d: carried out %d times", name, times, at, e.done)
				}
				if l.passed < at {
					break // the whole exchange was before it
				}
			}
		}
	}
}

// TestGivenUp: a wire that stays dead ends the contact, and a new beginning begins it again.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	dead := false
	l := &line{chip: t1.NewCard(new(echo).run), spoil: func(_ int, b []byte) []byte {
		if dead {
			return nil
		}
		return b
	}}
	r := t1.NewReader(l.wire, 32)
	if _, err := r.Exchange(t.Context(), command(5)); err != nil {
		t.Fatal(err)
	}
	dead = true
	passed := l.passed
	if _, err := r.Exchange(t.Context(), command(5)); !errors.Is(err, t1.ErrMute) || l.passed-passed != 4 {
		t.Errorf("%v after %d blocks", err, l.passed-passed)
	}
	dead = false
	if _, err := r.Exchange(t.Context(), command(5)); !errors.Is(err, t1.ErrMute) {
		t.Errorf("after it was given up: %v", err)
	}
	if err := r.Resynch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Exchange(t.Context(), command(300)); err != nil || len(got) != 302 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	dead = true
	if err := r.Resynch(t.Context()); !errors.Is(err, t1.ErrMute) {
		t.Errorf("a new beginning on a dead wire: %v", err)
	}
	lost := errors.New("lost")
	r = t1.NewReader(func(context.Context, []byte) ([]byte, error) { return nil, lost }, 0)
	if _, err := r.Exchange(t.Context(), command(5)); !errors.Is(err, lost) {
		t.Errorf("a lost wire: %v", err)
	}
}

// TestTraffic: what the timing model counts is what travels.
func TestTraffic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, out, ifsc int }{{5, 2, 32}, {64, 256, 32}, {260, 2, 254}, {255, 258, 100}, {32, 254, 32}, {33, 255, 32}} {
		chars := 0
		l := &line{chip: t1.NewCard(func(context.Context, []byte) ([]byte, error) { return make([]byte, c.out), nil })}
		l.spoil = func(_ int, b []byte) []byte { chars += len(b); return b }
		r := t1.NewReader(l.wire, c.ifsc)
		if _, err := r.Exchange(t.Context(), command(c.in)); err != nil {
			t.Fatal(err)
		}
		const told, toldChars = 2, 2 * (t1.Overhead + 1) // the reader's own length, once in a contact
		wantChars, wantBlocks := t1.Traffic(c.in, c.out, c.ifsc, t1.MaxInfo)
		if chars-toldChars != wantChars || l.passed-told != wantBlocks {
			t.Errorf("%+v: %d characters in %d blocks, counted %d in %d", c, chars-toldChars, l.passed-told, wantChars, wantBlocks)
		}
	}
}

// TestTransport has a chip and a reader choose T=1 and talk.
func TestTransport(t *testing.T) {
	t.Parallel()
	reset := unhex(t, "3B9F968031FE458031E073FE21136753494D31304D0000")
	reset[len(reset)-1] = 0
	for _, b := range reset[1 : len(reset)-1] {
		reset[len(reset)-1] ^= b
	}
	offered, err := atr.Parse(reset)
	if err != nil || !offered.Offers(1) || offered.IFSC != 0xFE {
		t.Fatalf("%+v, %v", offered, err)
	}
	cardtest.Run(t, func(t *testing.T) cardtest.Fixture {
		p := cardsim.Personality{ATR: reset, KVN: 0xFF}
		p.Keys.ENC, p.Keys.MAC, p.Keys.DEK = make([]byte, 16), make([]byte, 16), make([]byte, 16)
		c, err := cardsim.New(p, &cardsim.Memory{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.PowerOn()
		want := atr.Choice{Protocol: 1, TA1: offered.TA1}
		answer, chosen, ok := offered.Choose(want.Request())
		if settled, agreed := want.Settled(answer); !ok || !agreed || settled != chosen || chosen != want {
			t.Fatalf("chosen %+v and %+v", chosen, settled)
		}
		chip := t1.NewCard(func(_ context.Context, command []byte) ([]byte, error) {
			if resp, _ := c.Process(command); resp != nil {
				return resp, nil
			}
			return nil, card.ErrMute
		})
		r := t1.NewReader((&line{chip: chip}).wire, int(offered.IFSC))
		return cardtest.Fixture{Transport: card.Over(link{r}, card.T1), Lose: func(*testing.T) { c.PowerOff() }}
	})
}

// link says of a chip that is mute by T=1 what the line says of a chip that is.
type link struct{ *t1.Reader }

func (l link) Exchange(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := l.Reader.Exchange(ctx, command)
	if errors.Is(err, t1.ErrMute) {
		err = errors.Join(card.ErrMute, err)
	}
	return answer, err
}

// FuzzCard sends anything to a chip: it answers each with one block, and carries out what came whole.
func FuzzCard(f *testing.F) {
	f.Add([]byte{0x00, 0x00, 0x01, 0xAA, 0xAB, 0x00, 0x80, 0x00, 0x80}, byte(5))
	f.Add([]byte{0x00, 0xC1, 0x01, 0x05, 0xC5, 0x00, 0x20, 0x01, 0xAA, 0x8B}, byte(4))
	f.Fuzz(func(t *testing.T, blocks []byte, n byte) {
		chip := t1.NewCard(new(echo).run)
		chip.Extend = func(c []byte) int { return len(c) % 3 }
		for len(blocks) > 0 {
			at := min(len(blocks), 1+int(n)%8)
			got, err := chip.Exchange(t.Context(), blocks[:at])
			if err != nil || len(got) < t1.Overhead || len(got) != t1.Overhead+int(got[2]) {
				t.Fatalf("%X was answered %X, %v", blocks[:at], got, err)
			}
			blocks = blocks[at:]
		}
	})
}

// FuzzReader gives anything to a reader: it comes to an end.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0x00, 0xE1, 0x01, 0xFE, 0x1E, 0x00, 0x00, 0x02, 0x90, 0x00, 0x92}, byte(5))
	f.Fuzz(func(t *testing.T, answers []byte, n byte) {
		r := t1.NewReader(func(context.Context, []byte) ([]byte, error) {
			at := min(len(answers), 1+int(n)%12)
			b := answers[:at]
			answers = answers[at:]
			return b, nil
		}, int(n))
		if _, err := r.Exchange(t.Context(), command(40)); err != nil && !errors.Is(err, t1.ErrMute) {
			t.Fatal(err)
		}
	})
}
