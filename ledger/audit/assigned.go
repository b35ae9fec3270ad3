package audit

import (
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// assigned is the log vault's word which vault of the site makes a lot: once, after its release, before anything is made. Two
// vaults with one lot would each hold half of its receipts, and could each make all of it (I1, I7).
func (a *auditor) assigned(e entry.Statement) {
	l := a.lots[e.Lot]
	if l == nil || l.vault != "" {
		a.bad("I1", "lot %q was not released, or was assigned before", e.Lot)
		return
	}
	path := layout.Statement(e.Hash)
	word, err := a.assignment(path, e)
	switch {
	case err != nil:
	case word.Release != l.hash:
		err = errors.New("it names another release")
	case l.claims > 0 && word.Vault != a.logVault: // begun while the log vault was the only one, it stays there
		err = errors.New("the lot was begun before, so it is the log vault's")
	}
	if err != nil {
		a.find(path, "I1", "%v", err)
		return
	}
	l.vault = word.Vault
}

// assignment reads the vault's words that an entry names.
func (a *auditor) assignment(path string, e entry.Statement) (statement.Assigned, error) {
	raw, err := a.files.read(path)
	if err != nil {
		return statement.Assigned{}, err
	}
	s, err := statement.DecodeSigned(raw)
	if err != nil {
		return statement.Assigned{}, err
	}
	if s.Hash() != e.Hash {
		return statement.Assigned{}, fmt.Errorf("its hash is %x", s.Hash())
	}
	if len(s.Signatures) != 1 || !a.verify(s.Body, s.Signatures[0].Sig[:]) {
		return statement.Assigned{}, errors.New("the vault did not sign it")
	}
	if a.logVault == "" {
		a.logVault = s.Signatures[0].Officer
	}
	if s.Signatures[0].Officer != a.logVault {
		return statement.Assigned{}, fmt.Errorf("vault %s signed it, earlier ones vault %s: one vault of a site assigns lots", s.Signatures[0].Officer, a.logVault)
	}
	w, err := statement.ParseAssigned(s.Body)
	if err == nil && (w.Env != a.genesis.Env || w.Site != a.genesis.Site || w.Lot != e.Lot) {
		err = fmt.Errorf("it is about lot %s of site %s (%s)", w.Lot, w.Site, w.Env)
	}
	return w, err
}

// ownChain refuses receipts of a lot from a vault that it does not belong to.
func (c *chain) ownChain() error {
	if owner := c.a.ownerOf(c.lot, c.vault); c.vault != owner {
		return fmt.Errorf("lot %s is vault %s's: no other has receipts for it", c.lot, owner)
	}
	return nil
}

// ownerOf is the vault of a lot. A lot that was never assigned is the log vault's; where none was, all are one vault's: the
// first that is heard of.
func (a *auditor) ownerOf(lot, heard perso.Name) perso.Name {
	if l := a.lots[lot]; l != nil && l.vault != "" {
		return l.vault
	}
	if a.logVault == "" {
		a.logVault = heard
	}
	return a.logVault
}
