package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const limit = 4096

// faults reads a file and gives its report, one fault per line.
func faults(t *testing.T, file string, ask func(*Object)) string {
	t.Helper()
	d, err := Read(strings.NewReader(file), limit)
	if err == nil {
		top := d.Top()
		ask(top)
		top.Close()
		err = d.Err()
	}
	var list *FaultList
	if err != nil && !errors.As(err, &list) {
		t.Fatalf("%q: %v is not a list of faults", file, err)
	}
	return fmt.Sprint(err)
}

func TestReadRefusesWhatIsNoDocument(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"":                           "line 1, column 1: the file is empty; hint: send it again",
		" \n":                        "line 1, column 1: the file is empty; hint: send it again",
		"[1]":                        "line 1, column 1: the document is a list, expected an object; hint: the file begins with {",
		"{\n \"a\": \"é\" x}":        "line 2, column 11: not JSON: invalid character 'x' after object key:value pair; hint: this is the wrong file, or it was damaged",
		"{\n \"a\": [1,":             "line 2, column 10: the file ends in the middle of the document; hint: it was cut off: send it again",
		"{}\n {}":                    "line 2, column 2: data after the end of the document; hint: one file holds one document",
		"{}]":                        "line 1, column 3: data after the end of the document; hint: one file holds one document",
		"\xef\xbb\xbf{}":             "line 1, column 1: the file begins with a byte order mark; hint: save it as UTF-8 without one",
		"{\"a\":\"\xff\"}":           "line 1, column 7: not UTF-8; hint: save the file as UTF-8",
		strings.Repeat(" ", limit+1): "the file is larger than 4096 bytes; hint: this is the wrong file, or it holds rows that belong elsewhere",
		`{"a":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + "}": "line 1, column 14: a[0][0][0][0][0][0][0][0]: more than 10000 values, or nested deeper than 8",
	} {
		if got := faults(t, file, func(*Object) {}); got != want {
			t.Errorf("%.40q:\n got %s\nwant %s", file, got, want)
		}
	}
}

func TestFaultsOfFields(t *testing.T) {
	t.Parallel()
	ask := func(o *Object) {
		Field(o, "name", Label(5))
		o.Int("n", 2, 9)
		List(o, "set", OneOf("red", "green"))
		sub := o.Object("sub")
		sub.Bool("on")
		sub.Close()
	}
	const good = `{"name": "x", "n": 2, "set": ["red"], "sub": {"on": true}}`
	if got := faults(t, good, ask); got != "<nil>" {
		t.Errorf("good file: %s", got)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"n": 2`, `"n": 2, "n": 3`, "line 1, column 23: n: the field is given twice; hint: keep one of them"},
		{`"n": 2`, `"n": 2, "\u006e": 2`, "line 1, column 23: n: the field is given twice; hint: keep one of them"},
		{`"n": 2`, `"n": 10`, "line 1, column 20: n: 10 is not from 2 to 9"},
		{`"n": 2`, `"n": 2.0`, "line 1, column 20: n: not a plain whole number of at most 18 digits; hint: write digits only, without fraction or exponent"},
		{`"n": 2`, `"n": null`, "line 1, column 20: n: is null, expected a number; hint: leave out what is not there"},
		{`"n": 2, `, ``, "line 1, column 1: n: the field is missing, expected a number"},
		{`"x"`, `"Ünïcödé"`, "line 1, column 10: name: 7 characters, expected 1 to 5"},
		{`"x"`, `"\ud800"`, "line 1, column 10: name: the text holds a character that is none (half a surrogate pair, or U+FFFD)"},
		{`"x"`, `"a\nb"`, `line 1, column 10: name: "a\nb" holds a character that cannot be printed: U+000A`},
		{`["red"]`, `[]`, "line 1, column 30: set: the list is empty"},
		{`["red"]`, `["red", "red"]`, `line 1, column 38: set[1]: "red" is listed twice`},
		{`["red"]`, `["gren"]`, `line 1, column 31: set[0]: "gren" is not one of red, green; hint: did you mean "green"?`},
		{`["red"]`, `[1]`, "line 1, column 31: set[0]: is a number, expected a text"},
		{`"on"`, `"off"`, "line 1, column 46: sub.on: the field is missing, expected true or false\nline 1, column 54: sub.off: unknown field; hint: fields here: on"},
		{`{"on": true}`, `1`, "line 1, column 46: sub: is a number, expected an object"},
		{`{"name"`, `{"a\u0000": 1, "name"`, `line 1, column 13: "a\x00": unknown field; hint: fields here: name, n, set, sub`},
	} {
		if got := faults(t, strings.Replace(good, c.old, c.new, 1), ask); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.new, got, c.want)
		}
	}
}

func TestDraftMayMissFields(t *testing.T) {
	t.Parallel()
	got := faults(t, `{"sub": {"n": 0}}`, func(o *Object) {
		o.AllowMissing()
		Field(o, "name", Label(5))
		sub := o.Object("sub")
		sub.Int("n", 1, 2)
		sub.Bool("on")
	})
	if want := "line 1, column 15: sub.n: 0 is not from 1 to 2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFaultListIsBoundedAndSorted(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for i := range 300 {
		fmt.Fprintf(&file, ",\n\"f%d\": 1", i)
	}
	d, err := Read(strings.NewReader("{"+file.String()[1:]+"}"), limit)
	if err != nil {
		t.Fatal(err)
	}
	d.Top().Close()
	var list *FaultList
	if !errors.As(d.Err(), &list) || len(*list) != MaxFaults+1 {
		t.Fatalf("%d faults", len(*list))
	}
	for i, f := range (*list)[:MaxFaults-1] {
		if f.Line > (*list)[i+1].Line {
			t.Fatalf("fault %d is of line %d, the next of line %d", i, f.Line, (*list)[i+1].Line)
		}
	}
	if last := (*list)[MaxFaults]; last.Line != 0 {
		t.Errorf("the last fault is %v", last)
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b": [true, null, -1, "\u0001\"\\\/\b\f\n\r\t"], "a": {"é": "<&>", "": {}}}`))
	f.Add([]byte(`{"n": 1e2}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		d, err := Read(bytes.NewReader(file), limit)
		if err != nil || d.Err() != nil {
			return
		}
		canonical := d.Canonical()
		again, err := Read(bytes.NewReader(canonical), 8*limit)
		if err != nil || again.Err() != nil {
			t.Fatalf("canonical form is refused: %s", canonical)
		}
		if !bytes.Equal(again.Canonical(), canonical) {
			t.Fatalf("canonical form changes: %s, %s", canonical, again.Canonical())
		}
		// The standard library, which knows nothing of this package, must read the same content in both.
		var before, after any
		if json.Unmarshal(file, &before) != nil || json.Unmarshal(canonical, &after) != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("content changes: %s, %s", file, canonical)
		}
	})
}

func TestCanonicalize(t *testing.T) {
	t.Parallel()
	got, err := Canonicalize(map[string]any{"b": uint64(7), "a": map[string]any{"z": "<\u2028>", "y": []string{"q"}}})
	if want := `{"a":{"y":["q"],"z":"<` + "\u2028" + `>"},"b":7}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := Canonicalize(map[string]any{"a": 1.5}); err == nil {
		t.Error("a fraction was written")
	}
}
