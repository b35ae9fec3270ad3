package canary

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrBlind is wrapped when a planted secret was not found: whatever else the scan says is worth nothing.
var ErrBlind = errors.New("the planted secret was not found")

// plantedBytes is the length of a Ki and of an AES-128 key, what leaks would be made of.
const plantedBytes = 16

// Planted is a fresh random value, written into one file in every form.
type Planted struct {
	Needle
	Path string
}

// Plant writes a file with a fresh value into a folder that a scan will read, or beside a file that it will.
func Plant(dir string) (Planted, error) {
	value := make([]byte, plantedBytes)
	rand.Read(value) // never fails (crypto/rand)
	f, err := os.CreateTemp(dir, "canary-planted-*.txt")
	if err != nil {
		return Planted{}, fmt.Errorf("planting in %q: %w", dir, err)
	}
	p := Planted{Needle: Needle{Name: "planted canary " + filepath.Base(f.Name()), Value: value}, Path: f.Name()}
	_, err = f.Write(plantedText(value))
	if err = errors.Join(err, f.Close()); err != nil {
		return Planted{}, errors.Join(fmt.Errorf("planting in %q: %w", dir, err), p.Remove())
	}
	return p, nil
}

// plantedText writes each form as a leak would, not as the scanner looks for it: base64 with neighbours and padding.
func plantedText(v []byte) []byte {
	var text bytes.Buffer
	for _, w := range forms(v) {
		if w.form != FormBase64 && w.form != FormBase64URL {
			fmt.Fprintf(&text, "leak=%s;\n", w.text)
		}
	}
	for lead := range 3 {
		message := append(append([]byte("abc")[:lead:lead], v...), "z"...)
		fmt.Fprintf(&text, "leak=%s\nleak=%s\n", base64.StdEncoding.EncodeToString(message), base64.URLEncoding.EncodeToString(message))
	}
	return text.Bytes()
}

// Remove deletes the planted file.
func (p Planted) Remove() error { return os.Remove(p.Path) }

// Prove scans like Scan, with a secret planted in every root first and removed afterwards. It returns what else it found,
// or an error that wraps ErrBlind when a planted secret was missed in any form. Every root is a folder.
func Prove(ctx context.Context, roots []string, needles []Needle, opt Options) (hits []Hit, err error) {
	planted := make(map[string]map[Form]int, len(roots))
	all := append([]Needle(nil), needles...)
	for _, root := range roots {
		p, err := Plant(root)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.Remove()) }()
		all, planted[p.Name] = append(all, p.Needle), formsToFind(p.Value)
	}
	if opt.MaxHits <= 0 {
		opt.MaxHits = DefaultMaxHits
	}
	limit := opt.MaxHits
	for _, p := range planted {
		opt.MaxHits += len(p) * maxSpellings
	}
	found, err := Scan(ctx, roots, all, opt)
	if err != nil {
		return nil, err
	}
	for _, h := range found {
		if missing, ok := planted[h.Needle]; ok {
			missing[h.Form]--
		} else if len(hits) < limit {
			hits = append(hits, h)
		}
	}
	if len(hits) == limit {
		return hits, nil // the scan ended early and has made its point
	}
	return hits, blind(planted)
}

// maxSpellings is how often one form may be found in a planted file: base64 in three alignments, each perhaps twice.
const maxSpellings = 6

// formsToFind counts how many spellings of each form a planted file holds at least.
func formsToFind(v []byte) map[Form]int {
	count := map[Form]int{}
	for _, w := range forms(v) {
		count[w.form]++
	}
	return count
}

func blind(planted map[string]map[Form]int) error {
	for name, missing := range planted {
		for form, n := range missing {
			if n > 0 {
				return fmt.Errorf("%w: %s as %s", ErrBlind, name, form)
			}
		}
	}
	return nil
}
