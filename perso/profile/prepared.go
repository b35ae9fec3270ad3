package profile

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/saip"
)

// maxPrepared bounds what a catalogue keeps: a site orders some ten packages again and again, each of some 100 kB when it is expanded.
const maxPrepared = 64

// Prepared is a package as the cards of an order get it. Nobody changes it.
type Prepared struct {
	Package  *saip.Package
	Template *saip.Template
}

// Prepared reads a package, sets the terms (Prepare) and says whether it is ready (Ready). An order is prepared a handful of times on its
// way, and while the ledger commits its release everything else waits: what was prepared is kept by the package's bytes and the terms.
// The file is read each time, so that what was imported meanwhile is found.
func (c Catalogue) Prepared(name perso.Name, t Terms) (Prepared, error) {
	b, err := c.read(name)
	if err != nil {
		return Prepared{}, err
	}
	key := keptKey{hash: sha256.Sum256(b), algorithm: t.Algorithm}
	if t.POL1 != nil {
		key.pol1, key.ruled = *t.POL1, true
	}
	if p, known := c.kept.get(key); known {
		return p, nil
	}
	found, err := sound(name, b)
	if err != nil {
		return Prepared{}, err
	}
	p := Prepared{}
	if p.Package, err = Prepare(found, t); err == nil {
		p.Template, err = Ready(p.Package, t.Algorithm)
	}
	if err != nil {
		return Prepared{}, fmt.Errorf("preparing profile package %q: %w", name, err)
	}
	c.kept.put(key, p)
	return p, nil
}

// keptKey is all that a prepared package depends on.
type keptKey struct {
	hash      [sha256.Size]byte
	algorithm auth.Algorithm
	pol1      POL1
	ruled     bool // the order says what POL1 is
}

// kept are prepared packages. Nil keeps nothing.
type kept struct {
	mu  sync.Mutex
	all map[keptKey]Prepared
}

func (k *kept) get(key keptKey) (p Prepared, known bool) {
	if k == nil {
		return Prepared{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p, known = k.all[key]
	return p, known
}

func (k *kept) put(key keptKey, p Prepared) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) >= maxPrepared {
		clear(k.all)
	}
	k.all[key] = p
}
