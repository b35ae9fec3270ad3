package hsm

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Unix(0, 0)
	gone := Error{Op: "C_Sign", CKR: 0xE0}
	pass := func(o outcome) {
		t.Helper()
		probe, err := b.admit(now)
		if err != nil {
			t.Fatal(err)
		}
		b.report(now, probe, o, gone)
	}
	refuse := func(when string) {
		t.Helper()
		if _, err := b.admit(now); !errors.Is(err, ErrTripped) || !errors.Is(err, ErrTokenGone) {
			t.Errorf("%s: %v", when, err)
		}
	}
	for range breakerFailures - 1 {
		pass(failing)
	}
	pass(unknown)
	pass(well) // one answer and the count begins anew
	for range breakerFailures {
		pass(failing)
	}
	refuse("after five failures")
	now = now.Add(breakerRest - 1)
	refuse("just before the rest ends")
	now = now.Add(1)
	probe, err := b.admit(now)
	if !probe || err != nil {
		t.Fatalf("after the rest: %v, %v", probe, err)
	}
	refuse("while it is tried")
	b.report(now, false, failing, gone) // an operation from before: no longer rest
	b.report(now, true, failing, gone)
	refuse("after the probe failed")
	now = now.Add(breakerRest)
	pass(unknown) // a cancelled probe leaves the place to the next one
	probe, err = b.admit(now)
	if !probe || err != nil {
		t.Fatalf("after a cancelled probe: %v, %v", probe, err)
	}
	if !b.report(now, probe, well, nil) {
		t.Error("closing it is no change")
	}
	for range breakerFailures - 1 {
		pass(failing)
	}
	pass(well)
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   error
		moved bool
		want  outcome
	}{
		{nil, false, well},
		{Error{"C_Sign", 0x30}, true, failing},
		{Error{"C_Sign", 0x05}, true, failing},
		{Error{"C_Sign", 0x101}, true, failing},
		{Error{"C_Sign", 0x68}, true, well},
		{ErrNotFound, true, well},
		{fmt.Errorf("%w: %w", ErrSealBroken, Error{"C_Decrypt", 0x05}), true, well},
		{ErrBusy, true, unknown},
		{ErrBusy, false, failing},
		{context.Canceled, false, unknown},
		{ErrClosed, false, unknown},
		{errors.New("ours"), false, unknown},
	} {
		if got := outcomeOf(test.err, test.moved); got != test.want {
			t.Errorf("%v, moved %v: %d, want %d", test.err, test.moved, got, test.want)
		}
	}
}
