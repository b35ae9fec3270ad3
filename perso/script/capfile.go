package script

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxArchiveBytes bounds a file of which a part is sent: a CAP file is a zip of what fits one load, with its manifest and
// debug component.
const maxArchiveBytes = 512 << 10

// capComponents are the components that a card loads, in the order in which it installs them (Java Card Virtual Machine
// Specification 3.0.5 §6.2). Descriptor and Debug are for tools.
func capComponents() []string {
	return []string{"Header", "Directory", "Import", "Applet", "Class", "Method", "StaticField", "Export", "ConstantPool", "RefLocation"}
}

var (
	errNoCAP   = errors.New("it has no Header component")
	errCAPSize = errors.New("its components are larger than what is possible here")
)

// loadFile joins the components of a CAP file, which is a zip archive, to what the card gets.
func loadFile(archive []byte, limit int) ([]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	found := map[string]*zip.File{}
	for _, f := range z.File {
		if name, is := strings.CutSuffix(path.Base(f.Name), ".cap"); is {
			found[name] = f
		}
	}
	if found["Header"] == nil {
		return nil, errNoCAP
	}
	var out []byte
	for _, name := range capComponents() {
		if found[name] == nil {
			continue // Applet, Export and StaticField need not be there
		}
		if out, err = appendComponent(out, found[name], limit); err != nil {
			return nil, fmt.Errorf("reading component %s: %w", name, err)
		}
	}
	return out, nil
}

func appendComponent(out []byte, f *zip.File, limit int) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close() // only read
	b, err := io.ReadAll(io.LimitReader(r, int64(limit-len(out))+1))
	if err != nil {
		return nil, err
	}
	if len(out)+len(b) > limit {
		return nil, errCAPSize
	}
	return append(out, b...), nil
}
