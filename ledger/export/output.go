package export

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/ledger/bundle/folder"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/k4"
)

// Columns of the output file, in order; OPC is TOPC with TUAK. Those of codes and keys are whole blocks under the transport
// key. The column EKI is missing for an operator who wants no copy of his own Ki.
const outputColumns = "ICCID/IMSI/EID/PIN1/PUK1/PIN2/PUK2/ADM1%[2]s/KI_KCV/E%[1]s/%[1]s_KCV"

// Output makes the operator's output file of a complete lot: output/<lot>.out, or two envelopes, and a manifest.
func (c Config) Output(ctx context.Context, lot perso.Name) (Result, error) {
	return c.run(ctx, lot, WhatOutput, func(f lotFacts) perso.Name { return f.release.Delivery }, func(ctx context.Context, j *job) (writer, error) {
		if j.lot.release.TransportMode == string(k4.Envelope) {
			return newEnvelopeWriter(ctx, j)
		}
		return newOutputWriter(ctx, j)
	})
}

// outputWriter writes rows as they come.
type outputWriter struct {
	*job
	file   *folder.File
	text   *bufio.Writer
	layout k4.Layout
	kcv    []byte // of the transport key, once the header is written
}

func newOutputWriter(_ context.Context, j *job) (writer, error) {
	layout, err := k4.ParseLayout(cmp.Or(j.lot.release.TransportMode, string(k4.AESECB)))
	if err != nil {
		return nil, err
	}
	f, err := j.dir.Create(string(j.lot.release.Lot) + ".out")
	if err != nil {
		return nil, err
	}
	return &outputWriter{job: j, file: f, text: bufio.NewWriter(f), layout: layout}, nil
}

// header names everything that a receiver needs to read the rows; its time is the ledger's.
func (w *outputWriter) header() {
	r, o := w.lot.release, w.lot.order
	rule := strings.Repeat("*", 64)
	fmt.Fprintf(w.text, "%s\n*HEADER DESCRIPTION\n%s\n", rule, rule)
	for _, l := range [][2]string{
		{"Format", "persoline-output/1"}, {"Environment", string(r.Env)}, {"Customer", o.Customer}, {"Order", r.Order}, {"Lot", string(r.Lot)},
		{"Product", r.Product}, {"Completed", second(w.lot.completed).Format("2006-01-02T15:04:05Z")}, {"Quantity", fmt.Sprint(w.lot.good)},
		{"Algorithm", r.Algorithm}, {"OP_key", string(r.OP)}, {"Transport_key", string(r.TransportKey)}, {"Transport_mode", string(w.layout)}, {"Transport_KCV", upper(w.kcv)},
	} {
		if l[1] == "" {
			continue // a lot without a good unit asks the vault for nothing
		}
		fmt.Fprintf(w.text, "%-16s: %s\n", l[0], l[1])
	}
	eki := "/EKI"
	if w.omitsKi() {
		eki = ""
	}
	fmt.Fprintf(w.text, "%[3]s\n*OUTPUT VARIABLES DESCRIPTION\n%[3]s\nvar_out: "+outputColumns+"\n", w.lot.auth.Column(), eki, rule)
}

// omitsKi says whether the operator wants no copy of his own Ki.
func (w *outputWriter) omitsKi() bool {
	return w.lot.release.Customer.Output == string(order.KiOmitted)
}

func (w *outputWriter) page(ctx context.Context, units []unit) error {
	items := make([]bus.ExportItem, len(units))
	for i, u := range units {
		items[i] = u.item
	}
	a, err := w.ask(ctx, bus.ExportOutput, w.lot.release.Delivery, items)
	if err != nil {
		return err
	}
	switch {
	case len(a.KCV) != kcvBytes || w.kcv != nil && !bytes.Equal(a.KCV, w.kcv):
		return fmt.Errorf("the vault's transport key %q has no check value, or not the one that it had before", w.lot.release.TransportKey)
	case w.kcv == nil:
		w.kcv = a.KCV
		w.header()
	}
	for i, u := range units {
		if err := w.row(u, a.Results[i]); err != nil {
			return fmt.Errorf("unit %d: %w", u.claim.Unit, err)
		}
	}
	return nil
}

func (w *outputWriter) row(u unit, r bus.ExportResult) error {
	code := w.layout.BlockBytes() // a code fills one block
	kiBytes := w.lot.auth.KBytes()
	if w.omitsKi() {
		kiBytes = 0
	}
	k, err := keysOf(r, wanted{"KI", kiBytes}, wanted{w.lot.auth.Column(), w.lot.auth.OPBytes()}, wanted{"PIN1", code}, wanted{"PUK1", code}, wanted{"PIN2", code}, wanted{"PUK2", code}, wanted{"ADM1", code})
	if err != nil {
		return err
	}
	ki, opc, codes := k[0], k[1], k[2:]
	if len(ki.KCV) != kcvBytes || len(opc.KCV) != kcvBytes {
		return errors.New("the vault gave no check value with Ki or OPc")
	}
	fmt.Fprintf(w.text, "%s %s %s", u.iccid, u.imsi, u.claim.EID)
	for _, c := range codes {
		fmt.Fprintf(w.text, " %s", upper(c.Value))
	}
	if kiBytes > 0 {
		fmt.Fprintf(w.text, " %s", upper(ki.Value))
	}
	_, err = fmt.Fprintf(w.text, " %s %s %s\n", upper(ki.KCV), upper(opc.Value), upper(opc.KCV))
	return err
}

func (w *outputWriter) finish() error {
	if w.kcv == nil {
		w.header()
	}
	return errors.Join(w.text.Flush(), w.file.Close())
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
