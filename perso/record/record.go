// Package record is the one canonical text form of everything that is signed or logged: officers' statements, log
// entries, receipts.
//
// A record is a first line "persoline/1 <kind>" and then one line "key value" per field, in the order that the kind
// prescribes. An auditor reads it with cat; a program reads it with Parse, which accepts one spelling only: re-encoding
// what was read gives the same bytes. Any zone may use it. The format is described in ledger/FORMAT.md.
package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/persoline/persoline/perso"
)

// Magic begins each record; the number is the version of the form.
const Magic = "persoline/1 "

// MaxRecordBytes is the most that a log entry may hold: C2SP tlog-tiles gives an entry a 16-bit length.
const MaxRecordBytes = 65_535

// MaxValueBytes bounds one field; anything larger enters by hash.
const MaxValueBytes = 16_384

// TimeForm is UTC with microseconds, always all digits, so that a time has one spelling.
const TimeForm = "2006-01-02T15:04:05.000000Z"

// None is the spelling of an absent value.
const None = "-"

// ErrForm is wrapped by every refusal of Parse and of the Reader.
var ErrForm = errors.New("record is not in canonical form")

// Writer builds one record. The first fault sticks and is returned by Bytes.
type Writer struct {
	buf []byte
	err error
}

// New begins a record of a kind.
func New(kind string) *Writer {
	w := &Writer{buf: make([]byte, 0, 384)}
	w.buf = append(w.buf, Magic...)
	w.buf = append(w.buf, kind...)
	w.buf = append(w.buf, '\n')
	return w
}

// Str adds a text field. Empty text is spelt "-".
func (w *Writer) Str(key, value string) *Writer {
	if value == "" {
		value = None
	}
	if err := checkValue(value); err != nil && w.err == nil {
		w.err = fmt.Errorf("encoding field %q: %w", key, err)
	}
	w.buf = append(w.buf, key...)
	w.buf = append(w.buf, ' ')
	w.buf = append(w.buf, value...)
	w.buf = append(w.buf, '\n')
	return w
}

// Uint adds a decimal number.
func (w *Writer) Uint(key string, v uint64) *Writer {
	w.buf = append(w.buf, key...)
	w.buf = append(w.buf, ' ')
	w.buf = strconv.AppendUint(w.buf, v, 10)
	w.buf = append(w.buf, '\n')
	return w
}

// Hex adds bytes in lower-case hex; empty bytes are "-".
func (w *Writer) Hex(key string, v []byte) *Writer {
	if hex.EncodedLen(len(v)) > MaxValueBytes && w.err == nil {
		w.err = fmt.Errorf("encoding field %q: %d bytes in hex exceed %d", key, len(v), MaxValueBytes)
	}
	w.buf = append(w.buf, key...)
	w.buf = append(w.buf, ' ')
	if len(v) == 0 {
		w.buf = append(w.buf, None...)
	} else {
		w.buf = hex.AppendEncode(w.buf, v)
	}
	w.buf = append(w.buf, '\n')
	return w
}

// Time adds a time in TimeForm.
func (w *Writer) Time(key string, t time.Time) *Writer {
	if year := t.UTC().Year(); (year < 0 || year > 9999) && w.err == nil {
		w.err = fmt.Errorf("encoding field %q: year %d has not four digits", key, year)
	}
	w.buf = append(w.buf, key...)
	w.buf = append(w.buf, ' ')
	w.buf = t.UTC().AppendFormat(w.buf, TimeForm)
	w.buf = append(w.buf, '\n')
	return w
}

// Bytes ends the record.
func (w *Writer) Bytes() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	if len(w.buf) > MaxRecordBytes {
		return nil, fmt.Errorf("record of %d bytes exceeds %d", len(w.buf), MaxRecordBytes)
	}
	return w.buf, nil
}

func checkValue(v string) error {
	if plain(v) { // nearly all are
		return nil
	}
	if len(v) > MaxValueBytes {
		return fmt.Errorf("value of %d bytes exceeds %d", len(v), MaxValueBytes)
	}
	if !utf8.ValidString(v) {
		return fmt.Errorf("%w: value is not UTF-8", ErrForm)
	}
	if strings.TrimSpace(v) != v || v == "" {
		return fmt.Errorf("%w: value is empty or padded with blanks", ErrForm)
	}
	for _, r := range v {
		if unicode.IsControl(r) || r == utf8.RuneError || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("%w: value holds a control character", ErrForm)
		}
	}
	return nil
}

// plain reports whether a value is printable ASCII without a blank at either end.
func plain[T string | []byte](v T) bool {
	if len(v) == 0 || len(v) > MaxValueBytes || v[0] == ' ' || v[len(v)-1] == ' ' {
		return false
	}
	for i := range len(v) {
		if v[i]-' ' > '~'-' ' {
			return false
		}
	}
	return true
}

// Kind reads a record's kind without reading its fields.
func Kind(b []byte) (string, error) {
	kind, _, err := cutKind(b)
	return string(kind), err
}

// cutKind takes a record's first line off.
func cutKind(b []byte) (kind, rest []byte, err error) {
	line, rest, ok := bytes.Cut(b, []byte{'\n'})
	kind, magic := bytes.CutPrefix(line, []byte(Magic))
	if !ok || !magic || len(kind) == 0 {
		return nil, nil, fmt.Errorf("%w: first line is not %q and a kind", ErrForm, strings.TrimSpace(Magic))
	}
	return kind, rest, nil
}

// Reader takes fields in their prescribed order. The first fault sticks and is returned by Done.
type Reader struct {
	rest []byte
	line int
	err  error
}

// Parse checks size and kind, and returns a reader of the fields.
func Parse(b []byte, kind string) (*Reader, error) { // so short that it is inlined, and a reader that stays with its caller is no allocation
	rest, err := fieldsOf(b, kind)
	return &Reader{rest: rest, line: 1, err: err}, err
}

// fieldsOf is what follows a record's first line.
func fieldsOf(b []byte, kind string) ([]byte, error) {
	if len(b) > MaxRecordBytes {
		return nil, fmt.Errorf("%w: %d bytes exceed %d", ErrForm, len(b), MaxRecordBytes)
	}
	got, rest, err := cutKind(b)
	if err != nil {
		return nil, err
	}
	if string(got) != kind {
		return nil, fmt.Errorf("%w: kind is %q, want %q", ErrForm, got, kind)
	}
	return rest, nil
}

func (r *Reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: line %d: %s", ErrForm, r.line, fmt.Sprintf(format, a...))
	}
}

// value takes the next field as it is spelt: a part of the record, nil after a fault. An auditor reads fields by the hundred
// million, so none is copied before it has its type.
func (r *Reader) value(key string) []byte {
	if r.err != nil {
		return nil
	}
	r.line++
	end := bytes.IndexByte(r.rest, '\n')
	if end < 0 {
		r.fail("field %q is missing", key)
		return nil
	}
	line := r.rest[:end]
	if len(line) <= len(key) || line[len(key)] != ' ' || string(line[:len(key)]) != key {
		k, _, _ := bytes.Cut(line, []byte{' '})
		r.fail("field is %q, want %q", k, key)
		return nil
	}
	v := line[len(key)+1:]
	if !plain(v) {
		if err := checkValue(string(v)); err != nil {
			r.fail("field %q: %v", key, err)
			return nil
		}
	}
	r.rest = r.rest[end+1:]
	return v
}

// Raw takes the next field as it is spelt.
func (r *Reader) Raw(key string) string { return string(r.value(key)) }

// Str takes a text field; "-" reads as empty.
func (r *Reader) Str(key string) string {
	v := r.value(key)
	if string(v) == None {
		return ""
	}
	return string(v)
}

// Name takes a name that must be there.
func (r *Reader) Name(key string) perso.Name {
	n, err := perso.ParseName(r.Raw(key))
	r.Check(err)
	return n
}

// OptName takes a name, or "-" for none.
func (r *Reader) OptName(key string) perso.Name {
	v := r.value(key)
	if r.err != nil || string(v) == None {
		return ""
	}
	n, err := perso.ParseName(string(v))
	r.Check(err)
	return n
}

// Uint takes a decimal number of at most bits bits without leading zeros.
func (r *Reader) Uint(key string, bits int) uint64 {
	v := r.value(key)
	if r.err != nil {
		return 0
	}
	n, ok := decimal(v)
	if !ok || bits < 64 && n>>bits != 0 {
		r.fail("field %q is not a plain number of %d bits", key, bits)
		return 0
	}
	return n
}

// decimal reads digits in their only spelling.
func decimal(v []byte) (n uint64, ok bool) {
	const digits = 20 // of 2^64
	if len(v) == 0 || len(v) > digits || v[0] == '0' && len(v) > 1 {
		return 0, false
	}
	for _, c := range v {
		d := uint64(c - '0')
		high, low := bits.Mul64(n, 10)
		if d > 9 || high != 0 || low+d < low {
			return 0, false
		}
		n = low + d
	}
	return n, true
}

// Hex takes bytes in lower-case hex; "-" reads as nil.
func (r *Reader) Hex(key string) []byte {
	v := r.value(key)
	if r.err != nil || string(v) == None {
		return nil
	}
	b := make([]byte, len(v)/2)
	if len(v)%2 != 0 || !unhex(b, v) {
		r.fail("field %q is not lower-case hex", key)
		return nil
	}
	return b
}

// nibbles are the values of lower-case hex digits; 0xFF for what is none.
var nibbles = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xFF
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	return t
}()

// unhex fills to from twice as many digits.
func unhex(to, digits []byte) bool {
	var wrong byte
	for i := range to {
		high, low := nibbles[digits[2*i]], nibbles[digits[2*i+1]]
		wrong |= high | low
		to[i] = high<<4 | low&0x0F
	}
	return wrong <= 0x0F
}

// Hash takes exactly 32 bytes of hex that are not all zero.
func (r *Reader) Hash(key string) (h [32]byte) {
	h = r.OptHash(key)
	if r.err == nil && h == [32]byte{} {
		r.fail("field %q is absent", key)
	}
	return h
}

// OptHash takes 32 bytes of hex, or "-" for the zero value, whose only spelling that is.
func (r *Reader) OptHash(key string) (h [32]byte) {
	v := r.value(key)
	if r.err != nil || string(v) == None {
		return h
	}
	if len(v) != 2*len(h) || !unhex(h[:], v) || h == [32]byte{} {
		r.fail("field %q is not %d bytes of lower-case hex that differ from zero", key, len(h))
		return [32]byte{}
	}
	return h
}

// Time takes a time in TimeForm.
func (r *Reader) Time(key string) time.Time {
	v := r.value(key)
	if r.err != nil {
		return time.Time{}
	}
	t, ok := parseTime(v)
	if !ok {
		r.fail("field %q is not a time like %s", key, TimeForm)
		return time.Time{}
	}
	return t
}

// parseTime reads TimeForm, whose only spelling has digits where the form has some, and a day and a time that there are.
func parseTime(v []byte) (time.Time, bool) {
	if len(v) != len(TimeForm) {
		return time.Time{}, false
	}
	var n [7]int // year, month, day, hour, minute, second, microsecond
	field := 0
	for i, c := range v {
		form := TimeForm[i]
		switch {
		case form >= '0' && form <= '9':
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
			n[field] = 10*n[field] + int(c-'0')
		case c != form:
			return time.Time{}, false
		default:
			field++
		}
	}
	t := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], n[6]*1000, time.UTC)
	y, m, d := t.Date() // what is out of range has moved on
	hour, minute, second := t.Clock()
	return t, y == n[0] && int(m) == n[1] && d == n[2] && hour == n[3] && minute == n[4] && second == n[5]
}

// Check records a caller's own refusal of the field just read.
func (r *Reader) Check(err error) {
	if err != nil {
		r.fail("%v", err)
	}
}

// More reports whether fields are left and none failed.
func (r *Reader) More() bool { return r.err == nil && len(r.rest) > 0 }

// Next reports whether the next field has this key, for one that is there only when it says something.
func (r *Reader) Next(key string) bool { return r.More() && bytes.HasPrefix(r.rest, []byte(key+" ")) }

// Done returns the first fault, or a fault when fields are left.
func (r *Reader) Done() error {
	if r.err == nil && len(r.rest) > 0 {
		r.line++
		r.fail("unexpected text after the last field")
	}
	return r.err
}
