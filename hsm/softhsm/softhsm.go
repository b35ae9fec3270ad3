// Package softhsm makes SoftHSM tokens for tests and for the demonstration.
//
// SoftHSM is a PKCS#11 module in software: the real interface, with keys in
// files that root can read. It is how the product is developed, tested and
// shown; it protects nothing, and nobody should make live cards with it.
//
// The module reads its configuration from the file that the environment
// variable SOFTHSM2_CONF names, when it is initialized. Init and Use therefore
// set that variable, for the whole process and its children, and must run
// before hsm.Open. Since a module is initialized once per process, a process
// works with one token directory at a time; a test binary uses one token (see
// hsmtest.SoftHSM).
package softhsm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/secret"
)

const (
	confVariable = "SOFTHSM2_CONF"
	confFile     = "softhsm2.conf"
	tokenFolder  = "tokens"
)

// ErrNotInstalled: no SoftHSM library in any of the usual places.
var ErrNotInstalled = errors.New("softhsm2 is not installed")

// FindModule returns the path of the SoftHSM library, or ErrNotInstalled.
func FindModule() (string, error) {
	for _, path := range []string{
		"/usr/lib/softhsm/libsofthsm2.so", // Debian, Ubuntu
		"/usr/lib64/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so", // Fedora
		"/usr/local/lib/softhsm/libsofthsm2.so",
		"/opt/homebrew/lib/softhsm/libsofthsm2.so",
	} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Init makes a token: it writes dir/softhsm2.conf, points SOFTHSM2_CONF at it
// and initializes a token in dir/tokens. A directory that has a configuration
// already is refused with fs.ErrExist: use Use. No hsm.Token may be open.
func Init(dir, label string, soPIN, pin secret.Bytes) error {
	module, err := FindModule()
	if err != nil {
		return fmt.Errorf("making token %q: %w", label, err)
	}
	if err := writeConf(dir); err != nil {
		return fmt.Errorf("making token %q: %w", label, err)
	}
	if err := Use(dir); err != nil {
		return err
	}
	return hsm.InitToken(hsm.NewToken{Module: module, Label: label, SOPIN: soPIN, PIN: pin})
}

// Use points SOFTHSM2_CONF at a directory that Init made. It must run before
// hsm.Open.
func Use(dir string) error {
	conf, err := filepath.Abs(filepath.Join(dir, confFile))
	if err != nil {
		return fmt.Errorf("using token directory %q: %w", dir, err)
	}
	if _, err := os.Stat(conf); err != nil {
		return fmt.Errorf("using token directory %q: %w", dir, err)
	}
	return os.Setenv(confVariable, conf)
}

// writeConf makes the directories and the configuration, readable by the owner
// only.
func writeConf(dir string) error {
	tokens, err := filepath.Abs(filepath.Join(dir, tokenFolder))
	if err != nil {
		return err
	}
	if strings.ContainsAny(tokens, "\n\r#") {
		return fmt.Errorf("directory %q: the configuration cannot express this name", dir)
	}
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, confFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: token directory %q is in use", fs.ErrExist, dir)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\nslots.mechanisms = ALL\n", tokens)
	return errors.Join(err, f.Sync(), f.Close())
}
