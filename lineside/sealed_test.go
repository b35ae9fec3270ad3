package lineside

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/sealing"
	"github.com/persoline/persoline/perso/tlv"
)

const plainScript = `.SCRIPT plain 1
.CHANNEL ADM
.PHASE identify
cplc: 80CA9F7F 00 (9000) => chip
.PHASE open
p.x: 80CADF20 00 (9000|6A88) => probe
.SECTION stamp REDO=safe WHEN=stamp
00DADF20 <{STAMP}> (9000)
.PHASE write
.SECTION x REDO=safe
00DA8F20 <{secret:KI}> (9000)
.PHASE verify
v.x: 80CADF20 00 [DF20 <{STAMP}>] (9000) => readback
`

func plainJobOf(t *testing.T) *Job {
	t.Helper()
	compiled := mustDo(script.Compile([]byte(plainScript), script.Catalogue{"STAMP": {Len: 32}, "KI": {Len: 16, Secret: true}})).Encode()
	return mustDo(NewJob(bus.WorkOrder{ID: "order-1", Lot: testLot, Product: "basic", Script: sha256.Sum256(compiled), Quantity: 1,
		ATR: "3B9F96801F878031E073FE2113674D324D323030XX", ChipID: "cplc", Channel: "adm", Env: perso.EnvTest}, compiled))
}

// plainHead is a head that asked act 0 of a chip without a secure channel, with the key of this contact.
func plainHead(t *testing.T) (*Head, sealing.Key, *bus.ActRequest, []byte) {
	t.Helper()
	h := NewHead(testLine, 3, bins.Standard(), Trust{})
	cplc := bytes.Repeat([]byte{0x11}, 42)
	answer := append(tlv.Encode(0x9F7F, cplc), 0x90, 0x00)
	key := mustDo(sealing.NewKey(rand.NewChaCha8([32]byte{3})))
	step := func(ev Event) []Effect { return h.Step(testTime(), ev) }
	step(Begin{plainJobOf(t)})
	step(Loaded{h.ticket, true})
	step(Contacted{h.ticket, 7, unhex("3B9F96801F878031E073FE2113674D324D32303000")})
	step(Played{h.ticket, [][]byte{answer}, false})
	effects := step(Challenge{h.ticket, 5, []byte{1, 2, 3, 4, 5, 6, 7, 8}})
	if _, ok := effects[len(effects)-1].(MakeKey); !ok || h.state != StateOpening {
		t.Fatalf("in state %s, effects %v", h.state, effects)
	}
	effects = step(KeyMade{h.ticket, key.Public()})
	ask, ok := effects[len(effects)-1].(AskAct)
	if !ok {
		t.Fatalf("effects %v", effects)
	}
	return h, key, ask.Request, cplc
}

// The session is named by challenge, key and chip; a window comes sealed, and goes to the shell as it came.
func TestHeadOpensAPlainSession(t *testing.T) {
	t.Parallel()
	h, key, q, cplc := plainHead(t)
	o, err := sealing.ParseOpening(q.Command)
	chip := mustDo(id.ChipIDFromCPLC(cplc))
	if err != nil || o.Public != key.Public() || o.Challenge != [8]byte{1, 2, 3, 4, 5, 6, 7, 8} || q.Session != entry.SessionOf(q.Command, q.Answer) || h.at.chip != chip {
		t.Fatalf("asked %+v: %v", q, err)
	}
	b := sealing.Binding{Lot: testLot, Unit: 4, Gen: 1, Chip: chip, Present: q.Present, Session: q.Session, Script: h.job.script}
	sealed := mustDo(sealing.Seal(o, b, bus.Window{{APDU: []byte{0, 0x20, 0, 0x0E, 1, 0x31}, SW: "9000"}}))
	effects := h.Step(testTime(), Replied{h.ticket, bus.ActReply{Sealed: &bus.SealedWindow{Unit: 4, Gen: 1, Data: sealed}, State: []byte{9}}})
	play, ok := effects[len(effects)-1].(Play)
	if !ok || play.Sealed == nil || play.Window != nil || h.state != StatePlaying {
		t.Fatalf("in state %s, effects %v", h.state, effects)
	}
	window, err := play.Sealed.Open(key)
	if err != nil || len(window) != 1 {
		t.Fatalf("%v: %v", window, err)
	}
	wrong := *play.Sealed
	wrong.For.Unit++
	if _, err := wrong.Open(key); err == nil {
		t.Error("it opens for another unit")
	}
}

// A window in clear for such a chip, or a sealed one for another, stops the head.
func TestHeadTakesWindowsOfItsKindOnly(t *testing.T) {
	t.Parallel()
	h, _, _, _ := plainHead(t)
	h.Step(testTime(), Replied{h.ticket, bus.ActReply{Window: bus.Window{{APDU: []byte{0, 0xA4, 0, 0}, SW: "9000"}}}})
	if h.state != StateStopped || h.stopped.Cause != CauseReply {
		t.Errorf("a window in clear: %s", h.state)
	}
	s := newStage(t)
	s.run("begin: loading Load\nloaded: contacting Lift+Contact\ncontacted: identifying Play(2)\nidentified: waiting-for-challenge NeedChallenge\nchallenge: opening Play(1)")
	s.run("opened: asking Act(0@100,0)")
	s.h.Step(s.now, Replied{s.h.ticket, bus.ActReply{Sealed: &bus.SealedWindow{Data: []byte{1}}}})
	if s.h.state != StateStopped || s.h.stopped.Cause != CauseReply {
		t.Errorf("a sealed window for a chip with a channel: %s", s.h.state)
	}
}

// recorder is a machine that keeps what it was given to play, as it lies in memory.
type recorder struct {
	Machine
	window []bus.Play
}

func (r *recorder) Play(_ context.Context, _ uint16, window []bus.Play) ([][]byte, error) {
	r.window = window
	return [][]byte{{0x90, 0x00}}, nil
}

// The shell wipes a window when it was played, and the key when the chip is contacted anew or binned.
func TestRunnerWipesWhatItOpened(t *testing.T) {
	t.Parallel()
	h, _, q, _ := plainHead(t)
	m := &recorder{}
	w := &Worker{cfg: Config{Machine: m, Random: rand.NewChaCha8([32]byte{4})}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	r := newRunner(w, 0)
	ev, err := r.makeKey(MakeKey{1})
	made, ok := ev.(KeyMade)
	if err != nil || !ok {
		t.Fatal(ev, err)
	}
	b := sealing.Binding{Lot: testLot, Chip: h.at.chip, Present: q.Present, Session: q.Session, Script: h.job.script}
	sealed := mustDo(sealing.Seal(sealing.Opening{Public: made.Public}, b, bus.Window{{APDU: []byte{0, 0x20, 0, 0x0E, 1, 0x31}, SW: "9000"}}))
	play := Play{Ticket: 2, Sealed: &Sealed{Data: sealed, For: b}}
	if ev := r.playSealed(t.Context(), play); ev.(Played).Ticket != 2 || !bytes.Equal(m.window[0].APDU, make([]byte, 6)) {
		t.Errorf("after playing the window is %x", m.window[0].APDU)
	}
	if _, err := r.makeKey(MakeKey{3}); err != nil {
		t.Fatal(err)
	}
	if no, ok := r.playSealed(t.Context(), play).(NoAnswer); !ok || no.Kind != Invalid {
		t.Error("a window of the presentation before was played")
	}
}
