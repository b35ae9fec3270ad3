package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/semver"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// The streams.
const (
	StreamWork   = "WORK"   // work queue: one subject and one durable consumer for each line
	StreamParked = "PARKED" // jobs that cannot be done, with the reason, for people to look at
	StreamBlob   = "BLOB"   // chunks of content-addressed blobs
)

// Subjects that only this carrier uses. A line parks below its own subject, where alone it may publish.
const (
	workPrefix = "perso.work."
	blobPrefix = "perso.blob."
	verbParked = "parked"
)

// minServer is the first release in which "sync_interval: always" holds for every write path.
const minServer = "v2.15.0"

// Limits of the streams. All of it can be put again from the ledger, so the oldest may fall out of PARKED and BLOB, while
// WORK refuses what it cannot hold.
const (
	// headerBytes is room for the headers beside the largest message.
	headerBytes = 4 << 10
	// maxJobs is far above lines × open lots.
	maxJobs = 10_000
	// workBytes holds them at a few kilobytes each.
	workBytes = 128 << 20
	// dedupeWindow only saves traffic: after it the same job id is accepted again, and the ledger's key decides.
	dedupeWindow = 2 * time.Minute
	// maxParkedPerLine bounds what a line that parks everything can fill.
	maxParkedPerLine = 1_000
	parkedBytes      = 128 << 20
	// parkedAge is how long people have to look at a parked job.
	parkedAge = 90 * 24 * time.Hour
	// blobBytes holds some thousand compiled scripts.
	blobBytes = 1 << 30
	// storeBytes is the server's limit: the three streams with room for their indexes.
	storeBytes = 2 << 30
)

// EnsureStreams creates the streams, and the consumer of each given line, or brings them to what they must be. It fails when
// the server is too old or what the server made of it is weaker than asked.
func (c *Conn) EnsureStreams(ctx context.Context, lines ...perso.Name) error {
	if v := "v" + c.nc.ConnectedServerVersion(); semver.Compare(v, minServer) < 0 {
		return fmt.Errorf("ensuring streams: server %q is older than %q or not connected", v, minServer)
	}
	for _, want := range c.streams() {
		stream, err := c.js.CreateOrUpdateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || isReserved(err) { // another process made it just now
			stream, err = c.js.CreateOrUpdateStream(ctx, want)
		}
		if err != nil {
			return fmt.Errorf("ensuring stream %q: %w", want.Name, unanswered(err))
		}
		if err := sameGuarantees(stream.CachedInfo().Config, want); err != nil {
			return fmt.Errorf("ensuring stream %q: %w", want.Name, err)
		}
	}
	for _, line := range lines {
		if err := c.ensureConsumer(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

// codeNoRoom is the server's "insufficient storage resources available".
const codeNoRoom = 10047

// isReserved: of two that make the same stream at once, the server counts its room twice for a moment.
func isReserved(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeNoRoom
}

func (c *Conn) streams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{{
		Name: StreamWork, Subjects: []string{workPrefix + "*"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
		MaxMsgs: maxJobs, MaxBytes: workBytes, MaxMsgSize: bus.MaxMessageBytes + headerBytes, Duplicates: dedupeWindow,
		MaxMsgsPerSubject: -1, Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas,
	}, {
		Name: StreamParked, Subjects: []string{bus.LineWildcard(verbParked)}, Discard: jetstream.DiscardOld, MaxAge: parkedAge,
		MaxMsgs: -1, MaxBytes: parkedBytes, MaxMsgSize: bus.MaxMessageBytes + headerBytes, Duplicates: dedupeWindow,
		MaxMsgsPerSubject: maxParkedPerLine, Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas,
	}, {
		Name: StreamBlob, Subjects: []string{blobPrefix + "*.*"}, Discard: jetstream.DiscardOld, AllowDirect: true,
		MaxMsgs: -1, MaxBytes: blobBytes, MaxMsgSize: chunkBytes + headerBytes, Duplicates: dedupeWindow,
		MaxMsgsPerSubject: 1, Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas,
	}}
}

// guarantees are the parts of a stream's configuration that we rest on, comparable. PersistMode is one of them because
// "async" silently switches "sync always" off.
type guarantees struct {
	Subjects          string
	Retention         jetstream.RetentionPolicy
	Discard           jetstream.DiscardPolicy
	Storage           jetstream.StorageType
	PersistMode       jetstream.PersistModeType
	MaxMsgs, MaxBytes int64
	MaxMsgsPerSubject int64
	MaxMsgSize        int32
	MaxAge, Duplicate time.Duration
	Replicas          int
	NoAck, Sealed     bool
	AllowDirect       bool
	Forwards          bool // a copy goes somewhere, or comes from somewhere
}

func guaranteesOf(c jetstream.StreamConfig) guarantees {
	return guarantees{
		Subjects: fmt.Sprint(c.Subjects), Retention: c.Retention, Discard: c.Discard, Storage: c.Storage, PersistMode: c.PersistMode,
		MaxMsgs: c.MaxMsgs, MaxBytes: c.MaxBytes, MaxMsgsPerSubject: c.MaxMsgsPerSubject, MaxMsgSize: c.MaxMsgSize,
		MaxAge: c.MaxAge, Duplicate: c.Duplicates, Replicas: c.Replicas, NoAck: c.NoAck, Sealed: c.Sealed, AllowDirect: c.AllowDirect,
		Forwards: c.RePublish != nil || c.SubjectTransform != nil || c.Mirror != nil || len(c.Sources) > 0,
	}
}

// sameGuarantees compares what the server made of a stream with what was asked for: a server may ignore what it does not
// know.
func sameGuarantees(got, want jetstream.StreamConfig) error {
	if g, w := guaranteesOf(got), guaranteesOf(want); g != w {
		return fmt.Errorf("the server has %+v, want %+v", g, w)
	}
	return nil
}

// ensureConsumer makes the line's durable. MaxDeliver is unlimited, because a message past it would stay in the queue and
// never be delivered again; the worker counts deliveries and parks.
func (c *Conn) ensureConsumer(ctx context.Context, line perso.Name) error {
	_, err := c.js.CreateOrUpdateConsumer(ctx, StreamWork, jetstream.ConsumerConfig{
		Durable: string(line), FilterSubject: workPrefix + string(line), AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: c.cfg.AckWait, MaxAckPending: c.cfg.MaxAckPending, MaxDeliver: -1,
	})
	if err != nil {
		return fmt.Errorf("ensuring the consumer of line %q: %w", line, unanswered(err))
	}
	return nil
}
