package demo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
)

// sampleOf finds the first sample order of a product that can be made.
func sampleOf(catalogue string, sku product.SKU, cat order.Catalogue) (string, error) {
	p, known := cat.Products.Get(sku)
	if known && !p.Makeable {
		return "", console.Hint(fmt.Errorf("the product %q cannot be made: %s", sku, p.Reason), "'perso product list' says which can")
	}
	if !known {
		err := fmt.Errorf("the product %q is not in the catalogue", sku)
		if near, ok := cat.Products.Nearest(sku); ok {
			err = fmt.Errorf("%w; did you mean %q?", err, near)
		}
		return "", console.Hint(err, "'perso product list' names them all")
	}
	folder := filepath.Join(catalogue, "samples", "orders")
	files, err := os.ReadDir(folder)
	if err != nil {
		return "", fmt.Errorf("looking for a sample order: %w", err)
	}
	var faults []error
	for _, f := range files {
		path := filepath.Join(folder, f.Name())
		if f.IsDir() || filepath.Ext(path) != ".json" {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading a sample order: %w", err)
		}
		switch o, err := order.Intake(bytes.NewReader(raw), cat); {
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", path, err))
		case o.Product == sku:
			return path, nil
		}
	}
	return "", errors.Join(fmt.Errorf("no sample order in %q is of the product %q: name a file with --order", folder, sku), errors.Join(faults...))
}
