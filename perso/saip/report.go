package saip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/tlv"
)

// Report is what a chip says of a package when its end has come: EUICCResponse of SAIP. Its tags are automatic ones.
type Report struct {
	Elements []ElementStatus
	Aborted  bool   // nothing of the profile is on the chip
	Message  string // for people, made fit to be shown
}

// ElementStatus is what became of one element, or of the package.
type ElementStatus struct {
	Status int // 0 is well; the others are SAIP's: 5 is bad format, 6 a bad parameter, ...
	PE     int // identification, 0 for none
	Offset int // of the fault, 0 for none
}

// ErrReport says that an answer is no report.
var ErrReport = errors.New("not a report of a chip on a package")

// InstalledReport is the report of a chip that took everything and has nothing to say, which is how most say it.
func InstalledReport() []byte {
	return []byte{0x30, 0x07, 0xA0, 0x05, 0x30, 0x03, 0x80, 0x01, 0x00}
}

// ParseReport reads a chip's report.
func ParseReport(b []byte) (r Report, err error) {
	const sequence, statuses, aborted, message = 0x30, 0xA0, 0x81, 0x82
	whole, rest, err := tlv.Parse(b)
	if err != nil || len(rest) != 0 || whole.Tag != sequence {
		return r, fmt.Errorf("reading %d bytes: %w", len(b), ErrReport)
	}
	fields, err := tlv.ParseAll(whole.Value)
	if err != nil {
		return r, fmt.Errorf("reading %d bytes: %w", len(b), ErrReport)
	}
	for _, f := range fields {
		switch f.Tag {
		case statuses:
			if r.Elements, err = elementStatuses(f.Value); err != nil {
				return r, err
			}
		case aborted:
			r.Aborted = true
		case message:
			r.Message = shownText(f.Value)
		}
	}
	if len(r.Elements) == 0 {
		return r, fmt.Errorf("reading a report without a status: %w", ErrReport)
	}
	return r, nil
}

func elementStatuses(b []byte) (all []ElementStatus, err error) {
	const status, identification, offset = 0x80, 0x81, 0x83
	items, err := tlv.ParseAll(b)
	if err != nil {
		return nil, fmt.Errorf("reading the statuses of a report: %w", ErrReport)
	}
	for _, item := range items {
		fields, err := tlv.ParseAll(item.Value)
		if err != nil {
			return nil, fmt.Errorf("reading a status of a report: %w", ErrReport)
		}
		s := ElementStatus{Status: -1}
		for _, f := range fields {
			n, ok := smallNumber(f.Value)
			if !ok {
				return nil, fmt.Errorf("reading a status of a report: %w", ErrReport)
			}
			switch f.Tag {
			case status:
				s.Status = n
			case identification:
				s.PE = n
			case offset:
				s.Offset = n
			}
		}
		if s.Status < 0 {
			return nil, fmt.Errorf("reading a status of a report: %w", ErrReport)
		}
		all = append(all, s)
	}
	return all, nil
}

// smallNumber reads an INTEGER that is not negative and has at most three bytes.
func smallNumber(b []byte) (int, bool) {
	const most = 4
	if len(b) == 0 || len(b) > most || b[0]&0x80 != 0 {
		return 0, false
	}
	return int(binary.BigEndian.Uint32(append(make([]byte, most-len(b)), b...))), true
}

// shownText is a chip's text without what a terminal or a log would take amiss.
func shownText(b []byte) string {
	const most = 80
	return string(bytes.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '.'
		}
		return c
	}, b[:min(len(b), most)]))
}

// Installed says whether the whole profile is on the chip.
func (r Report) Installed() bool {
	for _, e := range r.Elements {
		if e.Status != 0 {
			return false
		}
	}
	return !r.Aborted && len(r.Elements) > 0
}

// String is "element 7: status 6 at byte 35 (a code with …)".
func (r Report) String() string {
	var b bytes.Buffer
	for i, e := range r.Elements {
		if i > 0 {
			b.WriteString(", ")
		}
		if e.PE > 0 {
			fmt.Fprintf(&b, "element %d: ", e.PE)
		}
		fmt.Fprintf(&b, "status %d", e.Status)
		if e.Offset > 0 {
			fmt.Fprintf(&b, " at byte %d", e.Offset)
		}
	}
	if r.Message != "" {
		fmt.Fprintf(&b, " (%s)", r.Message)
	}
	return b.String()
}
