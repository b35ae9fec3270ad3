// Package transcript is the record of key ceremonies: the order that officers sign before anything is done, the steps as
// they were taken, the end that they sign afterwards, and the key inventory that follows from a chain of such records.
//
// It exists so that the vault, which carries a ceremony out, and the auditor, who never meets the vault, read the same
// bytes with the same code. Nothing here knows a key, a token or a file; times and bytes come in from the caller. Any zone
// may call it; keygen/ceremony/conduct writes what is read here.
//
// Contract: a File is accepted only as a whole. Its register statements lead to a genesis hash that the reader knows from
// elsewhere, two officers of different person and role signed the order, each step names the hash of what stands before
// it, and everybody who was present signed the end, whose chain reaches back to the order. A File names the end of the
// ceremony before it, so that none can be left out, and the life of every key is replayed: a step that a key's state does
// not allow refuses the File. Format: keygen/ceremony/CEREMONY.md.
package transcript
