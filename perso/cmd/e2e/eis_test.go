package e2e

import (
	"encoding/xml"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	nsEIS = "http://namespaces.gsma.org/esim-messaging/3"
	nsDS  = "http://www.w3.org/2000/09/xmldsig#"
)

// element is any XML element.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Kids    []element  `xml:",any"`
}

// find gives the elements of that local name, outermost first.
func (e element) find(name string) (all []element) {
	if e.XMLName.Local == name {
		all = append(all, e)
	}
	for _, k := range e.Kids {
		all = append(all, k.find(name)...)
	}
	return all
}

// text is what the first element of that name says.
func (e element) text(name string) string {
	if all := e.find(name); len(all) > 0 {
		return all[0].Text
	}
	return ""
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// eisFiles are the files of the batch, one for each unit.
func (f *factory) eisFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(f.out("eis", "*.xml"))
	if err != nil || len(files) != quantity {
		t.Fatalf("%d EIS files, want %d: %v", len(files), quantity, err)
	}
	return files
}

// eisBatch reads the batch. A file has the name of its EID, so that no EID is there twice.
func (f *factory) eisBatch(t *testing.T) (all []element) {
	t.Helper()
	for _, path := range f.eisFiles(t) {
		var e element
		if err := xml.Unmarshal(readFile(t, path), &e); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got := e.text("Eid") + ".xml"; got != filepath.Base(path) {
			t.Fatalf("%s holds %s", path, got)
		}
		all = append(all, e)
	}
	return all
}

// eisOrder is which children an element has, in order (SGP.02 ES1, namespace esim-messaging/3; XML Signature §4). What is
// not named here has none.
var eisOrder = map[string]string{
	"Eis":           "EumSignedInfo EumSignature RemainingMemory AvailableMemoryForProfiles LastAuditDate? Smsr-id ProfileInfo* Isd-r AuditTrail? AdditionalProperties?",
	"EumSignedInfo": "Eid Eum-id ProductionDate PlatformType PlatformVersion Isd-p-loadfile-aid Isd-p-module-aid Ecasd EuiccCapabilities",
	"Ecasd":         "Aid Tar* Sin Sdin Role Keyset+", "Isd-r": "Aid Tar* Sin Sdin Role Keyset+",
	"Keyset": "Version Type? Cntr? (Key|Certificate)*", "Key": "Index KeyComponents+", "Certificate": "Index CaId Value",
	"EuiccCapabilities":   "CattpSupport CattpVersion? HttpSupport HttpVersion? SecurePacketVersion RemoteProvisioningVersion",
	"ProfileInfo":         "Iccid Isd-p-aid Mno-id FallbackAttribute SubscriptionAddress State Smdp-id? ProfileType? AllocatedMemory FreeMemory? pol2?",
	"SubscriptionAddress": "Imsi? Msisdn?", "pol2": "Rule+", "Rule": "Subject Action Qualification",
	"EumSignature": "SignedInfo SignatureValue KeyInfo?", "SignedInfo": "CanonicalizationMethod SignatureMethod Reference",
	"Reference": "Transforms? DigestMethod DigestValue", "Transforms": "Transform+", "KeyInfo": "X509Data+", "X509Data": "X509SKI",
}

// eisTypes is what an element says, whole.
var eisTypes = map[string]string{
	"Eid": `[0-9]{32}`, "Eum-id": oid, "Smsr-id": oid, "Mno-id": oid, "Smdp-id": oid, "CaId": oid,
	"ProductionDate": `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "PlatformType": `.{1,100}`,
	"PlatformVersion": version, "HttpVersion": version, "CattpVersion": version, "SecurePacketVersion": version, "RemoteProvisioningVersion": version,
	"Isd-p-loadfile-aid": aid, "Isd-p-module-aid": aid, "Aid": aid, "Isd-p-aid": aid, "Tar": `[0-9A-F]{6}`, "Sin": `([0-9A-F]{2}){1,16}`, "Sdin": `([0-9A-F]{2}){1,16}`,
	"Role": `ISD-R|ECASD`, "Version": `\d+`, "Type": `SCP03|SCP80|SCP81|TokenGeneration|ReceiptVerification|CA`, "Cntr": `\d+`, "Index": `[1-9]\d*`,
	"Value": `7F21([0-9A-F]{2})+`, "CattpSupport": boolean, "HttpSupport": boolean, "FallbackAttribute": boolean,
	"RemainingMemory": `\d+`, "AvailableMemoryForProfiles": `\d+`, "AllocatedMemory": `\d+`, "FreeMemory": `\d+`,
	"Iccid": `\d{19}[\dF]`, "Imsi": `\d{6,15}`, "State": `Created|Disabled|Enabled`, "ProfileType": `.{1,100}`, "KeyComponents": ``,
	"Subject": `PROFILE`, "Action": `ENABLE|DISABLE|DELETE`, "Qualification": `Not-Allowed|Auto-Delete`,
	"DigestValue": `[A-Za-z0-9+/]{43}=`, "SignatureValue": `[A-Za-z0-9+/]{86}==`, "X509SKI": `[A-Za-z0-9+/]{27}=`,
	"CanonicalizationMethod": ``, "SignatureMethod": ``, "Transform": ``, "DigestMethod": ``,
}

const (
	oid     = `[0-2](\.(0|[1-9]\d*))+`
	version = `\d+\.\d+\.\d+`
	aid     = `([0-9A-F]{2}){5,16}`
	boolean = `true|false`
)

// eisAttributes are those that an element must have, and no other has any.
var eisAttributes = map[string]map[string]string{
	"Key": {"kcv": `[0-9A-F]{6}`}, "KeyComponents": {"type": `88`, "value": `([0-9A-F]{32})+`},
	"CanonicalizationMethod": {"Algorithm": regexp.QuoteMeta("http://www.w3.org/2001/10/xml-exc-c14n#")},
	"Transform":              {"Algorithm": regexp.QuoteMeta("http://www.w3.org/2001/10/xml-exc-c14n#")},
	"SignatureMethod":        {"Algorithm": regexp.QuoteMeta("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256")},
	"DigestMethod":           {"Algorithm": regexp.QuoteMeta("http://www.w3.org/2001/04/xmlenc#sha256")},
}

// dsElements are the elements of XML Signature. EumSignature is not: only what is in it.
var dsElements = strings.Fields("SignedInfo SignatureValue KeyInfo CanonicalizationMethod SignatureMethod Reference Transforms Transform DigestMethod DigestValue X509Data X509SKI")

var name = regexp.MustCompile(`[A-Za-z0-9-]+`)

// eisForm: each file has the elements of the schema, in its order, each with a value of its type.
func eisForm(t *testing.T, f *factory) {
	for _, e := range f.eisBatch(t) {
		if e.XMLName.Local != "Eis" {
			t.Fatalf("the root is %s", e.XMLName.Local)
		}
		e.checkForm(t, e.text("Eid"))
	}
}

func (e element) checkForm(t *testing.T, in string) {
	t.Helper()
	me := e.XMLName.Local
	in += "/" + me
	want := nsEIS
	if slices.Contains(dsElements, me) {
		want = nsDS
	}
	if e.XMLName.Space != want {
		t.Errorf("%s is of namespace %q", in, e.XMLName.Space)
	}
	for attr, pattern := range eisAttributes[me] {
		if !matches(pattern, e.attr(attr)) {
			t.Errorf("%s: attribute %s is %q", in, attr, e.attr(attr))
		}
	}
	for _, a := range e.Attrs {
		declares := a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns"
		if _, known := eisAttributes[me][a.Name.Local]; !known && !declares {
			t.Errorf("%s: unknown attribute %s", in, a.Name.Local)
		}
	}
	order, inner := eisOrder[me]
	pattern, leaf := eisTypes[me]
	var kids strings.Builder
	for _, k := range e.Kids {
		kids.WriteString(k.XMLName.Local + ",")
		k.checkForm(t, in)
	}
	switch {
	case inner == leaf:
		t.Errorf("%s: unknown element", in)
	case inner && (e.Text != "" || !matches(strings.ReplaceAll(name.ReplaceAllString(order, "(?:$0,)"), " ", ""), kids.String())):
		t.Errorf("%s has %q and text %q, want %s", in, kids.String(), e.Text, order)
	case leaf && (len(e.Kids) > 0 || !matches(pattern, e.Text)):
		t.Errorf("%s is %q", in, e.Text)
	}
}

func matches(pattern, s string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(s)
}

// eisContent: what the batch says of an eUICC is what is on the chip, and its keys are those that the subscription manager
// can open with the wrap key that it gave.
func eisContent(t *testing.T, f *factory) {
	wrap := f.partnerKey(t, "wk-smsr-demo.hex")
	for _, e := range f.eisBatch(t) {
		c := f.chipWith(t, e.text("Eid"))
		for name, want := range map[string]string{
			"Eum-id": "2.999.1.1", "Smsr-id": "2.999.1.2", "Mno-id": "2.999.1.3", "Smdp-id": "2.999.1.4", "PlatformVersion": "2.0.0", "FallbackAttribute": "true",
			"State": "Enabled", "Value": upper(c.cert), "Iccid": c.iccid + "F", "Imsi": c.imsi, "Isd-p-aid": "A0000005591010FFFFFFFF8900001000",
		} {
			if got := e.text(name); got != want {
				t.Errorf("EIS %s: %s is %s, want %s", c.eid, name, got, want)
			}
		}
		for i, sd := range slices.Concat(e.find("Ecasd"), e.find("Isd-r")) {
			role, domain := []string{"ECASD", "ISD-R"}[i], []byte{domECASD, domISDR}[i]
			sin, sdin := upper(c.memory.cells[cell{domain, kindData, 0x42}]), upper(c.memory.cells[cell{domain, kindData, 0x45}])
			if sd.text("Role") != role || sd.text("Sin") != sin || sd.text("Sdin") != sdin || !strings.HasPrefix(c.eid, sin) {
				t.Errorf("EIS %s: domain %s has role %s, Sin %s and Sdin %s, the chip %s and %s", c.eid, role, sd.text("Role"), sd.text("Sin"), sd.text("Sdin"), sin, sdin)
			}
		}
		keys := e.find("Key")
		if got := e.find("Isd-r")[0]; got.text("Type") != "SCP80" || got.text("Version") != "1" || got.text("Cntr") != "0" || len(keys) != 3 {
			t.Errorf("EIS %s: the ISD-R has keyset %s of type %s, counter %s, %d keys", c.eid, got.text("Version"), got.text("Type"), got.text("Cntr"), len(keys))
		}
		for i, k := range keys {
			key := decrypt(t, wrap, unhex(t, k.Kids[1].attr("value")))
			onChip := c.memory.key(domISDR, 1, byte(i+1))
			if upper(kcv(t, key)) != k.attr("kcv") || string(key) != string(onChip) {
				t.Errorf("EIS %s: key %s is not the chip's, or not that of check value %s", c.eid, k.text("Index"), k.attr("kcv"))
			}
		}
	}
}
