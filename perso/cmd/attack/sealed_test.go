package attack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/sealing"
	"github.com/persoline/persoline/perso/tlv"
)

// plainProduct has no secure channel: a line reads what it plays, and nobody else does.
const plainProduct = "basic-100s-2ff"

// firstSIM keeps the SIMs' numbers apart from those of the chips that every site has.
const firstSIM = 100

// plainSite is a site with a lot of such SIMs.
func plainSite(t *testing.T) *site {
	t.Helper()
	db, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := bareSite(t, db)
	var chips []string
	for n := range uint32(4) {
		p := plainPersonality(t, n+1)
		chips = append(chips, fmt.Sprintf("%x", p.ChipID()))
	}
	s.receive(map[string]any{"reel": "R-SIM", "product": plainProduct, "os": "UICC-OS 1.4", "kmc": "kmc-basic-100s", "kvn": 0, "chips": chips})
	s.orderLot(map[string]any{"product": plainProduct, "eid": nil, "sm_sr": nil})
	return s
}

// plainPersonality is SIM n as its maker ships it: with a transport code.
func plainPersonality(t *testing.T, n uint32) cardsim.Personality {
	t.Helper()
	p := personality(t, firstSIM+n)
	p.KVN, p.Options = 0, cardsim.Options{SIM: true, NoDomain: true}
	return p
}

func newSIM(t *testing.T, n uint32) *cardsim.Chip {
	t.Helper()
	chip, err := cardsim.New(plainPersonality(t, n), &cardsim.Memory{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return chip
}

// beginPlain makes the key of a contact, and what opens its session.
func (h *head) beginPlain(s *script.Script, identify [][]byte, challenge []byte) (command, answer []byte) {
	h.Helper()
	var err error
	h.key, err = sealing.NewKey(rand.Reader)
	h.must(err)
	at := slices.IndexFunc(s.Identify, func(c script.Step) bool { return c.Purpose == script.PurposeChip })
	cplc, _, err := tlv.Find(identify[at], 0x9F7F)
	h.must(err)
	h.named, err = id.ChipIDFromCPLC(cplc)
	h.must(err)
	return sealing.Opening{Challenge: [sealing.ChallengeBytes]byte(challenge), Public: h.key.Public()}.Bytes(), identify[at]
}

// binding is what the window that answers a request must be for.
func (h *head) binding(q bus.ActRequest, w bus.SealedWindow) sealing.Binding {
	return sealing.Binding{Lot: h.lot, Unit: w.Unit, Gen: w.Gen, Chip: h.named, Present: q.Present, Session: q.Session, N: q.N, Script: h.release.ScriptHash}
}

func (h *head) unsealed(q bus.ActRequest, w bus.SealedWindow) bus.Window {
	h.Helper()
	h.sealed = append(h.sealed, w)
	window, err := h.key.Open(h.binding(q, w), w.Data)
	h.must(err)
	return window
}

// TestSealedWindow (I2): what the ledger and the bus have of a contact opens with the one key that the line made for it, for the one
// chip, presentation, session and act; and nothing of it is in clear.
func TestSealedWindow(t *testing.T) {
	t.Parallel()
	s := plainSite(t)
	const fromEnd = 3 // commands, in the last window
	h := s.head(newSIM(t, 1)).tear(s.makeGood(newSIM(t, 3)).said - fromEnd)
	if v, err := h.run(); err != nil || v.Verdict == perso.VerdictGood || len(h.sealed) < 2 {
		t.Fatalf("%+v, %v, %d windows", v, err, len(h.sealed))
	}
	for n, w := range h.sealed {
		b := h.binding(h.sent[n], w)
		window, err := h.key.Open(b, w.Data)
		if err != nil {
			t.Fatalf("window %d: %v", n, err)
		}
		for _, p := range window {
			if c, err := apdu.Parse(p.APDU); err == nil && len(c.Data) >= 8 && bytes.Contains(w.Data, c.Data) {
				t.Errorf("window %d has %X in clear", n, p.APDU[:5])
			}
		}
		other := s.head(newSIM(t, 2))
		other.begin(make([]byte, sealing.ChallengeBytes))
		for name, bend := range map[string]func(*sealing.Binding){
			"lot": func(b *sealing.Binding) { b.Lot += "X" }, "unit": func(b *sealing.Binding) { b.Unit++ }, "generation": func(b *sealing.Binding) { b.Gen++ },
			"chip": func(b *sealing.Binding) { b.Chip = other.named }, "line": func(b *sealing.Binding) { b.Present.Line = "line-2" },
			"head": func(b *sealing.Binding) { b.Present.Head++ }, "presentation": func(b *sealing.Binding) { b.Present.Number++ },
			"session": func(b *sealing.Binding) { b.Session[0] ^= 1 }, "act": func(b *sealing.Binding) { b.N++ }, "script": func(b *sealing.Binding) { b.Script[0] ^= 1 },
		} {
			another := b
			bend(&another)
			if _, err := h.key.Open(another, w.Data); !errors.Is(err, sealing.ErrSealed) {
				t.Errorf("window %d opens for another %s: %v", n, name, err)
			}
		}
		if _, err := other.key.Open(b, w.Data); !errors.Is(err, sealing.ErrSealed) {
			t.Errorf("window %d opens with the key of another presentation: %v", n, err)
		}
	}
	// The same chip at its next presentation: what was sealed before is of no use, and what is sealed now is for the new key.
	again := s.makeGood(h.chip)
	for n := range again.sealed {
		_, err := h.key.Open(again.binding(again.sent[n], again.sealed[n]), again.sealed[n].Data)
		if !errors.Is(err, sealing.ErrSealed) {
			t.Errorf("window %d of the next presentation opens with the key of the first: %v", n, err)
		}
	}
}

// TestLyingLineOfSIMs: the line reads what it plays to such a SIM. What it says of it makes it good only if the chip that it names
// has what was sealed for it, or the line lies on with the keys that it read, which "(trusts the line)" says.
func TestLyingLineOfSIMs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*head)
		want    string // in the answer
	}{
		"I1: the windows of one chip played to another": {func(h *head) {
			// The line names chip 1 and has chip 2 under the head.
			h.swap, h.chip = h.chip, newSIM(h.T, 1)
			h.chip.PowerOn()
		}, "status"},
		"I1: the answers of a chip that is good, told of another": {func(h *head) {
			one := h.site.makeGood(newSIM(h.T, 1))
			h.edit = func(q *bus.ActRequest) {
				if q.N > 0 && int(q.N) < len(one.sent) {
					q.Responses = one.sent[q.N].Responses
				}
			}
		}, "data-mismatch"},
		"I4: every answer a bare success": {func(h *head) {
			h.bend = func(n int, answer []byte) []byte {
				if n > 6 {
					return []byte{0x90, 0x00}
				}
				return answer
			}
		}, "data-mismatch"},
		"I4: another key under the challenge of the first": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 1 {
					other, err := sealing.NewKey(rand.Reader)
					h.must(err)
					again := h.sent[0]
					o, err := sealing.ParseOpening(again.Command)
					h.must(err)
					again.Command = sealing.Opening{Challenge: o.Challenge, Public: other.Public()}.Bytes()
					again.Session = entry.SessionOf(again.Command, again.Answer)
					*q = again
				}
			}
		}, "challenge"},
		"I4: a challenge of its own": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 0 {
					q.Serial++
				}
			}
		}, "never given out"},
		"I4: another presentation": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 1 {
					q.Present.Number++
				}
			}
		}, "belongs to"},
		"the truth": {func(*head) {}, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := plainSite(t)
			h := s.head(newSIM(t, 2))
			c.prepare(h)
			v, err := h.run()
			said := string(v.Verdict) + " " + string(v.Reason) + " " + v.Text
			if err != nil {
				said = err.Error()
			}
			if (v.Verdict == perso.VerdictGood) != (c.want == "good") || !strings.Contains(said, c.want) {
				t.Errorf("got %q, want %q in it", said, c.want)
			}
			if c.want == "status" {
				if stamp := h.transmit([]byte{0x00, 0xCA, 0xDF, 0x20, 0x00}); !bytes.Equal(stamp, []byte{0x6A, 0x88}) {
					t.Errorf("the chip that was put in its place has taken a stamp: %X", stamp)
				}
			}
		})
	}
}

// TestReplayedSIM (I4): a line that recorded a whole contact plays it again: it hears the verdict, and no window comes again, for this
// presentation or another.
func TestReplayedSIM(t *testing.T) {
	t.Parallel()
	s := plainSite(t)
	h := s.makeGood(newSIM(t, 1))
	for _, q := range h.sent {
		a, err := s.ledger.Act(s.ctx, q)
		if err != nil || a.Verdict == nil || a.Verdict.Verdict != perso.VerdictGood || a.Sealed != nil {
			t.Errorf("act %d again: %+v, %v", q.N, a, err)
		}
		q.Present.Number += 1000
		if a, err := s.ledger.Act(s.ctx, q); err == nil && a.Verdict != nil && a.Verdict.Verdict == perso.VerdictGood || a.Sealed != nil {
			t.Errorf("act %d at another presentation: %+v, %v", q.N, a, err)
		}
	}
	var claims int64
	s.scan(`SELECT COUNT(*) FROM claim`, nil, &claims)
	if claims != 1 {
		t.Errorf("%d claims of one chip", claims)
	}
}
