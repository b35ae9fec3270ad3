package product

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/form"
)

const (
	// MaxFileBytes bounds a product file; a complete one has 2 KiB.
	MaxFileBytes = 64 << 10
	// fileVersion is the version of the file's form (PRODUCT.md).
	fileVersion = 1

	maxTitleChars        = 80
	maxChipOSChars       = 40
	maxReasonChars       = 400
	maxPlatformTypeChars = 100 // SGP.02: PlatformType, ProfileType
)

var (
	hexByte    = regexp.MustCompile(`^[0-9A-Fa-f]{2}$`)
	scriptName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}\.script$`)
	// descriptionName is of a file system in words.
	descriptionName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}\.yaml$`)
)

// Parse reads one product file. A file with faults gives every one of them, as a *form.FaultList.
//
// A product that says makeable must be complete; of one that is not, only what it is and the reason are asked, and the
// rest is checked as far as it is there.
func Parse(r io.Reader) (Product, error) {
	doc, err := form.Read(r, MaxFileBytes)
	if err != nil {
		return Product{}, err
	}
	top := doc.Top()
	p := Product{}
	if v := top.Int("version", 0, math.MaxInt32); v != fileVersion && !top.Faulty("version") {
		top.Fault("version", fmt.Sprintf("is %d, this release reads %d", v, fileVersion), "")
	}
	parseIdentity(top, &p)
	if !p.Makeable {
		top.AllowMissing()
	}
	parseMaking(top, &p)
	if p.Family.EUICC() {
		p.EIS = parseEIS(top.Object("eis"))
	}
	top.Close()
	checkMemory(top, p)
	if p.Makeable {
		checkMaking(top, p)
	}
	if err := doc.Err(); err != nil {
		return Product{}, err
	}
	p.hash = sha256.Sum256(doc.Canonical())
	return p, nil
}

// parseIdentity reads what every product says, makeable or not.
func parseIdentity(top *form.Object, p *Product) {
	p.SKU = form.Field(top, "sku", ParseSKU)
	p.Title = form.Field(top, "title", form.Label(maxTitleChars))
	p.Family = form.Field(top, "family", form.OneOf(Basic, Crypto, EUICCM2M, EUICCConsumer, EUICCIoT))
	p.Package = form.Field(top, "package", form.OneOf(Plug2FF, Plug3FF, Plug4FF, MFF2, WLCSP, TSSOP))
	p.Interface = form.Field(top, "interface", form.OneOf(ISO7816, SPI, I2C))
	p.Grade = form.Field(top, "grade", form.OneOf(Consumer, Industrial, Automotive))
	p.Certification = form.Field(top, "certification", form.Label(maxTitleChars))
	p.ChipOS = form.Field(top, "chip_os", form.Label(maxChipOSChars))
	p.MemoryBytes = uint32(top.Int("memory_bytes", 1, math.MaxUint32))
	p.Makeable = top.Bool("makeable")
	p.Reason = form.FieldOr(top, "reason", "", form.Label(maxReasonChars))
	if p.Makeable == top.Has("reason") && !top.Faulty("makeable") {
		top.Fault("reason", "a reason is given exactly when makeable is false", "")
	}
}

// parseMaking reads what the vault and the line need.
func parseMaking(top *form.Object, p *Product) {
	p.ATR = form.Field(top, "atr", ParseATR)
	p.ChipID = form.Field(top, "chip_id", form.OneOf(ChipIDKDD, ChipIDCPLC, ChipIDOSCommand, ChipIDNone))
	p.Proof = form.List(top, "proof", form.OneOf(ProofReopen, ProofReadback, ProofAuthenticate, ProofSignature, ProofTrustsLine, ProofTrustsContents))
	p.Algorithms = []auth.Name{auth.Milenage}
	if top.Has("algorithms") {
		p.Algorithms = form.List(top, "algorithms", form.OneOf(auth.Milenage, auth.TUAK))
	}
	p.AuthProof = form.Field(top, "auth_proof", form.OneOf(AuthAUTS, AuthRES, AuthNone))
	if p.Family.EUICC() {
		p.KeyOrigin = form.FieldOr(top, "key_origin", KeyCard, form.OneOf(KeyCard, KeyHSM))
	}
	p.Script = form.Field(top, "script", parseScriptName)

	f := top.Object("factory")
	p.Factory = Factory{SCP: form.Field(f, "scp", form.OneOf(SCP02, SCP03, SCPNone)), KMC: form.Field(f, "kmc", perso.ParseName)}
	if p.Factory.SCP != SCPNone {
		p.Factory.KVN, p.Factory.I = form.Field(f, "kvn", parseHexByte), form.Field(f, "i", parseHexByte)
		p.ISDKVN = form.Field(top, "isd_kvn", parseHexByte)
	}
	f.Close()

	p.AIDs = parseAIDs(top.Object("aids"), p.Family, p.Factory.SCP != SCPNone)

	if p.Family == Crypto {
		return // no network application, no profile
	}
	profile := top.Object("profile")
	p.Profile = Profile{
		AllocatedMemory: uint32(profile.Int("allocated_memory", 1, math.MaxUint32)),
		Type:            form.FieldOr(profile, "profile_type", "", form.Label(maxPlatformTypeChars)),
		adHead:          form.FieldOr(profile, "ad_hex", [3]byte{}, parseADHead),
	}
	if p.Family == Basic {
		p.Profile.FileSystem = form.Field(profile, "file_system", parseDescriptionName)
	}
	if profile.Has("package") {
		p.Profile.Package = profile.Bool("package")
	}
	if profile.Has("services") {
		p.Profile.Services = form.List(profile, "services", form.OneOf(ServiceJavaCard))
	}
	profile.Close()
}

func parseAIDs(o *form.Object, family Family, domain bool) (a AIDs) {
	if domain {
		a.ISD = form.Field(o, "isd", ParseAID)
	}
	if family == Basic {
		a.ISIM = form.Field(o, "isim", ParseAID)
	}
	if family != Crypto {
		a.USIM = form.Field(o, "usim", ParseAID)
	}
	if family.EUICC() {
		a.ISDR = form.Field(o, "isdr", ParseAID)
		a.ECASD = form.Field(o, "ecasd", ParseAID)
		a.LoadFile = form.Field(o, "loadfile", ParseAID)
		a.Module = form.Field(o, "module", ParseAID)
		a.ISDP = form.Field(o, "isdp", ParseAID)
		a.ISDP2 = form.FieldOr(o, "isdp2", AID{}, ParseAID)
	}
	o.Close()
	return a
}

func parseEIS(o *form.Object) EIS {
	e := EIS{
		PlatformType:    form.Field(o, "platform_type", form.Label(maxPlatformTypeChars)),
		PlatformVersion: form.Field(o, "platform_version", ParseVersion),
		RemainingMemory: uint32(o.Int("remaining_memory", 0, math.MaxUint32)),
		AvailableMemory: uint32(o.Int("available_memory", 1, math.MaxUint32)),
		CATTP:           o.Bool("cattp"),
		CATTPVersion:    form.FieldOr(o, "cattp_version", Version{}, ParseVersion),
		HTTP:            o.Bool("http"),
		HTTPVersion:     form.FieldOr(o, "http_version", Version{}, ParseVersion),

		SecurePacketVersion:       form.Field(o, "secure_packet_version", ParseVersion),
		RemoteProvisioningVersion: form.Field(o, "remote_provisioning_version", ParseVersion),
	}
	if e.CATTP != o.Has("cattp_version") {
		o.Fault("cattp_version", "a version is given exactly when cattp is true", "")
	}
	if e.HTTP != o.Has("http_version") {
		o.Fault("http_version", "a version is given exactly when http is true", "")
	}
	o.Close()
	return e
}

// checkMaking finds fields that are right alone and wrong together.
func checkMaking(top *form.Object, p Product) {
	const maxOwnKVN = 0x7F // GlobalPlatform: 00 asks for any keyset, 80 and above belong to the chip's maker
	if p.Factory.SCP == SCPNone {
		checkPlain(top, p)
	} else if (p.ISDKVN == 0 || p.ISDKVN > maxOwnKVN) && !top.Faulty("isd_kvn") {
		top.Fault("isd_kvn", fmt.Sprintf("is %02X, expected 01 to %02X", p.ISDKVN, maxOwnKVN), "SCP03 keysets usually have 30 to 3F")
	}
	if p.Factory.SCP != SCPNone && p.ISDKVN == p.Factory.KVN && !top.Faulty("isd_kvn") && !top.Faulty("factory") {
		top.Fault("isd_kvn", fmt.Sprintf("is %02X like the factory keyset: the vault could not tell old keys from new", p.ISDKVN), "")
	}
	switch p.Factory.SCP {
	case SCP02:
		checkSCP02(top, p)
	case SCP03:
		checkSCP03(top, p)
	}
	if p.Proves(ProofAuthenticate) != (p.AuthProof != AuthNone) && !top.Faulty("proof") && !top.Faulty("auth_proof") {
		top.Fault("auth_proof", fmt.Sprintf("is %q, which does not fit the list of proofs", p.AuthProof), "auts or res with the proof authenticate, none without")
	}
	if p.Proves(ProofTrustsLine) && p.Factory.SCP != SCPNone && !top.Faulty("factory") {
		top.Fault("proof", fmt.Sprintf("%q is for chips without a secure channel", ProofTrustsLine), "")
	}
	if p.Proves(ProofTrustsContents) && p.Factory.SCP != SCP02 && !top.Faulty("factory") {
		top.Fault("proof", fmt.Sprintf("%q is for chips with SCP02", ProofTrustsContents), "")
	}
	if p.Proves(ProofSignature) && !p.Family.EUICC() && !top.Faulty("family") {
		top.Fault("proof", fmt.Sprintf("a %s product has no eUICC key to sign with", p.Family), "")
	}
	if p.KeyOrigin == KeyHSM && !p.Proves(ProofSignature) && !top.Faulty("proof") {
		top.Fault("proof", "a chip that is given its key must prove that it has it", fmt.Sprintf("add %q", ProofSignature))
	}
	if p.AIDs.ISDP2 != (AID{}) && (!p.Profile.Package || p.AIDs.ISDP2 == p.AIDs.ISDP) {
		top.Fault("aids.isdp2", "an operational profile comes in a package, and has an ISD-P of its own", "")
	}
	if len(p.Profile.Services) > 0 && !p.Profile.Package {
		top.Fault("profile.services", "packages demand services, and the product loads none", "")
	}
	if p.Family.EUICC() && p.ChipID == ChipIDNone {
		top.Fault("chip_id", "an eUICC must say which chip it is: its EID is bound to it", "")
	}
}

// checkPlain is for a chip without a secure channel: what it says is no more true than the line, and the product says so.
func checkPlain(top *form.Object, p Product) {
	if top.Faulty("factory") || top.Faulty("proof") {
		return
	}
	if p.Family != Basic && !top.Faulty("family") {
		top.Fault("factory.scp", fmt.Sprintf("is %q, but only a SIM is written under a transport code", SCPNone), "")
	}
	if p.Proves(ProofReopen) || p.Proves(ProofReadback) {
		top.Fault("proof", "a chip without a secure channel cannot prove itself by one", "authenticate can be had")
	}
	if p.ChipID != ChipIDCPLC && !top.Faulty("chip_id") {
		top.Fault("chip_id", fmt.Sprintf("is %q, but without a secure channel a chip's id can only be read", p.ChipID), fmt.Sprintf("write %q", ChipIDCPLC))
	}
	if !p.Proves(ProofTrustsLine) {
		top.Fault("proof", fmt.Sprintf("without a secure channel, %q must say that the line is trusted", ProofTrustsLine), "")
	}
}

// checkSCP02 is for a chip whose answers carry no MAC: it proves its keys, and the product says that it proves nothing else.
func checkSCP02(top *form.Object, p Product) {
	const i, lowest, highest = 0x55, 0x20, 0x2F // Card Specification §E.1.1; UICC Configuration §11.1.9
	if top.Faulty("factory") || top.Faulty("proof") {
		return
	}
	if p.Family != Basic && !top.Faulty("family") {
		top.Fault("factory.scp", fmt.Sprintf("is %q, but an eUICC must say what it holds under a MAC", SCP02), "write 03")
	}
	if p.Factory.I != i {
		top.Fault("factory.i", fmt.Sprintf("is %02X, and of SCP02 this release speaks %02X", p.Factory.I, i), "")
	}
	if (p.ISDKVN < lowest || p.ISDKVN > highest) && !top.Faulty("isd_kvn") {
		top.Fault("isd_kvn", fmt.Sprintf("is %02X, but SCP02 keysets have %02X to %02X", p.ISDKVN, lowest, highest), "")
	}
	if p.Proves(ProofReadback) {
		top.Fault("proof", fmt.Sprintf("answers of SCP02 with i = %02X carry no MAC, so %q cannot be had", i, ProofReadback), "")
	}
	if !p.Proves(ProofReopen) || !p.Proves(ProofAuthenticate) {
		top.Fault("proof", "all that a chip with SCP02 can prove is its keys", fmt.Sprintf("write %q and %q", ProofReopen, ProofAuthenticate))
	}
	if !p.Proves(ProofTrustsContents) {
		top.Fault("proof", fmt.Sprintf("with SCP02, %q must say that what is read back is the line's word", ProofTrustsContents), "")
	}
}

func checkSCP03(top *form.Object, p Product) {
	const rMAC, rENC, known = 0x20, 0x40, 0x71 // GlobalPlatform Amendment D, table of parameter i: 01 is S16, 10 pseudo-random
	i := p.Factory.I
	if top.Faulty("factory") {
		return
	}
	if i&^known != 0 || i&(rMAC|rENC) == rENC {
		top.Fault("factory.i", fmt.Sprintf("is %02X, which SCP03 does not know", i), "for example 70: pseudo-random challenge, R-MAC, R-ENC")
	} else if p.Proves(ProofReadback) && i&rMAC == 0 {
		top.Fault("factory.i", fmt.Sprintf("is %02X without R-MAC, but rmac-readback is a proof", i), "")
	}
}

func checkMemory(top *form.Object, p Product) {
	if top.Faulty("memory_bytes") {
		return
	}
	tooMuch := func(field string, bytes uint32) {
		if bytes > p.MemoryBytes {
			top.Fault(field, fmt.Sprintf("is %d bytes, more than the chip's %d", bytes, p.MemoryBytes), "")
		}
	}
	tooMuch("eis.remaining_memory", p.EIS.RemainingMemory)
	tooMuch("eis.available_memory", p.EIS.AvailableMemory)
	tooMuch("profile.allocated_memory", p.Profile.AllocatedMemory)
}

func parseHexByte(s string) (byte, error) {
	if !hexByte.MatchString(s) {
		return 0, form.Refuse("for example FF", "%.20q is not one byte in hexadecimal", s)
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return 0, fmt.Errorf("parsing hex byte %q: %w", s, err)
	}
	return b[0], nil
}

func parseDescriptionName(s string) (string, error) {
	if !descriptionName.MatchString(s) {
		return "", form.Refuse("a file in the same folder, for example basic-sim.yaml", "%.60q is not the name of a description", s)
	}
	return s, nil
}

func parseADHead(s string) (head [3]byte, err error) {
	if len(s) != 2*len(head) {
		return head, form.Refuse("the fourth byte is the length of the network code and comes from the provider", "%.20q is not 3 bytes in hexadecimal", s)
	}
	if _, err := hex.Decode(head[:], []byte(s)); err != nil {
		return head, fmt.Errorf("%.20q is not hexadecimal", s)
	}
	return head, nil
}

func parseScriptName(s string) (string, error) {
	if !scriptName.MatchString(s) {
		hint := "a file in the same folder, for example m2m-200s.script"
		if strings.ContainsAny(s, `/\`) {
			hint = "the script lies beside the product file: give no folder"
		}
		return "", form.Refuse(hint, "%.60q is not the name of a script file", s)
	}
	return s, nil
}
