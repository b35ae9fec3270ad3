// Package filescript writes the file system of a SIM as commands of the script language: CREATE FILE, SELECT, UPDATE and
// ACTIVATE FILE for all that a description (perso/saip/design) has, to be included by a product's script.
//
// It exists so that a SIM and a profile package are described in one way, and an engineer reads what a chip is sent, command
// by command, instead of trusting a compiler. The files are played from an empty chip. Each directory is one section: its last
// file is created in state creation and activated when everything else is there, which is how a chip that lost contact shows
// what is done; and what comes again does no harm, as CREATE FILE accepts that the file is there (6A89).
//
// Contract. A pure function of the chip's files; the same description gives the same text. Values of a card and of an order are
// variables of the script (script.StandardCatalogue) in the places that places knows. Callers: perso/cmd, tests.
//
// Specifications: ETSI TS 102 221 §11 (SELECT, UPDATE, READ), TS 102 222 §6 (CREATE FILE, ACTIVATE FILE).
package filescript

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/tlv"
)

// ErrFile says that a file of the description cannot be written by commands.
var ErrFile = errors.New("a file that commands cannot make")

// Text is what a script includes: in the phases open, write and verify.
type Text struct{ Probe, Write, Verify []byte }

// places are the contents that are variables, by directory and file; at is where they begin in the content.
var places = map[string]struct {
	name     string
	at, size int
}{
	"mf/ef-iccid":           {"ICCID", 0, 10},
	"usim/ef-imsi":          {"IMSI", 0, 9},
	"usim/ef-acc":           {"ACC", 0, 2},
	"usim/ef-ad":            {"AD", 0, 4},
	"usim/ef-spn":           {"SPN", 0, 17},
	"usim/ef-hplmnwact":     {"HPLMN", 0, 5},
	"usim/ef-ehplmn":        {"EHPLMN", 0, 3},
	"usim/ef-ust":           {"UST.5GS", 15, 1},
	"5gs/ef-suci-calc-info": {"SUCI", 0, 96},
	"isim/ef-impi":          {"IMPI", 0, 80},
	"isim/ef-impu":          {"IMPU", 0, 80},
	"isim/ef-domain":        {"IMS.DOMAIN", 0, 64},
}

const (
	// maxPart is what one UPDATE BINARY carries: it must fit a secure channel with 16-byte MACs and padding.
	maxPart = 216

	stateCreation  = 0x01
	stateActivated = 0x05
	created        = "(9000|6A89)"
	absent         = "(9000|6A82)"
	done           = "(9000)"
)

// writer puts the commands together.
type writer struct {
	chip                 *saip.Chip
	probe, write, verify bytes.Buffer
	used                 map[string]bool
}

// Of writes the files of a chip as commands. Name is that of the description, for the text's head.
func Of(chip *saip.Chip, name string) (Text, error) {
	w := &writer{chip: chip, used: map[string]bool{}}
	for part, b := range map[string]*bytes.Buffer{"how far the files are": &w.probe, "the files": &w.write, "what of the files is of a card or an order": &w.verify} {
		fmt.Fprintf(b, "; Made of the description %s by 'perso profile commands': %s. Change that, and make this again.\n", name, part)
	}
	for _, f := range chip.Files {
		if !f.Kind.Directory() {
			continue
		}
		if err := w.directory(f); err != nil {
			return Text{}, fmt.Errorf("writing the commands of directory %s: %w", f.Path, err)
		}
	}
	for place := range places {
		if !w.used[place] {
			return Text{}, fmt.Errorf("writing commands: the description has no file %s, whose content is of the card or order: %w", place, ErrFile)
		}
	}
	var t Text
	for _, part := range []struct {
		from *bytes.Buffer
		to   *[]byte
	}{{&w.probe, &t.Probe}, {&w.write, &t.Write}, {&w.verify, &t.Verify}} {
		var err error
		if *part.to, err = script.Format(part.from.Bytes()); err != nil {
			return Text{}, fmt.Errorf("laying out the commands: %w", err)
		}
	}
	return t, nil
}

// short is the name of a directory: mf, telecom, usim, 5gs.
func short(d *saip.File) string {
	name := strings.TrimPrefix(d.Name, "adf-")
	for strings.HasPrefix(name, "df-") {
		name = strings.TrimPrefix(name, "df-")
	}
	return name
}

// directory is a section: the directory and what lies directly in it.
func (w *writer) directory(d *saip.File) error {
	files := w.filesIn(d)
	if len(files) == 0 {
		return fmt.Errorf("nothing in it could show that it is complete: %w", ErrFile)
	}
	name, last := short(d), files[len(files)-1]
	fmt.Fprintf(&w.probe, "\n")
	if d.Kind != saip.MF { // what a directory that is not there yet lacks must not be found in the one selected before
		fmt.Fprintf(&w.probe, "00A4000C <3F00> %s\n", absent)
	}
	w.enter(&w.probe, d, absent)
	fmt.Fprintf(&w.probe, "p.fs-%s: 00A40004 <%04X> 00 (9000|6A82|6986) => probe\n", name, last.FID)
	fmt.Fprintf(&w.write, "\n.SECTION fs-%s REDO=safe DONE=p.fs-%s[8A 01 05]\n", name, name)
	if err := w.makeDirectory(d); err != nil {
		return err
	}
	w.enter(&w.write, d, done)
	for _, f := range files {
		if err := w.file(name, f, f == last); err != nil {
			return fmt.Errorf("file %04X: %w", f.FID, err)
		}
	}
	fmt.Fprintf(&w.write, "00440000 <%04X> %s\n", last.FID, done)
	w.readBack(d, files)
	return nil
}

// filesIn are the elementary files of a directory, its rules first: the others refer to them.
func (w *writer) filesIn(d *saip.File) (all []*saip.File) {
	for _, rules := range []bool{true, false} {
		for _, f := range w.chip.Files {
			if f.Path.Parent() == d.Path && !f.Kind.Directory() && (f.Name == "ef-arr") == rules {
				all = append(all, f)
			}
		}
	}
	return all
}

// enter selects a directory: an application by its name, any other by its path from there or from the MF.
func (w *writer) enter(b *bytes.Buffer, d *saip.File, status string) {
	var below []byte
	for d.Kind == saip.DF {
		below = append(binary.BigEndian.AppendUint16(nil, d.FID), below...)
		d = w.chip.File(d.Path.Parent())
	}
	switch {
	case d.Kind == saip.ADF && len(below) > 0:
		fmt.Fprintf(b, "00A4040C <%X> %s\n00A4080C <7FFF %X> %s\n", d.AID, status, below, status)
	case d.Kind == saip.ADF:
		fmt.Fprintf(b, "00A4040C <%X> %s\n", d.AID, status)
	case len(below) > 0:
		fmt.Fprintf(b, "00A4080C <%X> %s\n", below, status)
	default:
		fmt.Fprintf(b, "00A4000C <3F00> %s\n", status)
	}
}

// makeDirectory creates a directory in the one that it lies in. The MF stays in state creation until the chip is finished:
// the rules of its files hold from then on.
func (w *writer) makeDirectory(d *saip.File) error {
	const descriptor, shared = 0x78, 0x21
	state := byte(stateActivated)
	if d.Kind == saip.MF {
		state = stateCreation
	} else {
		w.enter(&w.write, w.chip.File(d.Path.Parent()), done)
	}
	parts := [][]byte{tlv.Encode(0x82, []byte{descriptor, shared}), tlv.Encode(0x83, binary.BigEndian.AppendUint16(nil, d.FID))}
	if d.Kind == saip.ADF {
		parts = append(parts, tlv.Encode(0x84, d.AID))
	}
	status := tlv.Encode(0x90, []byte{0x80}) // PINs that are there are shown by the chip itself
	for _, ref := range d.PINStatus {
		status = append(status, tlv.Encode(0x83, []byte{ref})...)
	}
	parts = append(parts, tlv.Encode(0x8A, []byte{state}), rule(d), tlv.Encode(0xC6, status))
	return w.create(d, parts)
}

func rule(f *saip.File) []byte {
	return tlv.Encode(0x8B, append(binary.BigEndian.AppendUint16(nil, f.ARR.FID), f.ARR.Record))
}

func (w *writer) create(f *saip.File, parts [][]byte) error {
	if f.Access == nil {
		return fmt.Errorf("no access rule: %w", ErrFile)
	}
	fmt.Fprintf(&w.write, "00E00000 <%X> %s ; %s\n", tlv.Encode(0x62, parts...), created, f.Name)
	return nil
}

// file creates an elementary file and writes its content.
func (w *writer) file(dir string, f *saip.File, last bool) error {
	descriptor := []byte{0x41, 0x21}
	switch {
	case f.Link != "":
		return fmt.Errorf("a link to %s: %w", f.Link, ErrFile)
	case f.Kind == saip.LinearFixed:
		descriptor[0] = 0x42
		descriptor = append(binary.BigEndian.AppendUint16(descriptor, uint16(f.RecordSize)), byte(f.Size/f.RecordSize))
	case f.Kind != saip.Transparent:
		return fmt.Errorf("of kind %v: %w", f.Kind, ErrFile)
	}
	state, sfi := byte(stateActivated), []byte{}
	if last {
		state = stateCreation
	}
	if f.SFI != 0 {
		sfi = []byte{f.SFI << 3}
	}
	err := w.create(f, [][]byte{tlv.Encode(0x82, descriptor), tlv.Encode(0x83, binary.BigEndian.AppendUint16(nil, f.FID)),
		tlv.Encode(0x8A, []byte{state}), rule(f), tlv.Encode(0x80, binary.BigEndian.AppendUint16(nil, uint16(f.Size))), tlv.Encode(0x88, sfi)})
	if err != nil {
		return err
	}
	return w.content(dir+"/"+f.Name, f)
}

// content writes what is in a file, as far as it is not what a new one has.
func (w *writer) content(at string, f *saip.File) error {
	place, variable := places[at]
	w.used[at] = w.used[at] || variable
	room := f.Size
	if f.RecordSize > 0 {
		room = f.RecordSize
	}
	if variable && place.at+place.size > room {
		return fmt.Errorf("%d bytes, {%s} has %d: %w", f.Size, place.name, place.size, ErrFile)
	}
	size, command := maxPart, func(n int) string { return fmt.Sprintf("00D6%04X", n*maxPart) }
	if f.RecordSize > 0 {
		size, command = f.RecordSize, func(n int) string { return fmt.Sprintf("00DC%02X04", n+1) }
	}
	selected := false
	for n := 0; n*size < len(f.Content); n++ {
		part := f.Content[n*size : min((n+1)*size, len(f.Content))]
		text := fmt.Sprintf("%X", part)
		switch blank := bytes.TrimRight(part, "\xFF"); {
		case variable && n == 0:
			text = fmt.Sprintf("%X {%s} %X", part[:place.at], place.name, bytes.TrimRight(part[place.at+place.size:], "\xFF"))
			if f.RecordSize > 0 {
				text = fmt.Sprintf("%X {%s} %X", part[:place.at], place.name, part[place.at+place.size:])
			}
		case len(blank) == 0:
			continue
		case f.RecordSize == 0:
			text = fmt.Sprintf("%X", blank)
		}
		if !selected {
			fmt.Fprintf(&w.write, "00A4000C <%04X> %s\n", f.FID, done)
			selected = true
		}
		fmt.Fprintf(&w.write, "%s <%s> %s\n", command(n), text, done)
	}
	return nil
}

// readBack compares what is of the card or order.
func (w *writer) readBack(d *saip.File, files []*saip.File) {
	entered := false
	for _, f := range files {
		place, variable := places[short(d)+"/"+f.Name]
		if !variable {
			continue
		}
		if !entered {
			fmt.Fprintf(&w.verify, "\n")
			w.enter(&w.verify, d, done)
			entered = true
		}
		fmt.Fprintf(&w.verify, "00A4000C <%04X> %s\n", f.FID, done)
		read := fmt.Sprintf("00B0%04X %02X", place.at, place.size)
		if f.RecordSize > 0 {
			read = fmt.Sprintf("00B20104 %02X", f.RecordSize)
		}
		fmt.Fprintf(&w.verify, "v.%s: %s [{%s}] %s => readback\n", strings.TrimPrefix(f.Name, "ef-"), read, place.name, done)
	}
}
