package kisource

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order/form"
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

// VerifyFile decrypts every row of a file and compares its check value; every wrong one is in the *form.FaultList, by the
// number of its unit. The order is accepted only after it. As many HSM operations as 4096 bytes go into the file's Ki.
func VerifyFile(ctx context.Context, key Decrypter, f *kifile.File) error {
	var faults form.FaultList
	for first := uint64(0); first < f.Rows(); {
		rows, values := make([]kifile.Row, 0, maxCallBytes/shortKi), make([][]byte, 0, maxCallBytes/shortKi)
		for size := 0; first+uint64(len(rows)) < f.Rows(); {
			row, err := f.Row(perso.Unit(first) + perso.Unit(len(rows)))
			if err != nil {
				return err
			}
			if size += len(row.EKI); size > maxCallBytes {
				break
			}
			rows, values = append(rows, row), append(values, row.EKI)
		}
		plain, err := decrypt(ctx, key, f.Mode, values)
		if err != nil {
			return fmt.Errorf("verifying Ki of units from %d: %w", first, err)
		}
		for i, ki := range plain {
			if err := checkKi(ki, rows[i].KCV); err != nil {
				faults.Add(form.Fault{Field: "KI_KCV", Reason: fmt.Sprintf("unit %d: %v", first+uint64(i), err), Hint: "is the receive key the one that both of us hold?"})
			}
			clear(ki)
		}
		first += uint64(len(rows))
	}
	return faults.Err()
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
