package entry

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of vault records that stand beside the log.
const (
	KindReceipt     = "receipt"
	KindReceiptHead = "receipt-head"
)

// What a receipt says that a chip's act came to, but for the reasons of failures.
const (
	ResultScript = "script" // a window left
	ResultGood   = "good"   // the vault called the claim good, once for ever
	// ResultGoodAgain is the result of an act that proved a claim good that has a receipt with ResultGood. What was answered is that receipt.
	ResultGoodAgain = "good-again"
)

// ResultAbandoned is the result of a receipt for no act: two officers gave the unit up, and the vault never calls it good. Responses
// is the hash of their statement then, At the time of its log entry, N is 0, and Output is zero.
const ResultAbandoned = "abandoned"

// Receipt is the vault's own record of one served act. Receipts of a vault and lot form a gap-free hash chain from Seq 0;
// the MAC is by an HSM key, and the chain's head is signed when the lot is handed over, so that an auditor can match
// receipts and log one to one without a secret.
type Receipt struct {
	Vault     perso.Name
	Lot       perso.Name
	Seq       uint64
	Prev      [32]byte // hash of the receipt before it, zero for Seq 0
	Unit      perso.Unit
	Gen       perso.Generation
	Claim     [32]byte // hash of the claim entry it was served against
	Session   perso.Session
	N         uint8
	Responses [32]byte
	Result    string   // one of the results above, or the reason of a failure
	Output    [32]byte // hash of the script window that left, zero when none
	At        time.Time
	MAC       [32]byte
}

func (e Receipt) writer() *record.Writer {
	w := record.New(KindReceipt).Str("vault", string(e.Vault)).Str("lot", string(e.Lot)).Uint("seq", e.Seq).Hex("prev", optional(e.Prev)).
		Uint("unit", uint64(e.Unit)).Uint("gen", uint64(e.Gen)).Hex("claim", e.Claim[:]).Hex("session", e.Session[:]).Uint("n", uint64(e.N)).
		Hex("responses", e.Responses[:])
	return w.Str("result", e.Result).Hex("output", optional(e.Output)).Time("at", e.At)
}

// Signable is what the MAC covers: the record without its last line.
func (e Receipt) Signable() ([]byte, error) { return e.writer().Bytes() }

// Encode gives the canonical bytes.
func (e Receipt) Encode() ([]byte, error) { return e.writer().Hex("mac", e.MAC[:]).Bytes() }

// ParseReceipt reads a receipt.
func ParseReceipt(b []byte) (Receipt, error) {
	r, err := record.Parse(b, KindReceipt)
	if err != nil {
		return Receipt{}, parsing(KindReceipt, err)
	}
	var e Receipt
	e.Vault = r.Name("vault")
	e.Lot = r.Name("lot")
	e.Seq, e.Prev = r.Uint("seq", 48), r.OptHash("prev")
	e.Unit, e.Gen = perso.Unit(r.Uint("unit", 32)), perso.Generation(r.Uint("gen", 8))
	e.Claim, e.Session, e.N = r.Hash("claim"), r.Hash("session"), uint8(r.Uint("n", 8))
	e.Responses, e.Result, e.Output = r.Hash("responses"), r.Raw("result"), r.OptHash("output")
	e.At, e.MAC = r.Time("at"), r.Hash("mac")
	return e, done(r, KindReceipt)
}

// ReceiptHead is the vault's signed word on how many receipts a lot has and where their chain ends.
type ReceiptHead struct {
	Env   perso.Env
	Vault perso.Name
	Lot   perso.Name
	Count uint64
	Head  [32]byte // hash of the last receipt
	At    time.Time
}

// Encode gives the body that the statement key signs.
func (e ReceiptHead) Encode() ([]byte, error) {
	return record.New(KindReceiptHead).Str("env", string(e.Env)).Str("vault", string(e.Vault)).Str("lot", string(e.Lot)).
		Uint("count", e.Count).Hex("head", optional(e.Head)).Time("at", e.At).Bytes()
}

// ParseReceiptHead reads a receipt head.
func ParseReceiptHead(b []byte) (ReceiptHead, error) {
	r, err := record.Parse(b, KindReceiptHead)
	if err != nil {
		return ReceiptHead{}, parsing(KindReceiptHead, err)
	}
	var e ReceiptHead
	e.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	e.Vault = r.Name("vault")
	e.Lot = r.Name("lot")
	e.Count, e.Head, e.At = r.Uint("count", 48), r.OptHash("head"), r.Time("at")
	return e, done(r, KindReceiptHead)
}

// SessionOf names the channel that an INITIALIZE UPDATE command and its whole answer (with status) opened.
func SessionOf(command, answer []byte) perso.Session {
	return perso.Session(hashParts("persoline/1 session", command, answer))
}

// ResponsesHash is the fingerprint of the answers of one act, lengths included so that no two splits collide.
func ResponsesHash(responses [][]byte) [32]byte {
	return hashParts("persoline/1 responses", responses...)
}

func hashParts(label string, parts ...[]byte) (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte(label))
	var n [4]byte
	for _, p := range parts {
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}
