package cardsim

import (
	"bytes"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

// simWithChannels is a basic SIM with logical channels.
func simWithChannels(t *testing.T, channels int) *line {
	t.Helper()
	nvm := &Memory{}
	sim(t, nvm)
	return newLine(t, chipWith(t, nvm, Options{Channels: channels}))
}

func TestLogicalChannels(t *testing.T) {
	t.Parallel()
	l := simWithChannels(t, 2)
	l.plain(apdu.SWChannelUnsupported, "01A4000C023F00") // not open yet
	for want := byte(1); want <= 2; want++ {
		if got := l.plain(apdu.SWOK, "0070000001"); !bytes.Equal(got, []byte{want}) {
			t.Errorf("channel %X, expected %d", got, want)
		}
	}
	l.plain(apdu.SWFuncUnsupported, "0070000001")
	l.plain(apdu.SWChannelUnsupported, "03A4000C023F00")
	l.plain(apdu.SWChannelUnsupported, "40A4000C023F00")

	l.plain(apdu.SWOK, "00A4000C022FE2")
	l.plain(apdu.SWOK, "01A4040C10"+simAID)
	l.plain(apdu.SWOK, "01A4000C026F38")
	l.plain(apdu.SWOK, "02A4040000") // the ISD
	if got := l.plain(apdu.SWOK, "00B0000002"); !bytes.Equal(got, unhex("9888")) {
		t.Errorf("the basic channel reads %X", got)
	}
	if got := l.plain(apdu.SWOK, "01B0000002"); !bytes.Equal(got, unhex("FFFF")) {
		t.Errorf("channel 1 reads %X", got)
	}
	l.plain(apdu.SWUnknownINS, "02B0000002")
	l.plain(apdu.SWOK, "82CA9F7F00")
	l.plain(apdu.SWConditions, "8250000008001122334455667700")
	l.plain(apdu.SWSMUnsupported, "85CA9F7F00")
	l.plain(apdu.SWOK, "81F2000C00"[:8])

	l.plain(apdu.SWOK, "0120000A080102030405060708") // a code is the card's, on whichever channel it was shown
	l.plain(apdu.SWOK, "00D600000198")
	l.plain(apdu.SWOK, "01E40000026F38"[:14])
	l.plain(apdu.SWNoCurrentEF, "01B0000002")

	l.plain(apdu.SWOK, "0070800100")
	l.plain(apdu.SWChannelUnsupported, "01A4000C023F00")
	l.plain(apdu.SWWrongP1P2, "0070800100")
	l.plain(apdu.SWWrongP1P2, "00708000")
	l.plain(apdu.SWWrongP1P2, "0270800200") // not by itself
	if got := l.plain(apdu.SWOK, "0270000001"); !bytes.Equal(got, []byte{1}) {
		t.Errorf("channel %X from 2", got)
	}
	l.plain(apdu.SWOK, "81CA9F7F00") // it has selected what channel 2 has
	l.chip.PowerOn()
	l.plain(apdu.SWChannelUnsupported, "01A4000C023F00")
}

// A deleted file is no channel's selection any more, whoever takes its number.
func TestDeletedOnAnotherChannel(t *testing.T) {
	t.Parallel()
	l := simWithChannels(t, 3)
	l.plain(apdu.SWOK, "0070000001")
	l.plain(apdu.SWOK, "01A4040C10"+simAID)
	l.plain(apdu.SWOK, "01A4000C026F38")
	l.plain(apdu.SWOK, "0020000A080102030405060708")
	l.plain(apdu.SWOK, "00A4040C10"+simAID)
	l.plain(apdu.SWOK, "00E40000026F38")
	l.plain(apdu.SWOK, "00E000001E621C8202412183026F388A01058B032F060180020005880120A503C101AA")
	l.plain(apdu.SWNoCurrentEF, "01B0000002")
}

// The secure channel is the basic channel's, and goes on whatever happens on the others.
func TestSecureChannelBesideOthers(t *testing.T) {
	t.Parallel()
	l := newLine(t, chipWith(t, &Memory{}, Options{Channels: 3}))
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) {
		t.Fatal("lost power")
	}
	l.plain(apdu.SWOK, "0070000001")
	l.plain(apdu.SWOK, "01A4040000")
	l.plain(apdu.SWOK, "81CA9F7F00")
	l.plain(apdu.SWSecurity, "81E2880003DF2000")
	l.in(apdu.SWOK, "80F28002024F0000")
	l.plain(apdu.SWChannelUnsupported, "02A4040000") // but a channel that is not there ends it
	l.plain(apdu.SWSecurity, "80F28002024F0000")
}

func TestNoLogicalChannels(t *testing.T) {
	t.Parallel()
	l := newLine(t, newChip(t, &Memory{}))
	l.plain(apdu.SWUnknownINS, "0070000001")
	l.plain(apdu.SWChannelUnsupported, "01A4040000")
}
