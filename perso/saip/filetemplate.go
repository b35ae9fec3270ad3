package saip

import (
	"strings"
	"sync"
)

// FileKind is the structure of a file.
type FileKind uint8

const (
	MF          FileKind = iota + 1
	DF                   // dedicated file
	ADF                  // application's dedicated file, selected by AID
	Transparent          // bytes
	LinearFixed          // records
	Cyclic               // records, the newest first
	BERTLV               // data objects
)

var kindNames = [...]string{"none", "MF", "DF", "ADF", "transparent", "linear fixed", "cyclic", "BER-TLV"}

func (k FileKind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// Records reports whether a file consists of records.
func (k FileKind) Records() bool { return k == LinearFixed || k == Cyclic }

// Directory reports whether a file holds files.
func (k FileKind) Directory() bool { return k == MF || k == DF || k == ADF }

// fileTemplate is what SAIP's annex A says of a file of a template: facts, in our words. A file identifier of 0 is given
// by the package (ADFs have a temporary one), as is a size of 0.
type fileTemplate struct {
	name    string // as in the profile element
	fid     uint16
	kind    FileKind
	records int    // of a file with records
	size    int    // of a record, or of the file, in bytes
	arr     byte   // record of EF.ARR that the template assumes
	sfi     byte   // short file identifier, 0 for none
	content string // see fillOf; empty where the package must bring it
}

// template is one of SAIP's file templates.
type template struct {
	oid       string // after the prefix of the TCA
	element   string
	byDefault bool // a file is made unless the package says doNotCreate; else only those that the package names
	files     func() []fileTemplate
	changes   []fileTemplate // to files of the same name
}

// tcaTemplates is where the object identifiers of templates are: {joint-iso-itu-t international-organizations tca
// euicc-profile template}.
const tcaTemplates = "2.23.143.1.2."

// templates are all that are known. A later version of a template has more files, which a package names or not; what it
// changes in a file stands in changes.
var templates = []template{
	{oid: "1", element: PEMF, byDefault: true, files: mfFiles},
	{oid: "2", element: PECD, files: cdFiles},
	{oid: "3", element: PETelecom, files: telecomFiles},
	{oid: "3.2", element: PETelecom, files: telecomFiles},
	{oid: "4", element: PEUSIM, byDefault: true, files: usimFiles, changes: []fileTemplate{{"ef-ust", 0x6F38, Transparent, 0, 14, 2, 0x04, ""}}},
	{oid: "4.2", element: PEUSIM, byDefault: true, files: usimFiles},
	{oid: "5", element: PEOptUSIM, files: optUSIMFiles},
	{oid: "5.2", element: PEOptUSIM, files: optUSIMFiles},
	{oid: "5.3", element: PEOptUSIM, files: optUSIMFiles},
	{oid: "6", element: PEPhonebook, files: phonebookTemplate},
	{oid: "7", element: PEGSMAccess, files: gsmAccessFiles},
	{oid: "8", element: PEISIM, byDefault: true, files: isimFiles},
	{oid: "9", element: PEOptISIM, files: optISIMFiles},
	{oid: "9.2", element: PEOptISIM, files: optISIMFiles},
	{oid: "10", element: PECSIM, byDefault: true, files: csimFiles},
	{oid: "10.2", element: PECSIM, byDefault: true, files: csimFiles},
	{oid: "11", element: PEOptCSIM, files: optCSIMFiles},
	{oid: "11.2", element: PEOptCSIM, files: optCSIMFiles},
	{oid: "12", element: PEEAP, files: eapFiles},
	{oid: "13", element: PE5GS, files: fiveGSTemplate},
	{oid: "13.2", element: PE5GS, files: fiveGSTemplate},
	{oid: "13.3", element: PE5GS, files: fiveGSTemplate, changes: securityContexts},
	{oid: "13.4", element: PE5GS, files: fiveGSTemplate, changes: securityContexts},
	{oid: "14", element: PESAIP, files: saipFiles},
}

// securityContexts: with UST service 136 a USIM keeps two contexts (TS 31.102 clause 4.4.11.4).
var securityContexts = []fileTemplate{
	{"ef-5gs3gppnsc", 0x4F03, LinearFixed, 2, 62, 5, 0x03, "FF"},
	{"ef-5gsn3gppnsc", 0x4F04, LinearFixed, 2, 62, 5, 0x04, "FF"},
}

// templateOf is the template with an object identifier.
func templateOf(oid string) (template, bool) {
	short, ours := strings.CutPrefix(oid, tcaTemplates)
	for _, t := range templates {
		if ours && t.oid == short {
			return t, true
		}
	}
	return template{}, false
}

// KnowsTemplate reports whether the files of a template are known, by its object identifier as in Header.Templates.
func KnowsTemplate(oid string) bool {
	_, known := templateOf(oid)
	return known
}

// file is the template's file of a name.
func (t template) file(name string) (fileTemplate, bool) {
	for _, files := range [][]fileTemplate{t.changes, t.fileList()} {
		for _, f := range files {
			if f.name == name {
				return f, true
			}
		}
	}
	return fileTemplate{}, false
}

func (t template) fileList() []fileTemplate {
	if t.files == nil {
		return nil
	}
	return t.files()
}

var mfFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"mf", 0x3F00, MF, 0, 0, 14, 0, ""},
		{"ef-pl", 0x2F05, Transparent, 0, 2, 1, 0x05, "FF"},
		{"ef-iccid", 0x2FE2, Transparent, 0, 10, 11, 0x02, ""},
		{"ef-dir", 0x2F00, LinearFixed, 0, 0, 10, 0x1E, ""},
		{"ef-arr", 0x2F06, LinearFixed, 0, 0, 10, 0x06, ""},
		{"ef-umpc", 0x2F08, Transparent, 0, 5, 10, 0x08, ""},
	}
})

var cdFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"df-cd", 0x7F11, DF, 0, 0, 14, 0, ""},
		{"ef-launchpad", 0x6F01, Transparent, 0, 0, 2, 0, ""},
		{"ef-icon", 0, Transparent, 0, 0, 2, 0, ""},
	}
})

// phonebookTemplate is under DF.TELECOM and under ADF.USIM. Files of which there may be several get their identifier from
// the package.
var phonebookTemplate = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"df-phonebook", 0x5F3A, DF, 0, 0, 14, 0, ""},
		{"ef-pbr", 0x4F30, LinearFixed, 0, 0, 2, 0, ""},
		{"ef-ext1", 0, LinearFixed, 0, 13, 5, 0, "00FF"},
		{"ef-aas", 0, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-gas", 0, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-psc", 0x4F22, Transparent, 0, 4, 5, 0, "00"},
		{"ef-cc", 0x4F23, Transparent, 0, 2, 5, 0, "00"},
		{"ef-puid", 0x4F24, Transparent, 0, 2, 5, 0, "00"},
		{"ef-iap", 0, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-adn", 0, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-pbc", 0, LinearFixed, 0, 2, 5, 0, "00"},
		{"ef-anr", 0, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-puri", 0, LinearFixed, 0, 0, 5, 0, ""},
		{"ef-email", 0, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-sne", 0, LinearFixed, 0, 0, 5, 0, "FF"},
		{"ef-uid", 0, LinearFixed, 0, 2, 5, 0, "00"},
		{"ef-grp", 0, LinearFixed, 0, 0, 5, 0, "00"},
		{"ef-ccp1", 0, LinearFixed, 0, 0, 5, 0, "FF"},
	}
})

var telecomFiles = sync.OnceValue(func() []fileTemplate {
	files := []fileTemplate{
		{"df-telecom", 0x7F10, DF, 0, 0, 14, 0, ""},
		{"ef-arr", 0x6F06, LinearFixed, 0, 0, 10, 0, ""},
		{"ef-rma", 0x6F53, LinearFixed, 0, 0, 3, 0, ""},
		{"ef-sume", 0x6F54, Transparent, 0, 22, 3, 0, ""},
		{"ef-ice-dn", 0x6FE0, LinearFixed, 50, 24, 9, 0, "FF"},
		{"ef-ice-ff", 0x6FE1, LinearFixed, 0, 0, 9, 0, "FF"},
		{"ef-psismsc", 0x6FE5, LinearFixed, 0, 0, 5, 0, ""},
		{"df-graphics", 0x5F50, DF, 0, 0, 14, 0, ""},
		{"ef-img", 0x4F20, LinearFixed, 0, 0, 2, 0, "00FF"},
		{"ef-iidf", 0, Transparent, 0, 0, 2, 0, "FF"},
		{"ef-ice-graphics", 0x4F21, BERTLV, 0, 0, 9, 0, "FF"},
		{"ef-launch-scws", 0x4F01, Transparent, 0, 0, 10, 0, ""},
		{"ef-icon", 0, Transparent, 0, 0, 10, 0, ""},
		{"df-multimedia", 0x5F3B, DF, 0, 0, 14, 0, ""},
		{"ef-mml", 0x4F47, BERTLV, 0, 0, 5, 0, "FF"},
		{"ef-mmdf", 0x4F48, BERTLV, 0, 0, 5, 0, "FF"},
		{"df-mmss", 0x5F3C, DF, 0, 0, 14, 0, ""},
		{"ef-mlpl", 0x4F20, Transparent, 0, 0, 2, 0x01, ""},
		{"ef-mspl", 0x4F21, Transparent, 0, 0, 2, 0x02, ""},
		{"ef-mmssmode", 0x4F22, Transparent, 0, 1, 2, 0x03, ""},
		{"df-mcs", 0x5F3D, DF, 0, 0, 14, 0, ""},
		{"ef-mst", 0x4F01, Transparent, 0, 0, 2, 0x01, ""},
		{"ef-mcs-config", 0x4F02, BERTLV, 0, 0, 2, 0x02, ""},
		{"df-v2x", 0x5F3E, DF, 0, 0, 14, 0, ""},
		{"ef-vst", 0x4F01, Transparent, 0, 0, 2, 0x01, ""},
		{"ef-v2x-config", 0x4F02, BERTLV, 0, 0, 2, 0x02, ""},
		{"ef-v2xp-pc5", 0x4F03, Transparent, 0, 0, 2, 0, ""},
		{"ef-v2xp-Uu", 0x4F04, Transparent, 0, 0, 2, 0, ""},
	}
	return append(files, phonebookTemplate()...)
})

var eapFiles = sync.OnceValue(func() []fileTemplate {
	return []fileTemplate{
		{"df-eap", 0, DF, 0, 0, 14, 0, ""},
		{"ef-eapkeys", 0x4F01, Transparent, 0, 0, 2, 0, ""},
		{"ef-eapstatus", 0x4F02, Transparent, 0, 1, 2, 0, "00"},
		{"ef-puid", 0x4F03, Transparent, 0, 0, 2, 0, ""},
		{"ef-ps", 0x4F04, Transparent, 0, 0, 5, 0, "FF"},
		{"ef-curid", 0x4F20, Transparent, 0, 0, 5, 0, "FF"},
		{"ef-reid", 0x4F21, Transparent, 0, 0, 5, 0, ""},
		{"ef-realm", 0x4F22, Transparent, 0, 0, 5, 0, ""},
	}
})
