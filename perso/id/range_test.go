package id

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func eidAt(t testing.TB, body string) EID { return must[EID](t)(ParseEID(body + mod97(body))) }
func iccidAt(t testing.TB, body string) ICCID {
	return must[ICCID](t)(ParseICCID(body + string(luhn(body))))
}

func TestEIDRange(t *testing.T) {
	t.Parallel()
	first := eidAt(t, "890490320000010000000000000098")
	r := must[EIDRange](t)(NewEIDRange(first, 5))
	if r.First() != first || r.Last() != eidAt(t, "890490320000010000000000000102") || r.Count() != 5 {
		t.Errorf("range %s of %d", r, r.Count())
	}
	if r.String() != first.String()+".."+r.Last().String() {
		t.Errorf("String %s", r)
	}
	if third := must[EID](t)(r.At(2)); third != eidAt(t, "890490320000010000000000000100") {
		t.Errorf("third %s", third)
	}
	_, err := r.At(5)
	wantErr(t, err, "index 5", "has 5")
	for body, want := range map[string]bool{
		"890490320000010000000000000097": false, "890490320000010000000000000098": true,
		"890490320000010000000000000102": true, "890490320000010000000000000103": false,
	} {
		if r.Contains(eidAt(t, body)) != want {
			t.Errorf("contains %s: %v", body, !want)
		}
	}
	if r.Contains(EID{}) || (EIDRange{}).Contains(first) {
		t.Error("none is contained, or contains")
	}
}

func TestRangeCarries(t *testing.T) {
	t.Parallel()
	nines := eidAt(t, "890490329999999999999999999998")
	if _, err := NewEIDRange(nines, 2); err != nil {
		t.Errorf("the last two: %v", err)
	}
	_, err := NewEIDRange(nines, 3)
	if !errors.Is(err, ErrCarry) {
		t.Errorf("EID into the IIN: %v", err)
	}
	// 22 countable digits hold more than any count: no overflow of the count itself.
	if _, err := NewEIDRange(eidAt(t, "890490320000000000000000000000"), math.MaxUint64); err != nil {
		t.Errorf("a very long range: %v", err)
	}

	card := iccidAt(t, "898821199999999998")
	if r, err := NewICCIDRange(card, 2); err != nil || r.Last() != iccidAt(t, "898821199999999999") {
		t.Errorf("ICCID to the end: %v, %v", r, err)
	}
	if _, err := NewICCIDRange(card, 3); !errors.Is(err, ErrCarry) {
		t.Errorf("ICCID into the IIN: %v", err)
	}

	two, three := must[IMSI](t)(ParseIMSI("001019999999999", 2)), must[IMSI](t)(ParseIMSI("001010999999999", 3))
	for _, m := range []IMSI{two, three} {
		if _, err := NewIMSIRange(m, 2); !errors.Is(err, ErrCarry) {
			t.Errorf("IMSI into the network code: %v", err)
		}
		if _, err := NewIMSIRange(m, 1); err != nil {
			t.Errorf("one IMSI: %v", err)
		}
	}
	_, err = NewIMSIRange(two, 0)
	wantErr(t, err, "count is 0")
	_, err = NewIMSIRange(IMSI{}, 1)
	wantErr(t, err, "none")
}

func TestICCIDRangeLengths(t *testing.T) {
	t.Parallel()
	plain := must[ICCID](t)(ParseICCID("898821100000043001"))
	r18 := must[ICCIDRange](t)(NewICCIDRange(plain, 10))
	r19 := must[ICCIDRange](t)(NewICCIDRange(plain.WithCheckDigit(), 10))
	r20 := must[ICCIDRange](t)(NewICCIDRange(iccidAt(t, "8988211000000430010"), 10))
	if r18.Last().String() != "898821100000043010" || r18.Last().WithCheckDigit() != r19.Last() {
		t.Errorf("last %s and %s", r18.Last(), r19.Last())
	}
	if !r18.Overlaps(r19) || !r19.Overlaps(r18) || r18.Contains(r19.First()) {
		t.Error("a body and its completion are one number but two values")
	}
	if r20.Overlaps(r19) || r20.Overlaps(r18) {
		t.Error("20 digits overlap with 19")
	}
}

func TestIMSIRangeLengths(t *testing.T) {
	t.Parallel()
	of := func(s string, mncDigits int) IMSIRange {
		return must[IMSIRange](t)(NewIMSIRange(must[IMSI](t)(ParseIMSI(s, mncDigits)), 3))
	}
	two, three, short := of("001010123456788", 2), of("001010123456789", 3), of("01010123456789", 2)
	if !two.Overlaps(three) || two.Contains(three.First()) {
		t.Error("network codes of two lengths are one number but two values")
	}
	if short.Overlaps(three) {
		t.Error("a leading zero makes an IMSI overlap with a shorter one")
	}
}

// Overlaps, Contains, At and Bounds must tell one story.
func FuzzRange(f *testing.F) {
	f.Add(uint64(0), uint64(1), uint64(0), uint64(1))
	f.Add(uint64(5), uint64(10), uint64(14), uint64(3))
	f.Add(uint64(5), uint64(10), uint64(15), uint64(3))
	f.Add(uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(7), uint64(9))
	f.Fuzz(func(t *testing.T, startA, countA, startB, countB uint64) {
		zero := eidAt(t, "890490320000000000000000000000")
		rangeAt := func(start, count uint64) EIDRange {
			return must[EIDRange](t)(NewEIDRange(must[EID](t)(zero.advance(start)), count))
		}
		if countA == 0 || countB == 0 {
			t.Skip()
		}
		a, b := rangeAt(startA, countA), rangeAt(startB, countB)
		want := startA <= startB && startB-startA < countA || startB <= startA && startA-startB < countB
		loA, hiA := a.Bounds()
		loB, hiB := b.Bounds()
		byBytes := bytes.Compare(loA[:], hiB[:]) <= 0 && bytes.Compare(loB[:], hiA[:]) <= 0
		if a.Overlaps(b) != want || b.Overlaps(a) != want || byBytes != want || !a.Overlaps(a) {
			t.Errorf("%s and %s: overlap %v, bytes %v, expected %v", a, b, a.Overlaps(b), byBytes, want)
		}
		last := must[EID](t)(a.At(countA - 1))
		if last != a.Last() || !a.Contains(last) || a.Contains(b.First()) != (startA <= startB && startB-startA < countA) {
			t.Errorf("%s and %s disagree about members", a, b)
		}
	})
}

// TestIndex: every member's place, and nobody else's.
func TestIndex(t *testing.T) {
	t.Parallel()
	first, err := ParseICCID("8988001020001000004")
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewICCIDRange(first, 1_000)
	if err != nil {
		t.Fatal(err)
	}
	longer, err := NewICCIDRange(first, 1_001)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Count() {
		x, err := r.At(i)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := r.Index(x); !ok || got != i {
			t.Errorf("%s is number %d, %v, want %d", x, got, ok, i)
		}
	}
	if got, ok := r.Index(longer.Last()); ok {
		t.Errorf("the one after the last is number %d", got)
	}
	if got, ok := r.Index(ICCID{}); ok {
		t.Errorf("none is number %d", got)
	}
}
