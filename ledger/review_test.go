package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// refusedOrder has the log show an exception, and gives its number and bytes.
func (b *bench) refusedOrder() bus.TraceEntry {
	b.t.Helper()
	b.submit([]byte("no order"))
	r, err := b.l.Log(b.t.Context(), bus.LogRequest{Kinds: []string{entry.KindRefused}})
	if err != nil || len(r.Entries) == 0 {
		b.t.Fatal(err, r)
	}
	return r.Entries[len(r.Entries)-1]
}

func (b *bench) word(e bus.TraceEntry, spoil func(*statement.Review), officers ...perso.Name) bus.SignedRequest {
	v := statement.Review{Env: perso.EnvTest, Site: testSite, At: testStart, Nonce: [32]byte{9},
		Items: []statement.Reviewed{{Entry: uint64(e.Seq), Hash: entry.Hash(e.Body), Finding: "wrong file, sender told"}}}
	if spoil != nil {
		spoil(&v)
	}
	return bus.SignedRequest{Signed: b.sign(must(v.Encode()), officers...).Encode()}
}

// TestReview: one officer's word about an entry is logged once, and a word about anything else is refused and changes nothing.
func TestReview(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	e := b.refusedOrder()
	for name, q := range map[string]bus.SignedRequest{
		"no officer":     b.word(e, nil),
		"another site":   b.word(e, func(v *statement.Review) { v.Site = "elsewhere" }, "ann"),
		"another entry":  b.word(e, func(v *statement.Review) { v.Items[0].Hash[0] ^= 1 }, "ann"),
		"not logged yet": b.word(e, func(v *statement.Review) { v.Items[0].Entry = 1_000 }, "ann"),
		"no statement":   {Signed: []byte("x")},
	} {
		var fault *bus.Fault
		if _, err := b.l.Review(t.Context(), q); !errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := b.kinds()[entry.KindStatement]; n != 1 {
		t.Errorf("%d statements are on record before the review", n)
	}
	for range 2 {
		r, err := b.l.Review(t.Context(), b.word(e, nil, "ann"))
		if err != nil || r.Reviewed != 1 || len(r.By) != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if n := b.kinds()[entry.KindStatement]; n != 2 {
		t.Errorf("%d statements are on record after it was said twice", n)
	}
	b.check()
}

// TestLog: entries by number, the newest ones, and what is narrowed; an answer says where to go on.
func TestLog(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	for range 5 {
		b.refusedOrder()
	}
	all, err := b.l.Log(t.Context(), bus.LogRequest{})
	if err != nil || int64(len(all.Entries)) != all.Size || all.Next != all.Size {
		t.Fatalf("%d of %d entries, next %d, %v", len(all.Entries), all.Size, all.Next, err)
	}
	last, err := b.l.Log(t.Context(), bus.LogRequest{Last: 2})
	if err != nil || len(last.Entries) != 2 || last.Entries[1].Seq != all.Size-1 {
		t.Errorf("the last two: %+v, %v", last, err)
	}
	some, err := b.l.Log(t.Context(), bus.LogRequest{From: 1, Kinds: []string{entry.KindRefused}, Text: "faults"})
	if err != nil || len(some.Entries) != 5 || !strings.Contains(string(some.Entries[0].Body), "faults") {
		t.Errorf("refusals: %+v, %v", some, err)
	}
	if r, err := b.l.Log(t.Context(), bus.LogRequest{From: all.Size}); err != nil || len(r.Entries) != 0 || r.Next != all.Size {
		t.Errorf("beyond the end: %+v, %v", r, err)
	}
	if _, err := b.l.Log(t.Context(), bus.LogRequest{From: -1}); err == nil {
		t.Error("before the beginning")
	}
}
