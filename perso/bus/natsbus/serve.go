package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
// handler delays only those who wait for the same workers.
type service struct {
	conn     *Conn
	subject  string
	handler  bus.Handler
	micro    micro.Service
	admitted chan struct{} // one for each request at work or waiting
	working  chan struct{} // one for each request at work
}

// Serve offers h as a service that `nats micro` tools can see. The stop function waits for the handlers at work.
func (c *Conn) Serve(subject, queue string, h bus.Handler) (stop func() error, err error) {
	workers := c.cfg.Workers[subject]
	if workers <= 0 {
		workers = DefaultWorkers
	}
	s := &service{
		conn: c, subject: subject, handler: h,
		admitted: make(chan struct{}, workers*(1+maxWaitingPerWorker)), working: make(chan struct{}, workers),
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
	select {
	case s.admitted <- struct{}{}:
		go s.work(req)
	default:
		s.respond(req, nil, bus.Refuse(bus.FaultBusy, "%d requests are waiting", cap(s.admitted)))
	}
}

func (s *service) work(req micro.Request) {
	defer func() { <-s.admitted }()
	s.working <- struct{}{}
	defer func() { <-s.working }()
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

// stop ends the subscription and waits for the handlers at work, by taking every place that they could hold.
func (s *service) stop() error {
	c := s.conn
	c.mu.Lock()
	_, serving := c.services[s]
	delete(c.services, s)
	c.mu.Unlock()
	if !serving {
		return nil
	}
	if err := s.micro.Stop(); err != nil {
		return fmt.Errorf("stopping service %q: %w", s.subject, err)
	}
	// The unsubscription has reached the server when this returns; without a connection there is nothing to reach.
	var flushErr error
	if c.nc.IsConnected() {
		flushErr = c.nc.FlushTimeout(stopTimeout)
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	for range cap(s.admitted) {
		select {
		case s.admitted <- struct{}{}:
		case <-timeout.C:
			return fmt.Errorf("stopping service %q: a handler is still at work after %v", s.subject, stopTimeout)
		}
	}
	if flushErr != nil {
		c.cfg.Log.Debug("bus service ended without connection", "step", s.subject, "err", flushErr)
	}
	return nil
}
