package product

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/persoline/persoline/perso/order/form"
)

// MaxProducts bounds a catalogue: thirty families in six packages, with room.
const MaxProducts = 500

// Catalogue is the set of known products. It does not change after it was loaded; the zero value is empty.
type Catalogue struct{ bySKU map[SKU]Product }

// LoadDir reads every .json file at the top of a folder. One bad file makes the catalogue bad, and every bad file is
// reported: half a catalogue would refuse orders for the wrong reason. A makeable product's script must lie beside it.
func LoadDir(dir fs.FS) (Catalogue, error) {
	// A pattern matches nothing in a folder that is not there, which is another fault than an empty one.
	if _, err := fs.Stat(dir, "."); err != nil {
		return Catalogue{}, fmt.Errorf("opening the product folder: %w", err)
	}
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return Catalogue{}, fmt.Errorf("listing the product folder: %w", err)
	}
	if len(names) == 0 || len(names) > MaxProducts {
		return Catalogue{}, fmt.Errorf("loading the product catalogue: %d product files, expected 1 to %d", len(names), MaxProducts)
	}
	c := Catalogue{bySKU: make(map[SKU]Product, len(names))}
	var faults []error
	for _, name := range names {
		p, err := loadFile(dir, name)
		if err != nil {
			faults = append(faults, fmt.Errorf("loading product file %q: %w", name, err))
			continue
		}
		c.bySKU[p.SKU] = p
	}
	if len(faults) > 0 {
		return Catalogue{}, errors.Join(faults...)
	}
	return c, nil
}

func loadFile(dir fs.FS, name string) (Product, error) {
	f, err := dir.Open(name)
	if err != nil {
		return Product{}, err
	}
	p, err := Parse(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return Product{}, err
	}
	// The name keeps two files from claiming one SKU, and lets a person find the file.
	if want := string(p.SKU) + ".json"; path.Base(name) != want {
		return Product{}, fmt.Errorf("its sku is %q: the file must be named %q", p.SKU, want)
	}
	if p.Makeable {
		if _, err := fs.Stat(dir, p.Script); err != nil {
			return Product{}, fmt.Errorf("looking for its script: %w", err)
		}
	}
	return p, nil
}

// Get looks a product up.
func (c Catalogue) Get(sku SKU) (Product, bool) {
	p, ok := c.bySKU[sku]
	return p, ok
}

// SKUs are the known ones, sorted.
func (c Catalogue) SKUs() []SKU { return slices.Sorted(maps.Keys(c.bySKU)) }

// Nearest is the known SKU that s is most likely meant to be, for the hint of a refusal.
func (c Catalogue) Nearest(s SKU) (SKU, bool) {
	var names []string
	for _, sku := range c.SKUs() {
		names = append(names, string(sku))
	}
	near, ok := form.Nearest(string(s), names)
	return SKU(near), ok
}
