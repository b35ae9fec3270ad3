package export

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/bundle/folder"
	"github.com/persoline/persoline/perso"
)

// cardColumns are those of the list of cards. Nothing in it opens a network: it goes with the boxes.
var cardColumns = []string{"iccid", "chip", "product", "package", "lot", "made"}

// Cards makes the list of the cards of a complete lot of SIMs: cards/<lot>.csv and a manifest, for the same receiver as the
// output file, who hands it on to who packs the cards or puts them into devices.
func (c Config) Cards(ctx context.Context, lot perso.Name) (Result, error) {
	return c.run(ctx, lot, WhatCards, func(f lotFacts) perso.Name { return f.release.Delivery }, newCardsWriter)
}

// cardsWriter writes rows as they come.
type cardsWriter struct {
	*job
	file *folder.File
	text *bufio.Writer
	rows *csv.Writer
}

func newCardsWriter(_ context.Context, j *job) (writer, error) {
	if j.lot.release.EUICC() {
		return nil, fmt.Errorf("product %q is an eUICC, of which the SM-SR gets an EIS", j.lot.product.SKU)
	}
	f, err := j.dir.Create(string(j.lot.release.Lot) + ".csv")
	if err != nil {
		return nil, err
	}
	w := &cardsWriter{job: j, file: f, text: bufio.NewWriter(f)}
	r := j.lot.release
	fmt.Fprintf(w.text, "# persoline-cards/1 environment %s order %s lot %s good %d proof %s\n", r.Env, r.Order, r.Lot, j.lot.good, r.Proof)
	w.rows = csv.NewWriter(w.text)
	return w, w.rows.Write(cardColumns)
}

func (w *cardsWriter) page(_ context.Context, units []unit) error {
	p := w.lot.product
	for _, u := range units {
		made := second(u.outcome.At).Format("2006-01-02T15:04:05Z")
		if err := w.rows.Write([]string{u.iccid.String(), u.claim.Chip.String(), string(p.SKU), string(p.Package), string(u.claim.Lot), made}); err != nil {
			return fmt.Errorf("unit %d: %w", u.claim.Unit, err)
		}
	}
	return nil
}

func (w *cardsWriter) finish() error {
	w.rows.Flush()
	return errors.Join(w.rows.Error(), w.text.Flush(), w.file.Close())
}
