package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/statement"
)

// zeros is a bad source of randomness with a known key.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func newKey(t testing.TB) Key {
	t.Helper()
	k, err := New(statement.Officer{ID: "prod-1", Person: "First Person", Role: statement.RoleProduction}, zeros{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestCreateAndLoad(t *testing.T) {
	t.Parallel()
	k, path := newKey(t), filepath.Join(t.TempDir(), "prod-1.key")
	if err := Create(path, k); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file's permissions are %v (%v), want 0600", info.Mode(), err)
	}
	again, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, k) {
		t.Errorf("loaded %+v, want %+v", again.Officer, k.Officer)
	}
	s := statement.Signed{Body: []byte("persoline/1 test\n")}
	again.Sign(&s)
	if len(s.Signatures) != 1 || !ed25519.Verify(k.Officer.Key, s.Body, s.Signatures[0].Sig[:]) {
		t.Error("the signature by the loaded key does not verify")
	}
	if err := Create(path, k); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second Create gave %v, want that the file exists", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); !errors.Is(err, ErrExposed) {
		t.Errorf("loading a file that a group can read gave %v, want ErrExposed", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good, err := newKey(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(statement.Officer{ID: "b", Person: "B", Role: statement.RoleSecurity}, bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	swapped, err := other.Encode()
	if err != nil {
		t.Fatal(err)
	}
	cut := func(b []byte) []byte { return b[bytes.Index(b, []byte(pemBegin)):] }
	for name, b := range map[string][]byte{
		"empty":           {},
		"no record":       cut(good),
		"no key":          good[:bytes.Index(good, []byte(pemBegin))],
		"another's key":   append(bytes.Clone(good[:bytes.Index(good, []byte(pemBegin))]), cut(swapped)...),
		"trailing text":   append(bytes.Clone(good), "more\n"...),
		"unknown role":    bytes.Replace(good, []byte("role production"), []byte("role president"), 1),
		"line ends CR LF": bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
	} {
		if _, err := Decode(b); err == nil {
			t.Errorf("%s: it was accepted", name)
		} else if strings.Contains(err.Error(), "MC4CAQ") {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}

func TestPublicLine(t *testing.T) {
	t.Parallel()
	o := newKey(t).Officer
	const want = "officer prod-1 production 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29 First Person"
	if got := PublicLine(o); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	again, err := ParsePublicLine(want)
	if err != nil || !reflect.DeepEqual(again, o) {
		t.Errorf("read back %+v, %v", again, err)
	}
	for _, bad := range []string{"", "officer", want[1:], strings.Replace(want, "3b6a", "3B6A", 1), strings.Replace(want, "3b6a", "", 1), strings.Replace(want, "First", " First", 1), want[:len(want)-13]} {
		if _, err := ParsePublicLine(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := newKey(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("persoline/1 officer-key\n-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := k.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("a second spelling was accepted: %q", b)
		}
	})
}
