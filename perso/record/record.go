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
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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

// Kind reads a record's kind without reading its fields.
func Kind(b []byte) (string, error) {
	line, _, ok := bytes.Cut(b, []byte{'\n'})
	kind, magic := strings.CutPrefix(string(line), Magic)
	if !ok || !magic || kind == "" {
		return "", fmt.Errorf("%w: first line is not %q and a kind", ErrForm, strings.TrimSpace(Magic))
	}
	return kind, nil
}

// Reader takes fields in their prescribed order. The first fault sticks and is returned by Done.
type Reader struct {
	rest []byte
	line int
	err  error
}

// Parse checks size and kind, and returns a reader of the fields.
func Parse(b []byte, kind string) (*Reader, error) {
	if len(b) > MaxRecordBytes {
		return nil, fmt.Errorf("%w: %d bytes exceed %d", ErrForm, len(b), MaxRecordBytes)
	}
	got, err := Kind(b)
	if err != nil {
		return nil, err
	}
	if got != kind {
		return nil, fmt.Errorf("%w: kind is %q, want %q", ErrForm, got, kind)
	}
	_, rest, _ := bytes.Cut(b, []byte{'\n'})
	return &Reader{rest: rest, line: 1}, nil
}

func (r *Reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: line %d: %s", ErrForm, r.line, fmt.Sprintf(format, a...))
	}
}

// Raw takes the next field as it is spelt.
func (r *Reader) Raw(key string) string {
	if r.err != nil {
		return ""
	}
	r.line++
	line, rest, ok := bytes.Cut(r.rest, []byte{'\n'})
	if !ok {
		r.fail("field %q is missing", key)
		return ""
	}
	k, v, ok := strings.Cut(string(line), " ")
	if !ok || k != key {
		r.fail("field is %q, want %q", k, key)
		return ""
	}
	if err := checkValue(v); err != nil {
		r.fail("field %q: %v", key, err)
		return ""
	}
	r.rest = rest
	return v
}

// Str takes a text field; "-" reads as empty.
func (r *Reader) Str(key string) string {
	v := r.Raw(key)
	if v == None {
		return ""
	}
	return v
}

// Uint takes a decimal number of at most bits bits without leading zeros.
func (r *Reader) Uint(key string, bits int) uint64 {
	v := r.Raw(key)
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != v {
		r.fail("field %q is not a plain number of %d bits", key, bits)
	}
	return n
}

// Hex takes bytes in lower-case hex; "-" reads as nil.
func (r *Reader) Hex(key string) []byte {
	v := r.Raw(key)
	if r.err != nil || v == None {
		return nil
	}
	b, err := hex.DecodeString(v)
	if err != nil || hex.EncodeToString(b) != v {
		r.fail("field %q is not lower-case hex", key)
		return nil
	}
	return b
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
	b := r.Hex(key)
	if r.err != nil || b == nil {
		return h
	}
	if len(b) != len(h) || [32]byte(b) == h {
		r.fail("field %q is not %d bytes that differ from zero", key, len(h))
		return h
	}
	return [32]byte(b)
}

// Time takes a time in TimeForm.
func (r *Reader) Time(key string) time.Time {
	v := r.Raw(key)
	if r.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(TimeForm, v)
	if err != nil || t.UTC().Format(TimeForm) != v {
		r.fail("field %q is not a time like %s", key, TimeForm)
	}
	return t.UTC()
}

// Check records a caller's own refusal of the field just read.
func (r *Reader) Check(err error) {
	if err != nil {
		r.fail("%v", err)
	}
}

// More reports whether fields are left and none failed.
func (r *Reader) More() bool { return r.err == nil && len(r.rest) > 0 }

// Done returns the first fault, or a fault when fields are left.
func (r *Reader) Done() error {
	if r.err == nil && len(r.rest) > 0 {
		r.line++
		r.fail("unexpected text after the last field")
	}
	return r.err
}
