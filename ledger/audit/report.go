package audit

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
)

// MaxFindings bounds the findings kept in full: a bundle of another site would else give one per entry.
const MaxFindings = 1_000

// Finding is one thing that does not hold.
type Finding struct {
	Place     string // file, log entry or record
	What      string
	Invariant string // "I1" to "I9" of the architecture, or empty when the bundle itself is at fault
}

func (f Finding) String() string {
	if f.Invariant == "" {
		return f.Place + ": " + f.What
	}
	return f.Place + ": " + f.What + " [" + f.Invariant + "]"
}

// KeyRegister is the name under which a report has the hash of the officer register's genesis.
const KeyRegister = "officer register"

// Key is one thing that trust begins with. Fingerprint is the key itself or the hash, as the log's first entry writes it down.
type Key struct {
	Name        string
	Fingerprint []byte
	Pinned      bool // it was known before
	Differs     bool // another was known before, and everything was checked with that one: a finding says which
}

// Fact is one count of what was verified.
type Fact struct {
	Name  string
	Count uint64
}

// Report is what an auditor hands on.
type Report struct {
	Env    perso.Env
	Site   perso.Name
	Lot    perso.Name // whose bundle it is; the log is the whole site's
	Origin string
	Size   int64
	Root   [32]byte
	Seal   [32]byte // hash of the seal, which names every byte of the bundle
	Keys   []Key
	Facts  []Fact
	Notes  []string // what could not be checked, and why
	Trusts []string // lots whose "good" rests on the line's word
	Quorum string   // which witnesses were asked for, when they are there

	Witnessed []Witnessed // who cosigned this checkpoint or an earlier one

	Broken []string // what was broken off and led nowhere, as in every honest factory, and why it is no finding

	Stock []StockRow // where the chips of the site are, as the log has it

	Exceptions []Exception // what a person must look at, oldest first; at most MaxExceptions

	Miscounts []Miscount // hand counts that differ from what was signed when their lot was closed, in the order of the closings; at most MaxMiscounts

	Findings []Finding
	Dropped  uint64 // findings beyond MaxFindings
}

// OK reports that nothing was found. Whether the keys were the right ones is for Keys to say.
func (r Report) OK() bool { return len(r.Findings) == 0 }

// Pinned reports that every key was known before.
func (r Report) Pinned() bool {
	for _, k := range r.Keys {
		if !k.Pinned {
			return false
		}
	}
	return len(r.Keys) > 0
}

// Write prints the report for people.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "bundle of lot %s, site %s (%s)\nlog %s: %d entries, root %x\n", r.Lot, r.Site, r.Env, r.Origin, r.Size, r.Root)
	for _, k := range r.Keys {
		from := "as pinned"
		switch {
		case k.Differs:
			from = "NOT THE ONE PINNED"
		case !k.Pinned:
			from = "FROM THE BUNDLE ITSELF: compare it with the ceremony's record"
		}
		fmt.Fprintf(&b, "%s %x (%s)\n", k.Name, k.Fingerprint, from)
	}
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%10d %s\n", f.Count, f.Name)
	}
	for _, x := range r.Witnessed {
		fmt.Fprintf(&b, "cosigned by %s at %s, when the log had %d entries\n", x.Witness, x.At.Format(time.RFC3339), x.Size)
	}
	if r.Quorum != "" {
		fmt.Fprintf(&b, "%s\n", r.Quorum)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, x := range r.Trusts {
		fmt.Fprintf(&b, "trusts the line: %s\n", x)
	}
	for _, x := range r.Broken {
		fmt.Fprintf(&b, "broken off: %s\n", x)
	}
	r.writeExceptions(&b)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "FINDING %s\n", f)
	}
	if r.Dropped > 0 {
		fmt.Fprintf(&b, "FINDING and %d more\n", r.Dropped)
	}
	if r.OK() {
		b.WriteString("verified: no finding\n")
	} else {
		fmt.Fprintf(&b, "NOT VERIFIED: %d findings\n", uint64(len(r.Findings))+r.Dropped)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeExceptions tells what nobody has signed off. It is no finding: that the log shows it is what the log is for.
func (r Report) writeExceptions(b *strings.Builder) {
	var told uint64
	for _, e := range r.Exceptions {
		if e.Open() {
			if told++; told <= toldExceptions {
				fmt.Fprintf(b, "not signed off: %s\n", e)
			}
		}
	}
	if told > toldExceptions {
		fmt.Fprintf(b, "not signed off: %d more\n", told-toldExceptions)
	}
}

func (a *auditor) find(place, invariant, format string, args ...any) {
	if len(a.report.Findings) == MaxFindings {
		a.report.Dropped++
		return
	}
	a.report.Findings = append(a.report.Findings, Finding{Place: place, What: fmt.Sprintf(format, args...), Invariant: invariant})
}

func (a *auditor) note(format string, args ...any) {
	a.report.Notes = append(a.report.Notes, fmt.Sprintf(format, args...))
}

func logPlace(seq int64, kind string) string { return fmt.Sprintf("log entry %d (%s)", seq, kind) }
