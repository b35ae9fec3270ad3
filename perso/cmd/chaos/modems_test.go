package chaos

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/lineside/atcsim/modemtest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/cardsim/t0"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso/cmd/site"
)

// TestLotThroughModems makes a lot of chips that lie in modems, some of which lose contact while they are written.
func TestLotThroughModems(t *testing.T) {
	t.Parallel()
	const heads, units, spares, chips = 3, 24, 6, 60
	f := newFactory(t, heads, chips, chipfarm.FaultSpec{Kind: cardsim.FaultTearAfter, Permille: 100}, chipfarm.FaultSpec{Kind: cardsim.FaultTearBefore, Permille: 100})
	line := &f.site.Config.Lines[0]
	line.Transport, line.ATRCommand = site.TransportAT, modemtest.ATRCommand
	for head := range uint16(heads) {
		line.Readers = append(line.Readers, modemtest.Start(t, inModem(t, f, head)).Port)
	}
	text, err := json.Marshal(f.site.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.site.Dir, "site.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := f.supervise()
	f.connect()
	l := f.submit("MODEM-1", units, spares)
	l.release()
	s := l.complete()
	t.Logf("%d good; %v", s.Good, s.Reasons)
	l.close()
	f.judge(l)
	l.audited()
	stop()
}

// modemChip is the chip under a head of the farm, as it lies in a modem.
type modemChip struct {
	*t0.Interface
	dial func() (*chipfarm.Client, error)
	head uint16
}

// inModem reaches the chip when it is first asked for: the farm does not run yet.
func inModem(t *testing.T, f *factory, head uint16) modemChip {
	var farm *chipfarm.Client
	t.Cleanup(func() {
		if farm != nil {
			_ = farm.Close() // the farm has ended
		}
	})
	dial := func() (_ *chipfarm.Client, err error) {
		if farm == nil {
			farm, err = chipfarm.Dial(context.Background(), f.site.FarmAddress())
		}
		return farm, err
	}
	return modemChip{head: head, dial: dial, Interface: t0.New(func(ctx context.Context, command []byte) ([]byte, error) {
		c, err := dial()
		if err != nil {
			return nil, err
		}
		return c.Transmit(ctx, head, command)
	})}
}

func (c modemChip) PowerOn() []byte {
	c.Reset()
	farm, err := c.dial()
	if err != nil {
		return nil
	}
	atr, err := farm.Contact(context.Background(), c.head)
	if err != nil {
		return nil
	}
	return atr
}

func (c modemChip) PowerOff() {
	c.Reset()
	if farm, err := c.dial(); err == nil {
		_ = farm.Lift(context.Background(), c.head) // a chip that is not there has no power
	}
}
