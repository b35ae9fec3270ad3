package eis

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/persoline/persoline/perso/id"
)

// ErrForm says that bytes are not an EumSignedInfo as EumSignedInfo writes it.
var ErrForm = errors.New("not a canonical EumSignedInfo")

// EIDOf reads the EID out of an EumSignedInfo that ParseEumSignedInfo accepts.
func EIDOf(eumSignedInfo []byte) (id.EID, error) {
	f, err := ParseEumSignedInfo(eumSignedInfo)
	return f.EID, err
}

// ParseEumSignedInfo reads what EumSignedInfo wrote, and nothing else: writing the fields again gives the same bytes. So
// whoever signs them knows all they say.
func ParseEumSignedInfo(b []byte) (SignedFields, error) {
	if len(b) > MaxSignedInfoBytes {
		return SignedFields{}, fmt.Errorf("parsing EumSignedInfo of %d bytes: %w", len(b), ErrForm)
	}
	var x signedXML
	if err := xml.Unmarshal(b, &x); err != nil {
		return SignedFields{}, fmt.Errorf("parsing EumSignedInfo: %w: %w", ErrForm, err)
	}
	f, err := x.fields()
	if err != nil {
		return SignedFields{}, fmt.Errorf("parsing EumSignedInfo: %w: %w", ErrForm, err)
	}
	again, err := EumSignedInfo(f)
	if err != nil {
		return SignedFields{}, fmt.Errorf("parsing EumSignedInfo: %w: %w", ErrForm, err)
	}
	if !bytes.Equal(again, b) {
		return SignedFields{}, fmt.Errorf("parsing EumSignedInfo: %w: a second spelling", ErrForm)
	}
	return f, nil
}

// The shapes of the elements. encoding/xml is lax; the comparison afterwards is not.
type (
	signedXML struct {
		XMLName         xml.Name  `xml:"http://namespaces.gsma.org/esim-messaging/3 EumSignedInfo"`
		EID             string    `xml:"Eid"`
		EUMID           *string   `xml:"Eum-id"`
		EUMIDUpper      *string   `xml:"Eum-Id"`
		ProductionDate  string    `xml:"ProductionDate"`
		PlatformType    string    `xml:"PlatformType"`
		PlatformVersion string    `xml:"PlatformVersion"`
		LoadFileAID     string    `xml:"Isd-p-loadfile-aid"`
		ModuleAID       string    `xml:"Isd-p-module-aid"`
		ECASD           domainXML `xml:"Ecasd"`
		Capabilities    struct {
			CATTP              string `xml:"CattpSupport"`
			CATTPVersion       string `xml:"CattpVersion"`
			HTTP               string `xml:"HttpSupport"`
			HTTPVersion        string `xml:"HttpVersion"`
			SecurePacket       string `xml:"SecurePacketVersion"`
			RemoteProvisioning string `xml:"RemoteProvisioningVersion"`
		} `xml:"EuiccCapabilities"`
	}
	domainXML struct {
		AID     string      `xml:"Aid"`
		TAR     string      `xml:"Tar"`
		SIN     string      `xml:"Sin"`
		SDIN    string      `xml:"Sdin"`
		Role    string      `xml:"Role"`
		Keysets []keysetXML `xml:"Keyset"`
	}
	keysetXML struct {
		Version string  `xml:"Version"`
		Type    string  `xml:"Type"`
		Counter *string `xml:"Cntr"`
		Keys    []struct {
			KCV        string `xml:"kcv,attr"`
			Index      string `xml:"Index"`
			Components struct {
				Type  string `xml:"type,attr"`
				Value string `xml:"value,attr"`
			} `xml:"KeyComponents"`
		} `xml:"Key"`
		Certificate *struct {
			Index string `xml:"Index"`
			CAID  string `xml:"CaId"`
			Value string `xml:"Value"`
		} `xml:"Certificate"`
	}
)

// reader converts texts; its first fault sticks.
type reader struct{ err error }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) hex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		r.fail(err)
	}
	return b
}

func (r *reader) num(s string, bits int) uint64 {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		r.fail(err)
	}
	return n
}

func (r *reader) byteHex(s string) byte {
	if b := r.hex(s); len(b) == 1 {
		return b[0]
	}
	r.fail(errors.New("key type is not one byte"))
	return 0
}

func (x signedXML) fields() (SignedFields, error) {
	var r reader
	eid, err := id.ParseEID(x.EID)
	if err != nil {
		r.fail(err)
	}
	date, err := time.Parse(timeForm, x.ProductionDate)
	if err != nil {
		r.fail(err)
	}
	c := x.Capabilities
	f := SignedFields{
		EID: eid, ProductionDate: date, PlatformType: x.PlatformType, PlatformVersion: x.PlatformVersion,
		LoadFileAID: r.hex(x.LoadFileAID), ModuleAID: r.hex(x.ModuleAID), ECASD: x.ECASD.domain(&r),
		Capabilities: Capabilities{CATTP: c.CATTP == "true", CATTPVersion: c.CATTPVersion, HTTP: c.HTTP == "true", HTTPVersion: c.HTTPVersion,
			SecurePacketVersion: c.SecurePacket, RemoteProvisioningVersion: c.RemoteProvisioning},
	}
	switch {
	case x.EUMID != nil:
		f.EUMID = *x.EUMID
	case x.EUMIDUpper != nil:
		f.EUMID, f.Spelling = *x.EUMIDUpper, SpellingUpper
	}
	return f, r.err
}

func (x domainXML) domain(r *reader) SecurityDomain {
	d := SecurityDomain{AID: r.hex(x.AID), TAR: r.hex(x.TAR), SIN: r.hex(x.SIN), SDIN: r.hex(x.SDIN), Role: x.Role}
	for _, k := range x.Keysets {
		set := Keyset{Version: byte(r.num(k.Version, 8)), Type: k.Type}
		if k.Counter != nil {
			n := r.num(*k.Counter, 63)
			set.Counter = &n
		}
		for _, key := range k.Keys {
			set.Keys = append(set.Keys, Key{Index: byte(r.num(key.Index, 8)), KCV: r.hex(key.KCV),
				Type: r.byteHex(key.Components.Type), Value: r.hex(key.Components.Value)})
		}
		if c := k.Certificate; c != nil {
			set.Certificate = &Certificate{Index: byte(r.num(c.Index, 8)), CAID: c.CAID, Value: r.hex(c.Value)}
		}
		d.Keysets = append(d.Keysets, set)
	}
	return d
}
