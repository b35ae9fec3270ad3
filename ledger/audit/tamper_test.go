package audit_test

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
)

// place says where a bundle is found wrong, or "" when it is accepted.
func place(fsys fstest.MapFS, o audit.Options) string {
	r, err := audit.Verify(fsys, o)
	switch {
	case err != nil:
		return err.Error()
	case r.OK():
		return ""
	}
	return r.Findings[0].Place
}

// with is a bundle with one file replaced; the others are shared.
func with(bundle fstest.MapFS, path string, data []byte) fstest.MapFS {
	out := maps.Clone(bundle)
	out[path] = &fstest.MapFile{Data: data}
	return out
}

// eachByte calls f for every byte of every file, on all processors; with -short for every eleventh.
func eachByte(bundle fstest.MapFS, f func(path string, at int)) {
	type byteOf struct {
		path string
		at   int
	}
	stride := 1
	if testing.Short() {
		stride = 11
	}
	work := make(chan byteOf, 1024)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for b := range work {
				f(b.path, b.at)
			}
		})
	}
	for _, path := range slices.Sorted(maps.Keys(bundle)) {
		for at := 0; at < len(bundle[path].Data); at += stride {
			work <- byteOf{path, at}
		}
	}
	close(work)
	workers.Wait()
}

// TestEveryBit: no bit of a bundle can change unseen, whether the keys are pinned or not.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	s := finished()
	bundle := s.Bundle("L1")
	var total int
	for _, f := range bundle {
		total += len(f.Data)
	}
	t.Logf("%d files, %d bits", len(bundle), 8*total)
	eachByte(bundle, func(path string, at int) {
		data := bytes.Clone(bundle[path].Data)
		spoiled := with(bundle, path, data)
		for bit := range 8 {
			data[at] ^= 1 << bit
			opt := audit.Options{}
			if bit%2 == 0 {
				opt = pins(s)
			}
			if place(spoiled, opt) == "" {
				t.Errorf("%s: bit %d of byte %d was changed unseen", path, bit, at)
			}
			data[at] ^= 1 << bit
		}
	})
}

// TestEveryByteResealed: the same against one who can have any manifest sealed. What is wrong is found in the file that is
// wrong, or in one that leans on it.
func TestEveryByteResealed(t *testing.T) {
	t.Parallel()
	s := finished()
	bundle := s.Bundle("L1")
	eachByte(bundle, func(path string, at int) {
		if path == layout.Manifest || path == layout.Seal || path == layout.SealSig {
			return
		}
		data := bytes.Clone(bundle[path].Data)
		data[at] ^= 1 << (at % 8)
		spoiled := with(bundle, path, data)
		s.Seal(spoiled, "L1")
		if place(spoiled, pins(s)) == "" {
			t.Errorf("%s: byte %d was changed unseen", path, at)
		}
	})
}

// TestEveryFile: none can be missing, none can be added, none can be another, not even with a new seal.
func TestEveryFile(t *testing.T) {
	t.Parallel()
	s := finished()
	bundle := s.Bundle("L1")
	for path := range bundle {
		gone := maps.Clone(bundle)
		delete(gone, path)
		if got := place(gone, pins(s)); got == "" {
			t.Errorf("%s: removed unseen", path)
		}
		if path == layout.Manifest || path == layout.Seal || path == layout.SealSig {
			continue
		}
		s.Seal(gone, "L1")
		if got := place(gone, pins(s)); got == "" && !strings.HasPrefix(path, "exports/") {
			t.Errorf("%s: removed unseen under a new seal", path)
		}
	}
	for _, path := range []string{"extra", "log/tile/0/001", "receipts/vault-1.L2.receipts", "statements/" + strings.Repeat("0", 64) + ".statement", "register/001.statement", "exports/L9.eis.manifest"} {
		more := with(bundle, path, []byte("x"))
		if got := place(more, pins(s)); got != path {
			t.Errorf("%s: added, found at %q", path, got)
		}
		s.Seal(more, "L1")
		if got := place(more, pins(s)); !strings.HasPrefix(got, path) {
			t.Errorf("%s: added under a new seal, found at %q", path, got)
		}
	}
	linked := with(bundle, "link", nil)
	linked["link"].Mode = 1 << 27 // fs.ModeSymlink
	if got := place(linked, pins(s)); got != "link" {
		t.Errorf("a link was found at %q", got)
	}
}

// TestEveryEntry: one who rewrites the log, all its tiles and the seal, but cannot sign a checkpoint, is found out.
func TestEveryEntry(t *testing.T) {
	t.Parallel()
	s := finished()
	note := s.Checkpoint()
	try := func(what string, entries [][]byte) {
		other := *s
		other.Entries = entries
		bundle := other.Bundle("L1")
		bundle[layout.Checkpoint] = &fstest.MapFile{Data: note}
		other.Seal(bundle, "L1")
		if got := place(bundle, pins(s)); got == "" {
			t.Errorf("%s: not seen", what)
		}
	}
	for i := range s.Entries {
		try(fmt.Sprintf("entry %d removed", i), slices.Delete(slices.Clone(s.Entries), i, i+1))
		try(fmt.Sprintf("entry %d doubled", i), slices.Insert(slices.Clone(s.Entries), i, s.Entries[i]))
		try(fmt.Sprintf("log cut before entry %d", i), s.Entries[:i+1][:max(i, 1)])
		if i > 0 {
			swapped := slices.Clone(s.Entries)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			try(fmt.Sprintf("entries %d and %d swapped", i-1, i), swapped)
		}
	}
}

// TestEveryReceipt: the same for the vault's chain, whose head is signed.
func TestEveryReceipt(t *testing.T) {
	t.Parallel()
	s := finished()
	receipts := s.Chains["L1"].Receipts
	bundle := s.Bundle("L1")
	try := func(what string, chain [][]byte) {
		var file []byte
		for _, r := range chain {
			file = layout.AppendRecord(file, r)
		}
		spoiled := with(bundle, layout.Receipts(audittest.Vault, "L1"), file)
		s.Seal(spoiled, "L1")
		if got := place(spoiled, pins(s)); !strings.HasPrefix(got, "receipts/") {
			t.Errorf("%s: found at %q", what, got)
		}
	}
	for i := range receipts {
		try(fmt.Sprintf("receipt %d removed", i), slices.Delete(slices.Clone(receipts), i, i+1))
		try(fmt.Sprintf("receipt %d doubled", i), slices.Insert(slices.Clone(receipts), i, receipts[i]))
		if i > 0 {
			swapped := slices.Clone(receipts)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			try(fmt.Sprintf("receipts %d and %d swapped", i-1, i), swapped)
		}
	}
}

// TestOtherKeys: a bundle that is right in itself but of other keys than pinned.
func TestOtherKeys(t *testing.T) {
	t.Parallel()
	s := finished()
	for name, spoil := range map[string]func(*audit.Options){
		"register": func(o *audit.Options) { o.RegisterPin[0] ^= 1 },
		"log":      func(o *audit.Options) { o.LogKey = audittest.Public(audittest.Key("other")) },
		"seal":     func(o *audit.Options) { o.StatementKey = audittest.Public(audittest.Key("other")) },
	} {
		o := pins(s)
		spoil(&o)
		r, err := audit.Verify(s.Bundle("L1"), o)
		if err != nil || r.OK() || r.Pinned() {
			t.Errorf("another pinned %s key: %v, pinned %v, findings %v", name, err, r.Pinned(), r.Findings)
		}
		var text strings.Builder
		if err := r.Write(&text); err != nil || strings.Count(text.String(), "(NOT THE ONE PINNED)") != 1 || strings.Count(text.String(), "(as pinned)") != len(r.Keys)-1 {
			t.Errorf("another pinned %s key: %v, the report says\n%s", name, err, text.String())
		}
	}
	if r, err := audit.Verify(s.Bundle("L1"), audit.Options{}); err != nil || !r.OK() || r.Pinned() {
		t.Errorf("without pins: %v, pinned %v, findings %v", err, r.Pinned(), r.Findings)
	}
}
