package chipfarm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
)

// handler is what the machine knows of its chips: the reel, the heads, the bins. Its counters are the lengths of those,
// so they cannot disagree with what lies there.
type handler struct {
	log   *logFile
	chips uint32
	next  uint32 // on the reel
	heads map[uint16]uint32
	bins  map[perso.Bin][]uint32
	place map[uint32]perso.Bin // of the chips in bins
}

// A movement is one byte for what, two for the head, four for the chip: of the reel to a head, or of a head to a bin.
const (
	moveLoad = 1
	moveBin  = 2 // into the first of bins, and so on

	movementBytes = 1 + 2 + 4
)

func openHandler(path string, chips uint32) (*handler, error) {
	h := &handler{log: &logFile{path: path}, chips: chips, heads: map[uint16]uint32{},
		bins: map[perso.Bin][]uint32{}, place: map[uint32]perso.Bin{}}
	err := h.log.Replay(func(_ int64, b []byte) error {
		if len(b) != movementBytes {
			return fmt.Errorf("movement of %d bytes: %w", len(b), ErrCorrupt)
		}
		head, index := binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint32(b[3:])
		bin, known := binOf(b[0])
		lies, there := h.heads[head]
		switch {
		case b[0] == moveLoad && index == h.next && index < chips && !there && head < MaxHeads:
		case known && there && lies == index:
		default:
			return fmt.Errorf("movement %d of chip %d at head %d: %w", b[0], index, head, ErrCorrupt)
		}
		h.apply(bin, head, index)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening handler: %w", errors.Join(err, h.log.Close()))
	}
	return h, nil
}

// load brings the next chip under an empty head.
func (h *handler) load(head uint16) (index uint32, ok bool, err error) {
	if index, ok = h.heads[head]; ok || h.next == h.chips {
		return index, ok, nil
	}
	index = h.next
	if err := h.move(moveLoad, head, index); err != nil {
		return 0, false, fmt.Errorf("loading chip %d at head %d: %w", index, head, err)
	}
	h.apply("", head, index)
	return index, true, nil
}

// put brings the chip under a head into a bin.
func (h *handler) put(head uint16, bin perso.Bin) error {
	index, there := h.heads[head]
	if !there {
		return nil
	}
	if err := h.move(moveOf(bin), head, index); err != nil {
		return fmt.Errorf("binning chip %d at head %d: %w", index, head, err)
	}
	h.apply(bin, head, index)
	return nil
}

func (h *handler) move(what byte, head uint16, index uint32) error {
	b := binary.BigEndian.AppendUint16([]byte{what}, head)
	_, err := h.log.Append(binary.BigEndian.AppendUint32(b, index))
	return err
}

// apply does a movement; without a bin it is a load.
func (h *handler) apply(bin perso.Bin, head uint16, index uint32) {
	if bin == "" {
		h.next++
		h.heads[head] = index
		return
	}
	delete(h.heads, head)
	h.bins[bin] = append(h.bins[bin], index)
	h.place[index] = bin
}

// count is how many chips lie in each bin.
func (h *handler) count() map[perso.Bin]uint64 {
	n := make(map[perso.Bin]uint64, len(bins))
	for _, bin := range bins {
		n[bin] = uint64(len(h.bins[bin]))
	}
	return n
}

// bins are the bins of every farm, in the order of their movements.
var bins = [...]perso.Bin{perso.BinGood, perso.BinRejectLive, perso.BinRejectBlank, perso.BinReturn, perso.BinSample, perso.BinContact, perso.BinRetest}

func binOf(what byte) (perso.Bin, bool) {
	if what < moveBin || int(what-moveBin) >= len(bins) {
		return "", false
	}
	return bins[what-moveBin], true
}

// moveOf is the movement into a bin; 0 when there is no such bin.
func moveOf(bin perso.Bin) byte {
	for i, b := range bins {
		if b == bin {
			return moveBin + byte(i)
		}
	}
	return 0
}
