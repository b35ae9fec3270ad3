// Package nss makes tokens on NSS softoken, the PKCS#11 module of Firefox, for
// tests.
//
// It is the second, independent module that the conformance suite runs on: what
// works on SoftHSM alone is no PKCS#11. It is also the module that shows what a
// weaker token costs: it keeps less of KEYS.md than we ask (Gaps), has no EdDSA
// and no brainpool curves, and lets a logged-in client copy a key with a softer
// template or wrap any key out. Nobody should make cards with it. Version 3.87
// crashes when an HMAC key is used after C_Logout; this program never logs out.
//
// Softoken has no configuration file: C_Initialize takes a line of parameters.
// The security officer has no PIN, and a new database has no user PIN until
// C_InitPIN sets one. It keeps its keys in an SQLite database (key4.db), under
// a key made from the PIN.
package nss

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

// ErrNotInstalled: no softoken library in any of the usual places.
var ErrNotInstalled = errors.New("nss softoken is not installed")

// database is the file that a token directory has once it was made.
const database = "key4.db"

// FindModule returns the path of the softoken library, or ErrNotInstalled.
func FindModule() (string, error) {
	for _, path := range []string{
		"/usr/lib/x86_64-linux-gnu/libsoftokn3.so", // Debian, Ubuntu
		"/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
		"/usr/lib64/libsoftokn3.so", // Fedora
		"/usr/lib/libsoftokn3.so",
	} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Gaps are what softoken does not keep of KEYS.md.
func Gaps() []hsm.Gap { return hsm.Gaps() }

// Init makes a token in a directory of its own. One that has a database already
// is refused with fs.ErrExist. No hsm.Token may be open on this module.
func Init(dir, label string, pin secret.Bytes) error {
	module, err := FindModule()
	if err != nil {
		return fmt.Errorf("making token %q: %w", label, err)
	}
	parameters, err := Parameters(dir, label)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making token %q: %w", label, err)
	}
	if _, err := os.Stat(filepath.Join(dir, database)); err == nil {
		return fmt.Errorf("making token %q: %w: token directory %q is in use", label, fs.ErrExist, dir)
	}
	return hsm.InitToken(hsm.NewToken{Module: module, Label: label, PIN: pin, Parameters: parameters})
}

// Config is how a token that Init made is opened.
func Config(dir, label string, pin secret.Bytes) (hsm.Config, error) {
	module, err := FindModule()
	if err != nil {
		return hsm.Config{}, fmt.Errorf("opening token %q: %w", label, err)
	}
	parameters, err := Parameters(dir, label)
	return hsm.Config{Module: module, TokenLabel: label, PIN: pin, Parameters: parameters, Gaps: Gaps()}, err
}

// Parameters are what C_Initialize is told: where the database is and how its
// token is called. A name that the line cannot express is refused.
func Parameters(dir, label string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("token directory %q: %w", dir, err)
	}
	for _, name := range []string{dir, label} {
		if strings.ContainsAny(name, "'\"\\<>\n\r\x00") {
			return "", fmt.Errorf("token %q in %q: softoken's parameters cannot express this name", label, dir)
		}
	}
	return fmt.Sprintf("configdir='sql:%s' certPrefix='' keyPrefix='' secmod='' flags=noModDB dbTokenDescription='%s' minPWLen=8", dir, label), nil
}
