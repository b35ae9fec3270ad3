package export

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/eis"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/statement"
)

// Key sets of an SGP.02 eUICC as our scripts make them.
const (
	scp80Version = 0x01 // SGP.02: SCP80 key sets of the ISD-R are 01 to 0F
	caVersion    = 0x74 // of the ECASD's certificate
	keyTypeAES   = 0x88 // GlobalPlatform Card Specification, key type coding
	roleISDR     = "ISD-R"
	roleECASD    = "ECASD"
)

// EIS makes the EIS batch of a complete lot: one XML file per eUICC, eis/<EID>.xml, and a manifest.
func (c Config) EIS(ctx context.Context, lot perso.Name) (Result, error) {
	return c.run(ctx, lot, WhatEIS, func(f lotFacts) perso.Name { return f.release.SMSR }, newEISWriter)
}

// eisWriter writes the documents of a batch.
type eisWriter struct {
	*job
	key *ecdsa.PublicKey // of the EUM's EIS certificate
	ski []byte
}

func newEISWriter(ctx context.Context, j *job) (writer, error) {
	info, err := j.Vault.Info(ctx)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(info.EISCert)
	if err != nil {
		return nil, fmt.Errorf("reading the EIS signing certificate: %w", err)
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || len(cert.SubjectKeyId) == 0 {
		return nil, errors.New("the EIS signing certificate has no ECDSA key or no key identifier")
	}
	if !j.lot.product.Family.EUICC() {
		return nil, fmt.Errorf("product %q is no eUICC", j.lot.product.SKU)
	}
	return &eisWriter{job: j, key: key, ski: cert.SubjectKeyId}, nil
}

func (w *eisWriter) finish() error { return nil }

// page signs what was never signed, keeps the signatures, then fetches the keys and writes the documents.
func (w *eisWriter) page(ctx context.Context, units []unit) error {
	for i := range units {
		u := &units[i]
		if sha256.Sum256(u.cert) != u.outcome.Cert {
			return fmt.Errorf("unit %d: the stored certificate is not the one on the chip", u.claim.Unit)
		}
		var err error
		if u.item.Signed, err = eis.EumSignedInfo(w.signedFields(u)); err != nil {
			return err
		}
	}
	if err := w.sign(ctx, units); err != nil {
		return err
	}
	items := make([]bus.ExportItem, len(units))
	for i, u := range units {
		items[i] = bus.ExportItem{Claim: u.item.Claim, Outcome: u.item.Outcome, Ki: u.item.Ki, Customer: u.item.Customer}
	}
	a, err := w.ask(ctx, bus.ExportEIS, w.lot.release.SMSR, items)
	if err != nil {
		return err
	}
	for i := range units {
		if err := w.document(&units[i], a.Results[i]); err != nil {
			return fmt.Errorf("unit %d: %w", units[i].claim.Unit, err)
		}
	}
	return nil
}

// sign has the page's unsigned units signed and keeps each signature in its claim. ECDSA is random: whoever was first
// is kept, and every document is written with what is kept.
func (w *eisWriter) sign(ctx context.Context, units []unit) error {
	var items []bus.ExportItem
	var fresh []*unit
	for i := range units {
		if u := &units[i]; u.sig == nil {
			fresh, items = append(fresh, u), append(items, u.item)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	a, err := w.ask(ctx, bus.ExportSign, w.lot.release.SMSR, items)
	if err != nil {
		return err
	}
	return w.DB.Update(ctx, func(tx sqldb.Tx) error {
		for i, u := range fresh {
			sig, err := w.keepSignature(ctx, tx, u.claim, a.Results[i].Signature)
			if err != nil {
				return err
			}
			u.sig = sig
		}
		return nil
	})
}

func (w *eisWriter) document(u *unit, keys bus.ExportResult) error {
	if !w.verifies(u) {
		return fmt.Errorf("%w: the kept signature is not over what the EIS would say now; product, partner or certificate data changed", ErrDiffers)
	}
	fields, err := w.fields(u, keys)
	if err != nil {
		return err
	}
	doc, err := eis.Document(fields, eis.Signature{Value: u.sig, SKI: w.ski})
	if err != nil {
		return err
	}
	return w.dir.Add(u.claim.EID.String()+".xml", doc)
}

// verifies checks the signature as the receiver will.
func (w *eisWriter) verifies(u *unit) bool {
	const half = 32
	if len(u.sig) != 2*half {
		return false
	}
	digest := sha256.Sum256(eis.SignedInfo(sha256.Sum256(u.item.Signed)))
	r, s := new(big.Int).SetBytes(u.sig[:half]), new(big.Int).SetBytes(u.sig[half:])
	return ecdsa.Verify(w.key, digest[:], r, s)
}

// signedFields is what the EUM vouches for. The time of production is that of the good outcome.
func (w *eisWriter) signedFields(u *unit) eis.SignedFields {
	p, eum := w.lot.product, w.Site.EUM
	ecasd := domain(u, p.AIDs.ECASD.Bytes(), roleECASD)
	ecasd.Keysets = []eis.Keyset{{Version: caVersion, Type: "CA",
		Certificate: &eis.Certificate{Index: 1, CAID: string(eum.OID), Value: u.cert}}}
	return eis.SignedFields{
		EID: u.claim.EID, EUMID: string(eum.OID), ProductionDate: second(u.outcome.At),
		PlatformType: p.EIS.PlatformType, PlatformVersion: p.EIS.PlatformVersion.String(),
		LoadFileAID: p.AIDs.LoadFile.Bytes(), ModuleAID: p.AIDs.Module.Bytes(), ECASD: ecasd,
		Capabilities: eis.Capabilities{
			CATTP: p.EIS.CATTP, CATTPVersion: p.EIS.CATTPVersion.String(), HTTP: p.EIS.HTTP, HTTPVersion: p.EIS.HTTPVersion.String(),
			SecurePacketVersion: p.EIS.SecurePacketVersion.String(), RemoteProvisioningVersion: p.EIS.RemoteProvisioningVersion.String(),
		},
	}
}

// fields is the whole document: the bootstrap profile is enabled and the one to fall back on; an operational one beside it is disabled.
func (w *eisWriter) fields(u *unit, result bus.ExportResult) (eis.Fields, error) {
	keys, err := keysOf(result, wanted{"OTA.KIC", keyBytes}, wanted{"OTA.KID", keyBytes}, wanted{"OTA.KIK", keyBytes})
	if err != nil {
		return eis.Fields{}, err
	}
	p, counter := w.lot.product, uint64(0)
	set := eis.Keyset{Version: scp80Version, Type: "SCP80", Counter: &counter}
	for i, k := range keys {
		set.Keys = append(set.Keys, eis.Key{Index: byte(i + 1), KCV: k.KCV, Type: keyTypeAES, Value: k.Value})
	}
	isdr := domain(u, p.AIDs.ISDR.Bytes(), roleISDR)
	isdr.Keysets = []eis.Keyset{set}
	profiles := []eis.Profile{{
		ICCID: u.iccid, IMSI: u.imsi, ISDPAID: p.AIDs.ISDP.Bytes(), MNOID: string(w.lot.provider.MNOOID), SMDPID: string(w.lot.provider.SMDPOID),
		Fallback: true, State: "Enabled", ProfileType: p.Profile.Type, AllocatedMemory: uint64(p.Profile.AllocatedMemory),
		Rules: policyRules(w.lot.release, script.PackageBootstrap),
	}}
	remaining := uint64(p.EIS.RemainingMemory)
	if w.lot.release.HasOperational() {
		two, err := w.operational(u)
		if err != nil {
			return eis.Fields{}, err
		}
		profiles = append(profiles, two)
		remaining -= min(remaining, two.AllocatedMemory)
	}
	return eis.Fields{
		SignedFields: w.signedFields(u), RemainingMemory: remaining, AvailableMemory: uint64(p.EIS.AvailableMemory),
		SMSRID: string(w.lot.smsr.OID), ISDR: isdr, Profiles: profiles,
	}, nil
}

// operational is the second profile of an eUICC: disabled, for the SM-SR to enable.
func (w *eisWriter) operational(u *unit) (two eis.Profile, err error) {
	r, p := w.lot.release.Operational, w.lot.product
	provider, known := w.Site.Provider(w.lot.order.Operational.Provider)
	if !known {
		return two, fmt.Errorf("provider %q is not among the partners", w.lot.order.Operational.Provider)
	}
	two = eis.Profile{ISDPAID: p.AIDs.ISDP2.Bytes(), MNOID: string(provider.MNOOID), SMDPID: string(provider.SMDPOID),
		State: "Disabled", ProfileType: operationalType, AllocatedMemory: uint64(p.Profile.AllocatedMemory),
		Rules: policyRules(w.lot.release, script.PackageOperational)}
	if two.ICCID, err = r.ICCIDs.At(uint64(u.claim.Unit)); err != nil {
		return two, err
	}
	two.IMSI, err = r.IMSIs.At(uint64(u.claim.Unit))
	return two, err
}

// operationalType is what the EIS calls it.
const operationalType = "Operational"

// policyRules are the rules that a profile brought along on the chip, as the SM-SR keeps them (SGP.02 §3.6.1).
func policyRules(r statement.Release, variable string) (rules []eis.Rule) {
	for _, c := range r.Constants {
		if c.Name != variable+".POL1" || len(c.Value) != 1 {
			continue
		}
		p := profile.POL1Of(c.Value[0])
		for _, one := range []struct {
			rule string
			as   eis.Rule
		}{
			{profile.NoDisable, eis.Rule{Action: "DISABLE", Qualification: "Not-Allowed"}}, {profile.NoDelete, eis.Rule{Action: "DELETE", Qualification: "Not-Allowed"}},
			{profile.DeleteAfter, eis.Rule{Action: "DISABLE", Qualification: "Auto-Delete"}},
		} {
			if p.Has(one.rule) {
				rules = append(rules, one.as)
			}
		}
	}
	return rules
}

// domain has what the script wrote: the issuer's number (tag 42) is the EID's first four bytes, the image number (tag 45)
// the EID. The TAR is in the AID (SGP.02: bytes 13 to 15).
func domain(u *unit, aid []byte, role string) eis.SecurityDomain {
	e := u.claim.EID.Bytes()
	d := eis.SecurityDomain{AID: aid, SIN: e[:4], SDIN: e[:], Role: role}
	if len(aid) == 16 {
		d.TAR = aid[12:15]
	}
	return d
}
