package pcom

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/script"
)

// Options say what a file does not say itself.
type Options struct {
	// FirstByte is the number, 0 or 1, that W and R give to the first byte of an answer, of which the status word is the
	// end. There are readers of both kinds; with any other value, a file that uses W or R is refused.
	FirstByte int
}

// NoFirstByte is the FirstByte of who does not know.
const NoFirstByte = -1

// Result is what was read.
type Result struct {
	Text     []byte   // lines of the project's language, formatted
	Commands int      // in it
	Powers   int      // power cycles in it
	Files    []string // the file and all that it calls, in order of first use
}

// Import reads a file of a folder, and what it calls from there. The error is script.Faults when the text is at fault.
func Import(folder fs.FS, name string, o Options) (Result, error) {
	src, err := fs.ReadFile(folder, name)
	if err != nil {
		return Result{}, fmt.Errorf("reading %q: %w", name, err)
	}
	im := &importer{folder: folder, options: o, defines: map[string][]byte{}, stack: []string{name}}
	im.result.Files = []string{name}
	fmt.Fprintf(&im.out, "; From %s, in PCOM. These are commands to include in a phase; 'perso script check' judges what they come to.\n\n", name)
	im.text("", src)
	if len(im.faults) > 0 {
		return Result{}, im.faults
	}
	if im.result.Text, err = script.Format(im.out.Bytes()); err != nil {
		return Result{}, fmt.Errorf("formatting what %q came to: %w", name, err) // a comment that is no text
	}
	return im.result, nil
}

type importer struct {
	folder  fs.FS
	options Options
	stack   []string
	defines map[string][]byte
	faults  script.Faults
	out     bytes.Buffer
	result  Result

	off    bool   // the power
	answer []byte // to the last command, data and status, as far as the file says all of it; else nil
}

// char is a byte of a line and where it was written. A definition's bytes are where it is used.
type char struct {
	b   byte
	pos script.Pos
}

func (im *importer) bad(pos script.Pos, hint, format string, a ...any) {
	if len(im.faults) < script.MaxFaults {
		im.faults = append(im.faults, script.Fault{Pos: pos, Rule: script.RuleSyntax, What: fmt.Sprintf(format, a...), Hint: hint})
	}
}

// text reads one file. A line that ends in a backslash goes on in the next.
func (im *importer) text(file string, src []byte) {
	var current []char
	var comments []string
	lines := bufio.NewScanner(bytes.NewReader(src))
	lines.Buffer(nil, maxFileBytes)
	n, goesOn := 0, false
	for lines.Scan() {
		n++
		text, comment := cutComment(lines.Text())
		if comment != "" {
			comments = append(comments, comment)
		}
		text = strings.TrimRight(text, " \t\r")
		text, goesOn = strings.CutSuffix(text, `\`)
		for i := range len(text) {
			current = append(current, char{text[i], script.Pos{File: file, Line: n, Col: i + 1}})
		}
		if goesOn {
			continue
		}
		im.line(current, comments, len(strings.TrimSpace(lines.Text())) == 0)
		current, comments = nil, nil
	}
	at := script.Pos{File: file, Line: n + 1, Col: 1}
	if err := lines.Err(); err != nil {
		im.bad(at, "is it a text?", "reading the line: %v", err)
	}
	if goesOn {
		im.bad(at, "remove the last backslash", "the file ends in a continuation")
	}
}

// placeForm is W(pos;len), whose semicolon begins no comment.
var placeForm = regexp.MustCompile(`[WR]\([ 0-9]*;[ 0-9]*\)`)

func cutComment(line string) (text, comment string) {
	from := 0
	for _, place := range placeForm.FindAllStringIndex(line, -1) {
		if strings.Contains(line[from:place[0]], ";") {
			break
		}
		from = place[1]
	}
	text, comment, _ = strings.Cut(line[from:], ";")
	return line[:from] + text, strings.TrimSpace(comment)
}

// line reads one line and writes what it comes to.
func (im *importer) line(l []char, comments []string, blank bool) {
	l = trim(l)
	switch {
	case blank:
		im.out.WriteByte('\n')
		return
	case len(l) == 0:
		im.write("", comments)
		return
	case l[0].b == '.':
		im.write(im.directive(l), comments)
		return
	}
	if len(im.stack) > 1 && strings.HasSuffix(im.stack[len(im.stack)-1], ".var") {
		im.bad(l[0].pos, "move it to a .pcom file", "a command in a .var file, which holds definitions")
		return
	}
	if l = im.expand(l); l == nil {
		return
	}
	if im.off {
		im.bad(l[0].pos, "write .POWER_ON before it", "a command behind .POWER_OFF")
		return
	}
	im.write(im.command(l), comments)
}

// write puts out a line with its comments. Those of a line that goes on in others stand before it.
func (im *importer) write(text string, comments []string) {
	if text == "" || len(comments) > 1 {
		for _, c := range comments {
			im.out.WriteString("; " + c + "\n")
		}
		comments = nil
	}
	if text == "" {
		return
	}
	im.out.WriteString(text)
	if len(comments) > 0 {
		im.out.WriteString("  ; " + comments[0])
	}
	im.out.WriteByte('\n')
}

func trim(l []char) []char {
	blank := func(c char) bool { return c.b == ' ' || c.b == '\t' }
	for len(l) > 0 && blank(l[0]) {
		l = l[1:]
	}
	for len(l) > 0 && blank(l[len(l)-1]) {
		l = l[:len(l)-1]
	}
	return l
}

// words cuts a directive; each word keeps the place of its first byte.
func words(l []char) (texts []string, places []script.Pos) {
	inside := false
	for _, c := range l {
		if c.b == ' ' || c.b == '\t' {
			inside = false
			continue
		}
		if !inside {
			texts, places, inside = append(texts, ""), append(places, c.pos), true
		}
		texts[len(texts)-1] += string(rune(c.b))
	}
	return texts, places
}

const known = ".DEFINE .ALLUNDEFINE .CALL .POWER_ON .POWER_OFF .INSERT"

// directive reads a line that begins with a dot, and gives what stands for it.
func (im *importer) directive(l []char) string {
	text, at := words(l)
	most := map[string]int{".DEFINE": len(text), ".ALLUNDEFINE": 1, ".CALL": 2, ".POWER_ON": 2, ".POWER_OFF": 1, ".INSERT": 1}
	name := strings.ToUpper(text[0])
	n, is := most[name]
	switch {
	case !is:
		im.bad(at[0], "what is read is "+known, "directive %q", text[0])
		return ""
	case len(text) > n:
		im.bad(at[n], "remove it", "%q behind %s", text[n], name)
		return ""
	}
	switch name {
	case ".DEFINE":
		im.define(l, text, at)
	case ".ALLUNDEFINE":
		clear(im.defines)
	case ".CALL":
		im.call(text, at)
	case ".POWER_OFF":
		im.off, im.answer = true, nil
	case ".POWER_ON":
		if len(text) == 2 && !strings.EqualFold(text[1], "/COLD") {
			im.bad(at[1], "only a cold reset takes the power away", "%q behind .POWER_ON", text[1])
		}
		im.off, im.answer = false, nil
		if im.result.Commands > 0 { // before, the line has powered the chip
			im.result.Powers++
			return ".POWER"
		}
	}
	return ""
}

var (
	nameForm = regexp.MustCompile(`^%[A-Za-z_][A-Za-z0-9_]*$`)
	fileForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*\.(pcom|var)$`)
)

// define keeps a text; what it uses is filled in at once.
func (im *importer) define(l []char, text []string, at []script.Pos) {
	const hint = "write .DEFINE %NAME value"
	if len(text) < 2 || !nameForm.MatchString(text[1]) {
		im.bad(at[min(1, len(at)-1)], hint, "a definition without a name")
		return
	}
	if len(text) < 3 {
		im.bad(at[1], hint, "%s without a value", text[1])
		return
	}
	start := slices.IndexFunc(l, func(c char) bool { return c.pos == at[2] })
	value := im.expand(l[start:])
	if value == nil {
		return
	}
	if value[0].b == 'R' {
		if value = im.answered(value, 'R'); value == nil {
			return
		}
	}
	var b []byte
	for _, c := range value {
		b = append(b, c.b)
	}
	im.defines[text[1]] = b
}

// call reads another file in place of the line.
func (im *importer) call(text []string, at []script.Pos) {
	if len(text) < 2 {
		im.bad(at[0], "write .CALL file.pcom", ".CALL without a file")
		return
	}
	name := text[1]
	switch {
	case !fileForm.MatchString(name):
		im.bad(at[1], "name a .pcom or .var file of the same folder", "%q is no file to call", name)
		return
	case slices.Contains(im.stack, name):
		im.bad(at[1], "remove one of the lines", "%q calls itself: %s", name, strings.Join(append(im.stack, name), " → "))
		return
	case len(im.stack) > maxDepth || len(im.result.Files) >= maxFiles:
		im.bad(at[1], "put files together", "more than %d files deep or %d in all", maxDepth, maxFiles)
		return
	}
	src, err := fs.ReadFile(im.folder, name)
	if err == nil && len(src) > maxFileBytes {
		err = errTooLarge
	}
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		im.bad(at[1], "name a file of the same folder", "reading %q: %v", name, err)
		return
	}
	im.result.Files = append(im.result.Files, name)
	im.stack = append(im.stack, name)
	im.text(name, src)
	im.stack = im.stack[:len(im.stack)-1]
}

var errTooLarge = errors.New("it is too large for a script")

// expand fills definitions in. It gives nil, and has said why, when it cannot.
func (im *importer) expand(l []char) []char {
	var out []char
	for i := 0; i < len(l); i++ {
		if l[i].b != '%' {
			out = append(out, l[i])
			continue
		}
		end := i + 1
		for end < len(l) && (l[end].b == '_' || l[end].b >= '0' && l[end].b <= '9' || l[end].b|0x20 >= 'a' && l[end].b|0x20 <= 'z') {
			end++
		}
		var name []byte
		for _, c := range l[i:end] {
			name = append(name, c.b)
		}
		value, is := im.defines[string(name)]
		if !is {
			im.bad(l[i].pos, "define it before", "%s is not defined", name)
			return nil
		}
		for _, b := range value {
			out = append(out, char{b, l[i].pos})
		}
		if len(out) > maxLineBytes {
			im.bad(l[i].pos, "cut it", "a line of more than %d bytes", maxLineBytes)
			return nil
		}
		i = end - 1
	}
	return out
}
