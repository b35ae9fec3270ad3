package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/secret"
)

// maxPINBytes bounds a PIN file: the longest PIN that we know of has 500 bytes.
const maxPINBytes = 1024

func newHSMCmd(env *cli.Env) *cobra.Command {
	return cli.Group("hsm", "Look at an HSM, measure it, and plan how many are needed", `  perso hsm check --site ./site --probe
  perso hsm bench --module /opt/hsm/libpkcs11.so --token vault --pin-file /run/pin --json > bench.json
  perso hsm plan --rate 100 --bench bench.json`, newHSMCheckCmd(env), newHSMBenchCmd(env), newHSMPlanCmd(env))
}

// tokenFlags say which token a command opens: the site's, or one of any module.
type tokenFlags struct {
	module, token, pinFile, parameters, softhsm string
	gaps                                        []string
}

func (f *tokenFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.module, "module", "", "path of a PKCS#11 module, instead of the site's token")
	c.Flags().StringVar(&f.token, "token", "", "label of the token, with --module")
	c.Flags().StringVar(&f.pinFile, "pin-file", "", "file with the user PIN that only its owner may read, with --module")
	c.Flags().StringVar(&f.parameters, "parameters", "", "what C_Initialize is told, for modules that ask for it (NSS), with --module")
	c.Flags().StringVar(&f.softhsm, "softhsm-dir", "", "token directory, if the module is SoftHSM, with --module")
	c.Flags().StringSliceVar(&f.gaps, "gap", nil, "what the module is known not to keep of hsm/KEYS.md, with --module: "+gapNames())
}

func gapNames() string {
	var names []string
	for _, g := range hsm.Gaps() {
		names = append(names, g.String())
	}
	return strings.Join(names, ", ")
}

// open opens the token that the flags name.
func (f *tokenFlags) open(ctx context.Context, env *cli.Env, sessions int) (*hsm.Token, error) {
	log := slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if f.module == "" {
		if f.token != "" || f.pinFile != "" || f.parameters != "" || f.softhsm != "" || f.gaps != nil {
			return nil, cli.Usage("--token, --pin-file, --parameters, --softhsm-dir and --gap go with --module")
		}
		s, err := site.Open(env.SiteDir)
		if err != nil {
			return nil, cli.Hint(err, "or name a module: --module PATH --token LABEL --pin-file FILE")
		}
		return s.OpenToken(ctx, sessions, log)
	}
	if f.token == "" || f.pinFile == "" {
		return nil, cli.Usage("--module needs --token and --pin-file")
	}
	c := hsm.Config{Module: f.module, TokenLabel: f.token, Parameters: f.parameters, MaxSessions: sessions, Log: log}
	for _, name := range f.gaps {
		g, err := hsm.ParseGap(name)
		if err != nil {
			return nil, cli.Usage("--gap: %v", err)
		}
		c.Gaps = append(c.Gaps, g)
	}
	var err error
	if c.PIN, err = readPIN(f.pinFile); err != nil {
		return nil, err
	}
	defer c.PIN.Wipe()
	if f.softhsm != "" {
		if err := softhsm.Use(f.softhsm); err != nil {
			return nil, err
		}
	}
	return hsm.Open(ctx, c)
}

// readPIN takes a PIN from a file that nobody but its owner can read. A line's
// end after it is not part of it.
func readPIN(path string) (pin secret.Bytes, err error) {
	f, err := os.Open(path)
	if err != nil {
		return pin, fmt.Errorf("opening the PIN file: %w", err)
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return pin, fmt.Errorf("opening the PIN file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return pin, cli.Hint(fmt.Errorf("PIN file %q has mode %04o: others may read it", path, info.Mode().Perm()), "chmod 600 %s, and change the PIN if it was of worth", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxPINBytes+1))
	defer clear(raw)
	if err != nil {
		return pin, fmt.Errorf("reading the PIN file: %w", err)
	}
	line := raw
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if len(line) == 0 || len(line) > maxPINBytes {
		return pin, fmt.Errorf("PIN file %q has %d bytes, want 1..%d", path, len(line), maxPINBytes)
	}
	return secret.New(slices.Clone(line)), nil
}

// checked is the result of "hsm check".
type checked struct {
	hsm.Survey
	Keys     []keyOrigin `json:"keys,omitempty"` // with --keys
	Problems []string    `json:"problems"`
}

// keyOrigin is what the token says of a key that is on it.
type keyOrigin struct {
	Key     string `json:"key"`
	Inside  bool   `json:"made_inside"`       // and never seen outside
	Refused string `json:"refused,omitempty"` // why the key can't be used
}

func newHSMCheckCmd(env *cli.Env) *cobra.Command {
	var f tokenFlags
	var need []string
	var probe, keys bool
	c := &cobra.Command{
		Use: "check", Short: "Say whether an HSM can do what the product needs, key class by key class",
		Long: "Asks module and token what they are and offer, and compares it with what each key class needs (hsm/KEYS.md). Classes that no site\n" +
			"works without must be there; name others with --need if a product asks for them. With --probe a key of each class is made on the token,\n" +
			"read back, used and destroyed, and each gap in the policy is looked for: without it, nothing is known of gaps. With --keys\n" +
			"it says of each key that is there whether it was made inside: what that was before a backup of the HSM, it must be after its restore\n" +
			"(hsm/KEYS.md, Backups of the token).\n\n" +
			"Exit code 3: the HSM will not do, or a key on it can't be used. With --json: module, token, mechanisms, features, gaps, probed, keys, problems.",
		Example: `  perso hsm check --site ./site --probe
  perso hsm check --module /opt/hsm/libpkcs11.so --token vault --pin-file /run/pin --need eum-brainpool,card-pair --json`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			for _, n := range need {
				if !slices.Contains(hsm.Features(), n) {
					return cli.Usage("--need: %q is none of %s", n, strings.Join(hsm.Features(), ", "))
				}
			}
			token, err := f.open(cmd.Context(), env, 0)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, token.Close()) }()
			return checkHSM(cmd.Context(), env, token, need, probe, keys)
		},
	}
	f.register(c)
	c.Flags().StringSliceVar(&need, "need", nil, "what the site's products also need: eum-brainpool, transport-3des, receive, envelope, card-pair")
	c.Flags().BoolVar(&probe, "probe", false, "make, use and destroy a key of each class")
	c.Flags().BoolVar(&keys, "keys", false, "say of each key on the token whether it was made inside")
	return c
}

func checkHSM(ctx context.Context, env *cli.Env, token *hsm.Token, need []string, probe, keys bool) error {
	survey, err := token.Survey(ctx, probe)
	if err != nil {
		return err
	}
	r := checked{Survey: survey, Problems: append([]string{}, survey.Problems(need...)...)} // [] in JSON, not null
	if keys {
		if r.Keys, err = keyOrigins(ctx, token); err != nil {
			return err
		}
	}
	for _, k := range r.Keys {
		if k.Refused != "" {
			r.Problems = append(r.Problems, k.Key+": "+k.Refused)
		}
	}
	if err := env.Emit(r, r.table); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return cli.Refuted("the HSM will not do\n%s", strings.Join(r.Problems, "\n"))
	}
	return nil
}

// keyLister is a token that tells of its keys.
type keyLister interface {
	List(ctx context.Context) ([]hsm.Key, error)
	Local(ctx context.Context, k hsm.Key) (bool, error)
}

// keyOrigins asks the token where each key on it was made.
func keyOrigins(ctx context.Context, token keyLister) (all []keyOrigin, err error) {
	keys, err := token.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		o := keyOrigin{Key: k.Label}
		if o.Inside, err = token.Local(ctx, k); errors.Is(err, hsm.ErrRefused) {
			o.Refused = err.Error()
		} else if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

func (r checked) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush() // into memory
	fmt.Fprintf(t, "module\t%s, %s %s, PKCS#11 %s\n", r.Module.Manufacturer, r.Module.Library, r.Module.Version, r.Module.Cryptoki)
	fmt.Fprintf(t, "token\t%s: %s %s, serial %s, firmware %s\n", r.Token.Label, r.Token.Manufacturer, r.Token.Model, r.Token.Serial, r.Token.Firmware)
	if r.Token.MaxSessions > 0 {
		fmt.Fprintf(t, "sessions\tat most %d\n", r.Token.MaxSessions)
	}
	if r.Token.PINWarning != "" {
		fmt.Fprintf(t, "PIN\t%s\n", r.Token.PINWarning)
	}
	fmt.Fprint(t, "\nMECHANISM\tOFFERED\tKEYS\tFOR\n")
	for _, m := range r.Mechanisms {
		keys := "-"
		if m.Offered {
			keys = fmt.Sprintf("%d..%d", m.MinKey, m.MaxKey)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Name, yesNo(m.Offered), keys, strings.Join(m.For, " "))
	}
	fmt.Fprint(t, "\nFEATURE\tREADY\tNEEDED\tNOTE\n")
	for _, f := range r.Features {
		needed := "by some products"
		if f.Essential {
			needed = "always"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, yesNo(f.Ready), needed, f.Note)
	}
	fmt.Fprint(t, "\nGAP\tDECLARED\tFOUND\tCOST\n")
	for _, g := range r.Gaps {
		found := "not looked for"
		if r.Probed {
			found = yesNo(g.Found)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", g.Gap, yesNo(g.Declared), found, g.Cost)
	}
	if len(r.Keys) > 0 {
		fmt.Fprint(t, "\nKEY\tMADE INSIDE\tNOTE\n")
	}
	for _, k := range r.Keys {
		fmt.Fprintf(t, "%s\t%s\t%s\n", k.Key, yesNo(k.Inside), k.Refused)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
