package auditor

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/cmd/tell"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// proved is the result of "audit prove" and "audit check-proof".
type proved struct {
	OK          bool              `json:"ok"`
	About       audit.SubjectKind `json:"about"`
	Key         string            `json:"key"`
	Environment perso.Env         `json:"environment"`
	Site        perso.Name        `json:"site"`
	LogOrigin   string            `json:"log_origin"`
	LogSize     int64             `json:"log_size"`
	LogRoot     console.Digest    `json:"log_root"`
	LogKey      string            `json:"log_key"`
	Pinned      bool              `json:"pinned"`
	Entries     []provedEntry     `json:"entries"`
	Statements  []string          `json:"statements"`
	Wordless    []wordless        `json:"without_words,omitempty"`
	File        string            `json:"file,omitempty"`
}

type provedEntry struct {
	Seq  int64  `json:"seq"`
	Kind string `json:"kind"`
	Body string `json:"body"`
}

// wordless is a statement that the proof names without its words.
type wordless struct {
	Seq     int64          `json:"seq"`
	Kind    string         `json:"kind"`
	Hash    console.Digest `json:"hash"`
	Deleted bool           `json:"deleted_by_officers"`
}

func newProveCmd(env *console.Console) *cobra.Command {
	var logKey, out, about string
	c := &cobra.Command{
		Use:   "prove BUNDLE KEY",
		Short: "Prove what the log holds about a unit, a chip, a lot or an order",
		Long: console.Describe("Collects every entry of a bundle's log about an EID, an ICCID, a chip id, a lot or an order number, proves each one's place in the log,\n"+
			"and writes one small file that somebody checks who has neither bundle nor site ('check-proof'): with a customer it goes as it is. Of a\n"+
			"lot or an order it holds what concerns it as a whole; units are proven one by one. A proof by ICCID, lot or order holds the officers'\n"+
			"release, which names ranges and receivers; one by EID or chip does not. That there are no other entries about it, only the whole log\n"+
			"shows. --about says what KEY is when it could be several things.", proved{}),
		Example: `  perso audit prove ./L-2027-0001.bundle 89049099002000000000000000000080 -o unit.proof
  perso audit prove ./L-2027-0001.bundle L-2027-0001 -o lot.proof --log-key "$VKEY"
  perso audit prove ./L-2027-0001.bundle DEMO-2027-0001 --about order -o order.proof`,
		Args: console.Takes("BUNDLE", "KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.Needs(cmd, "output"); err != nil {
				return err
			}
			k, err := knownLog(logKey)
			if err != nil {
				return err
			}
			return prove(env, args[0], strings.TrimSpace(args[1]), audit.SubjectKind(about), k, out)
		},
	}
	c.Flags().StringVar(&logKey, "log-key", "", "verifier key of the log (name+hash+key)")
	c.Flags().StringVar(&about, "about", "", "what KEY is: eid, iccid, chip, lot or order")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write the proof to")
	return c
}

// subjects are what a key can be, the likeliest first.
func subjects(key string, about audit.SubjectKind) ([]audit.Subject, error) {
	if about != "" {
		return []audit.Subject{{Kind: about, Key: key}}, nil
	}
	var all []audit.Subject
	if _, err := id.ParseEID(key); err == nil {
		all = append(all, audit.Subject{Kind: audit.SubjectEID, Key: key})
	}
	if _, err := id.ParseICCID(key); err == nil {
		all = append(all, audit.Subject{Kind: audit.SubjectICCID, Key: key})
	}
	if c, err := id.ParseChipID(key); err == nil {
		all = append(all, audit.Subject{Kind: audit.SubjectChip, Key: c.String()})
	}
	if _, err := perso.ParseName(key); err == nil {
		all = append(all, audit.Subject{Kind: audit.SubjectLot, Key: key})
	}
	if len(key) > 0 && len(key) <= record.MaxValueBytes {
		all = append(all, audit.Subject{Kind: audit.SubjectOrder, Key: key})
	}
	if len(all) == 0 {
		return nil, console.Usage("KEY %q is no EID, ICCID, chip id, lot or order number", key)
	}
	return all, nil
}

func prove(env *console.Console, bundle, key string, about audit.SubjectKind, k theLog, out string) error {
	all, err := subjects(key, about)
	if err != nil {
		return err
	}
	l, err := openLog(bundle, k)
	if err != nil {
		return err
	}
	var p audit.Proof
	for _, s := range all {
		if p, err = l.Prove(s); !errors.Is(err, audit.ErrNotFound) {
			break
		}
	}
	if _, wrong := id.ParseEID(key); errors.Is(err, audit.ErrNotFound) && wrong != nil && len(key) == id.EIDDigits {
		return fmt.Errorf("the log holds nothing about it: %w", wrong)
	}
	if errors.Is(err, audit.ErrNotFound) {
		return notFound(l, key)
	}
	if err != nil {
		return console.Refuted("%w", err)
	}
	b, err := p.Encode()
	if err != nil {
		return err
	}
	c, err := p.Check(l.Key) // what is handed out was checked as its reader will
	if err != nil {
		return err
	}
	c.Pinned = l.Pinned
	if err := console.Create(out, b); err != nil {
		return err
	}
	return emitProof(env, c, out)
}

// namedLots bounds the lots that a hint names.
const namedLots = 5

// notFound says why there may be nothing about a key: what only a release says is not found of lots whose release was deleted.
func notFound(l *audit.Log, key string) error {
	hint := "is it of this site, and was it made before the bundle was written?"
	var closed []string
	more := 0
	err := l.Each(func(_ int64, body []byte) error {
		kind, err := record.Kind(body)
		if err != nil || kind != entry.KindStatement {
			return err
		}
		e, err := entry.ParseStatement(body)
		if err != nil || e.What != statement.KindRelease {
			return err
		}
		words, err := l.Statement(e.Hash)
		switch {
		case err != nil || words != nil:
		case len(closed) < namedLots:
			closed = append(closed, string(e.Lot))
		default:
			more++
		}
		return err
	})
	if err != nil {
		return console.Refuted("%w", err)
	}
	if more > 0 {
		closed = append(closed, fmt.Sprintf("%d lots more", more))
	}
	if len(closed) > 0 {
		hint += fmt.Sprintf(" The words of the release of %s are not in the bundle: of such a lot nothing is found by ICCID or order; name the lot, an EID or a chip id", strings.Join(closed, ", "))
	}
	return console.Hint(fmt.Errorf("%q: %w", key, audit.ErrNotFound), "%s", hint)
}

func newCheckProofCmd(env *console.Console) *cobra.Command {
	var logKey string
	c := &cobra.Command{
		Use:   "check-proof FILE",
		Short: "Check a proof with the log's key alone",
		Long: console.Describe("Checks what 'prove' wrote: the log's signature, the place of every entry in the log that it signs, that the entries are about what the\n"+
			"proof says, and that the statements with it are those that the entries name. Then it tells them. --log-key comes from the key\n"+
			"ceremony's record; without it the key is the proof's own, shown for comparison. The exit code is 3 when anything does not hold.", proved{}),
		Example: `  perso audit check-proof unit.proof --log-key "$VKEY"`,
		Args:    console.Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := knownLog(logKey)
			if err != nil {
				return err
			}
			return checkProof(env, args[0], k)
		},
	}
	c.Flags().StringVar(&logKey, "log-key", "", "verifier key of the log (name+hash+key)")
	return c
}

func checkProof(env *console.Console, path string, k theLog) error {
	b, err := env.Read(path, audit.MaxProofBytes)
	if err != nil {
		return err
	}
	p, err := audit.ParseProof(b)
	if err != nil {
		hint := "'perso audit prove' writes proofs; this one was changed"
		if kind, errKind := record.Kind(b); errKind != nil || kind != audit.KindProof {
			return console.Hint(fmt.Errorf("%q: %w", path, err), "'perso audit prove' writes proofs: this is another file")
		}
		return console.Fail(console.ExitRefuted, fmt.Errorf("%q: %w", path, err), hint)
	}
	c, err := p.Check(k.key)
	if err == nil && k.origin != "" && c.Checkpoint.Origin != k.origin {
		err = fmt.Errorf("its log is %q, --log-key is of %q", c.Checkpoint.Origin, k.origin)
	}
	if err != nil {
		return console.Refuted("%q: %w", path, err)
	}
	return emitProof(env, c, "")
}

func emitProof(env *console.Console, c audit.Checked, file string) error {
	r := proved{OK: true, About: c.Subject.Kind, Key: c.Subject.Key, Environment: c.Env, Site: c.Site, LogOrigin: c.Checkpoint.Origin, LogSize: c.Checkpoint.Size,
		LogRoot: console.Digest(c.Checkpoint.Root), LogKey: fmt.Sprintf("%x", []byte(c.Key)), Pinned: c.Pinned, Entries: []provedEntry{}, Statements: []string{}, File: file}
	for _, e := range c.Entries {
		kind, _ := record.Kind(e.Body) // checked before
		r.Entries = append(r.Entries, provedEntry{Seq: e.Seq, Kind: kind, Body: string(e.Body)})
	}
	for _, s := range c.Statements {
		r.Statements = append(r.Statements, string(s))
	}
	for _, x := range c.Wordless() {
		r.Wordless = append(r.Wordless, wordless{x.Seq, x.What, x.Hash, x.Deleted})
	}
	if err := env.Emit(r, r.write); err != nil {
		return err
	}
	if !r.Pinned {
		env.Advise("the log's key is the proof's own: compare it with the key ceremony's record, or give it with --log-key")
	}
	return nil
}

func (r proved) write(w io.Writer) {
	if r.File != "" {
		fmt.Fprintf(w, "%s: %d entries about %s %s, %d statements\n", r.File, len(r.Entries)-1, r.About, r.Key, len(r.Statements))
		r.writeWordless(w)
		return
	}
	fmt.Fprintf(w, "%s %s: %d entries are in the log %s of site %s (%s)\nlog of %d entries, root %s\nlog key %s\n", r.About, r.Key, len(r.Entries)-1, r.LogOrigin, r.Site, r.Environment, r.LogSize, r.LogRoot, r.LogKey)
	for _, e := range r.Entries {
		when, text := tell.Entry(e.Kind, []byte(e.Body))
		fmt.Fprintf(w, "%s %8d  %s\n", when, e.Seq, text)
	}
	for _, text := range r.Statements {
		s, err := statement.DecodeSigned([]byte(text))
		if err != nil {
			continue // checked before
		}
		kind, _ := record.Kind(s.Body)
		var by []perso.Name
		for _, g := range s.Signatures {
			by = append(by, g.Officer)
		}
		fmt.Fprintf(w, "with the words of %x: %s, signed in the names of %s\n", s.Hash(), kind, console.Names(by))
	}
	r.writeWordless(w)
}

func (r proved) writeWordless(w io.Writer) {
	for _, x := range r.Wordless {
		why := "they were not where the proof was made, and nothing in it says why"
		if x.Deleted {
			why = "officers had them deleted after delivery"
		}
		fmt.Fprintf(w, "without the words of %s: %s, log entry %d: %s\n", x.Hash, x.Kind, x.Seq, why)
	}
}
