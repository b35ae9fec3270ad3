package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/persoline/persoline/perso"
)

// document collects faults while a file is read. YAML's more surprising features (anchors, aliases, tags, merged keys,
// several documents, one key twice) are refused: what two people reviewed is what is done.
type document struct{ faults Faults }

// mapping is one YAML mapping being read. Each field is taken once; end refuses those that nobody took.
type mapping struct {
	doc   *document
	path  string
	line  int
	items map[string]*yaml.Node
	order []string
	taken map[string]bool
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// root parses the text; nil after a fault of the YAML itself.
func (d *document) root(b []byte) *mapping {
	if len(b) > MaxBytes {
		d.add(1, "file", "%d bytes, at most %d", len(b), MaxBytes)
		return nil
	}
	if !d.plain(b) {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var top, more yaml.Node
	if err := dec.Decode(&top); errors.Is(err, io.EOF) {
		d.add(1, "file", "it is empty")
		return nil
	} else if err != nil {
		line, what := 1, err.Error()
		if m := yamlLine.FindStringSubmatch(what); m != nil {
			line, _ = strconv.Atoi(m[1])
			what = m[2]
		}
		d.add(line, "file", "this is no YAML: %s", what)
		return nil
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		d.add(max(more.Line, 1), "file", "it holds more than one document")
		return nil
	}
	return d.mapping("", top.Content[0])
}

// plain demands text that every reviewer's program shows alike: UTF-8 without a byte order mark, and no character, in a remark
// neither, that is not seen or moves others. YAML's own reader takes UTF-16 as well.
func (d *document) plain(b []byte) bool {
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe")), bytes.HasPrefix(b, []byte("\xfe\xff")):
		d.add(1, "file", "it is UTF-16: save it as UTF-8 without a byte order mark")
		return false
	case bytes.HasPrefix(b, []byte("\ufeff")):
		d.add(1, "file", "it begins with a byte order mark: save it as UTF-8 without one")
		return false
	}
	line := 1
	for rest := b; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && n == 1:
			d.add(line, "file", "byte %02x is not UTF-8: save the file as UTF-8", rest[0])
			return false
		case r == '\n':
			line++
		case r != '\r' && r != '\t' && unseen(r):
			d.add(line, "file", "character %U can't be seen by a reviewer: take it out", r)
			return false
		}
		rest = rest[n:]
	}
	return true
}

func (d *document) add(line int, field, format string, a ...any) {
	d.faults = append(d.faults, Fault{Line: line, Field: field, What: fmt.Sprintf(format, a...)})
}

// mapping takes a node apart.
func (d *document) mapping(path string, n *yaml.Node) *mapping {
	m := &mapping{doc: d, path: path, line: n.Line, items: map[string]*yaml.Node{}, taken: map[string]bool{}}
	if n.Kind != yaml.MappingNode || marked(n) {
		d.add(n.Line, field(path, "it"), "fields with values are expected here")
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch _, twice := m.items[k.Value]; {
		case k.Kind != yaml.ScalarNode || marked(k) || k.Tag == "!!merge":
			d.add(k.Line, field(path, "it"), "a field's name is plain text")
		case strings.Trim(k.Value, "abcdefghijklmnopqrstuvwxyz_") != "":
			d.add(k.Line, field(path, "it"), "there is no field %q", k.Value)
		case twice:
			d.add(k.Line, field(path, k.Value), "it stands here twice")
		default:
			m.items[k.Value] = v
			m.order = append(m.order, k.Value)
		}
	}
	return m
}

// marked says whether a node has an anchor or a tag: what they do, the page does not show.
func marked(n *yaml.Node) bool { return n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 }

func field(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// fault is one of this mapping's.
func (m *mapping) fault(key, format string, a ...any) {
	line := m.line
	if n := m.items[key]; n != nil {
		line = n.Line
	}
	m.doc.add(line, field(m.path, key), format, a...)
}

// take gives a field's node; a missing one is a fault when it is needed.
func (m *mapping) take(key string, needed bool) *yaml.Node {
	m.taken[key] = true
	n := m.items[key]
	if n == nil && needed {
		m.fault(key, "it is missing")
	}
	return n
}

// text takes a scalar as it is written.
func (m *mapping) text(key string) string {
	n := m.take(key, true)
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || marked(n) || n.Value == "" {
		m.fault(key, "one value is expected here")
		return ""
	}
	if strings.ContainsFunc(n.Value, unseen) { // by an escape: the file itself has none
		m.fault(key, "%q is not on one line, or has characters that can't be seen", n.Value)
		return ""
	}
	return n.Value
}

// value takes a scalar and parses it.
func value[T any](m *mapping, key string, parse func(string) (T, error)) (v T) {
	before := len(m.doc.faults)
	s := m.text(key)
	if len(m.doc.faults) > before {
		return v
	}
	v, err := parse(s)
	if err != nil {
		m.fault(key, "%v", err)
	}
	return v
}

func (m *mapping) mapping(key string) *mapping {
	if n := m.take(key, true); n != nil {
		return m.doc.mapping(field(m.path, key), n)
	}
	return nil
}

func (m *mapping) optionalMapping(key string) *mapping {
	if m.items[key] == nil {
		return nil
	}
	return m.mapping(key)
}

// list takes a sequence of mappings.
func (m *mapping) list(key string) (out []*mapping) {
	n := m.take(key, true)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode || marked(n) || len(n.Content) == 0 {
		m.fault(key, "a list is expected here")
		return nil
	}
	for i, item := range n.Content {
		if x := m.doc.mapping(fmt.Sprintf("%s[%d]", field(m.path, key), i+1), item); x != nil {
			out = append(out, x)
		}
	}
	return out
}

func (m *mapping) optionalList(key string) []*mapping {
	if m.items[key] == nil {
		return nil
	}
	return m.list(key)
}

// names takes a sequence of names.
func names(m *mapping, key string) (out []perso.Name) {
	n := m.take(key, true)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode || marked(n) {
		m.fault(key, "a list of names is expected here")
		return nil
	}
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || marked(item) {
			m.fault(key, "a name is plain text, without anchors, aliases and tags")
			continue
		}
		name, err := perso.ParseName(item.Value)
		if err != nil {
			m.fault(key, "%v", err)
			continue
		}
		out = append(out, name)
	}
	return out
}

// ignore gives up on telling fields apart.
func (m *mapping) ignore() {
	for _, k := range m.order {
		m.taken[k] = true
	}
}

// end refuses the fields that nobody took.
func (m *mapping) end() {
	for _, k := range m.order {
		if !m.taken[k] {
			m.fault(k, "there is no such field here")
		}
	}
}
