package bus

import "github.com/persoline/persoline/perso"

// Here is what a process says on the subject of what it is, so that no two are the same vault, or ledgers of two databases,
// without hearing of it. It is said at the start, now and then, and to whoever may not be there.
type Here struct {
	Instance [16]byte `cbor:"1,keyasint"` // drawn at the start
	Since    int64    `cbor:"2,keyasint"` // microseconds since 1970, by its own clock
	Settled  bool     `cbor:"3,keyasint,omitempty"`
	Host     string   `cbor:"4,keyasint"` // for people
	PID      int64    `cbor:"5,keyasint"`
	// Not is whom this is said against: an instance that is not of this one's kind, and has to go.
	Not [16]byte `cbor:"6,keyasint"`
}

// HereVault is where the processes of one vault would meet.
func HereVault(vault perso.Name) string { return prefix + "here.vault." + string(vault) }

// HereLedger is where a site's ledgers meet.
const HereLedger = prefix + "here.ledger"
