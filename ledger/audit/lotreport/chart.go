package lotreport

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
)

// Charts are plain SVG in the page: sizes in user units, scaled to the page's width; colours by class, so that print styles them.
const (
	chartWidth  = 720
	chartHeight = 220
	plotLeft    = 54
	plotRight   = 46
	plotTop     = 14
	plotBottom  = 30
	buckets     = 60
)

// bucket is a slice of the lot's time.
type bucket struct{ good, bad uint64 }

// yieldChart draws good and rejected chips over time as bars, and the yield so far as a line.
func yieldChart(events []event) template.HTML {
	if len(events) == 0 {
		return ""
	}
	from, to := events[0].at, events[len(events)-1].at
	step := max(to.Sub(from)/buckets+1, time.Millisecond)
	bars := make([]bucket, buckets)
	for _, e := range events {
		b := &bars[min(int(e.at.Sub(from)/step), buckets-1)]
		if e.good {
			b.good++
		} else {
			b.bad++
		}
	}
	var most uint64
	for _, b := range bars {
		most = max(most, b.good+b.bad)
	}
	top := roundUp(most)
	var w strings.Builder
	fmt.Fprintf(&w, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="chips per time, and yield so far">`, chartWidth, chartHeight)
	grid(&w, top)
	drawBars(&w, bars, top)
	drawYield(&w, bars)
	axisTimes(&w, from, to)
	w.WriteString("</svg>")
	return template.HTML(w.String()) // numbers and times only
}

func plotW() float64 { return chartWidth - plotLeft - plotRight }
func plotH() float64 { return chartHeight - plotTop - plotBottom }

// roundUp is the next number that reads well on an axis of four steps.
func roundUp(n uint64) uint64 {
	for scale := uint64(1); ; scale *= 10 {
		for _, m := range []uint64{4, 8, 12, 20, 40} {
			if m*scale >= n {
				return m * scale
			}
		}
	}
}

func grid(w *strings.Builder, top uint64) {
	const lines = 4
	for i := range lines + 1 {
		y := plotTop + plotH()*float64(lines-i)/lines
		fmt.Fprintf(w, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`, plotLeft, y, chartWidth-plotRight, y)
		fmt.Fprintf(w, `<text class="axis" x="%d" y="%.1f" text-anchor="end">%s</text>`, plotLeft-6, y+3.5, thousands(top*uint64(i)/lines))
		fmt.Fprintf(w, `<text class="axis line" x="%d" y="%.1f">%d %%</text>`, chartWidth-plotRight+6, y+3.5, 100*i/lines)
	}
}

func drawBars(w *strings.Builder, bars []bucket, top uint64) {
	width := plotW() / buckets
	for i, b := range bars {
		x, base := plotLeft+float64(i)*width, plotTop+plotH()
		for _, part := range []struct {
			class string
			n     uint64
		}{{"good", b.good}, {"bad", b.bad}} {
			h := plotH() * float64(part.n) / float64(top)
			if part.n == 0 {
				continue
			}
			base -= h
			fmt.Fprintf(w, `<rect class="%s" x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, part.class, x+0.5, base, width-1, h)
		}
	}
}

func drawYield(w *strings.Builder, bars []bucket) {
	var good, all uint64
	var points []string
	for i, b := range bars {
		good, all = good+b.good, all+b.good+b.bad
		if all == 0 {
			continue
		}
		x := plotLeft + (float64(i)+0.5)*plotW()/buckets
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, plotTop+plotH()*(1-float64(good)/float64(all))))
	}
	fmt.Fprintf(w, `<polyline class="yield" points="%s"/>`, strings.Join(points, " "))
}

func axisTimes(w *strings.Builder, from, to time.Time) {
	form := "15:04:05"
	if to.Sub(from) > 24*time.Hour {
		form = "01-02 15:04"
	}
	const marks = 4
	for i := range marks + 1 {
		x := plotLeft + plotW()*float64(i)/marks
		anchor := map[int]string{0: "start", marks: "end"}[i]
		if anchor == "" {
			anchor = "middle"
		}
		at := from.Add(to.Sub(from) * time.Duration(i) / marks)
		fmt.Fprintf(w, `<text class="axis" x="%.1f" y="%d" text-anchor="%s">%s</text>`, x, chartHeight-10, anchor, at.UTC().Format(form))
	}
}

// maxReasonBars bounds the bars of the second chart; the table beside it has them all.
const maxReasonBars = 12

// reasonChart draws how often chips were not good at once, by reason.
func reasonChart(causes []causeRow) template.HTML {
	type bar struct {
		label string
		class string
		n     uint64
	}
	var bars []bar
	at := map[string]int{}
	for _, c := range causes { // steps and status words of one reason together
		label := string(c.Verdict) + ": " + string(c.Reason)
		i, known := at[label]
		if !known {
			i = len(bars)
			at[label] = i
			bars = append(bars, bar{label: label, class: map[bool]string{true: "bad", false: "again"}[c.Verdict == perso.VerdictRejectLive || c.Verdict == perso.VerdictRejectBlank]})
		}
		bars[i].n += c.Count
	}
	if len(bars) == 0 {
		return ""
	}
	bars = bars[:min(len(bars), maxReasonBars)]
	var most uint64
	for _, b := range bars {
		most = max(most, b.n)
	}
	const rowHeight, labelWidth, countWidth = 20, 210, 70
	var w strings.Builder
	fmt.Fprintf(&w, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="reasons">`, chartWidth, rowHeight*len(bars)+6)
	for i, b := range bars {
		y := float64(i*rowHeight) + 4
		length := max(1, float64(chartWidth-labelWidth-countWidth)*float64(b.n)/float64(most))
		fmt.Fprintf(&w, `<text class="label" x="%d" y="%.1f" text-anchor="end">%s</text>`, labelWidth-8, y+12, template.HTMLEscapeString(b.label))
		fmt.Fprintf(&w, `<rect class="%s" x="%d" y="%.1f" width="%.1f" height="14"/>`, b.class, labelWidth, y, length)
		fmt.Fprintf(&w, `<text class="label" x="%.1f" y="%.1f">%s</text>`, labelWidth+length+6, y+12, thousands(b.n))
	}
	w.WriteString("</svg>")
	return template.HTML(w.String()) // labels are escaped above
}
