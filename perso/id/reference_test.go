package id

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

// reference reads a file of the public test vectors, which are not in the repository.
func reference(t *testing.T, name string) []byte {
	t.Helper()
	return reftest.Read(t, name)
}

func TestReferenceVectors(t *testing.T) {
	t.Parallel()
	var v struct {
		Valid []struct {
			ICCID string
			EF    string `json:"ef_iccid"`
		} `json:"iccid_valid"`
		Invalid []struct {
			ICCID    string
			Replaced string `json:"expected_check_digit_if_last_replaced"`
			Appended string `json:"check_digit_if_appended"`
		} `json:"iccid_invalid"`
		IMSI []struct {
			IMSI string
			EF   string `json:"ef_imsi"`
		}
		ACC []struct {
			Last int    `json:"imsi_last_digit"`
			EF   string `json:"ef_acc"`
		}
		EIDs    []string `json:"eid_valid_mod97"`
		BadEIDs []string `json:"eid_invalid"`
	}
	if err := json.Unmarshal(reference(t, "vectors/eid_iccid.json"), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Valid) == 0 || len(v.Invalid) == 0 || len(v.IMSI) == 0 || len(v.ACC) != 10 || len(v.EIDs) == 0 || len(v.BadEIDs) == 0 {
		t.Fatalf("vectors are missing: %+v", v)
	}
	for _, c := range v.Valid {
		ef := must[ICCID](t)(ParseICCID(c.ICCID)).EFBytes()
		if hex.EncodeToString(ef[:]) != c.EF {
			t.Errorf("%s: EF %x, expected %s", c.ICCID, ef, c.EF)
		}
	}
	for _, c := range v.Invalid {
		if string(luhn(c.ICCID)) != c.Appended {
			t.Errorf("%s: appended %c, expected %s", c.ICCID, luhn(c.ICCID), c.Appended)
		}
		if len(c.ICCID) == iccidBodyOnly {
			continue
		}
		_, err := ParseICCID(c.ICCID)
		wantErr(t, err, "expected "+c.Replaced)
	}
	for _, c := range v.IMSI {
		ef := must[IMSI](t)(ParseIMSI(c.IMSI, 2)).EFBytes()
		if hex.EncodeToString(ef[:]) != c.EF {
			t.Errorf("%s: EF %x, expected %s", c.IMSI, ef, c.EF)
		}
	}
	for _, c := range v.ACC {
		acc := must[IMSI](t)(ParseIMSI("00101000000000"+string(rune('0'+c.Last)), 2)).ACC()
		if hex.EncodeToString(acc[:]) != c.EF {
			t.Errorf("last digit %d: ACC %x, expected %s", c.Last, acc, c.EF)
		}
	}
	for _, s := range v.EIDs {
		if _, err := ParseEID(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range v.BadEIDs {
		if _, err := ParseEID(s); !errors.Is(err, ErrCheckDigit) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestReferenceEIDList(t *testing.T) {
	t.Parallel()
	list := bytes.NewReader(reference(t, "data/eid_list.csv"))
	rows := must[[][]string](t)(csv.NewReader(list).ReadAll())
	if len(rows) < 2 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows[1:] {
		if _, err := ParseEID(row[0]); (err == nil) != (row[1] == "true") {
			t.Errorf("%s (%s): %v", row[0], row[2], err)
		}
	}
}
