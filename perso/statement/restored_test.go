package statement

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func sampleRestored() Restored {
	return Restored{Env: "test", Site: "S1", Backup: [32]byte{1}, BackupSize: 10, BackupRoot: [32]byte{2}, Redone: 3, Size: 12, Root: [32]byte{3}, Reason: "disk failed",
		At: time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC), Nonce: [32]byte{4},
		Lots: []RestoredLot{{Lot: "L1", Vault: "V1", Receipts: 5, Head: [32]byte{6}, Claims: 2, First: 3, Last: 4, InWork: 1}, {Lot: "L2", Vault: "V1"}}}
}

func TestRestoredHasOneForm(t *testing.T) {
	t.Parallel()
	s := sampleRestored()
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRestored(b)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(s) {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, change := range []string{"backup_size 10>backup_size 13", "backup_size 10>backup_size 0", "reason disk failed>reason -", "receipts 5>receipts 0", "first 3>first 5",
		"claims 2>claims 0", "lot L2>lot L1", "env test>env x"} {
		from, to, _ := strings.Cut(change, ">")
		wrong := bytes.Replace(b, []byte("\n"+from+"\n"), []byte("\n"+to+"\n"), 1)
		if bytes.Equal(wrong, b) {
			t.Fatalf("%s changes nothing", change)
		}
		if _, err := ParseRestored(wrong); err == nil {
			t.Errorf("%s is taken", change)
		}
	}
}
