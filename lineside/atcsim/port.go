package atcsim

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// port is a serial line in raw mode.
type port struct {
	file *os.File
	in   [512]byte
	rest []byte // read and not yet taken
}

// bauds are the speeds that can be set.
func bauds() map[int]uint32 {
	return map[int]uint32{9600: unix.B9600, 19_200: unix.B19200, 38_400: unix.B38400, 57_600: unix.B57600, 115_200: unix.B115200,
		230_400: unix.B230400, 460_800: unix.B460800, 921_600: unix.B921600}
}

// openPort opens a port for itself alone.
func openPort(path string, baud int) (*port, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening serial port: %w", err)
	}
	raw, err := f.SyscallConn()
	if err == nil {
		var set error
		if err = raw.Control(func(fd uintptr) { set = configure(int(fd), bauds()[baud]) }); err == nil {
			err = set
		}
	}
	if err != nil {
		return nil, fmt.Errorf("setting up serial port %q: %w", path, errors.Join(err, f.Close()))
	}
	return &port{file: f}, nil
}

// configure sets 8 bits, no parity, one stop bit, no flow control and no processing, and keeps others out.
func configure(fd int, speed uint32) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("it is no terminal: %w", err)
	}
	t.Iflag, t.Oflag, t.Lflag = unix.IGNBRK, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | speed
	t.Ispeed, t.Ospeed = speed, speed
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return errors.Join(unix.IoctlSetTermios(fd, unix.TCSETS, t), unix.IoctlSetInt(fd, unix.TIOCEXCL, 0), unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH))
}

func (p *port) close() error { return p.file.Close() }

func (p *port) write(b []byte, until time.Time) error {
	if err := p.file.SetWriteDeadline(until); err != nil {
		return err
	}
	_, err := p.file.Write(b)
	return err
}

// line reads up to the next CR or LF and gives what lies before it, without blank lines. Of a line that is too long only the
// beginning is kept.
func (p *port) line(until time.Time) (string, error) {
	var line []byte
	for {
		for i, c := range p.rest {
			if c != '\r' && c != '\n' {
				if len(line) < maxLineBytes {
					line = append(line, c)
				}
				continue
			}
			if len(line) > 0 {
				p.rest = p.rest[i+1:]
				return string(line), nil
			}
		}
		if err := p.fill(until); err != nil {
			return "", err
		}
	}
}

func (p *port) fill(until time.Time) error {
	if err := p.file.SetReadDeadline(until); err != nil {
		return err
	}
	n, err := p.file.Read(p.in[:])
	p.rest = p.in[:n]
	return err
}

// drain throws away what comes until nothing does.
func (p *port) drain(now func() time.Time) error {
	for most := now().Add(quietMost); now().Before(most); {
		err := p.fill(now().Add(quiet))
		p.rest = nil
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
