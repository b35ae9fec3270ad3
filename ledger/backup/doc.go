// Package backup keeps a ledger from being lost: it writes all of a ledger's tables, as they are at one moment, into a folder that can
// be verified without the ledger, and makes a ledger of it again.
//
// A backup is logical, and the same for every database that the ledger knows: it is read through the seam in one snapshot, while the
// ledger works, and restored into any. It is complete by construction: what there is comes from the migrations. It carries
// the log's size and root and its last signed checkpoint, so that verifying it is verifying the log.
//
// A backup alone would put the ledger back, which the log vault does not stand: it signs no history but the one that it signed last. So
// a restored ledger goes on from the backup by the redo log (ledger/internal/redo), which holds every transaction that was ever told
// to anybody; no entry is lost, and the log has no second history. RESTORE.md in the folder above says what people do.
//
// Contract. Take gives a folder whose files are durable and verified, or an error and no folder. Restore gives a database file that
// was not there before, whole and synced, or none. Both may be killed at any moment and run again. Nothing here is secret, but all
// of it is as confidential as the ledger is, and what is sealed in the ledger is sealed here.
//
// perso/cmd calls it. The form of the files is in ledger/FORMAT.md, section 10.
package backup
