package cli

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/profile"
)

// profileList is the result of "profile list".
type profileList struct {
	Profiles []profileLine `json:"profiles"`
}

type profileLine struct {
	Name       perso.Name `json:"name"`
	Type       string     `json:"type,omitempty"`
	Algorithms []string   `json:"algorithms,omitempty"`
	Bytes      int        `json:"bytes,omitempty"`
	SHA256     string     `json:"sha256,omitempty"`
	Reason     string     `json:"reason,omitempty"` // why no order can have it
}

func newProfileListCmd(env *Env) *cobra.Command {
	var folder string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the profile packages that orders can name",
		Long: Describe("Lists the catalogue of profile packages: those that came with the site, and those that 'profile import' took in. An order names one\n"+
			"in its field \"profile\". A package that is faulty says why: orders for it are refused.", profileList{}),
		Example: `  perso profile list --site site
  perso profile list --profiles deploy/profiles --json`,
		Args: Takes(),
		RunE: func(*cobra.Command, []string) error {
			l, err := env.listProfiles(folder)
			if err != nil {
				return err
			}
			return env.Emit(l, l.write)
		},
	}
	profilesFlag(c, &folder)
	return c
}

func (env *Env) listProfiles(folder string) (profileList, error) {
	l := profileList{Profiles: []profileLine{}}
	if folder == "" {
		folder = env.siteProfiles()
		if shipped := filepath.Join("deploy", "profiles"); env.SiteDir == defaultSite && !isFolder(env.SiteDir) && isFolder(shipped) {
			fmt.Fprintf(env.Err, "perso: there is no site in %s: listing %s\n", env.SiteDir, shipped)
			folder = shipped
		}
	}
	if !isFolder(folder) {
		return l, noProfiles(folder)
	}
	cat := profile.Open(os.DirFS(folder))
	for _, name := range cat.Names() {
		l.Profiles = append(l.Profiles, profileLineOf(cat, name))
	}
	return l, nil
}

func profileLineOf(cat profile.Catalogue, name perso.Name) profileLine {
	line := profileLine{Name: name}
	p, err := cat.Get(name)
	if err != nil {
		line.Reason = err.Error()
		return line
	}
	hash := sha256.Sum256(p.Bytes())
	line.Type, line.Bytes, line.SHA256 = p.Header().ProfileType, p.Len(), fmt.Sprintf("%x", hash)
	chip, _ := p.Expand()
	for _, k := range chip.AKAs {
		if a := k.Algorithm.String(); k.MappedTo == nil && !slices.Contains(line.Algorithms, a) {
			line.Algorithms = append(line.Algorithms, a)
		}
	}
	return line
}

func (l profileList) write(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTYPE\tALGORITHMS\tBYTES\tORDERS")
	for _, p := range l.Profiles {
		taken := "taken"
		if p.Reason != "" {
			taken = "refused: " + p.Reason
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", p.Name, p.Type, strings.Join(p.Algorithms, " "), p.Bytes, taken)
	}
	_ = t.Flush() // w takes everything: it is a buffer
}
