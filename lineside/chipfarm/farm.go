package chipfarm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/secret"
)

// Names in the farm's folder.
const (
	specFile    = "farm.json"
	keyFile     = "kmc"
	lockFile    = "lock"
	handlerFile = "handler"
	chipFolder  = "chips"

	// folderVersion says how the files of the folder are written: 1, which did not say so, had a file for each chip.
	folderVersion = 2

	ownerOnly   = 0o600
	ownerFolder = 0o700
)

// Farm is an open chip farm. It is safe for concurrent use; clients hold it through a Session each.
type Farm struct {
	dir    string
	maker  *maker
	random io.Reader
	lock   *os.File
	packs  *packs

	mu      sync.Mutex
	handler *handler
	heads   map[uint16]*head
	// examined lies in the PC/SC test reader, when examining.
	examined  uint32
	examining bool

	reader sync.Mutex // the test reader has room for one chip
}

// folder is the specification as it lies in the folder.
type folder struct {
	Version int `json:"version"`
	Spec
}

// Create makes the folder of a new farm and gives the goods-in lists of its reels. Chips are made when they are loaded.
func Create(dir string, s Spec) ([]GoodsIn, error) {
	m, err := newMaker(s)
	if err != nil {
		return nil, fmt.Errorf("creating chip farm: %w", err)
	}
	if err := os.MkdirAll(dir, ownerFolder); err != nil {
		return nil, fmt.Errorf("creating chip farm: %w", err)
	}
	text, err := json.MarshalIndent(folder{Version: folderVersion, Spec: s}, "", "  ")
	if err == nil {
		err = s.MasterKey.Reveal(func(key []byte) error { return writeNew(filepath.Join(dir, keyFile), key) })
	}
	if err == nil { // last: without it there is no farm
		err = writeNew(filepath.Join(dir, specFile), text)
	}
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: %w", ErrExists, err)
	}
	if err != nil {
		return nil, fmt.Errorf("creating chip farm: %w", err)
	}
	return m.goodsIn(), nil
}

// Open opens a farm and keeps other processes out until Close. Random is what chips make their keys of; nil is the
// system's.
func Open(dir string, random io.Reader) (*Farm, error) {
	if random == nil {
		random = rand.Reader
	}
	f := &Farm{dir: dir, random: random, packs: newPacks(dir), heads: map[uint16]*head{}}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("opening chip farm: %w", errors.Join(err, f.release()))
	}
	return f, nil
}

func (f *Farm) open() error {
	s, err := readSpec(filepath.Join(f.dir, specFile))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(f.dir, keyFile))
	if err != nil {
		return err
	}
	s.MasterKey = secret.New(key)
	if s.Timing.Chip == (cardsim.Timing{}) {
		s.Timing.Chip = cardsim.DefaultTiming()
	}
	if f.maker, err = newMaker(s); err != nil {
		return err
	}
	if f.lock, err = os.OpenFile(filepath.Join(f.dir, lockFile), os.O_CREATE|os.O_RDWR, ownerOnly); err != nil {
		return err
	}
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("locking %q: %w: %w", f.lock.Name(), ErrLocked, err)
	}
	f.handler, err = openHandler(filepath.Join(f.dir, handlerFile), s.Chips)
	return err
}

func readSpec(path string) (Spec, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Spec{}, err
	}
	var made struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &made); err != nil {
		return Spec{}, fmt.Errorf("reading %q: %w", path, err)
	}
	if made.Version != folderVersion {
		return Spec{}, fmt.Errorf("reading %q: folder version %d, this program reads and writes %d; go on with the program that made the farm, or make a new one in another folder: %w",
			path, max(made.Version, 1), folderVersion, ErrVersion)
	}
	var all folder
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // a farm of a later release has chips that this one would make wrongly
	if err := d.Decode(&all); err != nil {
		return Spec{}, fmt.Errorf("reading %q: %w", path, err)
	}
	return all.Spec, nil
}

// GoodsIn gives the lists that Create gave.
func (f *Farm) GoodsIn() []GoodsIn { return f.maker.goodsIn() }

// Close takes the power from every chip and lets go of the folder. Sessions must be closed before.
func (f *Farm) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, h := range f.heads {
		errs = append(errs, h.empty())
	}
	errs = append(errs, f.packs.Close(), f.handler.log.Close(), f.release())
	return errors.Join(errs...)
}

func (f *Farm) release() error {
	if f.lock == nil {
		return nil
	}
	err := f.lock.Close()
	f.lock = nil
	return err
}

// chip makes a chip, or takes it up where its memory says. The memory is to be closed by the caller.
func (f *Farm) chip(index uint32) (*cardsim.Chip, *chipMemory, error) {
	p, err := f.maker.personality(index)
	if err != nil {
		return nil, nil, fmt.Errorf("making chip %d: %w", index, err)
	}
	nvm, err := f.packs.memory(index)
	if err != nil {
		return nil, nil, fmt.Errorf("opening chip %d: %w", index, err)
	}
	c, err := cardsim.New(p, nvm, f.random)
	if err != nil {
		return nil, nil, fmt.Errorf("opening chip %d: %w", index, errors.Join(err, nvm.Close()))
	}
	return c, nvm, nil
}

// Place is one chip in a bin.
type Place struct {
	Index uint32    `cbor:"1,keyasint" json:"index"` // on the reel, from 0
	Chip  id.ChipID `cbor:"2,keyasint" json:"chip"`
}

// Ref names a chip: by the id that it was made with, or else by its index on the reel. A twin has only its index.
type Ref struct {
	ID    id.ChipID
	Index uint32
}

// find gives the index of a chip.
func (f *Farm) find(chip Ref) (uint32, error) {
	if chip.ID.IsZero() {
		return chip.Index, nil
	}
	index, ok := f.maker.indexOf(chip.ID)
	if !ok {
		return 0, fmt.Errorf("looking for chip %s, which is not of this farm: %w", chip.ID, ErrRefused)
	}
	return index, nil
}

// bin lists at most count chips of a bin from the first on, and says how many there are.
func (f *Farm) bin(bin perso.Bin, first, count int) (places []Place, total int, err error) {
	f.mu.Lock()
	all := f.handler.bins[bin]
	f.mu.Unlock() // all is only appended to, never changed
	for i := first; i < min(len(all), first+count); i++ {
		chip, err := f.maker.chipID(all[i])
		if err != nil {
			return nil, 0, fmt.Errorf("listing bin %q: %w", bin, err)
		}
		places = append(places, Place{Index: all[i], Chip: chip})
	}
	return places, len(all), nil
}

// inspect powers a chip that lies in a bin, in a reader of its own, and runs plain commands. Faults of contact and of
// answers are the production heads'; a dead chip is dead here too.
func (f *Farm) inspect(ctx context.Context, index uint32, apdus [][]byte) (responses [][]byte, err error) {
	f.mu.Lock()
	_, binned := f.handler.place[index]
	f.mu.Unlock()
	if !binned {
		return nil, fmt.Errorf("inspecting chip %d, which is in no bin: %w", index, ErrRefused)
	}
	f.reader.Lock()
	defer f.reader.Unlock()
	if examined, there := f.at(testHead); there && examined == index {
		return nil, fmt.Errorf("inspecting chip %d, which lies in the PC/SC test reader: %w", index, ErrRefused)
	}
	c, nvm, err := f.chip(index)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nvm.Close()) }()
	c.OnTestReader()
	if len(c.PowerOn()) == 0 {
		return nil, fmt.Errorf("inspecting chip %d: no answer to reset: %w", index, card.ErrMute)
	}
	defer c.PowerOff()
	for _, apdu := range apdus {
		if err := context.Cause(ctx); err != nil {
			return responses, err
		}
		resp, _ := c.Process(apdu)
		if resp == nil {
			return responses, fmt.Errorf("inspecting chip %d: %w", index, card.ErrMute)
		}
		responses = append(responses, resp)
	}
	return responses, nvm.failed
}

func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, ownerOnly)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
