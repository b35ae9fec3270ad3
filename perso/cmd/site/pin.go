package site

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
)

// credentialPIN is the systemd credential in which the vault's unit gets the token's PIN. Whether a TPM sealed it, only the
// unit says (LoadCredentialEncrypted, systemd-creds --with-key=tpm2; keygen/ceremony/CEREMONY.md, "The PIN").
const credentialPIN = "hsm-pin"

// readPIN takes the PIN from the credential, or in a test environment from the site's own file, which nobody else may read.
func (s *Site) readPIN() (secret.Bytes, error) {
	path := s.path("vault", "pin")
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" { // where the credentials are; no secret itself
		given := filepath.Join(dir, credentialPIN)
		if _, err := os.Stat(given); err == nil {
			path = given
		} else if !errors.Is(err, os.ErrNotExist) {
			return secret.Bytes{}, err
		}
	}
	if path == s.path("vault", "pin") && s.Config.Env == perso.EnvProduction {
		return secret.Bytes{}, fmt.Errorf("a production vault gets it as the systemd credential %q, never from a file of the site", credentialPIN)
	}
	info, err := os.Stat(path)
	if err != nil {
		return secret.Bytes{}, err
	}
	const others = 0o077
	if info.Mode().Perm()&others != 0 {
		return secret.Bytes{}, fmt.Errorf("%q has permissions %s: others can read it", path, info.Mode().Perm())
	}
	raw, err := os.ReadFile(path)
	defer clear(raw)
	if err != nil {
		return secret.Bytes{}, err
	}
	return secret.New(bytes.TrimRight(raw, "\n")), nil
}
