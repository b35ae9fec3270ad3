package layout_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	. "github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/record/recordtest"
)

func TestManifestHasOneSpelling(t *testing.T) {
	t.Parallel()
	files := []File{{Hash: [32]byte{2}, Size: 20, Path: "log/tile/0/x001/002.p/7"}, {Hash: [32]byte{1}, Size: 0, Path: "certs/eum.der"}}
	text, err := EncodeManifest(files)
	want := "01" + strings.Repeat("0", 62) + " 0 certs/eum.der\n" + "02" + strings.Repeat("0", 62) + " 20 log/tile/0/x001/002.p/7\n"
	if err != nil || string(text) != want {
		t.Fatalf("%v, got\n%s", err, text)
	}
	back, err := ParseManifest(text)
	if err != nil || !slices.Equal(back, []File{files[1], files[0]}) {
		t.Fatalf("%v, read back as %v", err, back)
	}
	lines := strings.SplitAfter(want, "\n")
	for name, bad := range map[string]string{
		"not sorted": lines[1] + lines[0], "twice": lines[0] + lines[0], "no last newline": strings.TrimSuffix(want, "\n"), "blank line": want + "\n",
		"upper case": strings.Replace(want, "02", "0A", 1), "leading zero": strings.Replace(want, " 20 ", " 020 ", 1), "negative": strings.Replace(want, " 20 ", " -20 ", 1),
		"two blanks": strings.Replace(want, " 20", "  20", 1), "CRLF": strings.ReplaceAll(want, "\n", "\r\n"), "short hash": want[2:],
		"absolute": strings.Replace(want, "certs", "/certs", 1), "upwards": strings.Replace(want, "certs", "../certs", 1), "dot": strings.Replace(want, "certs", "./certs", 1),
		"double slash": strings.Replace(want, "certs/", "certs//", 1), "space in name": strings.Replace(want, "eum", "e um", 1), "folder": strings.Replace(want, "eum.der", "", 1),
	} {
		if files, err := ParseManifest([]byte(bad)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v, read as %v", name, err, files)
		}
	}
	for name, bad := range map[string][]File{"twice": {files[0], files[0]}, "bad path": {{Path: "a b"}}, "negative": {{Path: "a", Size: -1}}} {
		if _, err := EncodeManifest(bad); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestSealHasOneSpelling(t *testing.T) {
	t.Parallel()
	s := SealBody{Env: perso.EnvTest, Site: "site-1", Lot: "L1", Files: 12, Manifest: [32]byte{1}}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseSeal(b); err != nil || back != s {
		t.Fatalf("%v, read back as %+v", err, back)
	}
	recordtest.Canonical(t, b, func(b []byte) ([]byte, error) {
		s, err := ParseSeal(b)
		if err != nil {
			return nil, err
		}
		return s.Encode()
	})
	sig := EncodeSignature(bytes.Repeat([]byte{0xAB}, 64))
	if back, err := ParseSignature(sig); err != nil || len(back) != 64 || len(sig) != 129 {
		t.Errorf("%v, %d bytes in %d", err, len(back), len(sig))
	}
	for _, bad := range [][]byte{nil, sig[:128], append(bytes.Clone(sig), '\n'), bytes.ToUpper(sig), sig[2:]} {
		if _, err := ParseSignature(bad); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

func TestRecordsInAFile(t *testing.T) {
	t.Parallel()
	records := []string{"persoline/1 a\nx 1\n", "persoline/1 b\n", "persoline/1 c\ny " + strings.Repeat("z", record.MaxValueBytes) + "\n"}
	var file []byte
	for _, r := range records {
		file = AppendRecord(file, []byte(r))
	}
	var got []string
	read := func(b []byte) error {
		got = nil
		return ReadRecords(bytes.NewReader(b), func(r []byte) error { got = append(got, string(r)); return nil })
	}
	if err := read(file); err != nil || !slices.Equal(got, records) {
		t.Fatalf("%v, %d records", err, len(got))
	}
	if err := read(nil); err != nil || len(got) != 0 {
		t.Errorf("empty file: %v, %q", err, got)
	}
	for name, bad := range map[string][]byte{
		"no blank line at the end": file[:len(file)-1], "no newline": file[:len(file)-2], "blank line first": append([]byte("\n"), file...),
		"two blank lines": append(bytes.Clone(file), '\n'), "long line": bytes.Repeat([]byte("x"), record.MaxRecordBytes+1),
		"long record": []byte(strings.Repeat(strings.Repeat("x", 1000)+"\n", 70)),
	} {
		if err := read(bad); !errors.Is(err, ErrRecords) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop := errors.New("stop")
	if err := ReadRecords(bytes.NewReader(file), func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("own error is lost: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if v, l, ok := ParseReceipts(Receipts("vault-1", "L-1_a")); !ok || v != "vault-1" || l != "L-1_a" {
		t.Errorf("receipts of %q, %q, %v", v, l, ok)
	}
	for _, bad := range []string{ReceiptHead("v", "l"), "receipts/v.receipts", "receipts/v.l.m.receipts", "v.l.receipts", "receipts/.l.receipts", "receipts/v..receipts"} {
		if _, _, ok := ParseReceipts(bad); ok {
			t.Errorf("%q is taken for receipts", bad)
		}
	}
	paths := map[string]bool{Manifest: true, Seal: true, SealSig: true, Checkpoint: true, EUMCert: true, EISCert: true, Register(0): true,
		Statement([32]byte{1}): true, Receipts("v", "l"): true, ReceiptHead("v", "l"): true, ReceiptHeadSig("v", "l"): true, Export("l", "eis"): true}
	if len(paths) != 12 || !IsRegister(Register(7)) || IsRegister(Statement([32]byte{})) {
		t.Errorf("names collide: %v", slices.Sorted(maps.Keys(paths)))
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(strings.Repeat("0", 64) + " 1 a/b\n"))
	f.Add([]byte(strings.Repeat("0", 64) + " 1 a\n" + strings.Repeat("f", 64) + " 22 a.b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := ParseManifest(b)
		if err != nil {
			return
		}
		if again, err := EncodeManifest(files); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v: second spelling accepted: %q", err, b)
		}
	})
}

func FuzzReadRecords(f *testing.F) {
	f.Add([]byte("persoline/1 a\nx 1\n\npersoline/1 b\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		if err := ReadRecords(bytes.NewReader(b), func(r []byte) error { again = AppendRecord(again, r); return nil }); err == nil && !bytes.Equal(again, b) {
			t.Fatalf("second spelling accepted: %q", b)
		}
	})
}
