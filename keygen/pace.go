package keygen

import (
	"time"

	"github.com/persoline/persoline/perso/bus"
)

// DefaultActsPerSecond is what one lot may ask for when nothing else is configured: some twelve hundred cards a second, more than
// a hall of the fastest lines needs, and too little to walk through a lot's identities unnoticed.
const DefaultActsPerSecond = 5_000

// paceBurst is how many seconds' worth may come at once: what waited while the vault was away.
const paceBurst = 4

// pace bounds the acts of one lot in time. Who owns the ledger can ask for any act that a log shows; he is to be slow enough for
// people to see him.
type pace struct {
	left float64 // acts that may come now
	at   time.Time
}

// allow takes n acts from what the time since has brought. A clock that goes back brings nothing.
func (p *pace) allow(now time.Time, perSecond, n int) bool {
	most := float64(paceBurst * perSecond)
	switch passed := now.Sub(p.at); {
	case p.at.IsZero():
		p.left = most
	case passed > 0:
		p.left = min(most, p.left+passed.Seconds()*float64(perSecond))
	}
	if p.at.Before(now) {
		p.at = now
	}
	if p.left < float64(n) {
		return false
	}
	p.left -= float64(n)
	return true
}

// keepPace refuses a batch that comes too soon; the ledger asks again.
func (v *Vault) keepPace(l *lot, n int) error {
	limit := v.cfg.ActsPerSecond
	if limit == 0 {
		limit = DefaultActsPerSecond
	}
	if l.pace.allow(v.cfg.Now(), limit, n) {
		return nil
	}
	v.cfg.Log.Error("too many acts of one lot", "lot", l.release.Lot)
	return bus.Refuse(bus.FaultBusy, "lot %q asks for more than %d acts a second", l.release.Lot, limit)
}
