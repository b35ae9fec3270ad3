// Package layout says where things lie in an audit bundle: its file names, its manifest, its seal, and how receipts are
// strung together. The writer (ledger/bundle) and the offline auditor (ledger/audit) agree through it and share nothing
// else, so that an auditor reads no writer's code. It does no I/O of its own. Format: ledger/FORMAT.md.
package layout

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
)

// Names of single files and folders.
const (
	Manifest   = "manifest"       // a line for every file but these three
	Seal       = "seal"           // record of kind bundle-seal: whose bundle it is, and the manifest's hash
	SealSig    = "seal.sig"       // 128 hex digits and a newline: Ed25519 of the statement key over the seal
	Checkpoint = "log/checkpoint" // signed note
	LogPrefix  = "log/"           // followed by a path of ledger/internal/tree/tilepath
	EUMCert    = "certs/eum.der"
	EISCert    = "certs/eis.der"
)

const (
	registerPrefix  = "register/"
	statementPrefix = "statements/"
	statementSuffix = ".statement"
	receiptsPrefix  = "receipts/"
	exportsPrefix   = "exports/"
)

// MaxRegister bounds the officer register's chain: three digits name its files.
const MaxRegister = 1000

// Register is the file of the register's statement i, the genesis being 0.
func Register(i int) string { return fmt.Sprintf("%s%03d%s", registerPrefix, i, statementSuffix) }

// IsRegister reports whether a path is of the register's folder.
func IsRegister(path string) bool { return strings.HasPrefix(path, registerPrefix) }

// IsStatement reports whether a path is of an opened statement.
func IsStatement(path string) bool { return strings.HasPrefix(path, statementPrefix) }

// Statement is the file of an opened statement: officers' words on a lot, named by their hash.
func Statement(hash [32]byte) string {
	return statementPrefix + hex.EncodeToString(hash[:]) + statementSuffix
}

// Receipts, ReceiptHead and ReceiptHeadSig are the files of one vault's receipts of one lot. Names hold no dot.
func Receipts(vault, lot perso.Name) string {
	return receiptsPrefix + string(vault) + "." + string(lot) + receiptsSuffix
}

// ReceiptHead is the file of the chain's signed head.
func ReceiptHead(vault, lot perso.Name) string {
	return receiptsPrefix + string(vault) + "." + string(lot) + ".head"
}

// ReceiptHeadSig is the file of its signature: 128 hex digits and a newline.
func ReceiptHeadSig(vault, lot perso.Name) string { return ReceiptHead(vault, lot) + ".sig" }

const receiptsSuffix = ".receipts"

// ParseReceipts reads vault and lot from the name of a receipts file.
func ParseReceipts(path string) (vault, lot perso.Name, ok bool) {
	name, ok := strings.CutPrefix(path, receiptsPrefix)
	name, isFile := strings.CutSuffix(name, receiptsSuffix)
	v, l, dot := strings.Cut(name, ".")
	if !ok || !isFile || !dot {
		return "", "", false
	}
	vault, err := perso.ParseName(v)
	if err != nil {
		return "", "", false
	}
	lot, err = perso.ParseName(l)
	return vault, lot, err == nil
}

// Export is the file of an export's manifest: the hashes of what was delivered.
func Export(lot perso.Name, what string) string {
	return exportsPrefix + string(lot) + "." + what + ".manifest"
}
