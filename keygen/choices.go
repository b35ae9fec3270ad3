package keygen

import (
	"fmt"

	"github.com/persoline/persoline/perso/order/codes"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/statement"
)

// choices are what an order chose and its release says in text: how codes are made, and in which layout they leave.
type choices struct {
	codes  codes.Policy
	layout k4.Layout
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
	if r.TransportMode != "" {
		if c.layout, err = k4.ParseLayout(r.TransportMode); err != nil {
			return choices{}, err
		}
	}
	if !c.layout.AES() {
		return choices{}, fmt.Errorf("transport layout %q, for which it holds no key", c.layout)
	}
	return c, nil
}
