package cardsim

import (
	"encoding/hex"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

// loaded is a chip with a whole profile, and its memory.
func loaded(b testing.TB) (*Chip, *Memory) {
	b.Helper()
	nvm := &Memory{}
	l := empty(b, nvm)
	if report, _ := l.load(profilePackage(b), scp.MaxTLVData); hex.EncodeToString(report) != "3007a0053003800100" {
		b.Fatalf("report %X", report)
	}
	return l.chip, nvm
}

// BenchmarkAPDU is one command on a chip with a whole profile, and on one with the files of data groupings.
func BenchmarkAPDU(b *testing.B) {
	whole, _ := loaded(b)
	small, _ := finished(b)
	for name, c := range map[string]struct {
		chip   *Chip
		first  []string
		repeat []string
	}{
		"file select":        {whole, nil, []string{"00A40004023F0000"}},
		"file select path":   {whole, nil, []string{"00A40804022FE200"}},
		"file read binary":   {whole, []string{"00A40804022FE200"}, []string{"00B000000A"}},
		"file update binary": {whole, []string{"0020000A080102030405060708", "00A40804022F0500"}, []string{"00D6000002656E", "00D60000026465"}},
		"file status":        {whole, nil, []string{"80F2000000"}},
		"grouping select":    {small, nil, []string{"00A40804022FE200"}},
		"grouping read":      {small, []string{"00A40804022FE200"}, []string{"00B000000A"}},
	} {
		b.Run(name, func(b *testing.B) {
			l := newLine(b, c.chip)
			for _, command := range c.first {
				l.plain(apdu.SWOK, command)
			}
			var raw [][]byte
			for _, command := range c.repeat {
				raw = append(raw, unhex(command))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if resp, _ := c.chip.Process(raw[i%len(raw)]); len(resp) < 2 || resp[len(resp)-2] != 0x90 {
					b.Fatalf("%X", resp)
				}
			}
		})
	}
}

// BenchmarkLoad is a whole package into an ISD-P, the host's part included, and BenchmarkOpen making such a chip anew.
func BenchmarkLoad(b *testing.B) {
	made := &Memory{}
	empty(b, made)
	pkg := profilePackage(b)
	b.ReportAllocs()
	for b.Loop() {
		nvm := &Memory{records: made.records[:len(made.records):len(made.records)]}
		l := newLine(b, newChip(b, nvm))
		l.open(testKeys(0x40), 0xFF, scp.LevelAll)
		l.secure(forPerso(testISDP))
		if report, ok := l.load(pkg, scp.MaxTLVData); !ok || len(report) == 0 {
			b.Fatal("not loaded")
		}
	}
}

// BenchmarkOpen is making a chip of its memory: one with a whole profile, and one with the files of data groupings.
func BenchmarkOpen(b *testing.B) {
	_, whole := loaded(b)
	_, small := finished(b)
	for name, nvm := range map[string]*Memory{"file system": whole, "groupings": small} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				newChip(b, nvm)
			}
		})
	}
}

// BenchmarkSIM is all files of a small SIM under the transport code, and BenchmarkLoadFile a load file of 32 KB through the channel, the
// host's part included.
func BenchmarkSIM(b *testing.B) {
	var commands [][]byte
	for _, c := range append([]string{transport()}, simParts()...) {
		commands = append(commands, unhex(c))
	}
	b.ReportAllocs()
	for b.Loop() {
		c := chipWith(b, &Memory{}, codeOnly())
		c.PowerOn()
		for _, raw := range commands {
			if resp, _ := c.Process(raw); len(resp) != 2 || resp[0] != 0x90 {
				b.Fatalf("%X is answered %X", raw, resp)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(commands)), "ns/APDU")
}

func BenchmarkLoadFile(b *testing.B) {
	commands := append([][]byte{forLoad(pkgAID, nil)}, loadBlocks(capOf(pkgAID, 32<<10))...)
	b.ReportAllocs()
	for b.Loop() {
		l := opened(b, &Memory{})
		l.all(apdu.SWOK, commands...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(commands)), "ns/APDU")
}
