package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/persoline/persoline/perso/bus"
)

const (
	// handlerTimeout bounds one handler. The slowest is the office's export of a whole lot, which signs each unit in the
	// HSM. The server lets a reply pass for replyWindow after the request.
	handlerTimeout = 10 * time.Minute
	// stopTimeout bounds the wait for handlers at work when a service ends.
	stopTimeout = closeTimeout
	// maxWaitingPerWorker bounds the requests that wait for a worker; what is above is told "busy", because a requester
	// that waits longer has given up.
	maxWaitingPerWorker = 4
	// serviceVersion is that of the wire (ADR-32 wants one), not of the program.
	serviceVersion = "1.0.0"
)

// service is one subject with its handler. Requests come in one goroutine and are worked on in others, so that a slow
// handler delays only those who wait for the same workers. Workers stay, because a goroutine that handles an act has to
// grow its stack first.
type service struct {
	conn    *Conn
	subject string
	handler bus.Handler
	micro   micro.Service
	workers int // at most

	queue chan micro.Request
	work  sync.WaitGroup

	mu      sync.Mutex
	started int // workers
	open    int // requests at work or waiting
	stopped bool
}

// Serve offers h as a service that `nats micro` tools can see. The stop function waits for the handlers at work.
func (c *Conn) Serve(subject, queue string, h bus.Handler) (stop func() error, err error) {
	workers := c.cfg.Workers[subject]
	if workers <= 0 {
		workers = DefaultWorkers
	}
	s := &service{
		conn: c, subject: subject, handler: h, workers: workers, queue: make(chan micro.Request, workers*(1+maxWaitingPerWorker)),
	}
	s.micro, err = micro.AddService(c.nc, micro.Config{
		Name: c.cfg.Name, Version: serviceVersion, QueueGroup: queue,
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) { c.cfg.Log.Warn("bus service error", "err", err) },
	})
	if err != nil {
		return nil, fmt.Errorf("serving %q: %w", subject, err)
	}
	if err = s.micro.AddEndpoint(endpointName(subject), micro.HandlerFunc(s.admit), micro.WithEndpointSubject(subject)); err != nil {
		return nil, errors.Join(fmt.Errorf("serving %q: %w", subject, err), s.micro.Stop())
	}
	// Known to the server before Serve returns; while disconnected it will be told on reconnect.
	if err := c.nc.FlushTimeout(replyTimeout); err != nil {
		c.cfg.Log.Warn("bus service not announced yet", "err", err)
	}
	c.mu.Lock()
	c.services[s] = struct{}{}
	c.mu.Unlock()
	return s.stop, nil
}

// endpointName is the subject in the letters that ADR-32 allows.
func endpointName(subject string) string {
	return strings.NewReplacer(".", "_", "*", "any", ">", "all").Replace(subject)
}

func (s *service) admit(req micro.Request) {
	// Whoever asks chooses where the answer goes. Only an inbox will do: nobody may talk through us to another service.
	if !strings.HasPrefix(req.Reply(), inboxStart) {
		s.conn.cfg.Log.Warn("bus request without inbox dropped", "step", s.subject)
		return
	}
	if !s.enqueue(req) {
		s.respond(req, nil, bus.Refuse(bus.FaultBusy, "%d requests are waiting", cap(s.queue)))
	}
}

// enqueue gives a request to the workers, of which there may have to be one more. It reports false when too many wait.
func (s *service) enqueue(req micro.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped { // the requester hears nothing, and asks somebody else
		return true
	}
	if s.open == cap(s.queue) {
		return false
	}
	if s.open++; s.open > s.started && s.started < s.workers {
		s.started++
		s.work.Go(s.handleAll)
	}
	s.queue <- req // has room for all that are open
	return true
}

// handleAll is one worker.
func (s *service) handleAll() {
	for req := range s.queue {
		s.handle(req)
	}
}

func (s *service) handle(req micro.Request) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}()
	ctx, cancel := context.WithTimeout(bus.WithSubject(context.Background(), req.Subject()), handlerTimeout)
	defer cancel()
	answer, err := s.handler(ctx, req.Data())
	s.respond(req, answer, err)
}

// respond publishes instead of using req.Respond, which is not made for another goroutine.
func (s *service) respond(req micro.Request, answer []byte, err error) {
	if err == nil && len(answer) > bus.MaxMessageBytes {
		err = bus.Refuse(bus.FaultInternal, "answer of %d bytes exceeds %d", len(answer), bus.MaxMessageBytes)
	}
	if err != nil {
		answer, err = bus.FaultReply(err)
	}
	if err == nil {
		err = s.conn.nc.Publish(req.Reply(), answer)
	}
	if err != nil { // the requester hears nothing and asks again
		s.conn.cfg.Log.Warn("bus answer lost", "step", s.subject, "err", err)
	}
}

// stop ends the subscription and waits for the handlers at work.
func (s *service) stop() error {
	c := s.conn
	c.mu.Lock()
	_, serving := c.services[s]
	delete(c.services, s)
	c.mu.Unlock()
	if !serving {
		return nil
	}
	errs := []error{s.micro.Stop()}
	// The unsubscription has reached the server when this returns; without a connection there is nothing to reach.
	if errs[0] == nil && c.nc.IsConnected() {
		if err := c.nc.FlushTimeout(stopTimeout); err != nil {
			c.cfg.Log.Debug("bus service ended without connection", "step", s.subject, "err", err)
		}
	}
	s.mu.Lock()
	s.stopped = true
	close(s.queue)
	s.mu.Unlock()
	if !within(stopTimeout, s.work.Wait) {
		errs = append(errs, fmt.Errorf("a handler is still at work after %v", stopTimeout))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping service %q: %w", s.subject, err)
	}
	return nil
}

// within says whether f returned in time.
func within(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
