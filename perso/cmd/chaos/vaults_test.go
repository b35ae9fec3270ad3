package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/cmd/site"
)

// TestOneVaultOfTwoDies kills a vault and keeps it down while the other makes a whole lot. The lot of the dead one waits, says
// what for, moves to nobody, and is finished when its vault is back.
func TestOneVaultOfTwoDies(t *testing.T) {
	t.Parallel()
	const heads, units, spares = 4, 120, 20
	f := newFactoryOf(t, 2, site.TransportFarm, heads, units+spares+4*heads)
	vaults := f.site.VaultNames()
	second := f.site.VaultProcess(vaults[1])
	var others []string
	for _, p := range f.site.Processes() {
		if p.Name != second {
			others = append(others, p.Name)
		}
	}
	f.supervise(others...)
	dead := f.runVault(second)
	f.connect()
	a := f.submit("VAULTS-1", units, spares)
	a.release()
	onSecond := *f
	onSecond.at = f.site.Config.Lines[1].Name
	b := onSecond.submit("VAULTS-2", units, spares)
	b.release()
	if one, two := a.status().Vault, b.status().Vault; one != vaults[0] || two != vaults[1] {
		t.Fatalf("the lots are vault %q's and vault %q's: of two idle vaults each gets one", one, two)
	}
	b.reach(10)
	dead()
	a.complete()
	f.until("word that the lot waits for its vault", comeUp, func() error {
		if s := b.status(); s.Waits == "" || s.Vault != vaults[1] {
			return fmt.Errorf("lot %s of vault %q: waits %q", s.Lot, s.Vault, s.Waits)
		}
		return nil
	})
	stood := b.status()
	t.Logf("vault %s down: lot %s has %d of %d, %s", second, b.name, stood.Good, stood.Ordered, stood.Waits)
	if stood.Good == stood.Ordered {
		t.Fatal("the lot of the dead vault is finished: nothing was tried")
	}
	f.runVault(second)
	if s := b.complete(); s.Vault != vaults[1] || s.Waits != "" {
		t.Errorf("finished by vault %q, waits %q", s.Vault, s.Waits)
	}
	for _, l := range []*lot{a, b} {
		l.close()
		l.judge(l)
		l.audited()
	}
	opened := func(vault string, l *lot) int {
		return strings.Count(f.zoneLog(vault), `"msg":"lot opened","zone":"vault","lot":"`+string(l.name)+`"`)
	}
	if opened(site.ZoneVault, a) != 1 || opened(second, b) < 2 || opened(site.ZoneVault, b) != 0 || opened(second, a) != 0 {
		t.Error("a vault opened another one's lot, or not its own once per life")
	}
}

// runVault keeps the second vault running as a supervisor would: SoftHSM shows a process no token while another one writes it, and
// a vault that sees none ends. kill is kill -9, and it stays down.
func (f *factory) runVault(name string) (kill func()) {
	f.t.Helper()
	log := filepath.Join(f.site.Dir, "log", name+".log")
	f.until("the log folder", comeUp, func() error {
		_, err := os.Stat(filepath.Dir(log))
		return err
	})
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, program, "serve", site.ZoneVault, "--name", name, "--site", f.site.Dir)
			cmd.Stdout, cmd.Stderr = out, out
			_ = cmd.Run() // whatever it says is in its log
			time.Sleep(50 * time.Millisecond)
		}
	}()
	kill = sync.OnceFunc(func() {
		stop() // kills, as CommandContext does
		<-ended
		_ = out.Close()
	})
	f.t.Cleanup(kill)
	return kill
}
