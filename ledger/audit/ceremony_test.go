package audit_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso/statement/transcript"
	"github.com/persoline/persoline/perso/statement/transcript/transcripttest"
)

func TestVerifyCeremonies(t *testing.T) {
	t.Parallel()
	s := transcripttest.New()
	pin := s.Register[0].Hash()
	first := s.Hold(s.Order(transcripttest.Generate("log/S1"))).Encode()
	second := s.Hold(s.Order(transcripttest.Word(transcript.OpRetire, "log/S1"))).Encode()
	folder := func(files ...[]byte) fstest.MapFS {
		m := fstest.MapFS{"0001-0001.step": {Data: []byte("x")}}
		for i, b := range files {
			if b != nil {
				m[[]string{"0001.transcript", "0002.transcript"}[i]] = &fstest.MapFile{Data: b}
			}
		}
		return m
	}
	c, err := audit.VerifyCeremonies(folder(first, second), pin)
	if err != nil || len(c.Told) != 2 || c.Chain.Head != s.Head || c.Chain.Partial() || c.Chain.Inventory.Find("persoline/test/log/S1").State != transcript.StateRetired {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = audit.VerifyCeremonies(folder(first, second), pin, "0002.transcript"); err != nil || !c.Chain.Partial() || len(c.Told) != 1 {
		t.Errorf("the second by itself: %v", err)
	}
	var fault *transcript.Fault
	if _, err := audit.VerifyCeremonies(folder(first, bytes.Replace(second, []byte("because"), []byte("for fun"), 1)), pin); !errors.As(err, &fault) || fault.Place != "0002.transcript: order" {
		t.Errorf("altered: %v", err)
	}
	if _, err := audit.VerifyCeremonies(folder(first, first), pin); !errors.As(err, &fault) || !strings.Contains(fault.What, "told twice") {
		t.Errorf("told twice: %v", err)
	}
	if _, err := audit.VerifyCeremonies(folder(first[:len(first)/2]), pin); !errors.As(err, &fault) {
		t.Errorf("cut off: %v", err)
	}
	if _, err := audit.VerifyCeremonies(folder(first), [32]byte{9}); !errors.As(err, &fault) {
		t.Errorf("another pin: %v", err)
	}
	if _, err := audit.VerifyCeremonies(folder(), pin); err == nil || errors.As(err, &fault) {
		t.Errorf("an empty folder: %v", err)
	}
}
