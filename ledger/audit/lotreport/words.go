package lotreport

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// maxWords bounds the words of one kind that are told one by one: an honest lot has a handful.
const maxWords = 200

// said is a statement that was read.
type said[S any] struct {
	signedWord
	Text S
}

// words are what people signed between a lot's release and its closing.
type words struct {
	asks     said[statement.Policy] // the site's newest policy
	policy   said[statement.Policy] // in force when the lot was released
	articles []said[statement.FirstArticle]
	cleared  []said[statement.Clearance]
	samples  []said[statement.Samples]
	explains []said[statement.Explained]
	shorts   []said[statement.Short]
	lost     []said[statement.Lost]
	shredded []said[statement.Rejects]
	freezes  freezes                // of the whole site: which concern the lot is known at the end
	desk     []said[statement.Desk] // of all orders: the order desk speaks before the lot's release says which is its order
	forgot   said[statement.Forget] // by which the lot's own words were deleted
	more     uint64                 // beyond maxWords

	handCount [32]byte           // hash of the last hand count's entry
	binned    map[id.ChipID]bool // chips of units that were given up which a head binned after all
	destroyed map[string]int64   // chip, and by which entry
}

// keep reads a word that is told one by one.
func keep[S any](s *story, list *[]said[S], w signedWord, signed statement.Signed, there bool, parse func([]byte) (S, error)) {
	if len(*list) == maxWords {
		s.words.more++
		return
	}
	x := said[S]{signedWord: w}
	parseWord(s, signed, there, parse, &x.Text)
	*list = append(*list, x)
}

// ofSite takes a word that is the whole site's; false if it is about a lot only.
func (s *story) ofSite(what string, w signedWord, signed statement.Signed, there bool) bool {
	k := &s.words
	switch what {
	case statement.KindPolicy:
		k.asks = said[statement.Policy]{signedWord: w}
		parseWord(s, signed, there, statement.ParsePolicy, &k.asks.Text)
	case statement.KindFreeze, statement.KindUnfreeze:
		f := said[statement.Freeze]{signedWord: w}
		parseWord(s, signed, there, statement.ParseFreeze, &f.Text)
		k.freezes.take(what, f)
	case statement.KindTaken, statement.KindCancelled:
		d := said[statement.Desk]{signedWord: w}
		parseWord(s, signed, there, statement.ParseDesk, &d.Text)
		d.Text.Kind = what // also of one that was deleted
		k.desk = append(k.desk, d)
	default:
		return false
	}
	return true
}

// ofLot takes a word about the lot that has no place of its own in the report.
func (s *story) ofLot(what string, w signedWord, signed statement.Signed, there bool) bool {
	k := &s.words
	switch what {
	case statement.KindFirstArticle:
		keep(s, &k.articles, w, signed, there, statement.ParseFirstArticle)
	case statement.KindSamples:
		keep(s, &k.samples, w, signed, there, statement.ParseSamples)
	case statement.KindClearance:
		keep(s, &k.cleared, w, signed, there, statement.ParseClearance)
	case statement.KindExplained:
		keep(s, &k.explains, w, signed, there, statement.ParseExplained)
	case statement.KindShort:
		keep(s, &k.shorts, w, signed, there, statement.ParseShort)
	case statement.KindLost:
		keep(s, &k.lost, w, signed, there, statement.ParseLost)
	case statement.KindRejects:
		k.destruction(s, w, signed, there)
	case statement.KindForget:
		k.forgot = said[statement.Forget]{signedWord: w}
		parseWord(s, signed, there, statement.ParseForget, &k.forgot.Text)
		if f := k.forgot.Text; !s.release.There { // what is left of it
			s.released.Good, s.released.Proof, s.released.Asks = f.Good, f.Proof, f.Asks
		}
	default:
		return false
	}
	return true
}

// destruction takes a list of chips that are no more. A lot has at most as many as its own rejects.
func (k *words) destruction(s *story, w signedWord, signed statement.Signed, there bool) {
	before := len(k.shredded)
	keep(s, &k.shredded, w, signed, there, statement.ParseRejects)
	for _, d := range k.shredded[before:] {
		for _, c := range d.Text.Chips {
			k.destroyed[c.String()] = w.Seq
		}
	}
}

// found notes that a chip whose unit was given up came to a bin all the same.
func (k *words) found(chip id.ChipID) {
	if slices.ContainsFunc(k.lost, func(l said[statement.Lost]) bool { return l.There && l.Text.Chip == chip }) {
		k.binned[chip] = true
	}
}

// givenUp counts the chips that lie where officers said, and no head put.
func (k *words) givenUp() (locked, missing uint64) {
	for _, l := range k.lost {
		switch {
		case !l.There || k.binned[l.Text.Chip]:
		case l.Text.Fate == statement.FateMissing:
			missing++
		default:
			locked++
		}
	}
	return locked, missing
}

// examined says what became of the samples, by quality's last word.
func (k *words) examined(r statement.Release) (back, kept, failed uint64) {
	if len(k.samples) == 0 || !k.samples[len(k.samples)-1].There {
		return 0, 0, 0
	}
	w := k.samples[len(k.samples)-1].Text
	failed = uint64(len(w.Failed))
	if k.policy.Text.With(r.Asks, r.Good).Sampling.Kept() {
		return 0, w.Examined - failed, failed
	}
	return w.Examined - failed, 0, failed
}

// explained reports whether two persons signed why the last hand count differs.
func (k *words) explained() bool {
	return slices.ContainsFunc(k.explains, func(x said[statement.Explained]) bool { return x.There && x.Text.Count == k.handCount })
}

// wordRow is one word as the page tells it; one without a statement says what is not there.
type wordRow struct {
	What, Says string
	Words      []signedWord
	Warn       bool
}

// rows are all of them, in the order of a lot's life.
func (k *words) rows(s *story) (rows []wordRow) {
	rows = append(rows, k.policyRow())
	add := func(what, says string, w ...signedWord) {
		rows = append(rows, wordRow{What: what, Says: says, Words: w})
	}
	rows = append(rows, k.deskRows(s)...)
	for _, c := range k.cleared {
		add("Line cleared", fmt.Sprintf("%s: %s", c.Text.Line, c.Text.Finding), c.signedWord)
	}
	for _, a := range k.articles {
		add("First article", fmt.Sprintf("%d good chips: %s", a.Text.Good, a.Text.Finding), a.signedWord)
	}
	held := k.held(s)
	if s.released.Asks != "" {
		rows = slices.Insert(rows, 1, wordRow{What: "Order asks for", Says: string(s.released.Asks), Words: []signedWord{s.release}})
	}
	if n := held.FirstArticle; n > 0 && len(k.articles) == 0 {
		rows = append(rows, wordRow{What: "First article", Says: "quality has not signed it", Warn: true})
	}
	for _, x := range k.samples {
		row := wordRow{What: "Samples examined", Says: fmt.Sprintf("%d examined, %d bad: %s", x.Text.Examined, len(x.Text.Failed), x.Text.Finding), Words: []signedWord{x.signedWord}}
		if s.release.There && uint64(len(x.Text.Failed)) > held.Sampling.For(s.released.Good).Accept {
			row.Says, row.Warn = row.Says+"; more than the plan accepts", true
		}
		rows = append(rows, row)
	}
	if held.Sampling != "" && len(k.samples) == 0 {
		rows = append(rows, wordRow{What: "Samples examined", Says: "quality has not signed them", Warn: true})
	}
	rows = append(rows, k.freezes.rows(s)...)
	for _, x := range k.shorts {
		add("Ended short", cmp.Or(x.Text.Reason, "–"), x.signedWord)
	}
	for _, x := range k.explains {
		add("Hand count explained", cmp.Or(x.Text.Reason, "–"), x.signedWord)
	}
	for _, l := range k.lost {
		add("Unit given up", fmt.Sprintf("unit %d generation %d, chip %s, %s: %s", l.Text.Unit, l.Text.Gen, l.Text.Chip, l.Text.Fate, l.Text.Reason), l.signedWord)
	}
	for _, d := range k.shredded {
		add("Live rejects destroyed", fmt.Sprintf("%d chips at %s: %s", len(d.Text.Chips), d.Text.Place, d.Text.How), d.signedWord)
	}
	return rows
}

// deskRows are the order desk's words about the lot's order: who took it in, or that nothing was to be made of it.
func (k *words) deskRows(s *story) (rows []wordRow) {
	for _, d := range k.desk {
		deleted := !d.There && slices.Contains(k.forgot.Text.Taken, d.Hash)
		if !deleted && !(d.There && s.release.There && d.Text.OrderHash == s.released.OrderHash) {
			continue
		}
		if len(rows) == maxWords {
			k.more++
			continue
		}
		row := wordRow{What: "Order taken in", Says: fmt.Sprintf("order %s, signed %s: %s", d.Text.Order, when(d.Text.At), d.Text.Reason), Words: []signedWord{d.signedWord}}
		if d.Text.Kind == statement.KindCancelled {
			row.What, row.Warn = "Order cancelled", true
		}
		if deleted {
			row.Says = "the words were deleted with the release"
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 && s.release.There {
		rows = append(rows, wordRow{What: "Order taken in", Says: "the order desk signed nothing about the order"})
	}
	return rows
}

// policyRow says what the site asked of the lot.
func (k *words) policyRow() wordRow {
	p := k.policy
	row := wordRow{What: "Site policy", Words: []signedWord{p.signedWord}}
	if p.Seq == 0 {
		return wordRow{What: "Site policy", Says: "none was on record when the lot was released: neither first article nor line clearance nor issue was asked for"}
	}
	var asks []string
	if n := p.Text.FirstArticle; n > 0 {
		asks = append(asks, fmt.Sprintf("first article after %d good chips", n))
	}
	if p.Text.Clearance {
		asks = append(asks, "line clearance before the lot starts at a line")
	}
	if p.Text.Issue {
		asks = append(asks, "only chips that were issued to the lot")
	}
	if p.Text.Blind {
		asks = append(asks, "bins hidden until they are counted")
	}
	if p.Text.Sampling != "" {
		asks = append(asks, fmt.Sprintf("samples by the plan “%s”", p.Text.Sampling))
	}
	switch {
	case !p.There:
		row.Says = "not opened in this bundle: what it asked for was not held against the lot"
	case len(asks) == 0:
		row.Says = "asks for nothing"
	default:
		row.Says = strings.Join(asks, "; ")
	}
	return row
}

// held is what the lot had to go through: the site's policy, and what its order asks for.
func (k *words) held(s *story) statement.Policy {
	return k.policy.Text.With(s.released.Asks, s.released.Good)
}

// rejects reports that by its last word, which is the one that counts, quality did not accept the lot.
func (k *words) rejects(s *story) bool {
	held := k.held(s)
	if len(k.samples) == 0 || held.Sampling == "" {
		return false
	}
	last := k.samples[len(k.samples)-1].Text
	return s.release.There && !held.Sampling.Accepts(statement.Examined{Good: s.released.Good, Made: s.good, Drawn: last.Examined, Failed: uint64(len(last.Failed))})
}
