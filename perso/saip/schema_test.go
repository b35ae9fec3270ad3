package saip

import (
	"fmt"
	"testing"
)

// TestElementTags holds the table of profile elements to the tags of the specification.
func TestElementTags(t *testing.T) {
	t.Parallel()
	want := []uint32{0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB0, 0xB1, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xBB, 0xBC, 0xBD,
		0xBE, 0xBF1F, 0xBF20, 0xBF21}
	fields := elementsSpec().fields
	if len(fields) != len(want) {
		t.Fatalf("there are %d elements", len(fields))
	}
	for i, f := range fields {
		if f.tag != want[i] {
			t.Errorf("%s has tag %X, want %X", f.name, f.tag, want[i])
		}
	}
}

// TestFieldTags holds fields that TS.48 has none of to the tags of the specification.
func TestFieldTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind string
		path []string // "" goes into the element of a list
		want uint32
	}{
		{PEHeader, []string{"eUICC-Mandatory-AIDs"}, 0xA8}, {PEHeader, []string{"iotOptions"}, 0xA9},
		{PEHeader, []string{"eUICC-Mandatory-services", "tuak128"}, 0x85}, {PEHeader, []string{"eUICC-Mandatory-services", "tuak256"}, 0x90},
		{PEHeader, []string{"eUICC-Mandatory-services", "eaka"}, 0x9D},
		{PEAKA, []string{"algoConfiguration", "mappingParameter"}, 0xA0}, {PEAKA, []string{"algoConfiguration", "algoParameter", "rotationConstants"}, 0x84},
		{PEAKA, []string{"algoConfiguration", "algoParameter", "xoringConstants"}, 0x85}, {PEAKA, []string{"algoConfiguration", "algoParameter", "numberOfKeccak"}, 0x87},
		{PEAKA, []string{"sqnOptions"}, 0x82}, {PEAKA, []string{"sqnInit"}, 0xA5},
		{PESecurityDomain, []string{"keyList", "", "keyAccess"}, 0x96}, {PESecurityDomain, []string{"keyList", "", "keyComponents", "", "macLength"}, 0x87},
		{PESecurityDomain, []string{"openPersoData", "restrictParameter"}, 0xD9}, {PESecurityDomain, []string{"catTpParameters"}, 0xA5},
		{PESecurityDomain, []string{"instance", "controlReferenceTemplate", "applicationProviderIdentifier"}, 0x5F20},
		{PEApplication, []string{"loadBlock", "loadBlockObject"}, 0xC4}, {PERFM, []string{"adfRFMAccess", "adfAdminAccessDomain"}, 0x82},
		{PEGFM, []string{"fileManagementCMD", "", "", "createFCP"}, 0x62}, {PETelecom, []string{"ef-v2xp-Uu"}, 0xBF2F}, {PEOptUSIM, []string{"ef-eaka"}, 0xBF57},
		{PEUSIM, []string{"ef-imsi", "", "fileDescriptor", "proprietaryEFInfo", "maximumFileSize"}, 0x86},
	} {
		f, _ := elementsSpec().named(c.kind)
		var known bool
		for _, name := range c.path {
			if name == "" {
				f = field{spec: f.spec.elem}
			} else if f, known = f.spec.named(name); !known {
				t.Fatalf("%s has no %v", c.kind, c.path)
			}
		}
		if f.tag != c.want {
			t.Errorf("%s %v has tag %X, want %X", c.kind, c.path, f.tag, c.want)
		}
	}
}

// TestEveryTemplateFileIsInItsElement: a name that is spelled otherwise in a table would never be found.
func TestEveryTemplateFileIsInItsElement(t *testing.T) {
	t.Parallel()
	for _, tpl := range templates {
		element, _ := elementsSpec().named(tpl.element)
		for _, f := range append(tpl.changes, tpl.fileList()...) {
			if _, known := element.spec.named(f.name); !known {
				t.Errorf("template %s: %q is no file of %s", tpl.oid, f.name, tpl.element)
			}
			if !f.kind.Directory() && f.size > 0 {
				fillOf(f.content, f.size) // panics where the table is no hex
			}
		}
	}
}

func TestOIDs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"2.23.143.1.2.1": "67810f010201", "2.999.3": "883703", "1.2.840.113549": "2a864886f70d", "0.0": "00"} {
		b, err := oidToBytes(text)
		if err != nil || fmt.Sprintf("%x", b) != want {
			t.Errorf("%s is %x: %v", text, b, err)
		}
	}
	for _, text := range []string{"", "2", "3.1", "1.40", "2.23.", "a.b", "2.99999999999"} {
		if b, err := oidToBytes(text); err == nil {
			t.Errorf("%q is %x", text, b)
		}
	}
	for _, b := range [][]byte{nil, {0x80, 0x01}, {0x67, 0x81}, {0x8F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}} {
		if text, err := oidFromBytes(b); err == nil {
			t.Errorf("%x is %s", b, text)
		}
	}
}
