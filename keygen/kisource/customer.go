package kisource

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
)

// ErrCheckValue says that a Ki, decrypted, does not have its check value: the receive key is not the operator's.
var ErrCheckValue = errors.New("the Ki does not fit its check value")

// maxCallBytes is the most that goes to the HSM in one call: its own limit for whole blocks.
const maxCallBytes = 4096

const block = 16

// Decrypter decrypts whole AES blocks in ECB with the operator's receive key, inside the HSM.
type Decrypter interface {
	DecryptECB(ctx context.Context, blocks []byte) ([]byte, error)
}

// OpenCustomer decrypts the row of a unit, after its proof: ErrRow of kifile when the row is not the released one,
// ErrCheckValue when the key does not fit. One HSM operation.
func OpenCustomer(ctx context.Context, key Decrypter, mode kifile.Mode, u perso.Unit, row kifile.Row, p kifile.Proof) (secret.Bytes, error) {
	if err := kifile.CheckRow(u, row, p); err != nil {
		return secret.Bytes{}, err
	}
	plain, err := decrypt(ctx, key, mode, [][]byte{row.EKI})
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("opening Ki of unit %d: %w", u, err)
	}
	if err := checkKi(plain[0], row.KCV); err != nil {
		clear(plain[0])
		return secret.Bytes{}, fmt.Errorf("opening Ki of unit %d: %w", u, err)
	}
	return secret.New(plain[0]), nil
}

// MaxRows is how many Ki of 16 bytes go to the HSM in one call.
const MaxRows = maxCallBytes / shortKi

// CheckRows decrypts rows, at most MaxRows and all of one length, and gives the places of those whose Ki does not fit its check
// value or is weak. It is how a wrong receive key or a wrong row is found before an order is accepted: a yes or no is all that
// leaves. One that fits is shown to fits, in place, and wiped after it. One HSM operation.
func CheckRows(ctx context.Context, key Decrypter, mode kifile.Mode, rows []kifile.Row, fits func(i int, ki []byte) error) (wrong []int, err error) {
	values := make([][]byte, len(rows))
	for i, r := range rows {
		if len(r.EKI) != len(rows[0].EKI) {
			return nil, fmt.Errorf("checking %d Ki: they differ in length: %w", len(rows), ErrSource)
		}
		values[i] = r.EKI
	}
	plain, err := decrypt(ctx, key, mode, values)
	if err != nil {
		return nil, fmt.Errorf("checking %d Ki: %w", len(rows), err)
	}
	for i, ki := range plain {
		if checkKi(ki, rows[i].KCV) != nil {
			wrong = append(wrong, i)
		} else if err == nil {
			err = fits(i, ki)
		}
		clear(ki)
	}
	return wrong, err
}

// decrypt opens values in one call.
func decrypt(ctx context.Context, key Decrypter, mode kifile.Mode, values [][]byte) ([][]byte, error) {
	var sealed []byte
	for _, v := range values {
		sealed = append(sealed, v...)
	}
	plain, err := key.DecryptECB(ctx, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if len(plain) != len(sealed) {
		return nil, fmt.Errorf("decrypting %d bytes: the receive key gave %d", len(sealed), len(plain))
	}
	out := make([][]byte, len(values))
	for i, rest := 0, plain; i < len(values); i++ {
		n := len(values[i])
		out[i] = append([]byte(nil), rest[:n]...)
		rest = rest[n:]
		for at := block; at < n && mode == kifile.ModeCBC; at += block { // the first block has a zero IV
			subtle.XORBytes(out[i][at:], out[i][at:at+block], values[i][at-block:at])
		}
	}
	return out, nil
}

func checkKi(ki []byte, want [kifile.KCVBytes]byte) error {
	kcv := scp.KCV(ki)
	if subtle.ConstantTimeCompare(kcv[:], want[:]) != 1 {
		return ErrCheckValue
	}
	if weak(ki) {
		return ErrWeakKi
	}
	return nil
}
