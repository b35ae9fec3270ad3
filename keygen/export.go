package keygen

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/eis"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// Export gives the keys or signatures of good units to the receiver that the release names. An item shows that its unit
// is good in the log, but what counts is that this vault found it so: its receipts say that, and they hold no more good
// units than were released (I7). An outcome that somebody put into the log brings out nothing.
func (v *Vault) Export(ctx context.Context, q bus.ExportRequest) (bus.ExportReply, error) {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.ExportReply{}, err
	}
	if len(q.Items) == 0 || len(q.Items) > bus.MaxBatch {
		return bus.ExportReply{}, bus.Refuse(bus.FaultBadMessage, "%d units, want 1 to %d", len(q.Items), bus.MaxBatch)
	}
	cp, err := v.openCheckpoint(q.Checkpoint)
	if err != nil {
		return bus.ExportReply{}, err
	}
	l, err := v.take(q.Lot)
	if err != nil {
		return bus.ExportReply{}, err
	}
	defer l.mu.Unlock()
	if err := errors.Join(v.mayGoOn(l.release), l.receiver(q.Kind, q.Receiver)); err != nil {
		v.cfg.Log.Error("export refused", "lot", q.Lot, "err", err)
		return bus.ExportReply{}, err
	}
	reply := bus.ExportReply{Results: make([]bus.ExportResult, len(q.Items))}
	claims, err := l.goodUnits(cp, q)
	if err != nil {
		v.cfg.Log.Error("export refused", "lot", q.Lot, "err", err)
		return bus.ExportReply{}, err
	}
	var o output
	if q.Kind == bus.ExportOutput {
		secret.Do(func() { o, err = v.beginOutput(ctx, l, q.Key, &reply) })
		defer o.wipe()
		if err != nil {
			return bus.ExportReply{}, err
		}
	}
	if q.Kind == bus.ExportOperational {
		if reply.KCV, err = v.checkValue(ctx, l.second.out, l.second.layout); err != nil {
			return bus.ExportReply{}, err
		}
	}
	for i, c := range claims {
		secret.Do(func() { reply.Results[i], err = v.exportUnit(ctx, l, q.Kind, c, q.Items[i], o) })
		var no refusal
		if errors.As(err, &no) {
			v.cfg.Log.Error("export refused", "lot", q.Lot, "err", err)
			err = bus.Refuse(bus.FaultRefused, "%v", no)
		}
		if err != nil {
			return bus.ExportReply{}, fmt.Errorf("exporting unit %d of lot %q: %w", c.Unit, q.Lot, err)
		}
	}
	if err := v.letOut(ctx, l.release); err != nil {
		v.cfg.Log.Error("export refused", "lot", q.Lot, "err", err)
		return bus.ExportReply{}, err
	}
	return reply, nil
}

// letOut decides that an export's result leaves: not that of a process that was overtaken while the HSM worked, nor what was frozen
// meanwhile; and no freeze is said to be heard while it is decided.
func (v *Vault) letOut(ctx context.Context, r statement.Release) error {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return err
	}
	v.answering.RLock()
	defer v.answering.RUnlock()
	if err := v.mayGoOn(r); err != nil {
		return err
	}
	v.cfg.Log.Info("units exported", "lot", r.Lot, "order", r.Order)
	return nil
}

// receiver accepts the one that the officers released.
func (l *lot) receiver(kind bus.ExportKind, to perso.Name) error {
	want := l.release.SMSR
	switch kind {
	case bus.ExportEIS, bus.ExportSign:
		if !l.release.EUICC() {
			return bus.Refuse(bus.FaultRefused, "lot %q has no eUICC, and so no EIS", l.release.Lot)
		}
	case bus.ExportOutput:
		want = l.release.Delivery
	case bus.ExportOperational:
		if l.second == nil {
			return bus.Refuse(bus.FaultRefused, "lot %q has no operational profile", l.release.Lot)
		}
		want = l.release.Operational.Delivery
	default:
		return bus.Refuse(bus.FaultBadMessage, "export kind %q", kind)
	}
	if to != want {
		return bus.Refuse(bus.FaultRefused, "receiver %q was not released for lot %q", to, l.release.Lot)
	}
	return nil
}

// goodUnits proves each item; a unit comes once.
func (l *lot) goodUnits(cp checkpoint.Checkpoint, q bus.ExportRequest) ([]entry.Claim, error) {
	claims := make([]entry.Claim, len(q.Items))
	inRequest := map[perso.Unit]bool{}
	for i, item := range q.Items {
		c, err := l.proveGood(cp, item)
		if err != nil {
			return nil, bus.Refuse(bus.FaultRefused, "item %d: %v", i, err)
		}
		if inRequest[c.Unit] {
			return nil, bus.Refuse(bus.FaultRefused, "unit %d twice", c.Unit)
		}
		inRequest[c.Unit], claims[i] = true, c
	}
	return claims, nil
}

// proveGood reads a claim whose good outcome stands in the log, and which this vault found good.
func (l *lot) proveGood(cp checkpoint.Checkpoint, item bus.ExportItem) (entry.Claim, error) {
	c, err := l.proveClaim(cp, item.Claim)
	if err != nil {
		return c, err
	}
	if err := proven(cp, item.Outcome); err != nil {
		return c, refuse("proving outcome: %v", err)
	}
	o, err := entry.ParseOutcome(item.Outcome.Entry)
	switch {
	case err != nil:
		return c, refuse("%v", err)
	case item.Outcome.Seq <= item.Claim.Seq:
		return c, refuse("outcome was logged before its claim")
	case o.Lot != c.Lot || o.Unit != c.Unit || o.Gen != c.Gen || o.EID != c.EID || o.Chip != c.Chip:
		return c, refuse("outcome is of another claim")
	case o.Verdict != perso.VerdictGood || o.Receipt == [32]byte{}:
		return c, refuse("unit %d generation %d ended %q", c.Unit, c.Gen, o.Verdict)
	}
	switch good, withCert, err := l.seen.proven(c, entry.Hash(item.Claim.Entry), o.Cert); {
	case err != nil:
		return c, err
	case !good:
		return c, refuse("unit %d generation %d is good in the log, but did not prove it here", c.Unit, c.Gen)
	case !withCert:
		return c, refuse("outcome names another certificate than the one that unit %d proved itself with", c.Unit)
	}
	return c, errors.Join(l.proveKi(c, item.Ki), l.proveRow(c.Unit, item.Customer), signedFacts(c, o.Cert, item.Signed))
}

// signedFacts checks that what is to be signed speaks of the unit: its EID and the certificate on its chip.
func signedFacts(c entry.Claim, cert [32]byte, signed []byte) error {
	if len(signed) == 0 {
		return nil
	}
	f, err := eis.ParseEumSignedInfo(signed)
	if err != nil {
		return refuse("%v", err)
	}
	if f.EID != c.EID || sha256.Sum256(f.ECASD.Certificate()) != cert {
		return refuse("EumSignedInfo is of another eUICC or certificate than %s", c.EID)
	}
	return nil
}

// signEIS signs the SignedInfo that belongs to an EumSignedInfo.
func (v *Vault) signEIS(ctx context.Context, signed []byte) (bus.ExportResult, error) {
	if len(signed) == 0 {
		return bus.ExportResult{}, bus.Refuse(bus.FaultBadMessage, "no EumSignedInfo to sign")
	}
	digest := sha256.Sum256(eis.SignedInfo(sha256.Sum256(signed)))
	sig, err := v.cfg.Token.SignDigest(ctx, v.cfg.Keys.EIS, digest[:])
	return bus.ExportResult{Signature: sig}, err
}
