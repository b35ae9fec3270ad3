package script

import (
	"regexp"
	"strings"
)

// Layout of a formatted source.
const (
	// labelColumn is where commands begin when no label of the file needs more; mostLabelColumn is as far as labels push them.
	labelColumn     = 9
	mostLabelColumn = 17
	// widestAligned is the longest command whose status is put under the others'.
	widestAligned = 80
	// leastIndent is that of a line that continues a directive.
	leastIndent = 4
)

// Format lays a source out: one blank between words, labels and statuses in columns, hex in upper case, at most one empty
// line. Comments stay, and so do the breaks of long commands. The compiled script does not change. Its error is Faults: the
// text cannot be cut into words.
func Format(src []byte) ([]byte, error) {
	var faults Faults
	scan("", string(src), func(f *Fault) { faults = append(faults, *f) })
	if len(faults) > 0 {
		return nil, faults.sorted()
	}
	rows := readRows(string(src))
	column := labelColumnOf(rows)
	var out strings.Builder
	for i := 0; i < len(rows); {
		n := blockAt(rows[i:])
		writeBlock(&out, rows[i:i+n], column)
		i += n
	}
	return []byte(out.String()), nil
}

// row is one physical line.
type row struct {
	tokens    line
	comment   string // with its semicolon
	indent    int
	continues bool // ends in a backslash
	continued bool // the row before did
	command   bool // of a command, not of a directive
}

func (r *row) blank() bool { return len(r.tokens) == 0 && r.comment == "" && !r.continues }

// readRows cuts a source that scans well into rows, without empty ones at either end and without two in a row.
func readRows(src string) (rows []row) {
	depth, condition, command, continued := 0, false, false, false
	for text := range strings.SplitSeq(src, "\n") {
		r := row{continued: continued}
		before, comment, commented := strings.Cut(text, ";")
		if commented {
			r.comment = ";" + strings.TrimRight(comment, " \t\r")
		}
		before = strings.TrimRight(before, " \t\r")
		before, r.continues = strings.CutSuffix(before, `\`)
		r.tokens, _ = scanTokens(nil, before, Pos{}) // Format has scanned it
		r.indent = len(text) - len(strings.TrimLeft(text, " \t"))
		if !continued {
			depth, command = 0, isCommand(r.tokens)
			condition = len(r.tokens) > 0 && r.tokens[0].text == ".SECTION"
		}
		r.command = command && (len(r.tokens) > 0 || r.continues)
		depth = settle(r.tokens, depth, command, condition)
		if r.blank() && !continued && (len(rows) == 0 || rows[len(rows)-1].blank()) {
			continue
		}
		rows, continued = append(rows, r), r.continues
	}
	for len(rows) > 0 && rows[len(rows)-1].blank() {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// isCommand says whether a line begins a command: anything but a directive that is none.
func isCommand(l line) bool {
	return len(l) > 0 && (l[0].kind != kindWord || !strings.HasPrefix(l[0].text, ".") || commandDirective(l[0].text))
}

var hexForm = regexp.MustCompile(`^[0-9A-Fa-fXx]+(\*[0-9]+)?$`)

// settle writes hex and statuses in upper case, and marks with an empty text the [ of a condition, which stands at its label.
// depth counts open brackets, over the rows of one line.
func settle(l line, depth int, command, condition bool) int {
	for i := range l {
		switch t := &l[i]; t.kind {
		case kindOpen, kindOpenDGI, kindLeft:
			if t.kind == kindLeft && condition && depth == 0 {
				t.text = tight
			}
			depth++
		case kindClose, kindRight:
			depth--
		case kindMask:
			t.text = strings.ToUpper(strings.ReplaceAll(t.text, " ", ""))
		case kindWord:
			label := i+1 < len(l) && l[i+1].kind == kindColon
			set := i > 0 && (l[i-1].kind == kindEquals || l[i-1].kind == kindArrow)
			if hexForm.MatchString(t.text) && (depth > 0 || command && !label && !set) {
				t.text = strings.ToUpper(t.text)
			}
		}
	}
	return depth
}

// tight is the text of a bracket that stands at the word before it.
const tight = "tight"

// labelColumnOf is where the commands of a file begin.
func labelColumnOf(rows []row) int {
	column := labelColumn
	for i := range rows {
		if r := &rows[i]; r.labelled() {
			column = max(column, len(r.tokens[0].text)+2)
		}
	}
	return min(column, mostLabelColumn)
}

func (r *row) labelled() bool {
	return r.command && !r.continued && len(r.tokens) > 1 && r.tokens[0].kind == kindWord && r.tokens[1].kind == kindColon
}

// blockAt counts the rows at the beginning that are laid out together: commands under one another, or one row of another sort.
func blockAt(rows []row) int {
	n := 0
	for n < len(rows) && rows[n].command {
		n++
	}
	return max(n, 1)
}

// cells are the parts of a row that stand under one another.
type cells struct{ head, status, purpose string }

func writeBlock(out *strings.Builder, rows []row, column int) {
	all := make([]cells, len(rows))
	var wide, wideStatus, whole int
	shift := 0
	for i := range rows {
		r := &rows[i]
		if !r.continued {
			shift = r.move(column)
		}
		all[i] = r.cells(column, shift)
		if r.aligned(all[i]) {
			wide, wideStatus = max(wide, len(all[i].head)), max(wideStatus, len(all[i].status))
		}
	}
	texts := make([]string, len(rows))
	for i := range rows {
		texts[i] = strings.TrimRight(all[i].join(rows[i].aligned(all[i]), wide, wideStatus), " ")
		switch {
		case rows[i].continues && texts[i] == "":
			texts[i] = all[i].head + `\`
		case rows[i].continues:
			texts[i] += ` \`
		}
		if rows[i].comment != "" && len(texts[i]) <= widestAligned {
			whole = max(whole, len(texts[i]))
		}
	}
	for i := range rows {
		out.WriteString(rows[i].withComment(texts[i], whole, column))
		out.WriteByte('\n')
	}
}

// move is how far the text of a line moves, so that what continues it can move along.
func (r *row) move(column int) int {
	switch {
	case len(r.tokens) == 0:
		return 0
	case r.labelled() && len(r.tokens) > 2:
		return max(column, len(r.tokens[0].text)+2) - (r.tokens[2].pos.Col - 1)
	case r.labelled():
		return 0
	case r.command:
		return column - r.indent
	}
	return -r.indent
}

// aligned says that the row's status stands under others.
func (r *row) aligned(c cells) bool {
	return c.status != "" && !r.continued && !r.continues && len(c.head) <= widestAligned
}

func (r *row) cells(column, shift int) (c cells) {
	rest := r.tokens
	switch {
	case r.continued && r.command:
		c.head = strings.Repeat(" ", max(column, r.indent+shift))
	case r.continued:
		c.head = strings.Repeat(" ", max(leastIndent, r.indent+shift))
	case r.labelled():
		c.head = rest[0].text + ":"
		rest = rest[2:]
		c.head += strings.Repeat(" ", max(1, column-len(c.head)))
	case r.command:
		c.head = strings.Repeat(" ", column)
	}
	at := len(rest)
	for i, t := range rest {
		if t.kind == kindMask && r.command {
			at = i
			break
		}
	}
	c.head += join(rest[:at])
	if at < len(rest) {
		c.status, c.purpose = join(rest[at:at+1]), join(rest[at+1:])
	}
	return c
}

func (c cells) join(aligned bool, wide, wideStatus int) string {
	if c.status == "" {
		return c.head
	}
	text := c.head
	if aligned {
		text += strings.Repeat(" ", wide-len(text))
	}
	if strings.TrimSpace(text) != "" {
		text += " "
	}
	text += c.status
	if c.purpose == "" {
		return text
	}
	if aligned {
		text += strings.Repeat(" ", wideStatus-len(c.status))
	}
	return text + " " + c.purpose
}

// withComment puts the comment behind the text, under the others of the block; alone, it begins the row or the commands.
func (r *row) withComment(text string, whole, column int) string {
	switch {
	case r.comment == "":
		return text
	case strings.TrimSpace(text) == "" && r.indent == 0:
		return r.comment
	case strings.TrimSpace(text) == "":
		return strings.Repeat(" ", column) + r.comment
	}
	return text + strings.Repeat(" ", max(0, whole-len(text))) + "  " + r.comment
}

// join writes tokens with one blank between them, and none inside brackets and settings.
func join(l line) string {
	var b strings.Builder
	for i, t := range l {
		if i > 0 && apart(l[i-1], t) {
			b.WriteByte(' ')
		}
		b.WriteString(t.source())
	}
	return b.String()
}

func apart(before, t token) bool {
	switch before.kind {
	case kindOpen, kindLeft, kindEquals:
		return false
	}
	switch t.kind {
	case kindClose, kindRight, kindEquals, kindColon:
		return false
	case kindLeft:
		return t.text != tight
	}
	return true
}

// source is how the token is written.
func (t token) source() string {
	switch t.kind {
	case kindWord:
		return t.text
	case kindVariable:
		return "{" + t.text + "}"
	case kindMask:
		return "(" + t.text + ")"
	case kindFile:
		return "@" + t.text
	}
	return string(t.kind)
}
