package cardsim

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/persoline/persoline/lineside/cardsim/filesys"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// writesThough is what may be written by a command that was not done: a wrong PIN costs a try.
func writesThough(sw apdu.SW) bool {
	_, tries := sw.TriesLeft()
	return sw.OK() || tries
}

func check(t *testing.T, c *Chip, nvm *Memory, raw []byte, process func() (sw apdu.SW)) {
	t.Helper()
	before, records := snapshot(c), nvm.Len()
	sw := process()
	if !writesThough(sw) && (nvm.Len() != records || !bytes.Equal(before, snapshot(c))) {
		t.Errorf("%X was refused with %v and changed the chip", raw, sw)
	}
	if nvm.Len() > records+1 {
		t.Errorf("%X wrote %d records", raw, nvm.Len()-records)
	}
}

// seedAPDUs are the commands of a whole personalization, in the clear, and what goes before and after.
func seedAPDUs(f *testing.F) {
	l := newLine(f, newChip(f, &Memory{}))
	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	for _, step := range l.writeSteps(testSubscriber()) {
		f.Add(step)
	}
	for _, step := range finishSteps(make([]byte, 65)) {
		f.Add(step)
	}
	for _, s := range simFiles() {
		f.Add(unhex(s))
	}
	for _, raw := range append(loadBlocks(capOf(pkgAID, 20)), forLoad(pkgAID, nil), command("80E60C00", lv([]byte(pkgAID), []byte(moduleAID), []byte(appAID), []byte{0}, unhex("C900"), nil)),
		command("80F21002", unhex("4F00")), command("80F22003", unhex("4F00")), command("80E40080", tlv.Encode(tagAID, []byte(pkgAID)))) {
		f.Add(raw)
	}
	for _, s := range []string{"80E291000C840A30018899AABBCCDDEEFF00", "80E211000C840A30018899AABBCCDDEEFF00", "80E291000486021122", "80E2900003850100", "0070000001", "0070800100", "01B0870000", "01A4000C023F00", "81F2000000", "01E40000026F07"} {
		f.Add(unhex(s))
	}
	for _, s := range []string{"80320000030000070000"[:18], "00A2010402333400", "80F2000100", "0004000000", "00E40000026F3B", "80D4000008620683022FE2800110",
		"00B2010400", "00DC0104053132333435", "00D6000001FF", "00E80000026F07", "00880080111000112233445566778899AABBCCDDEEFF", "00A4040000", "80CA9F7F00", "8050000008001122334455667700", "00B0820000", "0020000A080102030405060708",
		"002C00011031323334353637383132333431323334", "00A40804047FFF6F0700", "80E29100045C02DF2100", "80F24002024F0000", ""} {
		f.Add(unhex(s))
	}
}

// FuzzPlain sends anything to a finished chip, with its USIM, its MF and its ISD selected.
func FuzzPlain(f *testing.F) {
	seedAPDUs(f)
	_, made := finished(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, first := range []string{"00A4040C10" + "A0000000871002FF86FF0389FFFFFFFF", "00A4000C023F00", "00A4040000"} {
			nvm := &Memory{records: made.records[:len(made.records):len(made.records)]}
			c := newChip(t, nvm)
			newLine(t, c).plain(apdu.SWOK, first)
			check(t, c, nvm, raw, func() apdu.SW {
				resp, cost := c.Process(raw)
				if len(resp) < 2 || len(resp) > apdu.MaxLe+2 || cost.In != len(raw) || cost.Out != len(resp) {
					t.Errorf("%X was answered with %X, cost %+v", raw, resp, cost)
				}
				_, sw, _ := apdu.SWOf(resp)
				return sw
			})
		}
	})
}

// FuzzFiles sends anything to a basic SIM, to its MF and to its USIM, before and after the administrator came.
func FuzzFiles(f *testing.F) {
	seedAPDUs(f)
	made := &Memory{}
	sim(f, made)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, first := range []string{"00A4000C023F00", "0020000A080102030405060708", "00A4040C10" + simAID} {
			nvm := &Memory{records: made.records[:len(made.records):len(made.records)]}
			c := chipWith(t, nvm, Options{Channels: maxChannels})
			l := newLine(t, c)
			l.plain(apdu.SWOK, "0070000001")
			l.plain(apdu.SWOK, "01A4040C10"+simAID)
			l.plain(apdu.SWOK, first)
			check(t, c, nvm, raw, func() apdu.SW {
				resp, cost := c.Process(raw)
				if len(resp) < 2 || len(resp) > apdu.MaxLe+2 || cost.In != len(raw) || cost.Out != len(resp) {
					t.Errorf("%X was answered with %X, cost %+v", raw, resp, cost)
				}
				_, sw, _ := apdu.SWOf(resp)
				return sw
			})
			if before, after := snapshot(c), snapshot(reopen(t, nvm)); !bytes.Equal(before, after) {
				t.Errorf("after %X the memory says something else than the chip", raw)
			}
			if worked := c.telecom(); worked != nil {
				fresh := filesys.New()
				if err := fresh.Apply(c.imageOf(worked.d)); err != nil || !reflect.DeepEqual(fresh, worked.sys) {
					t.Errorf("after %X the files are not those of the memory: %v", raw, err)
				}
			}
		}
	})
}

// FuzzInside sends anything through an open channel, to each domain of a finished chip.
func FuzzInside(f *testing.F) {
	seedAPDUs(f)
	_, made := finished(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		cmd, err := apdu.Parse(raw)
		if err != nil {
			return
		}
		for _, aid := range []string{aidISD, aidECASD, aidISDR, testISDP} {
			nvm := &Memory{records: made.records[:len(made.records):len(made.records)]}
			l := newLine(t, newChip(t, nvm))
			l.open(testSubscriber().isd, 0x30, scp.LevelAll)
			l.secure(forLoad(pkgAID, nil)) // which any command but LOAD ends
			if cmd.INS != insLoad {
				l.secure(forPerso(aid))
			}
			wrapped, mark, err := l.host.Wrap(cmd)
			if err != nil {
				return
			}
			check(t, l.chip, nvm, raw, func() apdu.SW {
				_, sw, err := l.host.UnwrapAt(mark, l.send(wrapped))
				if err != nil && !errors.Is(err, scp.ErrUnprotected) {
					t.Errorf("%X: %v", raw, err)
				}
				return sw
			})
		}
	})
}

func FuzzRecord(f *testing.F) {
	_, made := finished(f)
	for _, r := range made.records {
		f.Add(r)
	}
	f.Add(unhex("01 01040030 FFFF"))
	f.Fuzz(func(t *testing.T, record []byte) {
		all, err := decodeRecord(record)
		if err != nil {
			if !errors.Is(err, ErrJournal) {
				t.Error(err)
			}
			return
		}
		if again := encodeRecord(all); !bytes.Equal(again, record) {
			t.Errorf("%X was read and is written as %X", record, again)
		}
	})
}

// FuzzWholeElement holds the length of an object against the reader of whole ones.
func FuzzWholeElement(f *testing.F) {
	for _, s := range []string{"", "AA", "AA00", "AA8105", "BF2103010203", "BF8101", "A0820100", "1F80", "AA80", "AA84010203"} {
		f.Add(unhex(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, ok := wholeElement(raw)
		_, rest, err := tlv.Parse(raw)
		longTag := len(raw) > 1 && raw[0]&0x1F == 0x1F && raw[1]&0x80 != 0 // three bytes, which nothing here has
		if err == nil && !longTag && (!ok || n != len(raw)-len(rest)) {
			t.Errorf("%X: %d %v, the reader takes %d", raw, n, ok, len(raw)-len(rest))
		}
		if n < 0 || n > 0 && !ok {
			t.Errorf("%X: %d %v", raw, n, ok)
		}
	})
}

// FuzzPackage loads anything as a profile package: what is refused leaves nothing, what is taken can be read from memory.
func FuzzPackage(f *testing.F) {
	good := profilePackage(f)
	f.Add(good)
	f.Add(good[:200])
	f.Add([]byte{0xAA, 0})
	for _, at := range []int{50, 300, 900, 1500, 2200, 2900} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x41
		f.Add(bad)
	}
	made := &Memory{}
	empty(f, made)
	f.Fuzz(func(t *testing.T, raw []byte) {
		nvm := &Memory{records: made.records[:len(made.records):len(made.records)]}
		c := newChip(t, nvm)
		l := loading{data: raw}
		l.whole()
		before := snapshot(c)
		report := c.installProfile(domISDP, raw)
		if len(report) == 0 || len(report.bytes()) > (Options{}).room(scp.LevelAll)-24 {
			t.Errorf("a report of %d bytes", len(report.bytes()))
		}
		if report[0].status != peOK {
			if !bytes.Equal(before, snapshot(c)) || nvm.Len() != len(made.records) {
				t.Errorf("%d bytes were refused and changed the chip", len(raw))
			}
			return
		}
		if nvm.Len() != len(made.records)+1 || !bytes.Equal(snapshot(c), snapshot(reopen(t, nvm))) {
			t.Errorf("%d records for a profile", nvm.Len()-len(made.records))
		}
		line := newLine(t, c)
		for _, command := range []string{"00A40004023F0000", "80F2000000", "00A40004022FE200", "00B0000000", "00200001", "002000810831323334FFFFFFFF"} {
			line.send(unhex(command))
		}
		for _, e := range c.mem.span(cellOf(domISDP, kindAKA, 0), cellOf(domISDP, kindAKA+1, 0)) {
			if s, ok := c.akaOf(domISDP, int(e.at.number())); ok {
				if e, err := s.card(); err != nil {
					t.Errorf("an authentication that cannot be: %v", err)
				} else {
					e.Wipe()
				}
			}
		}
	})
}
