package filesys

import (
	"fmt"
	"slices"
)

// File is one file of a file system that is made at once. Its number is its place in the list; file 0 is the MF.
type File struct {
	Kind    Kind
	ID      FID
	Parent  int // number of the DF that it lies in, which stands before it; of an ADF 0
	SFI     byte
	State   LifeCycle
	Record  int    // bytes of a record; 0 without records
	ARR     FID    // EF with the access rules
	Rule    byte   // record in it; 0: nobody may do anything
	Name    []byte // AID of an ADF
	PINs    []byte // value of the PIN status template (C6)
	Content []byte // of an EF that is no link
	Link    int    // number of the EF whose content it shows; 0 for none
}

// Image gives the changes that make a whole file system of a list. What does not fit is ErrImage.
func Image(files []File) (all Changes, err error) {
	s, total := New(), 0
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("making %d files, limit %d: %w", len(files), MaxFiles, ErrImage)
	}
	for n, one := range files {
		if total += len(one.Content); total > MaxBytes {
			return nil, fmt.Errorf("making files of %d bytes, limit %d: %w", total, MaxBytes, ErrImage)
		}
		if err := one.check(n, files); err != nil {
			return nil, fmt.Errorf("making file %d, %04X: %w", n, uint16(one.ID), err)
		}
		all = append(all, s.put(n, &file{kind: one.Kind, id: one.ID, parent: uint16(one.Parent), sfi: one.SFI, state: one.State, record: uint16(one.Record),
			rule: rule{arr: one.ARR, record: one.Rule}, name: slices.Clone(one.Name), pins: slices.Clone(one.PINs), link: uint16(one.Link), content: one.Content})...)
	}
	return all, nil
}

// check holds a file to what CREATE FILE would have held it to.
func (f File) check(n int, all []File) error {
	size, limit := len(f.Content), 255
	switch {
	case f.Kind < DF || f.Kind > BERTLV || (n == 0) != (f.ID == MF) || n == 0 && f.Kind != DF:
		return fmt.Errorf("kind %d: %w", f.Kind, ErrImage)
	case f.Parent < 0 || f.Parent > n || n != 0 && (f.Parent == n || !all[f.Parent].Kind.isDF()):
		return fmt.Errorf("it lies in file %d: %w", f.Parent, ErrImage)
	case f.Link < 0 || f.Link >= len(all) || f.Link != 0 && (all[f.Link].Link != 0 || all[f.Link].Kind.isDF() || size != 0 || f.Kind.isDF()):
		return fmt.Errorf("it links to file %d: %w", f.Link, ErrImage)
	case f.Kind.hasRecords() != (f.Record != 0) || f.Record < 0 || f.Record > limit || f.Record != 0 && (size%f.Record != 0 || size/f.Record > maxRecords):
		return fmt.Errorf("%d bytes in records of %d: %w", size, f.Record, ErrImage)
	case size > MaxFileBytes || f.Kind.isDF() && size != 0 || f.SFI > 30 || len(f.Name) > maxAIDBytes || len(f.PINs) > limit/2:
		return fmt.Errorf("%d bytes of content: %w", size, ErrImage)
	}
	return nil
}
