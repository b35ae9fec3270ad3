package sim

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/persoline/persoline/lineside"
	"github.com/persoline/persoline/lineside/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// spareReel is how many chips an operator brings when a reel is empty.
const spareReel = 4

// maxReels bounds them: more means that the lot eats chips without end.
const maxReels = 12

// machine is handler and readers: the reel, the places under the heads, the bins. Its counters are the lengths of those.
type machine struct {
	w     *World
	all   []*chip
	reel  []*chip
	heads []*chip
	bins  map[perso.Verdict][]*chip
	aside []*chip // taken out by hand
	in    uint64  // indexed
	reels int
}

// newReel makes chips, and the list that comes with them.
func (m *machine) newReel(count int) (goodsIn []byte, err error) {
	w := m.w
	m.reels++
	list := []string{}
	seen := map[[10]byte]bool{}
	for _, c := range m.all {
		seen[c.id] = true
	}
	for range count {
		c, err := w.newChip(len(m.all), m.all)
		if err != nil {
			return nil, err
		}
		m.all, m.reel = append(m.all, c), append(m.reel, c)
		if !c.blank.Unknown && !seen[c.id] { // a maker does not know his twins
			list = append(list, hex.EncodeToString(c.id[:]))
		}
		seen[c.id] = true
	}
	if len(list) == 0 {
		return nil, nil
	}
	p := w.site.product
	return json.Marshal(map[string]any{"version": 1, "reel": fmt.Sprintf("R-%d", m.reels), "product": string(p.SKU), "os": p.ChipOS, "atr": "", "kmc": string(p.Factory.KMC), "kvn": p.Factory.KVN,
		"count": len(list), "chips": list})
}

// load brings the next chip, unless one lies there.
func (m *machine) load(head int) bool {
	if m.heads[head] != nil {
		return true
	}
	if len(m.reel) == 0 {
		return false
	}
	m.heads[head], m.reel = m.reel[0], m.reel[1:]
	m.in++
	m.w.note(headName(head), "%s is loaded", m.heads[head].name)
	return true
}

// bin puts the chip under a head away; nothing happens when it has gone already.
func (m *machine) bin(head int, where perso.Verdict) {
	c := m.heads[head]
	if c == nil {
		return
	}
	c.card.PowerOff()
	m.heads[head] = nil
	m.bins[where] = append(m.bins[where], c)
	m.w.check.binned(c, where)
}

// setAside is a person's hand: the chip leaves the machine.
func (m *machine) setAside(head int) {
	c := m.heads[head]
	if c == nil {
		return
	}
	c.card.PowerOff()
	m.heads[head] = nil
	m.aside = append(m.aside, c)
	m.w.stats.SetAside++
	m.w.note("operator", "sets %s aside", c.name)
}

// swap is a person who takes the chips out of two stopped heads and puts them back the other way round. A hand in a head
// that runs is not simulated: it could not know.
func (m *machine) swap() {
	station := m.w.line.station
	if station == nil {
		return
	}
	var still []int
	for i, h := range station.Snapshot(m.w.clock()).Heads {
		if h.State == lineside.StateStopped && m.heads[i] != nil {
			still = append(still, i)
		}
	}
	if len(still) < 2 {
		return
	}
	a, b := still[m.w.rng.IntN(len(still))], still[m.w.rng.IntN(len(still))]
	if m.heads[a] == m.heads[b] {
		return
	}
	m.w.stats.Swaps++
	m.w.note("operator", "swaps the chips of heads %d and %d", a, b)
	m.heads[a].card.PowerOff()
	m.heads[b].card.PowerOff()
	m.heads[a], m.heads[b] = m.heads[b], m.heads[a]
}

// powerCut takes the power from all chips at once.
func (m *machine) powerCut() {
	m.w.stats.PowerLosses++
	m.w.note("world", "power cut at the readers")
	for _, c := range m.heads {
		if c != nil {
			c.card.PowerOff()
		}
	}
}

// transmit sends one command; nil is a chip that lost contact.
func (m *machine) transmit(head int, apdu []byte) []byte {
	w, c := m.w, m.heads[head]
	if c == nil {
		return nil
	}
	if w.chance(w.cfg.Faults.Contact) {
		executed := w.rng.IntN(2) == 0
		if executed {
			c.card.Process(apdu)
		}
		c.card.PowerOff()
		w.note(headName(head), "%s loses contact, command executed: %v", c.name, executed)
		return nil
	}
	answer, _ := c.card.Process(apdu)
	if len(answer) > 0 && w.chance(w.cfg.Faults.Noise) {
		bit := w.rng.IntN(8 * len(answer))
		answer[bit/8] ^= 0x80 >> (bit % 8)
		w.note(headName(head), "a bit of an answer flips")
	}
	return answer
}

func (m *machine) counters() journal.Counters {
	n := func(v perso.Verdict) uint64 { return uint64(len(m.bins[v])) }
	return journal.Counters{In: m.in, Good: n(perso.VerdictGood), RejectBlank: n(perso.VerdictRejectBlank), RejectLive: n(perso.VerdictRejectLive),
		Return: n(perso.VerdictReturn), Sample: n(perso.VerdictSample)}
}

// firstReel is received before anything goes wrong.
func (w *World) firstReel(ctx context.Context) error {
	list, err := w.line.machine.newReel(w.cfg.Chips)
	if err != nil || list == nil {
		return err
	}
	_, err = w.ledger.core.Receive(ctx, bus.ReceiveRequest{File: list})
	return err
}

// newReelLater has an operator bring chips, received by the office over the bus until it says yes.
func (w *World) newReelLater() {
	m := w.line.machine
	if m.reels >= maxReels {
		return
	}
	w.after(w.between(5*time.Second, 40*time.Second), "operator", "brings a reel", func() {
		w.line.reelComing = false
		list, err := m.newReel(spareReel)
		if err != nil {
			panic(err) // chips are made of a fixed pattern
		}
		w.stats.Reels++
		if list == nil {
			return
		}
		w.receive(list)
	})
}

func (w *World) receive(list []byte) {
	send(w, bus.OfficeSubject(bus.OfficeReceive), bus.ReceiveRequest{File: list}, func(_ bus.ReceiveReply, err error) {
		if err != nil {
			w.after(time.Second, "office", "repeats the goods-in list", func() { w.receive(list) })
		}
	})
}

func headName(head int) string {
	if head < 0 {
		return lineName
	}
	return fmt.Sprintf("head %d", head)
}
