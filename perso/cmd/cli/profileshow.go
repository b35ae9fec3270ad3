package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/saip"
)

// profileShown is the result of "profile show". Secrets and values of cards are not in it.
type profileShown struct {
	Type         string               `json:"type"`
	Format       string               `json:"format"`
	Bytes        int                  `json:"bytes"`
	Elements     []string             `json:"elements"`
	Services     []string             `json:"services"`
	Templates    []string             `json:"templates"`
	Applications []profileApplication `json:"applications"`
	Files        []profileFile        `json:"files"`
	Codes        []profileCode        `json:"codes"`
	Keys         []profileKey         `json:"keys"`
	RFM          []profileRFM         `json:"rfm"`
	Points       []profilePoint       `json:"points"`
}

type profileApplication struct {
	Kind      string `json:"kind"`
	AID       string `json:"aid"`
	Path      string `json:"path"`
	Algorithm string `json:"algorithm,omitempty"`
}

type profileFile struct {
	Path     string `json:"path"`
	Name     string `json:"name,omitempty"`
	Kind     string `json:"kind"`
	Size     int    `json:"size,omitempty"`
	Record   int    `json:"record,omitempty"`
	SFI      string `json:"sfi,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Access   string `json:"access,omitempty"`
	Link     string `json:"link,omitempty"`
	Template bool   `json:"template"`
	Content  string `json:"content,omitempty"`
	Card     bool   `json:"card"`
}

type profileCode struct {
	In     string `json:"in"`
	Code   string `json:"code"`
	Ref    string `json:"ref"`
	PUK    string `json:"puk,omitempty"`
	Tries  string `json:"tries"`
	Asked  bool   `json:"asked"`
	Shared string `json:"shared,omitempty"`
}

type profileKey struct {
	Domain string `json:"domain"`
	KVN    string `json:"kvn"`
	KID    string `json:"kid"`
	Type   string `json:"type"`
	Bytes  int    `json:"bytes"`
}

type profileRFM struct {
	AID      string   `json:"aid"`
	TARs     []string `json:"tars"`
	Security string   `json:"security"`
	ADF      string   `json:"adf,omitempty"`
}

type profilePoint struct {
	Name   string `json:"name"`
	Class  string `json:"class"`
	Slot   string `json:"slot,omitempty"`
	Secret bool   `json:"secret"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
}

func newProfileShowCmd(env *Env) *cobra.Command {
	var points bool
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a chip has after it loaded a profile package",
		Long: Describe("Shows what is in a profile package (- is standard input): header, applications, the tree of files, codes, keys. Values of cards and\n"+
			"secrets are not shown. Nothing is judged: 'perso profile check' does.", profileShown{}),
		Example: `  perso profile show deploy/profiles/bootstrap.der
  perso profile show customer.der --points
  perso profile show customer.der --json`,
		Args: Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			j, err := env.judgeProfile(args[0])
			if err != nil {
				return err
			}
			if j.p == nil {
				return Hint(refusal(args[0], j.faults, ExitFailed), "profile packages are read as bytes in DER, beginning with A0")
			}
			shown, err := showProfile(j.p)
			if err != nil {
				return Hint(refusal(args[0], faultsIn(err), ExitFailed), "'perso profile check' tells everything that is wrong with it")
			}
			return env.Emit(shown, func(w io.Writer) {
				shown.summary(w)
				shown.tree(w)
				if points {
					shown.points(w)
				}
			})
		},
	}
	c.Flags().BoolVar(&points, "points", false, "show the places of the values of cards and lots as well")
	return c
}

// showProfile takes a package apart for people.
func showProfile(p *saip.Package) (profileShown, error) {
	points, err := p.Points()
	if err != nil {
		return profileShown{}, err
	}
	chip, _ := p.Expand()
	h := chip.Header
	s := profileShown{Type: h.ProfileType, Format: fmt.Sprintf("%d.%d", h.Major, h.Minor), Bytes: p.Len(), Services: h.Services, Templates: h.Templates}
	for _, e := range p.Elements() {
		s.Elements = append(s.Elements, e.Kind)
	}
	for _, f := range chip.Applications() {
		a := profileApplication{Kind: f.Application(), AID: upper(f.AID), Path: string(f.Path)}
		for _, one := range chip.AKAs {
			if one.Context == f.Path {
				a.Algorithm = one.Algorithm.String()
			}
		}
		s.Applications = append(s.Applications, a)
	}
	for _, f := range chip.Files {
		s.Files = append(s.Files, shownFile(f, points))
	}
	s.addCodes(chip)
	for _, pt := range points {
		s.Points = append(s.Points, profilePoint{pt.Name, pt.Class.String(), pt.Slot, pt.Secret, pt.Offset, pt.Length})
	}
	return s, nil
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func shownFile(f *saip.File, points []saip.Point) profileFile {
	s := profileFile{Path: string(f.Path), Name: f.Name, Kind: f.Kind.String(), Size: f.Size, Record: f.RecordSize, Link: string(f.Link), Template: f.FromTemplate, Access: upper(f.Access)}
	if f.SFI > 0 {
		s.SFI = fmt.Sprintf("%02X", f.SFI)
	}
	if f.ARR.Record > 0 {
		s.Rule = fmt.Sprintf("%04X/%d", f.ARR.FID, f.ARR.Record)
	}
	for _, pt := range points {
		s.Card = s.Card || pt.Class == saip.CardValue && f.Holds(pt)
	}
	if !s.Card && f.Link == "" {
		s.Content = upper(f.Content)
	}
	return s
}

func (s *profileShown) addCodes(chip *saip.Chip) {
	for _, c := range chip.PUKs {
		s.Codes = append(s.Codes, profileCode{In: "3F00", Code: "PUK", Ref: fmt.Sprintf("%02X", c.Ref), Tries: c.Try.String(), Asked: true})
	}
	for _, c := range chip.PINs {
		code := profileCode{In: string(c.Context), Code: saip.CodeName(c.Ref), Ref: fmt.Sprintf("%02X", c.Ref), Tries: c.Try.String(), Asked: c.Attributes&saip.PINEnabled != 0, Shared: string(c.SharedWith)}
		if c.PUK > 0 {
			code.PUK = fmt.Sprintf("%02X", c.PUK)
		}
		s.Codes = append(s.Codes, code)
	}
	for _, sd := range chip.Domains {
		for _, k := range sd.Keys {
			s.Keys = append(s.Keys, profileKey{upper(sd.AID), fmt.Sprintf("%02X", k.KVN), fmt.Sprintf("%02X", k.KID), fmt.Sprintf("%02X", k.Type), k.Value.Len()})
		}
	}
	for _, r := range chip.RFMs {
		one := profileRFM{AID: upper(r.AID), Security: fmt.Sprintf("%02X", r.Security), ADF: upper(r.ADF)}
		for _, t := range r.TARs {
			one.TARs = append(one.TARs, upper(t))
		}
		s.RFM = append(s.RFM, one)
	}
}

// summary is what a person wants to know first.
func (s profileShown) summary(w io.Writer) {
	fmt.Fprintf(w, "%-12s %q\n%-12s SAIP %s, %d bytes, %d elements, %d files\n", "profile", s.Type, "form", s.Format, s.Bytes, len(s.Elements), len(s.Files))
	fmt.Fprintf(w, "%-12s %s\n", "services", strings.Join(s.Services, " "))
	for _, a := range s.Applications {
		fmt.Fprintf(w, "%-12s %s, AID %s, %s\n", "application", a.Kind, a.AID, a.Algorithm)
	}
	for _, c := range s.Codes {
		line := c.Code + " (" + c.Ref + ") of " + c.In + ", tries " + c.Tries
		if c.PUK != "" {
			line += ", unblocked by PUK " + c.PUK
		}
		if !c.Asked {
			line += ", not asked for"
		}
		if c.Shared != "" {
			line = "PINs of " + c.In + " are those of " + c.Shared
		}
		fmt.Fprintf(w, "%-12s %s\n", "code", line)
	}
	for _, k := range s.Keys {
		fmt.Fprintf(w, "%-12s version %s id %s of %s, type %s, %d bytes\n", "key", k.KVN, k.KID, k.Domain, k.Type, k.Bytes)
	}
	for _, r := range s.RFM {
		line := "TAR " + strings.Join(r.TARs, " ") + ", security " + r.Security
		if r.ADF != "" {
			line += ", in " + r.ADF
		}
		fmt.Fprintf(w, "%-12s %s\n", "remote", line)
	}
	card, secret := 0, 0
	for _, p := range s.Points {
		if p.Class == saip.CardValue.String() {
			card++
		}
		if p.Secret {
			secret++
		}
	}
	fmt.Fprintf(w, "%-12s %d places for values of a card, %d of them secret; %d for constants of a lot\n", "places", card, secret, len(s.Points)-card)
}

// tree is the files, each below its directory.
func (s profileShown) tree(w io.Writer) {
	for _, f := range s.Files {
		depth := strings.Count(f.Path, "/")
		name := strings.Repeat("  ", depth) + f.Path[max(strings.LastIndexByte(f.Path, '/'), -1)+1:] + " " + f.Name
		fmt.Fprintf(w, "%-34s %s\n", strings.TrimRight(name, " "), strings.TrimRight(f.line(), " "))
	}
}

func (f profileFile) line() string {
	line := f.Kind
	if f.Record > 0 {
		line += fmt.Sprintf(" %d x %d", f.Size/f.Record, f.Record)
	} else if f.Size > 0 {
		line += fmt.Sprintf(" %d", f.Size)
	}
	if f.SFI != "" {
		line += " SFI " + f.SFI
	}
	if f.Rule != "" {
		line += " rule " + f.Rule
	}
	switch {
	case f.Link != "":
		line += " is " + f.Link
	case f.Card:
		line += " of each card"
	default:
		line += " " + shortContent(f.Content)
	}
	return line
}

// shortContent is content that fits a line: without the filler, and cut.
func shortContent(content string) string {
	const most = 48
	for strings.HasSuffix(content, "FFFF") {
		content = strings.TrimSuffix(content, "FF")
	}
	if len(content) > most {
		return content[:most] + "…"
	}
	return content
}

func (s profileShown) points(w io.Writer) {
	for _, p := range s.Points {
		mark := ""
		if p.Secret {
			mark = "secret"
		}
		fmt.Fprintf(w, "%6d +%-4d %-5s %-22s %-14s %s\n", p.Offset, p.Length, p.Class, p.Name, p.Slot, mark)
	}
}
