package lineside

import (
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/script"
)

func TestNewJob(t *testing.T) {
	t.Parallel()
	good, compiled := testOrder(5, newLog(1).trust())
	for name, change := range map[string]func(*bus.WorkOrder){
		"script of another hash": func(o *bus.WorkOrder) { o.Script[0] ^= 1 },
		"lot without name":       func(o *bus.WorkOrder) { o.Lot = "a.b" },
		"no ATR":                 func(o *bus.WorkOrder) { o.ATR = "" },
		"no ISD":                 func(o *bus.WorkOrder) { o.ISD = nil },
		"ISD too long":           func(o *bus.WorkOrder) { o.ISD = make([]byte, 300) },
		"no chip identity":       func(o *bus.WorkOrder) { o.ChipID = "none" },
	} {
		order := good
		change(&order)
		if _, err := NewJob(order, compiled); !errors.Is(err, ErrJob) {
			t.Errorf("%s: %v", name, err)
		}
	}
	junk := good
	junk.Script = sha256.Sum256([]byte("junk"))
	if _, err := NewJob(junk, []byte("junk")); !errors.Is(err, ErrJob) || !errors.Is(err, script.ErrEncoding) {
		t.Errorf("junk for a script: %v", err)
	}
}

// TestOpening: the ISD is selected before INITIALIZE UPDATE, by identify's last SELECT or by a command of its own.
func TestOpening(t *testing.T) {
	t.Parallel()
	order, compiled := testOrder(5, newLog(1).trust())
	same := mustDo(NewJob(order, compiled))
	order.ISD = unhex("A000000003000000")
	other := mustDo(NewJob(order, compiled))
	if n := len(same.opening(make([]byte, 8))); n != 1 {
		t.Errorf("opening after SELECT ISD has %d commands", n)
	}
	window := other.opening(make([]byte, 8))
	if len(window) != 2 || string(window[0].APDU) != string(unhex("00A4040008A00000000300000000")) {
		t.Errorf("opening without SELECT ISD = %X", window)
	}
	if _, _, opened := other.opened([][]byte{{0x6A, 0x82}}); opened {
		t.Error("a refused SELECT counts as opened")
	}
	if _, chip, opened := other.opened([][]byte{ok(), updateAnswer(4, 9)}); !opened || chip != chipNo(4) {
		t.Errorf("opened = %v, chip %s", opened, chip)
	}
}
