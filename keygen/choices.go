package keygen

import (
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/statement"
)

// choices are what an order chose and its release says in text: how codes are made, and in which layout they leave.
type choices struct {
	codes  codes.Policy
	layout k4.Layout
	auth   auth.Algorithm
	rsaKey k4.ReceiverRef // the receiver's, of an envelope
}

// transportClass is the class of the key that the layout needs on the token: the receiver's, or of an envelope the maker's.
func (c choices) transportClass() hsm.Class {
	switch {
	case c.layout == k4.Envelope:
		return hsm.ClassEnvelope
	case c.layout.AES():
		return hsm.ClassTransport
	}
	return hsm.ClassTransport3DES
}

// choicesOf reads them; what the release does not say is as in most orders. It refuses what this vault does not make.
func choicesOf(r statement.Release) (c choices, err error) {
	c = choices{codes: codes.Default(), layout: k4.AESECB}
	if r.Codes != "" {
		if c.codes, err = codes.ParsePolicy(r.Codes); err != nil {
			return choices{}, err
		}
	}
	for _, code := range codes.Codes() {
		if _, has := c.codes.Rule(code); has && code.Further() {
			return choices{}, fmt.Errorf("code %s, which no script writes", code)
		}
	}
	if c.auth, err = auth.Parse(r.Algorithm); err != nil {
		return choices{}, err
	}
	if r.TransportMode != "" {
		if c.layout, err = k4.ParseLayout(r.TransportMode); err != nil {
			return choices{}, err
		}
	}
	switch envelope := c.layout == k4.Envelope; {
	case envelope != (r.ReceiverKey != ""):
		return choices{}, fmt.Errorf("transport layout %q with receiver key %q: an envelope names its receiver's key, nothing else does", c.layout, r.ReceiverKey)
	case envelope:
		if c.auth.Name != auth.Milenage {
			return choices{}, fmt.Errorf("an envelope with %s, for whose keys its form has no place", c.auth.Name)
		}
		if c.rsaKey, err = k4.ParseReceiverRef(r.ReceiverKey); err != nil {
			return choices{}, err
		}
	}
	return c, c.fitCustomer(r)
}

// fitCustomer refuses what a customer's own Ki cannot be used for: the office says the same at intake, and officers may not
// release otherwise.
func (c choices) fitCustomer(r statement.Release) error {
	if r.KiSource != string(order.KiCustomer) {
		return nil
	}
	if n := c.auth.KBytes(); n != order.CustomerKiBytes {
		return fmt.Errorf("a customer's Ki of %d bytes for %s, which has %d", order.CustomerKiBytes, c.auth, n)
	}
	if c.layout == k4.Envelope && r.Customer.Output == string(order.KiOmitted) {
		return fmt.Errorf("an envelope without Ki, which its form does not know")
	}
	return nil
}
