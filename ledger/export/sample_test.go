package export_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/export"
	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// exec changes a row as the ledger would.
func (h *house) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if err := h.db.Update(t.Context(), func(tx sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// sampled says that quality accepted the lot's samples, and what became of the chips of the units 1, 2 and 3.
func (h *house) sampled(t *testing.T) {
	t.Helper()
	h.exec(t, `INSERT INTO sampling (lot, state) VALUES ('L1', 'accepted')`)
	for i, result := range []string{"kept", "failed", "output"} {
		h.exec(t, `INSERT INTO sample (chip, lot, nth, binned, result) VALUES ($1, 'L1', $2, TRUE, $3)`, h.units[i+1].chip, int64(i+1), result)
	}
}

// TestSamplesAreNotHandedOver: nobody receives keys for a chip that quality keeps or found bad, and the lot counts one unit less for each.
// A sample that went back among the good ones is delivered like them.
func TestSamplesAreNotHandedOver(t *testing.T) {
	t.Parallel()
	for what, run := range kinds {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, 5)
			h.sampled(t)
			r, err := run(h.config(), t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e := h.exported[what]; r.Units != 3 || e.Units != 3 {
				t.Errorf("%d units are exported, %d are on record, want 3 of 5", r.Units, e.Units)
			}
			documents, all := 0, ""
			for name, text := range readAll(t, r.Dir) {
				all += name + "\n" + text + "\n"
				if strings.HasSuffix(name, ".xml") {
					documents++
				}
			}
			if what == export.WhatEIS && documents != 3 {
				t.Errorf("%d documents", documents)
			}
			if what == export.WhatOutput && !strings.Contains(all, "Quantity        : 3\n") {
				t.Errorf("the header does not say 3:\n%s", all)
			}
			for i, u := range h.units {
				key := map[string]string{export.WhatEIS: "OTA.KIC", export.WhatOutput: "KI"}[what]
				for _, text := range []string{u.eid, u.iccid, u.imsi, strings.ToUpper(hexOf(wrappedKey(key, u.unit)))} {
					if strings.Contains(all, text) == (i == 1 || i == 2) {
						t.Errorf("unit %d: %s handed over: %v", i, text, strings.Contains(all, text))
					}
				}
			}
		})
	}
}

// TestSamplesMustBeAccepted: before quality signed, and when it did not accept, nothing is handed over.
func TestSamplesMustBeAccepted(t *testing.T) {
	t.Parallel()
	for state, refused := range map[string]error{"due": export.ErrNotComplete, "rejected": export.ErrNotAccepted} {
		for what, run := range kinds {
			h := newHouse(t, 2)
			h.exec(t, `INSERT INTO sampling (lot, state) VALUES ('L1', $1)`, state)
			if _, err := run(h.config(), t.Context()); !errors.Is(err, refused) || !strings.Contains(err.Error(), "samples") {
				t.Errorf("%s of a lot whose samples are %s: %v", what, state, err)
			}
			if len(h.exported) != 0 || h.calls != 0 {
				t.Errorf("%s: the vault was asked for keys, or %v is on record", what, h.exported)
			}
			h.exec(t, `UPDATE sampling SET state = 'accepted'`)
			if _, err := run(h.config(), t.Context()); err != nil {
				t.Errorf("%s of a lot whose samples were accepted: %v", what, err)
			}
		}
	}
}
