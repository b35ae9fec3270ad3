package id

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
)

// Number is an identifier that has a successor: EID, ICCID or IMSI.
type Number[T any] interface {
	comparable
	value
	String() string
	// advance counts n on and computes check digits anew. The receiver is not zero.
	advance(n uint64) (T, error)
	// sortKey sorts like the counted number.
	sortKey() [16]byte
	// shape is what all members of a range share beside their number.
	shape() [2]uint8
}

// Range is a run of consecutive identifiers, check digits not counted. It is
// comparable; the zero value is empty.
type Range[T Number[T]] struct {
	first, last T
	count       uint64
}

type (
	// EIDRange counts within the 22 digits after the issuer identification.
	EIDRange = Range[EID]
	// ICCIDRange counts within the body after its first ICCIDIINDigits.
	ICCIDRange = Range[ICCID]
	// IMSIRange counts within the subscriber part.
	IMSIRange = Range[IMSI]
)

// NewEIDRange is count EIDs from first on. It wraps ErrCarry when the issuer
// identification (EIDIINDigits) would change.
func NewEIDRange(first EID, count uint64) (EIDRange, error) { return NewRange(first, count) }

// NewICCIDRange is count ICCIDs of one length from first on. It wraps ErrCarry
// when one of the first ICCIDIINDigits would change.
func NewICCIDRange(first ICCID, count uint64) (ICCIDRange, error) { return NewRange(first, count) }

// NewIMSIRange is count IMSIs from first on. It wraps ErrCarry when the network
// code would change.
func NewIMSIRange(first IMSI, count uint64) (IMSIRange, error) { return NewRange(first, count) }

// NewRange is count identifiers of any kind from first on; the constructors by kind say when it wraps ErrCarry.
func NewRange[T Number[T]](first T, count uint64) (Range[T], error) {
	if first.IsZero() {
		return Range[T]{}, errors.New("making a range: the first identifier is none")
	}
	if count == 0 {
		return Range[T]{}, errors.New("making a range: the count is 0")
	}
	last, err := first.advance(count - 1)
	if err != nil {
		return Range[T]{}, fmt.Errorf("making a range: %w", err)
	}
	return Range[T]{first: first, last: last, count: count}, nil
}

// First is the lowest identifier.
func (r Range[T]) First() T { return r.first }

// Last is the highest identifier, itself in the range.
func (r Range[T]) Last() T { return r.last }

// Count is how many identifiers the range has.
func (r Range[T]) Count() uint64 { return r.count }

// At is the identifier i places after the first; i must be less than Count.
func (r Range[T]) At(i uint64) (T, error) {
	if i >= r.count {
		var none T
		return none, fmt.Errorf("taking an identifier from a range: index %d, the range has %d", i, r.count)
	}
	return r.first.advance(i)
}

// Index is the i for which At(i) is x, found by halving.
func (r Range[T]) Index(x T) (i uint64, ok bool) {
	if !r.Contains(x) {
		return 0, false
	}
	want := x.sortKey()
	for lo, hi := uint64(0), r.count; lo < hi; {
		mid := lo + (hi-lo)/2
		n, err := r.At(mid)
		if err != nil {
			return 0, false
		}
		key := n.sortKey()
		switch c := bytes.Compare(key[:], want[:]); {
		case c == 0:
			return mid, n == x
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// Contains reports whether x is At(i) for some i. An identifier of another
// length, or with a network code of another length, is not.
func (r Range[T]) Contains(x T) bool {
	if r.count == 0 || x.IsZero() || x.shape() != r.first.shape() {
		return false
	}
	lo, hi := r.Bounds()
	return within(x.sortKey(), lo, hi)
}

// Overlaps reports whether the same number could be issued out of both ranges.
// It is the wider question than Contains: an ICCID of 18 digits is the same
// number as those digits with a check digit, and an IMSI is the same number
// whatever the length of its network code.
func (r Range[T]) Overlaps(other Range[T]) bool {
	if r.count == 0 || other.count == 0 {
		return false
	}
	lo, hi := r.Bounds()
	first, last := other.Bounds()
	return within(first, lo, hi) || within(lo, first, last)
}

// Bounds are the first and last number as byte strings that compare as Overlaps
// does: two ranges of one kind overlap exactly when lo1 <= hi2 and lo2 <= hi1.
// They are right-aligned BCD without check digits; for an IMSI the first byte
// is the number of its digits. Both are all zero for an empty range.
func (r Range[T]) Bounds() (lo, hi [16]byte) {
	if r.count == 0 {
		return lo, hi
	}
	return r.first.sortKey(), r.last.sortKey()
}

// String is "first..last". For IMSIs it is personal data.
func (r Range[T]) String() string {
	if r.count == 0 {
		return ""
	}
	return r.first.String() + ".." + r.last.String()
}

// LogValue is String, with IMSIs masked.
func (r Range[T]) LogValue() slog.Value {
	if _, personal := any(r.first).(slog.LogValuer); !personal || r.count == 0 {
		return slog.StringValue(r.String())
	}
	return slog.StringValue(fmt.Sprintf("%s (%d)", slog.AnyValue(r.first).Resolve(), r.count))
}

func within(x, lo, hi [16]byte) bool {
	return bytes.Compare(lo[:], x[:]) <= 0 && bytes.Compare(x[:], hi[:]) <= 0
}
