package vpcd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Slot is what lies behind one slot of a reader.
type Slot interface {
	// ATR is that of the chip that lies there, with or without power; empty for none, and for one that is mute.
	ATR(ctx context.Context) []byte
	// PowerOn resets the chip; ATR says whether it answered.
	PowerOn(ctx context.Context)
	PowerOff(ctx context.Context)
	// Exchange carries a command to the chip. An error is the loss of contact.
	Exchange(ctx context.Context, command []byte) ([]byte, error)
}

const (
	bodyPowerOff = 0x00
	bodyPowerOn  = 0x01
	bodyReset    = 0x02
	bodyATR      = 0x04

	lengthBytes = 2
	// nothing is the answer of a chip that gave none.
	nothing = 0x00
)

// Serve speaks for a slot until the driver goes away or ctx ends; the error is nil then. It closes the connection.
func Serve(ctx context.Context, conn *net.TCPConn, slot Slot) error {
	defer func() { _ = conn.Close() }() // nothing is lost with it
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for {
		body, err := receive(conn)
		if err == nil {
			err = answer(ctx, conn, slot, body)
		}
		switch {
		case ctx.Err() != nil, errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return fmt.Errorf("serving reader slot: %w", err)
		}
	}
}

func answer(ctx context.Context, conn *net.TCPConn, slot Slot, body []byte) error {
	if len(body) != 1 {
		resp, err := slot.Exchange(ctx, body)
		if err != nil || len(resp) == 0 {
			resp = []byte{nothing}
		}
		return send(conn, resp)
	}
	switch body[0] {
	case bodyPowerOff:
		slot.PowerOff(ctx)
	case bodyPowerOn, bodyReset:
		slot.PowerOn(ctx)
	case bodyATR:
		atr := slot.ATR(ctx)
		if len(atr) == 0 {
			atr = NoChip()
		}
		return send(conn, atr)
	default:
		return fmt.Errorf("reading control %02X, which is not known", body[0])
	}
	return nil
}

// receive reads one frame. The driver sends length and body in two segments, and waits for the first to be acknowledged:
// without quick acknowledgement, which the kernel forgets after each receive, every command takes 48 ms.
func receive(conn *net.TCPConn) ([]byte, error) {
	var length [lengthBytes]byte
	if err := readFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n == 0 {
		return nil, errors.New("reading an empty frame")
	}
	body := make([]byte, n)
	if err := readFull(conn, body); err != nil {
		return nil, fmt.Errorf("reading frame of %d bytes: %w", n, err)
	}
	return body, nil
}

func readFull(conn *net.TCPConn, b []byte) error {
	for read := 0; read < len(b); {
		if err := acknowledgeQuickly(conn); err != nil {
			return err
		}
		n, err := conn.Read(b[read:])
		if read += n; err != nil && read < len(b) {
			return err
		}
	}
	return acknowledgeQuickly(conn)
}

func acknowledgeQuickly(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }); err != nil {
		return err
	}
	return set
}

func send(conn *net.TCPConn, body []byte) error {
	if len(body) == 0 || len(body) > maxFrameBytes {
		return fmt.Errorf("sending frame of %d bytes, expected 1 to %d", len(body), maxFrameBytes)
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, lengthBytes+len(body)), uint16(len(body)))
	_, err := conn.Write(append(frame, body...))
	return err
}
