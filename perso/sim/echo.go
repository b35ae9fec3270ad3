package sim

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso/canary"
)

// echo sends everything once more that line and office ever asked, in any order, when all is over: no late message changes
// a claim, a count or a bin.
func (c *checker) echo() {
	w := c.w
	c.readLog()
	before := c.lot
	claims, bins := len(c.m.claims), maps.Clone(c.m.bins)
	said := slices.Clone(w.said)
	w.rng.Shuffle(len(said), func(i, j int) { said[i], said[j] = said[j], said[i] })
	for _, q := range said {
		w.stats.Echoes++
		w.ledger.serve(q.subject, q.data, func([]byte) {})
	}
	for w.queue.Len() > 0 && w.broken == nil && len(w.ledger.calls)+len(w.ledger.waiting) > 0 {
		w.step()
	}
	c.readLog()
	after := c.lot
	before.alsoSize = after.alsoSize // alarms may be added
	if before != after || len(c.m.claims) != claims || !maps.Equal(bins, c.m.bins) {
		w.fail("I1", "messages of before changed the lot from %+v to %+v", before, after)
	}
}

// columns are what a person with the database could read and that came from elsewhere, two at a time.
var columns = []string{`SELECT subject, body FROM log_entry`, `SELECT responses, state FROM verdict_due`, `SELECT command, answer FROM session`,
	`SELECT cert, cert_key FROM claim`, `SELECT ki, pair FROM claim`, `SELECT canonical, resolved FROM customer_order`}

// secrets looks for what the chips really hold in everything that was said and stored (I2).
func (c *checker) secrets() {
	w, ctx := c.w, context.Background()
	var all bytes.Buffer
	for _, message := range w.heard {
		all.Write(message)
	}
	for _, r := range w.vault.disk.receipts[w.site.lot] {
		all.Write(r)
	}
	all.Write(w.line.disk.content)
	err := w.ledger.disk.View(ctx, func(tx ledgertest.Tx) error {
		for _, query := range columns {
			if err := tx.Each(ctx, func(r ledgertest.Row) error {
				var a, b []byte
				err := r.Scan(&a, &b)
				all.Write(a)
				all.Write(b)
				return err
			}, query); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.erased(ctx)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(w.cfg.Dir, "heard"), all.Bytes(), 0o600)
	}
	if err != nil {
		w.fail("I2", "gathering what was said and stored: %v", err)
		return
	}
	var needles []canary.Needle
	for value, ch := range c.material {
		needles = append(needles, canary.Needle{Name: "key of " + ch.name, Value: []byte(value)})
	}
	hits, err := canary.Prove(ctx, []string{w.cfg.Dir}, needles, canary.Options{MaxHits: 10})
	for _, h := range hits {
		w.fail("I2", "%v", h)
	}
	if err != nil && len(needles) > 0 {
		w.fail("I2", "looking for secrets: %v", err)
	}
}

// erased says that no claim with a verdict has a sealed private key left.
func (c *checker) erased(ctx context.Context) error {
	return c.w.ledger.disk.View(ctx, func(tx ledgertest.Tx) error {
		return tx.Each(ctx, func(r ledgertest.Row) error {
			var unit int64
			if err := r.Scan(&unit); err != nil {
				return err
			}
			c.w.fail("I2", "unit %d has its verdict, and its private key still rests sealed", unit)
			return nil
		}, `SELECT unit FROM claim WHERE pair IS NOT NULL AND state <> 'open'`)
	})
}
