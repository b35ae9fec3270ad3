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
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/k4"
)

// columns of the output file, in order; OPC is TOPC with TUAK. Those of codes and keys are whole blocks under the transport
// key. The column EKI is missing for an operator who wants no copy of his own Ki. SIMs have no EID, and bring their OTA keys:
// there is no SM-SR that would get them. What else a profile package took comes last, by the names of its places.
func (w *outputWriter) columns() string {
	opc, euicc := w.lot.auth.Column(), w.lot.release.EUICC()
	c := []string{"ICCID", "IMSI"}
	if euicc {
		c = append(c, "EID")
	}
	c = append(c, "PIN1", "PUK1", "PIN2", "PUK2", "ADM1")
	if !w.omitsKi() {
		c = append(c, "EKI")
	}
	c = append(c, "KI_KCV", "E"+opc, opc+"_KCV")
	if !euicc {
		c = append(c, "EKIC", "KIC_KCV", "EKID", "KID_KCV", "EKIK", "KIK_KCV")
	}
	for _, k := range w.places {
		if k.Kind == kindCode {
			c = append(c, strings.ToUpper(k.Name))
			continue
		}
		c = append(c, "E"+strings.ToUpper(k.Name))
		if len(k.KCV) > 0 {
			c = append(c, strings.ToUpper(k.Name)+"_KCV")
		}
	}
	return strings.Join(c, "/")
}

// Output makes the operator's output file of a complete lot: output/<lot>.out, or two envelopes, and a manifest.
func (c Config) Output(ctx context.Context, lot perso.Name) (Result, error) {
	return c.run(ctx, lot, WhatOutput, func(f lotFacts) perso.Name { return f.release.Delivery }, func(ctx context.Context, j *job) (writer, error) {
		if j.lot.release.TransportMode == string(k4.Envelope) {
			return newEnvelopeWriter(ctx, j)
		}
		w, err := newOutputWriter(ctx, j)
		if err != nil {
			return nil, err
		}
		return w, nil
	})
}

// Operational makes the output file of the operational profile's operator: operational/<lot>.out and a manifest.
func (c Config) Operational(ctx context.Context, lot perso.Name) (Result, error) {
	receiver := func(f lotFacts) perso.Name { return f.release.Operational.Delivery }
	return c.run(ctx, lot, WhatOperational, receiver, func(ctx context.Context, j *job) (writer, error) {
		if !j.lot.release.HasOperational() {
			return nil, fmt.Errorf("lot %q has no operational profile", lot)
		}
		var err error
		if j.lot, err = j.lot.asOperational(); err != nil {
			return nil, err
		}
		w, err := newOutputWriter(ctx, j)
		if err != nil {
			return nil, err
		}
		w.kind = bus.ExportOperational
		return w, nil
	})
}

// asOperational is the lot as its operational profile has it: an output file says and holds of that what another one does of the
// bootstrap profile.
func (f lotFacts) asOperational() (lotFacts, error) {
	r, two := &f.release, f.release.Operational
	r.ICCIDs, r.IMSIs, r.Algorithm, r.OP = two.ICCIDs, two.IMSIs, two.Algorithm, two.OP
	r.TransportKey, r.TransportMode, r.ReceiverKey, r.Delivery = two.TransportKey, two.TransportMode, "", two.Delivery
	r.Customer.Output = "" // Ki are derived
	var err error
	f.auth, err = auth.Parse(two.Algorithm)
	return f, err
}

// outputWriter writes rows as they come.
type outputWriter struct {
	*job
	kind   bus.ExportKind
	file   *folder.File
	text   *bufio.Writer
	layout k4.Layout
	kcv    []byte // of the transport key, once the header is written
	// places are what the vault gives of each unit because the lot's package has a place for it; the values are those of the first one.
	places []bus.WrappedKey
}

// kindCode is the kind of a place that holds a code.
const kindCode = "code"

// kinds says what the columns of the package's places are; a code says that itself.
func (w *outputWriter) kinds() string {
	var all []string
	for _, k := range w.places {
		if k.Kind != kindCode {
			all = append(all, strings.ToUpper(k.Name)+"="+k.Kind)
		}
	}
	return strings.Join(all, " ")
}

func newOutputWriter(_ context.Context, j *job) (*outputWriter, error) {
	layout, err := k4.ParseLayout(cmp.Or(j.lot.release.TransportMode, string(k4.AESECB)))
	if err != nil {
		return nil, err
	}
	f, err := j.dir.Create(string(j.lot.release.Lot) + ".out")
	if err != nil {
		return nil, err
	}
	return &outputWriter{job: j, kind: bus.ExportOutput, file: f, text: bufio.NewWriter(f), layout: layout}, nil
}

// header names everything that a receiver needs to read the rows; its time is the ledger's.
func (w *outputWriter) header() {
	r, o := w.lot.release, w.lot.order
	rule := strings.Repeat("*", 64)
	fmt.Fprintf(w.text, "%s\n*HEADER DESCRIPTION\n%s\n", rule, rule)
	for _, l := range [][2]string{
		{"Format", "persoline-output/1"}, {"Environment", string(r.Env)}, {"Customer", o.Customer}, {"Order", r.Order}, {"Lot", string(r.Lot)},
		{"Product", r.Product}, {"Profile", w.profile()}, {"Completed", second(w.lot.completed).Format("2006-01-02T15:04:05Z")}, {"Quantity", fmt.Sprint(w.lot.good)},
		{"Proof", r.Proof}, {"Algorithm", r.Algorithm}, {"OP_key", string(r.OP)}, {"Transport_key", string(r.TransportKey)}, {"Transport_mode", string(w.layout)}, {"Transport_KCV", upper(w.kcv)},
		{"Profile_keys", w.kinds()},
	} {
		if l[1] == "" {
			continue // a lot without a good unit asks the vault for nothing; not every profile has keys of its own
		}
		fmt.Fprintf(w.text, "%-16s: %s\n", l[0], l[1])
	}
	fmt.Fprintf(w.text, "%[1]s\n*OUTPUT VARIABLES DESCRIPTION\n%[1]s\nvar_out: %[2]s\n", rule, w.columns())
}

// profile says of which of two profiles the file is; nothing where a chip has one.
func (w *outputWriter) profile() string {
	switch {
	case w.kind == bus.ExportOperational:
		return "operational"
	case w.lot.release.HasOperational():
		return "bootstrap"
	}
	return ""
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
	a, err := w.ask(ctx, w.kind, w.lot.release.Delivery, items)
	if err != nil {
		return err
	}
	switch {
	case len(a.KCV) != kcvBytes || w.kcv != nil && !bytes.Equal(a.KCV, w.kcv):
		return fmt.Errorf("the vault's transport key %q has no check value, or not the one that it had before", w.lot.release.TransportKey)
	case w.kcv == nil:
		if w.places, err = w.placesOf(a.Results[0]); err != nil {
			return err
		}
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

// wanted are the keys that the vault gives of each unit, before those of a package's places.
func (w *outputWriter) wanted() []wanted {
	code := w.layout.BlockBytes() // a code fills one block
	kiBytes := w.lot.auth.KBytes()
	if w.omitsKi() {
		kiBytes = 0
	}
	want := []wanted{{"KI", kiBytes}, {w.lot.auth.Column(), w.lot.auth.OPBytes()}, {"PIN1", code}, {"PUK1", code}, {"PIN2", code}, {"PUK2", code}, {"ADM1", code}}
	if !w.lot.release.EUICC() {
		want = append(want, wanted{"OTA.KIC", keyBytes}, wanted{"OTA.KID", keyBytes}, wanted{"OTA.KIK", keyBytes})
	}
	return want
}

// placesOf are the further keys of a lot with a package, as the vault gives them of the first unit.
func (w *outputWriter) placesOf(r bus.ExportResult) ([]bus.WrappedKey, error) {
	n := len(w.wanted())
	if len(r.Keys) <= n {
		return nil, nil
	}
	places := r.Keys[n:]
	if len(w.lot.release.Packages) == 0 {
		return nil, fmt.Errorf("the vault gave %d keys, want %d", len(r.Keys), n)
	}
	for _, k := range places {
		if !columnName(k.Name) || k.Kind == "" || (k.Kind == kindCode && len(k.Value) != w.layout.BlockBytes()) {
			return nil, fmt.Errorf("the vault gave a key %q of kind %q and %d bytes, which no column can have", k.Name, k.Kind, len(k.Value))
		}
	}
	return places, nil
}

// columnName says that a name of a place can be one of a column.
func columnName(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

func (w *outputWriter) row(u unit, r bus.ExportResult) error {
	want, euicc, kiBytes := w.wanted(), w.lot.release.EUICC(), w.lot.auth.KBytes()
	if w.omitsKi() {
		kiBytes = 0
	}
	fixed := len(want)
	for _, k := range w.places {
		want = append(want, wanted{k.Name, len(k.Value)})
	}
	k, err := keysOf(r, want...)
	if err != nil {
		return err
	}
	ki, opc, codes, ota, places := k[0], k[1], k[2:7], k[7:fixed], k[fixed:]
	for i, key := range places {
		if key.Kind != w.places[i].Kind || len(key.KCV) != len(w.places[i].KCV) {
			return fmt.Errorf("the vault gave %s as %q, and as %q of another unit", key.Name, key.Kind, w.places[i].Kind)
		}
	}
	for _, key := range append([]bus.WrappedKey{ki, opc}, ota...) {
		if len(key.KCV) != kcvBytes {
			return fmt.Errorf("the vault gave no check value with %s", key.Name)
		}
	}
	fmt.Fprintf(w.text, "%s %s", u.iccid, u.imsi)
	if euicc {
		fmt.Fprintf(w.text, " %s", u.claim.EID)
	}
	for _, c := range codes {
		fmt.Fprintf(w.text, " %s", upper(c.Value))
	}
	if kiBytes > 0 {
		fmt.Fprintf(w.text, " %s", upper(ki.Value))
	}
	fmt.Fprintf(w.text, " %s %s %s", upper(ki.KCV), upper(opc.Value), upper(opc.KCV))
	for _, key := range ota {
		fmt.Fprintf(w.text, " %s %s", upper(key.Value), upper(key.KCV))
	}
	for _, key := range places {
		fmt.Fprintf(w.text, " %s", upper(key.Value))
		if len(key.KCV) > 0 {
			fmt.Fprintf(w.text, " %s", upper(key.KCV))
		}
	}
	_, err = fmt.Fprintln(w.text)
	return err
}

func (w *outputWriter) finish() error {
	if w.kcv == nil {
		w.header()
	}
	return errors.Join(w.text.Flush(), w.file.Close())
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
