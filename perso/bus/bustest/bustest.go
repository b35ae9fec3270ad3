// Package bustest is what every carrier of the bus must do, as a test suite: Run is called by the tests of membus and
// natsbus, so that what passes on the one in a unit test holds on the other in the factory.
package bustest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// AckWait is the redelivery time that open must configure: long beside a stutter of a loaded machine, short beside a test's
// patience.
const AckWait = 800 * time.Millisecond

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

const line perso.Name = "line-1"

// Carrier is everything that the zones ask of a bus.
type Carrier interface {
	bus.Requester
	bus.Server
	bus.Queue
	bus.Store
	// Parked visits the parked jobs of a line, oldest first.
	Parked(ctx context.Context, line perso.Name, visit func(id, reason string, data []byte) error) error
}

// Run tests a carrier; open gives a fresh one each time and cleans up after itself.
func Run(t *testing.T, open func(*testing.T) Carrier) {
	for name, test := range map[string]func(*testing.T, context.Context, Carrier){
		"request":      request,
		"asking line":  askingLine,
		"fault":        fault,
		"no answer":    noAnswer,
		"queue group":  queueGroup,
		"limits":       limits,
		"slow handler": slowHandler,
		"job":          job,
		"redelivery":   redelivery,
		"in progress":  inProgress,
		"retry":        retry,
		"park":         park,
		"dedupe":       dedupe,
		"own jobs":     ownJobs,
		"blob":         blob,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			test(t, ctx, open(t))
		})
	}
}

func serve(t *testing.T, c Carrier, subject, queue string, h bus.Handler) (stop func() error) {
	t.Helper()
	stop, err := c.Serve(subject, queue, h)
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

func echo(_ context.Context, data []byte) ([]byte, error) { return data, nil }

func request(t *testing.T, ctx context.Context, c Carrier) {
	subject := bus.OfficeSubject("echo")
	stop := serve(t, c, subject, bus.QueueLedger, echo)
	for _, size := range []int{1, 2048, bus.MaxMessageBytes} {
		sent := bytes.Repeat([]byte{0xa5}, size)
		got, err := c.Request(ctx, subject, sent)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(ctx, subject, []byte{1}); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("after stop: %v", err)
	}
}

func askingLine(t *testing.T, ctx context.Context, c Carrier) {
	serve(t, c, bus.LineWildcard(bus.LineAct), bus.QueueLedger, func(ctx context.Context, _ []byte) ([]byte, error) {
		from, err := bus.AskingLine(ctx)
		return []byte(from), err
	})
	got, err := c.Request(ctx, bus.LineSubject("line-7", bus.LineAct), []byte{1})
	if err != nil || string(got) != "line-7" {
		t.Errorf("got %q, %v", got, err)
	}
}

func fault(t *testing.T, ctx context.Context, c Carrier) {
	subject := bus.VaultSubject("v", "x")
	want := bus.Refuse(bus.FaultLotNotOpen, "lot %q", "a")
	serve(t, c, subject, bus.QueueVault, func(context.Context, []byte) ([]byte, error) { return nil, fmt.Errorf("opening: %w", want) })
	_, err := bus.Call[bus.OpenLotReply](ctx, c, subject, bus.Empty{})
	var got *bus.Fault
	if !errors.As(err, &got) || got.Error() != want.Error() {
		t.Errorf("got %v", err)
	}
}

func noAnswer(t *testing.T, ctx context.Context, c Carrier) {
	if _, err := c.Request(ctx, bus.VaultSubject("v", "nobody"), []byte{1}); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("nobody serves: %v", err)
	}
	subject := bus.VaultSubject("v", "mute")
	short, cancel := context.WithTimeout(ctx, AckWait/4)
	defer cancel()
	serve(t, c, subject, bus.QueueVault, func(context.Context, []byte) ([]byte, error) {
		<-short.Done()
		time.Sleep(AckWait / 4) // an answer at the very deadline may still be heard
		return nil, nil
	})
	if _, err := c.Request(short, subject, []byte{1}); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("no answer in time: %v", err)
	}
}

func queueGroup(t *testing.T, ctx context.Context, c Carrier) {
	const requests = 200
	subject := bus.VaultSubject("v", "shared")
	var served [2]atomic.Int32
	for i := range served {
		serve(t, c, subject, bus.QueueVault, func(_ context.Context, data []byte) ([]byte, error) {
			served[i].Add(1)
			return data, nil
		})
	}
	for range requests {
		if _, err := c.Request(ctx, subject, []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	a, b := served[0].Load(), served[1].Load()
	if a+b != requests || a == 0 || b == 0 {
		t.Errorf("%d requests were served %d and %d times", requests, a, b)
	}
}

func limits(t *testing.T, ctx context.Context, c Carrier) {
	big := make([]byte, bus.MaxMessageBytes+1)
	subject := bus.VaultSubject("v", "big")
	serve(t, c, subject, bus.QueueVault, func(context.Context, []byte) ([]byte, error) { return big, nil })
	if _, err := c.Request(ctx, subject, big); err == nil || errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("big request: %v", err)
	}
	_, err := bus.Call[bus.Empty](ctx, c, subject, bus.Empty{})
	var got *bus.Fault
	if !errors.As(err, &got) || got.Code != bus.FaultInternal {
		t.Errorf("big answer: %v", err)
	}
	if err := c.Put(ctx, line, "big", big); err == nil {
		t.Error("a big job was taken")
	}
}

// A handler that waits must not keep the next request of the same subject from being handled.
func slowHandler(t *testing.T, ctx context.Context, c Carrier) {
	subject := bus.VaultSubject("v", "slow")
	release, entered, first := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	serve(t, c, subject, bus.QueueVault, func(_ context.Context, data []byte) ([]byte, error) {
		if data[0] == 0 {
			close(entered)
			<-release
		}
		return data, nil
	})
	go func() {
		_, err := c.Request(ctx, subject, []byte{0})
		first <- err
	}()
	<-entered
	if _, err := c.Request(ctx, subject, []byte{1}); err != nil {
		t.Errorf("beside a slow one: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Errorf("the slow one: %v", err)
	}
}

func blob(t *testing.T, ctx context.Context, c Carrier) {
	for _, size := range []int{0, 1, 256 << 10, 512 << 10, 3<<20 + 5} {
		data := bytes.Repeat([]byte{byte(size), 0x5a, 0x11}, size/3+1)[:size]
		hash := sha256.Sum256(data)
		var missing *bus.Fault
		if _, err := c.GetBlob(ctx, hash); !errors.As(err, &missing) || missing.Code != bus.FaultNotFound {
			t.Errorf("%d bytes before they were put: %v", size, err)
		}
		for range 2 { // again is harmless
			if err := c.PutBlob(ctx, hash, data); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.GetBlob(ctx, hash); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if err := c.PutBlob(ctx, [sha256.Size]byte{1}, []byte("other")); err == nil {
		t.Error("a blob was put under a wrong hash")
	}
}
