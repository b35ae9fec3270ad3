package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Ended says how a zone's process came to its end, and what becomes of it.
type Ended struct {
	Zone  string
	How   string        // "exit status 1", "killed by signal 9 (killed)", "it could not be started: …"
	Words string        // the last error that it wrote, on one line; empty when it said nothing
	Log   string        // file with everything that it wrote
	Again time.Duration // until it is started again
}

// String says it to people.
func (e Ended) String() string {
	words := e.Words
	if words == "" {
		words = "it said nothing of an error"
	}
	return fmt.Sprintf("%s ended (%s): %s; it is started again in %.1f s, and %s says more", e.Zone, e.How, words, e.Again.Seconds(), e.Log)
}

// Attrs says it to programs. The message is "zone ended"; these keys do not change.
func (e Ended) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("zone", e.Zone), slog.String("how", e.How), slog.String("err", e.Words), slog.String("log", e.Log), slog.Duration("again_in", e.Again)}
}

// howEnded tells an exit of its own from a signal: after a signal the zone had no time for words.
func howEnded(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err == nil {
			return "exit status 0"
		}
		return fmt.Sprintf("it could not be started: %v", err)
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", int(s.Signal()), s.Signal())
	}
	return exit.ProcessState.String()
}

const (
	// lastBytes bounds how much of a zone's output is looked through: a Go program that panics tells all its goroutines.
	lastBytes = 64 << 10
	// maxWords bounds what of a line is repeated.
	maxWords = 400
)

// lastWords finds the last error that a zone wrote into its log after a place in it. A log that can't be read has none.
func lastWords(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() // only read
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-lastBytes)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, lastBytes))
	if err != nil {
		return ""
	}
	var last string
	for line := range bytes.Lines(text) {
		if said := errorIn(strings.TrimSpace(string(line))); said != "" {
			last = said
		}
	}
	return seen(last)
}

// errorIn takes the error out of a line: of a command's end, of a panic, or of a log record that warns.
func errorIn(line string) string {
	if said, ok := strings.CutPrefix(line, "perso: error: "); ok {
		return said
	}
	if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
		return line
	}
	var r struct {
		Level slog.Level `json:"level"`
		Msg   string     `json:"msg"`
		Err   string     `json:"err"`
	}
	if json.Unmarshal([]byte(line), &r) != nil || r.Level < slog.LevelWarn {
		return ""
	}
	if r.Err == "" {
		return r.Msg
	}
	return r.Msg + ": " + r.Err
}

// seen makes a text fit for a terminal: nothing in it moves a cursor.
func seen(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxWords {
		return string(runes[:maxWords]) + "…"
	}
	return text
}
