package chipfarm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

const (
	protocolName    = "persoline chip farm"
	protocolVersion = 3

	lengthBytes = 4
	// receiveBytes holds several frames, and nearly each of them whole: a window has some 3 kB.
	receiveBytes = 64 << 10
	// maxHelloBytes keeps a stranger on the socket from making us read much.
	maxHelloBytes = 64
	// maxInFlight bounds the requests of one client that are being carried out: one for each head, and some questions.
	maxInFlight = MaxHeads + 32
	// maxPagePlaces bounds the chips in one answer about bins; 4,096 take some 120 kB.
	maxPagePlaces = 4096
	// maxAPDUs bounds the commands of one inspection, as script.MaxWindowCommands bounds those of a window.
	maxAPDUs = 512
)

// hello is the first frame of either side.
type hello struct {
	Name    string `cbor:"1,keyasint"`
	Version uint8  `cbor:"2,keyasint"`
}

type op uint8

const (
	opLoad     op = 1
	opContact  op = 2
	opTransmit op = 3
	opPlay     op = 4
	opLift     op = 5
	opBin      op = 6
	opCounters op = 7
	opInspect  op = 8
	opBins     op = 9
	opExamine  op = 10
)

type request struct {
	ID    uint32    `cbor:"1,keyasint"`
	Op    op        `cbor:"2,keyasint"`
	Head  uint16    `cbor:"3,keyasint,omitempty"`
	Bin   perso.Bin `cbor:"4,keyasint,omitempty"` // bin, bins
	SWs   []string  `cbor:"5,keyasint,omitempty"` // play: the status mask for each command
	APDUs [][]byte  `cbor:"6,keyasint,omitempty"` // transmit (one), play, inspect
	Index uint32    `cbor:"7,keyasint,omitempty"` // inspect, examine: the chip; bins: the first place
	Chip  []byte    `cbor:"8,keyasint,omitempty"` // inspect, examine: the chip's id, instead of Index
}

type outcome uint8

const (
	outcomeDone    outcome = 0
	outcomeMute    outcome = 1 // card.ErrMute
	outcomeRefused outcome = 2 // ErrRefused
	outcomeFailed  outcome = 3
)

type reply struct {
	ID        uint32               `cbor:"1,keyasint"`
	Outcome   outcome              `cbor:"2,keyasint,omitempty"`
	Text      string               `cbor:"3,keyasint,omitempty"`  // when not done
	Loaded    bool                 `cbor:"4,keyasint,omitempty"`  // load
	ATR       []byte               `cbor:"5,keyasint,omitempty"`  // contact
	Responses [][]byte             `cbor:"6,keyasint,omitempty"`  // transmit (one), play, inspect; also when contact was lost
	In        uint64               `cbor:"7,keyasint,omitempty"`  // counters: chips taken from the reel
	Places    []Place              `cbor:"8,keyasint,omitempty"`  // bins
	Total     uint32               `cbor:"9,keyasint,omitempty"`  // bins: chips in the bin
	Counters  map[perso.Bin]uint64 `cbor:"10,keyasint,omitempty"` // counters: chips in each bin
}

// windowRequest asks to play a window.
func windowRequest(head uint16, window []bus.Play) request {
	q := request{Op: opPlay, Head: head, SWs: make([]string, len(window)), APDUs: make([][]byte, len(window))}
	for i, p := range window {
		q.SWs[i], q.APDUs[i] = p.SW, p.APDU
	}
	return q
}

func (q request) window() ([]bus.Play, error) {
	if len(q.SWs) != len(q.APDUs) {
		return nil, fmt.Errorf("playing %d commands with %d status masks: %w", len(q.APDUs), len(q.SWs), ErrRefused)
	}
	w := make([]bus.Play, len(q.APDUs))
	for i := range w {
		w[i] = bus.Play{APDU: q.APDUs[i], SW: q.SWs[i]}
	}
	return w, nil
}

// The codec is as strict as that of package bus, but does not ask for the one canonical form: nobody hashes or signs what
// comes here, and to encode each frame once more in order to compare costs a third of reading it.
var (
	frameEncoding = must(cbor.CoreDetEncOptions().UserBufferEncMode())
	frameDecoding = must(cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants: a fault here is a fault in this file
	}
	return v
}

// errUnsent says that of a message nothing went out, so that the connection is as good as before.
var errUnsent = errors.New("message not sent")

// sender writes frames to a connection, each in one write.
type sender struct {
	mu    sync.Mutex
	frame bytes.Buffer // the last one as it went out
}

func (s *sender) send(w io.Writer, message any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frame.Reset()
	s.frame.Write(make([]byte, lengthBytes))
	if err := frameEncoding.MarshalToBuffer(message, &s.frame); err != nil {
		return fmt.Errorf("encoding %T: %w: %w", message, errUnsent, err)
	}
	b := s.frame.Bytes()
	n := len(b) - lengthBytes
	if n > bus.MaxMessageBytes {
		return fmt.Errorf("sending frame of %d bytes, limit %d: %w", n, bus.MaxMessageBytes, errUnsent)
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	_, err := w.Write(b)
	return err
}

// readFrame reads one message of at most limit bytes. io.EOF means that the other side ended between messages.
func readFrame[T any](in *bufio.Reader, limit int) (message T, err error) {
	var length [lengthBytes]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return message, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > uint32(limit) {
		return message, fmt.Errorf("reading frame of %d bytes, limit %d", n, limit)
	}
	var body []byte
	if whole := int(n) <= in.Size(); whole {
		body, err = in.Peek(int(n)) // decoding copies what it keeps
		defer func() { _, _ = in.Discard(len(body)) }()
	} else {
		body = make([]byte, n)
		_, err = io.ReadFull(in, body)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = frameDecoding.Unmarshal(body, &message)
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("reading frame of %d bytes: %w", n, err)
	}
	return message, nil
}

// shakeHands sends and expects a hello.
func shakeHands(in *bufio.Reader, out io.Writer) error {
	var s sender
	if err := s.send(out, hello{Name: protocolName, Version: protocolVersion}); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	h, err := readFrame[hello](in, maxHelloBytes)
	if err != nil {
		return fmt.Errorf("reading greeting: %w", err)
	}
	if h.Name != protocolName || h.Version != protocolVersion {
		return fmt.Errorf("greeted by %.20q version %d, expected %q version %d", h.Name, h.Version, protocolName, protocolVersion)
	}
	return nil
}

// endpoint splits "unix:/path" and "tcp:127.0.0.1:port". A farm is not offered to other computers.
func endpoint(address string) (network, where string, err error) {
	network, where, ok := strings.Cut(address, ":")
	switch {
	case ok && network == "unix" && where != "":
		return network, where, nil
	case ok && network == "tcp":
		ap, err := netip.ParseAddrPort(where)
		if err == nil && ap.Addr().IsLoopback() {
			return network, where, nil
		}
	}
	return "", "", fmt.Errorf("chip farm address %q is neither unix:/path nor tcp: with a loopback address and a port", address)
}

// Listen opens the farm's socket. A socket that a killed farm left behind is removed: whoever holds the farm's folder
// may do that.
func Listen(address string) (net.Listener, error) {
	network, where, err := endpoint(address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if info, err := os.Lstat(where); err == nil && info.Mode().Type() == os.ModeSocket {
			if err := os.Remove(where); err != nil {
				return nil, fmt.Errorf("removing old socket: %w", err)
			}
		}
	}
	l, err := net.Listen(network, where)
	if err != nil {
		return nil, fmt.Errorf("listening for chip farm clients: %w", err)
	}
	if network == "unix" {
		if err := os.Chmod(where, ownerOnly); err != nil {
			return nil, fmt.Errorf("closing socket to others: %w", errors.Join(err, l.Close()))
		}
	}
	return l, nil
}
