package product

import (
	"bytes"
	"fmt"

	"github.com/persoline/persoline/perso/aka/suci"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/tlv"
)

// Sizes of the files of a SIM whose content follows from its identity and its network (deploy/products/basic-sim.yaml).
const (
	IdentityBytes  = 80 // EF.IMPI, a record of EF.IMPU
	IMSDomainBytes = 64 // EF.DOMAIN
	SUCIBytes      = 96 // EF.SUCI_Calc_Info
)

// tagText stands before a text of an ISIM (TS 31.103 clause 4.2).
const tagText = 0x80

// EFIdentity is the content of EF.IMPI or of a record of EF.IMPU.
func EFIdentity(text string) ([]byte, error) { return textFile(text, IdentityBytes) }

// EFDomain is the content of EF.DOMAIN for the home network of an IMSI.
func EFDomain(imsi id.IMSI) ([]byte, error) { return textFile(imsi.IMSDomain(), IMSDomainBytes) }

func textFile(text string, size int) ([]byte, error) {
	return filled(tlv.Encode(tagText, []byte(text)), size)
}

// EFHPLMN is the one entry of EF.HPLMNwAcT (TS 31.102 clause 4.2.54): the home network with every access technology.
func EFHPLMN(imsi id.IMSI) []byte {
	const utran, eutran, nr, gsm = 0x80, 0x40, 0x08, 0x80 // the last in the second byte
	plmn := imsi.PLMN()
	return append(plmn[:], utran|eutran|nr, gsm)
}

// EFSUCI is the content of EF.SUCI_Calc_Info (TS 31.102 clause 4.4.11.8): the home network's public keys, or nothing.
func EFSUCI(keys suci.Info) ([]byte, error) {
	if len(keys.Schemes()) == 0 {
		return filled(nil, SUCIBytes)
	}
	return filled(keys.Bytes(), SUCIBytes)
}

// UST5GS is services 121 to 128 of EF.UST (TS 31.102 clause 4.2.8): mobility management and security context of 5GS, access
// identities; with keys of the home network also that the device conceals the subscription.
func UST5GS(keys suci.Info) byte {
	const mobility, security, concealing, access = 1 << 1, 1 << 2, 1 << 3, 1 << 5 // 122, 123, 124, 126
	if len(keys.Schemes()) == 0 {
		return mobility | security | access
	}
	return mobility | security | concealing | access
}

func filled(content []byte, size int) ([]byte, error) {
	if len(content) > size {
		return nil, fmt.Errorf("filling a file of %d bytes: %d bytes", size, len(content))
	}
	return append(content, bytes.Repeat([]byte{0xFF}, size-len(content))...), nil
}
