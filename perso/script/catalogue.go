package script

import (
	"cmp"
	"crypto/sha256"
	"slices"
)

// Var declares a variable. Lengths are constant, so that every length octet is known at compile time.
type Var struct {
	// Len is the number of bytes of the value.
	Len int
	// Secret values never appear in the open.
	Secret bool
	// Package says that it is a profile package: secret, longer than other variables, and sent by .SCP03T LOAD alone.
	Package bool
}

// Catalogue is the variables a product offers, by name: upper-case letters and digits, parts joined by dots.
type Catalogue map[string]Var

// VarStamp is the variable that the one write of the phase open sends.
const VarStamp = "STAMP"

// The profile packages that a script may load: of the bootstrap profile, and of the operational one that an order may have too.
const (
	PackageBootstrap   = "PROFILE"
	PackageOperational = "PROFILE2"
)

// WithPackage adds what a script needs to load a profile package of n bytes by a name: the package, the SHA-256 of what the card
// gets, its policy rules, the host challenge of its session, and the key set of its ISD-P.
func (c Catalogue) WithPackage(name string, n int) Catalogue {
	const challenge, key = 8, 16
	c[name] = Var{Len: n, Secret: true, Package: true}
	c[name+".HASH"] = Var{Len: sha256.Size}
	c[name+".POL1"] = Var{Len: 1} // policy rules that the profile came with
	c[name+suffixChallenge] = Var{Len: challenge}
	for _, k := range []string{".ENC", ".MAC", ".DEK"} {
		c[name+k] = Var{Len: key, Secret: true}
	}
	return c
}

// WithUSIM gives the catalogue of a lot whose USIM has an AID of n bytes: a package brings its own.
func (c Catalogue) WithUSIM(n int) Catalogue {
	c["AID.USIM"] = Var{Len: n}
	return c
}

// StandardCatalogue is the variables of an SGP.02 eUICC but for those of its profile packages, and of a SIM. smsrAddrLen is the length
// of the SM-SR addressing parameters of the lot, 0 for one of SIMs, which has none; certLen that of the value field of the ECASD
// certificate (without 7F21 and
// its length).
func StandardCatalogue(smsrAddrLen, certLen int) Catalogue {
	const aid, key = 16, 16
	c := Catalogue{
		"EID":     {Len: 16},
		"EID.IIN": {Len: 4},  // tag 42 of ECASD and ISD-R
		"CIN":     {Len: 16}, // tag 45
		"ICCID":   {Len: 10}, // as EF.ICCID, nibbles swapped
		"IMSI":    {Len: 9},  // as EF.IMSI
		"ACC":     {Len: 2},
		"AD":      {Len: 4},
		"SPN":     {Len: 17},

		VarStamp:        {Len: 32}, // marks the chip as the claim's own
		"SMSR.ADDR":     {Len: smsrAddrLen},
		"CERT":          {Len: certLen},
		"ECASD.PUB":     {Len: 65}, // public key of ECASD.KEY, uncompressed
		"POP.CHALLENGE": {Len: 16},
		"AUTH.RAND":     {Len: 16},
		"AUTH.AUTN":     {Len: 16},
		"CHALLENGE2":    {Len: 8},
		"PINCHECK":      {Len: 8}, // CMAC under KI over the PIN blocks

		"AID.ISD":      {Len: 8},
		"AID.ISDR":     {Len: aid},
		"AID.ECASD":    {Len: aid},
		"AID.ISDP":     {Len: aid},
		"AID.ISDP2":    {Len: aid}, // of the operational profile
		"AID.LOADFILE": {Len: aid},
		"AID.MODULE":   {Len: aid},
		"AID.USIM":     {Len: aid},
		"AID.ISIM":     {Len: aid},

		"HPLMN":      {Len: 5},              // the home network with its access technologies, an entry of EF.HPLMNwAcT
		"EHPLMN":     {Len: 3},              // the home network alone, an entry of EF.EHPLMN
		"IMPI":       {Len: identityBytes},  // EF.IMPI, filled up with FF
		"IMPU":       {Len: identityBytes},  // a record of EF.IMPU, filled up with FF
		"IMS.DOMAIN": {Len: imsDomainBytes}, // EF.DOMAIN, filled up with FF
		"SUCI":       {Len: suciBytes},      // EF.SUCI_Calc_Info with the home network's public keys, or FF
		"UST.5GS":    {Len: 1},              // services 121 to 128 of EF.UST: 124 and 125 where the lot has SUCI

		"ECASD.KEY": {Len: 32, Secret: true}, // private key on P-256, for a chip that makes none

		"AKA":     {Len: 1}, // algorithm and parameters of AUTHENTICATE
		"KI":      {Len: key, Secret: true},
		"OPC":     {Len: key, Secret: true}, // or TOPc
		"ISD.ENC": {Len: key, Secret: true},
		"ISD.MAC": {Len: key, Secret: true},
		"ISD.DEK": {Len: key, Secret: true},
		"OTA.KIC": {Len: key, Secret: true},
		"OTA.KID": {Len: key, Secret: true},
		"OTA.KIK": {Len: key, Secret: true},
		"PINSET1": {Len: 16, Secret: true}, // PIN1 and PUK1, 8 bytes each
		"PINSET2": {Len: 16, Secret: true}, // PIN2 and PUK2
		"ADMSET":  {Len: 16, Secret: true}, // ADM1 and eight FF
		"PIN1":    {Len: 8, Secret: true},
		"ADM1":    {Len: 8, Secret: true},

		"ADM.TRANSPORT": {Len: 8, Secret: true}, // the maker's code of a chip without a secure channel
	}
	if smsrAddrLen == 0 {
		delete(c, "SMSR.ADDR")
	}
	return c
}

// Sizes of files that a SIM's file system has for them (deploy/products/basic-sim.yaml).
const (
	identityBytes  = 80
	imsDomainBytes = 64
	suciBytes      = 96
)

// For gives the catalogue of a lot with another authentication: the bytes of AKA, of KI, and of OPC.
func (c Catalogue) For(parameters, ki, opc int) Catalogue {
	for name, n := range map[string]int{"AKA": parameters, "KI": ki, "OPC": opc} {
		v := c[name]
		v.Len = n
		c[name] = v
	}
	return c
}

// Use says that an act needs a variable in a form, to skip, to render or to check.
type Use struct {
	Act  int
	Name string
	Form Form
}

// Variables lists what each act needs, by act, then name, then form, each once. The vault sees from it which acts need
// the card's seed. The identify phase needs none.
func (s *Script) Variables() []Use {
	var uses []Use
	add := func(act int, segments []Segment) {
		for _, g := range segments {
			if g.Var != nil {
				uses = append(uses, Use{Act: act, Name: g.Var.Name, Form: g.Var.Form})
			}
		}
	}
	for a, act := range s.Acts {
		for _, sec := range act {
			for _, all := range sec.Done {
				for _, condition := range all {
					add(a, condition.Pattern)
				}
			}
			for _, st := range sec.Steps {
				add(a, st.Body)
				if st.Data != nil {
					add(a, *st.Data)
				}
			}
		}
	}
	slices.SortFunc(uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Act, b.Act), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Form, b.Form))
	})
	return slices.Compact(uses)
}
