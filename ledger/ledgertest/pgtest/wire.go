package pgtest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Cut says what becomes of a connection when a message of the client comes by that it is armed for.
type Cut int

// The cuts.
const (
	// CutBefore drops the connection instead of handing the message on: the server never sees it.
	CutBefore Cut = iota
	// CutAfter hands it on, waits for the server's answer, and drops the connection instead of handing that on.
	CutAfter
)

// Wire stands between a client and a server and breaks connections at a chosen place.
type Wire struct {
	dir    string
	to     string
	listen net.Listener

	mu   sync.Mutex
	text string // of the message that is cut; "" while unarmed
	cut  Cut
	left int // how many more times
	cuts int
}

// NewWire gives a wire to the server, until the test ends.
func NewWire(t testing.TB, c *Cluster) *Wire {
	t.Helper()
	dir, err := os.MkdirTemp("", "perso-wire-")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{dir: dir, to: c.Socket()}
	if w.listen, err = net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.listen.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	go w.accept()
	return w
}

// Through gives the way to the same database over the wire.
func (w *Wire) Through(t testing.TB, at string) string { return In(t, at, "host", w.dir) }

// Arm breaks connections, so many times, at the next messages that hold a text, as "commit" does.
func (w *Wire) Arm(text string, cut Cut, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text, w.cut, w.left, w.cuts = text, cut, times, 0
}

// Cuts is how often a connection was broken since Arm.
func (w *Wire) Cuts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts
}

func (w *Wire) accept() {
	for {
		client, err := w.listen.Accept()
		if err != nil {
			return // the test is over
		}
		server, err := net.Dial("unix", w.to)
		if err != nil {
			_ = client.Close() // the server is down, and the client sees it so
			continue
		}
		mute := make(chan struct{})
		go w.answers(client, server, mute)
		go w.requests(client, server, mute)
	}
}

// answers hands on what the server says, until a cut mutes it.
func (w *Wire) answers(client, server net.Conn, mute <-chan struct{}) {
	defer client.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		select {
		case <-mute:
			return // the answer is there and nobody hears it
		default:
		}
		if n > 0 {
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// requests hands on the client's messages one by one. The first one has no type, as the protocol has it.
func (w *Wire) requests(client, server net.Conn, mute chan<- struct{}) {
	defer server.Close()
	for first := true; ; first = false {
		head := make([]byte, 5)
		if first {
			head = head[1:]
		}
		if _, err := io.ReadFull(client, head); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(head[len(head)-4:])
		body := make([]byte, size-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		cut, hit := w.hits(string(body))
		if hit && cut == CutBefore {
			_ = client.Close()
			return
		}
		if hit { // what follows is handed on too, since the server may answer no sooner; answers hangs up on the client then
			close(mute)
		}
		if _, err := server.Write(append(head, body...)); err != nil {
			return
		}
	}
}

func (w *Wire) hits(message string) (Cut, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == 0 || w.text == "" || !strings.Contains(strings.ToLower(message), w.text) {
		return 0, false
	}
	w.left--
	w.cuts++
	return w.cut, true
}
