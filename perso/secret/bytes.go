// Package secret holds key material that must not reach a log, a message, a
// file or an error text by accident.
//
// A Bytes keeps its content behind a closure. Methods such as String or
// MarshalJSON protect a value only where a formatter may call them, which it
// may not for an unexported field of a struct; there it walks the memory by
// reflection, and reflection cannot enter a closure. The methods make the rest
// plain: printing says "[secret]", and marshalling is an error rather than a
// placeholder, because a placeholder in a database column is a lost key.
//
// The only way to the content is Reveal, which lends a copy and wipes it
// afterwards. Every package may hold a Bytes and hand it on; only code that
// needs the key for a cryptographic operation or a script should reveal it.
//
// Wiping is as good as Go allows: the copies made by this package are
// overwritten, copies made by callees of Reveal are their own duty.
package secret

import (
	"bytes"
	"crypto/subtle"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrNoMarshal is returned by every marshalling and unmarshalling method.
var ErrNoMarshal = errors.New("marshalling a secret is refused")

// ErrEmpty is returned by Reveal when there is nothing, or nothing any more.
var ErrEmpty = errors.New("revealing a secret that is empty or wiped")

const placeholder = "[secret]"

// Bytes is a secret. Copies share one content: wiping one wipes all. The zero
// value is empty. It is safe for concurrent use as long as Wipe is called only
// when no other call is running.
type Bytes struct{ open func() *[]byte }

// New takes b over: the content is copied and b is zeroed.
func New(b []byte) Bytes {
	content := bytes.Clone(b)
	clear(b)
	return Bytes{open: func() *[]byte { return &content }}
}

// Reveal calls use with a copy of the content and returns its error. The slice
// is zeroed when use returns or panics; use may write to it but not keep it.
func (b Bytes) Reveal(use func([]byte) error) error {
	if b.IsZero() {
		return ErrEmpty
	}
	lent := bytes.Clone(*b.open())
	defer clear(lent)
	return use(lent)
}

// Len is the number of bytes; 0 when empty or wiped.
func (b Bytes) Len() int {
	if b.open == nil {
		return 0
	}
	return len(*b.open())
}

// IsZero reports whether there is nothing, or nothing any more.
func (b Bytes) IsZero() bool { return b.Len() == 0 }

// Equal compares in a time that depends on the lengths only. Nothing equals an
// empty secret, not even another one: two wiped keys are not a match.
func (b Bytes) Equal(other Bytes) bool {
	if b.IsZero() || other.IsZero() {
		return false
	}
	return subtle.ConstantTimeCompare(*b.open(), *other.open()) == 1
}

// Wipe overwrites the content, for all copies of b.
func (b Bytes) Wipe() {
	if b.open == nil {
		return
	}
	content := b.open()
	clear(*content)
	*content = nil
}

// Format prints "[secret]" for every verb.
func (Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, placeholder) }

// String is "[secret]".
func (Bytes) String() string { return placeholder }

// GoString is "[secret]".
func (Bytes) GoString() string { return placeholder }

// LogValue is "[secret]".
func (Bytes) LogValue() slog.Value { return slog.StringValue(placeholder) }

// MarshalText returns ErrNoMarshal.
func (Bytes) MarshalText() ([]byte, error) { return nil, ErrNoMarshal }

// MarshalBinary returns ErrNoMarshal.
func (Bytes) MarshalBinary() ([]byte, error) { return nil, ErrNoMarshal }

// MarshalJSON returns ErrNoMarshal.
func (Bytes) MarshalJSON() ([]byte, error) { return nil, ErrNoMarshal }

// GobEncode returns ErrNoMarshal.
func (Bytes) GobEncode() ([]byte, error) { return nil, ErrNoMarshal }

// Value returns ErrNoMarshal; it keeps a secret out of a database column.
func (Bytes) Value() (driver.Value, error) { return nil, ErrNoMarshal }

// UnmarshalText returns ErrNoMarshal.
func (*Bytes) UnmarshalText([]byte) error { return ErrNoMarshal }

// UnmarshalBinary returns ErrNoMarshal.
func (*Bytes) UnmarshalBinary([]byte) error { return ErrNoMarshal }

// UnmarshalJSON returns ErrNoMarshal.
func (*Bytes) UnmarshalJSON([]byte) error { return ErrNoMarshal }

// GobDecode returns ErrNoMarshal.
func (*Bytes) GobDecode([]byte) error { return ErrNoMarshal }

// Scan returns ErrNoMarshal.
func (*Bytes) Scan(any) error { return ErrNoMarshal }
