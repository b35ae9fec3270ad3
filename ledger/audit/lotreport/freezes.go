package lotreport

import (
	"fmt"

	"github.com/persoline/persoline/perso/statement"
)

// freezes are all of the site, in the order of the log. None is left out while it is read: which of them are the lot's, its release and
// the lines that it comes to say, and these may be told later.
type freezes struct {
	all []frozen
	by  map[[32]byte]int // hash of the freeze, and its place among all
}

// frozen is a freeze of anything at the site, and what lifted it.
type frozen struct {
	said[statement.Freeze]
	lifted said[statement.Freeze]
}

// take takes in a freeze, or what lifts one.
func (k *freezes) take(what string, f said[statement.Freeze]) {
	if what == statement.KindFreeze {
		k.by[f.Hash] = len(k.all)
		k.all = append(k.all, frozen{said: f})
		return
	}
	if i, known := k.by[f.Text.Lifts]; f.There && known {
		k.all[i].lifted = f
	}
}

// rows tell each freeze that concerns the lot. What is not told, of a lot that was frozen more than maxWords times, is counted, and so is
// what may concern it and nobody can say: a freeze whose words are not there, one of an order or a key when the release is not.
func (k *freezes) rows(s *story) (rows []wordRow) {
	var more, standing, unknown int
	for _, f := range k.all {
		switch {
		case !f.There, f.nobodyKnows(s):
			unknown++
			continue
		case !f.concerns(s):
			continue
		case len(rows) == maxWords:
			if more++; f.lifted.Seq == 0 {
				standing++
			}
			continue
		}
		says := fmt.Sprintf("%s %s: %s", f.Text.What, f.Text.Name, f.Text.Reason)
		if f.lifted.Seq == 0 {
			rows = append(rows, wordRow{What: "Frozen", Says: says + "; not lifted", Words: []signedWord{f.signedWord}, Warn: true})
			continue
		}
		rows = append(rows, wordRow{What: "Frozen, and lifted", Says: fmt.Sprintf("%s; lifted: %s", says, f.lifted.Text.Reason), Words: []signedWord{f.signedWord, f.lifted.signedWord}})
	}
	if more > 0 {
		rows = append(rows, wordRow{What: "Frozen", Says: fmt.Sprintf("%d times more than is told here, of which %d are not lifted: perso log search freeze", more, standing), Warn: true})
	}
	if unknown > 0 {
		rows = append(rows, wordRow{What: "Frozen", Says: fmt.Sprintf("%d freezes of the site may concern the lot or not: their words, or those of its release, are not in the bundle", unknown), Warn: true})
	}
	return rows
}

// nobodyKnows reports whether the lot's release alone would say that the freeze concerns it, and that is not there.
func (f frozen) nobodyKnows(s *story) bool {
	if s.release.There || s.words.forgot.Seq != 0 && f.Seq > s.words.forgot.Seq {
		return false
	}
	return f.Text.What == statement.FrozenOrder || f.Text.What == statement.FrozenKey && !f.liftedBefore(s)
}

func (f frozen) liftedBefore(s *story) bool {
	return f.lifted.Seq != 0 && f.lifted.Seq < s.release.Seq
}

// concerns reports whether a freeze names the lot or its order, or the lot stood still for it: for a key, or for one of its lines while it
// was made.
func (f frozen) concerns(s *story) bool {
	switch f.Text.What {
	case statement.FrozenLot:
		return f.Text.Name == string(s.lot)
	case statement.FrozenOrder:
		return f.Text.Stops(s.released)
	case statement.FrozenKey:
		return !f.liftedBefore(s) && f.Text.Stops(s.released)
	default:
		return !f.liftedBefore(s) && (s.closing.Seq == 0 || f.Seq < s.closing.Seq) && s.cameTo(f.Text.Name)
	}
}

// cameTo reports whether the lot came to a line: a chip of it did, or somebody cleared the line for it.
func (s *story) cameTo(line string) bool {
	for at := range s.heads {
		if string(at.line) == line {
			return true
		}
	}
	for _, c := range s.words.cleared {
		if string(c.Text.Line) == line {
			return true
		}
	}
	return false
}
