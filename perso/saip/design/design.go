// Package design reads the description of a profile of our own from YAML, as deploy/profiles has it. It is apart from
// perso/saip so that whoever only renders cards does without a YAML reader. Commands and tests call it.
package design

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/persoline/persoline/perso/saip"
)

// MaxBytes bounds a description. The longest of ours has 6 KB.
const MaxBytes = 256 << 10

// Parse reads one description. A field that is not known, one that stands there twice, and a second document are errors
// that say the line.
func Parse(b []byte) (saip.Design, error) {
	if len(b) > MaxBytes {
		return saip.Design{}, fmt.Errorf("reading the description of a profile: %d bytes, at most %d", len(b), MaxBytes)
	}
	var d saip.Design
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return saip.Design{}, fmt.Errorf("reading the description of a profile: %w", err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return saip.Design{}, errors.New("reading the description of a profile: it holds more than one document")
	}
	return d, nil
}
