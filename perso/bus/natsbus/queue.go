package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

const (
	// pullWait bounds one pull request: so long a line idles after one was lost with its connection.
	pullWait = 5 * time.Second
	// takeAgain is the pause before trying again when the queue is not there, not reached, or not made yet.
	takeAgain = 250 * time.Millisecond
	// maxReasonBytes bounds the reason of a parked job: a sentence.
	maxReasonBytes = 500
	// maxJobIDBytes bounds a job id, which travels as a header.
	maxJobIDBytes = 200
	// reasonHeader holds why a job was parked, where people see it with any NATS tool.
	reasonHeader = "Perso-Reason"
	// jobHeader holds the parked job's own id, since the parked message has one of its own.
	jobHeader = "Perso-Job"
)

// Put stores a job durably; no answer means that it must be put again with the same id. The line's consumer is made when
// there is none yet.
func (c *Conn) Put(ctx context.Context, line perso.Name, id string, data []byte) error {
	if len(data) > bus.MaxMessageBytes || id == "" || len(id) > maxJobIDBytes {
		return bus.Refuse(bus.FaultBadMessage, "job of %d bytes with an id of %d: at most %d, and 1 to %d, are taken",
			len(data), len(id), bus.MaxMessageBytes, maxJobIDBytes)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := c.ensureConsumer(ctx, line); err != nil {
		return fmt.Errorf("putting job %q: %w", id, err)
	}
	msg := nats.NewMsg(workPrefix + string(line))
	msg.Data = data
	if _, err := c.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(StreamWork)); err != nil {
		return fmt.Errorf("putting job %q: %w", id, unanswered(err))
	}
	return nil
}

// Take waits for the line's next job until ctx ends, through lost connections and a queue that is not made yet.
func (c *Conn) Take(ctx context.Context, line perso.Name) (bus.Job, error) {
	if c.cfg.Line != "" && c.cfg.Line != line {
		return nil, fmt.Errorf("taking a job of %q: this is line %q", line, c.cfg.Line)
	}
	for {
		msg, err := c.pull(ctx, line)
		if msg != nil {
			return c.newJob(line, msg)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("taking a job of %q: %w", line, ctx.Err())
		}
		if err == nil {
			continue // nothing came within pullWait
		}
		c.cfg.Log.Debug("no job could be pulled", "line", line, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(takeAgain):
		}
	}
}

// pull asks for one job. No job and no error means that there was none in time.
func (c *Conn) pull(ctx context.Context, line perso.Name) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, pullWait)
	defer cancel()
	consumer, err := c.js.Consumer(ctx, StreamWork, string(line))
	if err != nil {
		return nil, fmt.Errorf("finding the consumer: %w", err)
	}
	msg, err := consumer.Next(jetstream.FetchContext(ctx))
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return msg, err
}

// job implements bus.Job.
type job struct {
	conn *Conn
	line perso.Name
	msg  jetstream.Msg
	meta *jetstream.MsgMetadata
}

func (c *Conn) newJob(line perso.Name, msg jetstream.Msg) (*job, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("reading the delivery of a job of %q: %w", line, err)
	}
	return &job{conn: c, line: line, msg: msg, meta: meta}, nil
}

func (j *job) Data() []byte { return j.msg.Data() }

func (j *job) Deliveries() uint64 { return j.meta.NumDelivered }

func (j *job) id() string { return j.msg.Headers().Get(jetstream.MsgIDHeader) }

func (j *job) InProgress() error { return j.wrap("reporting progress of", j.msg.InProgress()) }

// Ack waits until the server says that the job is gone. After ErrNoAnswer it may come again.
func (j *job) Ack(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return j.wrap("acknowledging", j.msg.DoubleAck(ctx))
}

// Retry gives the job back to be delivered again.
func (j *job) Retry(after time.Duration) error {
	return j.wrap("giving back", j.msg.NakWithDelay(after))
}

// Park stores the job with its reason where people look, and only then takes it off the queue.
func (j *job) Park(ctx context.Context, reason string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	msg := nats.NewMsg(bus.LineSubject(j.line, verbParked))
	msg.Data = j.msg.Data()
	msg.Header.Set(reasonHeader, headerText(reason))
	msg.Header.Set(jobHeader, j.id())
	// The queue's own number: parking again after a lost answer is dropped, parking a later job of the same id is not.
	number := fmt.Sprintf("%s-%d-%d", StreamWork, j.meta.Sequence.Stream, j.meta.Timestamp.UnixNano())
	if _, err := j.conn.js.PublishMsg(ctx, msg, jetstream.WithMsgID(number), jetstream.WithExpectStream(StreamParked)); err != nil {
		return j.wrap("parking", err)
	}
	return j.wrap("acknowledging parked", j.msg.DoubleAck(ctx))
}

func (j *job) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s job %q: %w", doing, j.id(), unanswered(err))
}

// headerText makes one line of printable text within the limit.
func headerText(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxReasonBytes)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Parked visits the parked jobs of a line, oldest first; it is for the ledger's user.
func (c *Conn) Parked(ctx context.Context, line perso.Name, visit func(id, reason string, data []byte) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	stream, err := c.js.Stream(ctx, StreamParked)
	for seq := uint64(1); err == nil; {
		var msg *jetstream.RawStreamMsg
		msg, err = stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(bus.LineSubject(line, verbParked)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err == nil {
			seq = msg.Sequence + 1
			err = visit(msg.Header.Get(jobHeader), msg.Header.Get(reasonHeader), msg.Data)
		}
	}
	return fmt.Errorf("reading the parked jobs of %q: %w", line, unanswered(err))
}
