package saip

import (
	"slices"
	"strings"
	"testing"
)

// TestCheckPublished: the GSMA's packages are good but for what is told as notes.
func TestCheckPublished(t *testing.T) {
	t.Parallel()
	for name, file := range published(t) {
		notes := mustDecode(t, file).Check()
		for _, f := range notes.Refusing() {
			t.Errorf("%s: %v", name, f)
		}
		if len(notes) < 3 || len(notes) > 4 { // no "cave", two files of CSIM; in the newest a rule that is not there
			t.Errorf("%s: the notes are\n%v", name, notes)
		}
	}
}

func TestCheckShipped(t *testing.T) {
	t.Parallel()
	if faults := mustDecode(t, shipped(t)).Check(); len(faults) > 0 {
		t.Error(faults)
	}
}

// pe is the n-th element of a kind, from 1.
func pe(t *testing.T, all []*node, kind string, n int) *node {
	t.Helper()
	for _, e := range all {
		if e.name == kind {
			if n--; n == 0 {
				return e
			}
		}
	}
	t.Fatalf("there is no such %s", kind)
	return nil
}

// at goes down by names, or numbers of a list as "#2", from 0.
func at(t *testing.T, n *node, path ...string) *node {
	t.Helper()
	for _, name := range path {
		next := n.child(name)
		if strings.HasPrefix(name, "#") {
			next = n.children[name[1]-'0']
		}
		if next == nil {
			t.Fatalf("%q is not in %q", name, n.name)
		}
		n = next
	}
	return n
}

// without takes elements of a kind out.
func without(all []*node, kind string) []*node {
	return slices.DeleteFunc(all, func(n *node) bool { return n.name == kind })
}

// moved puts the first element of a kind at the end, before the last one.
func moved(t *testing.T, all []*node, kind string) []*node {
	e := pe(t, all, kind, 1)
	rest := slices.DeleteFunc(all, func(n *node) bool { return n == e })
	return slices.Insert(rest, len(rest)-1, e)
}

// again adds a copy of the first element of a kind behind it, with another identification.
func again(t *testing.T, all []*node, kind string) []*node {
	e := pe(t, all, kind, 1)
	c := e.clone()
	c.children[0].child("identification").value = []byte{0x7E}
	return slices.Insert(all, slices.Index(all, e)+1, c)
}

// TestCheckFaults breaks the shipped package in one thing each; that one is told, at its place.
func TestCheckFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, all []*node) []*node
		want   []string
		note   bool
	}{
		"no MF":               {func(_ *testing.T, all []*node) []*node { return without(all, PEMF) }, []string{`PE 1 header: the package has no "mf"`, `PE 3 pinCodes: "pinCodes" comes before the MF`}, false},
		"two MFs":             {func(t *testing.T, all []*node) []*node { return again(t, all, PEMF) }, []string{`PE 3 mf: a second "mf"`, "is there already, made by PE 2 mf"}, false},
		"MF late":             {func(t *testing.T, all []*node) []*node { return moved(t, all, PEMF) }, []string{`"usim" comes before the MF`}, false},
		"option early":        {func(t *testing.T, all []*node) []*node { return moved(t, all, PEUSIM) }, []string{`opt-usim: its files belong into an application "usim", and there is none before it`}, false},
		"no domain":           {func(_ *testing.T, all []*node) []*node { return without(all, PESecurityDomain) }, []string{"no security domain"}, true},
		"unknown template":    {set(PEUSIM, "templateID", 0x67, 0x81, 0x0F, 0x01, 0x02, 0x63), []string{"usim: templateID: template 2.23.143.1.2.99 is none that is known"}, false},
		"template of another": {set(PEISIM, "templateID", 0x67, 0x81, 0x0F, 0x01, 0x02, 0x04), []string{`template 2.23.143.1.2.4 is none that is known for "isim"`}, false},
		"template not listed": {func(t *testing.T, all []*node) []*node {
			list := at(t, all[0], "eUICC-Mandatory-GFSTEList")
			list.children = list.children[1:]
			return all
		}, []string{"template 2.23.143.1.2.1 is not in the header's list"}, true},
		"version 4":          {set(PEHeader, "major-version", 4), []string{"header: major-version: version 4.3 of the format"}, false},
		"ICCID of letters":   {set(PEHeader, "iccid", 0xAB, 0, 0, 0, 0, 0, 0, 0, 0, 0), []string{"header: iccid: the ICCID is not of digits", "mf: ef-iccid: EF.ICCID is another number"}, false},
		"ICCID not swapped":  {set(PEHeader, "iccid", 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0), []string{"EF.ICCID is another number than that of the header, or not swapped"}, false},
		"service not listed": {service("milenage", false), []string{`eUICC-Mandatory-services: the package uses "milenage", which the list doesn't demand`}, false},
		"service in vain":    {service("tuak128", true), []string{`eUICC-Mandatory-services.tuak128: the list demands "tuak128", which nothing in the package uses`}, false},
		"BER-TLV in vain":    {service("ber-tlv", true), []string{`demands "ber-tlv"`}, false},
		"SUCI in vain":       {service("get-identity", true), []string{`demands "get-identity", and the package has nothing that it is for`}, false},
		"application missing": {func(t *testing.T, all []*node) []*node {
			return without(without(all, PEISIM), PEOptISIM)
		}, []string{`demands "isim", which nothing in the package uses`, "rfm: adfRFMAccess.adfAID: the package has no application A0000000871004"}, false},
		"PUK twice":              {in(PEPUKCodes, 1, []string{"pukCodes", "#1"}, "keyReference", 1), []string{"pukCodes: PUK reference 01 comes twice", "PIN 81 is unblocked by PUK 81, which the package doesn't have"}, false},
		"PUK of letters":         {in(PEPUKCodes, 1, []string{"pukCodes", "#0"}, "pukValue", 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'), []string{"PUK 01 is not of eight digits"}, false},
		"PIN of three":           {in(PEPINCodes, 1, []string{"pinCodes", "pinconfig", "#0"}, "pinValue", '1', '2', '3', 0xFF, 0xFF, 0xFF, 0xFF, 0xFF), []string{"PIN 01 is not of four to eight digits"}, false},
		"PIN with other filler":  {in(PEPINCodes, 1, []string{"pinCodes", "pinconfig", "#0"}, "pinValue", '1', '2', '3', '4', 0xFF, 0xFF, 0x91, 0x91), []string{"PIN 01 is not of four to eight digits"}, false},
		"PIN twice":              {in(PEPINCodes, 1, []string{"pinCodes", "pinconfig", "#1"}, "keyReference", 1), []string{"PIN reference 01 comes twice in 3F00", "the PIN status of 3F00 names 0A, which neither"}, false},
		"local PIN at MF":        {in(PEPINCodes, 1, []string{"pinCodes", "pinconfig", "#1"}, "keyReference", 0, 0x81), []string{"PIN 81 is of an application, and stands at the MF"}, false},
		"global PIN in ADF":      {in(PEPINCodes, 3, []string{"pinCodes", "pinconfig", "#0"}, "keyReference", 2), []string{"PIN 02 is of the whole card, and stands in 3F00/7FD0", "the PIN status of 3F00/7FD0 names 81"}, false},
		"PIN of no reference":    {in(PEPINCodes, 1, []string{"pinCodes", "pinconfig", "#0"}, "keyReference", 9), []string{"09 is no reference of a PIN"}, false},
		"no PUK for PIN":         {in(PEPINCodes, 1, []string{"pinCodes", "pinconfig", "#0"}, "unblockingPINReference", 2), []string{"PIN 01 is unblocked by PUK 02, which the package doesn't have"}, false},
		"more tries than most":   {in(PEPINCodes, 1, []string{"pinCodes", "pinconfig", "#0"}, "maxNumOfAttemps-retryNumLeft", 0x34), []string{"a code with 4 of 3 tries"}, false},
		"file too small":         {in(PEUSIM, 1, []string{"ef-sms", "fileDescriptor"}, "efFileSize", 0x01), []string{"ef-sms.efFileSize: 1 bytes are no whole number of records of 176"}, false},
		"content too long":       {in(PEISIM, 1, []string{"ef-domain", "fileDescriptor"}, "efFileSize", 0x10), []string{"ef-domain[1].fillFileContent: content to byte 35 of a file of 16 bytes"}, false},
		"file too large":         {in(PEISIM, 1, []string{"ef-domain", "fileDescriptor"}, "efFileSize", 0x7F, 0xFF, 0xFF, 0xFF), []string{"a file of 2147483647 bytes"}, false},
		"application not in DIR": {in(PEUSIM, 1, []string{"adf-usim", "fileDescriptor"}, "dfName", 0xA0, 0, 0, 0, 0x87, 0x10, 0x02), []string{"EF.DIR has no entry for the application A0000000871002"}, false},
		"identifier twice":       {in(PEISIM, 1, []string{"adf-isim", "fileDescriptor"}, "fileID", 0x7F, 0xD0), []string{"the file 3F00/7FD0 is there already, made by PE"}, false},
		"rule not there":         {in(PEISIM, 1, []string{"adf-isim", "fileDescriptor"}, "securityAttributesReferenced", 0x2F, 0x06, 0x20), []string{"file 3F00/7FB0 has rule 32 of EF 2F06, which is not there"}, true},
		"IMSI of nine":           {in(PEUSIM, 1, []string{"ef-imsi"}, "", 9, 0x09), []string{"EF.IMSI of 3F00/7FD0/6F07 is not coded as one"}, false},
		"no authentication":      {func(_ *testing.T, all []*node) []*node { return without(all, PEAKA) }, []string{"the application 3F00/7FD0 has 0 AKA parameters", `demands "milenage"`}, false},
		"short key":              {in(PEAKA, 1, []string{"algoConfiguration", "algoParameter"}, "key", 1, 2, 3), []string{"algoConfiguration.algoParameter.key: milenage with a key of 3 bytes"}, false},
		"long OPc":               {in(PEAKA, 1, []string{"algoConfiguration", "algoParameter"}, "opc", make([]byte, 32)...), []string{"algoConfiguration.algoParameter.opc: milenage with an OPc of 32 bytes"}, false},
		"rotation":               {in(PEAKA, 1, []string{"algoConfiguration", "algoParameter"}, "rotationConstants", 1, 2, 3, 4, 0x80), []string{"a rotation of 128 bits or more"}, false},
		"no Keccak":              {in(PEAKA, 1, []string{"algoConfiguration", "algoParameter"}, "numberOfKeccak", 0), []string{"no iteration of Keccak"}, false},
		"SQN delta":              {set(PEAKA, "sqnDelta", 8, 0, 0, 0, 0, 0), []string{"is above 07FFFFFFFFFF"}, false},
		"key set of two": {func(t *testing.T, all []*node) []*node {
			list := at(t, pe(t, all, PESecurityDomain, 1), "keyList")
			list.children = list.children[:2]
			return all
		}, []string{"keyList: the key set of version 01 has no key 03"}, false},
		"AES key of 15": {in(PESecurityDomain, 1, []string{"keyList", "#0", "keyComponents", "#0"}, "keyData", make([]byte, 15)...), []string{"key 01 of version 01 has 15 bytes, which is none of its type 88"}, false},
		"TAR twice":     {in(PERFM, 2, []string{"tarList"}, "", 0, 0xB0, 0, 0), []string{"tarList: TAR B00000 is that of another instance"}, false},
		"AID twice":     {in(PERFM, 2, nil, "instanceAID", 0xA0, 0, 0, 0x05, 0x59, 0x10, 0x10, 0, 1), []string{"instanceAID: AID A00000055910100001 is that of another instance"}, false},
	} {
		broken, err := mustDecode(t, shipped(t)).with(func(all []*node) ([]*node, error) { return c.change(t, all), nil })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		faults := broken.Check()
		for _, want := range c.want {
			if !strings.Contains(faults.Error(), want) {
				t.Errorf("%s: it isn't said that %q:\n%v", name, want, faults)
			}
		}
		if refused := len(faults.Refusing()) > 0; refused == c.note {
			t.Errorf("%s: refused: %v\n%v", name, refused, faults)
		}
		if !slices.IsSortedFunc(faults, func(a, b *Fault) int { return a.Offset - b.Offset }) {
			t.Errorf("%s: the faults are not in the order of the package", name)
		}
	}
}

// set changes a field of the first element of a kind.
func set(kind, name string, value ...byte) func(*testing.T, []*node) []*node {
	return in(kind, 1, nil, name, value...)
}

// in changes a field deeper in the n-th element of a kind. Without a name it is the value of a list's element, whose number
// is the first byte; a file's content counts as one.
func in(kind string, n int, path []string, name string, value ...byte) func(*testing.T, []*node) []*node {
	return func(t *testing.T, all []*node) []*node {
		t.Helper()
		where := at(t, pe(t, all, kind, n), path...)
		if name == "" {
			last := where.children[len(where.children)-1]
			if last.name == "fillFileContent" {
				copy(last.value, value)
			} else {
				where.children[value[0]].value = value[1:]
			}
			return all
		}
		if err := where.set(name, value); err != nil {
			t.Fatal(err)
		}
		return all
	}
}

func service(name string, on bool) func(*testing.T, []*node) []*node {
	return func(t *testing.T, all []*node) []*node {
		t.Helper()
		value := []byte(nil)
		if on {
			value = []byte{}
		}
		if err := at(t, all[0], "eUICC-Mandatory-services").set(name, value); err != nil {
			t.Fatal(err)
		}
		return all
	}
}
