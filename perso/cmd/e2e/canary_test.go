package e2e

import (
	"bytes"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/canary"
)

// canaries: what the chips hold is nowhere else in clear (I2), nor are the keys that partners handed over. Their folders
// are the chips' own and the partners'.
func canaries(t *testing.T, f *factory) {
	var needles []canary.Needle
	inChips := map[string]bool{}
	for _, c := range f.chips {
		for name, value := range c.memory.secrets {
			needles = append(needles, canary.Needle{Name: name, Value: value})
			inChips[string(value)] = true
		}
	}
	// The operator can read this much. That the chips hold it too says that these are the needles to look for.
	for _, u := range f.outputFile(t) {
		for _, column := range []string{"EKI", "EOPC", "PUK1", "PUK2", "ADM1"} {
			value := u.opened(t, f, column)
			if column != "EKI" && column != "EOPC" {
				value = value[:8]
			}
			if !inChips[string(value)] {
				t.Errorf("EID %s: %s of the output file is not in any chip", u["EID"], column)
			}
		}
	}
	partners, err := filepath.Glob(filepath.Join(f.site.Dir, "partners", "*.hex"))
	if err != nil || len(partners) < 4 {
		t.Fatalf("partners' keys: %v, %q", err, partners)
	}
	for _, path := range partners {
		needles = append(needles, canary.Needle{Name: filepath.Base(path), Value: f.partnerKey(t, filepath.Base(path))})
	}
	if perChip := 12; len(needles) < perChip*quantity {
		t.Fatalf("only %d needles: the chips' memory is not read rightly", len(needles))
	}
	files := 0
	opt := canary.Options{Seen: func(string, int64) { files++ },
		Skip: []string{f.site.FarmDir(), filepath.Join(f.site.Dir, "partners")}}
	hits, err := canary.Prove(t.Context(), []string{f.site.Dir}, needles, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hits {
		t.Errorf("%s", h)
	}
	t.Logf("%d secrets are in none of %d files", len(needles), files)
	// The farm was left out for a reason: there each is found.
	hits, err = canary.Scan(t.Context(), []string{f.site.FarmDir()}, needles[:1], canary.Options{})
	if err != nil || len(hits) == 0 {
		t.Errorf("%q is not found where it is: %v", needles[0].Name, err)
	}
}

// partnerKey is a key that a partner handed over.
func (f *factory) partnerKey(t *testing.T, file string) []byte {
	t.Helper()
	return unhex(t, strings.TrimSpace(string(readFile(t, filepath.Join(f.site.Dir, "partners", file)))))
}

// noCoreDump: nothing that looks like a core dump was left, and the vault could not leave one.
func noCoreDump(t *testing.T, f *factory) {
	for _, root := range []string{f.site.Dir, f.cwd} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			r, err := os.Open(path)
			if err != nil {
				return err
			}
			defer r.Close()
			var head [18]byte
			if n, _ := r.Read(head[:]); n == len(head) && isCore(head[:]) {
				t.Errorf("%s is a core dump", path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(f.cwd); err != nil || len(left) > 0 {
		t.Errorf("where the zones were started lies %v, %v", left, err)
	}
	limits := string(readFile(t, filepath.Join("/proc", strconv.Itoa(f.zone(t, "vault")), "limits")))
	for line := range strings.Lines(limits) {
		if v, is := strings.CutPrefix(line, "Max core file size"); is && !strings.HasPrefix(strings.TrimSpace(v), "0 ") {
			t.Errorf("the vault may leave core dumps: %s", line)
		}
	}
}

// isCore knows the beginning of an ELF file of type ET_CORE, little-endian.
func isCore(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\x7fELF")) && head[16] == 4 && head[17] == 0
}

// zone finds the process of a zone: a child of the one that keeps the site up.
func (f *factory) zone(t *testing.T, name string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(all) == 0 {
		t.Skip("SKIP: there is no /proc")
	}
	for _, path := range all {
		args, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		if a := strings.Split(string(args), "\x00"); len(a) > 2 && a[0] == f.bin && a[1] == "serve" && a[2] == name {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("zone %q does not run", name)
	return 0
}

// upper is hex as partners write it.
func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
