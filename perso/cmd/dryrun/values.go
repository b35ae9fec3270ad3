package dryrun

import (
	"crypto/ecdh"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/tdes"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/tlv"
)

// values are the made-up values of one card (script.Binder).
type values struct {
	byName  map[string][]byte
	answers map[string][]byte // of probes
	channel func() channel    // that is open
	tdes    bool              // the ISD's keys are Triple DES keys
	point   []byte            // that the certificate is for
	loads   map[string]*load  // packages on their way, by name
}

// newValues makes up what the script needs. What follows from other values is made from them, so that the chip's own
// checks hold.
func newValues(s *script.Script, c Config) (*values, error) {
	v := &values{byName: map[string][]byte{}, loads: map[string]*load{}, tdes: protocolOf(c.Product) == script.SCP02}
	for name, size := range sizes(s) {
		v.byName[name] = made(name, size)
	}
	v.pins()
	if err := v.transport(c.Product); err != nil {
		return nil, err
	}
	if err := errors.Join(v.pair(), v.set("AKA", auth.Default().Parameters())); err != nil {
		return nil, err
	}
	a := c.Product.AIDs
	usim := a.USIM.Bytes()
	if t := c.Packages[script.PackageBootstrap]; t != nil && len(t.USIM()) > 0 {
		usim = t.USIM() // a package brings its own
	}
	for name, aid := range map[string][]byte{"ISD": a.ISD.Bytes(), "ISDR": a.ISDR.Bytes(), "ECASD": a.ECASD.Bytes(), "LOADFILE": a.LoadFile.Bytes(),
		"MODULE": a.Module.Bytes(), "ISDP": a.ISDP.Bytes(), "ISDP2": a.ISDP2.Bytes(), "USIM": usim, "ISIM": a.ISIM.Bytes()} {
		if err := v.set("AID."+name, aid); err != nil {
			return nil, err
		}
	}
	for name, value := range c.Values {
		if v.byName[name] == nil {
			return nil, fmt.Errorf("giving a value: the script has no variable %q: %w", name, ErrCannot)
		}
		if err := v.set(name, value); err != nil {
			return nil, err
		}
	}
	for _, name := range s.Packages() {
		if err := v.render(name, c.Packages[name]); err != nil {
			return nil, err
		}
	}
	return v, v.derive(c.Values)
}

// set puts a value in place of a made-up one, if the script has the variable.
func (v *values) set(name string, value []byte) error {
	was := v.byName[name]
	if was == nil || len(value) == 0 {
		return nil
	}
	if len(was) != len(value) {
		return fmt.Errorf("giving %s: %d bytes, the script has %d: %w", name, len(value), len(was), ErrCannot)
	}
	v.byName[name] = value
	return nil
}

// sizes are the lengths of all variables of a script. Of a secret of which only the check value is sent, it is a key's.
func sizes(s *script.Script) map[string]int {
	const key = 16
	all := map[string]int{}
	note := func(segments []script.Segment) {
		for _, g := range segments {
			switch {
			case g.Var == nil || g.Var.Form == script.Answer || g.Var.Form == script.Sealed:
			case g.Var.Form != script.KCV:
				all[g.Var.Name] = g.Var.Size
			case all[g.Var.Name] == 0:
				all[g.Var.Name] = key
			}
		}
	}
	for _, act := range s.Acts {
		for _, sec := range act {
			for _, all := range sec.Done {
				for _, condition := range all {
					note(condition.Pattern)
				}
			}
			for _, st := range sec.Steps {
				note(st.Body)
				if st.Data != nil {
					note(*st.Data)
				}
			}
		}
	}
	return all
}

// made gives bytes that differ from name to name and are the same in each dry run.
func made(name string, size int) []byte {
	var out []byte
	for n := byte(0); len(out) < size; n++ {
		sum := sha256.Sum256(append([]byte("dry run "+name), n))
		out = append(out, sum[:]...)
	}
	return out[:size]
}

// pins have a form that chips check (TS 102 221 §9.5.1): digits, filled with FF.
func (v *values) pins() {
	for name, value := range map[string]string{"PINSET1": "0000\xFF\xFF\xFF\xFF12345678", "PINSET2": "1111\xFF\xFF\xFF\xFF87654321", "ADMSET": "abcdefgh\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
		"PIN1": "0000\xFF\xFF\xFF\xFF", "ADM1": "abcdefgh"} {
		if len(v.byName[name]) == len(value) {
			v.byName[name] = []byte(value)
		}
	}
}

// transport is the maker's code of the one chip of a dry run.
func (v *values) transport(p product.Product) error {
	const name = "ADM.TRANSPORT"
	if p.Factory.SCP != product.SCPNone || v.byName[name] == nil {
		return nil
	}
	like, err := personality(p)
	if err != nil {
		return err
	}
	code := like.Keys.TransportCode()
	return v.set(name, code[:])
}

// pair makes the public key that belongs to a private key that the script gives to the chip, and a certificate for it.
func (v *values) pair() error {
	scalar, point := v.byName["ECASD.KEY"], v.byName["ECASD.PUB"]
	if scalar == nil || point == nil {
		return nil
	}
	key, err := ecdh.P256().NewPrivateKey(scalar)
	if err != nil {
		return fmt.Errorf("making ECASD.PUB: %w", err)
	}
	if err := v.set("ECASD.PUB", key.PublicKey().Bytes()); err != nil {
		return err
	}
	v.certify(v.byName["ECASD.PUB"])
	return nil
}

// derive makes what the vault makes from others, unless it was given by hand.
func (v *values) derive(given map[string][]byte) error {
	ki, opc := v.byName["KI"], v.byName["OPC"]
	if sets := [][]byte{v.byName["PINSET1"], v.byName["PINSET2"], v.byName["ADMSET"]}; len(ki) == 16 && v.byName["PINCHECK"] != nil && given["PINCHECK"] == nil {
		check := scp.CMAC(ki, sets...)
		copy(v.byName["PINCHECK"], check[:])
	}
	if random := v.byName["AUTH.RAND"]; len(random) == 16 && len(v.byName["AUTH.AUTN"]) == 16 && given["AUTH.AUTN"] == nil && ki != nil && opc != nil {
		m, err := aka.New(ki, opc)
		if err != nil {
			return fmt.Errorf("making AUTH.AUTN: %w", err)
		}
		defer m.Wipe()
		autn := m.BuildAUTN(aka.Rand(random), aka.SQN{}, aka.AMF{}) // SQN 0 is never fresh: the chip answers AUTS
		copy(v.byName["AUTH.AUTN"], autn[:])
	}
	return nil
}

// certify makes a certificate, of which nobody checks the signature, for the chip's public key.
func (v *values) certify(point []byte) {
	v.point = slices.Clone(point)
	cert := v.byName["CERT"]
	if cert == nil {
		return
	}
	key := tlv.Encode(0x7F49, tlv.Encode(0xB0, point), tlv.Encode(0xF0, []byte{0}))
	for signature := len(cert) - len(key); signature >= 0; signature-- {
		made := append(slices.Clone(key), tlv.Encode(0x5F37, make([]byte, signature))...)
		if len(made) == len(cert) {
			v.byName["CERT"] = made
			return
		}
	}
}

// Bind implements script.Binder.
func (v *values) Bind(dst []byte, form script.Form, name string) ([]byte, error) {
	if form == script.Answer {
		return append(dst, v.answers[name]...), nil
	}
	switch value := v.byName[name]; form {
	case script.Sealed:
		return v.sealed(dst, name)
	case script.DEK:
		enc, err := v.channel().dek(value)
		return append(dst, enc...), err
	case script.KCV:
		if n := len(value); n != 16 && n != 24 && n != 32 {
			return dst, fmt.Errorf("making the check value of %s: %d bytes are no AES key: %w", name, n, ErrCannot)
		}
		if v.tdes && strings.HasPrefix(name, "ISD.") {
			key, err := tdes.New(value)
			if err != nil {
				return dst, fmt.Errorf("making the check value of %s: %w", name, err)
			}
			kcv := key.KCV()
			return append(dst, kcv[:]...), nil
		}
		kcv := scp.KCV(value)
		return append(dst, kcv[:]...), nil
	default:
		return append(dst, value...), nil
	}
}

// isd is the card's own key set.
func (v *values) isd() scp.StaticKeys {
	return scp.StaticKeys{ENC: v.byName["ISD.ENC"], MAC: v.byName["ISD.MAC"], DEK: v.byName["ISD.DEK"]}
}
