package keygen_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
	"github.com/persoline/persoline/perso/secret"
)

// importKMC puts a chip maker's key on the rig's token.
func (r *rig) importKMC(class hsm.Class, name perso.Name, value []byte) {
	r.t.Helper()
	k, err := hsm.NewKey("test", class, string(name))
	if err == nil {
		err = r.token.Import(ctx, k, secret.New(bytes.Clone(value)))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestTripleDESMasters: chips with SCP02 whose maker diversifies a Triple DES master are opened by the scheme that the key's class
// names, and by no other.
func TestTripleDESMasters(t *testing.T) {
	t.Parallel()
	master := []byte("@ABCDEFGHIJKLMNO")
	for class, made := range map[hsm.Class]scp02.Scheme{hsm.ClassKMCEMV: scp02.SchemeEMV, hsm.ClassKMCVISA2: scp02.SchemeVISA2} {
		for _, held := range []scp02.Scheme{scp02.SchemeEMV, scp02.SchemeVISA2} {
			r := newRig(t).sims02()
			r.importKMC(class, "maker-des", master)
			r.release.KMC = "maker-des"
			r.signed = r.sign(r.release, "ann", "bob")
			r.openLot()
			c := r.newCard(1)
			keys, err := held.Diversify(master, c.kdd)
			if err != nil {
				t.Fatal(err)
			}
			c.keys[r.release.FactoryKVN] = scp.StaticKeys(keys)
			u := r.claimUnit(c, 0, 0)
			got := u.session()
			if got.Good != (held == made) || !got.Good && (got.Failed == nil || got.Failed.Reason != perso.ReasonCryptogram) {
				t.Errorf("key of class %s, chip of %s: %+v %+v", class, held, got, got.Failed)
			}
			if got.Good {
				u.checkOps("derived")
			}
		}
	}
}

// TestWhichMaster: a lot whose maker's key is missing, or whose name two keys have, is refused with the key's name; SCP03 has no Triple
// DES masters.
func TestWhichMaster(t *testing.T) {
	t.Parallel()
	for want, make := range map[string]func(*testing.T) *rig{
		`"nobody" is not on the token, as none of class kmc, kmc-emv-cps, kmc-visa2: import it in a key ceremony`: func(t *testing.T) *rig {
			r := newRig(t).sims02()
			r.release.KMC = "nobody"
			return r
		},
		`"kmc-1" is on the token as "persoline/test/kmc/kmc-1" and as "persoline/test/kmc-visa2/kmc-1"`: func(t *testing.T) *rig {
			r := newRig(t).sims02()
			r.importKMC(hsm.ClassKMCVISA2, "kmc-1", []byte("@ABCDEFGHIJKLMNO"))
			return r
		},
		`"maker-des" is not on the token, as none of class kmc: import`: func(t *testing.T) *rig {
			r := newRig(t)
			r.importKMC(hsm.ClassKMCEMV, "maker-des", []byte("@ABCDEFGHIJKLMNO"))
			r.release.KMC = "maker-des"
			return r
		},
	} {
		r := make(t)
		r.signed = r.sign(r.release, "ann", "bob")
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
