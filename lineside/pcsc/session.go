package pcsc

// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "library.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"
)

const (
	libraryName = "libpcsclite.so.1"
	socketName  = "PCSCLITE_CSOCK_NAME" // where the library looks for another pcscd than the system's
)

// UseSocket says which pcscd this process talks to: the path of its socket. It holds for the whole process and must be
// called before the first Open, since the library looks once. An empty path is the system's pcscd.
func UseSocket(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Setenv(socketName, path); err != nil {
		return fmt.Errorf("choosing pcscd at %q: %w", path, err)
	}
	return nil
}

var loadLibrary = sync.OnceValue(func() error {
	name := C.CString(libraryName)
	defer C.free(unsafe.Pointer(name))
	if text := C.pcsc_load(name); text != nil {
		return fmt.Errorf("%w (%s)", ErrLibrary, C.GoString(text))
	}
	return nil
})

// Session is one connection to pcscd. It is safe for concurrent use; calls are carried out one after another.
type Session struct {
	handle C.long
	work   chan func()
	quit   chan struct{}
	once   sync.Once
	gone   chan error // what the release said
}

// Open connects to pcscd.
func Open(ctx context.Context) (*Session, error) {
	if err := loadLibrary(); err != nil {
		return nil, err
	}
	s := &Session{work: make(chan func()), quit: make(chan struct{}), gone: make(chan error, 1)}
	ready := make(chan error, 1)
	go s.run(ready)
	select {
	case err := <-ready:
		if err != nil {
			return nil, fmt.Errorf("connecting to pcscd: %w", err)
		}
		return s, nil
	case <-ctx.Done():
		close(s.quit)
		return nil, fmt.Errorf("connecting to pcscd: %w", context.Cause(ctx))
	}
}

// run owns the handle: it makes every call of the session.
func (s *Session) run(ready chan<- error) {
	err := check("SCardEstablishContext", int64(C.pcsc_establish(&s.handle)))
	ready <- err
	if err != nil {
		return
	}
	for {
		select {
		case f := <-s.work:
			f()
		case <-s.quit:
			s.gone <- check("SCardReleaseContext", int64(C.pcsc_release(s.handle)))
			return
		}
	}
}

// Close ends the connection. Chips that it holds are let go as they are. A session whose pcscd is gone closes without error.
func (s *Session) Close() error {
	s.once.Do(func() { close(s.quit) })
	select {
	case err := <-s.gone:
		s.gone <- nil
		if errors.Is(err, ErrService) {
			return nil
		}
		return err
	case <-time.After(closeWait):
		return errors.New("closing PC/SC session: a call hangs in its reader")
	}
}

// result is what a call gives.
type result[T any] struct {
	value T
	err   error
}

// do has the session's goroutine make a call. When ctx ends first, the call goes on without its caller, so it must not
// touch what the caller still holds.
func do[T any](ctx context.Context, s *Session, call func() (T, error)) (T, error) {
	var none T
	if err := context.Cause(ctx); err != nil {
		return none, err
	}
	answer := make(chan result[T], 1)
	select {
	case s.work <- func() {
		v, err := call()
		answer <- result[T]{v, err}
	}:
	case <-s.quit:
		return none, ErrClosed
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	select {
	case r := <-answer:
		return r.value, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// Readers lists the readers that pcscd has, in its order; none is no error.
func (s *Session) Readers(ctx context.Context) ([]string, error) {
	names, err := do(ctx, s, func() ([]string, error) {
		buffer := make([]byte, maxNamesBytes)
		length := C.ulong(len(buffer))
		err := check("SCardListReaders", int64(C.pcsc_list(s.handle, (*C.char)(unsafe.Pointer(&buffer[0])), &length)))
		if e := (*Error)(nil); errors.As(err, &e) && e.Code == noReadersAvailable {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return strings.FieldsFunc(string(buffer[:min(int(length), len(buffer))]), func(r rune) bool { return r == 0 }), nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing readers: %w", err)
	}
	return names, nil
}
