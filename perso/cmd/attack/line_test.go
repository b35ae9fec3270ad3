package attack

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/service"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/membus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// TestLyingLine: what a line says about a chip does not make it good. Each lie is told of a chip that is honestly offered.
func TestLyingLine(t *testing.T) {
	t.Parallel()
	nothing := func(*head) {}
	for name, c := range map[string]struct {
		prepare func(*head) // before the contact
		want    string      // in the answer
	}{
		"I1: the CPLC of another chip, where the key diversification data names the chip": {func(h *head) {
			other := h.identifyOf(newChip(h.T, 2))
			h.edit = func(q *bus.ActRequest) {
				if q.N == 0 {
					q.Identify = other
				}
			}
		}, "good"},
		"I1: CPLC and answer of another chip": {func(h *head) {
			other := h.site.head(newChip(h.T, 2))
			h.edit = func(q *bus.ActRequest) {
				if q.N == 0 {
					q.Identify, _, q.Answer = other.begin(q.Command[5 : 5+8])
				}
				q.Session = entry.SessionOf(h.first(q).Command, h.first(q).Answer)
			}
		}, "status"}, // the window is MACed for chip 2: chip 1 refuses it
		"I4: every answer a bare success": {func(h *head) {
			h.bend = func(n int, answer []byte) []byte {
				if n > 3 {
					return []byte{0x90, 0x00}
				}
				return answer
			}
		}, "response-mac"},
		"I4: the proofs left out": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 3 {
					q.Responses = q.Responses[:len(q.Responses)-1]
				}
			}
		}, "bad-contact"},
		"I4: answers of the act before": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N > 1 {
					q.Responses = h.sent[1].Responses
				}
			}
		}, "response-mac"},
		"I4: more answers than commands": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 2 {
					q.Responses = append(q.Responses, []byte{0x90, 0x00})
				}
			}
		}, "answers more than commands"},
		"I4: the last act at once": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 1 {
					q.N = 3
				}
			}
		}, "was not served"},
		"I4: another presentation": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 1 {
					q.Present.Number++
				}
			}
		}, "belongs to"},
		"I4: a challenge of its own": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 0 {
					q.Serial++
				}
			}
		}, "never given out"},
		"I1: an emulated chip": {func(h *head) {
			h.chip = emulated(h.T, 1)
			h.chip.PowerOn()
		}, "card-cryptogram"},
		"I9: answers without end": {func(h *head) {
			h.edit = func(q *bus.ActRequest) {
				if q.N == 1 {
					q.Responses = append(q.Responses, make([]byte, 1<<20))
				}
			}
		}, "exceed"},
		"the truth": {nothing, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t).head(newChip(t, 1))
			c.prepare(h)
			v, err := h.run()
			said := string(v.Verdict) + " " + string(v.Reason) + " " + v.Text
			if err != nil {
				said = err.Error()
			}
			if (v.Verdict == perso.VerdictGood) != (c.want == "good") || !strings.Contains(said, c.want) {
				t.Errorf("got %q, want %q in it", said, c.want)
			}
			if c.want != "good" {
				return
			}
			p := personality(t, 1)
			if e, err := entry.ParseOutcome(v.Entry); err != nil || e.Chip.String() != fmt.Sprintf("%x", p.ChipID()) {
				t.Errorf("good is chip %s, %v", e.Chip, err)
			}
		})
	}
}

// first is act 0 as it was sent, or as it is about to be.
func (h *head) first(q *bus.ActRequest) bus.ActRequest {
	if q.N == 0 {
		return *q
	}
	return h.sent[0]
}

// identifyOf reads a chip as a line does.
func (h *head) identifyOf(chip *cardsim.Chip) [][]byte {
	identify, _, _ := h.site.head(chip).begin(make([]byte, 8))
	return identify
}

// TestEveryAnswerBent (I4): whichever one answer the line changes, cuts off or makes up, the chip does not become good by
// it, and an honest contact afterwards finishes it.
func TestEveryAnswerBent(t *testing.T) {
	t.Parallel()
	const commands = 60 // an undisturbed contact has fewer
	for name, bend := range map[string]func([]byte) []byte{
		"bit": func(b []byte) []byte { b = bytes.Clone(b); b[0] ^= 1; return b },
		"end": func(b []byte) []byte { return b[max(0, len(b)-2):] },
	} {
		for at := 3; at < commands; at += 4 {
			s := newSite(t)
			chip := newChip(t, 1)
			h, bent := s.head(chip), false
			h.bend = func(n int, answer []byte) []byte {
				if n != at || len(answer) <= 2 {
					return answer
				}
				bent = true
				return bend(answer)
			}
			if v, err := h.run(); bent && err == nil && v.Verdict == perso.VerdictGood {
				t.Errorf("%s of answer %d bent: good", name, at)
			}
		}
	}
}

// TestReplayedSession (I4): a line that recorded a whole contact plays it again: the ledger repeats its verdict, and the
// recorded chip stays the only one. Under another presentation it is refused.
func TestReplayedSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.makeGood(newChip(t, 1))
	for _, q := range h.sent {
		a, err := s.ledger.Act(s.ctx, q)
		if err != nil || a.Verdict == nil || a.Verdict.Verdict != perso.VerdictGood {
			t.Errorf("act %d again: %+v, %v", q.N, a, err)
		}
		q.Present.Number += 1000
		if a, err := s.ledger.Act(s.ctx, q); err == nil && a.Verdict != nil && a.Verdict.Verdict == perso.VerdictGood || len(a.Window) > 0 {
			t.Errorf("act %d at another presentation: %+v", q.N, a)
		}
	}
	var claims int64
	s.scan(`SELECT COUNT(*) FROM claim`, nil, &claims)
	if claims != 1 {
		t.Errorf("%d claims of one chip", claims)
	}
}

// serve has the ledger answer on a bus, for two lines and the office.
func (s *site) serve() *membus.Bus {
	s.Helper()
	b := membus.New(membus.Config{AckWait: time.Minute, Now: time.Now})
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() {
		done <- service.Run(ctx, service.Config{Ledger: s.ledger, Bus: b, Lines: []perso.Name{"line-1", "line-2"}, Log: slog.New(slog.DiscardHandler)})
	}()
	s.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; { // the service subscribes in its own time
		_, err := bus.Call[bus.StatusReply](ctx, b, bus.OfficeSubject(bus.OfficeStatus), bus.LotRequest{Lot: s.lot})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			s.Fatal(err)
		}
	}
	return b
}

// TestBinOfALine (I6): a line cannot say in which bin a chip lies if the ledger decided otherwise, nor count for people, nor
// speak for another line.
func TestBinOfALine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.head(newChip(t, 1)).tear(30)
	if v, err := h.run(); err != nil || v.Verdict != perso.VerdictRecontact {
		t.Fatalf("%+v, %v", v, err)
	}
	b, ctx := s.serve(), s.ctx
	bin := bus.BinRequest{Lot: s.lot, Present: h.at, Bin: perso.VerdictGood}
	_, err := bus.Call[bus.Empty](ctx, b, bus.LineSubject("line-1", bus.LineBin), bin)
	refused(t, err, "conflict")
	bin.Bin = perso.VerdictRejectLive
	_, err = bus.Call[bus.Empty](ctx, b, bus.LineSubject("line-2", bus.LineBin), bin)
	refused(t, err, "speaks for line")
	count := bus.CountRequest{Lot: s.lot, Source: entry.SourceHand, In: 1, Good: 1}
	_, err = bus.Call[bus.Empty](ctx, b, bus.LineSubject("line-1", bus.LineCount), count)
	refused(t, err, "asked where")
	count.Source = entry.SourceHandler
	_, err = bus.Call[bus.Empty](ctx, b, bus.OfficeSubject(bus.OfficeCount), count)
	refused(t, err, "asked where")
	if _, err = bus.Call[bus.Empty](ctx, b, bus.LineSubject("line-1", bus.LineCount), count); err != nil {
		t.Error(err)
	}
}

// TestUnknownLine: no chips are issued to a line that the site does not have, and no such line is cleared.
func TestUnknownLine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.serve()
	ctx := s.ctx
	standing, err := bus.Call[bus.StandingReply](ctx, b, bus.OfficeSubject(bus.OfficeStanding), bus.Empty{})
	if err != nil || len(standing.Lines) != 2 {
		t.Fatalf("standing %+v, %v", standing, err)
	}
	for line, has := range map[perso.Name]bool{"line-2": true, "line-7": false} {
		body, err := statement.Clearance{Header: statement.Header{Env: standing.Env, Site: standing.Site, At: standing.Now, Nonce: [32]byte{line[5]}},
			Line: line, Lot: s.lot, Finding: "empty"}.Encode()
		s.must(err)
		word := statement.Signed{Body: body}
		word.Sign("ann", s.officers["ann"])
		_, err = bus.Call[bus.WordReply](ctx, b, bus.OfficeSubject(bus.OfficeWord), bus.SignedRequest{Signed: word.Encode()})
		book := bus.BookRequest{ID: [32]byte{line[5]}, Reel: "R-1", From: perso.AccountStore, To: perso.LineAccount(line), Chips: 1, By: "Store Keeper"}
		_, err2 := bus.Call[bus.BookReply](ctx, b, bus.OfficeSubject(bus.OfficeBook), book)
		if !has {
			refused(t, err, "no line \"line-7\": it has line-1, line-2")
			refused(t, err2, "no line \"line-7\": it has line-1, line-2")
			continue
		}
		if err != nil {
			t.Errorf("a line of the site is not cleared: %v", err)
		}
		if err2 != nil {
			t.Errorf("no chips go to a line of the site: %v", err2)
		}
	}
}
