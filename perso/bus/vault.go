package bus

import (
	"time"

	"github.com/persoline/persoline/perso"
)

// VaultInfoReply says who the vault is: public facts only.
type VaultInfoReply struct {
	Env      perso.Env  `cbor:"1,keyasint"`
	Vault    perso.Name `cbor:"2,keyasint"`
	Origin   string     `cbor:"3,keyasint"` // of the log it signs
	LogKey   []byte     `cbor:"4,keyasint"`
	StmtKey  []byte     `cbor:"5,keyasint"`
	EUMCert  []byte     `cbor:"6,keyasint"` // DER
	EISCert  []byte     `cbor:"7,keyasint"` // DER
	Register [32]byte   `cbor:"8,keyasint"` // pinned genesis hash
	LogSize  int64      `cbor:"9,keyasint"` // last signed
	LogRoot  [32]byte   `cbor:"10,keyasint"`
}

// AssignLotRequest asks the log vault to give a lot to a vault of the site, for good.
type AssignLotRequest struct {
	Register [][]byte   `cbor:"1,keyasint"` // encoded statements, genesis first
	Release  []byte     `cbor:"2,keyasint"` // encoded signed release
	Vault    perso.Name `cbor:"3,keyasint"` // whom the ledger has in mind
	Birth    [16]byte   `cbor:"4,keyasint"` // of that vault, by its FollowReply; the log vault knows its own
}

// AssignLotReply is the log vault's word. Vault is not the one asked for when the lot was given to another one before.
type AssignLotReply struct {
	Lot      perso.Name `cbor:"1,keyasint"`
	Vault    perso.Name `cbor:"2,keyasint"`
	Assigned []byte     `cbor:"3,keyasint"` // a statement.Assigned, signed by the statement key
}

// OpenLotRequest hands the vault what it needs to check the officers' word for itself. Asked again it does nothing.
type OpenLotRequest struct {
	Register [][]byte `cbor:"1,keyasint"` // encoded statements, genesis first
	Release  []byte   `cbor:"2,keyasint"` // encoded signed release
	Script   []byte   `cbor:"3,keyasint"` // compiled; its hash must be the released one
	Assigned []byte   `cbor:"4,keyasint"` // the log vault's word that the lot is this vault's; the log vault needs none
	// Packages are the prepared profile packages, in the release's order; their hashes must be the released ones.
	Packages [][]byte `cbor:"5,keyasint,omitempty"`
}

// OpenLotReply confirms.
type OpenLotReply struct {
	Lot     perso.Name `cbor:"1,keyasint"`
	Created bool       `cbor:"2,keyasint"` // the lot key was generated now
}

// VaultChallengesRequest asks for the challenges of a range of serial numbers: a function of lot key and number.
type VaultChallengesRequest struct {
	Lot   perso.Name `cbor:"1,keyasint"`
	First uint64     `cbor:"2,keyasint"`
	Count uint16     `cbor:"3,keyasint"`
}

// VaultChallengesReply gives 8 bytes for each.
type VaultChallengesReply struct {
	Values Chunks `cbor:"1,keyasint"`
}

// CheckpointRequest asks the vault to sign the log's new size and root. Proof is consistency from the vault's last size.
type CheckpointRequest struct {
	Old   int64    `cbor:"1,keyasint"` // the size that the proof starts from
	Size  int64    `cbor:"2,keyasint"`
	Root  [32]byte `cbor:"3,keyasint"`
	Proof Proof    `cbor:"4,keyasint"`
}

// CheckpointReply holds the signed note; when Old was not the vault's last size, Note is empty and Last says what to prove from.
// Held is then the note of Last, if the vault still has it: of several ledger processes, who comes second is served with what
// the first had signed.
type CheckpointReply struct {
	Note []byte `cbor:"1,keyasint,omitempty"`
	Last int64  `cbor:"2,keyasint"`
	Held []byte `cbor:"3,keyasint,omitempty"`
}

// FollowRequest shows a vault that does not sign the log a checkpoint that the log vault signed. Proof is consistency between
// it and the last one that the vault was shown, whichever is smaller first.
type FollowRequest struct {
	Note  []byte `cbor:"1,keyasint"`
	Last  int64  `cbor:"2,keyasint"` // the size that the proof leads from, or to
	Proof Proof  `cbor:"3,keyasint"`
}

// FollowReply says whether the vault takes requests against the checkpoint now. When it does not, Last was not its last
// size, and the reply's is.
type FollowReply struct {
	Taken bool     `cbor:"1,keyasint,omitempty"`
	Last  int64    `cbor:"2,keyasint"`
	Birth [16]byte `cbor:"3,keyasint"` // of the vault: lots are given to it, not to its name alone
}

// HeedRequest tells a vault what officers said of the whole site: the officer register's statements, its genesis first, and what is
// frozen and let go on, in the order of the log. At most MaxBatch at once, and no more than one message takes.
type HeedRequest struct {
	Known uint64   `cbor:"1,keyasint"` // how many of them the vault knows: Words follow on those
	Words [][]byte `cbor:"2,keyasint"` // encoded signed statements
	Chain [32]byte `cbor:"3,keyasint"` // of those that it knows (statement.Words)
}

// HeedReply says how many the vault knows now. When they were not taken it knew another number, or others: Same tells which, and the
// words from there on are what it is to be told.
type HeedReply struct {
	Taken bool     `cbor:"1,keyasint,omitempty"`
	Known uint64   `cbor:"2,keyasint"`
	Same  bool     `cbor:"3,keyasint,omitempty"` // the first ones that it heard are those of the request's Known and Chain
	Next  [32]byte `cbor:"4,keyasint"`           // hash of the statement that it heard after the request's Known; zero when it heard none
}

// Proven is a log entry with its place in the checkpoint that comes with the request.
type Proven struct {
	Entry []byte `cbor:"1,keyasint"`
	Seq   int64  `cbor:"2,keyasint"`
	Proof Proof  `cbor:"3,keyasint"`
}

// Stored is what the ledger keeps in the claim because it cannot be computed again.
type Stored struct {
	Cert []byte `cbor:"1,keyasint,omitempty"` // whole 7F21 of the current key pair
	Key  []byte `cbor:"2,keyasint,omitempty"` // its public point, 65 bytes
	Ki   []byte `cbor:"3,keyasint,omitempty"` // random Ki, sealed for this claim (keygen/KEYTREE.md)
	Pair []byte `cbor:"4,keyasint,omitempty"` // private key of Key where the HSM made it, sealed for one session; gone at the verdict
}

// CustomerKi is a unit's row in the file of Ki that the customer sent, with its proof in the released file.
type CustomerKi struct {
	Row   []byte `cbor:"1,keyasint"` // kifile.Row
	Proof Proof  `cbor:"2,keyasint"`
}

// CheckKiRequest asks which of at most MaxBatch rows of a customer's file have a Ki that fits its check value. It concerns no
// lot: a file is checked before its order is accepted. The rows of a file come in order, from row 0 on.
type CheckKiRequest struct {
	ReceiveKey perso.Name `cbor:"1,keyasint"`
	Mode       string     `cbor:"2,keyasint"` // kifile.Mode
	Rows       Chunks     `cbor:"3,keyasint"` // kifile.Row
	Order      string     `cbor:"4,keyasint"`
	First      uint32     `cbor:"5,keyasint"` // number of the first row
}

// CheckKiReply names those that do not, by their place in the request. Nothing else of a Ki leaves the vault.
type CheckKiReply struct {
	Wrong []uint16 `cbor:"1,keyasint,omitempty"`
}

// KeepKiRequest asks that the file whose rows went through CheckKi be known from here on, if none of its Ki is known before.
type KeepKiRequest struct {
	Order string   `cbor:"1,keyasint"`
	Root  [32]byte `cbor:"2,keyasint"`
	Rows  uint64   `cbor:"3,keyasint"`
}

// KeepKiReply names the rows whose Ki is another row's too, of this order or one before. When there are any nothing is kept.
type KeepKiReply struct {
	Same  []SameKi `cbor:"1,keyasint,omitempty"` // the first so many
	Count uint64   `cbor:"2,keyasint,omitempty"` // of all
}

// SameKi says that a row's Ki is that of row There of an order.
type SameKi struct {
	Row   uint32 `cbor:"1,keyasint"`
	Order string `cbor:"2,keyasint"`
	There uint32 `cbor:"3,keyasint"`
}

// DropKiRequest says that an order whose Ki were kept was not accepted after all.
type DropKiRequest struct {
	Order string `cbor:"1,keyasint"`
}

// ServeItem is one act to serve. The answer is a function of it, of the release and of the HSM's keys.
type ServeItem struct {
	Claim     Proven      `cbor:"1,keyasint"`
	Loss      *Proven     `cbor:"2,keyasint,omitempty"` // outcome that ended the generation before
	Act       Proven      `cbor:"3,keyasint"`           // the act's own log entry
	Command   []byte      `cbor:"4,keyasint"`           // as in ActRequest
	Answer    []byte      `cbor:"5,keyasint"`
	Responses Chunks      `cbor:"6,keyasint"`           // for act 0 the identify answers
	State     []byte      `cbor:"7,keyasint,omitempty"` // as the vault returned it for act n-1
	Stored    Stored      `cbor:"8,keyasint"`
	At        time.Time   `cbor:"9,keyasint"`            // the ledger's stamp of the act
	Customer  *CustomerKi `cbor:"10,keyasint,omitempty"` // of a lot with the customer's own Ki
}

// ServeRequest is a batch against one signed checkpoint.
type ServeRequest struct {
	Lot        perso.Name  `cbor:"1,keyasint"`
	Checkpoint []byte      `cbor:"2,keyasint"`
	Items      []ServeItem `cbor:"3,keyasint"`
}

// ServeResult is the vault's answer to one item: exactly one of Window, Sealed, Good, Failed, Refused.
type ServeResult struct {
	Window  Window  `cbor:"1,keyasint"`
	State   []byte  `cbor:"2,keyasint,omitempty"` // sealed for the session; the line brings it back with the next act
	Stored  *Stored `cbor:"3,keyasint,omitempty"` // new: must be in the claim before the window leaves the ledger
	Good    bool    `cbor:"4,keyasint,omitempty"` // the product's proof is verified
	Failed  *Failed `cbor:"5,keyasint,omitempty"` // the chip's answers do not fit
	Refused string  `cbor:"6,keyasint,omitempty"` // the vault will not serve this: an alarm
	Receipt []byte  `cbor:"7,keyasint,omitempty"`
	Final   bool    `cbor:"8,keyasint,omitempty"` // with a window: the next act brings the verdict
	// Sealed is the window of a chip without a secure channel, sealed to the key that opened the session (perso/sealing).
	Sealed []byte `cbor:"9,keyasint,omitempty"`
}

// Failed says where a chip went wrong. Secrets tells whether a secret of this claim may have reached it.
type Failed struct {
	Reason  perso.Reason `cbor:"1,keyasint"`
	Step    string       `cbor:"2,keyasint"`
	SW      uint16       `cbor:"3,keyasint"`
	Again   bool         `cbor:"4,keyasint"` // another contact of the same chip may mend it
	Secrets bool         `cbor:"5,keyasint"`
}

// ServeReply answers item by item.
type ServeReply struct {
	Results []ServeResult `cbor:"1,keyasint"`
}

// ExportKind says what an export is for.
type ExportKind string

// The export kinds.
const (
	ExportEIS    ExportKind = "eis"    // ISD-R keys under the SM-SR's wrap key
	ExportSign   ExportKind = "sign"   // EumSignature over each EumSignedInfo
	ExportOutput ExportKind = "output" // Ki, OPc and codes, of SIMs also OTA keys, of a package what else it took, under the transport key K4
	// ExportOperational is the same of the operational profile, under its own operator's transport key.
	ExportOperational ExportKind = "operational"
)

// ExportItem is one good unit with the proof that it is good.
type ExportItem struct {
	Claim    Proven      `cbor:"1,keyasint"`
	Outcome  Proven      `cbor:"2,keyasint"`
	Signed   []byte      `cbor:"3,keyasint,omitempty"` // for ExportSign: the canonical EumSignedInfo
	Ki       []byte      `cbor:"4,keyasint,omitempty"` // as the claim keeps it
	Customer *CustomerKi `cbor:"5,keyasint,omitempty"` // of a lot with the customer's own Ki
}

// ExportRequest asks for one batch to the receiver that the release names; any other receiver is refused.
type ExportRequest struct {
	Lot        perso.Name   `cbor:"1,keyasint"`
	Kind       ExportKind   `cbor:"2,keyasint"`
	Receiver   perso.Name   `cbor:"3,keyasint"`
	Checkpoint []byte       `cbor:"4,keyasint"`
	Items      []ExportItem `cbor:"5,keyasint"`
	// Key is the receiver's public key (SubjectPublicKeyInfo) of an envelope; the release names its fingerprint.
	Key []byte `cbor:"6,keyasint,omitempty"`
}

// WrappedKey is one key under the receiver's key, with its check value.
type WrappedKey struct {
	// Name is KI, OPC, PIN1, …, OTA.KIC …, or a place of a profile package (sd.01.01, ADM2); of an envelope CREDENTIALS and CODES, of
	// SIMs also OTA, of a profile that came in a package also PROFILE.
	Name  string `cbor:"1,keyasint"`
	Value []byte `cbor:"2,keyasint"`
	KCV   []byte `cbor:"3,keyasint,omitempty"`
	Kind  string `cbor:"4,keyasint,omitempty"` // of a place of a package: aes-128, 3des-2key, code, …
}

// ExportResult is one unit's keys, or its signature (raw r‖s).
type ExportResult struct {
	Keys      []WrappedKey `cbor:"1,keyasint,omitempty"`
	Signature []byte       `cbor:"2,keyasint,omitempty"`
}

// EnvelopeHead is what all units of a lot share in an envelope.
type EnvelopeHead struct {
	Vendor    [32]byte `cbor:"1,keyasint"` // SHA-256 of the maker's SubjectPublicKeyInfo
	Sealed    []byte   `cbor:"2,keyasint"` // session keys under the receiver's key
	Signature []byte   `cbor:"3,keyasint"` // the maker's, over Sealed
}

// ExportReply answers item by item.
type ExportReply struct {
	Results  []ExportResult `cbor:"1,keyasint"`
	Envelope *EnvelopeHead  `cbor:"2,keyasint,omitempty"` // of the envelope layout
	KCV      []byte         `cbor:"3,keyasint,omitempty"` // of the receiver's symmetric key, by its kind
}

// ReceiptsRequest asks for receipts of a lot from a sequence number, and for the signed head.
type ReceiptsRequest struct {
	Lot  perso.Name `cbor:"1,keyasint"`
	From uint64     `cbor:"2,keyasint"`
}

// ReceiptsReply holds encoded receipts in order; Head and Signature come with the last portion.
type ReceiptsReply struct {
	Vault     perso.Name `cbor:"1,keyasint"`
	Receipts  [][]byte   `cbor:"2,keyasint"`
	Head      []byte     `cbor:"3,keyasint,omitempty"` // encoded entry.ReceiptHead
	Signature []byte     `cbor:"4,keyasint,omitempty"` // Ed25519 by the statement key
}

// SealBundleRequest asks the statement key to sign an audit bundle's manifest (text, SHA-256 per file).
type SealBundleRequest struct {
	Lot      perso.Name `cbor:"1,keyasint"`
	Manifest []byte     `cbor:"2,keyasint"`
}

// SealBundleReply is the Ed25519 signature over the manifest bytes.
type SealBundleReply struct {
	Signature []byte `cbor:"1,keyasint"`
}

// DestroyLotRequest asks for the destruction of a lot's key, with the officers' words and their places in the log.
type DestroyLotRequest struct {
	Register   [][]byte `cbor:"1,keyasint"` // encoded statements, genesis first
	Release    []byte   `cbor:"2,keyasint"` // encoded signed statements
	Close      []byte   `cbor:"3,keyasint"`
	Destroy    []byte   `cbor:"4,keyasint"`
	Checkpoint []byte   `cbor:"5,keyasint"`
	Closed     Proven   `cbor:"6,keyasint"` // log entries that name Close and Destroy
	Ordered    Proven   `cbor:"7,keyasint"`
}

// DestroyLotReply holds the certificate of deletion: a statement.Destroyed, signed by the vault's statement key.
type DestroyLotReply struct {
	Lot         perso.Name `cbor:"1,keyasint"`
	Certificate []byte     `cbor:"2,keyasint"`
}

// AbandonRequest hands the vault the word of two officers that a unit in work is given up, with the places of the unit's claim
// and of that word in the log.
type AbandonRequest struct {
	Lot        perso.Name `cbor:"1,keyasint"`
	Register   [][]byte   `cbor:"2,keyasint"` // encoded statements, genesis first
	Lost       []byte     `cbor:"3,keyasint"` // encoded signed statement.Lost
	Checkpoint []byte     `cbor:"4,keyasint"`
	Claim      Proven     `cbor:"5,keyasint"`
	Ordered    Proven     `cbor:"6,keyasint"` // the log entry that names Lost
}

// AbandonReply holds the receipt that ends the unit: with result "abandoned", or the one with which the vault called it good before.
type AbandonReply struct {
	Good    bool   `cbor:"1,keyasint,omitempty"`
	Receipt []byte `cbor:"2,keyasint"`
}
