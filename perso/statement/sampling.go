package statement

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
)

// What becomes of good samples when quality has examined them.
const (
	SamplesOutput = "output" // they go back among the good units, and are delivered
	SamplesKept   = "kept"   // they stay with quality, in the account of samples, and are delivered to nobody
)

// MaxSampleRows bounds the rows of a sampling plan, MaxSampleSize the samples that it asks of one lot.
const (
	MaxSampleRows = 24
	MaxSampleSize = 2_000
)

// Sampling is a plan in its one spelling: what becomes of good samples, and then rows "UP_TO:SIZE/ACCEPT" in rising order: of a lot of up to
// so many ordered units at least so many are drawn, and it is accepted with at most so many bad ones among them. A lot that is larger than the
// last row has its figures. Empty asks for no samples.
type Sampling string

// SampleRow is what a plan asks of a lot.
type SampleRow struct {
	UpTo, Size, Accept uint64
}

// ParseSampling reads a plan.
func ParseSampling(text string) (Sampling, error) {
	if text == "" {
		return "", nil
	}
	words := strings.Split(text, " ")
	if words[0] != SamplesOutput && words[0] != SamplesKept || len(words) < 2 || len(words) > MaxSampleRows+1 {
		return "", fmt.Errorf("sampling plan %.60q: it is %q or %q and then 1 to %d rows UP_TO:SIZE/ACCEPT", text, SamplesOutput, SamplesKept, MaxSampleRows)
	}
	var before uint64
	for _, word := range words[1:] {
		r, err := parseSampleRow(word)
		switch {
		case err != nil:
			return "", fmt.Errorf("sampling plan %.60q: %w", text, err)
		case r.UpTo <= before:
			return "", fmt.Errorf("sampling plan %.60q: row %.60q is not for larger lots than the one before", text, word)
		case r.Size == 0 || r.Size > MaxSampleSize || r.Accept >= r.Size:
			return "", fmt.Errorf("sampling plan %.60q: row %.60q: 1 to %d samples are drawn, and not all of them may be bad", text, word, MaxSampleSize)
		}
		before = r.UpTo
	}
	return Sampling(text), nil
}

func parseSampleRow(word string) (r SampleRow, err error) {
	upTo, rest, _ := strings.Cut(word, ":")
	size, accept, _ := strings.Cut(rest, "/")
	for _, f := range []struct {
		text string
		to   *uint64
	}{{upTo, &r.UpTo}, {size, &r.Size}, {accept, &r.Accept}} {
		if *f.to, err = strconv.ParseUint(f.text, 10, 32); err != nil || strconv.FormatUint(*f.to, 10) != f.text {
			return r, fmt.Errorf("row %.60q is not UP_TO:SIZE/ACCEPT", word)
		}
	}
	return r, nil
}

// Kept says that good samples are delivered to nobody.
func (s Sampling) Kept() bool { return strings.HasPrefix(string(s), SamplesKept+" ") }

// Rows are what the plan asks of lots, in rising order; none when it asks for no samples.
func (s Sampling) Rows() (rows []SampleRow) {
	if s == "" {
		return nil
	}
	for _, word := range strings.Split(string(s), " ")[1:] {
		r, _ := parseSampleRow(word) // it was parsed before
		rows = append(rows, r)
	}
	return rows
}

// For is what the plan asks of a lot of so many ordered units: never more samples than units, and never that all may be bad. The zero row asks for none.
func (s Sampling) For(good uint64) (r SampleRow) {
	if s == "" {
		return r
	}
	for _, r = range s.Rows() {
		if good <= r.UpTo {
			break
		}
	}
	r.Size = min(r.Size, good)
	if r.Accept >= r.Size && r.Size > 0 {
		r.Accept = r.Size - 1
	}
	return r
}

// Undelivered is how many of so many ordered units are delivered to nobody, because quality keeps them though they are good: so many at least,
// since a few more may be drawn.
func (s Sampling) Undelivered(good uint64) uint64 {
	if !s.Kept() {
		return 0
	}
	return s.For(good).Size
}

// Examined is what quality found in the samples of a lot, and what the lot came to.
type Examined struct {
	Good   uint64 // units ordered
	Made   uint64 // of them good when the lot was over
	Drawn  uint64 // samples that were examined
	Failed uint64 // of them bad
}

// Accepts judges a lot by what was made and drawn of it. One that ended short is not judged by the acceptance number of the whole, and where fewer were
// examined than the plan asks of what was made, because the lot ended short or samples were given up, none may be bad. Of a lot that was made
// somebody must have seen something.
func (s Sampling) Accepts(e Examined) bool {
	if e.Drawn == 0 {
		return e.Made == 0
	}
	row := s.For(e.Made)
	accept := min(row.Accept, s.For(e.Good).Accept)
	if e.Drawn < row.Size {
		accept = 0
	}
	return e.Failed <= accept
}

// Draw says whether a unit is drawn as a sample, by lot: by the hash of the vault's receipt that called it good, which no line knows before the
// unit is done, and everybody can look up afterwards. Whatever was drawn before, no unit has a smaller chance than Size/Good, so nobody ever knows
// that the next ones are no samples. So that there are enough, the ordered units are cut into as many parts as samples are asked for, in the
// order in which they become good, and when a part is over at least as many are drawn as there were parts: chance rises towards the end of a part that
// is behind. That comes to a few more than were asked for, in the mean less than sqrt(Size) more.
type Draw struct {
	Good    uint64   // units ordered
	Size    uint64   // samples asked for
	Nth     uint64   // the unit: how many of the lot were good before it
	Taken   uint64   // samples drawn before it
	Receipt [32]byte // hash of the receipt that called it good
}

// Drawn is the decision.
func (d Draw) Drawn() bool {
	if d.Size == 0 || d.Nth >= d.Good {
		return false
	}
	part := d.Nth * d.Size / d.Good
	chance := d.Size // of Good
	if d.Taken <= part {
		chance = max(chance, ceil(d.Good, ceil((part+1)*d.Good, d.Size)-d.Nth))
	}
	sum := sha256.Sum256(append([]byte("persoline/1 sample\n"), d.Receipt[:]...))
	return binary.BigEndian.Uint64(sum[:8])%d.Good < chance
}

func ceil(a, b uint64) uint64 { return (a + b - 1) / b }

// The figures of single sampling, normal inspection, general level II (ISO 2859-1, tables 1 and 2-A): the lot size up to which each code
// letter goes, from A on without I and O, and its sample size.
var (
	isoUpTo  = []uint64{8, 15, 25, 50, 90, 150, 280, 500, 1_200, 3_200, 10_000, 35_000, 150_000, 500_000, MaxLotUnits}
	isoSizes = []uint64{2, 3, 5, 8, 13, 20, 32, 50, 80, 125, 200, 315, 500, 800, 1_250}
	// isoAQL are the acceptance quality limits that are offered, by the letter at which no bad unit is accepted.
	isoAQL = []string{"6.5", "4.0", "2.5", "1.5", "1.0", "0.65", "0.40", "0.25", "0.15", "0.10"}
	// isoAccept are the acceptance numbers from three letters after that one on.
	isoAccept = []uint64{1, 2, 3, 5, 7, 10, 14, 21}
)

// ISOSampling is the plan of ISO 2859-1 for an acceptance quality limit: general level II, single sampling, normal inspection.
func ISOSampling(aql, become string) (Sampling, error) {
	zero := slices.Index(isoAQL, aql)
	if zero < 0 {
		return "", fmt.Errorf("acceptance quality limit %q is none of %s", aql, strings.Join(isoAQL, ", "))
	}
	rows := []string{become}
	for letter, upTo := range isoUpTo {
		use, accept := zero, uint64(0) // the arrows of the table: to the letter that has a plan
		if after := letter - zero; after >= 2 {
			step := min(max(after-3, 0), len(isoAccept)-1)
			use, accept = zero+3+step, isoAccept[step]
		}
		rows = append(rows, fmt.Sprintf("%d:%d/%d", upTo, isoSizes[use], accept))
	}
	return ParseSampling(strings.Join(rows, " "))
}

// KindSamples names quality's word about a lot's samples.
const KindSamples = "samples-examined"

// Samples is quality's word about the samples of a lot: how many were examined, and which were bad.
type Samples struct {
	Header
	Lot      perso.Name
	Examined uint64
	Finding  string
	Failed   []id.ChipID // in the order of their bytes, each once
}

// Encode gives the body to sign.
func (s Samples) Encode() ([]byte, error) {
	w := s.write(KindSamples).Str("lot", string(s.Lot)).Uint("examined", s.Examined).Str("finding", s.Finding)
	for _, c := range s.Failed {
		w.Str("failed", c.String())
	}
	return w.Bytes()
}

// ParseSamples reads the body.
func ParseSamples(body []byte) (s Samples, err error) {
	r, err := s.read(body, KindSamples)
	if err != nil {
		return Samples{}, err
	}
	s.Lot = r.Name("lot")
	s.Examined, s.Finding = r.Uint("examined", 32), said(r, "finding")
	for r.More() && len(s.Failed) < MaxRejects {
		s.Failed = append(s.Failed, nextChip(r, "failed", s.Failed, false))
	}
	if uint64(len(s.Failed)) > s.Examined {
		r.Check(fmt.Errorf("%d chips failed of %d that were examined", len(s.Failed), s.Examined))
	}
	return finished(s, r, KindSamples)
}
