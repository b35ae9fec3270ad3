package secret

import (
	"bytes"
	"database/sql/driver"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// canary has no byte that a formatter would write by chance.
const canary = "\xC4Zq\xE7wJ\x93\xF1xK\xA8Qj\xDBVy"

// spellings are the forms in which a formatter or encoder would show bytes.
func spellings(content string) map[string]string {
	decimal := strings.Trim(fmt.Sprint([]byte(content)), "[]")
	return map[string]string{
		"raw":           content,
		"hex":           hex.EncodeToString([]byte(content)),
		"HEX":           strings.ToUpper(hex.EncodeToString([]byte(content))),
		"spaced hex":    fmt.Sprintf("% x", content),
		"quoted":        strings.Trim(fmt.Sprintf("%q", content), `"`),
		"JSON":          strings.Trim(string(must(json.Marshal(content))), `"`),
		"base64":        base64.RawStdEncoding.EncodeToString([]byte(content)),
		"base64url":     base64.RawURLEncoding.EncodeToString([]byte(content)),
		"decimals":      decimal,
		"JSON decimals": strings.ReplaceAll(decimal, " ", ","),
		"Go literal":    strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(content)), "[]byte{"), "}"),
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// leaks names the spellings of the canary that are in out.
func leaks(out string) (found []string) {
	for name, spelling := range spellings(canary) {
		if strings.Contains(out, spelling) {
			found = append(found, name)
		}
	}
	return found
}

type (
	exported   struct{ Key Bytes }
	unexported struct {
		Name string
		key  Bytes
	}
	nested struct {
		Outer  exported
		inner  *unexported
		anyone any
	}
	embedded struct{ Bytes }
)

// shapes are the places in which a secret may be when somebody prints it.
func shapes() map[string]any {
	s := New([]byte(canary))
	return map[string]any{
		"value": s, "pointer": &s,
		"exported field": exported{s}, "pointer to exported field": &exported{s},
		"unexported field": unexported{"n", s}, "pointer to unexported field": &unexported{"n", s},
		"slice": []Bytes{s}, "slice of pointers": []*Bytes{&s}, "array": [1]Bytes{s},
		"map value": map[string]Bytes{"k": s}, "map of structs": map[string]unexported{"k": {"n", s}},
		"nested":     nested{exported{s}, &unexported{"n", s}, s},
		"interfaces": []any{s, &s, unexported{"n", s}}, "embedded": embedded{s},
		"error": fmt.Errorf("using %v: %w", s, errors.New("x")),
	}
}

func TestFormattersDoNotLeak(t *testing.T) {
	t.Parallel()
	for shape, v := range shapes() {
		for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
			for _, flags := range []string{"", "+", "#", " ", "0", "-", "20", ".3", "+#"} {
				format := "%" + flags + string(verb)
				if found := leaks(fmt.Sprintf(format, v)); found != nil {
					t.Errorf("%s with %s leaks as %v", shape, format, found)
				}
			}
		}
		if found := leaks(fmt.Sprint(v) + fmt.Sprintln(v) + fmt.Errorf("%v", v).Error()); found != nil {
			t.Errorf("%s leaks as %v", shape, found)
		}
	}
}

func TestEncodersDoNotLeak(t *testing.T) {
	t.Parallel()
	encoders := map[string]func(out *bytes.Buffer, v any){
		"json": func(out *bytes.Buffer, v any) { report(out, json.NewEncoder(out).Encode(v)) },
		"xml":  func(out *bytes.Buffer, v any) { report(out, xml.NewEncoder(out).Encode(v)) },
		"gob":  func(out *bytes.Buffer, v any) { report(out, gob.NewEncoder(out).Encode(v)) },
		"slog text": func(out *bytes.Buffer, v any) {
			slog.New(slog.NewTextHandler(out, nil)).Info("m", "k", v, slog.Group("g", "k", v))
		},
		"slog json": func(out *bytes.Buffer, v any) {
			slog.New(slog.NewJSONHandler(out, nil)).Info("m", "k", v, slog.Group("g", "k", v))
		},
	}
	for name, encode := range encoders {
		for shape, v := range shapes() {
			var out bytes.Buffer
			encode(&out, v)
			if found := leaks(out.String()); found != nil {
				t.Errorf("%s of %s leaks as %v: %q", name, shape, found, out.String())
			}
		}
	}
}

// report writes the error too: it may quote what it could not encode.
func report(out *bytes.Buffer, err error) { fmt.Fprintf(out, "%v %+v %#v", err, err, err) }

func TestPrintsPlaceholder(t *testing.T) {
	t.Parallel()
	s := New([]byte(canary))
	for _, got := range []string{s.String(), s.GoString(), s.LogValue().String(), fmt.Sprintf("%x", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%d", &s)} {
		if got != "[secret]" {
			t.Errorf("printed as %q", got)
		}
	}
}

func TestMarshallingIsAnError(t *testing.T) {
	t.Parallel()
	s := New([]byte(canary))
	calls := map[string]func() error{
		"MarshalText":     func() error { _, err := s.MarshalText(); return err },
		"MarshalBinary":   func() error { _, err := s.MarshalBinary(); return err },
		"MarshalJSON":     func() error { _, err := s.MarshalJSON(); return err },
		"GobEncode":       func() error { _, err := s.GobEncode(); return err },
		"Value":           func() error { _, err := driver.Valuer(s).Value(); return err },
		"UnmarshalText":   func() error { return s.UnmarshalText([]byte("x")) },
		"UnmarshalBinary": func() error { return s.UnmarshalBinary([]byte("x")) },
		"UnmarshalJSON":   func() error { return json.Unmarshal([]byte(`"x"`), &s) },
		"GobDecode":       func() error { return s.GobDecode([]byte("x")) },
		"Scan":            func() error { return s.Scan("x") },
		"json of a field": func() error { _, err := json.Marshal(exported{s}); return err },
		"gob of a field":  func() error { return gob.NewEncoder(new(bytes.Buffer)).Encode(exported{s}) },
		"xml of a field":  func() error { return xml.NewEncoder(new(bytes.Buffer)).Encode(exported{s}) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrNoMarshal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := reveal(t, s); string(got) != canary {
		t.Error("unmarshalling changed the secret")
	}
}

// The detector must find what an unprotected type lets out, or the tests above
// prove nothing.
func TestDetectorFindsUnprotectedBytes(t *testing.T) {
	t.Parallel()
	type bare struct{ key []byte }
	v := bare{[]byte(canary)}
	for _, format := range []string{"%v", "%s", "%x", "%X", "% x", "%q", "%d", "%#v"} {
		if leaks(fmt.Sprintf(format, v)) == nil {
			t.Errorf("%s is not noticed: %s", format, fmt.Sprintf(format, v))
		}
	}
	if leaks(string(must(json.Marshal(v.key)))) == nil || leaks(string(must(json.Marshal(canary)))) == nil {
		t.Error("JSON is not noticed")
	}
}
