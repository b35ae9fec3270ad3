package chipfarm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/persoline/persoline/perso/bus"
)

// TestFrames sends frames of all sizes one after another: what was decoded does not change when more is received.
func TestFrames(t *testing.T) {
	t.Parallel()
	var wire bytes.Buffer
	var s sender
	var sent []request
	for n := range 40 {
		q := request{ID: uint32(n), Op: opInspect}
		for range n * n {
			q.APDUs = append(q.APDUs, bytes.Repeat([]byte{byte(n)}, 200))
		}
		if err := s.send(&wire, q); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, q)
	}
	if wire.Len() < 4*receiveBytes {
		t.Fatalf("%d bytes do not fill the buffer often enough", wire.Len())
	}
	in := bufio.NewReaderSize(&wire, receiveBytes)
	var got []request
	for range sent {
		q, err := readFrame[request](in, bus.MaxMessageBytes)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, q)
	}
	if !reflect.DeepEqual(got, sent) {
		t.Error("frames came in another way than they went out")
	}
	if _, err := readFrame[request](in, bus.MaxMessageBytes); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
}

func TestFramesAreStrict(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":        "",
		"half":           "\xA2\x01\x01",
		"unknown key":    "\xA3\x01\x01\x02\x01\x18\x63\x01",
		"doubled key":    "\xA3\x01\x01\x02\x01\x02\x01",
		"trailing":       "\xA2\x01\x01\x02\x01\x00",
		"indefinite map": "\xBF\x01\x01\x02\x01\xFF",
		"tagged":         "\xC1\xA2\x01\x01\x02\x01",
		"not a map":      "\x82\x01\x01",
		"text for op":    "\xA2\x01\x01\x02\x61a",
	} {
		frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
		if q, err := readFrame[request](bufio.NewReader(bytes.NewReader(frame)), bus.MaxMessageBytes); err == nil || !reflect.DeepEqual(q, request{}) {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
	}
	whole := []byte("\x00\x00\x00\x05\xA2\x01\x01\x02\x01")
	for cut := 1; cut < len(whole); cut++ {
		_, err := readFrame[request](bufio.NewReader(bytes.NewReader(whole[:cut])), bus.MaxMessageBytes)
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	if q, err := readFrame[request](bufio.NewReader(bytes.NewReader(whole)), bus.MaxMessageBytes); err != nil || q.Op != opLoad {
		t.Errorf("%+v, %v", q, err)
	}
	if _, err := readFrame[request](bufio.NewReader(bytes.NewReader(whole)), 4); err == nil {
		t.Error("a frame beyond the limit is read")
	}
}

// TestTooLongRequest is not sent, and the connection with its powered chips stays.
func TestTooLongRequest(t *testing.T) {
	t.Parallel()
	c := serve(t, testSpec(1)).client()
	mustContact(t, c, 0)
	if _, err := c.Transmit(t.Context(), 0, make([]byte, bus.MaxMessageBytes)); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("too long: %v", err)
	}
	if _, err := c.call(t.Context(), request{Op: opPlay, APDUs: [][]byte{unhex(selectISD)}}); !errors.Is(err, ErrRefused) {
		t.Errorf("a command without a mask: %v", err)
	}
	sequence(t, c, 0)
}
