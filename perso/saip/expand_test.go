package saip

import "testing"

func TestExpandPublished(t *testing.T) {
	t.Parallel()
	for name, file := range published(t) {
		p, err := Decode(file)
		if err != nil {
			t.Fatal(err)
		}
		chip, faults := p.Expand()
		for _, f := range faults {
			t.Errorf("%s: %v", name, f)
		}
		t.Log(name, len(chip.Files), len(chip.PINs))
	}
}
