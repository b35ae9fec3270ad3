// Package kifile is the file in which an operator sends his own Ki for an order (ki_source "customer"): one row for each
// unit, Ki under a key that only the vault can use.
//
// It exists so that such a file is refused with every fault it has, before anything costs; and so that the vault, which
// sees one row at a time through a database that it does not trust, can tell that the row is the one the officers
// released for the unit: the release names the file's root, and a row comes with its proof.
//
// Contract. Parse is the only door and finds all faults; a File is for one order, complete, in the order of its units, and
// has one canonical form (Encode). Ki is never here in clear: a row holds what the operator encrypted, and a check value.
// Faults never quote an IMSI, a Ki or a line. The package does no I/O but through the reader that it is given. Order intake
// and the ledger parse; the vault reads rows (CheckRow). KIFILE.md describes the file.
//
// Sources: RFC 6962 §2.1 (tree and proofs, as in golang.org/x/mod/sumdb/tlog), GlobalPlatform Amendment D §7.2 (check
// value).
package kifile

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/form"
)

const (
	// Format is the value of the first header line.
	Format = "persoline-ki/1"
	// MaxLineBytes bounds a line: a row of the longest values has 110 characters.
	MaxLineBytes = 512
	// MaxLines bounds a file: a row for each unit of the largest order, and as much again of comments and blank lines.
	MaxLines = 2 * order.MaxQuantity

	// MaxFileBytes bounds a file: the largest order, with room for values of 32 bytes and for comments.
	MaxFileBytes = 128 * order.MaxQuantity

	// KCVBytes is the length of a check value: the first bytes of AES(Ki, 16 × 01).
	KCVBytes = 3

	columns      = "ICCID/IMSI/EKI/KI_KCV"
	columnsField = "var_in"
)

// Mode is how a Ki is under the receive key. For a Ki of one block both are the same.
type Mode string

// The modes.
const (
	ModeECB Mode = "AES-ECB"
	ModeCBC Mode = "AES-CBC-0" // zero IV
)

// ParseMode reads "AES-ECB" or "AES-CBC-0".
func ParseMode(s string) (Mode, error) {
	if m := Mode(s); m == ModeECB || m == ModeCBC {
		return m, nil
	}
	return "", fmt.Errorf("%.20q is neither %q nor %q", s, ModeECB, ModeCBC)
}

// Row is one unit's Ki as received.
type Row struct {
	EKI []byte // 16 or 32 bytes under the receive key
	KCV [KCVBytes]byte
}

// File is a customer key file. Parse it.
type File struct {
	Order      order.ID
	ReceiveKey perso.Name
	Mode       Mode
	iccids     id.ICCIDRange
	imsis      id.IMSIRange
	rows       []Row
	lines      []int32 // of the rows, in the file that was parsed
}

// Want is what the order says, to which the file must fit.
type Want struct {
	Order       order.ID
	ICCIDs      id.ICCIDRange
	IMSIs       id.IMSIRange
	Total       uint64       // good units and spares
	ReceiveKeys []perso.Name // keys that Ki may be under; any when there are none
	KiBytes     int          // length of a Ki; 0 for either
}

// WantOf is what an order that was checked against the catalogue wants.
func WantOf(o order.Order, site order.Site) Want {
	p, _ := site.Provider(o.Provider)
	return Want{Order: o.ID, ICCIDs: o.ICCID, IMSIs: o.IMSI, Total: o.Total(), ReceiveKeys: p.ReceiveKeys, KiBytes: order.CustomerKiBytes}
}

// Under says which key Ki are under, and how.
type Under struct {
	Key  perso.Name
	Mode Mode
}

// New makes a file of the rows of all units, as its sender has it.
func New(want Want, under Under, rows []Row) (*File, error) {
	f := &File{Order: want.Order, ReceiveKey: under.Key, Mode: under.Mode, iccids: want.ICCIDs, imsis: want.IMSIs, rows: rows}
	text, err := f.Encode()
	if err != nil {
		return nil, err
	}
	return Parse(bytes.NewReader(text), want)
}

// Rows is the number of rows: one for each unit, from 0.
func (f *File) Rows() uint64 { return uint64(len(f.rows)) }

// Row is the row of a unit.
func (f *File) Row(u perso.Unit) (Row, error) {
	if uint64(u) >= f.Rows() {
		return Row{}, fmt.Errorf("reading Ki of unit %d: the file has %d rows", u, f.Rows())
	}
	return f.rows[u], nil
}

// Line is the line of a unit's row in the file that was parsed, for a fault that only the vault can see.
func (f *File) Line(u perso.Unit) int {
	if uint64(u) >= uint64(len(f.lines)) {
		return 0
	}
	return int(f.lines[u])
}

// Parse reads a file and compares every line with the order. All faults come in one *form.FaultList, each with its line;
// another error is the reader's.
func Parse(r io.Reader, want Want) (*File, error) {
	p := &parser{want: want, file: &File{iccids: want.ICCIDs, imsis: want.IMSIs}, seen: map[string]int{}, ekis: map[string]int{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, MaxLineBytes), MaxLineBytes)
	for lines.Scan() {
		if p.line++; p.line > MaxLines {
			p.fault("", fmt.Sprintf("the file has more than %d lines", MaxLines), "this is the wrong file")
			break
		}
		p.take(strings.TrimSuffix(lines.Text(), "\r"))
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		p.line++
		p.fault("", fmt.Sprintf("the line is longer than %d bytes", MaxLineBytes), "this is the wrong file")
	} else if err != nil {
		return nil, fmt.Errorf("reading customer key file: %w", err)
	}
	p.end()
	if err := p.faults.Err(); err != nil {
		return nil, err
	}
	return p.file, nil
}

// parser takes one line after another.
type parser struct {
	want   Want
	file   *File
	line   int
	rows   uint64         // seen, right or wrong
	seen   map[string]int // header fields, by line
	ekis   map[string]int // lines by EKI: two equal ones are one Ki on two cards
	faults form.FaultList
}

func (p *parser) fault(field, reason, hint string) {
	p.faults.Add(form.Fault{Field: field, Reason: reason, Hint: hint, Line: p.line, Column: 1})
}

func (p *parser) take(line string) {
	text := strings.TrimSpace(line)
	switch {
	case text == "" || strings.HasPrefix(text, "*"): // rules and headings, as other files of the trade have them
	case p.seen[columnsField] > 0:
		p.row(text)
	default:
		p.header(text)
	}
}

func (p *parser) header(text string) {
	name, value, ok := strings.Cut(text, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok {
		p.fault("", "the line is neither \"field: value\" nor a row below var_in", "")
		return
	}
	if first := p.seen[name]; first > 0 {
		p.fault(name, fmt.Sprintf("the field stands in line %d already", first), "keep one of them")
		return
	}
	var err error
	switch name {
	case "Format":
		err = equal(value, Format)
	case "Order":
		err = equal(value, string(p.want.Order))
		p.file.Order = p.want.Order
	case "Receive_key":
		p.file.ReceiveKey, err = p.receiveKey(value)
	case "Receive_mode":
		p.file.Mode, err = ParseMode(value)
	case "Quantity":
		err = equal(value, strconv.FormatUint(p.want.Total, 10))
	case columnsField:
		err = equal(value, columns)
	default:
		p.fault(printable(name), "the field is unknown", "")
		return
	}
	p.seen[name] = p.line
	if err != nil {
		p.fault(name, err.Error(), "")
	}
}

func (p *parser) receiveKey(value string) (perso.Name, error) {
	key, err := perso.ParseName(value)
	if keys := p.want.ReceiveKeys; err == nil && len(keys) > 0 && !slices.Contains(keys, key) {
		return "", fmt.Errorf("is %.60q, the order's provider has %q", value, keys)
	}
	return key, err
}

// printable is a name from the file, fit for a report.
func printable(name string) string {
	if len(name) > 40 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("%.40q", name)
	}
	return name
}

func equal(got, want string) error {
	if got != want {
		return fmt.Errorf("is %.60q, the order wants %q", got, want)
	}
	return nil
}

// row reads the row of the next unit.
func (p *parser) row(text string) {
	unit := p.rows
	p.rows++
	if unit >= p.want.Total {
		if unit == p.want.Total {
			p.fault("", fmt.Sprintf("the file has more rows than the %d units of the order", p.want.Total), "")
		}
		return
	}
	cells := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == ';' })
	if len(cells) != 4 {
		p.fault("", fmt.Sprintf("the row has %d values, wanted are %s", len(cells), columns), "")
		return
	}
	p.identity(unit, cells[0], cells[1])
	var row Row
	var err error
	if row.EKI, err = hex.DecodeString(cells[2]); err != nil || len(row.EKI) != 16 && len(row.EKI) != 32 {
		p.fault("EKI", "the value is not 16 or 32 bytes in hexadecimal", "")
	} else if n := p.want.KiBytes; n > 0 && len(row.EKI) != n {
		p.fault("EKI", fmt.Sprintf("the value has %d bytes, a Ki of the order's algorithm has %d", len(row.EKI), n), "")
	} else if first := p.ekis[string(row.EKI)]; first > 0 {
		p.fault("EKI", fmt.Sprintf("the value is that of line %d: two cards would have one Ki", first), "")
	} else if p.ekis[string(row.EKI)] = p.line; len(p.file.rows) > 0 && len(row.EKI) != len(p.file.rows[0].EKI) {
		p.fault("EKI", "the value is of another length than the one of the first row", "")
	}
	kcv, err := hex.DecodeString(cells[3])
	if err != nil || len(kcv) != KCVBytes {
		p.fault("KI_KCV", fmt.Sprintf("the check value is not %d bytes in hexadecimal", KCVBytes), "")
	}
	copy(row.KCV[:], kcv)
	p.file.rows, p.file.lines = append(p.file.rows, row), append(p.file.lines, int32(p.line))
}

// identity demands that the row is the unit's own.
func (p *parser) identity(unit uint64, iccid, imsi string) {
	wantICCID, err := p.want.ICCIDs.At(unit)
	if err == nil && strings.TrimRight(iccid, "Ff") != wantICCID.String() {
		p.fault("ICCID", fmt.Sprintf("it is not %s, which the order has for unit %d", wantICCID, unit), "give one row for each unit, in the order of the range")
	}
	wantIMSI, errIMSI := p.want.IMSIs.At(unit)
	if errIMSI == nil && imsi != wantIMSI.String() {
		p.fault("IMSI", fmt.Sprintf("it is not the one that the order has for unit %d", unit), "give one row for each unit, in the order of the range")
	}
	if err := errors.Join(err, errIMSI); err != nil {
		p.fault("", err.Error(), "")
	}
}

// end finds what is missing.
func (p *parser) end() {
	p.line = 0 // of the file as a whole
	for _, name := range []string{"Format", "Order", "Receive_key", "Receive_mode", "Quantity", columnsField} {
		if p.seen[name] == 0 {
			p.faults.Add(form.Fault{Field: name, Reason: "the field is missing"})
		}
	}
	if p.rows < p.want.Total {
		p.faults.Add(form.Fault{Reason: fmt.Sprintf("the file has %d rows, the order %d units", p.rows, p.want.Total), Hint: "it was cut off, or is for another order"})
	}
}

// Encode is the canonical form, which Parse reads back as the same file. It holds IMSIs.
func (f *File) Encode() ([]byte, error) {
	var b bytes.Buffer
	for _, l := range [][2]string{{"Format", Format}, {"Order", string(f.Order)}, {"Receive_key", string(f.ReceiveKey)},
		{"Receive_mode", string(f.Mode)}, {"Quantity", strconv.FormatUint(f.Rows(), 10)}, {columnsField, columns}} {
		fmt.Fprintf(&b, "%s: %s\n", l[0], l[1])
	}
	for i, r := range f.rows {
		iccid, err := f.iccids.At(uint64(i))
		if err != nil {
			return nil, fmt.Errorf("encoding row of unit %d: %w", i, err)
		}
		imsi, err := f.imsis.At(uint64(i))
		if err != nil {
			return nil, fmt.Errorf("encoding row of unit %d: %w", i, err)
		}
		fmt.Fprintf(&b, "%s %s %X %X\n", iccid, imsi.String(), r.EKI, r.KCV)
	}
	return b.Bytes(), nil
}
