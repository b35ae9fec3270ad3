package kisource

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
)

func testClaim(t testing.TB) entry.Claim {
	t.Helper()
	chip, err := id.ParseChipID("47906d2000010a0b0c0d")
	if err != nil {
		t.Fatal(err)
	}
	return entry.Claim{Lot: "LOT-2026-0001", Unit: 41, Gen: 1, Chip: chip}
}

func reveal(t testing.TB, s secret.Bytes) (out []byte) {
	t.Helper()
	if err := s.Reveal(func(b []byte) error { out = bytes.Clone(b); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func tokenWithKey(t testing.TB, lot perso.Name) (*hsmfake.Token, hsm.Key) {
	t.Helper()
	token := hsmfake.New(rand.Reader)
	key, err := LotSealKey("test", lot)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Generate(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return token, key
}

func TestRandom(t *testing.T) {
	t.Parallel()
	token, key := tokenWithKey(t, "LOT-2026-0001")
	c := testClaim(t)
	for _, size := range []Size{Short, Long} {
		sealed, drawn, err := NewRandom(t.Context(), token, key, c, size)
		if err != nil || CheckSealed(sealed) != nil {
			t.Fatal(err, CheckSealed(sealed))
		}
		first, err := OpenRandom(t.Context(), token, key, c, sealed)
		if err != nil || first.Len() != int(size) || !first.Equal(drawn) {
			t.Fatalf("%d bytes, or not what was drawn, %v", first.Len(), err)
		}
		again, err := OpenRandom(t.Context(), token, key, c, sealed)
		if err != nil || !again.Equal(first) {
			t.Errorf("opened twice it differs, %v", err)
		}
		if bytes.Contains(sealed, reveal(t, first)) {
			t.Error("the sealed Ki holds it in clear")
		}
		other, _, err := NewRandom(t.Context(), token, key, c, size)
		if err != nil || bytes.Equal(other, sealed) {
			t.Errorf("two draws are one, %v", err)
		}
	}
	if _, _, err := NewRandom(t.Context(), token, key, c, 24); !errors.Is(err, ErrSource) {
		t.Errorf("a Ki of 24 bytes: %v", err)
	}
}

// The same on a real token.
func TestRandomOnSoftHSM(t *testing.T) {
	t.Parallel()
	token := hsmtest.SoftHSM(t)
	key, err := LotSealKey("test", "LOT-KISOURCE-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Generate(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	c := testClaim(t)
	sealed, _, err := NewRandom(t.Context(), token, key, c, Short)
	if err != nil {
		t.Fatal(err)
	}
	if ki, err := OpenRandom(t.Context(), token, key, c, sealed); err != nil || ki.Len() != shortKi {
		t.Errorf("%d bytes, %v", ki.Len(), err)
	}
	c.Gen++
	if _, err := OpenRandom(t.Context(), token, key, c, sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("of the next generation: %v", err)
	}
}

// Copied to any other claim, or changed in any byte, a sealed Ki does not open.
func TestSealedIsBound(t *testing.T) {
	t.Parallel()
	token, key := tokenWithKey(t, "LOT-2026-0001")
	c := testClaim(t)
	sealed, _, err := NewRandom(t.Context(), token, key, c, Short)
	if err != nil {
		t.Fatal(err)
	}
	otherChip, err := id.ParseChipID("47906d2000010a0b0c0e")
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*entry.Claim){
		"lot": func(c *entry.Claim) { c.Lot = "LOT-2026-0002" }, "unit": func(c *entry.Claim) { c.Unit++ },
		"generation": func(c *entry.Claim) { c.Gen++ }, "chip": func(c *entry.Claim) { c.Chip = otherChip },
	} {
		other := c
		spoil(&other)
		if _, err := OpenRandom(t.Context(), token, key, other, sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("of another %s it opens: %v", name, err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := OpenRandom(t.Context(), token, key, c, bad); !errors.Is(err, ErrSealed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for _, n := range []int{0, 1, 45, 47, 61, 63} {
		if _, err := OpenRandom(t.Context(), token, key, c, make([]byte, n)); !errors.Is(err, ErrSealed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	lot2, err := LotSealKey("test", "LOT-2026-0002")
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Generate(t.Context(), lot2); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRandom(t.Context(), token, lot2, c, sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another lot's key opens it: %v", err)
	}
}

func TestContextIsInjective(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	base := testClaim(t)
	short, err := id.ParseChipID("47906d20")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []entry.Claim{base, {Lot: "L1", Unit: 1, Chip: short}, {Lot: "L11", Unit: 1, Chip: short}, {Lot: "L1", Unit: 0x31000001, Chip: short}, {Lot: "L1", Unit: 1, Gen: 1, Chip: short}, {Lot: "L1", Unit: 1, Chip: base.Chip}} {
		if k := string(Context(c)); seen[k] {
			t.Errorf("%+v has the context of another", c)
		} else {
			seen[k] = true
		}
	}
	if got := hex.EncodeToString(Context(base)); got != "706572736f6c696e652f31206b69"+"00"+"0d"+hex.EncodeToString([]byte("LOT-2026-0001"))+"00000029"+"01"+"0a"+"47906d2000010a0b0c0d" {
		t.Errorf("context is %s", got)
	}
}

// dull is an HSM whose generator repeats one byte, for a while.
type dull struct {
	*hsmfake.Token
	draws int
}

func (d *dull) Random(ctx context.Context, n int) ([]byte, error) {
	if d.draws--; d.draws >= 0 {
		return bytes.Repeat([]byte{7}, n), nil
	}
	return d.Token.Random(ctx, n)
}

func TestWeakDraws(t *testing.T) {
	t.Parallel()
	token, key := tokenWithKey(t, "LOT-2026-0001")
	if _, _, err := NewRandom(t.Context(), &dull{token, 1}, key, testClaim(t), Short); err != nil {
		t.Errorf("one weak draw: %v", err)
	}
	if _, _, err := NewRandom(t.Context(), &dull{token, maxDraws}, key, testClaim(t), Short); !errors.Is(err, ErrWeakKi) {
		t.Errorf("weak draws only: %v", err)
	}
}

func TestParseSource(t *testing.T) {
	t.Parallel()
	for _, k := range []order.KiSource{order.KiDerived, order.KiRandom, order.KiCustomer} {
		if got, err := Parse(string(k)); err != nil || got != k {
			t.Errorf("%s: %q, %v", k, got, err)
		}
	}
	if _, err := Parse("Random"); !errors.Is(err, ErrSource) {
		t.Error(err)
	}
}

// receive is a receive key outside an HSM.
type receive struct {
	b     cipher.Block
	calls int
}

func (r *receive) DecryptECB(_ context.Context, p []byte) ([]byte, error) {
	if r.calls++; len(p) > maxCallBytes || len(p)%aes.BlockSize != 0 {
		return nil, errors.New("too much for one call")
	}
	out := make([]byte, len(p))
	for i := 0; i < len(p); i += aes.BlockSize {
		r.b.Decrypt(out[i:], p[i:])
	}
	return out, nil
}

// customerFile has n Ki of a size under a key; it returns Ki and file.
func customerFile(t *testing.T, n uint64, size int, mode kifile.Mode, spoil func(unit uint64, ki []byte, kcv *[3]byte)) ([][]byte, *kifile.File, *receive) {
	t.Helper()
	b, err := aes.NewCipher(bytes.Repeat([]byte{0x42}, 32))
	if err != nil {
		t.Fatal(err)
	}
	iccid, errICCID := id.ParseICCID("8988001020001000004")
	imsi, errIMSI := id.ParseIMSI("001010200100000", 2)
	iccids, errICCIDs := id.NewICCIDRange(iccid, n)
	imsis, errIMSIs := id.NewIMSIRange(imsi, n)
	if err := errors.Join(errICCID, errIMSI, errICCIDs, errIMSIs); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Format: persoline-ki/1\nOrder: O-1\nReceive_key: rk\nReceive_mode: %s\nQuantity: %d\nvar_in: ICCID/IMSI/EKI/KI_KCV\n", mode, n)
	kis := make([][]byte, n)
	for u := range n {
		ki := make([]byte, size)
		for i := range ki {
			ki[i] = byte(int(u)*31 + i*7)
		}
		ki[0], ki[1] = byte(u>>8), byte(u)
		kcv := scp.KCV(ki)
		if spoil != nil {
			spoil(u, ki, &kcv)
		}
		kis[u] = ki
		iccidU, errICCID := iccids.At(u)
		imsiU, errIMSI := imsis.At(u)
		if err := errors.Join(errICCID, errIMSI); err != nil {
			t.Fatal(err)
		}
		eki := bytes.Clone(ki)
		if mode == kifile.ModeCBC {
			cipher.NewCBCEncrypter(b, make([]byte, 16)).CryptBlocks(eki, ki)
		} else {
			for i := 0; i < size; i += 16 {
				b.Encrypt(eki[i:], ki[i:])
			}
		}
		fmt.Fprintf(&text, "%s %s %X %X\n", iccidU, imsiU.String(), eki, kcv)
	}
	f, err := kifile.Parse(strings.NewReader(text.String()), kifile.Want{Order: "O-1", ICCIDs: iccids, IMSIs: imsis, Total: n})
	if err != nil {
		t.Fatal(err)
	}
	return kis, f, &receive{b: b}
}

func TestCustomer(t *testing.T) {
	t.Parallel()
	for _, size := range []int{16, 32} {
		for _, mode := range []kifile.Mode{kifile.ModeECB, kifile.ModeCBC} {
			kis, f, key := customerFile(t, 5, size, mode, nil)
			if first, err := f.Row(0); err != nil {
				t.Fatal(err)
			} else if wrong, err := CheckRows(t.Context(), key, mode, []kifile.Row{first}, func(int, []byte) error { return nil }); err != nil || wrong != nil {
				t.Fatal(wrong, err)
			}
			tree, errTree := f.Tree()
			root, errRoot := tree.Root()
			hashes, errProof := tree.Prove(3)
			row, errRow := f.Row(3)
			if err := errors.Join(errTree, errRoot, errProof, errRow); err != nil {
				t.Fatal(err)
			}
			p := kifile.Proof{Root: root, Rows: 5, Hashes: hashes}
			ki, err := OpenCustomer(t.Context(), key, mode, 3, row, p)
			if err != nil || !bytes.Equal(reveal(t, ki), kis[3]) {
				t.Errorf("%s of %d bytes: %v", mode, size, err)
			}
			if _, err := OpenCustomer(t.Context(), key, mode, 2, row, p); !errors.Is(err, kifile.ErrRow) {
				t.Errorf("row of another unit: %v", err)
			}
			wrong, err := aes.NewCipher(make([]byte, 16))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenCustomer(t.Context(), &receive{b: wrong}, mode, 3, row, p); !errors.Is(err, ErrCheckValue) {
				t.Errorf("wrong receive key: %v", err)
			}
		}
	}
}

func TestCheckRowsFindsEveryFault(t *testing.T) {
	t.Parallel()
	for _, mode := range []kifile.Mode{kifile.ModeECB, kifile.ModeCBC} {
		_, f, key := customerFile(t, MaxRows, 16, mode, func(u uint64, ki []byte, kcv *[3]byte) {
			switch u {
			case 0, 100, 255:
				kcv[1] ^= 1
			case 57:
				copy(ki, bytes.Repeat([]byte{9}, 16))
				*kcv = scp.KCV(ki)
			}
		})
		rows := make([]kifile.Row, f.Rows())
		for u := range rows {
			var err error
			if rows[u], err = f.Row(perso.Unit(u)); err != nil {
				t.Fatal(err)
			}
		}
		if wrong, err := CheckRows(t.Context(), key, mode, rows, func(int, []byte) error { return nil }); err != nil || !slices.Equal(wrong, []int{0, 57, 100, 255}) || key.calls != 1 {
			t.Errorf("%s: %v, %d calls, %v", mode, wrong, key.calls, err)
		}
		if _, err := CheckRows(t.Context(), key, mode, append(rows, rows[0]), func(int, []byte) error { return nil }); err == nil {
			t.Error("more than one call takes")
		}
		rows[3].EKI = append(rows[3].EKI, rows[3].EKI...)
		if _, err := CheckRows(t.Context(), key, mode, rows[:9], func(int, []byte) error { return nil }); !errors.Is(err, ErrSource) {
			t.Errorf("Ki of two lengths: %v", err)
		}
	}
}

func FuzzCheckSealed(f *testing.F) {
	token, key := tokenWithKey(f, "LOT-2026-0001")
	c := testClaim(f)
	sealed, _, err := NewRandom(f.Context(), token, key, c, Short)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := OpenRandom(t.Context(), token, key, c, in); err == nil != bytes.Equal(in, sealed) {
			t.Fatalf("%x: %v", in, err)
		}
	})
}
