// Package journal keeps the vault's few files: its receipts (Journal), what it must never forget (Memory, with the life that it is in), and the sealed
// operator keys (OPFolder). None of them holds a clear secret.
//
// A journal is a folder with one file per lot. Each Append is one frame: magic, length, CRC-32C, then the records with
// their lengths, and one fsync. A frame that was cut off by a crash at the end of a file is dropped when the file is next
// read, since nobody was told of it; a broken frame with a good one behind it is ErrCorrupt. One process at a time has the
// folder: Open takes a lock.
//
// Callers: perso/cmd and keygen/ceremony. The types satisfy keygen.Journal, keygen.Memory and keygen.OPStore.
package journal
