package audit

import (
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// destroy ends the life of a lot's key: signed by two officers, after closing, delivery and retention (I7).
func (a *auditor) destroy(e entry.Statement) {
	l := a.lots[e.Lot]
	if l == nil || !l.closed || l.gone || l.ending == e.Hash {
		a.bad("I7", "lot %q is not closed, or its key was ordered to be destroyed before", e.Lot)
		return
	}
	a.standsStill(l, "")
	// It takes the place of one that the vault refused: what is destroyed, is destroyed on the last.
	l.ending, l.early = e.Hash, nil
	if !l.delivered() && !l.refused() { // what quality did not accept is handed to nobody
		a.bad("I7", "the key of lot %s was ordered to be destroyed before the lot was delivered", e.Lot)
	}
	body, found := a.opening(e)
	if !found {
		return
	}
	d, err := statement.ParseDestroy(body)
	switch {
	case err != nil:
		a.bad("I7", "%v", err)
	case d.Lot != e.Lot || d.Env != a.genesis.Env || d.Site != a.genesis.Site:
		a.bad("I7", "the statement is about lot %s of site %s (%s)", d.Lot, d.Site, d.Env)
	case d.Release != l.hash || d.Close != l.closing:
		a.bad("I7", "the statement names another release or closing of lot %s", e.Lot)
	case e.At.Before(d.Retained):
		a.bad("I7", "retention of lot %s ended %s", e.Lot, d.Retained.Format(record.TimeForm))
	default:
		l.early = d.After(l.closedAt)
	}
}

// destroyed is the vault's certificate of deletion: it answers exactly one order.
func (a *auditor) destroyed(e entry.Statement) {
	l := a.lots[e.Lot]
	if l == nil || l.ending == [32]byte{} || l.gone {
		a.bad("I7", "nobody ordered the key of lot %q to be destroyed, or it was destroyed before", e.Lot)
		return
	}
	l.gone, l.certificate = true, e.Hash
	if l.early != nil { // only now: a vault refuses it, and then officers may sign another
		a.bad("I7", "the key of lot %s was destroyed on a statement that no vault takes: %v", e.Lot, l.early)
	}
	path := layout.Statement(e.Hash)
	raw, err := a.files.read(path)
	if err != nil {
		a.find(path, "I7", "%v", err)
		return
	}
	s, err := statement.DecodeSigned(raw)
	if err != nil || s.Hash() != e.Hash {
		a.find(path, "I7", "it is not the certificate that the log names: %v", err)
		return
	}
	if len(s.Signatures) != 1 || !a.verify(s.Body, s.Signatures[0].Sig[:]) {
		a.find(path, "I7", "the vault did not sign it")
		return
	}
	d, err := statement.ParseDestroyed(s.Body)
	switch {
	case err != nil:
		a.find(path, "I7", "%v", err)
	case d.Lot != e.Lot || d.Env != a.genesis.Env || d.Destroy != l.ending:
		a.find(path, "I7", "it certifies another destruction")
	default:
		a.shredded = append(a.shredded, shredding{path: path, lot: d.Lot, vault: d.Vault, signer: s.Signatures[0].Officer})
	}
}

// shredding is a vault's word that it destroyed a lot's key.
type shredding struct {
	path               string
	lot, vault, signer perso.Name
}

// checkShredded holds each certificate against the vault that made the lot: no other can know that the key is gone. Whose a lot
// without an assignment is, receipts say, so it comes after them.
func (a *auditor) checkShredded() {
	for _, s := range a.shredded {
		if owner := a.ownerOf(s.lot, s.vault); s.vault != owner || s.signer != s.vault {
			a.find(s.path, "I7", "vault %s certifies under the name %s that the key of lot %s is gone, which is vault %s's", s.vault, s.signer, s.lot, owner)
		}
	}
}
