package checkpoint_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	. "github.com/persoline/persoline/perso/checkpoint"
)

func witness(t *testing.T, name string, b byte) WitnessKey {
	t.Helper()
	k, err := NewWitnessKey(name, bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var cosignedAt = time.Unix(1_800_000_000, 0).UTC()

func cosigned(t *testing.T) (signed []byte, a, b WitnessKey) {
	t.Helper()
	a, b = witness(t, "auditor.example/a", 7), witness(t, "auditor.example/b", 8)
	signed = must(a.Cosign(seal(grow(5).at(5), key(1)), cosignedAt))
	return must(b.Cosign(signed, cosignedAt.Add(time.Hour))), a, b
}

// TestCosigned: the log's word and those of the witnesses that are known; a checkpoint without its cosignatures is the one
// that was cosigned.
func TestCosigned(t *testing.T) {
	t.Parallel()
	signed, a, b := cosigned(t)
	c, words, err := OpenCosigned(signed, origin, public(key(1)), []Witness{a.Witness, b.Witness})
	if err != nil || c != grow(5).at(5) || len(words) != 2 || !words[0].At.Equal(cosignedAt) || words[1].Witness.Name != "auditor.example/b" {
		t.Errorf("%v, %+v, %v", err, words, c)
	}
	if _, words, err := OpenCosigned(signed, origin, public(key(1)), []Witness{b.Witness}); err != nil || len(words) != 1 || words[0].Witness.Name != "auditor.example/b" {
		t.Errorf("with one known witness: %v, %v", words, err)
	}
	if plain, err := Stripped(signed, origin, public(key(1))); err != nil || !bytes.Equal(plain, seal(grow(5).at(5), key(1))) {
		t.Errorf("stripped: %v\n%s", err, plain)
	}
	if _, err := Open(signed, origin, public(key(1))); err == nil {
		t.Error("the strict reader takes cosignatures")
	}
}

// TestCosignedRefused: what is not the log's, or not the witness's own.
func TestCosignedRefused(t *testing.T) {
	t.Parallel()
	signed, a, b := cosigned(t)
	known := []Witness{a.Witness, b.Witness}
	line := bytes.LastIndex(signed[:len(signed)-1], []byte("\n")) + 1
	foreign := must(b.Cosign(seal(grow(6).at(6), key(1)), cosignedAt))
	moved := slices.Concat(seal(grow(5).at(5), key(1)), foreign[bytes.LastIndex(foreign[:len(foreign)-1], []byte("\n"))+1:])
	other := witness(t, "auditor.example/a", 9)
	for name, c := range map[string]struct {
		note []byte
		want error
	}{
		"cosignature of another checkpoint": {moved, ErrCosignature},
		"without the log's own":             {slices.Concat(signed[:bytes.Index(signed, []byte("\n\n"))+2], signed[line:]), nil},
		"of another log key":                {must(a.Cosign(seal(grow(5).at(5), key(2)), cosignedAt)), nil},
	} {
		if _, _, err := OpenCosigned(c.note, origin, public(key(1)), known); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	impostor := must(other.Cosign(seal(grow(5).at(5), key(1)), cosignedAt))
	if _, words, err := OpenCosigned(impostor, origin, public(key(1)), known); err != nil || len(words) != 0 {
		t.Errorf("another key under a witness's name: %v, %v", words, err)
	}
	for at := line; at < len(signed)-1; at++ {
		spoilt := bytes.Clone(signed)
		spoilt[at] ^= 1
		if _, words, err := OpenCosigned(spoilt, origin, public(key(1)), known); err == nil && len(words) == 2 {
			t.Errorf("byte %d was changed unseen", at)
		}
	}
	if _, err := a.Cosign(seal(grow(5).at(5), key(1)), time.Time{}); err == nil {
		t.Error("cosigned by a clock that is not set")
	}
}

// TestWitnessKeys: each key has one spelling.
func TestWitnessKeys(t *testing.T) {
	t.Parallel()
	k := witness(t, "auditor.example/a", 7)
	if w, err := ParseWitness(k.Witness.VerifierKey()); err != nil || w.Name != k.Witness.Name || !w.Key.Equal(k.Witness.Key) {
		t.Errorf("%v, %v", w, err)
	}
	if again, err := ParseWitnessKey(string(k.Text())); err != nil || again.Witness.VerifierKey() != k.Witness.VerifierKey() {
		t.Errorf("private key: %v", err)
	}
	logKey := must(VerifierKey(origin, public(key(1))))
	for _, bad := range []string{"", "a+b", "a+b+c", logKey, strings.Replace(k.Witness.VerifierKey(), "auditor", "Auditor", 1), k.Witness.VerifierKey() + "\n"} {
		if _, err := ParseWitness(bad); err == nil {
			t.Errorf("%q is taken for a witness's key", bad)
		}
	}
	for _, bad := range []string{"", "PRIVATE+KEY+a+b+c", strings.Replace(string(k.Text()), "auditor", "Auditor", 1)} {
		if _, err := ParseWitnessKey(bad); err == nil || strings.Contains(err.Error(), "PRIVATE+KEY+a+b") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb"} {
		if _, err := NewWitnessKey(name, make([]byte, 32)); err == nil {
			t.Errorf("a witness may be called %q", name)
		}
	}
}

// TestOthersReadCosignatures: what we write is what other people's programs for transparency logs read, and what their witnesses
// write we read. The log's checkpoint and ordinary keys are read by Go's own package note; cosignatures, which it does not know,
// by transparency-dev/formats.
func TestOthersReadCosignatures(t *testing.T) {
	t.Parallel()
	signed, a, b := cosigned(t)
	logKey := must(note.NewVerifier(must(VerifierKey(origin, public(key(1))))))
	theirA, theirB := must(fnote.NewVerifierForCosignatureV1(a.Witness.VerifierKey())), must(fnote.NewVerifierForCosignatureV1(b.Witness.VerifierKey()))
	c, rest, n, err := flog.ParseCheckpoint(signed, origin, logKey, theirA, theirB)
	want := grow(5).at(5)
	if err != nil || len(rest) != 0 || c.Size != uint64(want.Size) || !bytes.Equal(c.Hash, want.Root[:]) || len(n.Sigs) != 3 {
		t.Fatalf("formats/log reads %+v, %v", c, err)
	}
	if at, err := fnote.CoSigV1Timestamp(n.Sigs[1]); err != nil || !at.Equal(cosignedAt) {
		t.Errorf("their time is %v, %v", at, err)
	}
	if alone, err := note.Open(signed, note.VerifierList(logKey)); err != nil || alone.Text != want.Text() {
		t.Errorf("note reads %v, %v", alone, err)
	}
	theirs, err := fnote.NewSignerForCosignatureV1(strings.TrimSuffix(string(a.Text()), "\n"))
	if err != nil || theirs.Name() != a.Witness.Name || theirs.KeyHash() != a.Witness.KeyHash() {
		t.Fatalf("they read the private key as %v, %v", theirs, err)
	}
	message := must(note.Sign(&note.Note{Text: want.Text(), Sigs: must(note.Open(seal(want, key(1)), note.VerifierList(logKey))).Sigs}, theirs))
	if _, words, err := OpenCosigned(message, origin, public(key(1)), []Witness{a.Witness}); err != nil || len(words) != 1 {
		t.Errorf("their cosignature: %v, %v", words, err)
	}
}

// TestRequest: a request to a witness has one spelling.
func TestRequest(t *testing.T) {
	t.Parallel()
	r := Request{Old: 3, Proof: []Hash{{1}, {2}}, Note: seal(grow(5).at(5), key(1))}
	if again, err := ParseRequest(r.Encode()); err != nil || again.Old != 3 || !slices.Equal(again.Proof, r.Proof) || !bytes.Equal(again.Note, r.Note) {
		t.Errorf("%+v, %v", again, err)
	}
	text := string(r.Encode())
	for name, bad := range map[string]string{
		"empty": "", "no checkpoint": "old 3\n", "negative": strings.Replace(text, "old 3", "old -3", 1), "leading zero": strings.Replace(text, "old 3", "old 03", 1),
		"no hash": strings.Replace(text, "AQAA", "AQ", 1), "long": strings.Replace(text, "\n\n", strings.Repeat("\n"+strings.Split(text, "\n")[1], 63)+"\n\n", 1),
	} {
		if _, err := ParseRequest([]byte(bad)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
