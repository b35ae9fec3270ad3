package id

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// must unwraps what a test knows to be right.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantErr checks that err is there and says every part.
func wantErr(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, expected an error with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestParseEIDRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, says string }{
		{"empty", "", "0 characters, expected 32"},
		{"short", "8904903212345123451234567890123", "31 characters"},
		{"letter", "8904903212345123451234567890123A", "character 32 is not"},
		{"check digits", "89049032123451234512345678901236", "expected 35"},
		{"all zero", "00000000000000000000000000000000", "expected 98"},
		{"all zero, 1 mod 97 by 01", "00000000000000000000000000000001", "expected 98"},
		{"arabic digits", strings.Repeat("٣", 16), "character 1 is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, err := ParseEID(c.in)
			wantErr(t, err, "parsing EID", c.says)
			if !e.IsZero() {
				t.Errorf("error and value %v", e)
			}
		})
	}
	_, err := ParseEID("89049032123451234512345678901236")
	if !errors.Is(err, ErrCheckDigit) {
		t.Errorf("%v is not ErrCheckDigit", err)
	}
}

func TestEIDForms(t *testing.T) {
	t.Parallel()
	e := must[EID](t)(ParseEID("89049032123451234512345678901235"))
	if e.IIN() != "89049032" {
		t.Errorf("IIN %s", e.IIN())
	}
	b := e.Bytes()
	if hex.EncodeToString(b[:]) != e.String() {
		t.Errorf("bytes %x are not plain BCD", b)
	}
	if again := must[EID](t)(EIDFromBytes(b[:])); again != e {
		t.Errorf("from bytes: %v", again)
	}
	_, err := EIDFromBytes(b[:15])
	wantErr(t, err, "15 bytes")
	b[0] = 0xA9
	_, err = EIDFromBytes(b[:])
	wantErr(t, err, "character 1")
}

func TestParseICCID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, digits, padded, ef string }{
		{"8988211000000430010", "8988211000000430010", "8988211000000430010F", "988812010000400310f0"},
		{"8988211000000430010F", "8988211000000430010", "8988211000000430010F", "988812010000400310f0"},
		{"8988211000000430010f", "8988211000000430010", "8988211000000430010F", "988812010000400310f0"},
		{"89601619103100049794", "89601619103100049794", "89601619103100049794", "98066191011300407949"},
		{"893107111830421999", "893107111830421999", "893107111830421999FF", "981370118103249199ff"},
	} {
		i := must[ICCID](t)(ParseICCID(c.in))
		ef := i.EFBytes()
		if i.String() != c.digits || i.Padded() != c.padded || hex.EncodeToString(ef[:]) != c.ef || i.Digits() != len(c.digits) {
			t.Errorf("%s: %s %s %x %d", c.in, i, i.Padded(), ef, i.Digits())
		}
		if again := must[ICCID](t)(ICCIDFromEF(ef[:])); again != i {
			t.Errorf("%s: from EF %s", c.in, again)
		}
	}
}

func TestParseICCIDRefuses(t *testing.T) {
	t.Parallel()
	for in, says := range map[string]string{
		"":                      "0 characters",
		"89882110000004300":     "17 characters",
		"898821100000043001000": "21 characters",
		"898821100000043001F":   "character 19",
		"89601619103100049794F": "21 characters",
		"8988211000000430019":   "check digit is 9, expected 0",
		"89914900006000000000":  "check digit is 0, expected 4",
		"78600786999999801001":  `begins with "78", expected "89"`,
		"8988211000000 430010":  "character 14",
	} {
		_, err := ParseICCID(in)
		wantErr(t, err, "parsing ICCID", says)
	}
	for name, ef := range map[string]string{
		"too short":           "988812010000400310",
		"filler in front":     "ff8812010000400310f0",
		"filler in between":   "9888120100f0400310f0",
		"hexadecimal filler":  "988812010000400310e0",
		"three filler digits": "9888120100004003ffff",
		"blank file":          "ffffffffffffffffffff",
	} {
		b := must[[]byte](t)(hex.DecodeString(ef))
		if i, err := ICCIDFromEF(b); err == nil {
			t.Errorf("%s: accepted as %s", name, i)
		}
	}
}

func TestICCIDWithCheckDigit(t *testing.T) {
	t.Parallel()
	body := must[ICCID](t)(ParseICCID("898821100000043001"))
	whole := must[ICCID](t)(ParseICCID("8988211000000430010"))
	if body.WithCheckDigit() != whole || whole.WithCheckDigit() != whole {
		t.Errorf("completed to %s and %s", body.WithCheckDigit(), whole.WithCheckDigit())
	}
	if !(ICCID{}).WithCheckDigit().IsZero() {
		t.Error("the zero value was completed")
	}
}

func TestIMSIForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in            string
		mncDigits     int
		mcc, mnc, ef  string
		acc           [2]byte
		masked, texts string
	}{
		{"228062800000208", 2, "228", "06", "082982608200002080", [2]byte{1, 0}, "22806**********", "228062800000208/2"},
		{"334020123456789", 3, "334", "020", "083943201032547698", [2]byte{2, 0}, "334020*********", "334020123456789/3"},
		{"00101012345678", 2, "001", "01", "0801101010325476f8", [2]byte{1, 0}, "00101*********", "00101012345678/2"},
		{"0010106", 2, "001", "01", "04091010" + "60" + "ffffffff", [2]byte{0, 0x40}, "00101**", "0010106/2"},
		{"001010", 2, "001", "01", "04011010" + "f0" + "ffffffff", [2]byte{0, 1}, "00101*", "001010/2"},
	} {
		m := must[IMSI](t)(ParseIMSI(c.in, c.mncDigits))
		ef := m.EFBytes()
		if m.String() != c.in || m.MCC() != c.mcc || m.MNC() != c.mnc || m.MNCDigits() != c.mncDigits || m.ACC() != c.acc {
			t.Errorf("%s: %s %s %s %d %x", c.in, m, m.MCC(), m.MNC(), m.MNCDigits(), m.ACC())
		}
		if hex.EncodeToString(ef[:]) != c.ef {
			t.Errorf("%s: EF %x, expected %s", c.in, ef, c.ef)
		}
		if again := must[IMSI](t)(IMSIFromEF(ef[:], c.mncDigits)); again != m {
			t.Errorf("%s: from EF %v", c.in, again)
		}
		if m.LogValue().String() != c.masked {
			t.Errorf("%s: logged as %s", c.in, m.LogValue())
		}
		if text := must[[]byte](t)(m.MarshalText()); string(text) != c.texts {
			t.Errorf("%s: text %s", c.in, text)
		}
	}
}

func TestIMSIRefusesWithoutQuoting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in        string
		mncDigits int
		says      string
	}{
		{"228062800000208", 1, "network code of 1"},
		{"228062800000208", 4, "network code of 4"},
		{"2280628000002081", 2, "16 characters"},
		{"22806", 2, "5 characters, expected 6 to 15"},
		{"228062", 3, "6 characters, expected 7 to 15"},
		{"22806280000020x", 2, "character 15"},
	} {
		_, err := ParseIMSI(c.in, c.mncDigits)
		wantErr(t, err, "parsing IMSI", c.says)
		if strings.Contains(err.Error(), c.in) {
			t.Errorf("error quotes the IMSI: %v", err)
		}
	}
	for _, ef := range []string{
		"0829826082000020",   // 8 bytes
		"072982608200002080", // length byte
		"082182608200002080", // parity
		"0809f0ffffffffffff", // no digits to speak of
		"08098260820000f080", // hole
		"ffffffffffffffffff", // blank
	} {
		b := must[[]byte](t)(hex.DecodeString(ef))
		if m, err := IMSIFromEF(b, 2); err == nil {
			t.Errorf("EF %s accepted as %s", ef, m)
		}
	}
}

func TestChipID(t *testing.T) {
	t.Parallel()
	upper := must[ChipID](t)(ParseChipID("479000AABBCC"))
	lower := must[ChipID](t)(ParseChipID("479000aabbcc"))
	if upper != lower || upper.String() != "479000aabbcc" {
		t.Errorf("%s and %s", upper, lower)
	}
	upper.Bytes()[0] = 0
	if upper != lower {
		t.Error("Bytes lends its memory")
	}
	for in, says := range map[string]string{
		"":                      "0 bytes",
		"aabbcc":                "3 bytes",
		strings.Repeat("a", 42): "longer than 20",
		"aabbccd":               "odd length",
		"aabbccdg":              "invalid byte",
		"00000000":              "blank",
		"ffffffffff":            "blank",
	} {
		_, err := ParseChipID(in)
		wantErr(t, err, "parsing chip id", says)
	}
}

func TestChipIDFromCPLC(t *testing.T) {
	t.Parallel()
	cplc := make([]byte, 42)
	for i := range cplc {
		cplc[i] = byte(i)
	}
	c := must[ChipID](t)(ChipIDFromCPLC(cplc))
	if c.String() != "00010203"+"1011"+"0c0d0e0f" {
		t.Errorf("identity %s", c)
	}
	_, err := ChipIDFromCPLC(cplc[:41])
	wantErr(t, err, "41 bytes")
	clear(cplc[12:18])
	_, err = ChipIDFromCPLC(cplc)
	wantErr(t, err, "blank")
}

func TestErrorsDoNotQuoteMisplacedKeys(t *testing.T) {
	t.Parallel()
	const key = "465b5ce8b199b49faa5f0a2ee238a6bc"
	_, eid := ParseEID(key)
	_, iccid := ParseICCID(key)
	_, imsi := ParseIMSI(key, 2)
	_, chip := ParseChipID(key + key)
	for _, err := range []error{eid, iccid, imsi, chip} {
		if err == nil || strings.Contains(err.Error(), key[:4]) {
			t.Errorf("error %v", err)
		}
	}
}

// world has every identifier, as other packages' messages do.
type world struct {
	EID   EID
	ICCID ICCID
	IMSI  IMSI
	Chip  ChipID
}

func TestMarshalRoundTrip(t *testing.T) {
	t.Parallel()
	in := world{
		must[EID](t)(ParseEID("89049032123451234512345678901235")),
		must[ICCID](t)(ParseICCID("8988211000000430010F")),
		must[IMSI](t)(ParseIMSI("001010123456789", 2)),
		must[ChipID](t)(ParseChipID("479000AABBCC")),
	}
	const golden = `{"EID":"89049032123451234512345678901235","ICCID":"8988211000000430010","IMSI":"001010123456789/2","Chip":"479000aabbcc"}`
	text := must[[]byte](t)(json.Marshal(in))
	if string(text) != golden {
		t.Errorf("JSON %s", text)
	}
	var out world
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("back: %v, %v", out, err)
	}
	var binary ICCID
	if err := binary.UnmarshalBinary(must[[]byte](t)(in.ICCID.MarshalBinary())); err != nil || binary != in.ICCID {
		t.Errorf("binary: %v, %v", binary, err)
	}
}

func TestMarshalRefusesSecondSpellings(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"ICCID":"8988211000000430010F"}`, `{"ICCID":"8988211000000430010f"}`, `{"ICCID":""}`,
		`{"Chip":"479000AABBCC"}`, `{"EID":" 89049032123451234512345678901235"}`,
		`{"IMSI":"001010123456789"}`, `{"IMSI":"001010123456789/02"}`, `{"IMSI":"001010123456789/4"}`, `{"IMSI":"001010123456789/2/2"}`,
	} {
		var out world
		if err := json.Unmarshal([]byte(text), &out); err == nil || out != (world{}) {
			t.Errorf("%s accepted: %v", text, out)
		}
	}
	for _, v := range []any{EID{}, ICCID{}, IMSI{}, ChipID{}} {
		if text, err := json.Marshal(v); err == nil {
			t.Errorf("zero %T marshalled to %s", v, text)
		}
	}
}

func TestZeroValuesAreQuiet(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		EID{}.String(), EID{}.IIN(), ICCID{}.String(), ICCID{}.Padded(), IMSI{}.String(), IMSI{}.MCC(), IMSI{}.MNC(),
		ChipID{}.String(), IMSI{}.LogValue().String(), EIDRange{}.String(), fmt.Sprint(IMSIRange{}.LogValue()),
	} {
		if s != "" {
			t.Errorf("a zero value says %q", s)
		}
	}
	if (IMSI{}).EFBytes() != [9]byte{} || (IMSI{}).ACC() != [2]byte{} {
		t.Error("a zero IMSI has card bytes")
	}
}

func TestIMSIStaysOutOfLogs(t *testing.T) {
	t.Parallel()
	m := must[IMSI](t)(ParseIMSI("001010123456789", 2))
	r := must[IMSIRange](t)(NewIMSIRange(m, 10))
	var text, js strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Info("x", "imsi", m, "range", r)
	slog.New(slog.NewJSONHandler(&js, nil)).Info("x", "imsi", m, "range", r)
	for _, line := range []string{text.String(), js.String()} {
		if strings.Contains(line, "0123456789") || !strings.Contains(line, "00101**********") || !strings.Contains(line, "(10)") {
			t.Errorf("log line %s", line)
		}
	}
	_, err := NewIMSIRange(m, 1<<62)
	wantErr(t, err, "00101*****")
	if strings.Contains(err.Error(), m.String()) {
		t.Errorf("error quotes the IMSI: %v", err)
	}
}
