package keygen

import (
	"fmt"
	"strings"

	"github.com/persoline/persoline/keygen/transport"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/script"
)

// placed is a secret that a card has only because its package has a place for it: the operator can't use it unless he is told.
type placed struct {
	name  string // of the place, or the code
	kind  string // aes-128, 3des-2key, code, …: ledger/export/OUTPUT.md
	check transport.Check
	value []byte
}

func wipePlaced(all []placed) {
	for _, p := range all {
		clear(p.value)
	}
}

// placed gives them in the order of the package; none of a lot without one. The caller wipes them, also with an error.
func (x *variables) placed(keys *cardKeys) ([]placed, error) {
	return placedIn(x.l.packages[script.PackageBootstrap], keys)
}

// placedIn gives those of one package.
func placedIn(p *pack, keys *cardKeys) (all []placed, err error) {
	if p == nil {
		return nil, nil
	}
	uses, err := p.template.Uses()
	if err != nil {
		return nil, err
	}
	for i, u := range uses {
		if !onlyPlaced(u) {
			continue
		}
		to := placed{name: u.Name, value: make([]byte, p.template.Slots()[i].Length)}
		if code, is := furtherCode(u.Kind); is {
			to.name, to.kind = string(code), "code"
		} else {
			to.kind, to.check = placeKind(u, len(to.value))
		}
		all = append(all, to)
		if err := keys.derivePlace(u, to.value); err != nil {
			return all, err
		}
	}
	return all, nil
}

// onlyPlaced says that no other part of the output holds the secret.
func onlyPlaced(u saip.Use) bool {
	switch u.Kind {
	case saip.UseKey, saip.UseCDMA, saip.UseADM2, saip.UseADM3, saip.UseADM4:
		return true
	}
	return false
}

// placeKind says what a key is, and which check value goes with it. GlobalPlatform has types 80 and 82 for DES, 88 for AES.
func placeKind(u saip.Use, length int) (string, transport.Check) {
	switch {
	case u.Kind != saip.UseKey:
	case u.Type == keyTypeAES && (length == 16 || length == 24 || length == 32):
		return fmt.Sprintf("aes-%d", 8*length), transport.CheckAES
	case (u.Type == keyTypeDES || u.Type == keyTypeDESCBC) && length == 16:
		return "3des-2key", transport.CheckTDES
	case (u.Type == keyTypeDES || u.Type == keyTypeDESCBC) && length == 24:
		return "3des-3key", transport.CheckTDES
	}
	return fmt.Sprintf("bytes-%d", length), transport.CheckNone
}

// withKinds says of the last keys of a result what they are.
func withKinds(r bus.ExportResult, last []placed) bus.ExportResult {
	if first := len(r.Keys) - len(last); first >= 0 {
		for i, p := range last {
			r.Keys[first+i].Kind = p.kind
		}
	}
	return r
}

// profileInEnvelope seals them, each with its name.
func (x *variables) profileInEnvelope(session *transport.SessionKeys, s transport.Subscription, keys *cardKeys) ([]byte, error) {
	all, err := x.placed(keys)
	defer func() { wipePlaced(all) }()
	if err != nil {
		return nil, err
	}
	values := make([]transport.Named, len(all))
	for i, p := range all {
		values[i] = transport.Named{Name: p.column(), Value: p.value}
	}
	return session.SealProfile(s, values)
}

// column is the name by which an operator knows the secret.
func (p placed) column() string { return strings.ToUpper(p.name) }
