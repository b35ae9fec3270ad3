package progress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Percent is a share in percent with one digit, or "-" when there is no whole yet. It never rounds up to 100.0.
func Percent(part, whole uint64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%d.%d %%", part*100/whole, part*1000/whole%10)
}

// Yield says how many of the chips that got a verdict are good, and how many were so on their first contact. Status
// counts contacts to be repeated, not the chips they belong to: with any, first pass is known from below only.
func Yield(s bus.StatusReply) (yield, firstPass string) {
	if s.Hidden {
		return "hidden until counted", "hidden"
	}
	judged := s.Good + Count(s, perso.VerdictRejectLive) + Count(s, perso.VerdictRejectBlank)
	again := Count(s, perso.VerdictRecontact)
	yield = Percent(s.Good, judged)
	if again == 0 {
		return yield, yield
	}
	return yield, "at least " + Percent(s.Good-min(again, s.Good), judged)
}

// Count is how often a verdict was given.
func Count(s bus.StatusReply, v perso.Verdict) (n uint64) {
	for _, c := range s.Reasons {
		if c.Verdict == v {
			n += c.Count
		}
	}
	return n
}

// Rejects names the rejects and stops with their reasons: "reject-live: status 2, proof 1; reject-blank: mute 3". It is
// empty when there are none.
func Rejects(s bus.StatusReply) string {
	var parts []string
	for _, v := range []perso.Verdict{perso.VerdictRejectLive, perso.VerdictRejectBlank, perso.VerdictStop} {
		var reasons []bus.ReasonCount
		for _, c := range s.Reasons {
			if c.Verdict == v && c.Count > 0 {
				reasons = append(reasons, c)
			}
		}
		slices.SortFunc(reasons, func(a, b bus.ReasonCount) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
		})
		var texts []string
		for _, c := range reasons {
			texts = append(texts, fmt.Sprintf("%s %d", c.Reason, c.Count))
		}
		if len(texts) > 0 {
			parts = append(parts, string(v)+": "+strings.Join(texts, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// Troubles says how many heads wait for the vault, why and since when; it is empty when none does.
func Troubles(s bus.StatusReply) string {
	if len(s.Troubles) == 0 {
		return ""
	}
	t := s.Troubles[0]
	heads := "1 head waits"
	if n := uint64(len(s.Troubles)) + s.MoreTroubles; n > 1 {
		heads = fmt.Sprintf("%d heads wait", n)
	}
	return fmt.Sprintf("%s for the vault, the longest for %s: %s", heads, s.Now.Sub(t.Since).Round(time.Second), t.Fault)
}

// window is how far back the speed is measured: long enough for heads that finish together, short enough to see a stop.
const window = time.Minute

// maxSamples bounds the window's samples: five in a second.
const maxSamples = 5 * int(window/time.Second)

type sample struct {
	at   time.Time
	good uint64
}

// meter measures units per hour over the window. Its clock is the ledger's, from the snapshots.
type meter struct {
	first   sample   // ever
	samples []sample // within the window, oldest first
}

func (m *meter) add(s bus.StatusReply) {
	now := sample{s.Now, s.Good}
	if len(m.samples) == 0 {
		m.first = now
	}
	m.samples = append(m.samples, now)
	old := 0
	for old < len(m.samples)-2 && now.at.Sub(m.samples[old].at) > window || len(m.samples)-old > maxSamples {
		old++
	}
	m.samples = slices.Delete(m.samples, 0, old)
}

// perHour is the speed now, and whether it is known.
func (m *meter) perHour() (float64, bool) {
	if len(m.samples) == 0 {
		return 0, false
	}
	return speed(m.samples[0], m.samples[len(m.samples)-1])
}

// average is the speed since the first snapshot.
func (m *meter) average() (float64, bool) {
	if len(m.samples) == 0 {
		return 0, false
	}
	return speed(m.first, m.samples[len(m.samples)-1])
}

func speed(from, to sample) (float64, bool) {
	hours := to.at.Sub(from.at).Hours()
	if hours <= 0 || to.good < from.good {
		return 0, false
	}
	return float64(to.good-from.good) / hours, true
}

// remaining is how long the lot will take at a speed.
func remaining(s bus.StatusReply, perHour float64) string {
	const longest = 1000 * time.Hour // beyond, a number says nothing
	left := float64(s.Ordered - min(s.Good, s.Ordered))
	hours := left / perHour                                         // +Inf at a standstill
	if hours > longest.Hours() || hours != hours || s.Waits != "" { // what it waits for has no speed
		return "-"
	}
	d := time.Duration(hours * float64(time.Hour)).Round(time.Second)
	if d >= time.Hour {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.String()
}
