package sim

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
	"text/tabwriter"
	"time"
)

// keptRows is how much of a trace is shown with a failure: what led to it, on one screen.
const keptRows = 50

// row is one thing that happened.
type row struct {
	n    int
	at   time.Duration
	who  string
	what string
}

// trace is what happened: a hash over all of it, and the last rows.
type trace struct {
	sum  hash.Hash
	n    int
	last [keptRows]row
	tell func(string) // every row, when somebody wants to read along
}

func newTrace() *trace { return &trace{sum: sha256.New()} }

func (t *trace) add(at time.Duration, who, what string) {
	t.last[t.n%keptRows] = row{t.n, at, who, what}
	t.n++
	fmt.Fprintf(t.sum, "%d %s %s\n", at, who, what)
	if t.tell != nil {
		t.tell(fmt.Sprintf("%10.3f  %-12s %s", at.Seconds(), who, what))
	}
}

func (t *trace) hash() (sum [sha256.Size]byte) {
	t.sum.Sum(sum[:0])
	return sum
}

// String shows the last rows in columns.
func (t *trace) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "event\tseconds\twho\twhat")
	for i := max(0, t.n-keptRows); i < t.n; i++ {
		r := t.last[i%keptRows]
		fmt.Fprintf(w, "%d\t%.3f\t%s\t%s\n", r.n, r.at.Seconds(), r.who, r.what)
	}
	_ = w.Flush() // into memory
	return b.String()
}
