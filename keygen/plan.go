package keygen

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/statement"
)

// plan is what the vault reads out of a script once per lot.
type plan struct {
	// carry is what follows from the card's secrets and is no secret itself: check values and the AUTN. It goes into the
	// state when the seed is at hand, so that later acts do without the seed.
	carry []script.Use
	proof map[script.Purpose]bool // purposes that the script has a command for
}

func planOf(s *script.Script) plan {
	p := plan{proof: map[script.Purpose]bool{}}
	for _, u := range s.Variables() {
		u.Act = 0
		if u.Form == script.KCV || u.Form == script.Public && derivedPublic(u.Name) {
			p.carry = append(p.carry, u)
		}
	}
	slices.SortFunc(p.carry, func(a, b script.Use) int {
		return slices.Compare([]string{a.Name, string(a.Form)}, []string{b.Name, string(b.Form)})
	})
	p.carry = slices.Compact(p.carry)
	for _, act := range s.Acts {
		for i := range act {
			for _, st := range act[i].Steps {
				p.proof[st.Purpose] = true
			}
		}
	}
	return p
}

// carryName is how a derived public value is called in the state.
func carryName(form script.Form, name string) string { return string(form) + ":" + name }

// derivedPublic says that a public variable follows from the card's secrets.
func derivedPublic(name string) bool {
	return name == "AUTH.AUTN" || name == "PINCHECK" || slices.Contains(packageNames(), strings.TrimSuffix(name, partHash)) && strings.HasSuffix(name, partHash)
}

// The decisions that a script may ask of the vault.
const (
	// whenECKA: must the chip make a new key pair? It need not when the certificate on record is for the pair it reports.
	whenECKA = "ecka"
	// whenStamp: must the chip be stamped? Not when its claim was written for already (stamp.go). Asked in act 0 only.
	whenStamp = "stamp"
	// whenPIN1: must a device ask for PIN1 of the new SIM?
	whenPIN1 = "pin1"
	// whenInject: must the chip be given a key pair? Only where the order says that the HSM makes it (pair.go).
	whenInject = "inject"
)

// writesAlgorithm demands that a script tells the chip its algorithm, unless that is the one that chips expect: else every chip
// of the lot would fail its proof.
func writesAlgorithm(s *script.Script, r statement.Release) error {
	a, err := auth.Parse(r.Algorithm)
	if err != nil || a == auth.Default() || slices.Contains(s.Packages(), script.PackageBootstrap) { // a package is told by itself
		return err
	}
	if !slices.ContainsFunc(s.Variables(), func(u script.Use) bool { return u.Name == "AKA" }) {
		return fmt.Errorf("it does not write {AKA}, which %s needs", a)
	}
	return nil
}

// terms are what a release says of how its units are written and what makes them good.
type terms struct {
	channel product.Channel
	proofs  product.Proofs
	origin  order.KeyOrigin // order.KeyNone: no eUICC, no certificate
}

// plainProofs is all that a chip without a secure channel can say, and what it is worth.
const plainProofs = string(product.ProofAuthenticate) + " " + product.TrustsLine

// proofs02 is all that a chip can say whose channel protects no answer, and what of it is the line's word.
const proofs02 = string(product.ProofReopen) + ", " + string(product.ProofAuthenticate) + " " + product.TrustsContents

// termsOf reads them, and refuses a list of proofs that this vault takes for too little: over a secure channel a chip proves all
// that it can.
func termsOf(r statement.Release) (t terms, err error) {
	t.origin = order.KeyOrigin(r.KeyOrigin)
	if t.channel, err = product.ParseChannel(r.Channel); err != nil {
		return t, err
	}
	if t.proofs, err = product.ParseProofs(r.Proof); err != nil {
		return t, err
	}
	if t.channel == product.ChannelADM {
		if r.Proof != plainProofs {
			return t, fmt.Errorf("its proofs are %q, and a chip without a secure channel has %q", t.proofs, plainProofs)
		}
		return t, nil
	}
	if t.channel == product.ChannelSCP02 {
		if r.Proof != proofs02 {
			return t, fmt.Errorf("its proofs are %q, and a chip with SCP02 has %q", t.proofs, proofs02)
		}
		return t, nil
	}
	for _, want := range []product.Proof{product.ProofReopen, product.ProofReadback, product.ProofAuthenticate} {
		if !t.proofs.Has(want) {
			return t, fmt.Errorf("its proofs %q lack %q", t.proofs, want)
		}
	}
	return t, nil
}

// proves are the answers of a chip that the vault looks for.
func (t terms) proves() (out []script.Purpose) {
	for _, one := range []struct {
		proof   product.Proof
		purpose script.Purpose
	}{
		{product.ProofReopen, script.PurposeReopen}, {product.ProofReadback, script.PurposeReadback}, {product.ProofAuthenticate, script.PurposeAUTS},
	} {
		if t.proofs.Has(one.proof) {
			out = append(out, one.purpose)
		}
	}
	if t.origin != order.KeyNone || t.proofs.Has(product.ProofSignature) {
		out = append(out, script.PurposeECKA)
	}
	return out
}

// asksPIN1 demands a script that has devices ask for PIN1 where the order wants that.
func asksPIN1(s *script.Script, r statement.Release) error {
	if r.PIN1 == "" {
		return nil
	}
	for _, act := range s.Acts {
		for i := range act {
			if act[i].When == whenPIN1 {
				return nil
			}
		}
	}
	return fmt.Errorf("no section WHEN=%s, and the order wants PIN1 asked for", whenPIN1)
}

// Playable says why the vault would refuse a release with the script, for whoever writes one; nil when nothing in the script
// itself keeps it from being played, for an order of one of the two origins of the chip's key, or for SIMs.
func Playable(s *script.Script) error {
	all, err := product.ParseProofs(fmt.Sprintf("%s, %s, %s", product.ProofReopen, product.ProofReadback, product.ProofAuthenticate))
	if err != nil {
		return err
	}
	for protocol, t := range map[script.Protocol]struct {
		channel product.Channel
		proofs  string
	}{script.ADM: {product.ChannelADM, plainProofs}, script.SCP02: {product.ChannelSCP02, proofs02}} {
		if len(s.Channels) != 1 || s.Channels[0].Protocol != protocol {
			continue
		}
		proofs, err := product.ParseProofs(t.proofs)
		if err != nil {
			return err
		}
		return provable(s, terms{channel: t.channel, proofs: proofs})
	}
	ways := []order.KeyOrigin{order.KeyNone}
	if certifies(s) {
		ways = []order.KeyOrigin{order.KeyCard, order.KeyHSM}
	}
	var first error
	for _, origin := range ways {
		err := provable(s, terms{channel: product.ChannelSCP03, proofs: all, origin: origin})
		if err == nil {
			return nil
		}
		first = cmp.Or(first, err)
	}
	return first
}

// certifies says whether a script makes an eUICC: it writes an EID or a certificate.
func certifies(s *script.Script) bool {
	return slices.ContainsFunc(s.Variables(), func(u script.Use) bool { return euiccVariable(u.Name) })
}

// euiccVariable says that only an eUICC has the variable.
func euiccVariable(name string) bool {
	switch name {
	case "EID", "EID.IIN", "CIN", "CERT", "POP.CHALLENGE", varPairKey, varPairPoint:
		return true
	}
	return false
}

// provable demands what makes a unit good: answers bound to the chip, the card cryptogram under the new keys, the
// authentication answer under the new Ki, and of an eUICC a proof of possession for the key to be certified; and the stamp in
// act 0, so that no chip gets a secret that cannot be told from another one of its id.
func provable(s *script.Script, t terms) error {
	p, origin := planOf(s), t.origin
	if err := openable(s, t); err != nil {
		return err
	}
	switch {
	case len(s.Acts) >= perso.MaxActs:
		return fmt.Errorf("%d acts, at most %d before the verdict", len(s.Acts), perso.MaxActs-1)
	case origin == order.KeyNone && certifies(s):
		return errors.New("it writes what only an eUICC has, and the product is none")
	}
	for _, want := range t.proves() {
		if !p.proof[want] {
			return fmt.Errorf("no command gives the proof %q", want)
		}
	}
	if i, ok := s.StampSection(); !ok || s.Acts[0][i].When != whenStamp {
		return fmt.Errorf("act 0 does not end with a section WHEN=%s that stores {%s}", whenStamp, script.VarStamp)
	}
	for n, act := range s.Acts {
		for i := range act {
			if !decided(act[i].When, n, origin) {
				return fmt.Errorf("section %q asks for a decision %q that is unknown", act[i].Name, act[i].When)
			}
		}
	}
	return keyWay(s, origin)
}

// decided says whether the vault knows a decision: of act n, of a chip with this origin of its key.
func decided(when string, n int, origin order.KeyOrigin) bool {
	switch when {
	case "":
		return true
	case whenStamp:
		return n == 0
	case whenPIN1:
		return n > 0 && origin == order.KeyNone
	case whenECKA:
		return origin == order.KeyCard
	case whenInject:
		return origin == order.KeyHSM
	}
	return false
}

// openable says whether the line and this vault open the channels of a script as it asks. The line sends INITIALIZE UPDATE
// once, for whichever key set the chip has: the vault must be let in under the maker's keys and later under the card's own.
func openable(s *script.Script, t terms) error {
	want := map[product.Channel]script.Protocol{product.ChannelADM: script.ADM, product.ChannelSCP02: script.SCP02, product.ChannelSCP03: script.SCP03}[t.channel]
	if len(s.Channels) != 1 {
		return fmt.Errorf("it opens %d secure channels, and a session has one", len(s.Channels))
	}
	switch c := s.Channels[0]; {
	case c.Protocol != want:
		return fmt.Errorf("it opens a channel of %s, and the product's chips have %s", c.Protocol, want)
	case c.Protocol == script.ADM:
	case c.KVN != 0:
		return fmt.Errorf("it opens a channel under key version %02X, and the line leaves that to the chip: write no KVN", c.KVN)
	case scp.Level(c.Level) != t.level():
		return fmt.Errorf("security level %02X, want %v", c.Level, t.level())
	case c.S16:
		return fmt.Errorf("it opens a channel with 16-byte challenges, and the line sends %d bytes", challengeBytes)
	}
	for _, act := range s.Acts {
		for i := range act {
			for _, st := range act[i].Steps {
				if st.Kind != script.KindCommand {
					return fmt.Errorf("step %q cycles the power, and the line powers a chip once in a session", st.Label)
				}
			}
		}
	}
	return nil
}

// bindable checks that the lot has every variable of the script: the vault's own by name, a constant with its length.
func bindable(s *script.Script, constants map[string][]byte) error {
	for _, u := range s.Variables() {
		_, constant := constants[u.Name]
		if !constant && !ownVariable(u.Name) && u.Form != script.Answer {
			return fmt.Errorf("variable %q is neither the vault's nor a constant of the release", u.Name)
		}
	}
	for _, act := range s.Acts {
		for i := range act {
			for _, st := range act[i].Steps {
				for _, g := range st.Body {
					if g.Var == nil || g.Var.Form == script.Answer || ownVariable(g.Var.Name) {
						continue
					}
					if n := len(constants[g.Var.Name]); n != g.Var.Size {
						return fmt.Errorf("constant %q has %d bytes, the script wants %d", g.Var.Name, n, g.Var.Size)
					}
				}
			}
		}
	}
	return nil
}
