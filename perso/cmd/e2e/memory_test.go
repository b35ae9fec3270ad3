package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/persoline/persoline/lineside/chipfarm"
)

// The chips' memory as chips write it down (lineside/cardsim/nvm.go): records of changes, each change a cell and its
// value. A cell is domain, kind and number; the numbers never change.
const (
	cellHeaderBytes = 6 // cell and length
	goneLength      = 0xFFFF

	domISD, domISDR, domECASD, domISDP = 0, 1, 2, 3

	kindState, kindData, kindKey, kindPair, kindPIN = 0x01, 0x03, 0x04, 0x06, 0x07

	cellKi, cellOPc = 0x8F20, 0x8F21
	refPIN1         = 0x01
)

type cell struct {
	domain, kind byte
	number       uint16
}

// memory is what a chip holds, and every secret that it ever held.
type memory struct {
	cells   map[cell][]byte
	secrets map[string][]byte // by what it is
}

// memoryOf reads a chip's memory from the farm's folder, past the chip.
func (f *factory) memoryOf(t *testing.T, index uint32) memory {
	t.Helper()
	m := memory{cells: map[cell][]byte{}, secrets: map[string][]byte{}}
	n := 0
	err := chipfarm.Records(f.site.FarmDir(), index, func(record []byte) error {
		for b := bytes.Clone(record[1:]); len(b) > 0; { // behind the version
			at := cell{domain: b[0], kind: b[1], number: binary.BigEndian.Uint16(b[2:])}
			length := int(binary.BigEndian.Uint16(b[4:]))
			if b = b[cellHeaderBytes:]; length == goneLength {
				delete(m.cells, at)
				continue
			}
			m.cells[at] = b[:length]
			m.note(at, b[:length], fmt.Sprintf("chip %d record %d", index, n))
			b = b[length:]
		}
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// note keeps the secrets of a value.
func (m memory) note(at cell, value []byte, where string) {
	switch {
	case at.kind == kindKey:
		m.secrets[fmt.Sprintf("%s: key %04X of domain %d", where, at.number, at.domain)] = value[1:] // behind its type
	case at.kind == kindPair:
		m.secrets[where+": private key"] = value[:32]
	case at.kind == kindPIN:
		for i, code := range [][]byte{value[:8], value[8:]} {
			if len(bytes.Trim(code, "\xFF")) > 0 {
				m.secrets[fmt.Sprintf("%s: code %d of reference %02X", where, i, at.number)] = code
			}
		}
	case at.domain >= domISDP && at.kind == kindData && at.number == cellKi:
		m.secrets[where+": Ki"] = value
	case at.domain >= domISDP && at.kind == kindData && at.number == cellOPc:
		m.secrets[where+": OPc"] = value
	}
}

// key is a key of the chip now; nil when there is none.
func (m memory) key(domain, kvn, kid byte) []byte {
	v := m.cells[cell{domain: domain, kind: kindKey, number: uint16(kvn)<<8 | uint16(kid)}]
	if len(v) == 0 {
		return nil
	}
	return v[1:]
}
