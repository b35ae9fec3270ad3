package console

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
)

// ClockForm is how people read a time here: UTC, because every stamp of the factory is.
const ClockForm = "2006-01-02 15:04:05.000Z"

// Clock spells a time so.
func Clock(t time.Time) string { return t.UTC().Format(ClockForm) }

// Names lists people; nobody, if there is none.
func Names(names []perso.Name) string {
	if len(names) == 0 {
		return "nobody"
	}
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return strings.Join(texts, ", ")
}

// Short is as much of a key's check value as fits into a table.
func Short(check string) string {
	const most = 24
	if len(check) > most {
		return check[:most] + "…"
	}
	return check
}

// Pin reads 32 bytes in hex that the user knows from elsewhere: a hash or a key.
func Pin(flag, text string) ([]byte, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 32 {
		return nil, Usage("%s is not 32 bytes in hex", flag)
	}
	if [32]byte(b) == [32]byte{} {
		return nil, Usage("%s is all zeros, which is no hash and no key: it would pin nothing", flag)
	}
	return b, nil
}

// Digest is a SHA-256 that is written in hex.
type Digest [32]byte

// String is the hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText is the hex.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads 32 bytes of hex.
func (d *Digest) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(d) {
		return fmt.Errorf("%.80q is not %d bytes of hex", text, len(d))
	}
	copy(d[:], b)
	return nil
}

// Emit writes one result: v as a JSON object on one line with --json, else the text.
func (env *Console) Emit(v any, text func(w io.Writer)) error {
	var b bytes.Buffer
	if env.JSON {
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("writing the result as JSON: %w", err)
		}
	} else {
		text(&b)
	}
	if _, err := env.Out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// Describe ends a command's help with the fields of its result, read from the result type itself.
func Describe(text string, result any) string {
	return text + "\n\nWith --json: " + fieldsOf(reflect.TypeOf(result))
}

func fieldsOf(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return fieldsOf(t.Elem())
	case t.Kind() == reflect.Slice:
		return fieldsOf(t.Elem()) + "[]"
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]():
		return ""
	}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name+fieldsOf(f.Type))
		}
	}
	return "{" + strings.Join(names, ", ") + "}"
}

// Takes demands exactly these arguments, and names those that are missing.
func Takes(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch n := len(args); {
		case n < len(names):
			return Usage("%s is missing", strings.Join(names[n:], " and "))
		case n > len(names):
			return Usage("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

// Needs demands that these flags were given.
func Needs(cmd *cobra.Command, flags ...string) error {
	var missing []string
	for _, f := range flags {
		if !cmd.Flags().Changed(f) {
			missing = append(missing, "--"+f)
		}
	}
	if len(missing) > 0 {
		return Usage("%s must be given", strings.Join(missing, ", "))
	}
	return nil
}

// Read takes a file of at most limitBytes, or standard input for "-".
func (env *Console) Read(path string, limitBytes int) ([]byte, error) {
	b, err := env.Head(path, limitBytes+1)
	if err == nil && len(b) > limitBytes {
		return nil, Hint(fmt.Errorf("reading %q: it is larger than %d bytes", path, limitBytes), "this is the wrong file")
	}
	return b, err
}

// Head takes at most limitBytes from the beginning of a file, or of standard input for "-".
func (env *Console) Head(path string, limitBytes int) ([]byte, error) {
	r := env.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("opening the file: %w", err)
		}
		defer f.Close() // only read
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(limitBytes)))
	if err != nil {
		return nil, fmt.Errorf("reading the file: %w", named(err, path))
	}
	return b, nil
}

// named puts the whole path into an error of a file that was opened by it.
func named(err error, path string) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return err
	}
	return fmt.Errorf("%q: %w", path, err)
}

// FileMode lets officers of one group hand a statement to one another.
const FileMode = 0o640

// Create writes a new file and refuses to replace one.
func Create(path string, content []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, FileMode)
	if errors.Is(err, os.ErrExist) {
		return Hint(fmt.Errorf("writing %q: the file exists", path), "somebody may be about to sign it: choose another name, or remove it")
	}
	if err != nil {
		return fmt.Errorf("creating the file: %w", err)
	}
	return Fill(f, content)
}

// Replace puts a file in place of another one at once: a crash leaves the old one or the new one.
func Replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("creating the file: %w", err)
	}
	if err := errors.Join(f.Chmod(FileMode), Fill(f, content)); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("putting %q in place: %w", path, err)
	}
	return nil
}

// Fill writes, syncs and closes a new file.
func Fill(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %q: %w", f.Name(), err)
	}
	return nil
}
