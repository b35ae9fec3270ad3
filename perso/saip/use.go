package saip

import (
	"fmt"
	"strings"
)

// Use says what a secret slot is for, so that whoever has a card's secrets can fill any package: the key of the subscription, a
// code, or a key of a security domain.
type Use struct {
	Kind UseKind
	// Of a key.
	KVN, KID byte
	Domain   int  // from 1
	Type     byte // GlobalPlatform key type: 80 DES, 85 PSK-TLS, 88 AES

	Name string // of the slot
}

// UseKind is a sort of secret.
type UseKind string

// The sorts of secrets.
const (
	UseNumber UseKind = "number" // no secret: Identify sets it
	UseKi     UseKind = "KI"
	UseOPc    UseKind = "OPC" // or TOPc
	UsePIN1   UseKind = "PIN1"
	UsePIN2   UseKind = "PIN2"
	UsePUK1   UseKind = "PUK1"
	UsePUK2   UseKind = "PUK2"
	UseADM1   UseKind = "ADM1"
	UseADM2   UseKind = "ADM2"
	UseADM3   UseKind = "ADM3"
	UseADM4   UseKind = "ADM4"
	UseKey    UseKind = "key"  // of a security domain
	UseCDMA   UseKind = "cdma" // a secret of a CDMA parameter, by its name
)

// Use says what the slot takes. A slot that no card of a factory has a value for is refused: a second subscription in one package,
// codes of further applications.
func (s Slot) Use() (Use, error) {
	if !s.Secret {
		return Use{Kind: UseNumber, Name: s.Name}, nil
	}
	for _, code := range []struct {
		slot string
		kind UseKind
	}{
		{"pin.01", UsePIN1}, {"pin.81", UsePIN2}, {"puk.01", UsePUK1}, {"puk.81", UsePUK2},
		{"pin.0A", UseADM1}, {"pin.0B", UseADM2}, {"pin.0C", UseADM3}, {"pin.0D", UseADM4},
		{"usim.key", UseKi}, {"isim.key", UseKi}, {"usim.opc", UseOPc}, {"isim.opc", UseOPc},
	} {
		if s.Name == code.slot {
			return Use{Kind: code.kind, Name: s.Name}, nil
		}
	}
	if s.key != (Use{}) {
		return s.key, nil
	}
	if strings.HasPrefix(s.Name, "cdma") {
		return Use{Kind: UseCDMA, Name: s.Name}, nil
	}
	return Use{}, fmt.Errorf("the package has a place %q, for which a card has no value here", s.Name)
}

// noteKeys tells the slots of keys what they are.
func (t *Template) noteKeys(chip *Chip) {
	for i, sd := range chip.Domains {
		for _, k := range sd.Keys {
			name := fmt.Sprintf("%s.%02X.%02X", numberedContext("sd", i), k.KVN, k.KID)
			for n := range t.slots {
				if t.slots[n].Name == name {
					t.slots[n].key = Use{Kind: UseKey, KVN: k.KVN, KID: k.KID, Domain: i + 1, Type: k.Type, Name: name}
				}
			}
		}
	}
}

// Uses are what the secret slots take, in the order of the slots; every slot that has no value is named.
func (t *Template) Uses() ([]Use, error) {
	uses := make([]Use, len(t.slots))
	var missing []string
	for i, s := range t.slots {
		u, err := s.Use()
		if err != nil {
			missing = append(missing, fmt.Sprintf("%q", s.Name))
		}
		uses[i] = u
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the package has places for which a card has no value here: %s", strings.Join(missing, ", "))
	}
	return uses, nil
}

// Fill puts the secret values of a card into v, each from what give says of its use, which must have the slot's length.
func (t *Template) Fill(v Values, give func(u Use, length int) ([]byte, error)) error {
	for i, s := range t.slots {
		if !s.Secret {
			continue
		}
		u, err := s.Use()
		if err != nil {
			return err
		}
		if v[i], err = give(u, s.Length); err != nil {
			return err
		}
	}
	return nil
}

// Policy is the first byte of the policy rules, POL1: 01 forbids disabling, 02 deleting, 04 deletes when disabled (SGP.02 §3.6.1).
// 00 where there are none.
func (t *Template) Policy() byte { return t.policy }

// USIM is the AID of the first USIM, nil where there is none.
func (t *Template) USIM() []byte { return t.usim }
