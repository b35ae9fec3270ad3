package ledger

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/order/kifile/sender"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

var testReceive = bytes.Repeat([]byte{0x52}, 16)

// kiOrder is an order for the customer's own Ki.
func (b *bench) kiOrder(number string, good, spares int) []byte {
	b.t.Helper()
	content := map[string]any{}
	if err := json.Unmarshal(b.orderFile(spec{good: good, spares: spares, number: number}), &content); err != nil {
		b.t.Fatal(err)
	}
	content["iccid"], content["imsi"] = map[string]any{"first": "8988001020002000003"}, map[string]any{"first": "001010200200000", "mnc_digits": 2}
	content["ki_source"], content["ki_output"] = "customer", "omitted"
	return must(json.Marshal(content))
}

// kiFile is what the customer sends with it, and his Ki.
func (b *bench) kiFile(file []byte, seed byte) (text []byte, kis [][]byte) {
	b.t.Helper()
	cats, err := catalogues()
	if err != nil {
		b.t.Fatal(err)
	}
	o := must(order.Parse(bytes.NewReader(file)))
	key := sender.Key{Name: "rk-provider-demo", Mode: kifile.ModeECB, Value: secret.New(bytes.Clone(testReceive))}
	f := must(sender.Make(kifile.WantOf(o, cats.Order.Site), key, rand.NewChaCha8([32]byte{seed})))
	block := must(aes.NewCipher(testReceive))
	for u := range perso.Unit(f.Rows()) {
		ki := make([]byte, 16)
		block.Decrypt(ki, must(f.Row(u)).EKI)
		kis = append(kis, ki)
	}
	return must(f.Encode()), kis
}

// CheckKi is KiChecker's, with the receive key of these tests.
func (v *vaultDouble) CheckKi(_ context.Context, q bus.CheckKiRequest) (a bus.CheckKiReply, err error) {
	if err := v.failing("check-ki"); err != nil {
		return a, err
	}
	if _, err := bus.Encode(q); err != nil || len(q.Rows) > bus.MaxBatch || q.ReceiveKey != "rk-provider-demo" || q.Mode != "AES-ECB" {
		v.t.Errorf("%d rows under %q in mode %q, %v", len(q.Rows), q.ReceiveKey, q.Mode, err)
	}
	for i, b := range q.Rows {
		row, ki := must(kifile.ParseRow(b)), make([]byte, 16)
		must(aes.NewCipher(testReceive)).Decrypt(ki, row.EKI)
		if scp.KCV(ki) != row.KCV {
			a.Wrong = append(a.Wrong, uint16(i))
		}
		if q.First == 0 && i == 0 {
			v.laid = nil
		}
		v.laid = append(v.laid, string(ki))
	}
	return a, nil
}

// KeepKi is KiChecker's: whose a Ki is is remembered for ever.
func (v *vaultDouble) KeepKi(_ context.Context, q bus.KeepKiRequest) (a bus.KeepKiReply, err error) {
	if err := v.failing("keep-ki"); err != nil {
		return a, err
	}
	if q.Rows != uint64(len(v.laid)) || q.Root == [32]byte{} {
		v.t.Errorf("%d rows are to be kept, %d went through", q.Rows, len(v.laid))
	}
	for i, ki := range v.laid {
		if owner, known := v.kis[ki]; known && owner.Order != q.Order {
			a.Same = append(a.Same, bus.SameKi{Row: uint32(i), Order: owner.Order, There: owner.There})
		}
	}
	if a.Count = uint64(len(a.Same)); a.Count > 0 {
		return a, nil
	}
	for i, ki := range v.laid {
		v.kis[ki] = bus.SameKi{Order: q.Order, There: uint32(i)}
	}
	return a, v.failing("kept-ki")
}

// DropKi is KiChecker's.
func (v *vaultDouble) DropKi(_ context.Context, q bus.DropKiRequest) (bus.Empty, error) {
	for ki, owner := range v.kis {
		if owner.Order == q.Order {
			delete(v.kis, ki)
		}
	}
	return bus.Empty{}, v.failing("drop-ki")
}

// moved is an order of other numbers.
func (b *bench) moved(file []byte, iccid, imsi string) []byte {
	b.t.Helper()
	file = bytes.Replace(file, []byte("8988001020002000003"), []byte(iccid), 1)
	return bytes.Replace(file, []byte("001010200200000"), []byte(imsi), 1)
}

// TestCustomerKiTwice: a Ki that another order has is refused with the order and the unit that have it, and nothing changes. What the
// vault knows of an order that was never accepted stands in nobody's way.
func TestCustomerKiTwice(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	first := b.kiOrder("KI-1", 3, 1)
	text, _ := b.kiFile(first, 1)
	ref := b.upload(text, 5000)
	away := context.DeadlineExceeded
	b.vault.fail = failOn("kept-ki", away) // it knows them now, and the order is not accepted
	if _, err := b.submitKi(first, &ref); !errors.Is(err, away) {
		t.Fatal(err)
	}
	b.vault.fail = nil
	second := b.moved(b.kiOrder("KI-2", 3, 1), "8988001020003000002", "001010200300000")
	same, _ := b.kiFile(second, 1)
	ref2 := b.upload(same, 5000)
	if a, err := b.submitKi(second, &ref2); err != nil || len(a.Faults)+len(a.KiFaults) > 0 {
		t.Fatalf("in the way of an order that nobody accepted: %+v, %v", a, err)
	}
	before := b.kinds()
	ref = b.upload(text, 5000)
	a, err := b.submitKi(first, &ref)
	if err != nil || len(a.KiFaults) != 4 || a.KiFaults[1].Line != 8 || a.KiFaults[1].Reason != `the Ki of unit 1 is that of unit 1 of order "KI-2"` {
		t.Errorf("%+v, %v", a, err)
	}
	before[entry.KindRefused]++
	if after := b.kinds(); !reflect.DeepEqual(after, before) || b.rows("customer_order") != 1 || b.rows("customer_ki") != 1 || len(b.vault.kis) != 4 {
		t.Errorf("it left more than one entry: %v, then %v", before, after)
	}
	if a, err := b.submitKi(second, &ref2); err != nil || !a.Duplicate {
		t.Errorf("the same order again: %+v, %v", a, err)
	}
	clear(b.vault.kis) // it lost its memory, and refuses the release: handing the order in again mends that
	ref2 = b.upload(same, 5000)
	if a, err := b.submitKi(second, &ref2); err != nil || !a.Duplicate || len(b.vault.kis) != 4 {
		t.Errorf("the same order for a vault that does not know its Ki: %+v, %v", a, err)
	}
	taken := b.moved(b.kiOrder("KI-3", 3, 1), "8988001020003000002", "001010200300000") // numbers of KI-2
	fresh, _ := b.kiFile(taken, 9)
	ref = b.upload(fresh, 5000)
	if a, err := b.submitKi(taken, &ref); err != nil || len(a.Faults) == 0 || len(b.vault.kis) != 4 {
		t.Errorf("the vault knows Ki of an order that was refused: %+v, %v", a, err)
	}
	b.check()
}

func refOf(text []byte) bus.KiFileRef {
	return bus.KiFileRef{Hash: sha256.Sum256(text), Size: uint64(len(text))}
}

// upload sends a file in parts of some bytes.
func (b *bench) upload(text []byte, size int) bus.KiFileRef {
	b.t.Helper()
	ref, err := b.tryUpload(text, size)
	if err != nil {
		b.t.Fatal(err)
	}
	return ref
}

func (b *bench) tryUpload(text []byte, size int) (bus.KiFileRef, error) {
	ref := refOf(text)
	for at := 0; at < len(text); at += size {
		end := min(at+size, len(text))
		r, err := b.l.KiPart(b.t.Context(), bus.KiPartRequest{File: ref, At: uint64(at), Data: text[at:end]})
		if err == nil && r.Have != uint64(end) {
			err = fmt.Errorf("%d of %d bytes are there", r.Have, end)
		}
		if err != nil {
			return ref, err
		}
	}
	return ref, nil
}

func (b *bench) submitKi(file []byte, ref *bus.KiFileRef) (bus.SubmitReply, error) {
	return b.l.Submit(b.t.Context(), bus.SubmitRequest{File: file, Ki: ref})
}

func TestCustomerKiParts(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	text := bytes.Repeat([]byte("0123456789"), 100)
	ref := refOf(text)
	part := func(at uint64, data []byte, of bus.KiFileRef) error {
		_, err := b.l.KiPart(t.Context(), bus.KiPartRequest{File: of, At: at, Data: data})
		return err
	}
	huge := ref
	huge.Size = kifile.MaxFileBytes + 1
	for name, err := range map[string]error{
		"larger than any":   part(0, text[:10], huge),
		"part too large":    part(0, make([]byte, bus.KiPartBytes+1), bus.KiFileRef{Size: kifile.MaxFileBytes}),
		"beyond its end":    part(995, text[:10], ref),
		"offset overflowed": part(1<<64-5, text[:10], ref),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		} else {
			b.refused(err, bus.FaultBadMessage)
		}
	}
	b.refused(part(10, text[:10], ref), bus.FaultNotFound)
	b.upload(text[:500], 100) // another file
	b.refused(part(500, text[500:600], ref), bus.FaultNotFound)
	if err := errors.Join(part(0, text[:400], ref), part(200, text[200:400], ref), part(400, text[400:], ref)); err != nil {
		t.Errorf("a part that came twice: %v", err)
	}
	if got, err := b.l.wholeKi(t.Context(), ref); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	b.open(b.db) // as another process of the same ledger does
	if got, err := b.l.wholeKi(t.Context(), ref); err != nil || !bytes.Equal(got, text) {
		t.Errorf("another process finds %d bytes, %v", len(got), err)
	}
	b.upload(text[:500], 500)
	_, err := b.l.wholeKi(t.Context(), ref)
	b.refused(err, bus.FaultNotFound)
	_, err = b.l.wholeKi(t.Context(), bus.KiFileRef{Hash: sha256.Sum256(text[:500]), Size: 499})
	b.refused(err, bus.FaultNotFound)
}

// A file that fits is kept as it came; the release names its root; asked again, also after a restart, it is the same order.
func TestCustomerKiAccepted(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	file := b.kiOrder("KI-1", 290, 10)
	text, kis := b.kiFile(file, 1)
	ref := b.upload(text, 1000)
	a, err := b.submitKi(file, &ref)
	if err != nil || len(a.Faults)+len(a.KiFaults) > 0 || a.Duplicate {
		t.Fatalf("%+v, %v", a, err)
	}
	if n, parts := b.rows("customer_ki_page"), b.rows("customer_ki_part"); n != 5 || parts != 0 {
		t.Errorf("%d pages of 300 rows, %d parts of the file are still here", n, parts)
	}
	var kept []byte
	if err := b.db.View(t.Context(), func(tx ledgertest.Tx) error {
		var rows []byte
		err := tx.QueryRow(t.Context(), `SELECT eki FROM customer_ki_page WHERE order_id = 'KI-1' AND page = 1`).Scan(&rows)
		kept = rows
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for u, ki := range kis {
		if bytes.Contains(kept, ki) {
			t.Errorf("Ki of unit %d is kept in clear", u)
		}
	}
	d, err := b.l.Draft(t.Context(), bus.DraftRequest{Order: "KI-1"})
	if err != nil {
		t.Fatal(err)
	}
	r := must(statement.ParseRelease(d.Body))
	f := must(kifile.Parse(bytes.NewReader(text), kifile.Want{Order: "KI-1", ICCIDs: r.ICCIDs, IMSIs: r.IMSIs, Total: 300}))
	want := statement.CustomerKi{Root: must(must(f.Tree()).Root()), Rows: 300, ReceiveKey: "rk-provider-demo", Mode: "AES-ECB", Output: "omitted"}
	if r.Customer != want {
		t.Errorf("released are %+v, want %+v", r.Customer, want)
	}
	before := b.kinds()
	b.open(b.db) // the file is not in memory any more
	if a, err := b.submitKi(file, &ref); err != nil || !a.Duplicate {
		t.Errorf("again: %+v, %v", a, err)
	}
	loose := b.upload(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")), 5000)
	if a, err := b.submitKi(file, &loose); err != nil || !a.Duplicate {
		t.Errorf("again, laid out otherwise: %+v, %v", a, err)
	}
	if after := b.kinds(); !reflect.DeepEqual(before, after) {
		t.Errorf("the same order again: log %v, then %v", before, after)
	}
	other, _ := b.kiFile(file, 2)
	ref = b.upload(other, 5000)
	if a, err := b.submitKi(file, &ref); err != nil || len(a.Faults) != 1 || a.Faults[0].Field != "order" || !strings.Contains(a.Faults[0].Reason, "other Ki") {
		t.Errorf("the same order with other Ki: %+v, %v", a, err)
	}
	b.check()
}

// A file that does not fit comes back with all that is wrong, and changes nothing but one entry.
func TestCustomerKiRefused(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	file := b.kiOrder("KI-2", 5, 0)
	text, _ := b.kiFile(file, 1)
	lines := strings.Split(string(text), "\n")
	row := func(n int) string { return lines[6+n] }
	replaced := func(pairs ...string) []byte { return []byte(strings.NewReplacer(pairs...).Replace(string(text))) }
	imsi := strings.Fields(row(3))[1]
	for name, bad := range map[string]struct {
		text  []byte
		lines []int
		want  string
	}{
		"row missing":       {replaced(row(4)+"\n", ""), []int{0}, "the file has 4 rows, the order 5 units"},
		"rows swapped":      {replaced(row(1), row(2), row(2), row(1)), []int{8, 8, 9, 9}, "which the order has for unit 1"},
		"row twice":         {replaced(row(1), row(0)), []int{8, 8, 8}, "two cards would have one Ki"},
		"bad hex":           {replaced(row(3), "x"+row(3)[1:len(row(3))-1]+"G"), []int{10, 10}, "check value is not 3 bytes"},
		"other receive key": {replaced("rk-provider-demo", "rk-mine"), []int{3}, "the order's provider has"},
		"other order":       {replaced("KI-2", "KI-3"), []int{2}, "the order wants"},
		"no such file":      {[]byte("hello"), nil, "neither"},
		"check values":      {replaced(row(1), row(1)[:len(row(1))-6]+"000000", row(4), row(4)[:len(row(4))-6]+"FFFFFF"), []int{8, 11}, "the Ki of unit 4 does not fit its check value"},
		"another key's":     {[]byte(regexp.MustCompile(`(?m)[0-9A-F]{6}$`).ReplaceAllString(string(text), "ABCDEF")), []int{0}, `no Ki fits its check value under "rk-provider-demo"`},
		"nothing":           {nil, nil, "missing"},
		"a huge line":       {bytes.Repeat([]byte("1"), 1<<20), nil, "longer than"},
	} {
		before := b.kinds()
		ref := b.upload(append(bytes.Clone(bad.text), ""...), bus.KiPartBytes)
		if len(bad.text) == 0 {
			_, err := b.l.KiPart(t.Context(), bus.KiPartRequest{File: ref})
			if err != nil {
				t.Fatal(err)
			}
		}
		a, err := b.submitKi(file, &ref)
		if err != nil || len(a.Faults) > 0 || len(a.KiFaults) == 0 || a.Order != "" {
			t.Errorf("%s: %+v, %v", name, a, err)
			continue
		}
		var places []int
		said := ""
		for _, f := range a.KiFaults {
			places, said = append(places, f.Line), said+f.Reason+"\n"
		}
		if bad.lines != nil && !reflect.DeepEqual(places, bad.lines) || !strings.Contains(said, bad.want) || strings.Contains(said, imsi) {
			t.Errorf("%s: at %v, want %v:\n%s", name, places, bad.lines, said)
		}
		before[entry.KindRefused]++
		if after := b.kinds(); !reflect.DeepEqual(after, before) || b.rows("customer_order")+b.rows("customer_ki")+b.rows("customer_ki_page")+b.rows("issued_range") != 0 {
			t.Errorf("%s: left more than one entry: %v, then %v", name, before, after)
		}
	}
	ref := b.upload(text, 5000)
	for name, x := range map[string]struct {
		file []byte
		ref  *bus.KiFileRef
		want string
	}{
		"no file":             {file, nil, "no file of them came with it"},
		"a file for nothing":  {b.orderFile(spec{good: 5, number: "KI-4"}), &ref, "whose Ki are derived"},
		"numbers to allocate": {bytes.Replace(file, []byte(`"iccid":{"first":"8988001020002000003"}`), []byte(`"iccid":"allocate"`), 1), &ref, "cannot be allocated"},
	} {
		if a, err := b.submitKi(x.file, x.ref); err != nil || len(a.Faults) != 1 || !strings.Contains(a.Faults[0].Reason, x.want) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	b.vault.fail = func(verb string) error {
		if verb == "check-ki" {
			return bus.ErrNoAnswer
		}
		return nil
	}
	ref = b.upload(text, 5000)
	if a, err := b.submitKi(file, &ref); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("while the vault is away: %+v, %v", a, err)
	}
	b.vault.fail = nil
	if a, err := b.submitKi(file, &ref); err != nil || len(a.Faults)+len(a.KiFaults) > 0 {
		t.Errorf("asked again: %+v, %v", a, err)
	}
	file = b.moved(b.kiOrder("KI-7", 5, 0), "8988001020003000002", "001010200300000")
	gone := refOf([]byte("never sent"))
	_, err := b.submitKi(file, &gone)
	b.refused(err, bus.FaultNotFound)
	b.check()
}

// TestCustomerKiOfOneUnit: one wrong row of one is told as that row's fault, where it stands.
func TestCustomerKiOfOneUnit(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	file := b.kiOrder("KI-5", 1, 0)
	text, _ := b.kiFile(file, 1)
	ref := b.upload(regexp.MustCompile(`(?m)[0-9A-F]{6}$`).ReplaceAll(text, []byte("ABCDEF")), bus.KiPartBytes)
	a, err := b.submitKi(file, &ref)
	if err != nil || len(a.KiFaults) != 1 || a.KiFaults[0].Line != 7 || !strings.Contains(a.KiFaults[0].Reason, "the Ki of unit 0 does not fit its check value") {
		t.Errorf("%+v, %v", a, err)
	}
}

// Each act brings the unit's own row with its proof, in the next generation the same; with the lot's key the rows go.
func TestCustomerKiGoesWithEachAct(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	file := b.kiOrder("KI-5", 2, 1)
	text, _ := b.kiFile(file, 1)
	ref := b.upload(text, 5000)
	if a, err := b.submitKi(file, &ref); err != nil || len(a.KiFaults) > 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	d, err := b.l.Draft(t.Context(), bus.DraftRequest{Order: "KI-5"})
	if err != nil {
		t.Fatal(err)
	}
	r := must(statement.ParseRelease(d.Body))
	other := r
	other.Customer.Root[0] ^= 1
	_, err = b.l.Release(t.Context(), bus.SignedRequest{Signed: b.sign(must(other.Encode()), "ann", "bob").Encode()})
	b.refused(err, bus.FaultRefused)
	b.release = b.sign(d.Body, "ann", "bob")
	a, err := b.l.Release(t.Context(), bus.SignedRequest{Signed: b.release.Encode()})
	if err != nil {
		t.Fatal(err)
	}
	b.lot, b.serial = a.Lot, nil
	seen := map[perso.Unit]map[perso.Generation]string{}
	b.vault.asked = func(item bus.ServeItem) {
		c := must(entry.ParseClaim(item.Claim.Entry))
		if item.Customer == nil {
			t.Errorf("unit %d: no row", c.Unit)
			return
		}
		p := kifile.Proof{Root: r.Customer.Root, Rows: r.Customer.Rows, Hashes: item.Customer.Proof}
		if err := kifile.CheckRow(c.Unit, must(kifile.ParseRow(item.Customer.Row)), p); err != nil {
			t.Errorf("unit %d: %v", c.Unit, err)
		}
		if seen[c.Unit] == nil {
			seen[c.Unit] = map[perso.Generation]string{}
		}
		seen[c.Unit][c.Gen] = string(item.Customer.Row)
	}
	b.makeLost(b.one(), 0)
	bins := []perso.Presentation{b.makeGood(b.one(), 0), b.makeGood(b.one(), 0)}
	if len(seen) != 2 || len(seen[0]) != 2 || seen[0][0] != seen[0][1] || seen[1][0] == seen[0][0] {
		t.Errorf("rows by unit and generation: %d units, %d of unit 0", len(seen), len(seen[0]))
	}
	if len(bins) != 2 || b.rows("customer_ki_page") != 1 {
		t.Errorf("%d pages", b.rows("customer_ki_page"))
	}
	b.check()
}

// What the customer sent is deleted with the lot's key, in the transaction that keeps the certificate; and what a release says of it goes with
// the release.
func TestCustomerKiIsDeletedWithTheKey(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	file := b.kiOrder("KI-6", 1, 0)
	text, _ := b.kiFile(file, 1)
	ref := b.upload(text, 5000)
	if a, err := b.submitKi(file, &ref); err != nil || len(a.KiFaults) > 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	d := must(b.l.Draft(t.Context(), bus.DraftRequest{Order: "KI-6"}))
	b.release = b.sign(d.Body, "ann", "bob")
	b.lot = must(b.l.Release(t.Context(), bus.SignedRequest{Signed: b.release.Encode()})).Lot
	b.closeLot()
	b.deliver()
	b.pass(2 * time.Hour)
	for _, fails := range []bool{true, false} {
		b.vault.fail = func(verb string) error {
			if fails && verb == "destroy" {
				return context.DeadlineExceeded
			}
			return nil
		}
		_, err := b.l.DestroyKeys(t.Context(), b.endLot(nil, "ann", "bob"))
		if left := b.rows("customer_ki_page"); (err != nil) != fails || (left == 1) != fails {
			t.Errorf("the vault fails %v: %d pages left, %v", fails, left, err)
		}
	}
	if n := b.rows("customer_ki"); n != 1 {
		t.Errorf("before the release is deleted %d orders say what they are of", n)
	}
	if err := b.say(b.forget(nil), "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"customer_ki", "customer_ki_page", "customer_ki_part"} {
		if n := b.rows(table); n != 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
	if a, err := b.submitKi(file, &ref); err != nil || len(a.Faults) != 1 || !strings.Contains(a.Faults[0].Reason, "content was deleted") {
		t.Errorf("the order again: %+v, %v", a, err)
	}
	b.check()
}
