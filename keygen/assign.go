package keygen

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// Assignment is what the log vault remembers for ever of a lot that it gave to a vault of the site: what Issued says, so
// that no later lot contradicts it, wherever it is made.
type Assignment struct {
	Issued
	Vault perso.Name
	Birth [16]byte // of that vault: one of the same name with another state does not get the lot
	At    time.Time
}

// Assignments keeps the lots that the log vault gave away while the site had several vaults. RememberAssigned returns when it
// is durable; what it was given is never replaced.
type Assignments interface {
	Assigned() (map[perso.Name]Assignment, error)
	RememberAssigned(lot perso.Name, a Assignment) error
}

// signs says whether this is the log vault.
func (v *Vault) signs() bool { return v.cfg.LogVault == "" || v.cfg.LogVault == v.cfg.Name }

// AssignLot gives a released lot to one vault of the site. A lot is one vault's for good: whatever vault is asked for
// later, the answer is the first one. Only the log vault does it, because it alone knows every lot of the site, and so
// every number that was issued (I1) and every register statement that was in force (I7).
func (v *Vault) AssignLot(ctx context.Context, q bus.AssignLotRequest) (bus.AssignLotReply, error) {
	if v.cfg.Assignments == nil || v.cfg.Sole {
		return bus.AssignLotReply{}, bus.Refuse(bus.FaultRefused, "vault %q assigns no lots: it is not the log vault of a site with several", v.cfg.Name)
	}
	if _, err := perso.ParseName(string(q.Vault)); err != nil {
		return bus.AssignLotReply{}, bus.Refuse(bus.FaultBadMessage, "vault: %v", err)
	}
	release, hash, chain, err := v.authorized(bus.OpenLotRequest{Register: q.Register, Release: q.Release})
	if err != nil {
		return bus.AssignLotReply{}, err
	}
	v.opening.Lock()
	defer v.opening.Unlock()
	to, err := v.named(q.Vault, q.Birth)
	if err == nil {
		err = v.cfg.Life.Look(ctx)
	}
	if err != nil {
		return bus.AssignLotReply{}, err
	}
	a, err := v.assign(ctx, Assignment{Issued: issued(release, hash, chain), Vault: to.Vault, Birth: to.Birth}, release, chain)
	if err != nil {
		v.cfg.Log.Error("refused to assign a lot", "lot", release.Lot, "err", err)
		return bus.AssignLotReply{}, err
	}
	s, err := v.assignedStatement(ctx, release.Lot, a)
	if err != nil {
		return bus.AssignLotReply{}, fmt.Errorf("signing the assignment of lot %q: %w", release.Lot, err)
	}
	return bus.AssignLotReply{Lot: release.Lot, Vault: a.Vault, Assigned: s.Encode()}, nil
}

// named is the vault that the ledger has in mind. Of itself the log vault knows the birth; of another it is told.
func (v *Vault) named(vault perso.Name, birth [16]byte) (a Assignment, err error) {
	switch {
	case vault == v.cfg.Name:
		birth = v.cfg.Life.Birth()
	case birth == [16]byte{}:
		return a, bus.Refuse(bus.FaultRefused, "a lot for vault %q, whose birth nobody said: it is in its answer to a checkpoint", vault)
	}
	return Assignment{Vault: vault, Birth: birth}, nil
}

// assign finds the assignment of a lot, or makes the one given; v.opening is held.
func (v *Vault) assign(ctx context.Context, a Assignment, r statement.Release, chain []statement.Signed) (Assignment, error) {
	hash := a.Release
	v.mu.Lock()
	known, given := v.assigned[r.Lot]
	made, own := v.memory.Lots[r.Lot]
	v.mu.Unlock()
	a.At = v.cfg.Now().UTC().Truncate(time.Microsecond)
	switch {
	case given && known.Release != hash || own && made.Release != hash:
		return a, bus.Refuse(bus.FaultConflict, "lot %q is another release's", r.Lot)
	case given: // a Turn that failed then was made up for by Look
		return known, nil
	case own: // from the time when this was the only vault
		a.Issued, a.Vault, a.Birth = made, v.cfg.Name, v.cfg.Life.Birth()
	default:
		if err := errors.Join(v.buried(r.Lot), v.mayBegin(r, hash, chain)); err != nil {
			return a, err
		}
	}
	err := v.bound(chain, func() error {
		if err := v.mayGoOn(r); err != nil && !own {
			return err
		}
		// COMMIT POINT: from here on the lot is this vault's, and nobody heard of it before.
		return v.cfg.Assignments.RememberAssigned(r.Lot, a)
	})
	if err != nil {
		return a, fmt.Errorf("remembering whose lot %q is: %w", r.Lot, err)
	}
	v.mu.Lock()
	v.assigned[r.Lot] = a
	v.mu.Unlock()
	v.cfg.Log.Info("lot assigned", "lot", r.Lot, "vault", a.Vault)
	if err := v.cfg.Life.Turn(ctx); err != nil {
		return a, fmt.Errorf("making it unforgettable whose lot %q is: %w", r.Lot, err)
	}
	return a, nil
}

// mayBegin is what a lot must be when it is seen for the first time.
func (v *Vault) mayBegin(r statement.Release, hash [32]byte, chain []statement.Signed) error {
	if err := v.kiKept(r); err != nil {
		return err
	}
	if !v.cfg.Now().Before(r.Expires) {
		return bus.Refuse(bus.FaultRefused, "release of lot %q has expired", r.Lot)
	}
	if err := v.cfg.outlives(r.Expires); r.EUICC() && err != nil {
		return bus.Refuse(bus.FaultRefused, "release of lot %q: %v", r.Lot, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	next := issued(r, hash, chain)
	if err := v.memory.mayIssue(r.Lot, next, chain); err != nil {
		return err
	}
	elsewhere := Recollection{Lots: map[perso.Name]Issued{}}
	for lot, a := range v.assigned {
		if lot != r.Lot {
			elsewhere.Lots[lot] = a.Issued
		}
	}
	return elsewhere.mayIssue(r.Lot, next, chain)
}

func (v *Vault) assignedStatement(ctx context.Context, lot perso.Name, a Assignment) (statement.Signed, error) {
	body, err := statement.Assigned{Env: v.cfg.Env, Site: v.cfg.Site, Lot: lot, Release: a.Release, Vault: a.Vault, Birth: a.Birth, At: a.At}.Encode()
	if err != nil {
		return statement.Signed{}, err
	}
	return v.sayIt(ctx, body)
}

// sayIt signs a statement of the vault's own with its statement key, under its name.
func (v *Vault) sayIt(ctx context.Context, body []byte) (statement.Signed, error) {
	sig, err := v.cfg.Token.SignMessage(ctx, v.cfg.Keys.Statement, body)
	if err != nil {
		return statement.Signed{}, err
	}
	s := statement.Signed{Body: body, Signatures: []statement.Signature{{Officer: v.cfg.Name}}}
	if copy(s.Signatures[0].Sig[:], sig) != len(sig) || len(sig) != ed25519.SignatureSize {
		return statement.Signed{}, fmt.Errorf("signature of %d bytes", len(sig))
	}
	return s, nil
}

// mine refuses a lot that another vault makes. The log vault knows whose it is; any other vault has its word.
func (v *Vault) mine(r statement.Release, hash [32]byte, assigned []byte) error {
	if !v.signs() {
		return v.assignedHere(r, hash, assigned)
	}
	if v.cfg.Assignments == nil {
		return nil // the only vault, ever
	}
	v.mu.Lock()
	a, given := v.assigned[r.Lot]
	_, made := v.memory.Lots[r.Lot]
	v.mu.Unlock()
	switch {
	case !given && !made && !v.cfg.Sole:
		return bus.Refuse(bus.FaultRefused, "lot %q was given to no vault yet", r.Lot)
	case given && a.Vault != v.cfg.Name:
		return bus.Refuse(bus.FaultRefused, "lot %q is vault %q's, this is vault %q", r.Lot, a.Vault, v.cfg.Name)
	case given:
		return v.born(r.Lot, a.Birth)
	}
	return nil
}

// assignedHere checks the log vault's word that a lot is this vault's.
func (v *Vault) assignedHere(r statement.Release, hash [32]byte, assigned []byte) error {
	s, err := statement.DecodeSigned(assigned)
	if err != nil {
		return bus.Refuse(bus.FaultRefused, "lot %q comes without the log vault's word that it is vault %q's: %v", r.Lot, v.cfg.Name, err)
	}
	if len(s.Signatures) != 1 || s.Signatures[0].Officer != v.cfg.LogVault || !ed25519.Verify(v.stmt, s.Body, s.Signatures[0].Sig[:]) {
		return bus.Refuse(bus.FaultRefused, "the assignment of lot %q is not signed by vault %q", r.Lot, v.cfg.LogVault)
	}
	a, err := statement.ParseAssigned(s.Body)
	switch {
	case err != nil:
		return bus.Refuse(bus.FaultRefused, "%v", err)
	case a.Env != v.cfg.Env || a.Site != v.cfg.Site || a.Lot != r.Lot || a.Release != hash:
		return bus.Refuse(bus.FaultRefused, "the assignment that comes with lot %q is of lot %q of site %q, or of another release", r.Lot, a.Lot, a.Site)
	case a.Vault != v.cfg.Name:
		return bus.Refuse(bus.FaultRefused, "lot %q is vault %q's, this is vault %q", r.Lot, a.Vault, v.cfg.Name)
	}
	return v.born(r.Lot, a.Birth)
}

// born refuses a lot that was given to a vault of this name before its state was lost and made anew: what became of the lot
// there, whether its key was destroyed or which cards were made, nobody remembers.
func (v *Vault) born(lot perso.Name, to [16]byte) error {
	if own := v.cfg.Life.Birth(); own != to {
		return bus.Refuse(bus.FaultRefused, "lot %q was given to vault %q of birth %x, this one's is %x: the state was lost and made anew, and the lot went with it", lot, v.cfg.Name, to, own)
	}
	return nil
}
