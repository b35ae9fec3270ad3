package cardsim

import (
	"math/bits"

	"github.com/persoline/persoline/perso/tlv"
)

// Statuses of a profile element (SAIP, EUICCResponse).
const (
	peOK           = 0
	peUnsupported  = 1
	peMemory       = 2
	peNoMemory     = 4
	peBadFormat    = 5
	peBadParameter = 6
	peNoTemplate   = 9
	peNoFeature    = 10

	maxReported   = 4
	maxReportText = 60
)

// peStatus says what became of a profile element.
type peStatus struct {
	status byte
	pe     int // identification; 0 for none
	offset int // of the fault from the first byte of the element, without one from that of the package; 0 for none
	text   string
}

// report is the EUICCResponse: the chip's word on a package.
type report []peStatus

// refusal is the report on a package that is not taken.
func refusal(all ...peStatus) report { return all }

// bytes writes EUICCResponse { peStatus, profileInstallationAborted, statusMessage }. Its tags are automatic ones.
func (r report) bytes() []byte {
	const sequence, statuses, aborted, message = 0x30, 0xA0, 0x81, 0x82
	const status, identification, offset = 0x80, 0x81, 0x83
	var all []byte
	text := ""
	for i, one := range r {
		if i == maxReported {
			break
		}
		fields := tlv.Encode(status, []byte{one.status})
		if one.pe > 0 {
			fields = tlv.Append(fields, identification, integer(one.pe))
		}
		if one.offset > 0 {
			fields = tlv.Append(fields, offset, integer(one.offset))
		}
		all = append(all, tlv.Encode(sequence, fields)...)
		if text == "" {
			text = one.text
		}
	}
	body := tlv.Encode(statuses, all)
	if len(r) > 0 && r[0].status != peOK {
		body = tlv.Append(body, aborted, nil)
	}
	if text != "" {
		body = tlv.Append(body, message, []byte(text[:min(len(text), maxReportText)]))
	}
	return tlv.Encode(sequence, body)
}

// integer is the shortest coding of a number that is not negative.
func integer(n int) []byte {
	size := bits.Len(uint(n))/8 + 1 // a bit more for the sign
	b := make([]byte, size)
	for i := size - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	return b
}
