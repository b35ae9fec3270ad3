package auditor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// auditedCeremonies is the result of "audit ceremony".
type auditedCeremonies struct {
	OK          bool              `json:"ok"`
	Environment perso.Env         `json:"environment"`
	Site        perso.Name        `json:"site"`
	RegisterPin console.Digest    `json:"register_pin"`
	Pinned      bool              `json:"pinned"`
	Partial     bool              `json:"partial"`
	Head        console.Digest    `json:"head"`
	Ceremonies  []auditedCeremony `json:"ceremonies"`
	Keys        []auditedKey      `json:"keys"`
}

type auditedCeremony struct {
	Number   uint64         `json:"number"`
	Ceremony perso.Name     `json:"ceremony"`
	Ended    string         `json:"ended"`
	Outcome  string         `json:"outcome"`
	Steps    uint64         `json:"steps"`
	SignedBy []perso.Name   `json:"signed_by"`
	Hash     console.Digest `json:"hash"`
}

type auditedKey struct {
	Key    transcript.Label `json:"key"`
	State  transcript.State `json:"state"`
	Check  string           `json:"check"`
	Copies int              `json:"copies_left"`
}

func newCeremonyCmd(env *console.Console) *cobra.Command {
	var pin, head string
	c := &cobra.Command{
		Use:   "ceremony FILE",
		Short: "Verify the transcripts of key ceremonies with public keys alone",
		Long: console.Describe("Verifies a transcript, or a folder of them from the first ceremony on: the officer register from its genesis, the officers'\n"+
			"signatures on order and end, the hash chain of the steps, that they are what was ordered, and the life of every key.\n"+
			"The two pins come from paper: the register's genesis, and the hash of the last ceremony. The exit code is 3 when anything does\n"+
			"not hold; the error names file and place.", auditedCeremonies{}),
		Example: `  perso audit ceremony ./inventory --register-pin "$PIN" --head "$HEAD"
  perso audit ceremony ./inventory/0002.transcript`,
		Args: console.Takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := auditCeremonies(env, args[0], pin, head)
			return err
		},
	}
	c.Flags().StringVar(&pin, "register-pin", "", "hash of the officer register's genesis, in hex")
	c.Flags().StringVar(&head, "head", "", "hash of the last ceremony, in hex, as its transcript was printed")
	return c
}

func auditCeremonies(env *console.Console, path, pinText, headText string) (c audit.Ceremonies, err error) {
	var pin, head [32]byte
	for _, f := range []struct {
		flag, text string
		to         *[32]byte
	}{{"--register-pin", pinText, &pin}, {"--head", headText, &head}} {
		if f.text == "" {
			continue
		}
		b, err := console.Pin(f.flag, f.text)
		if err != nil {
			return c, err
		}
		*f.to = [32]byte(b)
	}
	if c, err = verifyCeremonies(path, pin); err != nil {
		return c, err
	}
	if head != [32]byte{} && c.Chain.Head != head {
		return c, console.Refuted("the last ceremony ended with %x, --head is %x: transcripts are missing, or this is an older state", c.Chain.Head, head)
	}
	a := auditedCeremoniesOf(c, pin != [32]byte{})
	if err := env.Emit(a, a.write); err != nil {
		return c, err
	}
	if !a.Pinned {
		env.Advise("the officer register was not pinned: compare %s with the record of the first ceremony", a.RegisterPin)
	}
	if head == [32]byte{} {
		env.Advise("nothing says that this is the last ceremony: compare the head with paper, or give it as --head")
	}
	return c, nil
}

// openTranscripts finds a folder of transcripts, or one; with names, only these files are meant.
func openTranscripts(path string) (fsys fs.FS, names []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the transcript: %w", err)
	}
	if !info.IsDir() {
		return os.DirFS(filepath.Dir(path)), []string{filepath.Base(path)}, nil
	}
	fsys = os.DirFS(path)
	if found, err := fs.Glob(fsys, "*"+audit.TranscriptSuffix); err == nil && len(found) == 0 {
		return nil, nil, console.Hint(fmt.Errorf("there is no file *%s in %q", audit.TranscriptSuffix, path), "name the inventory's folder of the ceremonies' plan, or one transcript in it")
	}
	return fsys, nil, nil
}

// verifyCeremonies verifies a folder or a file. What does not hold is a refutation, what cannot be read is not.
func verifyCeremonies(path string, pin [32]byte) (audit.Ceremonies, error) {
	fsys, names, err := openTranscripts(path)
	if err != nil {
		return audit.Ceremonies{}, err
	}
	c, err := audit.VerifyCeremonies(fsys, pin, names...)
	var fault *transcript.Fault
	if errors.As(err, &fault) {
		return c, console.Refuted("the transcript does not hold: %s: %s", fault.Place, fault.What)
	}
	return c, err
}

func auditedCeremoniesOf(c audit.Ceremonies, pinned bool) auditedCeremonies {
	a := auditedCeremonies{OK: true, Environment: c.Chain.Env, Site: c.Chain.Site, RegisterPin: c.Chain.Register.Pin, Pinned: pinned, Partial: c.Chain.Partial(),
		Head: c.Chain.Head, Keys: []auditedKey{}}
	for _, t := range c.Told {
		a.Ceremonies = append(a.Ceremonies, auditedCeremony{Number: t.Order.Number, Ceremony: t.Order.Ceremony, Ended: console.Clock(t.End.At), Outcome: string(t.End.Outcome),
			Steps: t.End.Steps, SignedBy: t.By, Hash: t.Hash})
	}
	for _, e := range c.Chain.Inventory.Keys() {
		a.Keys = append(a.Keys, auditedKey{Key: e.Key, State: e.State, Check: e.Check, Copies: copiesLeft(e)})
	}
	return a
}

func copiesLeft(e *transcript.Entry) int {
	return len(slices.DeleteFunc(slices.Clone(e.Copies), func(h transcript.Held) bool { return !h.Gone.IsZero() }))
}

func (a auditedCeremonies) write(w io.Writer) {
	fmt.Fprintf(w, "site %s, environment %s\nofficer register %s\n", a.Site, a.Environment, a.RegisterPin)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nCEREMONY\tNAME\tENDED\tOUTCOME\tSTEPS\tSIGNED BY")
	for _, c := range a.Ceremonies {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%s\n", c.Number, c.Ceremony, c.Ended, c.Outcome, c.Steps, console.Names(c.SignedBy))
	}
	if !a.Partial {
		fmt.Fprintln(t, "\nKEY\tSTATE\tKNOWN BY\tCOPIES LEFT")
		for _, k := range a.Keys {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", k.Key, k.State, console.Short(k.Check), k.Copies)
		}
	}
	_ = t.Flush() // into memory
	if a.Partial {
		fmt.Fprintln(w, "\nOne transcript by itself: what came before it, and so the states of keys, was not checked.")
	}
	fmt.Fprintf(w, "\nhead %s\nVERIFIED\n", a.Head)
}
