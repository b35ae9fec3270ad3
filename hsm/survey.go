package hsm

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"
)

// FeatureCardPair is the name of CardPair among what a product may need.
const FeatureCardPair = "card-pair"

// A Survey is what a module and its token are and can do, beside what the
// product needs of them.
type Survey struct {
	Module     ModuleSurvey      `json:"module"`
	Token      TokenSurvey       `json:"token"`
	Mechanisms []MechanismSurvey `json:"mechanisms"`
	Features   []FeatureSurvey   `json:"features"`
	Gaps       []GapSurvey       `json:"gaps"`
	// Probed: keys were made, read back, used and destroyed, not only listed.
	Probed bool `json:"probed"`
}

// ModuleSurvey is what C_GetInfo says.
type ModuleSurvey struct {
	Manufacturer string `json:"manufacturer"`
	Library      string `json:"library"`
	Version      string `json:"version"`
	Cryptoki     string `json:"cryptoki"`
}

// TokenSurvey is what C_GetTokenInfo says.
type TokenSurvey struct {
	Label        string `json:"label"`
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	Serial       string `json:"serial"`
	Firmware     string `json:"firmware"`
	// MaxSessions is 0 where the token sets or tells no limit.
	MaxSessions uint64 `json:"max_sessions"`
	// PINWarning: wrong PINs were tried since the last good login.
	PINWarning string `json:"pin_warning,omitempty"`
}

// MechanismSurvey is one mechanism that something of ours uses.
type MechanismSurvey struct {
	Name    string   `json:"name"`
	Offered bool     `json:"offered"`
	MinKey  uint     `json:"min_key"` // in the mechanism's own unit, bits or bytes
	MaxKey  uint     `json:"max_key"`
	For     []string `json:"for"` // features
}

// FeatureSurvey is a key class, or CardPair, and whether the token can have it.
type FeatureSurvey struct {
	Name string `json:"name"`
	Why  string `json:"why"`
	// Essential: no site works without it. The others are for some products.
	Essential bool `json:"essential"`
	Ready     bool `json:"ready"`
	// Note says what is missing, or what is done instead.
	Note string `json:"note,omitempty"`
}

// GapSurvey is a gap, whether it was declared and, if it was probed for,
// whether it is there.
type GapSurvey struct {
	Gap      Gap    `json:"gap"`
	Declared bool   `json:"declared"`
	Found    bool   `json:"found"`
	Cost     string `json:"cost"`
}

// Problems are the reasons against the token, none if it will do: a feature that
// is essential or in need and not ready, a gap that nobody declared, and one
// that was declared and is not there, for then policy is given up for nothing.
func (s Survey) Problems(need ...string) (list []string) {
	for _, f := range s.Features {
		if !f.Ready && (f.Essential || slices.Contains(need, f.Name)) {
			list = append(list, fmt.Sprintf("%s: %s", f.Name, f.Note))
		}
	}
	for _, g := range s.Gaps {
		switch {
		case !s.Probed || g.Declared == g.Found:
		case g.Found:
			list = append(list, fmt.Sprintf("gap %s is not declared: %s", g.Gap, g.Cost))
		default:
			list = append(list, fmt.Sprintf("gap %s is declared, but the module has none: declare it no longer", g.Gap))
		}
	}
	return list
}

// Features are the names of all that Survey looks for.
func Features() (names []string) {
	for _, c := range Classes() {
		names = append(names, c.String())
	}
	return append(names, FeatureCardPair)
}

// optional classes are for some products only.
func (c Class) optional() bool {
	return c == ClassEUMBrainpool || c.TDES() || c == ClassReceive || c == ClassEnvelope
}

// Survey asks module and token what they are and offer. It makes session
// objects, which go at once, to see whether curves are there. With probe it also
// makes a key of each class on the token, reads it back, uses it and destroys
// it, and looks for each gap: do that on a token with room for one more key,
// and not while it is at its limit.
func (t *Token) Survey(ctx context.Context, probe bool) (s Survey, err error) {
	err = t.do(ctx, again, func(*session) error {
		if err := t.management.enter(ctx, t.cfg.WaitLimit); err != nil {
			return err
		}
		defer t.management.leave()
		s = Survey{Probed: probe}
		if err := t.identify(&s); err != nil {
			return err
		}
		if err := t.surveyMechanisms(&s); err != nil {
			return err
		}
		t.surveyFeatures(&s)
		return nil
	})
	if err == nil {
		err = t.surveyGaps(ctx, &s)
	}
	if err == nil && probe {
		err = t.probeClasses(ctx, &s)
	}
	if err != nil {
		return Survey{}, fmt.Errorf("surveying token %q: %w", t.cfg.TokenLabel, err)
	}
	return s, nil
}

func (t *Token) identify(s *Survey) error {
	info, err := t.module.GetInfo()
	if err != nil {
		return fault("C_GetInfo", err)
	}
	version := func(v pkcs11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }
	s.Module = ModuleSurvey{Manufacturer: info.ManufacturerID, Library: info.LibraryDescription,
		Version: version(info.LibraryVersion), Cryptoki: version(info.CryptokiVersion)}
	tok, err := t.module.GetTokenInfo(t.slot)
	if err != nil {
		return fault("C_GetTokenInfo", err)
	}
	s.Token = TokenSurvey{Label: tok.Label, Manufacturer: tok.ManufacturerID, Model: tok.Model, Serial: tok.SerialNumber,
		Firmware: version(tok.FirmwareVersion)}
	if n := tok.MaxSessionCount; n != math.MaxUint { // CK_UNAVAILABLE_INFORMATION
		s.Token.MaxSessions = uint64(n) // 0 is CK_EFFECTIVELY_INFINITE
	}
	switch {
	case tok.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		s.Token.PINWarning = "one more wrong user PIN locks the token"
	case tok.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0:
		s.Token.PINWarning = "wrong user PINs were tried since the last good login"
	}
	return nil
}

// needs are the mechanisms of a feature on this token.
func (t *Token) needs(c Class) []uint {
	r := ruleOf(c).on(t.offers())
	return append([]uint{r.generator()}, r.mechanisms...)
}

// cardPairNeeds are the mechanisms of CardPair on this token.
func (t *Token) cardPairNeeds() []uint {
	if t.offers().wrap == 0 {
		return []uint{pkcs11.CKM_EC_KEY_PAIR_GEN, ckmAESKeyWrapKWP}
	}
	return []uint{pkcs11.CKM_EC_KEY_PAIR_GEN, t.offers().wrap}
}

func (t *Token) surveyMechanisms(s *Survey) error {
	offered, err := t.module.GetMechanismList(t.slot)
	if err != nil {
		return fault("C_GetMechanismList", err)
	}
	at := map[uint]int{}
	add := func(feature string, mechanisms []uint) error {
		for _, m := range mechanisms {
			i, known := at[m]
			if !known {
				i = len(s.Mechanisms)
				at[m] = i
				one := MechanismSurvey{Name: mechanismName(m)}
				one.Offered = slices.ContainsFunc(offered, func(o *pkcs11.Mechanism) bool { return o.Mechanism == m })
				if one.Offered {
					info, err := t.module.GetMechanismInfo(t.slot, []*pkcs11.Mechanism{pkcs11.NewMechanism(m, nil)})
					if err != nil {
						return fault("C_GetMechanismInfo", err)
					}
					one.MinKey, one.MaxKey = info.MinKeySize, info.MaxKeySize
				}
				s.Mechanisms = append(s.Mechanisms, one)
			}
			s.Mechanisms[i].For = append(s.Mechanisms[i].For, feature)
		}
		return nil
	}
	for _, c := range Classes() {
		if err := add(c.String(), t.needs(c)); err != nil {
			return err
		}
	}
	return add(FeatureCardPair, t.cardPairNeeds())
}

// surveyFeatures says of each feature whether its mechanisms and its curve are
// there.
func (t *Token) surveyFeatures(s *Survey) {
	for _, c := range Classes() {
		r := ruleOf(c)
		f := FeatureSurvey{Name: c.String(), Why: r.why, Essential: !c.optional()}
		f.Ready, f.Note = s.offers(f.Name)
		if f.Ready && r.form == rsa3072 {
			f.Ready, f.Note = s.offersBits(r.generator(), rsaBits)
		} else if f.Ready && r.isPair() {
			if err := t.tryCurve(r.on(t.offers())); err != nil {
				f.Ready, f.Note = false, fmt.Sprintf("no pair of this kind can be made: %v", err)
			}
		}
		if f.Ready && r.form == edwards && !t.offers().eddsa {
			f.Note = "on P-256, since the module has no Ed25519"
		}
		s.Features = append(s.Features, f)
	}
	card := FeatureSurvey{Name: FeatureCardPair, Why: "key pairs for chips that make none (key_origin hsm)"}
	card.Ready, card.Note = s.offers(card.Name)
	s.Features = append(s.Features, card)
}

func (s *Survey) offers(feature string) (ready bool, note string) {
	var missing []string
	for _, m := range s.Mechanisms {
		if slices.Contains(m.For, feature) && !m.Offered {
			missing = append(missing, m.Name)
		}
	}
	if missing != nil {
		return false, "the module has no " + strings.Join(missing, ", ")
	}
	return true, ""
}

// offersBits asks for the size of an RSA modulus, which needs no try: making a
// pair of that size takes seconds on some tokens.
func (s *Survey) offersBits(mechanism uint, bits uint) (ready bool, note string) {
	i := slices.IndexFunc(s.Mechanisms, func(m MechanismSurvey) bool { return m.Name == mechanismName(mechanism) })
	if m := s.Mechanisms[i]; m.MinKey > bits || m.MaxKey < bits {
		return false, fmt.Sprintf("the module makes pairs of %d to %d bits, not of %d", m.MinKey, m.MaxKey, bits)
	}
	return true, ""
}

// tryCurve makes a session pair on the rule's curve, and destroys it. It works
// in a session of its own, which a refusal may spoil.
func (t *Token) tryCurve(r rule) error {
	s, err := t.freshSession()
	if err != nil {
		return err
	}
	defer s.close()
	session := map[uint]any{pkcs11.CKA_TOKEN: false}
	how := []*pkcs11.Mechanism{pkcs11.NewMechanism(r.generator(), nil)}
	r.gaps = Gaps() // whether it keeps attributes is another question
	pub, priv, err := s.module.GenerateKeyPair(s.handle, how,
		template(changed(r.publicObject(), nil, session)), template(changed(r.keyObject(), nil, session)))
	if err != nil {
		return fault("C_GenerateKeyPair", err)
	}
	return s.destroy(priv, pub)
}
