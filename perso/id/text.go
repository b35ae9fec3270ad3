package id

import "errors"

var (
	errNone         = errors.New("marshalling an identifier that is none")
	errNotCanonical = errors.New("not the canonical text of an identifier")
)

// value is what the marshalling methods of every identifier build on.
type value interface {
	IsZero() bool
	// text is the canonical spelling, which parse must map back to the value.
	text() string
}

func marshal(v value) ([]byte, error) {
	if v.IsZero() {
		return nil, errNone
	}
	return []byte(v.text()), nil
}

func unmarshal[T value](dst *T, text []byte, parse func(string) (T, error)) error {
	v, err := parse(string(text))
	if err != nil {
		return err
	}
	if v.text() != string(text) {
		return errNotCanonical
	}
	*dst = v
	return nil
}
