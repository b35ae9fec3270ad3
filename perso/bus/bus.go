// Package bus is what the zones say to one another: versioned messages, subject names, and the three small interfaces
// through which they are carried. The bus is transport, never truth (I3): any message may be lost, doubled or late, and
// every handler must bear that.
//
// Messages are CBOR with integer keys, decoded strictly and within limits. Line and ledger, and ledger and vault, talk by
// request and reply in queue groups; work orders travel on a JetStream work queue. bus/natsbus carries it over nats.go;
// bus/bustest is the conformance suite that every carrier passes.
package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/persoline/persoline/perso"
)

// MaxMessageBytes bounds one message: script windows and batches stay within it, below the server's 1 MiB default.
const MaxMessageBytes = 900 << 10

// MaxBatch bounds the items of one batched request; the ledger commits at most as many together.
const MaxBatch = 256

// ErrNoAnswer means that nobody answered in time: the request may or may not have been carried out.
var ErrNoAnswer = errors.New("no answer on the bus")

// Requester asks a service and waits for its answer.
type Requester interface {
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
}

// Handler answers one request. An error becomes a Fault in the reply; it must hold no secret.
type Handler func(ctx context.Context, data []byte) ([]byte, error)

// Server offers handlers. Handlers of one subject in one queue group share the load, each request goes to one of them.
type Server interface {
	Serve(subject, queue string, h Handler) (stop func() error, err error)
}

// Job is one delivered work order. Ack only after its effect is durable.
type Job interface {
	Data() []byte
	Deliveries() uint64
	InProgress() error
	Ack(ctx context.Context) error
	Retry(after time.Duration) error
	Park(ctx context.Context, reason string) error
}

// Queue is a durable work queue with redelivery.
type Queue interface {
	// Put stores a job once: the same id again within the carrier's window is dropped, and consumers bear more.
	Put(ctx context.Context, line perso.Name, id string, data []byte) error
	// Take waits for the line's next job.
	Take(ctx context.Context, line perso.Name) (Job, error)
}

// Store keeps content-addressed blobs that can be put again from the ledger at any time.
type Store interface {
	PutBlob(ctx context.Context, hash [32]byte, data []byte) error
	GetBlob(ctx context.Context, hash [32]byte) ([]byte, error)
}

// Subjects.
const (
	prefix      = "perso."
	QueueLedger = "ledger"
	QueueVault  = "vault"
)

// LineSubject is where a line asks the ledger; verb is one of the Line… verbs. A line's user may publish only below it.
func LineSubject(line perso.Name, verb string) string {
	return prefix + "line." + string(line) + "." + verb
}

// LineWildcard is the ledger's subscription for a verb of every line.
func LineWildcard(verb string) string { return prefix + "line.*." + verb }

// VaultSubject is where the ledger asks one vault of the site, by name: a lot belongs to one of them.
func VaultSubject(vault perso.Name, verb string) string {
	return prefix + "vault." + string(vault) + "." + verb
}

// OfficeSubject is where the office asks the ledger.
func OfficeSubject(verb string) string { return prefix + "office." + verb }

// Verbs of the line towards the ledger.
const (
	LineChallenges = "challenges"
	LineAct        = "act"
	LinePresent    = "present"
	LineBin        = "bin"
	LineCount      = "count"
)

// Verbs of the ledger towards the vault.
const (
	VaultInfo       = "info"
	VaultAssignLot  = "assign-lot"
	VaultOpenLot    = "open-lot"
	VaultChallenges = "challenges"
	VaultCheckpoint = "checkpoint"
	VaultFollow     = "follow"
	VaultHeed       = "heed"
	VaultServe      = "serve"
	VaultExport     = "export"
	VaultReceipts   = "receipts"
	VaultSealBundle = "seal-bundle"
	VaultDestroyLot = "destroy-lot"
	VaultAbandon    = "abandon"
	VaultCheckKi    = "check-ki"
	VaultKeepKi     = "keep-ki"
	VaultDropKi     = "drop-ki"
)

// Fault is a refusal as it travels. Code is for programs, Text for people.
type Fault struct {
	Code FaultCode `cbor:"1,keyasint"`
	Text string    `cbor:"2,keyasint"`
}

// FaultCode is a closed set of refusals.
type FaultCode string

// The fault codes.
const (
	FaultBadMessage FaultCode = "bad-message" // could not be decoded or makes no sense: do not repeat
	FaultNotFound   FaultCode = "not-found"
	FaultRefused    FaultCode = "refused"  // understood and refused
	FaultConflict   FaultCode = "conflict" // the same key with other content
	FaultLotNotOpen FaultCode = "lot-not-open"
	FaultBehind     FaultCode = "behind" // a checkpoint that this vault was not shown the way to: show it (VaultFollow), ask again
	FaultBusy       FaultCode = "busy"   // try again later
	FaultInternal   FaultCode = "internal"
)

// Error lets a Fault travel as an error.
func (f *Fault) Error() string { return string(f.Code) + ": " + f.Text }

// Refuse makes a fault as an error.
func Refuse(code FaultCode, format string, a ...any) error {
	return &Fault{Code: code, Text: fmt.Sprintf(format, a...)}
}

// Reply wraps each answer.
type Reply[T any] struct {
	OK    *T     `cbor:"1,keyasint,omitempty"`
	Fault *Fault `cbor:"2,keyasint,omitempty"`
}

// Codec limits: a batch of 256 items with a proof of 64 hashes each stays well within them.
const (
	maxArrayElements = 131_072
	maxNesting       = 16
)

var (
	encMode = must(encOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxArrayElements: maxArrayElements, MaxNestedLevels: maxNesting,
	}.DecMode())
)

// encOptions keep a time whole: the library's default drops what is below a second, and the vault compares the ledger's
// stamp with the log entry's.
func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339NanoUTC
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants: a fault here is a fault in this file
	}
	return v
}

// Encode writes a message.
func Encode(v any) ([]byte, error) {
	b, err := encMode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	if len(b) > MaxMessageBytes {
		return nil, fmt.Errorf("encoding %T: %d bytes exceed %d", v, len(b), MaxMessageBytes)
	}
	return b, nil
}

// Decode reads a message strictly: it must be what Encode would have written. Unknown fields, doubled keys, trailing bytes
// and second spellings are refused; so is a hash of the wrong length, which the library would cut or fill with zeros.
func Decode[T any](b []byte) (T, error) {
	var v T
	if len(b) > MaxMessageBytes {
		return v, Refuse(FaultBadMessage, "%d bytes exceed %d", len(b), MaxMessageBytes)
	}
	if err := decMode.Unmarshal(b, &v); err != nil {
		return v, Refuse(FaultBadMessage, "decoding %T: %v", v, err)
	}
	if again, err := encMode.Marshal(v); err != nil || !bytes.Equal(again, b) {
		var none T
		return none, Refuse(FaultBadMessage, "decoding %T: not in canonical form", v)
	}
	return v, nil
}

// DecodeOwn reads what this program encoded itself, and has proven to be that: a second spelling is not looked for.
func DecodeOwn[T any](b []byte) (T, error) {
	var v T
	if err := decMode.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("decoding %T: %w", v, err)
	}
	return v, nil
}

// Answer makes a Handler of a typed function: it decodes, calls, and wraps the answer or the fault.
func Answer[Q, A any](f func(context.Context, Q) (A, error)) Handler {
	return func(ctx context.Context, data []byte) ([]byte, error) {
		q, err := Decode[Q](data)
		if err == nil {
			var a A
			if a, err = f(ctx, q); err == nil {
				return Encode(Reply[A]{OK: &a})
			}
		}
		return FaultReply(err)
	}
}

// FaultReply is the answer that carries err, whatever type was asked for: the fault in err's chain, else FaultInternal.
func FaultReply(err error) ([]byte, error) {
	var fault *Fault
	if !errors.As(err, &fault) {
		fault = &Fault{Code: FaultInternal, Text: err.Error()}
	}
	return Encode(Reply[Empty]{Fault: fault})
}

// Call asks and unwraps: a Fault comes back as the error.
func Call[A, Q any](ctx context.Context, r Requester, subject string, q Q) (A, error) {
	var none A
	data, err := Encode(q)
	if err != nil {
		return none, err
	}
	raw, err := r.Request(ctx, subject, data)
	if err != nil {
		return none, fmt.Errorf("asking %s: %w", subject, err)
	}
	reply, err := Decode[Reply[A]](raw)
	switch {
	case err != nil:
		return none, fmt.Errorf("reading the answer of %s: %w", subject, err)
	case reply.Fault != nil:
		return none, fmt.Errorf("asking %s: %w", subject, reply.Fault)
	case reply.OK == nil:
		return none, fmt.Errorf("reading the answer of %s: it holds neither answer nor fault", subject)
	}
	return *reply.OK, nil
}
