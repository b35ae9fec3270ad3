package transcript

import (
	"bytes"
	"fmt"

	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// separator stands between the parts of a File: no line of a record or a signature is like it.
const separator = "==\n"

// MaxFileBytes bounds a transcript: an order and a register of full size, and three steps for each act.
const MaxFileBytes = 4 << 20

// maxRegister bounds the statements of a register in one file: all officers of a site, joining and leaving some times.
const maxRegister = 8 * statement.MaxOfficers

// File is a whole transcript. Register is the officer register's chain as it stands at the end; the order says which of
// its statements was the head at the beginning.
type File struct {
	Register []statement.Signed
	Order    statement.Signed
	Steps    [][]byte // encoded, in order
	End      statement.Signed
}

// Encode writes the parts, each as a statement with its signatures (steps have none), a line "==" between two.
func (f File) Encode() []byte {
	var parts [][]byte
	for _, s := range f.Register {
		parts = append(parts, s.Encode())
	}
	parts = append(parts, f.Order.Encode())
	for _, s := range f.Steps {
		parts = append(parts, statement.Signed{Body: s}.Encode())
	}
	return bytes.Join(append(parts, f.End.Encode()), []byte(separator))
}

// Decode reads what Encode wrote; any other spelling is refused. It checks form, not truth: see Chain.Follow.
func Decode(b []byte) (File, error) {
	if len(b) > MaxFileBytes {
		return File{}, fault("file", "%d bytes exceed %d", len(b), MaxFileBytes)
	}
	var f File
	line, parts := 1, bytes.Split(b, []byte("\n"+separator))
	for i, p := range parts {
		if i < len(parts)-1 {
			p = append(bytes.Clone(p), '\n')
		}
		place := fmt.Sprintf("line %d", line)
		line += bytes.Count(p, []byte("\n")) + 1
		s, err := statement.DecodeSigned(p)
		if err != nil {
			return File{}, fault(place, "%v", err)
		}
		if err := f.add(place, s, i == len(parts)-1); err != nil {
			return File{}, err
		}
	}
	if !bytes.Equal(f.Encode(), b) {
		return File{}, fault("file", "%v", record.ErrForm)
	}
	return f, nil
}

// add takes the next part; register, order, steps and end come in this order.
func (f *File) add(place string, s statement.Signed, last bool) error {
	kind, err := record.Kind(s.Body)
	if err != nil {
		return fault(place, "%v", err)
	}
	ordered := len(f.Order.Body) > 0
	switch {
	case last && kind == KindEnd && ordered:
		f.End = s
	case !ordered && !last && kind == KindOrder:
		f.Order = s
	case !ordered && !last && (kind == statement.KindGenesis || kind == statement.KindAdd || kind == statement.KindRevoke) && len(f.Register) < maxRegister:
		f.Register = append(f.Register, s)
	case ordered && !last && kind == KindStep && len(s.Signatures) == 0 && len(f.Steps) < 3*MaxActs:
		f.Steps = append(f.Steps, s.Body)
	case last:
		return fault(place, "it ends with a %q, not with a signed %q: the ceremony was not finished, or the file is cut off", kind, KindEnd)
	default:
		return fault(place, "a %q does not belong here", kind)
	}
	return nil
}

// Fault says where a transcript does not hold, and why.
type Fault struct {
	Place string
	What  string
}

// Error is "place: what".
func (f *Fault) Error() string { return f.Place + ": " + f.What }

func fault(place, format string, a ...any) error {
	return &Fault{Place: place, What: fmt.Sprintf(format, a...)}
}
