package vpcd

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// chipless is a slot with nothing in it.
type chipless struct{}

func (chipless) ATR(context.Context) []byte                       { return nil }
func (chipless) PowerOn(context.Context)                          {}
func (chipless) PowerOff(context.Context)                         {}
func (chipless) Exchange(context.Context, []byte) ([]byte, error) { return nil, nil }
func serveChipless(ctx context.Context, l *net.TCPListener, over chan<- error) {
	conn, err := l.AcceptTCP()
	if err != nil { // nobody came before it was closed
		over <- nil
		return
	}
	over <- Serve(ctx, conn, chipless{})
}

// require skips for want of something, or fails when PERSO_TEST_REQUIRE names pcscd.
func require(t *testing.T, missing error) {
	t.Helper()
	switch {
	case missing == nil:
	case slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "pcscd"):
		t.Fatalf("pcscd is required by PERSO_TEST_REQUIRE: %v", missing)
	default:
		t.Skipf("SKIP: %v", missing)
	}
}

// startHere starts pcscd on slots without chips, or skips where none can be started.
func startHere(t *testing.T, slots int) *Daemon {
	t.Helper()
	require(t, Startable())
	listeners, err := Listen(t.Context(), 0, slots)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, len(listeners))
	cfg := DaemonConfig{Dir: t.TempDir(), Name: "Test"}
	for _, l := range listeners {
		cfg.Ports = append(cfg.Ports, Port(l))
		go serveChipless(context.WithoutCancel(t.Context()), l, over)
	}
	d, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		for _, l := range listeners {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		for range listeners {
			if err := <-over; err != nil {
				t.Error(err)
			}
		}
	})
	return d
}

// TestTwoDaemons: each has a socket of its own, and neither that of the system.
func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	a, b := startHere(t, 1), startHere(t, 3)
	if a.Socket() == b.Socket() {
		t.Fatalf("both listen at %s", a.Socket())
	}
	for _, d := range []*Daemon{a, b} {
		info, err := os.Stat(d.Socket())
		if err != nil || info.Mode().Perm() != ownerFile {
			t.Errorf("socket: %v, %v", info, err)
		}
		select {
		case <-d.Over():
			t.Errorf("pcscd ended: %v", d.Err())
		case <-time.After(time.Second): // two polls of its readers
		}
		if err := d.Err(); err != nil {
			t.Errorf("while it runs: %v", err)
		}
	}
}

func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	d := startHere(t, 1)
	if err := d.process.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.Over():
	case <-time.After(5 * time.Second):
		t.Fatal("the end of pcscd was not seen")
	}
	if err := d.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("its end: %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	_, err := find("the virtual reader driver", "vsmartcard-vpcd", drivers())
	require(t, err)
	dir := t.TempDir()
	if err := (DaemonConfig{Dir: dir, Name: "Test", Ports: []uint16{4000, 4001, 5000, 5001}}).write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, configFolder, configFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FRIENDLYNAME \"Test 0-1\"\nDEVICENAME 127.0.0.1:4000\n", "FRIENDLYNAME \"Test 2-3\"\nDEVICENAME 127.0.0.1:5000\n",
		dir + "/driver/vpcd-0.so", dir + "/driver/vpcd-1.so"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the configuration lacks %q\n%s", want, text)
		}
	}
	for name, cfg := range map[string]DaemonConfig{
		"no slot":         {Dir: dir, Name: "Test"},
		"half a driver":   {Dir: dir, Name: "Test", Ports: []uint16{1}},
		"too many":        {Dir: dir, Name: "Test", Ports: make([]uint16, MaxSlots+2)},
		"ports apart":     {Dir: dir, Name: "Test", Ports: []uint16{4000, 4002}},
		"no name":         {Dir: dir, Ports: []uint16{4000, 4001}},
		"a quote":         {Dir: dir, Name: "Te\"st", Ports: []uint16{4000, 4001}},
		"a folder in two": {Dir: dir + "/a b", Name: "Test", Ports: []uint16{4000, 4001}},
	} {
		if err := cfg.write(); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
	if a, b := ReaderName("Test", 0), ReaderName("Test", 3); a != "Test 0-1 00 00" || b != "Test 2-3 00 01" {
		t.Errorf("readers %q, %q", a, b)
	}
}

func TestSocketIsShort(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("folder/", 30)
	if a, b := Socket(long+"a"), Socket(long+"b"); len(a) > maxSocketPath || a == b {
		t.Errorf("sockets %q and %q", a, b)
	}
	if got := Socket("/x"); got != "/x/pcscd.comm" {
		t.Errorf("socket %q", got)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, MaxSlots + 1} {
		if _, err := Listen(t.Context(), 0, n); err == nil {
			t.Errorf("%d slots", n)
		}
	}
	all, err := Listen(t.Context(), 0, 3)
	if err != nil || len(all) != 4 || Port(all[1]) != Port(all[0])+1 || Port(all[3]) != Port(all[2])+1 {
		t.Fatalf("listeners %v, %v", all, err)
	}
	if more, err := Listen(t.Context(), Port(all[0]), 1); err == nil {
		t.Errorf("a port that is taken: %v", more)
	}
	for _, l := range all {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStrangers: what is no frame of the driver ends the connection.
func TestStrangers(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{"an empty frame": "\x00\x00", "an unknown control": "\x00\x01\x07", "half a frame": "\x00\x05ab"} {
		l, err := listenTCP(0)
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan error, 1)
		go serveChipless(t.Context(), l, over)
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(sent)); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		err = <-over
		if name == "half a frame" { // whoever hangs up may do that anywhere
			continue
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
