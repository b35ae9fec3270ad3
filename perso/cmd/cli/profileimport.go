package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/saip"
)

const packageSuffix = ".der"

// profileImported is the result of "profile import".
type profileImported struct {
	Name     perso.Name   `json:"name"` // by which an order names it
	File     string       `json:"file"`
	Known    bool         `json:"known"`
	Received digest       `json:"received_sha256"`
	SHA256   digest       `json:"sha256"`
	Profile  profileShown `json:"profile"`
}

func newProfileImportCmd(env *Env) *cobra.Command {
	var folder string
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Take in a customer's profile package",
		Long: Describe("Checks a profile package (- is standard input) as 'profile check' does, and keeps it in the folder of profiles under its profile type\n"+
			"and hash. Zeros are put where it has secrets: PINs, PUKs, keys. Each card brings its own, and what the customer left there must\n"+
			"not lie on a disk. The same package again is known already. Says what the package has.", profileImported{}),
		Example: `  perso profile import customer.der --site site
  perso profile import customer.der --profiles ./profiles --json`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return importProfile(env, args[0], folder)
		},
	}
	profilesFlag(c, &folder)
	return c
}

func profilesFlag(c *cobra.Command, folder *string) {
	c.Flags().StringVar(folder, "profiles", "", "folder of profiles (default SITE/catalogue/profiles)")
}

func importProfile(env *Env, path, folder string) error {
	j, err := env.judgeProfile(path)
	if err != nil {
		return err
	}
	env.notes(j.faults)
	if err := refusal(path, j.faults, ExitRefuted); err != nil {
		return err
	}
	p, err := j.p.Blank()
	if err != nil {
		return fmt.Errorf("taking the secrets out of %q: %w", path, err)
	}
	shown, err := showProfile(p)
	if err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	if folder, err = env.profilesFolder(folder); err != nil {
		return err
	}
	result := profileImported{Received: sha256.Sum256(j.bytes), SHA256: sha256.Sum256(p.Bytes()), Profile: shown}
	if result.Name, err = profileName(p); err != nil {
		return err
	}
	if result.File, result.Known, err = keepProfile(folder, result.Name, p); err != nil {
		return err
	}
	return env.Emit(result, func(w io.Writer) {
		word := "kept"
		if result.Known {
			word = "known already"
		}
		fmt.Fprintf(w, "%s as %s\n%-12s \"profile\": %q\n%-12s %s\n%-12s %s, without secrets\n", word, result.File, "in an order", result.Name, "received", result.Received, "kept", result.SHA256)
		shown.summary(w)
	})
}

// profilesFolder is where packages are kept; the site's is made when it is first used.
func (env *Env) profilesFolder(folder string) (string, error) {
	if folder != "" {
		if !isFolder(folder) {
			return "", noProfiles(folder)
		}
		return folder, nil
	}
	if !isFolder(env.SiteDir) {
		return "", Hint(fmt.Errorf("looking for the profiles: there is no site in %q", env.SiteDir), "--site names a site, --profiles a folder")
	}
	const folderMode = 0o750
	folder = env.siteProfiles()
	if err := os.MkdirAll(folder, folderMode); err != nil {
		return "", fmt.Errorf("making the folder of profiles: %w", err)
	}
	return folder, syncFolder(filepath.Dir(folder))
}

func (env *Env) siteProfiles() string { return filepath.Join(env.SiteDir, "catalogue", "profiles") }

func noProfiles(folder string) error {
	return Hint(fmt.Errorf("looking for the profiles: there is no folder %q", folder), "make it, or name another with --profiles")
}

// hashShown is how many bytes of the hash a package's name has: a mistake, not an enemy, would meet a name again, and is told.
const hashShown = 8

// profileName is the name that a package's content gives it: profile type and hash, short enough for an order to say it.
func profileName(p *saip.Package) (perso.Name, error) {
	hash := sha256.Sum256(p.Bytes())
	name, err := perso.ParseName(slug(p.Header().ProfileType, perso.MaxNameChars-1-2*hashShown) + "-" + hex.EncodeToString(hash[:hashShown]))
	if err != nil {
		return "", fmt.Errorf("naming the package: %w", err)
	}
	return name, nil
}

// keepProfile writes a package under its name. The name is there only with its whole content: the file is written under
// another one, synced, and linked, which never replaces anything.
func keepProfile(folder string, name perso.Name, p *saip.Package) (path string, known bool, err error) {
	content := p.Bytes()
	path = filepath.Join(folder, string(name)+packageSuffix)
	f, err := os.CreateTemp(folder, ".import.*") // created exclusively
	if err != nil {
		return "", false, fmt.Errorf("creating the file: %w", err)
	}
	err = errors.Join(f.Chmod(fileMode), fill(f, content))
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	err = errors.Join(err, os.Remove(f.Name()))
	if errors.Is(err, os.ErrExist) {
		return path, true, sameFile(path, content)
	}
	if err != nil {
		return "", false, fmt.Errorf("keeping the package: %w", err)
	}
	return path, false, syncFolder(folder)
}

func sameFile(path string, content []byte) error {
	there, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("comparing with the package that is there: %w", err)
	}
	if !bytes.Equal(there, content) {
		return Hint(fmt.Errorf("keeping the package: %q holds another", path), "the file was changed after it was kept: find out by whom, and put it away")
	}
	return nil
}

// slug is a text as a part of a name, of at most so many characters.
func slug(text string, most int) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case b.Len() == most:
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if s := strings.Trim(b.String(), "-"); s != "" {
		return s
	}
	return "profile"
}
