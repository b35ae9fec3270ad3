package cardsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// javaChip is a chip with Java Card and an empty ISD-P.
func javaChip(t testing.TB, nvm NVM) *Chip {
	t.Helper()
	p := testPersonality()
	p.Options.JavaCard = true
	c, err := New(p, nvm, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// demanding is a package whose header demands Java Card, with these elements before its end.
func demanding(t testing.TB, pkg []byte, elements ...[]byte) []byte {
	t.Helper()
	const tagHeader, tagServices, tagJavaCard = 0xA0, 0xA5, 0x8B
	header, rest, err := tlv.Parse(pkg)
	if err != nil || header.Tag != tagHeader {
		t.Fatal(err)
	}
	fields, err := tlv.ParseAll(header.Value)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range fields {
		if f.Tag == tagServices {
			f.Value = slices.Concat(f.Value, tlv.Encode(tagJavaCard))
		}
		all = append(all, tlv.Encode(f.Tag, f.Value)...)
	}
	end := bytes.LastIndexByte(rest, tagPEEnd)
	return slices.Concat(tlv.Encode(tagHeader, all), rest[:end], slices.Concat(elements...), rest[end:])
}

// codeElement is an element of a package: code with its hash, and one application of it.
func codeElement(code, hash []byte, instance string, privileges ...byte) []byte {
	const tagApplication, tagHead, tagLoad, tagList, tagOne = 0xA8, 0xA0, 0xA1, 0xA2, 0x30
	const tagHash, tagState, tagParameters = 0xC1, 0x83, 0xC9
	load := tlv.Encode(tagLoad, tlv.Encode(tagAID, []byte(pkgAID)), tlv.Encode(tagHash, hash), tlv.Encode(tagLoadFile, code))
	one := tlv.Encode(tagOne, tlv.Encode(tagAID, []byte(pkgAID)), tlv.Encode(tagAID, []byte(moduleAID)), tlv.Encode(tagAID, []byte(instance)),
		tlv.Encode(0x82, privileges), tlv.Encode(tagState, []byte{stateSelectable}), tlv.Encode(tagParameters))
	return tlv.Encode(tagApplication, tlv.Encode(tagHead, unhex("8000 810163")), load, tlv.Encode(tagList, one))
}

// TestPackageWithCode: code and applications of a package are in the registry, can be selected while their profile is in force, and go
// with it. A chip without Java Card refuses the package by name.
func TestPackageWithCode(t *testing.T) {
	t.Parallel()
	shipped, err := os.ReadFile("../../deploy/profiles/bootstrap.der")
	if err != nil {
		t.Fatal(err)
	}
	code := capOf(pkgAID, 700)
	hash := sha256.Sum256(code)
	pkg := demanding(t, withValues(t, shipped), codeElement(code, hash[:], appAID, 0))

	plain := &Memory{}
	l := empty(t, plain)
	before := len(plain.records)
	if report, _ := l.load(pkg, scp.MaxTLVData); !bytes.Contains(report, []byte("service javacard")) || len(plain.records) != before+1 { // the session's counter
		t.Errorf("without Java Card: report %X, %d records", report, len(plain.records)-before)
	}

	l = emptied(t, javaChip(t, &Memory{}))
	if report, _ := l.load(pkg, scp.MaxTLVData); !bytes.Equal(report, unhex(reportOK)) {
		t.Fatalf("report %X", report)
	}
	of := "CC10" + hex.EncodeToString([]byte(testISDP))
	for _, one := range []struct{ scope, aid, want string }{
		{"20", pkgAID, "E31E" + "4F06" + hex.EncodeToString([]byte(pkgAID)) + "9F700101" + of},
		{"10", pkgAID, "E327" + "4F06" + hex.EncodeToString([]byte(pkgAID)) + "9F700101" + "8407" + hex.EncodeToString([]byte(moduleAID)) + of},
		{"40", appAID, "E329" + "4F06" + hex.EncodeToString([]byte(appAID)) + "9F700107" + "C50100" + "C406" + hex.EncodeToString([]byte(pkgAID)) + of},
	} {
		if got := l.all(apdu.SWOK, command("80F2"+one.scope+"02", tlv.Encode(tagAID, []byte(one.aid)))); !bytes.Equal(got, unhex(one.want)) {
			t.Errorf("GET STATUS %s says %X, want %s", one.scope, got, one.want)
		}
	}
	deleted := func(aid string) []byte { return command("80E40080", tlv.Encode(tagAID, []byte(aid))) }
	l.all(apdu.SWRefDataNotFound, deleted(pkgAID))
	l.all(apdu.SWRefDataNotFound, command("80F04087", []byte(appAID)))
	selectApp := "00A40400" + "06" + hex.EncodeToString([]byte(appAID))
	l.plain(apdu.SWOK, selectApp)
	l.plain(apdu.SWUnknownINS, "8010000000")
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) {
		t.Fatal("lost power")
	}
	l.all(apdu.SWOK, deleted(testISDP))
	if got, sw, _ := l.secure(command("80F22002", tlv.Encode(tagAID))); sw != apdu.SWRefDataNotFound {
		t.Errorf("behind its profile there is %X, %v", got, sw)
	}
	l.plain(apdu.SWFileNotFound, selectApp)
}

// TestPackageWithBadCode: code that LOAD would refuse, and an application that INSTALL would refuse, refuse the package whole.
func TestPackageWithBadCode(t *testing.T) {
	t.Parallel()
	shipped, err := os.ReadFile("../../deploy/profiles/bootstrap.der")
	if err != nil {
		t.Fatal(err)
	}
	code := capOf(pkgAID, 100)
	hash := sha256.Sum256(code)
	other := capOf("\xF0\x00\x00\x00\x09\x09", 100)
	otherHash := sha256.Sum256(other)
	for name, c := range map[string]struct {
		element []byte
		want    string
	}{
		"no CAP file":    {codeElement(code[1:], nil, appAID, 0), "code that is no load file of this name"},
		"another name":   {codeElement(other, otherHash[:], appAID, 0), "code that is no load file of this name"},
		"another hash":   {codeElement(code, otherHash[:], appAID, 0), "code of another hash"},
		"a domain":       {codeElement(code, hash[:], appAID, 0x80), "privileges that none has"},
		"no privileges":  {codeElement(code, hash[:], appAID), "privileges that none has"},
		"the ISD's name": {codeElement(code, hash[:], aidISD, 0), "a name that is in use"},
		"the file's own": {codeElement(code, hash[:], pkgAID, 0), "a name that is in use"},
	} {
		nvm := &Memory{}
		l := emptied(t, javaChip(t, nvm))
		before := len(nvm.records)
		report, _ := l.load(demanding(t, withValues(t, shipped), c.element), scp.MaxTLVData)
		if !bytes.Contains(report, []byte(c.want)) || !bytes.Contains(report, unhex("800106 810163")) {
			t.Errorf("%s: report %X", name, report)
		}
		if len(nvm.records) != before+1 || l.chip.hasFiles(domISDP) {
			t.Errorf("%s: something of it was written", name)
		}
	}
}
