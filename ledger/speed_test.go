package ledger

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
)

// BenchmarkCard leads chips from contact to bin on a ledger file, with a vault that costs little: as many acts as the
// real script has, 64 heads at once. An op is one card.
func BenchmarkCard(b *testing.B) {
	const heads, acts = 64, 4
	db, err := ledgertest.Create(context.Background(), filepath.Join(b.TempDir(), "ledger.db"))
	if err != nil {
		b.Fatal(err)
	}
	s := newSiteOn(b, db)
	s.vault.acts = acts
	s.makeLot(spec{good: b.N, spares: 0})
	chips := make(chan *chip, b.N)
	for left := b.N; left > 0; left -= min(left, 10_000) {
		for _, c := range s.stock(min(left, 10_000)) {
			chips <- c
		}
	}
	close(chips)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for head := range uint16(heads) {
		wg.Go(func() {
			for c := range chips {
				s.makeIn(c, head, acts)
			}
		})
	}
	wg.Wait()
}

// makeIn leads a chip through a script of so many acts to its bin.
func (b *bench) makeIn(c *chip, head uint16, acts int) {
	q := b.begin(c, b.at(head))
	b.act(q)
	c.kvn = cardKVN
	for n := 1; n < acts; n++ {
		q = next(q, "written, with an answer of some length so that the rows have their usual size, as those of a chip do")
		a := b.act(q)
		if n == acts-1 {
			b.want(a, perso.VerdictGood, perso.ReasonNone)
		}
	}
	if err := b.bin(q.Present, perso.VerdictGood); err != nil {
		b.t.Error(err)
	}
}
