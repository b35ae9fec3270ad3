package eis

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const timeForm = "2006-01-02T15:04:05Z"

// writer builds canonical XML: text and attribute values are escaped as canonicalization would, every element has a start
// and an end tag.
type writer struct {
	b      strings.Builder
	prefix string
}

func (w *writer) open(name string, attributes ...string) {
	w.b.WriteString("<" + w.prefix + name)
	for i := 0; i+1 < len(attributes); i += 2 {
		w.b.WriteString(" " + attributes[i] + `="` + attributeEscapes.Replace(attributes[i+1]) + `"`)
	}
	w.b.WriteByte('>')
}

func (w *writer) close(name string) { w.b.WriteString("</" + w.prefix + name + ">") }

func (w *writer) text(name, value string, attributes ...string) {
	w.open(name, attributes...)
	w.b.WriteString(textEscapes.Replace(value))
	w.close(name)
}

func (w *writer) optional(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *writer) hex(name string, value []byte) { w.text(name, upperHex(value)) }
func (w *writer) num(name string, n uint64)     { w.text(name, strconv.FormatUint(n, 10)) }
func (w *writer) bool(name string, v bool)      { w.text(name, strconv.FormatBool(v)) }

var (
	textEscapes      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#xD;")
	attributeEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;")
)

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// EumSignedInfo gives the canonical element that the EUM signs.
func EumSignedInfo(f SignedFields) ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("writing EumSignedInfo of %s: %w", f.EID, err)
	}
	w := &writer{prefix: "rps:"}
	w.open("EumSignedInfo", "xmlns:rps", Namespace)
	w.text("Eid", f.EID.String())
	w.text(f.Spelling.element(), f.EUMID)
	w.text("ProductionDate", f.ProductionDate.UTC().Format(timeForm))
	w.text("PlatformType", f.PlatformType)
	w.text("PlatformVersion", f.PlatformVersion)
	w.hex("Isd-p-loadfile-aid", f.LoadFileAID)
	w.hex("Isd-p-module-aid", f.ModuleAID)
	w.domain("Ecasd", f.ECASD)
	w.capabilities(f.Capabilities)
	w.close("EumSignedInfo")
	out := []byte(w.b.String())
	if len(out) > MaxSignedInfoBytes {
		return nil, fmt.Errorf("writing EumSignedInfo of %s: %d bytes, limit %d", f.EID, len(out), MaxSignedInfoBytes)
	}
	return out, nil
}

func (w *writer) capabilities(c Capabilities) {
	w.open("EuiccCapabilities")
	w.bool("CattpSupport", c.CATTP)
	if c.CATTP {
		w.text("CattpVersion", c.CATTPVersion)
	}
	w.bool("HttpSupport", c.HTTP)
	if c.HTTP {
		w.text("HttpVersion", c.HTTPVersion)
	}
	w.text("SecurePacketVersion", c.SecurePacketVersion)
	w.text("RemoteProvisioningVersion", c.RemoteProvisioningVersion)
	w.close("EuiccCapabilities")
}

func (w *writer) domain(name string, d SecurityDomain) {
	w.open(name)
	w.hex("Aid", d.AID)
	if len(d.TAR) > 0 {
		w.hex("Tar", d.TAR)
	}
	w.hex("Sin", d.SIN)
	w.hex("Sdin", d.SDIN)
	w.text("Role", d.Role)
	for _, k := range d.Keysets {
		w.keyset(k)
	}
	w.close(name)
}

func (w *writer) keyset(k Keyset) {
	w.open("Keyset")
	w.num("Version", uint64(k.Version))
	w.optional("Type", k.Type)
	if k.Counter != nil {
		w.num("Cntr", *k.Counter)
	}
	for _, key := range k.Keys {
		w.open("Key", "kcv", upperHex(key.KCV))
		w.num("Index", uint64(key.Index))
		w.open("KeyComponents", "type", upperHex([]byte{key.Type}), "value", upperHex(key.Value))
		w.close("KeyComponents")
		w.close("Key")
	}
	if c := k.Certificate; c != nil {
		w.open("Certificate")
		w.num("Index", uint64(c.Index))
		w.text("CaId", c.CAID)
		w.hex("Value", c.Value)
		w.close("Certificate")
	}
	w.close("Keyset")
}

// SignedInfo gives the canonical ds:SignedInfo over the digest of an EumSignedInfo. Its SHA-256 is what is signed.
func SignedInfo(digest [sha256.Size]byte) []byte {
	w := &writer{prefix: "ds:"}
	w.open("SignedInfo", "xmlns:ds", NamespaceDS)
	w.text("CanonicalizationMethod", "", "Algorithm", algC14N)
	w.text("SignatureMethod", "", "Algorithm", algECDSA)
	w.open("Reference") // without URI: the application knows what is signed (SGP.02)
	w.open("Transforms")
	w.text("Transform", "", "Algorithm", algC14N)
	w.close("Transforms")
	w.text("DigestMethod", "", "Algorithm", algDigest)
	w.text("DigestValue", base64.StdEncoding.EncodeToString(digest[:]))
	w.close("Reference")
	w.close("SignedInfo")
	return []byte(w.b.String())
}

// Document gives the whole EIS as an XML file. EumSignedInfo and SignedInfo stand in it exactly as they were signed.
func Document(f Fields, sig Signature) ([]byte, error) {
	element, err := Element(f, sig)
	if err != nil {
		return nil, err
	}
	return append([]byte(`<?xml version="1.0" encoding="UTF-8"?>`+"\n"), element...), nil
}

// Element gives the Eis element alone, for a message's body.
func Element(f Fields, sig Signature) ([]byte, error) {
	signed, err := EumSignedInfo(f.SignedFields)
	if err != nil {
		return nil, err
	}
	if err := f.checkRest(sig); err != nil {
		return nil, fmt.Errorf("writing EIS of %s: %w", f.EID, err)
	}
	w := &writer{prefix: "rps:"}
	w.open("Eis", "xmlns:rps", Namespace)
	w.b.Write(signed)
	w.signature(sig, sha256.Sum256(signed))
	w.num("RemainingMemory", f.RemainingMemory)
	w.num("AvailableMemoryForProfiles", f.AvailableMemory)
	w.text("Smsr-id", f.SMSRID)
	w.optional("EumCertificateId", f.EUMCertificateID)
	for _, p := range f.Profiles {
		w.profile(p)
	}
	w.domain("Isd-r", f.ISDR)
	w.close("Eis")
	return []byte(w.b.String()), nil
}

// signature writes EumSignature: the element is the GSMA's, its children are XML Signature's.
func (w *writer) signature(sig Signature, digest [sha256.Size]byte) {
	w.open("EumSignature")
	ds := &writer{prefix: "ds:"}
	ds.b.Write(SignedInfo(digest))
	ds.text("SignatureValue", base64.StdEncoding.EncodeToString(sig.Value), "xmlns:ds", NamespaceDS)
	ds.open("KeyInfo", "xmlns:ds", NamespaceDS)
	ds.open("X509Data")
	ds.text("X509SKI", base64.StdEncoding.EncodeToString(sig.SKI))
	ds.close("X509Data")
	ds.close("KeyInfo")
	w.b.WriteString(ds.b.String())
	w.close("EumSignature")
}

func (w *writer) profile(p Profile) {
	w.open("ProfileInfo")
	w.text("Iccid", p.ICCID.Padded())
	w.hex("Isd-p-aid", p.ISDPAID)
	w.text("Mno-id", p.MNOID)
	w.bool("FallbackAttribute", p.Fallback)
	w.open("SubscriptionAddress")
	w.text("Imsi", p.IMSI.String())
	w.optional("Msisdn", p.MSISDN)
	w.close("SubscriptionAddress")
	w.text("State", p.State)
	w.optional("Smdp-id", p.SMDPID)
	w.optional("ProfileType", p.ProfileType)
	w.num("AllocatedMemory", p.AllocatedMemory)
	if p.FreeMemory != nil {
		w.num("FreeMemory", *p.FreeMemory)
	}
	if len(p.Rules) > 0 {
		w.open("pol2") // spelled so in the schema
		for _, r := range p.Rules {
			w.open("Rule")
			w.text("Subject", "PROFILE")
			w.text("Action", r.Action)
			w.text("Qualification", r.Qualification)
			w.close("Rule")
		}
		w.close("pol2")
	}
	w.close("ProfileInfo")
}

func (f SignedFields) check() error {
	switch {
	case f.EID.IsZero():
		return errors.New("no EID")
	case f.Spelling != SpellingSchema && f.Spelling != SpellingUpper:
		return fmt.Errorf("spelling %q of Eum-id", f.Spelling)
	case !f.ProductionDate.Equal(f.ProductionDate.Truncate(time.Second)):
		return errors.New("production date has a fraction of a second")
	}
	for name, text := range map[string]string{"Eum-id": f.EUMID, "PlatformType": f.PlatformType, "PlatformVersion": f.PlatformVersion} {
		if !plain(text) {
			return fmt.Errorf("%s is empty, longer than %d characters, or not text", name, MaxTextChars)
		}
	}
	return f.ECASD.check()
}

func (d SecurityDomain) check() error {
	if len(d.AID) < 5 || len(d.AID) > 16 || len(d.Keysets) == 0 || len(d.Keysets) > MaxKeysets {
		return fmt.Errorf("security domain %q has an AID of %d bytes and %d key sets", d.Role, len(d.AID), len(d.Keysets))
	}
	return nil
}

func (f Fields) checkRest(sig Signature) error {
	if len(sig.Value) != 64 || len(sig.SKI) == 0 {
		return fmt.Errorf("signature of %d bytes, key identifier of %d", len(sig.Value), len(sig.SKI))
	}
	if !plain(f.SMSRID) || len(f.Profiles) == 0 {
		return errors.New("no Smsr-id, or no profile")
	}
	for _, p := range f.Profiles {
		if p.ICCID.IsZero() || p.IMSI.IsZero() || !plain(p.MNOID) || !plain(p.State) {
			return errors.New("profile without ICCID, IMSI, Mno-id or State")
		}
		for _, r := range p.Rules {
			if r.Action != "ENABLE" && r.Action != "DISABLE" && r.Action != "DELETE" || r.Qualification != "Not-Allowed" && r.Qualification != "Auto-Delete" {
				return fmt.Errorf("profile with the rule %q %q", r.Action, r.Qualification)
			}
		}
	}
	return f.ISDR.check()
}

// plain accepts text of 1 to MaxTextChars characters without control characters, which no canonical form would keep.
func plain(s string) bool {
	if s == "" || !utf8.ValidString(s) || utf8.RuneCountInString(s) > MaxTextChars || strings.TrimSpace(s) != s {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7F || r == 0xFFFE || r == 0xFFFF })
}
