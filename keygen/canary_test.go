package keygen_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/bus"
)

// I2: of what the chip holds in the end, nothing is in a message, a file of the vault, or the log, in no common spelling.
func TestNoSecretLeavesInTheClear(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		noSecretLeaves(t, newRig(t).of(k.source, k.origin))
	}
}

func noSecretLeaves(t *testing.T, r *rig) {
	t.Helper()
	var logged bytes.Buffer
	r.cfg.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.reopenVault()
	r.openLot()
	c := r.newCard(1)
	u := r.claimUnit(c, 0, 0)
	factory := c.keys[0xFF]
	if got := u.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	own := c.keys[0x30]
	secrets := [][]byte{c.ki, c.opc, own.ENC, own.MAC, own.DEK, factory.ENC, factory.MAC, factory.DEK, testOP, testKMC, testKW, testK4}
	secrets = append(secrets, c.given...)
	if given := r.release.KeyOrigin == "hsm"; given != (len(c.given) == 1) {
		t.Fatalf("%d keys were given", len(c.given))
	}
	for code := range 6 {
		secrets = append(secrets, bytes.TrimRight(c.pins[8*code:8*code+8], "\xFF"))
	}
	said, err := bus.Encode(u.results)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string][]byte{"answers": said, "log": logged.Bytes(), "claim": bytes.Join([][]byte{u.stored.Cert, u.stored.Key, u.stored.Pair, u.stored.Ki}, nil)}
	err = filepath.WalkDir(filepath.Dir(r.made.JournalDir), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			places[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found := spelled(append(bytes.Clone(said), c.ki...), secrets[:1]); found == "" {
		t.Fatal("the search does not find what is there")
	}
	for place, content := range places {
		if found := spelled(content, secrets); found != "" {
			t.Errorf("%s holds a secret as %s", place, found)
		}
	}
}

// spelled tells how a secret of at least 8 bytes stands in content. Shorter ones, PINs, would be found by chance.
func spelled(content []byte, secrets [][]byte) string {
	for _, s := range secrets {
		if len(s) < 8 {
			continue
		}
		swapped := make([]byte, len(s))
		for i, b := range s {
			swapped[i] = b<<4 | b>>4
		}
		for spelling, b := range map[string][]byte{"bytes": s, "nibble-swapped bytes": swapped, "hex": []byte(hex.EncodeToString(s)),
			"upper-case hex": []byte(strings.ToUpper(hex.EncodeToString(s))), "base64": []byte(base64.RawStdEncoding.EncodeToString(s)[:len(s)])} {
			if bytes.Contains(content, b) {
				return spelling
			}
		}
	}
	return ""
}
