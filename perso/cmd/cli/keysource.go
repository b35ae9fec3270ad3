package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/persoline/persoline/perso"
)

// maxSecretChars bounds one line of a secret: the longest component has 32 bytes in hex, with blanks.
const maxSecretChars = 128

// A source is where one person, or a TPM, gives a secret. Secrets never come on the command line, in the environment or in
// a URI: those are seen by every process of the host.
type source struct {
	spec   string
	prompt func() (*os.File, error) // of a terminal
	file   *os.File                 // of everything else, once opened
}

// sourceKinds are how a source is written.
const sourceKinds = "fd:N, file:PATH, tty:PATH or credential:NAME"

// parseSource reads a source's spelling.
func parseSource(spec string) (*source, error) {
	kind, value, ok := strings.Cut(spec, ":")
	if !ok || value == "" {
		return nil, Usage("source %q is not %s", spec, sourceKinds)
	}
	switch kind {
	case "tty":
		return &source{spec: spec, prompt: func() (*os.File, error) { return openTerminal(value) }}, nil
	case "fd":
		const firstOwn = 3
		n, err := strconv.Atoi(value)
		if err != nil || n < firstOwn {
			return nil, Usage("source %q: descriptors from 3 on can be inherited", spec)
		}
	case "credential":
		if strings.ContainsRune(value, '/') {
			return nil, Usage("source %q: a credential is a name", spec)
		}
	case "file":
	default:
		return nil, Usage("source %q is not %s", spec, sourceKinds)
	}
	return &source{spec: spec}, nil
}

// open opens what is no terminal, once: the secrets of one source come one after the other.
func (s *source) open() (err error) {
	if s.file != nil {
		return nil
	}
	kind, value, _ := strings.Cut(s.spec, ":")
	switch kind {
	case "fd":
		n, _ := strconv.Atoi(value) // parsed before
		s.file = os.NewFile(uintptr(n), s.spec)
		return s.private()
	case "credential":
		dir := os.Getenv("CREDENTIALS_DIRECTORY") // systemd's word for where the credentials are; no secret itself
		if dir == "" {
			return fmt.Errorf("opening source %q: no credential was handed to this process", s.spec)
		}
		value = filepath.Join(dir, value)
	}
	if s.file, err = os.Open(value); err != nil {
		return fmt.Errorf("opening source %q: %w", s.spec, err)
	}
	return s.private()
}

// private refuses a file or named pipe that others may read, however it was handed over.
func (s *source) private() error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("opening source %q: %w", s.spec, err)
	}
	const others = 0o077
	if kind := info.Mode().Type(); (kind == 0 || kind == fs.ModeNamedPipe) && info.Mode().Perm()&others != 0 {
		return Hint(fmt.Errorf("source %q has permissions %s: others can read it", s.spec, info.Mode().Perm()), "chmod 600, and ask whether it is still a secret")
	}
	return nil
}

// line reads the next secret; the caller wipes it. what is shown on a terminal, whose echo is off.
func (s *source) line(what string) ([]byte, error) {
	if s.prompt != nil {
		return s.ask(what)
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, maxSecretChars)
	one := make([]byte, 1) // byte by byte: a buffer would keep what belongs to the next line
	defer clear(one)
	for {
		n, err := s.file.Read(one)
		if n == 1 && one[0] != '\n' {
			if len(buf) == maxSecretChars {
				clear(buf)
				return nil, fmt.Errorf("reading from %q: a line of more than %d characters", s.spec, maxSecretChars)
			}
			buf = append(buf, one[0])
			continue
		}
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			clear(buf)
			return nil, fmt.Errorf("reading from %q: %w", s.spec, err)
		}
		if len(buf) == 0 {
			return nil, fmt.Errorf("reading from %q: it has no further line", s.spec)
		}
		return buf, nil
	}
}

func (s *source) ask(what string) ([]byte, error) {
	f, err := s.prompt()
	if err != nil {
		return nil, fmt.Errorf("opening the terminal: %w", err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s (nothing is shown): ", what)
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(f)
	if err != nil {
		return nil, fmt.Errorf("reading from the terminal: %w", err)
	}
	return b, nil
}

// terminal is the source of somebody who is named in no flag: the terminal that the command runs on.
func terminal() *source {
	return &source{spec: "tty:/dev/tty", prompt: func() (*os.File, error) { return openTerminal("/dev/tty") }}
}

// openTerminal opens what is a terminal and nothing else: a prompt would overwrite the beginning of a file.
func openTerminal(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if !term.IsTerminal(int(f.Fd())) {
		return nil, errors.Join(Usage("source \"tty:%s\": it is no terminal; file:PATH reads a file", path), f.Close())
	}
	return f, nil
}

// sources are what people give secrets from, by person.
type sources map[perso.Name]*source

// parseSources reads "person=source" pairs. Two persons never share one: whoever controls it would have both secrets.
func parseSources(flag string, pairs []string) (sources, error) {
	out := sources{}
	for _, p := range pairs {
		id, spec, ok := strings.Cut(p, "=")
		name, err := perso.ParseName(id)
		if !ok || err != nil {
			return nil, Usage("%s %q is not PERSON=SOURCE", flag, p)
		}
		s, err := parseSource(spec)
		if err != nil {
			return nil, err
		}
		for other, o := range out {
			if other == name || o.spec == s.spec || o.sameFile(s) {
				return nil, Usage("%s: %q and %q would give their secrets from one place", flag, other, name)
			}
		}
		out[name] = s
	}
	return out, nil
}

// sameFile reports whether two sources are one file under two names.
func (s *source) sameFile(o *source) bool {
	a, errA := s.stat()
	b, errB := o.stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func (s *source) stat() (os.FileInfo, error) {
	kind, value, _ := strings.Cut(s.spec, ":")
	switch kind {
	case "fd":
		return os.Stat("/proc/self/fd/" + value)
	case "credential":
		return os.Stat(filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), value))
	}
	return os.Stat(value)
}

// of gives a person's source.
func (s sources) of(id perso.Name) *source {
	if own, ok := s[id]; ok {
		return own
	}
	return terminal()
}
