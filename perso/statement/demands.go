package statement

import (
	"fmt"
	"strconv"
	"strings"
)

// Demands is what an order asks its lot to go through, beyond the policy of the site: "first-article N", "clearance", "issue", "blind-count",
// "samples PLAN", those that it asks for, in this order, with "; " between. Empty asks for nothing.
type Demands string

// MaxDemandsBytes bounds the text of what an order asks for. All demands together, with a sampling plan of the most rows, have not 600.
const MaxDemandsBytes = 1024

// ParseDemands reads what an order asks for, in its one spelling.
func ParseDemands(text string) (Demands, error) {
	if len(text) > MaxDemandsBytes {
		return "", fmt.Errorf("what the order asks for, %.60q and so on, has %d bytes; all that may be asked for fits into %d", text, len(text), MaxDemandsBytes)
	}
	p, err := Demands(text).terms()
	if err == nil && p.demands() != Demands(text) {
		err = fmt.Errorf("it is spelt %q", p.demands())
	}
	if err != nil {
		return "", fmt.Errorf("what the order asks for, %.60q: %w", text, err)
	}
	return Demands(text), nil
}

// terms reads the demands as a policy without a header.
func (d Demands) terms() (p Policy, err error) {
	if d == "" {
		return p, nil
	}
	for _, item := range strings.Split(string(d), "; ") {
		what, value, _ := strings.Cut(item, " ")
		switch {
		case what == "first-article":
			if p.FirstArticle, err = strconv.ParseUint(value, 10, 20); err != nil {
				err = fmt.Errorf("%.60q is not the number of a first article's chips", value)
			}
		case item == "clearance":
			p.Clearance = true
		case item == "issue":
			p.Issue = true
		case item == "blind-count":
			p.Blind = true
		case what == "samples":
			p.Sampling, err = ParseSampling(value)
		default:
			err = fmt.Errorf("%.60q is none of first-article N, clearance, issue, blind-count, samples PLAN", item)
		}
		if err != nil {
			return Policy{}, err
		}
	}
	return p, nil
}

// demands spells what a policy asks for.
func (p Policy) demands() Demands {
	var items []string
	if p.FirstArticle > 0 {
		items = append(items, fmt.Sprintf("first-article %d", p.FirstArticle))
	}
	for _, x := range []struct {
		asked bool
		item  string
	}{{p.Clearance, "clearance"}, {p.Issue, "issue"}, {p.Blind, "blind-count"}, {p.Sampling != "", "samples " + string(p.Sampling)}} {
		if x.asked {
			items = append(items, x.item)
		}
	}
	return Demands(strings.Join(items, "; "))
}

// With is the policy that a lot of so many ordered units goes through: all that the site asks for, and what its order asks for beyond. It
// never asks for less than either. Quality signs after the fewer good chips; of two sampling plans the lot has the larger sample and the smaller
// acceptance number, and good samples are kept where one of them says so.
func (p Policy) With(d Demands, good uint64) Policy {
	more, err := d.terms()
	if err != nil || d == "" { // demands were parsed before
		return p
	}
	switch {
	case p.FirstArticle == 0:
		p.FirstArticle = more.FirstArticle
	case more.FirstArticle > 0:
		p.FirstArticle = min(p.FirstArticle, more.FirstArticle)
	}
	p.Clearance, p.Issue, p.Blind = p.Clearance || more.Clearance, p.Issue || more.Issue, p.Blind || more.Blind
	switch {
	case p.Sampling == "":
		p.Sampling = more.Sampling
	case more.Sampling != "":
		a, b := p.Sampling.For(good), more.Sampling.For(good)
		become := SamplesOutput
		if p.Sampling.Kept() || more.Sampling.Kept() {
			become = SamplesKept
		}
		p.Sampling = Sampling(fmt.Sprintf("%s %d:%d/%d", become, good, max(a.Size, b.Size), min(a.Accept, b.Accept)))
	}
	return p
}
