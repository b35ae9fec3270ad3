package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/lineside"
	"github.com/persoline/persoline/lineside/atcsim"
	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/lineside/pcsc"
	"github.com/persoline/persoline/lineside/rig"
	"github.com/persoline/persoline/lineside/vpcd"
	"github.com/persoline/persoline/perso"
)

// Transport is how the heads of a line reach their chips.
type Transport string

// The transports.
const (
	TransportFarm Transport = "farm"   // the chip farm's own socket
	TransportPCSC Transport = "pcsc"   // readers of pcscd
	TransportAT   Transport = "atcsim" // modems on serial ports
)

// ParseTransport reads a transport; nothing is the farm.
func ParseTransport(text string) (Transport, error) {
	switch t := Transport(text); t {
	case "", TransportFarm:
		return TransportFarm, nil
	case TransportPCSC, TransportAT:
		return t, nil
	}
	return "", fmt.Errorf("transport %q is not one of %s, %s, %s", text, TransportFarm, TransportPCSC, TransportAT)
}

// checkTransport says whether a line's heads can be reached.
func (l Line) checkTransport() error {
	t, err := ParseTransport(string(l.Transport))
	if err != nil {
		return fmt.Errorf("line %q: %w", l.Name, err)
	}
	switch {
	case t == TransportFarm && len(l.Readers) > 0:
		return fmt.Errorf("line %q: readers are named, but its transport is %s", l.Name, t)
	case l.farmReaders() && l.Heads > MaxFarmReaders:
		return fmt.Errorf("line %q: %d heads under the farm's PC/SC readers, which are %d at most", l.Name, l.Heads, MaxFarmReaders)
	case t == TransportAT && l.ATRCommand == "":
		return fmt.Errorf("line %q: no atr_command: AT commands that all modems know do not show the ATR, and heads compare it", l.Name)
	case t == TransportAT && len(l.Readers) == 0, len(l.Readers) > 0 && len(l.Readers) != l.Heads:
		return fmt.Errorf("line %q: %d readers are named for %d heads", l.Name, len(l.Readers), l.Heads)
	}
	return nil
}

// MaxFarmReaders bounds the heads under the farm's PC/SC readers: it leaves one for the test reader.
const MaxFarmReaders = vpcd.MaxSlots - 1

// binPlan says which bins the line's handler has.
func (l Line) binPlan() (bins.Plan, error) {
	if len(l.Bins) == 0 {
		return bins.Standard(), nil
	}
	return bins.New(l.Bins)
}

// farmReaders reports whether the line's heads are under PC/SC readers that the farm makes.
func (l Line) farmReaders() bool { return l.Transport == TransportPCSC && len(l.Readers) == 0 }

// FarmReaders is the line whose farm has its heads under PC/SC readers, and how many; none when no line wants that.
func (s *Site) FarmReaders() (line perso.Name, heads int) {
	for _, l := range s.Config.Lines {
		if l.farmReaders() {
			return l.Name, l.Heads
		}
	}
	return "", 0
}

// PCSCD is the socket of the pcscd that has the farm's readers.
func (s *Site) PCSCD() string { return vpcd.Socket(s.readersDir()) }

func (s *Site) readersDir() string { return s.path("readers") }

// machine is what the line drives. Close ends it.
func (s *Site) machine(l Line, farm *chipfarm.Client) (m lineside.Machine, closed func() error, err error) {
	switch l.Transport {
	case TransportPCSC:
		return s.readerMachine(l, farm)
	case TransportAT:
		return modemMachine(l, farm)
	}
	return farm, func() error { return nil }, nil
}

// readerMachine has readers of pcscd under the handler.
func (s *Site) readerMachine(l Line, farm *chipfarm.Client) (lineside.Machine, func() error, error) {
	socket := l.PCSCD
	if l.farmReaders() && socket == "" {
		socket = s.PCSCD()
	}
	if err := pcsc.UseSocket(socket); err != nil {
		return nil, nil, err
	}
	places, readers := make([]rig.Place, l.Heads), make([]*pcsc.Reader, l.Heads)
	for i := range places {
		if l.farmReaders() {
			readers[i] = pcsc.NewReader(chipfarm.ReaderName(i))
			places[i] = farmReader{readers[i]}
			continue
		}
		readers[i] = pcsc.NewReader(l.Readers[i])
		places[i] = readers[i]
	}
	m, err := rig.New(farm, places)
	return m, func() (err error) {
		for _, r := range readers {
			err = errors.Join(err, r.Close())
		}
		return err
	}, err
}

// modemMachine has modems under the handler.
func modemMachine(l Line, farm *chipfarm.Client) (lineside.Machine, func() error, error) {
	places, modems := make([]rig.Place, l.Heads), make([]*atcsim.Modem, l.Heads)
	for i := range places {
		var err error
		if modems[i], err = atcsim.New(atcsim.Config{Port: l.Readers[i], ATRCommand: l.ATRCommand}); err != nil {
			return nil, nil, fmt.Errorf("line %q, head %d: %w", l.Name, i, err)
		}
		places[i] = modems[i]
	}
	m, err := rig.New(farm, places)
	return m, func() (err error) {
		for _, m := range modems {
			err = errors.Join(err, m.Close())
		}
		return err
	}, err
}

// farmReader is a virtual reader, which has an ATR of its own for the chip that is not there.
type farmReader struct{ *pcsc.Reader }

// Contact implements rig.Place.
func (r farmReader) Contact(ctx context.Context) (atr []byte, err error) {
	atr, err = r.Reader.Contact(ctx)
	if bytes.Equal(atr, vpcd.NoChip()) {
		return nil, err
	}
	return atr, err
}
