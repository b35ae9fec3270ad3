package keygen_test

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/script"
)

// withScript is a rig whose lot is released for another script.
func withScript(t *testing.T, edit func(src string) string) *rig {
	t.Helper()
	r := newRig(t)
	var err error
	if r.script, err = script.Compile([]byte(edit(r.source())), r.catalogue()); err != nil {
		t.Fatal(err)
	}
	r.release.ScriptHash = r.script.Hash()
	r.signed = r.sign(r.release, "ann", "bob")
	return r
}

// The language says more than the vault and the line can play. What they cannot is refused with the reason.
func TestRefusesChannelsItCannotOpen(t *testing.T) {
	t.Parallel()
	for want, with := range map[string]string{
		"SCP02":               ".CHANNEL SCP02 LEVEL=03",
		"key version 30":      ".CHANNEL SCP03 LEVEL=33 KVN=30",
		"16-byte challenges":  ".CHANNEL SCP03 LEVEL=33 MODE=S16",
		"security level 13":   ".CHANNEL SCP03 LEVEL=13",
		"2 secure channels":   ".CHANNEL SCP03 LEVEL=33\n.PHASE verify\n.CHANNEL SCP03 LEVEL=33",
		"cycles the power":    ".CHANNEL SCP03 LEVEL=33\n.PHASE close\n.POWER",
		`variable "MY.SERIAL`: ".CHANNEL SCP03 LEVEL=33\n.VAR MY.SERIAL 8\n.DEFINE NOTHING <00>\n.PHASE close\n.PLAIN\n80CA0000 <{MY.SERIAL}> 00 (9000)",
	} {
		first, more, _ := strings.Cut(with, "\n.PHASE ")
		r := withScript(t, func(src string) string {
			src = strings.Replace(src, ".CHANNEL SCP03 LEVEL=33", first, 1)
			if phase, lines, found := strings.Cut(more, "\n"); found {
				src = strings.Replace(src, ".PHASE "+phase, ".PHASE "+phase+"\n"+lines+"\n;", 1)
			}
			return src
		})
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// What a probe was answered goes into a later command; a chip that said less fails, and the vault goes on.
func TestAnswersInCommands(t *testing.T) {
	t.Parallel()
	const target = "v.isd:"
	for taken, good := range map[string]bool{"{p.card[4+8]}": true, "{p.card[200+8]}": false} {
		r := withScript(t, func(src string) string {
			return strings.Replace(src, target, "80E62000 <0000 <"+taken+"> 000000> 00 (9000)\n"+target, 1)
		})
		r.openLot()
		got := r.claimUnit(newCard(t, testKMC, 1), 0, 0).session()
		if got.Good != good || !good && (got.Failed == nil || got.Failed.Reason != perso.ReasonData) {
			t.Errorf("%s: %+v %+v", taken, got, got.Failed)
		}
	}
}
