package product

import (
	"fmt"
	"slices"
	"strings"
)

// Channel is how secrets get onto a chip.
type Channel string

// The channels. A chip without one is written under its maker's ADM code: what goes to it is sealed to the line's worker for
// one presentation, and the worker reads it.
const (
	ChannelSCP03 Channel = "scp03"
	ChannelSCP02 Channel = "scp02"
	ChannelADM   Channel = "adm"
)

// ParseChannel accepts the closed set.
func ParseChannel(s string) (Channel, error) {
	switch c := Channel(s); c {
	case ChannelSCP03, ChannelSCP02, ChannelADM:
		return c, nil
	}
	return "", fmt.Errorf("unknown channel %.20q", s)
}

// Channel is the product's.
func (p Product) Channel() Channel {
	switch p.Factory.SCP {
	case SCP02:
		return ChannelSCP02
	case SCPNone:
		return ChannelADM
	}
	return ChannelSCP03
}

// TrustsLine is how a list of proofs ends where a line that lies could have said them, or could have written a second chip
// alike. Whoever reads it, in a release, a report or a delivery, must not take "good" for more.
const TrustsLine = "(trusts the line)"

// TrustsContents is how a list of proofs ends where the chip proves its keys to the vault, and nothing else: its channel protects
// no answer, so what was read back, the chip's life cycle, and whether it had been written to before are the line's word.
const TrustsContents = "(contents trust the line)"

// remarks are what stands behind a list of proofs, by what a product says.
var remarks = map[Proof]string{ProofTrustsLine: TrustsLine, ProofTrustsContents: TrustsContents}

// Proofs is a list of proofs as a release, a report and a delivery quote it. It is comparable; the zero value is none.
type Proofs struct{ text string }

// Proofs is the product's list in the order of its file, with TrustsLine or TrustsContents behind it.
func (p Product) Proofs() Proofs {
	var names []string
	remark := ""
	for _, one := range p.Proof {
		if says := remarks[one]; says != "" { // it is no proof
			remark = " " + says
			continue
		}
		names = append(names, string(one))
	}
	text := strings.Join(names, ", ") + remark
	return Proofs{text: text}
}

// ParseProofs reads what String gives.
func ParseProofs(s string) (Proofs, error) {
	p := Proofs{text: s}
	var seen []Proof
	for _, one := range p.list() {
		switch one {
		case ProofReopen, ProofReadback, ProofAuthenticate, ProofSignature:
		default:
			return Proofs{}, fmt.Errorf("reading a list of proofs: unknown proof %.40q", one)
		}
		if slices.Contains(seen, one) {
			return Proofs{}, fmt.Errorf("reading a list of proofs: %q stands in it twice", one)
		}
		seen = append(seen, one)
	}
	return p, nil
}

// String is the names with a comma between, and TrustsLine where that is so.
func (p Proofs) String() string { return p.text }

// TrustsLine says whether a line that lies could have said all of them.
func (p Proofs) TrustsLine() bool { return strings.HasSuffix(p.text, " "+TrustsLine) }

// TrustsContents says whether all but the chip's keys is the line's word.
func (p Proofs) TrustsContents() bool { return strings.HasSuffix(p.text, " "+TrustsContents) }

// Has says whether a proof is in the list.
func (p Proofs) Has(one Proof) bool { return slices.Contains(p.list(), one) }

func (p Proofs) list() (out []Proof) {
	text := p.text
	for _, remark := range remarks {
		text = strings.TrimSuffix(text, " "+remark)
	}
	for name := range strings.SplitSeq(text, ", ") {
		out = append(out, Proof(name))
	}
	return out
}
