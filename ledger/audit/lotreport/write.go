package lotreport

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed page.html
var pageText string

// Site, PrintName and ShortRoot are for the foot of a printed page, which is style and knows no templates of other kinds.
func (p Page) Site() string { return string(p.Audit.Site) }

// PrintName is the lot.
func (p Page) PrintName() string { return string(p.Lot) }

// ShortRoot is the beginning of the log's root.
func (p Page) ShortRoot() string { return short(p.Audit.Root) }

// Write writes the page.
func (p Page) Write(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"n": number, "hex": hexOf, "short": short, "when": when, "signers": signers, "signed": signed, "dict": dict,
		"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("reading the report's page: %w", err)
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("writing the report of lot %q: %w", p.Lot, err)
	}
	return nil
}

// number spells a count.
func number(v any) (string, error) {
	switch v := v.(type) {
	case uint64:
		return thousands(v), nil
	case int:
		return thousands(uint64(v)), nil
	}
	return "", errors.New("a count is no number")
}

// signed spells a balance, with a true minus.
func signed(n int64) string {
	if n < 0 {
		return "\u2212" + thousands(uint64(-n))
	}
	return thousands(uint64(n))
}

// dict passes named values to a part of the page.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if name, ok := pairs[i].(string); ok {
			m[name] = pairs[i+1]
		}
	}
	return m
}
