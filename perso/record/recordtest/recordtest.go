// Package recordtest is the conformance check of canonical records: it spells a record in every other way that we could
// think of, and demands that each is refused or means something else. Packages that define kinds of records run it in
// their tests; the product does not import it.
package recordtest

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Canonical demands that decode reads text, writes it back as it was, and refuses every other spelling. decode parses
// and encodes again.
func Canonical(t *testing.T, text []byte, decode func([]byte) ([]byte, error)) {
	t.Helper()
	again, err := decode(text)
	if err != nil || !bytes.Equal(again, text) {
		t.Fatalf("%v, reading back\n%s\ngave\n%s", err, text, again)
	}
	for name, other := range spellings(string(text)) {
		again, err := decode([]byte(other))
		switch {
		case err == nil && !bytes.Equal(again, []byte(other)):
			t.Errorf("%s: a second spelling was accepted:\n%s\nis read as\n%s", name, other, again)
		case err == nil && bytes.Equal(again, text):
			t.Errorf("%s: changed nothing", name)
		}
	}
}

var (
	decimal = regexp.MustCompile(`^[0-9]+$`)
	stamp   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T.*Z$`)
)

// spellings yields texts that a careless reader would take for the same record.
func spellings(text string) func(func(name, other string) bool) {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	lines[len(lines)-1] += "\n"
	return func(yield func(name, other string) bool) {
		whole := map[string]string{
			"no last newline": strings.TrimSuffix(text, "\n"), "blank line after": text + "\n", "blank line before": "\n" + text,
			"CRLF": strings.ReplaceAll(text, "\n", "\r\n"), "byte order mark": "\ufeff" + text, "zero byte after": text + "\x00",
			"upper case kind": strings.Replace(text, "persoline/1", "Persoline/1", 1), "two records": text + text,
		}
		for name, other := range whole {
			if !yield(name, other) {
				return
			}
		}
		for i, line := range lines {
			with := func(l string) string {
				return strings.Join(lines[:i], "") + l + strings.Join(lines[i+1:], "")
			}
			for name, l := range respell(line) {
				if other := with(l); other != text && !yield(fmt.Sprintf("line %d: %s", i+1, name), other) {
					return
				}
			}
			if i > 0 && lines[i-1] != line && !yield(fmt.Sprintf("lines %d and %d swapped", i, i+1),
				strings.Join(lines[:i-1], "")+line+lines[i-1]+strings.Join(lines[i+1:], "")) {
				return
			}
		}
	}
}

func respell(line string) map[string]string {
	key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	out := map[string]string{
		"dropped": "", "doubled": line + line, "two blanks": key + "  " + value + "\n", "tab": key + "\t" + value + "\n",
		"blank at the end": key + " " + value + " \n", "no value": key + "\n", "empty value": key + " \n",
		"blank before": " " + line, "upper case key": strings.ToUpper(key) + " " + value + "\n",
		"upper case value": key + " " + strings.ToUpper(value) + "\n", "no-break space": key + " " + value + "\u00a0\n",
		"not UTF-8": key + " " + value + "\xff\n", "escape character": key + " " + value + "\x1b\n",
		"line separator": key + " " + value + "\u2028\n", "zero for none": strings.Replace(line, " -\n", " "+strings.Repeat("0", 64)+"\n", 1),
	}
	if decimal.MatchString(value) {
		out["leading zero"], out["plus"], out["hexadecimal"] = key+" 0"+value+"\n", key+" +"+value+"\n", key+" 0x"+value+"\n"
		out["underscore"], out["too large"] = key+" "+value+"_0\n", key+" 99999999999999999999999\n"
	}
	if stamp.MatchString(value) {
		out["offset"], out["short fraction"] = strings.Replace(line, "Z", "+00:00", 1), key+" "+value[:len(value)-2]+"Z\n"
		out["comma"] = strings.Replace(line, ".", ",", 1)
	}
	return out
}
