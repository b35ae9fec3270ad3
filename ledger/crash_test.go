package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// durableStep is one thing that is written, and the answer that tells of it.
type durableStep struct {
	name string
	// prepare leads up to it on a whole database and gives the request; asked again it must do the same.
	prepare func(b *bench) func() error
	kind    string // of the entry that it writes, once
}

var durableSteps = []durableStep{
	{"claim", func(b *bench) func() error {
		q := b.begin(b.one(), b.at(0))
		return func() error { return want(b, q, "") }
	}, entry.KindClaim},
	{"act", func(b *bench) func() error {
		b.vault.acts = 3
		q := b.begin(b.one(), b.at(0))
		b.act(q)
		return func() error { return want(b, next(q, "x"), "") }
	}, entry.KindAct},
	{"good", func(b *bench) func() error {
		q := b.begin(b.one(), b.at(0))
		b.act(q)
		return func() error { return want(b, next(q, "x"), perso.VerdictGood) }
	}, entry.KindOutcome},
	{"reject", func(b *bench) func() error {
		c := b.one()
		b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonStatus}})
		q := b.begin(c, b.at(0))
		return func() error { return want(b, q, perso.VerdictRejectLive) }
	}, entry.KindOutcome},
	{"recontact", func(b *bench) func() error {
		c := b.one()
		b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonRMAC, Again: true}})
		q := b.begin(c, b.at(0))
		return func() error { return want(b, q, perso.VerdictRecontact) }
	}, entry.KindPresent},
	{"return", func(b *bench) func() error {
		b.makeGood(b.one(), 1)
		b.makeGood(b.one(), 1)
		q := b.begin(b.one(), b.at(0))
		return func() error { return want(b, q, perso.VerdictReturn) }
	}, entry.KindPresent},
	{"alarm", func(b *bench) func() error {
		q := b.begin(b.one(), b.at(0))
		b.act(q)
		b.act(next(q, "x"))
		return func() error { return want(b, next(q, "y"), perso.VerdictStop) }
	}, entry.KindAlarm},
	{"mute", func(b *bench) func() error {
		b.act(b.begin(b.one(), b.at(0)))
		q := bus.PresentRequest{Lot: b.lot, Present: b.at(0), Reason: perso.ReasonMute, Tries: maxPlainTries}
		return func() error {
			a, err := b.l.Present(b.t.Context(), q)
			if err == nil && a.Verdict.Verdict != perso.VerdictRejectLive {
				err = fmt.Errorf("verdict %+v", a.Verdict)
			}
			return err
		}
	}, entry.KindOutcome},
	{"bin", func(b *bench) func() error {
		p := b.makeGood(b.one(), 0)
		return func() error { return b.bin(p, perso.VerdictGood) }
	}, entry.KindBin},
	{"bin conflict", func(b *bench) func() error {
		p := b.makeGood(b.one(), 0)
		return func() error {
			err := b.bin(p, perso.VerdictReturn)
			if isRefusal(err) {
				err = nil
			}
			return err
		}
	}, entry.KindAlarm},
	{"count", func(b *bench) func() error {
		return func() error {
			_, err := b.l.Count(b.t.Context(), bus.CountRequest{Lot: b.lot, Source: entry.SourceHandler, In: 1})
			return err
		}
	}, entry.KindCount},
	{"receive", func(b *bench) func() error {
		file := b.reel(b.newChips(3)...)
		first := true
		return func() error {
			a, err := b.l.Receive(b.t.Context(), bus.ReceiveRequest{File: file})
			if first && a.Duplicate {
				err = errors.New("our own effect is taken for another's")
			}
			first = false
			return err
		}
	}, entry.KindStock},
	{"submit", func(b *bench) func() error {
		file := b.orderFile(spec{good: 3})
		first := true
		return func() error {
			a, err := b.l.Submit(b.t.Context(), bus.SubmitRequest{File: file})
			if first && a.Duplicate {
				err = errors.New("our own effect is taken for another's")
			}
			first = false
			return err
		}
	}, entry.KindOrder},
	{"submit with Ki", func(b *bench) func() error {
		file := b.kiOrder("KI-1", 70, 0)
		text, _ := b.kiFile(file, 1)
		return func() error {
			ref, err := b.tryUpload(text, bus.KiPartBytes)
			if err != nil {
				return err
			}
			a, err := b.submitKi(file, &ref)
			if n := b.rows("customer_ki_page"); err == nil && (n != 2 || len(a.Faults)+len(a.KiFaults) > 0) {
				err = fmt.Errorf("%d pages of Ki, %+v", n, a)
			}
			return err
		}
	}, entry.KindOrder},
	{"refuse Ki", func(b *bench) func() error {
		file := b.kiOrder("KI-1", 70, 0)
		return func() error {
			ref, err := b.tryUpload([]byte("x"), bus.KiPartBytes)
			if err != nil {
				return err
			}
			_, err = b.submitKi(file, &ref)
			return err
		}
	}, entry.KindRefused},
	{"refuse", func(b *bench) func() error {
		return func() error {
			_, err := b.l.Submit(b.t.Context(), bus.SubmitRequest{File: []byte("x")})
			return err
		}
	}, entry.KindRefused},
	{"release", func(b *bench) func() error {
		r := b.draft(spec{good: 3})
		q := bus.SignedRequest{Signed: b.sign(must(r.Encode()), "ann", "bob").Encode()}
		return func() error { _, err := b.l.Release(b.t.Context(), q); return err }
	}, entry.KindStatement},
	{"close", func(b *bench) func() error {
		for range 2 {
			if err := b.bin(b.makeGood(b.one(), 0), perso.VerdictGood); err != nil {
				b.t.Fatal(err)
			}
		}
		b.count(entry.SourceHand, 2, 2, 0, 0, 0)
		b.count(entry.SourceHandler, 2, 2, 0, 0, 0)
		q := b.closing(func(*statement.Close) {}, "ann", "bob")
		return func() error { _, err := b.l.Close(b.t.Context(), q); return err }
	}, entry.KindStatement},
	{"review", func(b *bench) func() error {
		q := b.word(b.refusedOrder(), nil, "ann")
		return func() error { _, err := b.l.Review(b.t.Context(), q); return err }
	}, entry.KindStatement},
	{"export", func(b *bench) func() error {
		return func() error {
			return b.l.RecordExport(b.t.Context(), entry.Export{Lot: b.lot, What: "eis", Receiver: "r", Hash: [32]byte{1}})
		}
	}, entry.KindExport},
}

// want asks and compares the verdict; "" is a window.
func want(b *bench, q bus.ActRequest, v perso.Verdict) error {
	a, err := b.l.Act(b.t.Context(), q)
	switch {
	case err != nil:
		return err
	case v == "" && len(a.Window) > 0, a.Verdict != nil && a.Verdict.Verdict == v:
		return nil
	}
	return fmt.Errorf("window of %d, verdict %+v", len(a.Window), a.Verdict)
}

// TestDurableSteps fails each update of each step in each way that a database can fail, and demands one effect: at once
// when the failure can be mended, else when the ledger was opened again and the same was asked again.
func TestDurableSteps(t *testing.T) {
	t.Parallel()
	for _, step := range durableSteps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			updates := failUpdate(t, step, 0, ledgertest.None)
			if updates == 0 {
				t.Fatal("the step writes nothing")
			}
			for _, fault := range []ledgertest.Fault{ledgertest.Lost, ledgertest.Written, ledgertest.AmbiguousLost, ledgertest.AmbiguousWritten, ledgertest.Twice} {
				for n := int64(1); n <= updates; n++ {
					failUpdate(t, step, n, fault)
				}
			}
		})
	}
}

// failUpdate runs the step with its nth update failing, and says how many it had.
func failUpdate(t *testing.T, step durableStep, n int64, fault ledgertest.Fault) int64 {
	t.Helper()
	b := newBench(t, spec{good: 2, spares: 2})
	do := step.prepare(b)
	before := b.kinds()
	faulty := ledgertest.WithFaults(b.db, ledgertest.At(n, fault))
	b.open(faulty)
	err := do()
	switch fault {
	case ledgertest.Lost: // alone in its batch, a step is not tried again
		if err == nil {
			t.Errorf("update %d %s: yes was said to what is not written", n, fault)
		}
	case ledgertest.None, ledgertest.AmbiguousLost, ledgertest.AmbiguousWritten, ledgertest.Twice:
		if err != nil {
			t.Errorf("update %d %s: what can be mended was told: %v", n, fault, err)
		}
	}
	b.open(b.db)
	if step.kind != entry.KindRefused || b.kinds()[step.kind] == before[step.kind] { // a file refused twice is two entries
		if err := do(); err != nil {
			t.Errorf("update %d %s: asked again: %v", n, fault, err)
		}
	}
	if got := b.kinds()[step.kind] - before[step.kind]; got != 1 {
		t.Errorf("update %d %s: %d entries of kind %s", n, fault, got, step.kind)
	}
	b.check()
	return faulty.Updates()
}

// TestReopenFile makes a unit half, kills the process, and makes the rest from the file.
func TestReopenFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := CreateSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	b := newSiteOn(t, db)
	b.makeLot(spec{good: 1})
	q := b.begin(b.one(), b.at(0))
	first := b.act(q)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if b.db, err = OpenSQLite(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	b.open(b.db)
	b.vault.restart()
	if again := b.act(q); string(again.Window[0].APDU) != string(first.Window[0].APDU) {
		t.Errorf("after the crash: %s, before: %s", again.Window[0].APDU, first.Window[0].APDU)
	}
	b.want(b.act(next(q, "x")), perso.VerdictGood, perso.ReasonNone)
	b.check()
}
