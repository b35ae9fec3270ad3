package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/keygen/ceremony/share"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/order/kifile/sender"
)

// kiFile is where the test customer's file of Ki lies, below the site's folder.
const kiFile = "customer.ki"

// customerKi plays the customer of an order with his own Ki: with his receive key, and nothing else of the site, he draws
// them, and sends the file.
func (d *demo) customerKi(ctx context.Context) (*bus.KiFileRef, error) {
	if d.ordered.KiSource != order.KiCustomer {
		return nil, nil
	}
	cat, err := site.OrderCatalogue(d.Catalogue)
	if err != nil {
		return nil, err
	}
	provider, ok := cat.Site.Provider(d.ordered.Provider)
	if !ok || len(provider.ReceiveKeys) == 0 {
		return nil, fmt.Errorf("provider %q has no receive key", d.ordered.Provider)
	}
	key := sender.Key{Name: provider.ReceiveKeys[0], Mode: kifile.ModeECB}
	text, err := os.ReadFile(d.site.PartnerKey(key.Name))
	if err != nil {
		return nil, err
	}
	if key.Value, err = share.ParseHex(bytes.TrimSpace(text)); err != nil {
		return nil, err
	}
	defer key.Value.Wipe()
	f, err := sender.Make(kifile.WantOf(d.ordered, cat.Site), key, rand.Reader)
	if err != nil {
		return nil, err
	}
	file, err := f.Encode()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(d.Dir, kiFile), file, 0o600); err != nil {
		return nil, err
	}
	d.say("ki       %d of the test customer's own, encrypted under %s, in %s", f.Rows(), key.Name, filepath.Join(d.Dir, kiFile))
	ref, err := bus.SendKi(ctx, d.office, file)
	return &ref, err
}
