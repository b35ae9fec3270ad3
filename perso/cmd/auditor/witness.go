package auditor

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/audit/witness"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/cmd/console"
)

func newWitnessCmd(env *console.Console) *cobra.Command {
	return console.Group("witness", "Cosign the log's checkpoints as somebody outside the site", `  perso audit witness new auditor.example/first -o first.witness
  perso audit witness cosign ./L-2027-0001.bundle --key first.witness --memory ./memory --log-key "$VKEY"`,
		newWitnessNewCmd(env), newWitnessCosignCmd(env))
}

// madeWitness is the result of "audit witness new".
type madeWitness struct {
	Witness string `json:"witness"`
	Key     string `json:"verifier_key"`
	File    string `json:"file"`
}

func newWitnessNewCmd(env *console.Console) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a witness's key",
		Long: console.Describe("Makes an Ed25519 key in a new file that only its owner can read, and prints its verifier key, which those who verify pass with\n"+
			"--witness. NAME is usually a domain that is the witness's own, and a path. Other programs for witnesses read the same file.", madeWitness{}),
		Example: `  perso audit witness new auditor.example/first -o first.witness`,
		Args:    console.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.Needs(cmd, "output"); err != nil {
				return err
			}
			return newWitness(env, args[0], out)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "key file to create")
	return c
}

func newWitness(env *console.Console, name, out string) error {
	seed := make([]byte, 32)
	defer clear(seed)
	if _, err := io.ReadFull(env.Rand, seed); err != nil {
		return fmt.Errorf("drawing a key: %w", err)
	}
	k, err := checkpoint.NewWitnessKey(name, seed)
	if err != nil {
		return console.Usage("%w", err)
	}
	defer k.Wipe()
	text := k.Text()
	defer clear(text)
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("creating the key file: %w", err)
	}
	if err := console.Fill(f, text); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	r := madeWitness{Witness: name, Key: k.Witness.VerifierKey(), File: out}
	return env.Emit(r, func(w io.Writer) { fmt.Fprintln(w, r.Key) })
}

// cosignedLog is the result of "audit witness cosign".
type cosignedLog struct {
	Log     string         `json:"log_origin"`
	Old     int64          `json:"old_size"`
	Size    int64          `json:"log_size"`
	Root    console.Digest `json:"log_root"`
	Witness string         `json:"witness"`
	File    string         `json:"file,omitempty"`
	Note    string         `json:"cosigned"`
}

func newWitnessCosignCmd(env *console.Console) *cobra.Command {
	var key, memory, logKey, out string
	var begin bool
	c := &cobra.Command{
		Use:   "cosign BUNDLE|REQUEST",
		Short: "Cosign a checkpoint that continues the last one",
		Long: console.Describe("Checks that the log has grown from the checkpoint that this witness cosigned last, remembers the new one on disk, and cosigns it\n"+
			"(C2SP tlog-cosignature/v1). What is given is a bundle, or a request that 'perso audit consistency -o' wrote, by stick over an air\n"+
			"gap. The cosigned checkpoint goes to standard output or -o; hand it to whoever verifies. --begin is for the first time only: a\n"+
			"witness that has lost its memory must not begin anew unseen. The exit code is 3 when the log was rolled back or forked: keep\n"+
			"both checkpoints, they are the evidence.", cosignedLog{}),
		Example: `  perso audit witness cosign ./L-2027-0001.bundle --key first.witness --memory ./memory --log-key "$VKEY" --begin -o first.cosigned
  perso audit witness cosign now.request --key first.witness --memory ./memory --log-key "$VKEY"`,
		Args: console.Takes("BUNDLE or REQUEST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.Needs(cmd, "key", "memory", "log-key"); err != nil {
				return err
			}
			k, err := knownLog(logKey)
			if err != nil {
				return err
			}
			return cosign(env, cosigning{path: args[0], key: key, memory: memory, out: out, begin: begin}, k)
		},
	}
	c.Flags().StringVar(&key, "key", "", "the witness's key file")
	c.Flags().StringVar(&memory, "memory", "", "folder in which the witness remembers what it cosigned")
	c.Flags().StringVar(&logKey, "log-key", "", "verifier key of the log (name+hash+key), from the key ceremony's record")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (default standard output)")
	c.Flags().BoolVar(&begin, "begin", false, "take this log in for the first time")
	return c
}

// cosigning is what the command line says.
type cosigning struct {
	path, key, memory, out string
	begin                  bool
}

func cosign(env *console.Console, o cosigning, k theLog) error {
	w, err := loadWitness(env, o)
	if err != nil {
		return err
	}
	defer w.Key.Wipe()
	known := witness.Known{Origin: k.origin, Key: k.key}
	g, err := readGrown(env, o.path, k)
	if err != nil {
		return err
	}
	last, err := w.Last(known)
	if err != nil && (!o.begin || !errors.Is(err, witness.ErrUnknown)) {
		return console.Hint(err, "--begin takes a log in for the first time; a memory that was lost is a finding of its own")
	}
	q := checkpoint.Request{Old: last.Size, Note: g.note}
	if last.Size <= g.c.Size {
		if q.Proof, err = g.proves(last.Size); err != nil {
			return console.Hint(err, "this witness is at %d entries: make the request from there", last.Size)
		}
	}
	note, err := w.Cosign(known, q, o.begin)
	if err != nil {
		return refusal(err)
	}
	r := cosignedLog{Log: g.c.Origin, Old: last.Size, Size: g.c.Size, Root: console.Digest(g.c.Root), Witness: w.Key.Witness.Name, File: o.out, Note: string(note)}
	if o.out != "" {
		if err := console.Create(o.out, note); err != nil {
			return err
		}
	}
	return env.Emit(r, func(out io.Writer) {
		if o.out == "" {
			fmt.Fprintf(out, "%s", note)
			return
		}
		fmt.Fprintf(out, "%s: log %s, %d entries, cosigned by %s\n", o.out, r.Log, r.Size, r.Witness)
	})
}

// refusal is what a witness says to a log that is not the one it knows.
func refusal(err error) error {
	if errors.Is(err, witness.ErrRollback) || errors.Is(err, witness.ErrFork) {
		return console.Fail(console.ExitRefuted, err, "keep this file and the witness's memory: the two together are evidence")
	}
	if errors.Is(err, witness.ErrBegun) {
		return console.Hint(err, "without --begin")
	}
	return err
}

// maxKeyFileBytes bounds a witness's key file; ours are about 120 bytes.
const maxKeyFileBytes = 4 << 10

func loadWitness(env *console.Console, o cosigning) (witness.Witness, error) {
	info, err := os.Stat(o.key)
	if err != nil {
		return witness.Witness{}, fmt.Errorf("looking at the key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return witness.Witness{}, console.Hint(fmt.Errorf("others can read the key file %q (%s)", o.key, mode), "chmod 600 %s, if nobody has", console.Quoted(o.key))
	}
	text, err := env.Read(o.key, maxKeyFileBytes)
	defer clear(text)
	if err != nil {
		return witness.Witness{}, err
	}
	k, err := checkpoint.ParseWitnessKey(string(text))
	if err != nil {
		return witness.Witness{}, console.Hint(fmt.Errorf("%q: %w", o.key, err), "'perso audit witness new' makes one")
	}
	const memoryMode = 0o700
	if err := os.MkdirAll(o.memory, memoryMode); err != nil {
		return witness.Witness{}, fmt.Errorf("making the witness's memory: %w", err)
	}
	return witness.Witness{Dir: o.memory, Key: k, Now: env.Now}, nil
}
