// Package ledger is the truth of the factory (I3): orders, lots, stock, claims, acts, outcomes, and the log that proves them.
//
// Its contract is one sentence: nobody hears yes before the transaction that makes it true, log entry included, has
// committed (I4, I5). Everything else, bus, screens, exports, can be lost and is made again from here.
//
// The functions are synchronous, start no goroutine and read no clock of their own; they may be called from many
// goroutines at once, and calls that arrive together share one transaction, one checkpoint and one request to the vault.
// Several processes may work on one database server: Batch says how they take turns. ledger/service puts them on the bus; perso/sim drives them in one goroutine. The package imports neither the vault nor
// the line: it knows them as the interfaces below and as messages of perso/bus.
package ledger
