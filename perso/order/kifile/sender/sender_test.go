package sender

import (
	"bytes"
	"crypto/aes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
)

// What is made is read as the order wants it, and each row opens to a Ki of its own with the receive key.
func TestMake(t *testing.T) {
	t.Parallel()
	const total = 70
	iccid, errICCID := id.ParseICCID("8988001020002000003")
	imsi, errIMSI := id.ParseIMSI("001010200200000", 2)
	iccids, errICCIDs := id.NewICCIDRange(iccid, total)
	imsis, errIMSIs := id.NewIMSIRange(imsi, total)
	if err := errors.Join(errICCID, errIMSI, errICCIDs, errIMSIs); err != nil {
		t.Fatal(err)
	}
	want := kifile.Want{Order: "O-1", ICCIDs: iccids, IMSIs: imsis, Total: total, KiBytes: 16, ReceiveKeys: []perso.Name{"rk-1"}}
	value := bytes.Repeat([]byte{7}, 32)
	key := Key{Name: "rk-1", Mode: kifile.ModeCBC, Value: secret.New(bytes.Clone(value))}
	made, err := Make(want, key, rand.NewChaCha8([32]byte{}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.Encode()
	if err != nil {
		t.Fatal(err)
	}
	f, err := kifile.Parse(bytes.NewReader(text), want)
	if err != nil || f.Mode != kifile.ModeCBC || f.ReceiveKey != "rk-1" {
		t.Fatalf("%+v, %v", f, err)
	}
	block, err := aes.NewCipher(value)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for u := range perso.Unit(total) {
		row, err := f.Row(u)
		if err != nil {
			t.Fatal(err)
		}
		ki := make([]byte, 16)
		block.Decrypt(ki, row.EKI)
		if seen[string(ki)] || scp.KCV(ki) != row.KCV || bytes.Contains(text, ki) {
			t.Errorf("unit %d: Ki twice, or another check value", u)
		}
		seen[string(ki)] = true
	}
	if _, err := Make(want, key, bytes.NewReader(make([]byte, 2000))); err == nil {
		t.Error("zeros are taken for random")
	}
	if _, err := Make(want, key, bytes.NewReader(make([]byte, 8))); err == nil {
		t.Error("a Ki is made of half the randomness")
	}
	key.Value = secret.New(make([]byte, 17))
	if _, err := Make(want, key, rand.NewChaCha8([32]byte{})); err == nil {
		t.Error("a key of 17 bytes is used")
	}
}
