package form

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Canonical is the document in the form of RFC 8785: no blanks, fields sorted by name, shortest escapes. Numbers are
// whole, so their spelling is already the canonical one. (Names sort by bytes here; RFC 8785 sorts by UTF-16 code units,
// which is the same for every name that a form knows.)
func (d *Doc) Canonical() []byte { return appendCanonical(nil, d.root) }

func appendCanonical(b []byte, n *node) []byte {
	switch n.kind {
	case isObject:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(n.members)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, name), ':')
			b = appendCanonical(b, n.members[name])
		}
		return append(b, '}')
	case isList:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, item)
		}
		return append(b, ']')
	case isText:
		return appendText(b, n.text)
	}
	return append(b, n.text...)
}

func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\b':
			b = append(b, `\b`...)
		case '\t':
			b = append(b, `\t`...)
		case '\n':
			b = append(b, `\n`...)
		case '\f':
			b = append(b, `\f`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			if r < ' ' {
				b = fmt.Appendf(b, `\u%04x`, r)
			} else {
				b = append(b, string(r)...)
			}
		}
	}
	return append(b, '"')
}

// Canonicalize is Canonical for content that a program holds: maps, lists, texts, whole numbers and booleans. It fails
// only on content that no form can have.
func Canonicalize(content map[string]any) ([]byte, error) {
	src, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("writing a form: %w", err)
	}
	d, err := Read(bytes.NewReader(src), len(src))
	if err != nil {
		return nil, fmt.Errorf("writing a form: %w", err)
	}
	if err := d.Err(); err != nil {
		return nil, fmt.Errorf("writing a form: %w", err)
	}
	return d.Canonical(), nil
}
