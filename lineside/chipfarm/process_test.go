package chipfarm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// envServe makes the test binary a farm process, for TestKilledProcess.
const envServe = "CHIPFARM_TEST_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(envServe)
	if dir == "" {
		os.Exit(m.Run())
	}
	err := Serve(context.Background(), Config{Dir: dir, Address: "unix:" + filepath.Join(dir, "socket"),
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Listening: func(string) { fmt.Println("ready") }})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// process starts a farm in a process of its own and waits until it listens.
func process(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envServe+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
}

// TestKilledProcess kills the farm in the middle of windows. What a client was told must be so afterwards.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "farm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const rounds, perRound = 4, 3
	if _, err := Create(dir, testSpec(rounds*perRound+1)); err != nil {
		t.Fatal(err)
	}
	client := &Client{address: "unix:" + filepath.Join(dir, "socket")}
	told := uint32(0) // the counter of the chip under head 0, which stays there
	for round := range uint64(rounds) {
		farm := process(t, dir)
		mustContact(t, client, 0)
		if seq := sequence(t, client, 0).Seq; seq <= told {
			t.Errorf("round %d: counter %d, but %d was told before", round, seq, told)
		} else {
			told = seq
		}
		for range perRound {
			mustContact(t, client, 1)
			if err := client.Bin(t.Context(), 1, perso.BinGood); err != nil {
				t.Fatal(err)
			}
		}
		if in, inBins, err := client.Counters(t.Context()); in != 1+perRound*(round+1) || inBins[perso.BinGood] != in-1 || err != nil {
			t.Errorf("round %d: counters %d, %d, %v", round, in, inBins[perso.BinGood], err)
		}
		over := make(chan error, 1)
		go func() { over <- playUntilLost(client) }()
		grown := fileSize(dir) + 2000
		waitFor(t, func() bool { return fileSize(dir) > grown })
		kill(t, farm)
		if err := <-over; err == nil {
			t.Error("a killed farm answers")
		}
	}
}

func playUntilLost(c *Client) error {
	var w []bus.Play
	for range 20 {
		w = append(w, bus.Play{APDU: unhex(selectISD), SW: "9000"}, bus.Play{APDU: unhex(initUpdate), SW: "9000"})
	}
	for {
		if _, err := c.Play(context.Background(), 0, w); err != nil {
			return err
		}
	}
}

// fileSize is the size of the first chips' pack.
func fileSize(dir string) int64 {
	info, err := os.Stat(packPath(dir, 0))
	if err != nil {
		return 0
	}
	return info.Size()
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "unix:", "tcp:127.0.0.1", "tcp:192.0.2.1:80", "tcp:0.0.0.0:0", "udp:127.0.0.1:1", "/path"} {
		if l, err := Listen(address); err == nil {
			t.Errorf("listening on %q: %v", address, l.Addr())
		}
	}
	dir := t.TempDir()
	if _, err := Create(dir, testSpec(1)); err != nil {
		t.Fatal(err)
	}
	f := &served{t: t, dir: dir}
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan string, 1)
	f.cancel, f.over = cancel, make(chan error, 1)
	go func() {
		f.over <- Serve(ctx, Config{Dir: dir, Address: "tcp:127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Listening: func(a string) { ready <- a }})
	}()
	f.address = <-ready
	mustContact(t, f.client(), 0)
	f.stop()
}

// FuzzConnection sends anything to a farm after the greeting, or instead of it.
func FuzzConnection(f *testing.F) {
	frameOf := func(message any) []byte {
		var out bytes.Buffer
		if err := new(sender).send(&out, message); err != nil {
			f.Fatal(err)
		}
		return out.Bytes()
	}
	greeting := frameOf(hello{Name: protocolName, Version: protocolVersion})
	stream := append([]byte(nil), greeting...)
	for _, q := range []request{{Op: opLoad}, {Op: opContact}, {Op: opTransmit, APDUs: [][]byte{unhex(selectISD)}},
		windowRequest(0, []bus.Play{{APDU: unhex(readCPLC), SW: "9000"}}), {Op: opLift}, {Op: opBin, Bin: perso.BinGood},
		{Op: opCounters}, {Op: opInspect, Chip: make([]byte, 10)}, {Op: opBins, Bin: perso.BinGood, Index: 1 << 31}} {
		frame := frameOf(q)
		f.Add(append(append([]byte(nil), greeting...), frame...))
		stream = append(stream, frame...)
	}
	f.Add(stream)
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF})
	dir := f.TempDir()
	if _, err := Create(dir, testSpec(MaxChips)); err != nil {
		f.Fatal(err)
	}
	farm, err := Open(dir, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := farm.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(_ *testing.T, sent []byte) {
		ours, theirs := net.Pipe()
		over := make(chan struct{})
		go func() {
			defer close(over)
			_ = farm.serveClient(context.Background(), theirs) // any error will do, but no panic
		}()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_, _ = ours.Write(sent) // the farm may have hung up before the end
		_ = ours.Close()
		<-over
	})
}
