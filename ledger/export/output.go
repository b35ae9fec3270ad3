package export

import (
	"bufio"
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

// Columns of the output file, in order. Those of codes and keys are one AES block each under the transport key.
const (
	outputColumns = "ICCID/IMSI/EID/PIN1/PUK1/PIN2/PUK2/ADM1/EKI/KI_KCV/EOPC/OPC_KCV"
	// columnsWithoutKi are for an operator who wants no copy of his own Ki.
	columnsWithoutKi = "ICCID/IMSI/EID/PIN1/PUK1/PIN2/PUK2/ADM1/KI_KCV/EOPC/OPC_KCV"
)

// Output makes the operator's output file of a complete lot: output/<lot>.out, and a manifest.
func (c Config) Output(ctx context.Context, lot perso.Name) (Result, error) {
	return c.run(ctx, lot, WhatOutput, func(f lotFacts) perso.Name { return f.release.Delivery }, newOutputWriter)
}

// outputWriter writes rows as they come.
type outputWriter struct {
	*job
	file *folder.File
	text *bufio.Writer
}

func newOutputWriter(_ context.Context, j *job) (writer, error) {
	f, err := j.dir.Create(string(j.lot.release.Lot) + ".out")
	if err != nil {
		return nil, err
	}
	w := &outputWriter{job: j, file: f, text: bufio.NewWriter(f)}
	w.header()
	return w, nil
}

// header names everything that a receiver needs to read the rows; its time is the ledger's.
func (w *outputWriter) header() {
	r, o := w.lot.release, w.lot.order
	rule := strings.Repeat("*", 64)
	fmt.Fprintf(w.text, "%s\n*HEADER DESCRIPTION\n%s\n", rule, rule)
	for _, l := range [][2]string{
		{"Format", "persoline-output/1"}, {"Environment", string(r.Env)}, {"Customer", o.Customer}, {"Order", r.Order}, {"Lot", string(r.Lot)},
		{"Product", r.Product}, {"Completed", second(w.lot.completed).Format("2006-01-02T15:04:05Z")}, {"Quantity", fmt.Sprint(w.lot.good)},
		{"Algorithm", r.Algorithm}, {"OP_key", string(r.OP)}, {"Transport_key", string(r.TransportKey)}, {"Transport_mode", cmp.Or(r.TransportMode, string(k4.AESECB))},
	} {
		fmt.Fprintf(w.text, "%-16s: %s\n", l[0], l[1])
	}
	columns := outputColumns
	if w.omitsKi() {
		columns = columnsWithoutKi
	}
	fmt.Fprintf(w.text, "%s\n*OUTPUT VARIABLES DESCRIPTION\n%s\nvar_out: %s\n", rule, rule, columns)
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
	results, err := w.ask(ctx, bus.ExportOutput, w.lot.release.Delivery, items)
	if err != nil {
		return err
	}
	for i, u := range units {
		if err := w.row(u, results[i]); err != nil {
			return fmt.Errorf("unit %d: %w", u.claim.Unit, err)
		}
	}
	return nil
}

func (w *outputWriter) row(u unit, r bus.ExportResult) error {
	ki, others, err := w.ki(r)
	if err != nil {
		return err
	}
	k, err := keysOf(others, "OPC", "PIN1", "PUK1", "PIN2", "PUK2", "ADM1")
	if err != nil {
		return err
	}
	opc, codes := k[0], k[1:]
	if len(opc.KCV) != kcvBytes {
		return errors.New("the vault gave no check value with OPc")
	}
	fmt.Fprintf(w.text, "%s %s %s", u.iccid, u.imsi, u.claim.EID)
	for _, c := range codes {
		fmt.Fprintf(w.text, " %s", upper(c.Value))
	}
	_, err = fmt.Fprintf(w.text, " %s %s %s\n", ki, upper(opc.Value), upper(opc.KCV))
	return err
}

// ki is what stands in the columns of Ki, and what the vault gave beside it.
func (w *outputWriter) ki(r bus.ExportResult) (columns string, others bus.ExportResult, err error) {
	if len(r.Keys) == 0 || len(r.Keys[0].KCV) != kcvBytes {
		return "", others, errors.New("the vault gave no check value with Ki")
	}
	first := r.Keys[0]
	others.Keys = r.Keys[1:]
	if w.omitsKi() {
		if first.Name != "KI" || len(first.Value) > 0 {
			return "", others, errors.New("the vault gave a Ki that the operator does not want")
		}
		return upper(first.KCV), others, nil
	}
	_, err = keysOf(bus.ExportResult{Keys: r.Keys[:1]}, "KI")
	return upper(first.Value) + " " + upper(first.KCV), others, err
}

func (w *outputWriter) finish() error { return errors.Join(w.text.Flush(), w.file.Close()) }

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
