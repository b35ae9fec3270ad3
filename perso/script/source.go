package script

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso/scp"
)

// Limits of what a script is put together from. One that includes itself in a circle is refused anyway; these keep one
// that doubles with each step from taking all memory.
const (
	MaxIncludeDepth = 8
	MaxIncludes     = 64
)

// fileForm is the name of a file that a script may name: in its own folder, never hidden, with no way out of it.
var fileForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const fileHint = "name a file of the script's own folder: letters, digits, dot, hyphen and underscore"

// text reads the lines of one source. file is empty for the script itself.
func (c *compiler) text(file string, src []byte) {
	at := Pos{File: file, Line: 1, Col: 1}
	if c.read += len(src); c.read > MaxSourceBytes {
		c.stopped = true
		c.report(faultAt(at, "split the product", "source of %d bytes, limit %d", c.read, MaxSourceBytes).of(RuleLimit))
		return
	}
	outer := len(c.with)
	for _, l := range scan(file, string(src), c.report) {
		if c.stopped {
			return
		}
		if fault := c.line(&cursor{line: l}); fault != nil {
			c.report(fault)
		}
	}
	if len(c.with) > outer {
		c.report(faultAt(c.with[len(c.with)-1].pos, "close it with "+directiveEnd+" in the same file", "%s without %s", directiveWith, directiveEnd))
		c.with = c.with[:outer]
	}
}

// includeLine reads ".INCLUDE file": its lines stand in place of this one.
func (c *compiler) includeLine(t token, cur *cursor) *Fault {
	name, fault := cur.expect(kindWord, "write .INCLUDE file")
	if fault != nil {
		return fault
	}
	c.included++
	switch {
	case slices.Contains(c.stack, name.text):
		return faultAt(name.pos, "remove one of the lines", "%s includes itself: %s", name, strings.Join(append(c.stack, name.text), " → "))
	case len(c.stack) > MaxIncludeDepth || c.included > MaxIncludes:
		return faultAt(name.pos, "put files together", "more than %d files deep or %d in all", MaxIncludeDepth, MaxIncludes).of(RuleLimit)
	}
	src, fault := c.open(name.text, name.pos, MaxSourceBytes)
	if fault != nil {
		return fault
	}
	if t := cur.peek(); t.kind != kindEnd {
		return faultAt(t.pos, "one directive per line", "unexpected %s after %s", t, directiveInclude)
	}
	c.stack = append(c.stack, name.text)
	c.text(name.text, src)
	c.stack = c.stack[:len(c.stack)-1]
	return nil
}

// open reads a file of the script's folder.
func (c *compiler) open(name string, pos Pos, limit int) ([]byte, *Fault) {
	if !fileForm.MatchString(name) {
		return nil, faultAt(pos, fileHint, "%q is no file name", name)
	}
	if c.folder == nil {
		return nil, faultAt(pos, "give the script as a file", "there is no folder to read %q from", name)
	}
	f, err := c.folder.Open(name)
	if err != nil {
		return nil, unreadable(name, pos, err)
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, unreadable(name, pos, err)
	}
	if len(b) > limit {
		return nil, faultAt(pos, "cut it, or name the right file", "%q has more than the %d bytes that are possible here", name, limit).of(RuleLimit)
	}
	return b, nil
}

func unreadable(name string, pos Pos, err error) *Fault {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return faultAt(pos, fileHint, "reading %q: %v", name, err)
}

// content is what @file or @file[from+count] stands for.
func (c *compiler) content(text string, pos Pos, limit int) ([]byte, *Fault) {
	name, part, cut := strings.Cut(text, "[")
	if !cut {
		return c.whole(name, pos, limit)
	}
	b, fault := c.whole(name, pos, maxArchiveBytes)
	if fault != nil {
		return nil, fault
	}
	m := partForm.FindStringSubmatch("[" + part) // scanned so
	from, err := strconv.Atoi(m[1])
	count := len(b) - from
	if m[2] != "" && err == nil {
		count, err = strconv.Atoi(m[2])
	}
	if err != nil || from+count > len(b) || count < 1 || count > limit {
		return nil, faultAt(pos, "bytes count from 0", "%q of a file of %d bytes, where %d are possible", text, len(b), limit).of(RuleLimit)
	}
	return b[from : from+count], nil
}

// whole is the bytes of a file, of a .hex file what its digits say, of a .cap file the load file of its components.
func (c *compiler) whole(name string, pos Pos, limit int) ([]byte, *Fault) {
	switch {
	case strings.HasSuffix(name, ".hex"):
		const perByte, layout = 2, 1024 // digits, and some blanks and line ends
		text, fault := c.open(name, pos, perByte*limit+layout)
		if fault != nil {
			return nil, fault
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			return nil, faultAt(pos, "a .hex file holds hex digits and blanks only", "reading %q: %v", name, err)
		}
		return b, nil
	case strings.HasSuffix(name, ".cap"):
		archive, fault := c.open(name, pos, maxArchiveBytes)
		if fault != nil {
			return nil, fault
		}
		b, err := loadFile(archive, limit)
		if err != nil {
			return nil, faultAt(pos, "name a CAP file of a Java Card converter", "reading %q: %v", name, err)
		}
		return b, nil
	}
	return c.open(name, pos, limit)
}

// declaration is where a name was declared in the script itself, and whether anything uses it.
type declaration struct {
	pos  Pos
	used bool
}

func (c *compiler) used(name string) {
	if d := c.declared[name]; d != nil {
		d.used = true
	}
}

// declare checks a new name.
func (c *compiler) declare(t token) *Fault {
	if !name(variableName, t.text) {
		return faultAt(t.pos, varHint, "name %s", t)
	}
	if c.declared[t.text] != nil {
		return faultAt(t.pos, "give it a name of its own", "second %s", t).of(RuleName)
	}
	c.declared[t.text] = &declaration{pos: t.pos}
	return nil
}

// defineLine reads ".DEFINE NAME <content>": {NAME} stands for the content from here on.
func (c *compiler) defineLine(cur *cursor) *Fault {
	const hint = "write .DEFINE NAME <content>"
	t, fault := cur.expect(kindWord, hint)
	if fault != nil {
		return fault
	}
	open, fault := cur.expect(kindOpen, hint)
	if fault != nil {
		return fault
	}
	body, fault := c.contentOf(cur, open, MaxLoadBytes)
	if fault != nil {
		return fault
	}
	if _, known := c.vars[t.text]; known {
		return faultAt(t.pos, "give it a name of its own", "%s is a variable", t).of(RuleName)
	}
	if fault := c.declare(t); fault != nil {
		return fault
	}
	c.defined[t.text] = body
	return nil
}

var varHint = fmt.Sprintf("names are upper case, lengths 1 to %d", MaxVarBytes)

func (v Var) valid(s string) bool {
	most := MaxVarBytes
	if v.Package {
		most = scp.MaxPackage
	}
	return name(variableName, s) && v.Len >= 1 && v.Len <= most
}

// varLine reads ".VAR NAME bytes [SECRET]": a variable that the product's catalogue does not have, or has exactly so.
func (c *compiler) varLine(cur *cursor) *Fault {
	const hint = "write .VAR NAME bytes, and SECRET behind it if it is one"
	t, fault := cur.expect(kindWord, hint)
	if fault != nil {
		return fault
	}
	length, fault := cur.expect(kindWord, hint)
	if fault != nil {
		return fault
	}
	n, err := strconv.Atoi(length.text)
	v := Var{Len: n}
	if mark, found := cur.accept(kindWord); found {
		if mark.text != "SECRET" {
			return faultAt(mark.pos, hint, "%s behind the length", mark)
		}
		v.Secret = true
	}
	if err != nil || !v.valid(t.text) {
		return faultAt(t.pos, varHint, "variable %s of %s bytes", t, length)
	}
	if known, found := c.vars[t.text]; found && known != v {
		return faultAt(t.pos, "give it a name of its own, or declare it as it is", "%s is another variable of the product: %d bytes, secret %v", t, known.Len, known.Secret).of(RuleName)
	}
	if fault := c.declare(t); fault != nil {
		return fault
	}
	c.vars[t.text] = v
	return nil
}
