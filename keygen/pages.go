package keygen

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Scratch is room outside memory for what a lot's index does not need now. Nobody reads it once it is closed.
type Scratch interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

const pageTagBytes = 16

// paging says how much of an array stays in memory.
type paging struct {
	items    uint64 // of a page
	resident int    // pages of an array
	room     func() (Scratch, error)
}

// usualPaging moves 256 items together: units are made one after the other, so a page is used for a while and then seldom
// again. What stays in memory is the same for each size of a lot, and enough for some hundred heads.
func usualPaging(room func() (Scratch, error)) paging {
	return paging{items: 256, resident: 8, room: room}
}

// layout is how an item looks in a page: a fixed number of bytes, where all zero is the item that nobody touched.
type layout[T any] struct {
	bytes int
	put   func(b []byte, item T)
	get   func(b []byte) T
}

// pages is an array of items of which a bounded part is in memory and the rest in the scratch. A page that comes back is
// checked against a tag that stayed: the disk is trusted with nothing but room.
type pages[T any] struct {
	len    uint64
	layout layout[T]
	mac    hash.Hash
	paging
	scratch Scratch              // nil until a page has to leave
	tags    [][pageTagBytes]byte // of pages in the scratch; zero where there is none
	in      map[uint64]*residentPage
	clock   uint64
}

type residentPage struct {
	bytes []byte
	dirty bool
	used  uint64
}

func newPages[T any](n uint64, l layout[T], mac hash.Hash, g paging) *pages[T] {
	return &pages[T]{len: n, layout: l, mac: mac, paging: g, tags: make([][pageTagBytes]byte, (n+g.items-1)/g.items), in: map[uint64]*residentPage{}}
}

// get reads an item; the zero one where there is none.
func (p *pages[T]) get(i uint64) (item T, err error) {
	if i >= p.len {
		return item, nil
	}
	page, err := p.page(i / p.items)
	if err != nil {
		return item, err
	}
	return p.layout.get(p.at(page, i)), nil
}

// set changes an item.
func (p *pages[T]) set(i uint64, item T) error {
	if i >= p.len {
		return fmt.Errorf("item %d of an index of %d", i, p.len)
	}
	page, err := p.page(i / p.items)
	if err != nil {
		return err
	}
	page.dirty = true
	p.layout.put(p.at(page, i), item)
	return nil
}

func (p *pages[T]) at(page *residentPage, i uint64) []byte {
	from := int(i%p.items) * p.layout.bytes
	return page.bytes[from : from+p.layout.bytes]
}

// page gives a page in memory, where another one makes room for it.
func (p *pages[T]) page(n uint64) (*residentPage, error) {
	p.clock++
	if page := p.in[n]; page != nil {
		page.used = p.clock
		return page, nil
	}
	page, err := p.vacate()
	if err != nil {
		return nil, fmt.Errorf("putting away a page of the index: %w", err)
	}
	if err := p.fetch(n, page.bytes); err != nil {
		return nil, fmt.Errorf("reading page %d of the index again: %w", n, err)
	}
	page.used, page.dirty = p.clock, false
	p.in[n] = page
	return page, nil
}

// vacate gives a page nobody uses: a new one, or that which was not used for longest.
func (p *pages[T]) vacate() (*residentPage, error) {
	if len(p.in) < p.resident {
		return &residentPage{bytes: make([]byte, int(p.items)*p.layout.bytes)}, nil
	}
	var oldest uint64
	var page *residentPage
	for n, r := range p.in {
		if page == nil || r.used < page.used {
			oldest, page = n, r
		}
	}
	if page.dirty {
		if err := p.store(oldest, page.bytes); err != nil {
			return nil, err
		}
	}
	delete(p.in, oldest)
	return page, nil
}

func (p *pages[T]) store(n uint64, items []byte) (err error) {
	if p.scratch == nil {
		if p.scratch, err = p.room(); err != nil {
			return err
		}
	}
	if _, err = p.scratch.WriteAt(items, p.offset(n)); err == nil {
		p.tags[n] = p.tag(n, items)
	}
	return err
}

// errPageChanged says that the scratch does not hold what was put there.
var errPageChanged = errors.New("it was changed")

func (p *pages[T]) fetch(n uint64, items []byte) error {
	if p.tags[n] == [pageTagBytes]byte{} {
		clear(items)
		return nil
	}
	if read, err := p.scratch.ReadAt(items, p.offset(n)); read < len(items) {
		return err
	}
	if tag := p.tag(n, items); !hmac.Equal(tag[:], p.tags[n][:]) {
		return errPageChanged
	}
	return nil
}

func (p *pages[T]) offset(n uint64) int64 { return int64(n*p.items) * int64(p.layout.bytes) }

const tagPage = 'p'

func (p *pages[T]) tag(n uint64, items []byte) (tag [pageTagBytes]byte) {
	p.mac.Reset()
	p.mac.Write(binary.BigEndian.AppendUint64([]byte{tagPage}, n))
	p.mac.Write(items)
	copy(tag[:], p.mac.Sum(nil))
	return tag
}

// close gives the scratch back.
func (p *pages[T]) close() error {
	if p.scratch == nil {
		return nil
	}
	err := p.scratch.Close()
	p.scratch = nil
	return err
}
