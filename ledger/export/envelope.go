package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/bundle/folder"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/envelope"
	"github.com/persoline/persoline/perso/statement"
)

// envelopeFile is what the vault seals of a unit, and the end of the name of the file that it goes to.
type envelopeFile struct{ key, suffix string }

// envelopeFiles are keys in the form that the receiver's system reads, codes in a file of their own, since that form has no place
// for them, of a profile package what else it took in another, and of SIMs the OTA keys.
func envelopeFiles(r statement.Release) []envelopeFile {
	files := []envelopeFile{{"CREDENTIALS", ".json"}, {"CODES", ".codes.json"}}
	if len(r.Packages) > 0 {
		files = append(files, envelopeFile{"PROFILE", ".profile.json"})
	}
	if !r.EUICC() {
		files = append(files, envelopeFile{"OTA", ".ota.json"})
	}
	return files
}

// envelopeWriter writes the files as units come.
type envelopeWriter struct {
	*job
	kinds []envelopeFile
	files []*folder.File
	texts []*bufio.Writer
	head  *bus.EnvelopeHead // once the files have begun
	out   []*envelope.Writer
}

func newEnvelopeWriter(_ context.Context, j *job) (writer, error) {
	w := &envelopeWriter{job: j, kinds: envelopeFiles(j.lot.release)}
	for _, e := range w.kinds {
		f, err := j.dir.Create(string(j.lot.release.Lot) + e.suffix)
		if err != nil {
			return nil, err
		}
		w.files, w.texts = append(w.files, f), append(w.texts, bufio.NewWriter(f))
	}
	return w, nil
}

func (w *envelopeWriter) page(ctx context.Context, units []unit) error {
	items := make([]bus.ExportItem, len(units))
	for i, u := range units {
		items[i] = u.item
	}
	a, err := w.ask(ctx, bus.ExportOutput, w.lot.release.Delivery, items)
	if err != nil {
		return err
	}
	if err := w.begin(a.Envelope); err != nil {
		return err
	}
	for i, u := range units {
		if err := w.row(u, a.Results[i]); err != nil {
			return fmt.Errorf("unit %d: %w", u.claim.Unit, err)
		}
	}
	return nil
}

// begin writes the head of the files; on every page it must be the same, since all units are under its keys.
func (w *envelopeWriter) begin(h *bus.EnvelopeHead) error {
	switch {
	case h == nil:
		return errors.New("the vault gave no head of an envelope")
	case w.head != nil && (h.Vendor != w.head.Vendor || !bytes.Equal(h.Sealed, w.head.Sealed) || !bytes.Equal(h.Signature, w.head.Signature)):
		return errors.New("the vault gave another head of the envelope than before")
	case w.head != nil:
		return nil
	}
	w.head = h
	for _, text := range w.texts {
		out, err := envelope.NewWriter(text, envelope.NewHeader(w.lot.receiver.KeyID, h.Vendor, h.Sealed, h.Signature))
		if err != nil {
			return err
		}
		w.out = append(w.out, out)
	}
	return nil
}

func (w *envelopeWriter) row(u unit, r bus.ExportResult) error {
	if len(r.Keys) != len(w.kinds) {
		return fmt.Errorf("the vault sealed %d values, want %d", len(r.Keys), len(w.kinds))
	}
	for i, k := range r.Keys {
		if n := len(k.Value) - envelope.MACBytes - envelope.IVBytes; k.Name != w.kinds[i].key || n <= 0 || n%aes.BlockSize != 0 {
			return fmt.Errorf("the vault sealed %q of %d bytes, want %q", k.Name, len(k.Value), w.kinds[i].key)
		}
		if err := w.out[i].Add(envelope.NewSIM(u.name(), u.iccid.String(), u.imsi.String(), k.Value)); err != nil {
			return err
		}
	}
	return nil
}

func (w *envelopeWriter) finish() error {
	if w.head == nil {
		return errors.New("no unit of the lot is good: there is nothing to put into an envelope")
	}
	var errs []error
	for i, out := range w.out {
		errs = append(errs, out.Close(), w.texts[i].Flush(), w.files[i].Close())
	}
	return errors.Join(errs...)
}
