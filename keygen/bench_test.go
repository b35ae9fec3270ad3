package keygen_test

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/membus"
	"github.com/persoline/persoline/perso/id"
)

// benchBatch is how many cards are served together, as the ledger does under load.
const benchBatch = 32

// benchTick is an act at some three hundred cards a second. What a vault does by the clock, as the turn of its life each minute, costs
// a card then what it costs in a factory.
const benchTick = 500 * time.Microsecond

// enlarge makes the release one of many units.
func (r *rig) enlarge(units uint64) {
	var err error
	must := func(e error) {
		if e != nil {
			r.t.Fatal(e)
		}
	}
	r.release.Good, r.release.Spares = units, 0
	if r.release.EUICC() {
		r.release.EIDs, err = id.NewEIDRange(r.release.EIDs.First(), units)
		must(err)
	}
	r.release.ICCIDs, err = id.NewICCIDRange(r.release.ICCIDs.First(), units)
	must(err)
	r.release.IMSIs, err = id.NewIMSIRange(r.release.IMSIs.First(), units)
	must(err)
	r.signed = r.sign(r.release, "ann", "bob")
}

// cost is what the vault used.
type cost struct {
	wall, cpu time.Duration
	allocs    uint64
	bytes     uint64
	sent      uint64 // bytes of commands to chips
}

// metered adds what f uses. Nothing else runs meanwhile.
func (c *cost) metered(f func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	wall, cpu := time.Now(), cpuTime()
	f()
	c.cpu += cpuTime() - cpu
	c.wall += time.Since(wall)
	runtime.ReadMemStats(&after)
	c.allocs += after.Mallocs - before.Mallocs
	c.bytes += after.TotalAlloc - before.TotalAlloc
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCard makes cards in batches through the bus messages of the vault, each act with a checkpoint of its own, with
// the HSM double and a journal on disk. It counts what the vault uses, not what the chips do: processor time, allocations.
func BenchmarkCard(b *testing.B) {
	r := newRig(b)
	bench := membus.New(membus.Config{Now: func() time.Time { return r.now }})
	stop, err := keygen.Register(bench, r.vault)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stop() })
	r.tick = benchTick
	rounds := (b.N + benchBatch - 1) / benchBatch
	r.enlarge(uint64(rounds * benchBatch))
	r.openLot()
	var total cost
	b.ResetTimer()
	for round := range rounds {
		units := make([]*unit, benchBatch)
		for i := range units {
			n := round*benchBatch + i
			c := newCardAs(b, testKMC, [10]byte{0x47, 0x90, 0x6D, 0x20, 0, 1, 0x0A, byte(n >> 16), byte(n >> 8), byte(n)})
			units[i] = r.claimUnit(c, perso.Unit(n), perso.EIDIndex(n))
		}
		r.makeBatch(bench, units, &total)
	}
	made := float64(rounds * benchBatch)
	b.ReportMetric(float64(total.cpu.Nanoseconds())/made, "cpu-ns/card")
	b.ReportMetric(float64(total.wall.Nanoseconds())/made, "wall-ns/card")
	b.ReportMetric(float64(total.allocs)/made, "allocs/card")
	b.ReportMetric(float64(total.bytes)/made, "B/card")
	b.ReportMetric(0, "ns/op")
}

// makeBatch takes units to their good verdict, act by act.
func (r *rig) makeBatch(at *membus.Bus, units []*unit, total *cost) {
	items := make([]bus.ServeItem, len(units))
	for i, u := range units {
		u.serial += uint64(i) // challenges are used once
		items[i] = u.begin()
	}
	for act := 0; ; act++ {
		info, err := r.vault.Info(ctx, bus.Empty{})
		if err != nil {
			r.t.Fatal(err)
		}
		grown := encoded(r.t, r.log.request(info.LogSize))
		var answer []byte
		total.metered(func() { answer = r.request(at, bus.VaultCheckpoint, grown) })
		note := opened[bus.CheckpointReply](r.t, answer)
		for i, u := range units {
			items[i].Claim, items[i].Act = r.log.prove(u.seq), r.log.prove(items[i].Act.Seq)
		}
		q := encoded(r.t, bus.ServeRequest{Lot: r.lot, Checkpoint: note.Note, Items: items})
		total.metered(func() { answer = r.request(at, bus.VaultServe, q) })
		reply := opened[bus.ServeReply](r.t, answer)
		ended := 0
		for i, u := range units {
			result := reply.Results[i]
			if len(result.Window) == 0 {
				if !result.Good {
					r.t.Fatalf("ended with %+v %+v", result, result.Failed)
				}
				ended++
				continue
			}
			for _, p := range result.Window {
				total.sent += uint64(len(p.APDU))
			}
			u.keep(result.Stored)
			items[i] = u.next(items[i], result)
		}
		switch ended {
		case 0:
		case len(units):
			return
		default:
			r.t.Fatalf("%d of %d cards are done after act %d", ended, len(units), act)
		}
	}
}

func encoded(t testing.TB, q any) []byte {
	b, err := bus.Encode(q)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func opened[A any](t testing.TB, answer []byte) A {
	reply, err := bus.Decode[bus.Reply[A]](answer)
	if err != nil || reply.Fault != nil {
		t.Fatal(err, reply.Fault)
	}
	return *reply.OK
}

func (r *rig) request(at *membus.Bus, verb string, q []byte) []byte {
	answer, err := at.Request(context.Background(), bus.VaultSubject(r.cfg.Name, verb), q)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}
