package auditor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/cmd/console"
)

// consistent is the result of "audit consistency".
type consistent struct {
	OK      bool           `json:"ok"`
	Log     string         `json:"log_origin"`
	Key     string         `json:"log_key"`
	Pinned  bool           `json:"pinned"`
	Old     int64          `json:"old_size"`
	OldRoot console.Digest `json:"old_root"`
	New     int64          `json:"new_size"`
	NewRoot console.Digest `json:"new_root"`
	Proof   int            `json:"proof_hashes"`
	Request string         `json:"request,omitempty"`
}

func newConsistencyCmd(env *console.Console) *cobra.Command {
	var logKey, out string
	c := &cobra.Command{
		Use:   "consistency OLD NEW",
		Short: "Prove that a log continues an earlier one",
		Long: console.Describe("Proves that the log of NEW begins with all that the log of OLD held. OLD is a checkpoint (cosigned or not) or a bundle; NEW is a\n"+
			"bundle, or a request to a witness, which carries its own proof. With -o it writes such a request (C2SP tlog-witness), by which\n"+
			"anybody who knows OLD can check NEW, and a witness cosign it, without the bundle: some kilobytes, for a stick or a QR code.\n"+
			"--log-key is the log's from the key ceremony; without it the key is the bundle's own. The exit code is 3 when the log was rolled\n"+
			"back or forked.", consistent{}),
		Example: `  perso audit consistency last-year.checkpoint ./L-2027-0001.bundle --log-key "$VKEY"
  perso audit consistency ./L-2026-0001.bundle ./L-2027-0001.bundle -o now.request`,
		Args: console.Takes("OLD", "NEW"),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := knownLog(logKey)
			if err != nil {
				return err
			}
			return compareLogs(env, args[0], args[1], k, out)
		},
	}
	c.Flags().StringVar(&logKey, "log-key", "", "verifier key of the log (name+hash+key)")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write the request to a witness to")
	return c
}

// theLog is what the auditor knows of a log beforehand. Zero: nothing.
type theLog struct {
	origin string
	key    []byte
}

func knownLog(vkey string) (k theLog, err error) {
	if vkey == "" {
		return k, nil
	}
	if k.origin, k.key, err = parseVerifierKey(vkey); err != nil {
		return k, console.Usage("--log-key: %w", err)
	}
	return k, nil
}

// openLog opens the log of a bundle, which must be the one that is known.
func openLog(path string, k theLog) (*audit.Log, error) {
	if err := needFolder(path); err != nil {
		return nil, err
	}
	l, err := audit.OpenLog(os.DirFS(path), k.key)
	if err != nil {
		return nil, notOpened(path, err)
	}
	if k.origin != "" && k.origin != l.Checkpoint.Origin {
		return nil, console.Refuted("%q: its log is %q, --log-key is of %q", path, l.Checkpoint.Origin, k.origin)
	}
	return l, nil
}

// grown is NEW: a checkpoint, and how to prove that it continues a size.
type grown struct {
	note   []byte
	c      checkpoint.Checkpoint
	key    []byte
	proves func(old int64) ([]checkpoint.Hash, error)
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// readGrown opens NEW.
func readGrown(env *console.Console, path string, k theLog) (g grown, err error) {
	if isFolder(path) {
		l, err := openLog(path, k)
		if err != nil {
			return g, err
		}
		return grown{note: l.Note, c: l.Checkpoint, key: l.Key, proves: l.Consistency}, nil
	}
	b, err := env.Read(path, checkpoint.MaxNoteBytes+checkpoint.MaxRequestProof*64)
	if err != nil {
		return g, err
	}
	q, err := checkpoint.ParseRequest(b)
	if err != nil {
		return g, console.Hint(fmt.Errorf("reading %q: %w", path, err), "NEW is a bundle (a folder), or what 'perso audit consistency -o' wrote")
	}
	if k.key == nil {
		return g, console.Hint(console.Usage("a request names no key: --log-key must be given"), "the key ceremony's record has it")
	}
	c, _, err := checkpoint.OpenCosigned(q.Note, k.origin, k.key, nil)
	if err != nil {
		return g, console.Refuted("%q: %w", path, err)
	}
	return grown{note: q.Note, c: c, key: k.key, proves: func(old int64) ([]checkpoint.Hash, error) {
		if old != q.Old && old != c.Size {
			return nil, fmt.Errorf("the request proves the growth from %d entries, not from %d", q.Old, old)
		}
		return q.Proof, nil
	}}, nil
}

func compareLogs(env *console.Console, oldPath, newPath string, k theLog, out string) error {
	g, err := readGrown(env, newPath, k)
	if err != nil {
		return err
	}
	old, err := readOld(env, oldPath, g)
	if err != nil {
		return err
	}
	r := consistent{Log: g.c.Origin, Key: fmt.Sprintf("%x", g.key), Pinned: k.key != nil, Old: old.Size, OldRoot: console.Digest(old.Root), New: g.c.Size, NewRoot: console.Digest(g.c.Root)}
	if old.Size > g.c.Size {
		return r.refuse(env, "ROLLED BACK: the log had %d entries, now it has %d; or OLD and NEW stand in the wrong order: the first is the larger one", old.Size, g.c.Size)
	}
	proof, err := g.proves(old.Size)
	if err != nil {
		return console.Refuted("%q: %w", newPath, err)
	}
	if err := checkpoint.CheckConsistency(old, g.c, proof); err != nil {
		return r.refuse(env, "FORKED: the log of %d entries does not begin with the one of %d: %w", g.c.Size, old.Size, err)
	}
	r.OK, r.Proof = true, len(proof)
	if out != "" {
		if err := console.Create(out, checkpoint.Request{Old: old.Size, Proof: proof, Note: g.note}.Encode()); err != nil {
			return err
		}
		r.Request = out
	}
	if err := env.Emit(r, r.write); err != nil {
		return err
	}
	if !r.Pinned {
		env.Advise("the key is the bundle's own: compare %s with the key ceremony's record, or give it with --log-key", r.Key)
	}
	return nil
}

// readOld opens OLD, of the same log.
func readOld(env *console.Console, path string, g grown) (checkpoint.Checkpoint, error) {
	if isFolder(path) {
		path = filepath.Join(path, filepath.FromSlash(layout.Checkpoint))
	}
	note, err := env.Read(path, checkpoint.MaxNoteBytes)
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	c, _, err := checkpoint.OpenCosigned(note, g.c.Origin, g.key, nil)
	if err != nil {
		err = fmt.Errorf("reading %q: %w", path, err)
		if strings.Contains(string(note), "\n\n") {
			return c, console.Fail(console.ExitRefuted, err, "is it of the same log, and signed with the same key?")
		}
		return c, console.Hint(errors.Join(err), "this is the file log/checkpoint of an earlier bundle, or what a witness cosigned")
	}
	return c, nil
}

func (r consistent) refuse(env *console.Console, format string, a ...any) error {
	return errors.Join(env.Emit(r, func(io.Writer) {}), console.Refuted(format, a...))
}

func (r consistent) write(w io.Writer) {
	fmt.Fprintf(w, "log %s\n%10d entries, root %s\n%10d entries, root %s: it begins with those\nproof of %d hashes\n", r.Log, r.Old, r.OldRoot, r.New, r.NewRoot, r.Proof)
	if r.Request != "" {
		fmt.Fprintf(w, "request to a witness: %s\n", r.Request)
	}
}
