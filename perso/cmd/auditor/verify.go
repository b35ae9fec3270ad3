package auditor

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/cmd/console"
)

// audited is the result of "audit verify".
type audited struct {
	OK          bool           `json:"ok"`
	Pinned      bool           `json:"pinned"`
	Environment perso.Env      `json:"environment"`
	Site        perso.Name     `json:"site"`
	Lot         perso.Name     `json:"lot"`
	LogOrigin   string         `json:"log_origin"`
	LogSize     int64          `json:"log_size"`
	LogRoot     console.Digest `json:"log_root"`
	Seal        console.Digest `json:"seal_hash"`
	Judged      time.Time      `json:"judged_at"`
	Keys        []auditKey     `json:"keys"`
	Facts       []auditFact    `json:"facts"`
	Witnessed   []auditWitness `json:"witnessed"`
	Quorum      string         `json:"quorum,omitempty"`
	Notes       []string       `json:"notes"`
	Trusts      []string       `json:"trusts_the_line"`
	BrokenOff   []string       `json:"broken_off"`

	Stock []auditStock `json:"stock"`

	Exceptions []listedException `json:"exceptions"`

	Findings []auditFinding `json:"findings"`
	Dropped  uint64         `json:"findings_dropped"`
}

type auditKey struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	Pinned      bool   `json:"pinned"`  // the command line gave this very key
	Differs     bool   `json:"differs"` // it gave another; results of before this field say pinned of both
}

type auditWitness struct {
	Witness string    `json:"witness"`
	At      time.Time `json:"at"`
	Size    int64     `json:"log_size"`
}

type auditFact struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// auditStock is what an account holds of a reel, or on none; all together are zero.
type auditStock struct {
	Reel    perso.Name    `json:"reel,omitempty"`
	Account perso.Account `json:"account"`
	Chips   int64         `json:"chips"`
}

type auditFinding struct {
	Place     string `json:"place"`
	What      string `json:"what"`
	Invariant string `json:"invariant,omitempty"`
}

// pins are what the auditor knows from elsewhere, as he typed it: from the key ceremony, from earlier visits, of witnesses.
type pins struct {
	register, logKey, statementKey string

	held, witnesses []string
	quorum          int
}

// maxHeld bounds the checkpoints that one verification is given.
const maxHeld = 1_000

func newVerifyCmd(env *console.Console) *cobra.Command {
	var p pins
	c := &cobra.Command{
		Use:   "verify BUNDLE",
		Short: "Verify the audit bundle of a lot with public keys alone",
		Long: console.Describe("Verifies a bundle (a folder) without any site: the signed log, the officers' statements, every claim and outcome, the vault's receipts,\n"+
			"and that the counts close. The three pins come from the key ceremony's record; without them the keys are the bundle's own, and\n"+
			"its report shows them for comparison. A key that is not the pinned one is a finding, and \"differs\" in JSON.\n\n"+
			"--held takes checkpoints of this log that were kept outside the site: log/checkpoint of an earlier bundle, or what a witness\n"+
			"cosigned. The log must continue each of them; one is enough to find a log that was rolled back or forked. With --witnesses, so\n"+
			"many of the --witness keys must have cosigned the bundle's own checkpoint, in files given with --held.\n\n"+
			"The exit code is 3 when anything is found.", audited{}),
		Example: `  perso audit verify ./L-2027-0001.bundle
  perso audit verify ./L-2027-0001.bundle --register-pin "$PIN" --log-key "$VKEY" --statement-key "$KEY"
  perso audit verify ./L-2027-0001.bundle --log-key "$VKEY" --held last-year.checkpoint --held now.cosigned --witness "$AUDITOR" --witnesses 1`,
		Args: console.Takes("BUNDLE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return verifyBundle(env, args[0], &p)
		},
	}
	p.flags(c)
	return c
}

func (p *pins) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.register, "register-pin", "", "hash of the officer register's genesis, in hex")
	c.Flags().StringVar(&p.logKey, "log-key", "", "verifier key of the log (name+hash+key)")
	c.Flags().StringVar(&p.statementKey, "statement-key", "", "public key of the vault's statements, in hex")
	c.Flags().StringArrayVar(&p.held, "held", nil, "file with a checkpoint that was kept outside the site")
	c.Flags().StringArrayVar(&p.witnesses, "witness", nil, "verifier key of a witness (name+hash+key)")
	c.Flags().IntVar(&p.quorum, "witnesses", 0, "how many of the witnesses must have cosigned the bundle's checkpoint")
}

// options reads the pins; origin is the log's name that stands in its verifier key.
func (p *pins) options(env *console.Console) (o audit.Options, origin string, err error) {
	if p.register != "" {
		b, err := console.Pin("--register-pin", p.register)
		if err != nil {
			return o, "", err
		}
		o.RegisterPin = [32]byte(b)
	}
	if p.statementKey != "" {
		if o.StatementKey, err = console.Pin("--statement-key", p.statementKey); err != nil {
			return o, "", err
		}
	}
	if p.logKey != "" {
		if origin, o.LogKey, err = parseVerifierKey(p.logKey); err != nil {
			return o, "", console.Usage("--log-key: %w", err)
		}
	}
	return o, origin, p.outside(env, &o)
}

// outside reads what was kept outside the site.
func (p *pins) outside(env *console.Console, o *audit.Options) error {
	if len(p.held) > maxHeld {
		return console.Usage("%d checkpoints with --held, at most %d", len(p.held), maxHeld)
	}
	for _, text := range p.witnesses {
		w, err := checkpoint.ParseWitness(text)
		if err != nil {
			return console.Usage("--witness: %w", err)
		}
		o.Witnesses = append(o.Witnesses, w)
	}
	if o.Quorum = p.quorum; p.quorum < 0 || p.quorum > len(o.Witnesses) {
		return console.Usage("--witnesses %d: %d are named with --witness", p.quorum, len(o.Witnesses))
	}
	for _, path := range p.held {
		note, err := env.Read(path, checkpoint.MaxNoteBytes)
		if err != nil {
			return console.Hint(fmt.Errorf("reading a held checkpoint: %w", err), "this is the file log/checkpoint of an earlier bundle, or what 'perso audit witness cosign' wrote")
		}
		o.Held = append(o.Held, audit.Held{Name: filepath.Base(path), Note: note})
	}
	return nil
}

// parseVerifierKey reads a C2SP verifier key of an Ed25519 log: name+hash+base64, as checkpoint.VerifierKey writes it.
func parseVerifierKey(text string) (origin string, key ed25519.PublicKey, err error) {
	f := strings.SplitN(text, "+", 3)
	if len(f) != 3 {
		return "", nil, fmt.Errorf("it is not name+hash+key")
	}
	b, err := base64.StdEncoding.DecodeString(f[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize {
		return "", nil, fmt.Errorf("its key is not %d bytes of base64", 1+ed25519.PublicKeySize)
	}
	key = b[1:]
	if again, err := checkpoint.VerifierKey(f[0], key); err != nil || again != text {
		return "", nil, fmt.Errorf("name, hash and key do not belong together: it was mistyped")
	}
	return f[0], key, nil
}

// verify has a bundle judged, with what the auditor knows.
func (p *pins) verify(env *console.Console, path string) (audit.Report, error) {
	o, origin, err := p.options(env)
	if err != nil {
		return audit.Report{}, err
	}
	return judge(env, path, o, origin)
}

func needFolder(path string) error {
	if !isFolder(path) {
		return console.Hint(fmt.Errorf("opening the bundle: %q is no folder", path), "'perso lot bundle' says where it wrote one")
	}
	return nil
}

func judge(env *console.Console, path string, o audit.Options, origin string) (audit.Report, error) {
	if err := needFolder(path); err != nil {
		return audit.Report{}, err
	}
	begin := env.Now()
	watch := &watchedFS{FS: os.DirFS(path), env: env}
	r, err := audit.Verify(watch, o)
	watch.done()
	if err != nil {
		return r, notOpened(path, err)
	}
	if origin != "" && origin != r.Origin {
		r.Findings = append(r.Findings, audit.Finding{Place: "log/checkpoint", What: fmt.Sprintf("the log is %q, --log-key is of %q", r.Origin, origin)})
	}
	fmt.Fprintf(env.Err, "perso: read %d files in %s\n", watch.files, env.Now().Sub(begin).Round(time.Millisecond))
	return r, nil
}

// refuted is the error of a bundle in which something was found.
func refuted(path string, r audit.Report) error {
	if r.OK() {
		return nil
	}
	return console.Refuted("the bundle %q does not hold: %d findings", path, uint64(len(r.Findings))+r.Dropped)
}

func verifyBundle(env *console.Console, path string, p *pins) error {
	r, err := p.verify(env, path)
	if err != nil {
		return err
	}
	if err := env.Emit(auditedOf(r, env.Now().UTC()), func(w io.Writer) { _ = r.Write(w) }); err != nil { // into memory
		return err
	}
	if err := refuted(path, r); err != nil {
		return err
	}
	if !r.Pinned() {
		env.Advise("not every key was pinned: compare those of the report with the key ceremony's record")
	}
	return nil
}

// notOpened tells a bundle whose beginning is damaged, which is refuted, from what cannot be judged at all.
func notOpened(path string, err error) error {
	err = fmt.Errorf("verifying %q: %w", path, err)
	_, missing := os.Stat(filepath.Join(path, filepath.FromSlash(layout.Checkpoint)))
	var other *note.UnverifiedNoteError
	switch within := bundlesIn(path); {
	case errors.As(err, &other):
		return console.Fail(console.ExitRefuted, err, "another key signed it: is the log's key that of this site, from the key ceremony's record?")
	case missing == nil && !errors.Is(err, fs.ErrPermission):
		return console.Fail(console.ExitRefuted, err, "the beginning of this audit bundle is damaged")
	case missing == nil:
		return err
	case len(within) > 0:
		return console.Hint(err, "the bundle is the folder in it: perso audit verify %s", within[len(within)-1])
	}
	return console.Hint(err, "this is no audit bundle; 'perso lot bundle' says where it wrote one")
}

// bundlesIn are the bundles in a lot's folder, as the ledger names them: audit-SIZE, by the size of the log, smallest first.
func bundlesIn(path string) []string {
	const prefix = "audit-"
	found, _ := filepath.Glob(filepath.Join(path, prefix+"*", filepath.FromSlash(layout.Checkpoint))) // the pattern is well-formed, or path is odd and nothing is found
	size := func(bundle string) int64 {
		n, err := strconv.ParseInt(strings.TrimPrefix(filepath.Base(bundle), prefix), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	for i, f := range found {
		found[i] = filepath.Dir(filepath.Dir(f))
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(size(a), size(b)) })
	return found
}

func auditedOf(r audit.Report, at time.Time) audited {
	a := audited{
		OK: r.OK(), Pinned: r.Pinned(), Environment: r.Env, Site: r.Site, Lot: r.Lot, LogOrigin: r.Origin, LogSize: r.Size, LogRoot: r.Root, Seal: r.Seal, Judged: at, Quorum: r.Quorum, Stock: []auditStock{}, Exceptions: []listedException{},
		Keys: []auditKey{}, Witnessed: []auditWitness{}, Facts: []auditFact{}, Notes: append([]string{}, r.Notes...), Trusts: append([]string{}, r.Trusts...), BrokenOff: append([]string{}, r.Broken...), Findings: []auditFinding{}, Dropped: r.Dropped,
	}
	for _, k := range r.Keys {
		a.Keys = append(a.Keys, auditKey{Name: k.Name, Fingerprint: hex.EncodeToString(k.Fingerprint), Pinned: k.Pinned, Differs: k.Differs})
	}
	for _, x := range r.Stock {
		a.Stock = append(a.Stock, auditStock(x))
	}
	for _, x := range r.Exceptions {
		a.Exceptions = append(a.Exceptions, listedOf(x))
	}
	for _, w := range r.Witnessed {
		a.Witnessed = append(a.Witnessed, auditWitness(w))
	}
	for _, f := range r.Facts {
		a.Facts = append(a.Facts, auditFact(f))
	}
	for _, f := range r.Findings {
		a.Findings = append(a.Findings, auditFinding(f))
	}
	return a
}

// watchedFS shows on a terminal which file is being read. The auditor reads several at once.
type watchedFS struct {
	fs.FS
	env *console.Console

	mu    sync.Mutex
	files uint64
	shown time.Time
}

// Open opens a file and counts it.
func (w *watchedFS) Open(name string) (fs.File, error) {
	const every = 200 * time.Millisecond
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files++
	if now := w.env.Now(); w.env.ErrTTY && now.Sub(w.shown) >= every {
		w.shown = now
		fmt.Fprintf(w.env.Err, "\r\x1b[Kverifying: file %d", w.files)
	}
	return w.FS.Open(name)
}

// done wipes the line.
func (w *watchedFS) done() {
	if !w.shown.IsZero() {
		fmt.Fprint(w.env.Err, "\r\x1b[K")
	}
}
