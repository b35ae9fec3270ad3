package saip

import "testing"

// TestCheckPublished: the GSMA's packages are good but for what is told as notes.
func TestCheckPublished(t *testing.T) {
	t.Parallel()
	for name, file := range published(t) {
		notes := mustDecode(t, file).Check()
		for _, f := range notes.Refusing() {
			t.Errorf("%s: %v", name, f)
		}
		if len(notes) < 3 || len(notes) > 4 { // no "cave", two files of CSIM; in the newest a rule that is not there
			t.Errorf("%s: the notes are\n%v", name, notes)
		}
	}
}
