package secret

import (
	"bytes"
	"errors"
	"testing"
)

func reveal(t *testing.T, b Bytes) []byte {
	t.Helper()
	var got []byte
	if err := b.Reveal(func(content []byte) error {
		got = bytes.Clone(content)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNewTakesOver(t *testing.T) {
	t.Parallel()
	source := []byte("key material")
	b := New(source)
	if !bytes.Equal(source, make([]byte, 12)) {
		t.Errorf("source is %q", source)
	}
	copy(source, "overwritten!")
	if got := reveal(t, b); string(got) != "key material" || b.Len() != 12 || b.IsZero() {
		t.Errorf("content %q, length %d", got, b.Len())
	}
}

func TestRevealLends(t *testing.T) {
	t.Parallel()
	b := New([]byte("key material"))
	var kept []byte
	stop := errors.New("stop")
	err := b.Reveal(func(content []byte) error {
		kept = content
		content[0] = 'X'
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(kept, make([]byte, 12)) {
		t.Errorf("a kept slice still has %q", kept)
	}
	if got := reveal(t, b); string(got) != "key material" {
		t.Errorf("a borrower changed it to %q", got)
	}

	func() {
		defer func() { _ = recover() }()
		_ = b.Reveal(func(content []byte) error { kept = content; panic("in use") })
	}()
	if !bytes.Equal(kept, make([]byte, 12)) {
		t.Errorf("after a panic a kept slice still has %q", kept)
	}
}

func TestWipe(t *testing.T) {
	t.Parallel()
	b := New([]byte("key material"))
	other, memory := b, *b.open()
	b.Wipe()
	b.Wipe()
	if !bytes.Equal(memory, make([]byte, 12)) {
		t.Errorf("memory has %q", memory)
	}
	for name, wiped := range map[string]Bytes{"itself": b, "its copy": other, "the zero value": {}, "an empty one": New(nil)} {
		err := wiped.Reveal(func([]byte) error { t.Errorf("%s is revealed", name); return nil })
		if !errors.Is(err, ErrEmpty) || !wiped.IsZero() || wiped.Len() != 0 {
			t.Errorf("%s: %v, length %d", name, err, wiped.Len())
		}
		wiped.Wipe()
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	a, same, other, short := New([]byte("abcd")), New([]byte("abcd")), New([]byte("abce")), New([]byte("abc"))
	for _, c := range []struct {
		name string
		x, y Bytes
		want bool
	}{
		{"itself", a, a, true}, {"same content", a, same, true}, {"last byte", a, other, false},
		{"length", a, short, false}, {"zero", a, Bytes{}, false}, {"two zeros", Bytes{}, Bytes{}, false},
		{"two empty", New(nil), New([]byte{}), false},
	} {
		if c.x.Equal(c.y) != c.want || c.y.Equal(c.x) != c.want {
			t.Errorf("%s: %v", c.name, !c.want)
		}
	}
}
