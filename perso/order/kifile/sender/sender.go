// Package sender is the operator's side of a customer key file: it draws a Ki for each unit of his order, encrypts it under
// the receive key that he shares with the maker's vault, and writes the file.
//
// It exists so that a test customer has the file that a test order needs, and that an operator can see what his own system
// must write. A real operator draws Ki in his own HSM; the vault never runs this.
//
// Contract. Ki are in clear for the row that is being made, and wiped. Randomness comes from the caller. No error carries a
// secret. Callers: perso/cmd and tests.
//
// Sources: KIFILE.md, NIST SP 800-38A (ECB, CBC), GlobalPlatform Amendment D §7.2 (check value).
package sender

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
)

// Key is a receive key as both sides hold it.
type Key struct {
	Name  perso.Name
	Mode  kifile.Mode
	Value secret.Bytes // AES, 16, 24 or 32 bytes
}

// Make draws and encrypts a Ki for each unit that is wanted. random gives one byte after the other of every Ki.
func Make(want kifile.Want, key Key, random io.Reader) (*kifile.File, error) {
	var rows []kifile.Row
	err := key.Value.Reveal(func(b []byte) error {
		block, err := aes.NewCipher(b)
		if err != nil {
			return fmt.Errorf("receive key %q: %w", key.Name, err)
		}
		for range want.Total {
			row, err := draw(block, random)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("making Ki of order %q: %w", want.Order, err)
	}
	return kifile.New(want, kifile.Under{Key: key.Name, Mode: key.Mode}, rows)
}

// draw makes one row. A Ki of one block has no chain, so both modes are the same.
func draw(block cipher.Block, random io.Reader) (row kifile.Row, err error) {
	ki := make([]byte, order.CustomerKiBytes)
	defer clear(ki)
	if _, err := io.ReadFull(random, ki); err != nil {
		return row, fmt.Errorf("drawing a Ki: %w", err)
	}
	if weak(ki) {
		return row, errors.New("drawing a Ki: the source of randomness repeats one byte")
	}
	row.KCV = scp.KCV(ki)
	row.EKI = make([]byte, order.CustomerKiBytes)
	block.Encrypt(row.EKI, ki)
	return row, nil
}

func weak(ki []byte) bool {
	for _, b := range ki {
		if b != ki[0] {
			return false
		}
	}
	return true
}
