package saip

import (
	"fmt"
	"strings"
)

// Place is where in a package something is. The zero place is the package as a whole.
type Place struct {
	Offset  int    // byte from the start of the package, at the tag of what is meant
	PE      int    // number of the profile element, from 1; 0 outside of any
	Element string // name of the profile element, as in "usim"
	Path    string // the field in it, as in "ef-imsi[0].efFileSize"
}

// String is "byte 2611: PE 8 usim: ef-imsi[0].efFileSize".
func (p Place) String() string {
	parts := []string{fmt.Sprintf("byte %d", p.Offset)}
	if p.PE > 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("PE %d %s", p.PE, p.Element)))
	}
	if p.Path != "" {
		parts = append(parts, p.Path)
	}
	return strings.Join(parts, ": ")
}

// Fault is one thing that is wrong with a package.
type Fault struct {
	Place
	Reason string
	// Note marks what a chip bears though it is not as it should be. It is told, and refuses nothing.
	Note bool
}

func (f *Fault) Error() string { return f.Place.String() + ": " + f.Reason }

// Faults are all that is wrong, in the order of the package.
type Faults []*Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Refusing are the faults that refuse the package.
func (f Faults) Refusing() (refusing Faults) {
	for _, one := range f {
		if !one.Note {
			refusing = append(refusing, one)
		}
	}
	return refusing
}
