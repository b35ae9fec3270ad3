package apdu

import (
	"fmt"
	"strconv"
)

// SW is the status word that ends every answer, SW1 in the high byte.
type SW uint16

// Status words that the factory gives, expects or decides by. Sources: ISO/IEC 7816-4 table 6,
// ETSI TS 102 221 §10.2.1, GlobalPlatform Card Specification 2.3.1 §11.
const (
	SWOK                  SW = 0x9000
	SWMore                SW = 0x6100 // SW2 = bytes waiting for GET RESPONSE, 00 for 256
	SWEndOfFile           SW = 0x6282
	SWFileInvalidated     SW = 0x6283
	SWMoreDataBER         SW = 0x6310 // more data for GET DATA/STATUS with P2 next
	SWAuthFailed          SW = 0x6300 // host cryptogram refused, or a PIN without a counter
	SWTriesLeft           SW = 0x63C0 // low nibble = tries left
	SWNoInfoUnchanged     SW = 0x6400
	SWMemoryProblem       SW = 0x6581
	SWWrongLength         SW = 0x6700
	SWChannelUnsupported  SW = 0x6881
	SWSMUnsupported       SW = 0x6882
	SWLastOfChain         SW = 0x6883
	SWChainingUnsupported SW = 0x6884
	SWCommandIncompatible SW = 0x6981
	SWSecurity            SW = 0x6982
	SWBlocked             SW = 0x6983
	SWReferenceUnusable   SW = 0x6984
	SWConditions          SW = 0x6985
	SWNoCurrentEF         SW = 0x6986
	SWSMObjectsMissing    SW = 0x6987
	SWSMObjectsWrong      SW = 0x6988
	SWAppletSelectFailed  SW = 0x6999
	SWWrongData           SW = 0x6A80
	SWFuncUnsupported     SW = 0x6A81
	SWFileNotFound        SW = 0x6A82
	SWRecordNotFound      SW = 0x6A83
	SWNoSpace             SW = 0x6A84
	SWWrongP1P2           SW = 0x6A86
	SWLcP1P2              SW = 0x6A87
	SWRefDataNotFound     SW = 0x6A88
	SWFileExists          SW = 0x6A89
	SWOutsideEF           SW = 0x6B00
	SWWrongLe             SW = 0x6C00 // SW2 = the right Le
	SWUnknownINS          SW = 0x6D00
	SWUnknownCLA          SW = 0x6E00
	SWUnknown             SW = 0x6F00
	SWProactive           SW = 0x9100 // SW2 = length of the waiting proactive command
	SWAuthMAC             SW = 0x9862 // AUTHENTICATE: MAC or application error
	SWGSMContext          SW = 0x9864 // AUTHENTICATE: GSM context refused
)

// SWOf splits an answer into its data (aliasing resp) and its status word.
func SWOf(resp []byte) (data []byte, sw SW, err error) {
	n := len(resp) - 2
	if n < 0 {
		return nil, 0, fmt.Errorf("reading status word of %d bytes: %w", len(resp), ErrMalformed)
	}
	return resp[:n:n], SW(resp[n])<<8 | SW(resp[n+1]), nil
}

// OK says whether the command was done without a remark.
func (s SW) OK() bool { return s == SWOK }

// Warning says whether the command was done with a remark (62xx, 63xx). A secure channel protects
// the answers of OK and Warning, and no others.
func (s SW) Warning() bool { return s>>8 == 0x62 || s>>8 == 0x63 }

// More gives the bytes waiting for GET RESPONSE when the card said 61xx.
func (s SW) More() (n int, ok bool) {
	if s&0xFF00 != SWMore {
		return 0, false
	}
	return decodeLe(byte(s)), true
}

// RightLe gives the Le to repeat the command with when the card said 6Cxx.
func (s SW) RightLe() (le int, ok bool) {
	if s&0xFF00 != SWWrongLe {
		return 0, false
	}
	return decodeLe(byte(s)), true
}

// TriesLeft gives the tries that remain when the card said 63Cx.
func (s SW) TriesLeft() (n int, ok bool) {
	return int(s & 0x0F), s&0xFFF0 == SWTriesLeft
}

// Append appends the two bytes of the status word.
func (s SW) Append(dst []byte) []byte { return append(dst, byte(s>>8), byte(s)) }

// String is four upper-case hex digits.
func (s SW) String() string {
	var b [4]byte
	for i := range b {
		b[i] = upperHex[s>>(12-4*i)&0x0F]
	}
	return string(b[:])
}

// Meaning is a few words for an operator, or "" when the word says nothing to us.
func (s SW) Meaning() string {
	if n, ok := s.TriesLeft(); ok {
		return "wrong, " + strconv.Itoa(n) + " tries left"
	}
	switch s & 0xFF00 {
	case SWMore:
		return "answer data waiting"
	case SWWrongLe:
		return "wrong Le"
	case SWProactive:
		return "done, proactive command waiting"
	}
	return exactMeaning(s)
}

func exactMeaning(s SW) string {
	switch s {
	case SWOK:
		return "done"
	case SWEndOfFile:
		return "end of file reached"
	case SWFileInvalidated:
		return "selected file deactivated"
	case SWAuthFailed:
		return "authentication failed"
	case SWMoreDataBER:
		return "more data available"
	case SWMemoryProblem:
		return "memory problem"
	case SWWrongLength:
		return "wrong length"
	case SWSecurity:
		return "security status not satisfied"
	case SWBlocked:
		return "authentication method blocked"
	case SWConditions:
		return "conditions of use not satisfied"
	case SWSMObjectsWrong:
		return "secure messaging wrong"
	case SWWrongData:
		return "wrong data"
	case SWFileNotFound:
		return "file or application not found"
	case SWRecordNotFound:
		return "record not found"
	case SWNoSpace:
		return "not enough memory"
	case SWWrongP1P2:
		return "wrong P1 P2"
	case SWRefDataNotFound:
		return "key or reference data not found"
	case SWUnknownINS:
		return "instruction unknown"
	case SWUnknownCLA:
		return "class unknown"
	case SWAuthMAC:
		return "authentication error, wrong MAC"
	default:
		return ""
	}
}
