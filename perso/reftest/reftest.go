// Package reftest gives tests the public reference data that are not in the repository, hexadecimal texts as bytes, and the word
// on programs that judge our output.
//
// The environment variable PERSO_REFERENCE_DATA names the folder; a test that needs it is skipped where it is not set, and says
// so. A test that another program judges is skipped where that is not installed, unless the program is required. Only tests import
// this package.
package reftest

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Hex is a hexadecimal text of JSON, as bytes.
type Hex []byte

// UnmarshalText reads it.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Unhex reads a constant of a test.
func Unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Has says whether the reference data are there.
func Has() bool { return os.Getenv("PERSO_REFERENCE_DATA") != "" }

// Path is that of a file or folder of the reference data.
func Path(t testing.TB, elements ...string) string {
	t.Helper()
	if !Has() {
		t.Skip("SKIP: PERSO_REFERENCE_DATA is not set: not held against the published data")
	}
	return filepath.Join(append([]string{os.Getenv("PERSO_REFERENCE_DATA")}, elements...)...)
}

// Read is the content of a file of the reference data.
func Read(t testing.TB, elements ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(Path(t, elements...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Vectors reads a file of vectors into a value of the test's.
func Vectors(t testing.TB, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(Read(t, "vectors", name), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// RequireTool skips a test whose judge is not installed, or fails it when PERSO_TEST_REQUIRE, a list with commas, names the tool.
func RequireTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), name) {
		t.Fatalf("%s is required by PERSO_TEST_REQUIRE and not installed", name)
	}
	t.Skipf("SKIP: %s is not installed", name)
}
