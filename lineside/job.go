package lineside

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

// challengeBytes is the length of a host challenge (S8).
const challengeBytes = 8

// ErrJob says that a work order cannot be carried out here, however often it is tried.
var ErrJob = errors.New("work order cannot be carried out")

// Job is a work order that this line has understood. It is read-only and shared by the heads.
type Job struct {
	ID       string
	Lot      perso.Name
	Product  string
	Quantity uint64

	atr      product.ATR
	script   [32]byte
	plain    *plainJob // of chips without a secure channel; nil of all others
	identify []bus.Play
	masks    []apdu.Mask // of identify
	open     []bus.Play  // what comes before INITIALIZE UPDATE: SELECT ISD, unless identify ends with it
}

// NewJob checks a work order against the compiled script that it names.
func NewJob(order bus.WorkOrder, compiled []byte) (*Job, error) {
	if got := sha256.Sum256(compiled); got != order.Script {
		return nil, fmt.Errorf("reading script of work order %q: %w: hash is %x, want %x", order.ID, ErrJob, got[:8], order.Script[:8])
	}
	s, err := script.Decode(compiled)
	if err != nil {
		return nil, fmt.Errorf("reading script of work order %q: %w: %w", order.ID, ErrJob, err)
	}
	j := &Job{ID: order.ID, Lot: order.Lot, Product: order.Product, Quantity: order.Quantity, script: order.Script}
	if _, err := perso.ParseName(string(order.Lot)); err != nil {
		return nil, fmt.Errorf("reading lot of work order %q: %w: %w", order.ID, ErrJob, err)
	}
	if j.atr, err = product.ParseATR(order.ATR); err != nil {
		return nil, fmt.Errorf("reading ATR of work order %q: %w: %w", order.ID, ErrJob, err)
	}
	if source := product.ChipIDSource(order.ChipID); source != product.ChipIDKDD && source != product.ChipIDCPLC {
		return nil, fmt.Errorf("reading work order %q: %w: chip identity %q is not what INITIALIZE UPDATE says", order.ID, ErrJob, order.ChipID)
	}
	for i, p := range s.IdentifyWindow() {
		j.identify = append(j.identify, bus.Play(p))
		j.masks = append(j.masks, s.Identify[i].SW)
	}
	if product.Channel(order.Channel) == product.ChannelADM {
		if j.plain, err = newPlainJob(s); err != nil {
			return nil, fmt.Errorf("reading work order %q: %w: %w", order.ID, ErrJob, err)
		}
		return j, nil
	}
	isd := selectAID(order.ISD)
	if err := isd.Valid(); err != nil || len(order.ISD) == 0 {
		return nil, fmt.Errorf("reading ISD of work order %q: %w", order.ID, ErrJob)
	}
	if !lastSelects(j.identify, isd.Data) {
		j.open = []bus.Play{{APDU: isd.Bytes(), SW: apdu.SWOK.String()}}
	}
	return j, nil
}

func selectAID(aid []byte) apdu.Command {
	return apdu.Command{INS: insSelect, P1: selectByAID, Data: aid, Le: apdu.MaxLe}
}

// SELECT by name (ISO/IEC 7816-4 §11.2.2).
const (
	insSelect   = 0xA4
	selectByAID = 0x04
)

// lastSelects says whether the last SELECT of a window chose aid, which spares the chip a command.
func lastSelects(window []bus.Play, aid []byte) bool {
	selected := false
	for _, p := range window {
		if c, err := apdu.Parse(p.APDU); err == nil && c.INS == insSelect {
			selected = c.P1 == selectByAID && bytes.Equal(c.Data, aid)
		}
	}
	return selected
}

// identified says whether every identify command was answered within its mask.
func (j *Job) identified(responses [][]byte) bool {
	if len(responses) != len(j.identify) {
		return false
	}
	for i, r := range responses {
		if _, sw, err := apdu.SWOf(r); err != nil || !j.masks[i].Match(sw) {
			return false
		}
	}
	return true
}

// opening is the window that opens a session for one host challenge: the key version is whatever the chip uses.
func (j *Job) opening(challenge []byte) []bus.Play {
	window := make([]bus.Play, 0, len(j.open)+1)
	window = append(window, j.open...)
	return append(window, bus.Play{APDU: scp.InitUpdateCommand(0, challenge).Bytes(), SW: apdu.SWOK.String()})
}

// opened reads the chip's identity from the answers to an opening window; ok is false when no session was opened.
func (j *Job) opened(responses [][]byte) (answer []byte, chip id.ChipID, ok bool) {
	if len(responses) != len(j.open)+1 {
		return nil, id.ChipID{}, false
	}
	answer = responses[len(responses)-1]
	data, sw, err := apdu.SWOf(answer)
	if err != nil || !sw.OK() {
		return nil, id.ChipID{}, false
	}
	said, err := scp.ParsePresented(data)
	if err != nil {
		return nil, id.ChipID{}, false
	}
	chip, err = id.ChipIDFromBytes(said.KDD[:])
	return answer, chip, err == nil
}

// playable checks a window from the bus against the limits of the script player.
func playable(window []bus.Play) error {
	w := make(script.Window, len(window))
	for i, p := range window {
		w[i] = script.Play(p)
	}
	return w.Check()
}
