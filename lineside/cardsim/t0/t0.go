// Package t0 is the chip's end of T=0: it lets a virtual chip, which takes whole commands, be spoken to in blocks.
//
// It exists because readers, modems and other people's programs speak T=0 to a UICC: they send P3 where a command has Lc or
// Le, and fetch an answer by GET RESPONSE. What a chip answers does not depend on it, only how the answer travels.
//
// Contract. An Interface belongs to one goroutine and to one contact of one chip: Reset begins the next. A block of five
// bytes has P3 as its Le, except for SELECT, where a chip takes P3 00 for an empty data field. A wrong Le is answered 6Cxx
// and the command is not carried out again for the right one. A block with data is answered 61xx when the chip has answer
// data. Whoever sends Le behind the data speaks of whole commands (T=1, or a reader that hides the protocol) and gets the
// whole answer.
//
// Callers: lineside/chipfarm, tests of transports.
//
// Specifications: ISO/IEC 7816-3 §10.3, §12.2; ETSI TS 102 221 §7.3.1.1.
package t0

import (
	"bytes"
	"context"

	"github.com/persoline/persoline/perso/apdu"
)

const (
	insSelect      = 0xA4
	insGetResponse = 0xC0

	headerBytes = 4
	blockBytes  = headerBytes + 1
)

// Run carries out a whole command on the chip. An error is the loss of the chip.
type Run func(ctx context.Context, command []byte) (answer []byte, err error)

// Interface is the chip's end of one contact.
type Interface struct {
	run Run

	waiting []byte  // answer data for GET RESPONSE
	sw      apdu.SW // that follows them

	header []byte // of the command that was answered 6Cxx
	held   []byte // the answer that it gets with the right Le
}

// New makes one for a chip.
func New(run Run) *Interface { return &Interface{run: run} }

// Reset forgets what waits: the chip was reset.
func (i *Interface) Reset() { i.waiting, i.sw, i.header, i.held = nil, 0, nil, nil }

// Exchange takes a block, or a whole command, and gives the answer.
func (i *Interface) Exchange(ctx context.Context, block []byte) ([]byte, error) {
	if len(block) == blockBytes && block[1] == insGetResponse {
		return i.getResponse(le(block[headerBytes])), nil
	}
	header, held := i.header, i.held
	i.Reset()
	switch {
	case len(block) < headerBytes:
		return apdu.SWWrongLength.Append(nil), nil
	case len(block) == headerBytes:
		return i.run(ctx, block)
	case len(block) == blockBytes && block[1] == insSelect && block[headerBytes] == 0:
		return i.hold(ctx, block)
	case len(block) == blockBytes:
		if !bytes.Equal(block[:headerBytes], header) {
			held = nil
		}
		return i.read(ctx, block, held)
	case len(block) == blockBytes+int(block[headerBytes]):
		return i.hold(ctx, append(bytes.Clone(block), 0)) // a chip has all its answer ready
	}
	return i.run(ctx, block)
}

// read is a command that asks for data. Held is its answer when it was carried out before, with a wrong Le.
func (i *Interface) read(ctx context.Context, block, held []byte) ([]byte, error) {
	answer := held
	if answer == nil {
		var err error
		if answer, err = i.run(ctx, block); err != nil {
			return nil, err
		}
	}
	data, _, err := apdu.SWOf(answer)
	if err != nil || len(data) == 0 || len(data) == le(block[headerBytes]) {
		return answer, nil
	}
	i.header, i.held = bytes.Clone(block[:headerBytes]), answer
	return wrongLe(len(data)).Append(nil), nil
}

// hold carries out a command and keeps its answer data for GET RESPONSE.
func (i *Interface) hold(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := i.run(ctx, command)
	if err != nil {
		return nil, err
	}
	data, sw, err := apdu.SWOf(answer)
	if err != nil || len(data) == 0 {
		return answer, nil
	}
	i.waiting, i.sw = data, sw
	if sw.Warning() {
		return sw.Append(nil), nil
	}
	return more(len(data)).Append(nil), nil
}

func (i *Interface) getResponse(n int) []byte {
	switch {
	case len(i.waiting) == 0:
		return apdu.SWConditions.Append(nil)
	case n > len(i.waiting):
		return wrongLe(len(i.waiting)).Append(nil)
	}
	data := i.waiting[:n:n]
	if i.waiting = i.waiting[n:]; len(i.waiting) > 0 {
		return more(len(i.waiting)).Append(data)
	}
	if i.sw.Warning() {
		return apdu.SWOK.Append(data) // the warning was told before
	}
	return i.sw.Append(data)
}

func le(p3 byte) int {
	if p3 == 0 {
		return apdu.MaxLe
	}
	return int(p3)
}

func more(n int) apdu.SW    { return apdu.SWMore | apdu.SW(byte(n)) }
func wrongLe(n int) apdu.SW { return apdu.SWWrongLe | apdu.SW(byte(n)) }
