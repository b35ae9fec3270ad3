// Package dryrun plays a script on a virtual chip of the farm's kind, and keeps a trace that people can read.
//
// It exists for the engineer at his desk: a product's script is tried, command by command, long before a lot, an HSM or a
// line is there. The chip, its keys and the values of a card are made up here, from constants; nothing of a dry run is a
// secret of anybody, and nothing of it can be mistaken for one: a trace names the variables that are secret on a real card
// instead of their bytes. What the vault would judge (card cryptograms, proof of possession, AUTS) is judged the same way,
// except that the certificate is made up too.
//
// Only perso/cmd calls it.
package dryrun

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

// ErrCannot says that a dry run cannot show the script: the virtual chip is not of that kind, or a value is missing.
var ErrCannot = errors.New("a dry run cannot show it")

// Config says what the script is tried on.
type Config struct {
	Product product.Product
	// Values are given for variables by name; those that are not are made up.
	Values map[string][]byte
	// When are the decisions that the vault would make, true where nothing is said.
	When map[string]bool
	// Packages are the profile packages that the script loads, by name, ready for a card's values.
	Packages map[string]*saip.Template
	// Again presents the personalized chip a second time: sections that are found done are left out then.
	Again bool
	// Torn lets Interrupt also lose contact while a command writes, on a chip whose writing is not atomic: for each n, that many of
	// the values that it writes are there, the next one by half where it replaces one, and the rest is not. A key set that is torn so
	// is lost, on real chips too.
	Torn []uint16
}

// Trace is what happened.
type Trace struct {
	Entries  []Entry
	Physical time.Duration // that a real chip takes, by cardsim's timing model
	// Failed is what the chip answered wrongly, nil when the script went through.
	Failed error
}

// Kind is the sort of an entry.
type Kind string

// The sorts of entries.
const (
	KindCommand Kind = "command"
	KindPower   Kind = "power"   // the chip was powered; Answer is its answer to reset
	KindSkipped Kind = "skipped" // a section that was left out
)

// Entry is one thing that happened.
type Entry struct {
	Contact int // from 1; the second is that of Again
	Act     int // -1 before the channel opens
	Phase   script.Phase
	Section string
	Label   string
	Kind    Kind
	Secure  bool
	Command string // hex, with {form:NAME} where a secret goes
	Expect  string // accepted statuses
	Answer  []byte // data, unwrapped
	SW      uint16
	Meaning string

	Raw  []byte // as sent
	Cost cardsim.Cost
}

// master is the made-up maker's key of every chip of a dry run.
func master() []byte { return bytes.Repeat([]byte{0x42}, 16) }

// Chip is a fresh virtual chip of a product, as its maker delivers it: the same one each time, its key pair included. It
// misbehaves as the faults say.
func Chip(p product.Product, faults ...cardsim.Fault) (*cardsim.Chip, error) {
	like, err := personality(p)
	if err != nil {
		return nil, err
	}
	like.Faults = faults
	return cardsim.New(like, &cardsim.Memory{}, rand.NewChaCha8([32]byte{1}))
}

// personality is what the maker made of the chip.
func personality(p product.Product) (like cardsim.Personality, err error) {
	if like.Options, err = cardsim.OptionsOf(p); err != nil {
		return like, fmt.Errorf("%w: %w", err, ErrCannot)
	}
	if like.ATR, err = hex.DecodeString(strings.ReplaceAll(p.ATR.String(), "X", "0")); err != nil {
		return like, fmt.Errorf("making a chip: %w", err)
	}
	if last := len(like.ATR) - 1; strings.HasSuffix(p.ATR.String(), "XX") {
		for _, b := range like.ATR[1:last] { // the check byte (ISO/IEC 7816-3 §8.2.5)
			like.ATR[last] ^= b
		}
	}
	like.KVN = p.Factory.KVN
	for i := range like.CPLC {
		like.CPLC[i] = byte(i + 1)
	}
	if like.Keys, err = scp.DiversifyKDF3(master(), like.ChipID()); err != nil {
		return like, fmt.Errorf("making a chip: %w", err)
	}
	return like, nil
}

// Run tries a script. The error says that it could not be tried.
func Run(s *script.Script, c Config) (Trace, error) {
	p, err := newPlayer(s, c)
	if err != nil {
		return Trace{}, err
	}
	err = p.present()
	if err == nil && c.Again {
		err = p.present()
	}
	return p.ended(err)
}

func newPlayer(s *script.Script, config Config, faults ...cardsim.Fault) (*player, error) {
	for _, c := range s.Channels {
		if s16 := c.Protocol == script.SCP03 && config.Product.Factory.I&scp.OptS16 != 0; c.Protocol != protocolOf(config.Product) || c.S16 != s16 {
			return nil, fmt.Errorf("opening a channel of %s, 16-byte MACs %v: the product's chips have %s, %v: %w", c.Protocol, c.S16, protocolOf(config.Product), s16, ErrCannot)
		}
	}
	chip, err := Chip(config.Product, faults...)
	if err != nil {
		return nil, err
	}
	values, err := newValues(s, config)
	return &player{config: config, script: s, chip: chip, values: values}, err
}

// ended tells what the chip answered wrongly from what kept the script from being tried.
func (p *player) ended(err error) (Trace, error) {
	var wrong *wrongAnswer
	if errors.As(err, &wrong) {
		p.trace.Failed, err = wrong, nil
	}
	return p.trace, err
}

// Interruption is a command at which contact was lost, after which the chip was presented again.
type Interruption struct {
	Command  int // of the first contact, from 1
	Label    string
	Executed bool  // the chip did it, or began to, and its answer was lost
	Torn     bool  // it wrote only a part
	Failed   error // what was wrong with the second contact, nil when it ended well
}

// Interrupt loses contact at each command in turn, before and after the chip carried it out, and presents the chip again:
// whether DONE and REDO are right is seen there only. It expects a script that goes through undisturbed.
//
// A chip that ends well must hold what one holds that was not interrupted (cardsim.Chip.Digest).
func Interrupt(s *script.Script, c Config) (all []Interruption, err error) {
	whole, err := newPlayer(s, c)
	if err != nil {
		return nil, err
	}
	_ = whole.present() // one that fails does so below as well
	want := whole.chip.Digest()
	kinds := []cardsim.Fault{{Kind: cardsim.FaultTearBefore}, {Kind: cardsim.FaultTearAfter}}
	for _, values := range c.Torn {
		kinds = append(kinds, cardsim.Fault{Kind: cardsim.FaultTearInside, Bit: values})
	}
	for at := uint32(1); ; at++ {
		for _, fault := range kinds {
			fault.APDU = at
			p, err := newPlayer(s, c, fault)
			if err != nil {
				return nil, err
			}
			p.untold = true
			if err := p.present(); !errors.Is(err, errMute) {
				_, err = p.ended(err)
				return all, err // all commands were interrupted
			}
			torn := p.trace.Entries[len(p.trace.Entries)-1]
			trace, err := p.ended(p.present())
			if err != nil {
				return nil, err
			}
			one := Interruption{Command: int(at), Label: torn.Label, Executed: fault.Kind != cardsim.FaultTearBefore, Torn: fault.Kind == cardsim.FaultTearInside, Failed: trace.Failed}
			if one.Failed == nil && p.chip.Digest() != want {
				one.Failed = wrong("the chip holds something else than one that was not interrupted")
			}
			all = append(all, one)
		}
	}
}
