package sim

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/order/kifile/sender"
	"github.com/persoline/persoline/perso/secret"
)

// receiveKeyName is in the demonstration partner's file.
const receiveKeyName perso.Name = "rk-provider-demo"

// receiveKey is the operator's receive key, of lots whose Ki are his own.
func receiveKey() []byte { return bytes.Repeat([]byte{0x52}, 16) }

// receiveKeys are for the ceremony; none where no lot needs one, so that other runs stay as they were.
func (w *World) receiveKeys() map[perso.Name]secret.Bytes {
	if !w.customer() {
		return nil
	}
	return map[perso.Name]secret.Bytes{receiveKeyName: secret.New(receiveKey())}
}

func (w *World) customer() bool { return w.cfg.KiSource == string(order.KiCustomer) }

// sendKi has the operator draw his Ki and send them, and keeps what he knows.
func (w *World) sendKi(ctx context.Context, file []byte) (*bus.KiFileRef, error) {
	if !w.customer() {
		return nil, nil
	}
	o, err := order.Parse(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	f, err := sender.Make(kifile.WantOf(o, w.site.cat.Order.Site), sender.Key{Name: receiveKeyName, Mode: kifile.ModeECB, Value: secret.New(receiveKey())},
		rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "Ki of seed %d", w.cfg.Seed))))
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(receiveKey())
	if err != nil {
		return nil, err
	}
	for u := range perso.Unit(f.Rows()) {
		row, err := f.Row(u)
		if err != nil {
			return nil, err
		}
		ki := make([]byte, len(row.EKI))
		block.Decrypt(ki, row.EKI)
		w.site.ki = append(w.site.ki, ki)
	}
	text, err := f.Encode()
	if err != nil {
		return nil, err
	}
	ref := bus.KiFileRef{Hash: sha256.Sum256(text), Size: uint64(len(text))}
	_, err = w.ledger.core.KiPart(ctx, bus.KiPartRequest{File: ref, Data: text})
	return &ref, err
}

// customerKi looks at a Ki or OPc that reaches a chip of a lot with the operator's own: it is the unit's, and the only other
// chip that may have it is one of the same unit that was lost before.
func (c *checker) customerKi(ch *chip, cl *claim, number uint16, value []byte) {
	if number == numberKi && (uint64(cl.Unit) >= uint64(len(c.w.site.ki)) || !bytes.Equal(value, c.w.site.ki[cl.Unit])) {
		c.w.fail("I1", "%s gets a Ki that is not the operator's for unit %d", ch.name, cl.Unit)
	}
	if other := c.material[string(value)]; other != nil && other != ch {
		before := c.claimOf(other)
		if before == nil || before.Unit != cl.Unit || before.state != perso.UnitLost {
			c.w.fail("I1", "key material of %s reaches %s", other.name, ch.name)
		}
	}
	c.material[string(value)] = ch
}
