package pcsc

// #include <stdlib.h>
// #include "library.h"
import "C"

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// Flags is what pcscd knows of a reader (SCARD_STATE_*).
type Flags uint32

// The flags.
const (
	Changed     Flags = 0x0002 // against what was known
	Unknown     Flags = 0x0004 // no such reader
	Unavailable Flags = 0x0008 // unplugged
	Empty       Flags = 0x0010
	Present     Flags = 0x0020
	Exclusive   Flags = 0x0080 // a program holds the chip for itself
	InUse       Flags = 0x0100
	Mute        Flags = 0x0200 // no answer to reset
	Unpowered   Flags = 0x0400

	eventBits = 16 // above them is a count of events
)

// Has reports whether all of some flags are set.
func (f Flags) Has(some Flags) bool { return f&some == some }

// String lists the flags in words.
func (f Flags) String() string {
	var words []string
	for _, w := range []struct {
		flag Flags
		word string
	}{{Unknown, "unknown"}, {Unavailable, "unplugged"}, {Empty, "empty"}, {Present, "chip"}, {Mute, "mute"}, {Unpowered, "without power"},
		{Exclusive, "held by one program"}, {InUse, "in use"}} {
		if f.Has(w.flag) && (w.flag != InUse || !f.Has(Exclusive)) {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ", ")
}

// State is a reader as pcscd sees it.
type State struct {
	Reader string
	Flags  Flags
	ATR    []byte // of the chip in it; empty for none

	known C.ulong // flags and event count, as the library wants them back
}

// plugAndPlay is the name under which the library reports that readers came or went.
const plugAndPlay = `\\?PnP?\Notification`

// States reads the state of readers now.
func (s *Session) States(ctx context.Context, readers ...string) ([]State, error) {
	states := make([]State, len(readers))
	for i, name := range readers {
		states[i].Reader = name
	}
	return s.change(ctx, states, 0)
}

// Await waits until the state of a reader differs from the states given, until a reader comes or goes, or until ctx ends,
// and gives the states anew. A nil list waits for a reader to come or go. An ATR that differs is a difference too: a virtual
// reader is never empty to pcscd (lineside/vpcd), so it has no event for a chip that comes into one or goes.
func (s *Session) Await(ctx context.Context, known []State) ([]State, error) {
	watch := append(slices.Clone(known), State{Reader: plugAndPlay})
	before, err := s.Readers(ctx)
	if err != nil {
		return nil, err
	}
	for {
		now, err := s.change(ctx, watch, stepWait)
		if err != nil {
			return nil, err
		}
		for i, st := range now {
			if st.known != watch[i].known && st.Flags.Has(Changed) {
				return now[:len(known)], nil
			}
		}
		if fresh, err := s.others(ctx, known); err != nil || fresh != nil {
			return fresh, err
		}
		// One that comes between two waits is no change to the library.
		names, err := s.Readers(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(names, before) {
			return now[:len(known)], nil
		}
	}
}

// others gives the states anew if an ATR is another one; else nil.
func (s *Session) others(ctx context.Context, known []State) ([]State, error) {
	if len(known) == 0 {
		return nil, nil
	}
	names := make([]string, len(known))
	for i, st := range known {
		names[i] = st.Reader
	}
	now, err := s.States(ctx, names...)
	if err != nil {
		return nil, err
	}
	for i := range now {
		if !bytes.Equal(now[i].ATR, known[i].ATR) {
			return now, nil
		}
	}
	return nil, nil
}

// change asks once. Within the time given, the library waits for a difference to what is known; a state never asked for
// differs at once.
func (s *Session) change(ctx context.Context, states []State, wait time.Duration) ([]State, error) {
	if len(states) == 0 || len(states) > MaxReaders+1 {
		return nil, fmt.Errorf("asking for the state of %d readers, expected 1 to %d", len(states), MaxReaders)
	}
	now, err := do(ctx, s, func() ([]State, error) { return s.ask(states, wait) })
	if err != nil {
		return nil, fmt.Errorf("asking for the state of readers: %w", err)
	}
	return now, nil
}

func (s *Session) ask(states []State, wait time.Duration) ([]State, error) {
	table := (*[MaxReaders + 1]C.pcsc_state)(C.calloc(C.size_t(len(states)), C.sizeof_pcsc_state))
	defer C.free(unsafe.Pointer(table))
	for i, st := range states {
		name := C.CString(st.Reader)
		defer C.free(unsafe.Pointer(name))
		table[i].reader, table[i].known = name, st.known
	}
	err := check("SCardGetStatusChange", int64(C.pcsc_change(s.handle, C.ulong(wait.Milliseconds()), &table[0], C.ulong(len(states)))))
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == timedOut {
		return states, nil
	}
	if err != nil {
		return nil, err
	}
	now := make([]State, len(states))
	for i := range now {
		c := &table[i]
		now[i] = State{Reader: states[i].Reader, Flags: Flags(c.now & (1<<eventBits - 1)), known: c.now &^ C.ulong(Changed)}
		if n := int(c.atr_length); n > 0 && n <= C.PCSC_ATR_BYTES {
			now[i].ATR = C.GoBytes(unsafe.Pointer(&c.atr[0]), C.int(n))
		}
	}
	return now, nil
}
