package chipfarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

const (
	protocolName    = "persoline chip farm"
	protocolVersion = 1

	lengthBytes = 4
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
)

type request struct {
	ID     uint32        `cbor:"1,keyasint"`
	Op     op            `cbor:"2,keyasint"`
	Head   uint16        `cbor:"3,keyasint,omitempty"`
	Bin    perso.Verdict `cbor:"4,keyasint,omitempty"` // bin, bins
	Window []bus.Play    `cbor:"5,keyasint,omitempty"` // play
	APDUs  [][]byte      `cbor:"6,keyasint,omitempty"` // transmit (one), inspect
	Index  uint32        `cbor:"7,keyasint,omitempty"` // inspect: the chip; bins: the first place
	Chip   []byte        `cbor:"8,keyasint,omitempty"` // inspect: the chip's id, instead of Index
}

type outcome uint8

const (
	outcomeDone    outcome = 0
	outcomeMute    outcome = 1 // card.ErrMute
	outcomeRefused outcome = 2 // ErrRefused
	outcomeFailed  outcome = 3
)

type reply struct {
	ID        uint32    `cbor:"1,keyasint"`
	Outcome   outcome   `cbor:"2,keyasint,omitempty"`
	Text      string    `cbor:"3,keyasint,omitempty"` // when not done
	Loaded    bool      `cbor:"4,keyasint,omitempty"` // load
	ATR       []byte    `cbor:"5,keyasint,omitempty"` // contact
	Responses [][]byte  `cbor:"6,keyasint,omitempty"` // transmit (one), play, inspect; also when contact was lost
	Counters  [5]uint64 `cbor:"7,keyasint"`           // counters: in, good, reject-blank, reject-live, return
	Places    []Place   `cbor:"8,keyasint,omitempty"` // bins
	Total     uint32    `cbor:"9,keyasint,omitempty"` // bins: chips in the bin
}

// encodeFrame is one message as it goes out, in one write.
func encodeFrame(message any) ([]byte, error) {
	body, err := bus.Encode(message)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, lengthBytes+len(body)), uint32(len(body)))
	return append(b, body...), nil
}

// readFrame reads one message of at most limit bytes. io.EOF means that the other side ended between messages.
func readFrame[T any](r io.Reader, limit int) (T, error) {
	var none T
	var length [lengthBytes]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return none, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > uint32(limit) {
		return none, fmt.Errorf("reading frame of %d bytes, limit %d", n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return none, fmt.Errorf("reading frame of %d bytes: %w", n, err)
	}
	return bus.Decode[T](body)
}

// shakeHands sends and expects a hello.
func shakeHands(rw io.ReadWriter) error {
	greeting, err := encodeFrame(hello{Name: protocolName, Version: protocolVersion})
	if err == nil {
		_, err = rw.Write(greeting)
	}
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	h, err := readFrame[hello](rw, maxHelloBytes)
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
