package keygen

import (
	"bytes"
	"context"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/transport"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order/k4"
)

// receiverKey is a receiver's key in the HSM (transport.Encrypter).
type receiverKey struct {
	token Token
	key   hsm.Key
}

// EncryptECB encrypts whole blocks inside the HSM.
func (k receiverKey) EncryptECB(ctx context.Context, blocks []byte) ([]byte, error) {
	return k.token.EncryptECB(ctx, k.key, blocks)
}

// wrapped encrypts all values for a receiver and clears them. In ECB that takes one HSM
// operation, in CBC as many as the longest value has blocks.
func (v *Vault) wrapped(ctx context.Context, under hsm.Key, layout k4.Layout, values ...transport.Value) (bus.ExportResult, error) {
	defer func() {
		for _, x := range values {
			clear(x.Plain)
		}
	}()
	sealed, err := transport.Wrap(ctx, layout, receiverKey{v.cfg.Token, under}, values)
	if err != nil {
		return bus.ExportResult{}, fmt.Errorf("wrapping under %q: %w", under, err)
	}
	var result bus.ExportResult
	for _, w := range sealed {
		result.Keys = append(result.Keys, bus.WrappedKey{Name: w.Name, Value: w.Cipher, KCV: w.KCV})
	}
	return result, nil
}

// keyValue is a key of the card for export, with a check value. It is a copy: wrapped clears it.
func keyValue(name string, key []byte) transport.Value {
	return transport.Value{Name: name, Plain: bytes.Clone(key), Check: transport.CheckAES}
}
