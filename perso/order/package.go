package order

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/script"
)

// Package is a profile package as the cards of an order get it, but for their own values.
type Package struct {
	Variable string     // of the script: script.PackageBootstrap
	Name     perso.Name // in the catalogue
	Bytes    []byte     // prepared; without a secret
	Template *saip.Template
	Demands  []string // services that its header wants of a chip, as SAIP spells them
}

// Hash is what the officers release.
func (p Package) Hash() [32]byte { return sha256.Sum256(p.Bytes) }

// errNoPackage says that neither the order nor its provider names a profile package.
var errNoPackage = errors.New("no profile package is named")

// Packages prepares the packages of an order, in the order in which they are loaded; none for a product whose profile is written by its
// script.
func (cat Catalogue) Packages(o Order) ([]Package, error) {
	p, known := cat.Products.Get(o.Product)
	if !known || !p.Profile.Package {
		return nil, nil
	}
	one, err := cat.packageOf(o, p, script.PackageBootstrap)
	if err != nil || !o.Operational.Ordered() {
		return []Package{one}, err
	}
	two, err := cat.packageOf(o.AsOrder(), p, script.PackageOperational)
	if err != nil {
		return nil, fmt.Errorf("operational profile: %w", err)
	}
	return []Package{one, two}, nil
}

// packageOf prepares the package of one subscription.
func (cat Catalogue) packageOf(o Order, p product.Product, variable string) (none Package, err error) {
	provider, known := cat.Site.Provider(o.Provider)
	if !known {
		return none, fmt.Errorf("provider %q is not known at this site", o.Provider)
	}
	name := o.Profile
	if name == "" {
		name = provider.Profile
	}
	one, err := cat.prepare(variable, name, profile.Terms{Algorithm: o.Algorithm, POL1: provider.POL1})
	if err != nil {
		return none, err
	}
	if lacks := p.Profile.Lacks(one.Demands); lacks != "" {
		return none, fmt.Errorf("profile package %q demands the service %q, which chips of product %q do not have", name, lacks, p.SKU)
	}
	if most := int(p.Profile.AllocatedMemory); len(one.Bytes) > most {
		return none, fmt.Errorf("profile package %q has %d bytes, product %q has room for %d", name, len(one.Bytes), p.SKU, most)
	}
	return one, nil
}

func (cat Catalogue) prepare(variable string, name perso.Name, terms profile.Terms) (Package, error) {
	if name == "" {
		return Package{}, errNoPackage
	}
	made, err := cat.Profiles.Prepared(name, terms)
	if err != nil {
		return Package{}, err
	}
	return Package{Variable: variable, Name: name, Bytes: made.Package.Bytes(), Template: made.Template, Demands: made.Package.Header().Services}, nil
}

// packages refuses an order whose profile package is not there, is faulty, or does not fit its numbers and its algorithm.
func (c *checker) packages() {
	o := c.order
	p, known := c.cat.Products.Get(o.Product)
	if !known || !p.Makeable || o.Algorithm.IsZero() {
		return
	}
	if !p.Profile.Package {
		if o.Profile != "" {
			c.fault("profile", "leave it out", "the profile of product %q is written by its script, not loaded from a package", p.SKU)
		}
		return
	}
	provider, known := c.cat.Site.Provider(o.Provider)
	if !known {
		return // said by provider
	}
	field, name := "profile", o.Profile
	if name == "" {
		field, name = "bootstrap_provider", provider.Profile
	}
	one, err := c.cat.packageOf(o, p, script.PackageBootstrap)
	switch {
	case errors.Is(err, errNoPackage):
		c.fault(field, "name one in the order, or in the provider's partner file", "provider %q has no profile package of its own", provider.ID)
	case errors.Is(err, profile.ErrUnknown):
		c.fault(field, nearest(name, c.cat.Profiles.Names()), "the profile package %q is not in the catalogue ('perso profile import' takes one in)", name)
	case err != nil:
		c.fault(field, "'perso profile check' tells all that is wrong with a package", "%v", err)
	default:
		c.fits(field, one, provider)
	}
}

// fits compares the numbers of the order with the network that the package's constants speak of.
func (c *checker) fits(field string, p Package, provider Provider) {
	iccid, imsi := c.order.ICCID.First(), c.order.IMSI.First()
	if iccid.IsZero() {
		iccid = provider.ICCIDPool.First()
	}
	if imsi.IsZero() {
		imsi = provider.IMSIPool.First()
	}
	if imsi.MNCDigits() != provider.MNCDigits() || imsi.MCC()+imsi.MNC() != provider.PLMN {
		return // said by provider
	}
	if err := profile.Admits(p.Template, iccid, imsi); err != nil {
		c.fault(field, "name a package of the provider's network", "the numbers do not fit package %q: %v", p.Name, err)
	}
}
