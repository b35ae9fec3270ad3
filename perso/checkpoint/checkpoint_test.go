package checkpoint_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	. "github.com/persoline/persoline/perso/checkpoint"
)

const origin = "log.example/site-1"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func key(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func seal(c Checkpoint, k ed25519.PrivateKey) []byte {
	return must(c.Seal(public(k), func(text []byte) ([]byte, error) { return ed25519.Sign(k, text), nil }))
}

// tree is a log in memory, by the library's own reading of RFC 6962.
type tree struct {
	hashes  []tlog.Hash
	entries [][]byte
}

func (t *tree) ReadHashes(at []int64) (out []tlog.Hash, err error) {
	for _, i := range at {
		out = append(out, t.hashes[i])
	}
	return out, nil
}

func grow(n int) *tree {
	t := &tree{}
	for i := range n {
		entry := []byte(fmt.Sprintf("entry %d", i))
		t.entries = append(t.entries, entry)
		t.hashes = append(t.hashes, must(tlog.StoredHashes(int64(i), entry, t))...)
	}
	return t
}

func (t *tree) at(size int64) Checkpoint {
	return Checkpoint{Origin: origin, Size: size, Root: must(tlog.TreeHash(size, t))}
}

// TestAnchors: values that follow from RFC 6962 section 2.1 alone.
func TestAnchors(t *testing.T) {
	t.Parallel()
	for got, want := range map[Hash]string{
		EmptyRoot(): "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		Leaf(nil):   "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	} {
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("got %x, want %s", got, want)
		}
	}
}

func TestNoteHasOneSpellingAndOneKey(t *testing.T) {
	t.Parallel()
	c := grow(5).at(5)
	signed := seal(c, key(1))
	if got, err := Open(signed, origin, public(key(1))); err != nil || got != c {
		t.Fatalf("%v: opened as %+v, want %+v", err, got, c)
	}
	for i := range signed {
		for bit := range 8 {
			other := bytes.Clone(signed)
			other[i] ^= 1 << bit
			if _, err := Open(other, origin, public(key(1))); err == nil {
				t.Fatalf("bit %d of byte %d was changed unseen:\n%s", bit, i, other)
			}
		}
	}
	foreign := seal(Checkpoint{Origin: "log.example/site-2", Size: c.Size, Root: c.Root}, key(1))
	line := strings.SplitAfter(string(seal(c, key(2))), "\n\n")[1]
	for name, bad := range map[string][]byte{
		"other key": seal(c, key(2)), "other log": foreign, "second signature": append(bytes.Clone(signed), line...),
		"twice signed": append(bytes.Clone(signed), strings.SplitAfter(string(signed), "\n\n")[1]...),
		"cut":          signed[:len(signed)-1], "newline after": append(bytes.Clone(signed), '\n'), "empty": nil, "too long": make([]byte, MaxNoteBytes+1),
		"CRLF": bytes.ReplaceAll(signed, []byte("\n"), []byte("\r\n")),
	} {
		if _, err := Open(bad, origin, public(key(1))); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestTextHasOneSpelling(t *testing.T) {
	t.Parallel()
	text := grow(3).at(3).Text()
	for name, bad := range map[string]string{
		"plus": strings.Replace(text, "\n3\n", "\n+3\n", 1), "leading zero": strings.Replace(text, "\n3\n", "\n03\n", 1),
		"negative": strings.Replace(text, "\n3\n", "\n-3\n", 1), "extension line": text + "more\n", "no newline": strings.TrimSuffix(text, "\n"),
		"no origin": text[len(origin):], "unused bits": strings.Replace(text, "=\n", "A\n", 1), "unpadded": strings.Replace(text, "=", "", 1),
	} {
		if c, err := ParseText(bad); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
}

func TestProofs(t *testing.T) {
	t.Parallel()
	const size = 21
	log := grow(size)
	c := log.at(size)
	for seq := range int64(size) {
		proof := []Hash(must(tlog.ProveRecord(size, seq, log)))
		if err := CheckInclusion(c, seq, log.entries[seq], proof); err != nil {
			t.Errorf("entry %d: %v", seq, err)
		}
		wrong := bytes.Clone(log.entries[seq])
		wrong[0] ^= 1
		for name, err := range map[string]error{
			"other entry": CheckInclusion(c, seq, wrong, proof), "other number": CheckInclusion(c, (seq+1)%size, log.entries[seq], proof),
			"short": CheckInclusion(c, seq, log.entries[seq], proof[1:]), "long": CheckInclusion(c, seq, log.entries[seq], make([]Hash, MaxProofHashes+1)),
			"before the log": CheckInclusion(c, -1, log.entries[seq], proof), "after the log": CheckInclusion(c, size, log.entries[seq], proof),
		} {
			if !errors.Is(err, ErrProof) {
				t.Errorf("entry %d, %s: %v", seq, name, err)
			}
		}
	}
	for old := int64(1); old < size; old++ {
		before, proof := log.at(old), []Hash(must(tlog.ProveTree(size, old, log)))
		if err := CheckConsistency(before, c, proof); err != nil {
			t.Errorf("from %d: %v", old, err)
		}
		forked, elsewhere := before, c
		forked.Root[0] ^= 1
		elsewhere.Origin = "log.example/site-2"
		for name, err := range map[string]error{
			"fork": CheckConsistency(forked, c, proof), "backwards": CheckConsistency(c, before, proof), "other log": CheckConsistency(before, elsewhere, proof),
			"no proof": CheckConsistency(before, c, nil), "long": CheckConsistency(before, c, make([]Hash, MaxProofHashes+1)),
		} {
			if !errors.Is(err, ErrProof) {
				t.Errorf("from %d, %s: %v", old, name, err)
			}
		}
	}
	twin := c
	twin.Root[0] ^= 1
	if err := CheckConsistency(c, twin, nil); !errors.Is(err, ErrProof) {
		t.Errorf("two roots of one size: %v", err)
	}
	if err := errors.Join(CheckConsistency(c, c, nil), CheckConsistency(Checkpoint{Origin: origin, Root: EmptyRoot()}, c, nil)); err != nil {
		t.Errorf("same size, and from the empty log: %v", err)
	}
}

func TestVerifierKeyIsC2SP(t *testing.T) {
	t.Parallel()
	vkey := must(VerifierKey(origin, public(key(1))))
	parts := strings.Split(vkey, "+")
	if len(parts) != 3 || parts[0] != origin || len(parts[1]) != 8 {
		t.Errorf("vkey %q is not name+hash+key", vkey)
	}
	if _, err := VerifierKey("two\nlines", public(key(1))); err == nil {
		t.Error("an origin of two lines was accepted")
	}
	if _, err := VerifierKey(origin, public(key(1))[1:]); err == nil {
		t.Error("a key of 31 bytes was accepted")
	}
	failing := errors.New("no token")
	if _, err := grow(1).at(1).Seal(public(key(1)), func([]byte) ([]byte, error) { return nil, failing }); !errors.Is(err, failing) {
		t.Errorf("signer's error is lost: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(seal(grow(5).at(5), key(1)))
	f.Add([]byte(origin + "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— " + origin + " AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseText(string(b)); err == nil && c.Text() != string(b) {
			t.Fatalf("second spelling accepted: %q", b)
		}
		if c, err := Open(b, origin, public(key(1))); err == nil && !bytes.Equal(seal(c, key(1)), b) {
			t.Fatalf("second spelling accepted: %q", b)
		}
	})
}
