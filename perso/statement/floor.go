package statement

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of what people sign at the lines.
const (
	KindPolicy       = "site-policy"       // what every lot that is released from now on must go through
	KindFirstArticle = "first-article"     // quality has looked at a lot's first good chips
	KindClearance    = "line-clearance"    // a line is empty, and a lot may start there
	KindExplained    = "count-explained"   // why a hand count differs from the ledger
	KindRejects      = "rejects-destroyed" // live rejects that are no more
)

// Header is what each of these begins with.
type Header struct {
	Env   perso.Env
	Site  perso.Name
	At    time.Time
	Nonce [32]byte
}

// Head gives the site that a statement is for.
func (h Header) Head() (perso.Env, perso.Name) { return h.Env, h.Site }

func (h Header) write(kind string) *record.Writer {
	return record.New(kind).Str("env", string(h.Env)).Str("site", string(h.Site)).Time("at", h.At).Hex("nonce", h.Nonce[:])
}

func (h *Header) read(body []byte, kind string) (*record.Reader, error) {
	r, err := record.Parse(body, kind)
	if err != nil {
		return nil, fmt.Errorf("parsing %s: %w", kind, err)
	}
	h.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	h.Site = r.Name("site")
	h.At, h.Nonce = r.Time("at"), r.Hash("nonce")
	return r, nil
}

// said reads a text that must say something.
func said(r *record.Reader, key string) string {
	v := r.Raw(key)
	if v == record.None {
		r.Check(fmt.Errorf("%s says nothing", key))
	}
	return v
}

func finished[S any](s S, r *record.Reader, kind string) (S, error) {
	if err := r.Done(); err != nil {
		var none S
		return none, fmt.Errorf("parsing %s: %w", kind, err)
	}
	return s, nil
}

// required is how a policy says that it asks for something.
const required = "required"

// Policy is what two officers sign for lots that are released after it; the zero policy asks for nothing.
type Policy struct {
	Header
	FirstArticle uint64 // good chips after which a lot stands until quality has signed; 0 when it does not
	Clearance    bool   // a lot starts at a line only when somebody signed that the line is empty
	Issue        bool   // a lot takes only chips that were issued to it
	// Blind hides what lies in a lot's bins from who asks how it stands, until people have counted them.
	Blind bool
	// Sampling says how many good units of a lot quality examines before it is closed or handed out.
	Sampling Sampling
}

// Encode gives the body to sign.
func (p Policy) Encode() ([]byte, error) {
	asks := map[bool]string{true: required}
	w := p.write(KindPolicy).Uint("first_article", p.FirstArticle).Str("clearance", asks[p.Clearance]).Str("issue", asks[p.Issue])
	if p.Blind || p.Sampling != "" {
		w.Str("blind_count", asks[p.Blind]).Str("samples", string(p.Sampling))
	}
	return w.Bytes()
}

// ParsePolicy reads the body.
func ParsePolicy(body []byte) (p Policy, err error) {
	r, err := p.read(body, KindPolicy)
	if err != nil {
		return Policy{}, err
	}
	p.FirstArticle, p.Clearance, p.Issue = r.Uint("first_article", 20), asked(r, "clearance"), asked(r, "issue")
	if r.More() {
		p.Blind = asked(r, "blind_count")
		p.Sampling, err = ParseSampling(r.Str("samples"))
		if err == nil && !p.Blind && p.Sampling == "" {
			err = errors.New("it says that it asks neither for blind counts nor for samples, which is to be left out")
		}
		r.Check(err)
	}
	return finished(p, r, KindPolicy)
}

func asked(r *record.Reader, key string) bool {
	v := r.Str(key)
	if v != "" && v != required {
		r.Check(fmt.Errorf("%s is %q, it is %q or absent", key, v, required))
	}
	return v == required
}

// FirstArticle is quality's word that a lot's first good chips are as they should be.
type FirstArticle struct {
	Header
	Lot     perso.Name
	Good    uint64 // chips that were good when they were looked at
	Finding string
}

// Encode gives the body to sign.
func (f FirstArticle) Encode() ([]byte, error) {
	return f.write(KindFirstArticle).Str("lot", string(f.Lot)).Uint("good", f.Good).Str("finding", f.Finding).Bytes()
}

// ParseFirstArticle reads the body.
func ParseFirstArticle(body []byte) (f FirstArticle, err error) {
	r, err := f.read(body, KindFirstArticle)
	if err != nil {
		return FirstArticle{}, err
	}
	f.Lot = r.Name("lot")
	f.Good, f.Finding = r.Uint("good", 32), said(r, "finding")
	return finished(f, r, KindFirstArticle)
}

// Clearance is a person's word that a line is empty, so that a lot may start there.
type Clearance struct {
	Header
	Line    perso.Name
	Lot     perso.Name // that may start
	Finding string
}

// Encode gives the body to sign.
func (c Clearance) Encode() ([]byte, error) {
	return c.write(KindClearance).Str("line", string(c.Line)).Str("lot", string(c.Lot)).Str("finding", c.Finding).Bytes()
}

// ParseClearance reads the body.
func ParseClearance(body []byte) (c Clearance, err error) {
	r, err := c.read(body, KindClearance)
	if err != nil {
		return Clearance{}, err
	}
	c.Line = r.Name("line")
	c.Lot = r.Name("lot")
	c.Finding = said(r, "finding")
	return finished(c, r, KindClearance)
}

// Explained is two persons' word why the last of several hand counts differs from what the ledger has.
type Explained struct {
	Header
	Lot    perso.Name
	Count  [32]byte // hash of the count's log entry: another count needs another word
	Reason string
}

// Encode gives the body to sign.
func (x Explained) Encode() ([]byte, error) {
	return x.write(KindExplained).Str("lot", string(x.Lot)).Hex("count", x.Count[:]).Str("reason", x.Reason).Bytes()
}

// ParseExplained reads the body.
func ParseExplained(body []byte) (x Explained, err error) {
	r, err := x.read(body, KindExplained)
	if err != nil {
		return Explained{}, err
	}
	x.Lot = r.Name("lot")
	x.Count, x.Reason = r.Hash("count"), said(r, "reason")
	return finished(x, r, KindExplained)
}

// MaxRejects bounds the pieces of one destruction, so that the list fits one record.
const MaxRejects = 1_000

// Rejects is two officers' word that live rejects of a closed lot were destroyed before their eyes, listed piece by piece: an id that a maker
// gave to two chips, which both lay among the live rejects, stands there twice.
type Rejects struct {
	Header
	Lot   perso.Name
	Place string
	How   string
	Chips []id.ChipID // in the order of their bytes, each as often as there were pieces
}

// InOrder gives chips as a list of them must have them.
func InOrder(chips []id.ChipID) []id.ChipID { return slices.Compact(Pieces(chips)) }

// Pieces gives chips as a list of pieces must have them.
func Pieces(chips []id.ChipID) []id.ChipID {
	chips = slices.Clone(chips)
	slices.SortFunc(chips, func(a, b id.ChipID) int { return bytes.Compare(a.Bytes(), b.Bytes()) })
	return chips
}

// Encode gives the body to sign.
func (d Rejects) Encode() ([]byte, error) {
	w := d.write(KindRejects).Str("lot", string(d.Lot)).Str("place", d.Place).Str("how", d.How)
	for _, c := range d.Chips {
		w.Str("chip", c.String())
	}
	return w.Bytes()
}

// Pieces is how many pieces of an id the list names.
func (d Rejects) Pieces(chip id.ChipID) (n uint64) {
	at, _ := slices.BinarySearchFunc(d.Chips, chip, func(c, want id.ChipID) int { return bytes.Compare(c.Bytes(), want.Bytes()) })
	for ; at < len(d.Chips) && d.Chips[at] == chip; at++ {
		n++
	}
	return n
}

// ParseRejects reads the body.
func ParseRejects(body []byte) (d Rejects, err error) {
	r, err := d.read(body, KindRejects)
	if err != nil {
		return Rejects{}, err
	}
	d.Lot = r.Name("lot")
	d.Place, d.How = said(r, "place"), said(r, "how")
	for first := true; first || r.More() && len(d.Chips) < MaxRejects; first = false {
		d.Chips = append(d.Chips, nextChip(r, "chip", d.Chips, true))
	}
	return finished(d, r, KindRejects)
}

// nextChip reads the chip behind those of a list: of pieces, in which an id may be repeated, or of chips.
func nextChip(r *record.Reader, key string, before []id.ChipID, pieces bool) id.ChipID {
	text := r.Raw(key)
	c, err := id.ParseChipID(text)
	if err == nil && c.String() != text {
		err = fmt.Errorf("chip %q is not in small letters", text)
	}
	if n := len(before); err == nil && n > 0 {
		switch order := bytes.Compare(before[n-1].Bytes(), c.Bytes()); {
		case order > 0:
			err = fmt.Errorf("chip %s is not in its place: chips stand in the order of their bytes", c)
		case order == 0 && !pieces:
			err = fmt.Errorf("chip %s stands there twice", c)
		}
	}
	r.Check(err)
	return c
}
