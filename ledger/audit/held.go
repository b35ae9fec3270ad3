package audit

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/persoline/persoline/perso/checkpoint"
)

// Held is a checkpoint of the log that somebody kept outside the site: an auditor on his last visit, a witness, a printed shift
// report. Whoever rules the site can sign nothing, yet could hand out an older log, or, with a second vault's help, another one: a
// single checkpoint held outside finds both.
type Held struct {
	Name string // how findings call it: a file's name
	Note []byte // signed by the log, cosigned by anybody
}

// Witnessed is a witness's word about a checkpoint that this log continues, or is.
type Witnessed struct {
	Witness string
	At      time.Time
	Size    int64
}

// held is one that is waiting for the log to reach its size.
type held struct {
	name string
	c    checkpoint.Checkpoint
}

// readHeld opens the checkpoints that were held outside, the smallest first.
func (a *auditor) readHeld(now checkpoint.Checkpoint) {
	for _, h := range a.opt.Held {
		c, words, err := checkpoint.OpenCosigned(h.Note, a.genesis.Origin, a.opt.LogKey, a.opt.Witnesses)
		if err != nil {
			a.find("held checkpoint "+h.Name, "I5", "%v", err)
			continue
		}
		for _, w := range words {
			a.words = append(a.words, word{Witnessed{Witness: w.Witness.Name, At: w.At, Size: c.Size}, c.Root})
		}
		if c.Size == 0 { // every log continues the empty one
			continue
		}
		if c.Size > now.Size {
			a.find("held checkpoint "+h.Name, "I5", "ROLLED BACK: the log had %d entries when this was signed, the bundle's has %d", c.Size, now.Size)
			continue
		}
		a.waiting = append(a.waiting, held{name: h.Name, c: c})
	}
	slices.SortStableFunc(a.waiting, func(x, y held) int { return cmp.Compare(x.c.Size, y.c.Size) })
}

// word is what a witness cosigned.
type word struct {
	Witnessed
	root checkpoint.Hash
}

// compareHeld holds the log, which has this many entries now, against the checkpoints of that size.
func (a *auditor) compareHeld(size int64, root func() checkpoint.Hash) {
	for len(a.waiting) > 0 && a.waiting[0].c.Size <= size {
		h := a.waiting[0]
		a.waiting = a.waiting[1:]
		got := root()
		if h.c.Root == got {
			a.heldSame++
			continue
		}
		a.find("held checkpoint "+h.name, "I5", "FORKED: the first %d entries have the root %x, the log signed %x then: this is another history", h.c.Size, got, h.c.Root)
	}
}

// checkWitnesses counts who cosigned this very checkpoint.
func (a *auditor) checkWitnesses(c checkpoint.Checkpoint) {
	seen := map[string]bool{}
	for _, w := range a.words {
		a.report.Witnessed = append(a.report.Witnessed, w.Witnessed)
		if w.Size == c.Size && w.root == c.Root {
			seen[w.Witness] = true
		}
	}
	if len(seen) < a.opt.Quorum {
		a.find("witnesses", "I5", "%d of the %d known witnesses cosigned this checkpoint, %d must have", len(seen), len(a.opt.Witnesses), a.opt.Quorum)
	}
	if a.opt.Quorum > 0 && len(seen) >= a.opt.Quorum {
		a.report.Quorum = fmt.Sprintf("%d of %d known witnesses cosigned this checkpoint, %d were asked for", len(seen), len(a.opt.Witnesses), a.opt.Quorum)
	}
}
