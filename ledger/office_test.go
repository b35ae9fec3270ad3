package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/statement"
)

func (b *bench) submit(file []byte) bus.SubmitReply {
	b.t.Helper()
	a, err := b.l.Submit(b.t.Context(), bus.SubmitRequest{File: file})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// row counts a table.
func (b *bench) rows(table string) int64 { b.t.Helper(); return b.raw(`SELECT COUNT(*) FROM ` + table) }

func TestSubmit(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	file := b.orderFile(spec{good: 20, spares: 4, number: "A-1.B", eid: "89049099002000000000000000000080"})
	a := b.submit(file)
	if a.Order != "A-1.B" || a.Lot != "L-A-1_B" || a.Duplicate || len(a.Faults) > 0 {
		t.Fatalf("reply %+v", a)
	}
	again := b.submit(append([]byte("\n "), file...)) // the same content, laid out otherwise
	if !again.Duplicate || again.Hash != a.Hash || again.Lot != a.Lot {
		t.Errorf("again: %+v", again)
	}
	if k := b.kinds(); k[entry.KindOrder] != 1 || k[entry.KindRefused] != 0 || b.rows("issued_range") != 3 {
		t.Errorf("log %v, %d ranges", k, b.rows("issued_range"))
	}
	for name, bad := range map[string]struct {
		file  []byte
		field string
	}{
		"other content":  {b.orderFile(spec{good: 21, number: "A-1.B"}), "order"},
		"overlap":        {b.orderFile(spec{good: 1, number: "A-2", eid: "89049099002000000000000000000080"}), "eid"},
		"no JSON":        {[]byte("hello\x00"), ""},
		"no product":     {bytes.Replace(b.orderFile(spec{good: 1}), []byte("m2m-200s-mff2"), []byte("m2m-200s-mff3"), 1), "product"},
		"pool too small": {b.orderFile(spec{good: 600_000}), "iccid"},
	} {
		before := b.kinds()
		orders, ranges := b.rows("customer_order"), b.rows("issued_range")
		faults, err := b.l.CheckOrder(t.Context(), bad.file)
		if err != nil || len(faults) == 0 {
			t.Errorf("%s: a check finds %v, %v", name, faults, err)
		}
		a := b.submit(bad.file)
		if len(a.Faults) == 0 || bad.field != "" && a.Faults[0].Field != bad.field || a.Faults[0].Reason == "" {
			t.Errorf("%s: %+v", name, a)
		}
		before[entry.KindRefused]++
		if after := b.kinds(); !reflect.DeepEqual(after, before) || b.rows("customer_order") != orders || b.rows("issued_range") != ranges {
			t.Errorf("%s: left more than one entry: %v, then %v", name, before, after)
		}
	}
	if x := b.submit(b.orderFile(spec{good: 1, number: "A-1_B"})); x.Lot == a.Lot {
		t.Errorf("orders %s and %s have one lot %s", x.Order, a.Order, a.Lot)
	}
	if faults, err := b.l.CheckOrder(t.Context(), file); err != nil || len(faults) > 0 {
		t.Errorf("checking the accepted order again: %v, %v", faults, err)
	}
	b.check()
}

// TestAllocation walks a pool around ranges that are issued already, also one that lies before another.
func TestAllocation(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	pool := b.l.cat.Order.Site.EUM.EIDPool
	eid := func(i uint64) string { return must(pool.At(i)).String() }
	b.submit(b.orderFile(spec{good: 5, number: "GIVEN-1", eid: eid(12)})) // 12..16
	b.submit(b.orderFile(spec{good: 5, number: "GIVEN-2", eid: eid(3)}))  // 3..7
	for _, c := range []struct {
		n           int
		first, last uint64
	}{{3, 0, 2}, {5, 17, 21}, {4, 8, 11}, {1, 22, 22}} {
		number := fmt.Sprintf("POOL-%d", c.n)
		b.submit(b.orderFile(spec{good: c.n, number: number}))
		d, err := b.l.Draft(t.Context(), bus.DraftRequest{Order: number})
		if err != nil {
			t.Fatal(err)
		}
		r := must(statement.ParseRelease(d.Body))
		if r.EIDs.First().String() != eid(c.first) || r.EIDs.Last().String() != eid(c.last) {
			t.Errorf("%d EIDs are %s, want %d to %d of the pool", c.n, r.EIDs, c.first, c.last)
		}
	}
	b.check()
}

// Both sets of numbers of an order with an operational profile are reserved for ever (I1), and an order of either kind may not have them.
func TestOperationalNumbers(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	operational := func(number string, iccid, imsi any) []byte {
		var content map[string]any
		if err := json.Unmarshal(b.orderFile(spec{good: 5, number: number}), &content); err != nil {
			t.Fatal(err)
		}
		content["operational"] = map[string]any{"provider": "provider-harbour", "iccid": iccid, "imsi": imsi, "auth": map[string]any{"algorithm": "tuak k=256", "op_key": "top-harbour"},
			"transport_key": "tk-auc-harbour", "delivery": map[string]any{"target": "auc-harbour"}}
		return must(json.Marshal(content))
	}
	b.submit(operational("TWO-1", "allocate", "allocate"))
	b.submit(operational("TWO-2", "allocate", "allocate"))
	r := must(statement.ParseRelease(must(b.l.Draft(t.Context(), bus.DraftRequest{Order: "TWO-2"})).Body))
	pool, _ := b.l.cat.Order.Site.Provider("provider-harbour")
	if r.Operational.ICCIDs.First() != must(pool.ICCIDPool.At(5)) || r.Operational.IMSIs.First() != must(pool.IMSIPool.At(5)) {
		t.Errorf("the second order has %s", r.Operational.ICCIDs)
	}
	taken := map[string]any{"first": r.Operational.ICCIDs.First().String()}
	a, err := b.l.Submit(t.Context(), bus.SubmitRequest{File: operational("TWO-3", taken, "allocate")})
	if err != nil || len(a.Faults) != 1 || a.Faults[0].Field != "operational.iccid" || !strings.Contains(a.Faults[0].Reason, "TWO-2") {
		t.Errorf("numbers of another order's operational profile: %+v, %v", a.Faults, err)
	}
	var alone map[string]any
	if err := json.Unmarshal(b.orderFile(spec{good: 5, number: "ONE"}), &alone); err != nil {
		t.Fatal(err)
	}
	alone["bootstrap_provider"], alone["iccid"], alone["auth"], alone["transport_key"] = "provider-harbour", taken, map[string]any{"algorithm": "tuak k=256", "op_key": "top-harbour"}, "tk-auc-harbour"
	alone["delivery"] = map[string]any{"target": "auc-harbour"}
	a, err = b.l.Submit(t.Context(), bus.SubmitRequest{File: must(json.Marshal(alone))})
	if err != nil || len(a.Faults) != 1 || a.Faults[0].Field != "iccid" || !strings.Contains(a.Faults[0].Reason, "TWO-2") {
		t.Errorf("the same as bootstrap numbers: %+v, %v", a.Faults, err)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	r := b.draft(spec{good: 2, spares: 1})
	if r.Lot != "L-TEST-0001" || !r.Expires.Equal(r.At.Add(releaseLasts)) || r.Nonce == [32]byte{} || r.Site != testSite {
		t.Errorf("draft %+v", r)
	}
	good := b.sign(must(r.Encode()), "ann", "bob")
	forged := b.sign(must(r.Encode()), "ann", "bob")
	forged.Signatures[1].Sig[3] ^= 1
	renamed := b.sign(must(r.Encode()), "ann", "cid")
	renamed.Signatures[1].Officer = "bob"
	for name, s := range map[string]statement.Signed{
		"nobody": b.sign(must(r.Encode())), "one officer": b.sign(must(r.Encode()), "ann"), "one role": b.sign(must(r.Encode()), "ann", "cid"),
		"twice the same": b.sign(must(r.Encode()), "ann", "ann"), "forged": forged, "under another's name": renamed,
		"expired":         b.changed(r, func(r *statement.Release) { r.At = testStart.Add(-time.Hour); r.Expires = testStart.Add(-time.Minute) }),
		"other site":      b.changed(r, func(r *statement.Release) { r.Site = "S2" }),
		"other world":     b.changed(r, func(r *statement.Release) { r.Env = perso.EnvProduction }),
		"other order":     b.changed(r, func(r *statement.Release) { r.Order = "TEST-9" }),
		"other lot":       b.changed(r, func(r *statement.Release) { r.Lot = "L-MINE" }),
		"more units":      b.changed(r, func(r *statement.Release) { r.Good, r.Spares = 3, 0 }),
		"other script":    b.changed(r, func(r *statement.Release) { r.ScriptHash[0]++ }),
		"other product":   b.changed(r, func(r *statement.Release) { r.ProductHash[0]++ }),
		"other receiver":  b.changed(r, func(r *statement.Release) { r.Delivery = "my-own" }),
		"other wrap key":  b.changed(r, func(r *statement.Release) { r.WrapKey = "my-own" }),
		"other re-make":   b.changed(r, func(r *statement.Release) { r.Remake = remakeFresh }),
		"other constants": b.changed(r, func(r *statement.Release) { r.Constants[0].Value = []byte{1} }),
	} {
		if _, err := b.l.Release(t.Context(), bus.SignedRequest{Signed: s.Encode()}); err == nil {
			t.Errorf("%s: released", name)
		}
	}
	if b.rows("lot") != 0 || b.kinds()[entry.KindStatement] != 1 || b.vault.openings != 0 {
		t.Errorf("refused releases left a trace")
	}
	for range 2 {
		if a, err := b.l.Release(t.Context(), bus.SignedRequest{Signed: good.Encode()}); err != nil || a.Lot != r.Lot {
			t.Fatalf("releasing: %+v, %v", a, err)
		}
	}
	if b.rows("lot") != 1 || b.kinds()[entry.KindStatement] != 2 {
		t.Errorf("released twice: %v", b.kinds())
	}
	_, err := b.l.Draft(t.Context(), bus.DraftRequest{Order: r.Order})
	b.refused(err, bus.FaultRefused)
	_, err = b.l.Draft(t.Context(), bus.DraftRequest{Order: "NONE"})
	b.refused(err, bus.FaultNotFound)
	second := b.changed(r, func(r *statement.Release) { r.Nonce[0]++ })
	_, err = b.l.Release(t.Context(), bus.SignedRequest{Signed: second.Encode()})
	b.refused(err, bus.FaultConflict)
	_, err = b.l.Release(t.Context(), bus.SignedRequest{Signed: []byte("x")})
	b.refused(err, bus.FaultBadMessage)
	b.check()
}

func (b *bench) changed(r statement.Release, change func(*statement.Release)) statement.Signed {
	r.Constants = append([]statement.Constant(nil), r.Constants...)
	change(&r)
	return b.sign(must(r.Encode()), "ann", "bob")
}

func TestReleaseWithinTheOrdersTime(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	r := b.draft(spec{good: 1, expires: "2026-12-24T00:00:00Z"})
	late := b.changed(r, func(r *statement.Release) { r.Expires = r.Expires.Add(time.Second) })
	_, err := b.l.Release(t.Context(), bus.SignedRequest{Signed: late.Encode()})
	b.refused(err, bus.FaultRefused)
	earlier := b.changed(r, func(r *statement.Release) { r.Expires = r.Expires.Add(-24 * time.Hour) })
	if _, err := b.l.Release(t.Context(), bus.SignedRequest{Signed: earlier.Encode()}); err != nil {
		t.Errorf("officers may choose an earlier end: %v", err)
	}
}

func TestReleaseWhileTheVaultIsAway(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	r := b.draft(spec{good: 1})
	b.vault.fail = failOn("open", context.DeadlineExceeded)
	q := bus.SignedRequest{Signed: b.sign(must(r.Encode()), "bob", "cid").Encode()}
	if _, err := b.l.Release(t.Context(), q); err == nil {
		t.Error("released without the vault")
	}
	b.vault.fail = nil
	if _, err := b.l.Release(t.Context(), q); err != nil || b.vault.openings != 1 || b.rows("lot") != 1 {
		t.Errorf("again: %v, opened %d times", err, b.vault.openings)
	}
	b.check()
}

func TestReceive(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	chips := b.newChips(3)
	file := b.reel(chips...)
	for i := range 2 {
		a, err := b.l.Receive(t.Context(), bus.ReceiveRequest{File: file})
		if err != nil || a.Chips != 3 || a.Duplicate != (i == 1) {
			t.Fatalf("receiving: %+v, %v", a, err)
		}
	}
	more := b.newChips(1)
	for name, bad := range map[string][]byte{
		"chip in stock": b.reel(more[0], chips[1]), "chip twice": b.reel(more[0], more[0]), "no chips": b.reel(),
		"same reel":    bytes.Replace(b.reel(more...), []byte(`"R5"`), []byte(`"R1"`), 1),
		"other keys":   bytes.Replace(b.reel(more...), []byte("kmc-m2m-200s"), []byte("kmc-other"), 1),
		"other OS":     bytes.Replace(b.reel(more...), []byte("M2M-OS 2.0"), []byte("M2M-OS 3.0"), 1),
		"other ATR":    bytes.Replace(b.reel(more...), []byte("3B9F96"), []byte("3B9F97"), 1),
		"keys by chip": bytes.Replace(b.reel(more...), []byte(`"kvn"`), []byte(`"chip_keys":[],"kvn"`), 1),
		"other field":  bytes.Replace(b.reel(more...), []byte(`"kvn"`), []byte(`"kvm"`), 1),
		"blank chip":   bytes.Replace(b.reel(more...), []byte(more[0].id().String()), []byte("00000000000000000000"), 1),
		"more behind":  append(b.reel(more...), '1'),
		"no product":   bytes.Replace(b.reel(more...), []byte("m2m-200s-mff2"), []byte("m2m"), 1),
		"wrong count":  bytes.Replace(b.reel(more...), []byte(`"count":1`), []byte(`"count":2`), 1),
		"next version": bytes.Replace(b.reel(more...), []byte(`"version":1`), []byte(`"version":2`), 1),
	} {
		if a, err := b.l.Receive(t.Context(), bus.ReceiveRequest{File: bad}); err == nil {
			t.Errorf("%s: received %+v", name, a)
		}
	}
	if b.rows("chip") != 3 || b.kinds()[entry.KindStock] != 1 {
		t.Errorf("%d chips, log %v", b.rows("chip"), b.kinds())
	}
	b.check()
}

func TestTrace(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 1})
	lost, c := b.one(), b.one()
	live := b.makeLost(lost, 0)
	good := b.makeGood(c, 1)
	if err := b.bin(live, perso.VerdictRejectLive); err != nil {
		t.Fatal(err)
	}
	if err := b.bin(good, perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	r := must(statement.ParseRelease(b.release.Body))
	eid, iccid := must(r.EIDs.At(1)), must(r.ICCIDs.At(0))
	var first bus.TraceReply
	for i, key := range []string{eid.String(), iccid.String(), c.id().String(), lost.id().String(), " " + strings.ToUpper(c.id().String()) + "\n"} {
		tr, err := b.l.Trace(t.Context(), bus.TraceRequest{Key: key})
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		if i == 0 {
			first = tr
		}
		if !reflect.DeepEqual(tr, first) {
			t.Errorf("%q leads to %d entries, not to %d", key, len(tr.Entries), len(first.Entries))
		}
	}
	var kinds []string
	for i, e := range first.Entries {
		kinds = append(kinds, e.Kind)
		if i > 0 && e.Seq <= first.Entries[i-1].Seq {
			t.Errorf("entry %d comes after %d", e.Seq, first.Entries[i-1].Seq)
		}
	}
	want := []string{"claim", "act", "outcome", "claim", "act", "certificate", "act", "outcome", "bin", "bin"}
	if !reflect.DeepEqual(kinds, want) || first.Lot != b.lot || first.Unit != 0 {
		t.Errorf("trace of lot %s unit %d: %v, want %v", first.Lot, first.Unit, kinds, want)
	}
	stranger := b.newChips(1)[0]
	b.act(b.begin(stranger, b.at(0)))
	if tr, err := b.l.Trace(t.Context(), bus.TraceRequest{Key: stranger.id().String()}); err != nil || len(tr.Entries) != 1 {
		t.Errorf("chip without a claim: %d entries, %v", len(tr.Entries), err)
	}
	for key, code := range map[string]bus.FaultCode{"hello": bus.FaultBadMessage, "": bus.FaultBadMessage,
		must(r.EIDs.At(2)).String(): bus.FaultNotFound, must(r.ICCIDs.At(1)).String(): bus.FaultNotFound, "0102030405060708": bus.FaultNotFound} {
		_, err := b.l.Trace(t.Context(), bus.TraceRequest{Key: key})
		b.refused(err, code)
	}
}

func TestTraceOfNoUnit(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 1})
	chip := b.one()
	tr, err := b.l.Trace(t.Context(), bus.TraceRequest{Key: chip.id().String()})
	if err != nil || tr.Reel == "" || tr.Lot != "" || len(tr.Entries) != 0 {
		t.Errorf("a chip in stock: %+v, %v", tr, err)
	}
	b.makeGood(chip, 0)
	if tr, err := b.l.Trace(t.Context(), bus.TraceRequest{Key: chip.id().String()}); err != nil || tr.Reel != "" || tr.Lot != b.lot {
		t.Errorf("a chip of a unit: reel %q, lot %q, %v", tr.Reel, tr.Lot, err)
	}
	r := must(statement.ParseRelease(b.release.Body))
	for name, right := range map[string]string{"EID": must(r.EIDs.At(0)).String(), "ICCID": must(r.ICCIDs.At(0)).String()} {
		last := right[len(right)-1]
		key := right[:len(right)-1] + string('0'+(last-'0'+1)%10)
		_, err := b.l.Trace(t.Context(), bus.TraceRequest{Key: key})
		want := fmt.Sprintf("expected %c", last) // Luhn
		if name == "EID" {
			want = "expected " + right[len(right)-2:]
		}
		if err == nil || !strings.Contains(err.Error(), "parsing "+name+" ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s with a wrong check digit: %v, want %q", name, err, want)
		}
	}
}

func TestStatusAndWork(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3, spares: 2})
	b.makeLost(b.one(), 0)
	b.makeGood(b.one(), 0)
	b.act(b.begin(b.one(), b.at(1)))
	b.mute(b.at(2), 1)
	s := b.status()
	if s.Ordered != 3 || s.Spares != 2 || s.Good != 1 || s.Open != 1 || s.Lost != 1 || s.EIDsUsed != 3 || s.State != perso.LotRunning ||
		s.Order != "TEST-0001" || s.Env != perso.EnvTest || s.Balance != nil || s.Released.IsZero() || !s.Now.Equal(b.clock()) || s.LogSize == 0 {
		t.Errorf("status %+v", s)
	}
	got := map[string]uint64{}
	for _, r := range s.Reasons {
		got[string(r.Verdict)+"/"+string(r.Reason)] = r.Count
	}
	if want := map[string]uint64{"good/-": 1, "reject-live/status": 1, "recontact/mute": 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("reasons %v, want %v", got, want)
	}
	_, err := b.l.Status(t.Context(), bus.LotRequest{Lot: "L-NONE"})
	b.refused(err, bus.FaultNotFound)
	first := b.lot
	b.makeLot(spec{good: 1})
	lots, err := b.l.Lots(t.Context(), bus.Empty{})
	if err != nil || len(lots.Lots) != 2 || lots.Lots[0].Lot != first || lots.Lots[1].State != perso.LotReleased {
		t.Errorf("lots %+v, %v", lots, err)
	}
	b.makeGood(b.one(), 0)
	if work, err := b.l.WorkOrders(t.Context()); err != nil || len(work) != 2 {
		t.Errorf("%d work orders while the handler has not counted a complete lot, %v", len(work), err)
	}
	if _, err := b.l.Count(t.Context(), bus.CountRequest{Lot: b.lot, Source: entry.SourceHandler, In: 1, Good: 1}); err != nil {
		t.Fatal(err)
	}
	work, err := b.l.WorkOrders(t.Context())
	if err != nil || len(work) != 1 || work[0].Order.Lot != first || entry.Hash(work[0].Script) != work[0].Order.Script || work[0].Order.Quantity != 3 {
		t.Errorf("work %+v, %v", work, err)
	}
}

// TestAProductThatChanged keeps lots readable and their chips served after the catalogue changed, and gives out no work.
func TestAProductThatChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	c := b.one()
	b.open(b.db)
	b.l.cat.Order = order.Catalogue{Products: product.Catalogue{}, Site: b.l.cat.Order.Site}
	b.makeGood(c, 0)
	if work, err := b.l.WorkOrders(t.Context()); err != nil || len(work) != 0 {
		t.Errorf("work %+v, %v", work, err)
	}
}

func TestExports(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	b.makeGood(b.one(), 0)
	e := entry.Export{Lot: b.lot, What: "eis", Receiver: "smsr-demo", Units: 1, Hash: [32]byte{1}}
	for range 2 {
		if err := b.l.RecordExport(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	e.Hash[0]++
	if err := b.l.RecordExport(t.Context(), e); err == nil {
		t.Error("a second export was recorded over the first")
	}
	e.Lot = "L-NONE"
	b.refused(b.l.RecordExport(t.Context(), e), bus.FaultNotFound)
	if k := b.kinds(); k[entry.KindExport] != 1 {
		t.Errorf("log %v", k)
	}
	b.check()
}

func TestInitAndOpen(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	if err := Init(t.Context(), b.db, entry.Genesis{Register: b.vault.pin}, nil); err == nil {
		t.Error("made a ledger over another")
	}
	b.makeGood(b.one(), 0)
	last := b.l.stamp()
	b.now = testStart.Add(-time.Hour) // the host's clock was set back
	b.open(b.db)
	if at := b.l.stamp(); at.Before(last.Add(-time.Second)) {
		t.Errorf("time goes back from %s to %s", last, at)
	}
	b.makeGood(b.one(), 0)
	b.check()
	empty, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = empty.Close() }()
	if _, err := Open(t.Context(), Config{DB: empty, Now: b.clock}); err == nil {
		t.Error("opened an empty database")
	}
}

// A lot for which no chip was received stays with the office: a line would take what is there, and find it bad.
func TestNoReelNoWork(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	look := func(orders int, waits string) {
		t.Helper()
		work, err := b.l.WorkOrders(t.Context())
		if s := b.status(); err != nil || len(work) != orders || (s.Waits == "") != (waits == "") || !strings.Contains(s.Waits, waits) {
			t.Errorf("%d work orders, waits %q, %v", len(work), s.Waits, err)
		}
	}
	look(0, `no reel of product "m2m-200s-mff2" was received`)
	b.makeGood(b.one(), 0)
	look(1, "")
}
