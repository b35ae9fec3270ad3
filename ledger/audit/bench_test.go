package audit_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/audit/lotreport"
)

// BenchmarkVerify measures a finished lot of ten thousand units; a hundred thousand are ten times that. The figure is
// entries per second of processor time, which a machine that is busy with other things does not change much.
func BenchmarkVerify(b *testing.B) {
	s := New()
	s.Release("L1", 0, 10_000, 10).Finish()
	bundle, opt := s.Bundle("L1"), pins(s)
	b.ReportAllocs()
	before, runs := processorTime(b), 0
	for b.Loop() {
		if r, err := audit.Verify(bundle, opt); err != nil || !r.OK() {
			b.Fatal(err, r.Findings)
		}
		runs++
	}
	used := processorTime(b) - before
	b.ReportMetric(float64(len(s.Entries)), "entries")
	b.ReportMetric(float64(len(s.Entries)*runs)/used.Seconds(), "entries/cpu-s")
}

func processorTime(b testing.TB) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkUnjudged is what a report costs on a bundle that was judged before.
func BenchmarkUnjudged(b *testing.B) {
	s := New()
	s.Release("L1", 0, 10_000, 10).Finish()
	bundle, opt := s.Bundle("L1"), pins(s)
	opt.Unjudged, opt.Wants = true, lotreport.Collect("L1", nil).Wants
	opt.Watch = func(int64, time.Time, any) {}
	b.ReportAllocs()
	before, runs := processorTime(b), 0
	for b.Loop() {
		if r, err := audit.Verify(bundle, opt); err != nil || !r.OK() {
			b.Fatal(err, r.Findings)
		}
		runs++
	}
	b.ReportMetric(float64(len(s.Entries)*runs)/(processorTime(b)-before).Seconds(), "entries/cpu-s")
}
