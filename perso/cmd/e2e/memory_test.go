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
	kindPiece, kindAKA, kindCode, kindPUK           = 0x0B, 0x0C, 0x0D, 0x0E // of a profile that came in a package

	cellKi, cellOPc = 0x8F20, 0x8F21
	codePIN1        = 0 // number of its cell
	codeBytes       = 8
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
	case at.kind == kindCode || at.kind == kindPUK:
		m.secrets[fmt.Sprintf("%s: code %02X %04X", where, at.kind, at.number)] = value[:codeBytes]
	case at.kind == kindAKA:
		if ki, opc := subscription(value); ki != nil {
			m.secrets[where+": Ki"], m.secrets[where+": OPc"] = ki, opc
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

// subscription takes Ki and OPc out of an AKA parameter: behind its kind, checks and two limits of SQN come algorithm, Ki and OPc, each
// with its length. Nothing of one that shares another's.
func subscription(value []byte) (ki, opc []byte) {
	const own, head = 0x01, 2 + 2*6
	if len(value) < head || value[0] != own {
		return nil, nil
	}
	var parts [][]byte
	for b := value[head:]; len(parts) < 3; b = b[1+b[0]:] {
		parts = append(parts, b[1:1+b[0]])
	}
	return parts[1], parts[2]
}

// ki is the Ki of the chip's first profile, as its commands or its package brought it.
func (m memory) ki() []byte {
	for at, value := range m.cells {
		if at.domain == domISDP && at.kind == kindAKA {
			if ki, _ := subscription(value); ki != nil {
				return ki
			}
		}
	}
	return m.cells[cell{domISDP, kindData, cellKi}]
}

// file is the content of a file of the first profile by what it begins with: a package's files have numbers of their own.
func (m memory) file(id uint16, size int, first byte) []byte {
	for at, value := range m.cells {
		if at.domain == domISDP && at.kind == kindPiece && len(value) == size && value[0] == first {
			return value
		}
	}
	return m.cells[cell{domISDP, kindData, id}]
}
