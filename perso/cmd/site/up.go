package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/persoline/persoline/perso"
)

// Supervision.
const (
	// restartPause keeps a zone that dies at once from spinning.
	restartPause = 200 * time.Millisecond
	// restartPauseMax is the longest pause between restarts of a zone that keeps dying.
	restartPauseMax = 5 * time.Second
	// healthyAfter is how long a zone must run for its next death to count as the first.
	healthyAfter = 10 * time.Second
	// stopPatience is how long a zone may take to stop before it is killed: a line finishes its chips first.
	stopPatience = chipPatience + 5*time.Second
)

// Process is one zone in a process of its own.
type Process struct {
	Name string   // "bus", "vault", "vault-2", "ledger", "farm", "line-1" …
	Args []string // of this program
}

// Processes lists what a whole factory on one machine consists of. A line whose farm was not made has none.
func (s *Site) Processes() []Process {
	args := func(more ...string) []string { return append(more, "--site", s.Dir) }
	out := []Process{{ZoneBus, args("serve", ZoneBus)}}
	for _, v := range s.VaultNames() {
		out = append(out, Process{s.VaultProcess(v), append(args("serve", ZoneVault), "--name", string(v))})
	}
	for _, name := range s.ledgerProcesses() {
		out = append(out, Process{name, args("serve", ZoneLedger)})
	}
	for _, l := range s.Config.Lines {
		if _, err := os.Stat(s.FarmDirOf(l.Name)); err == nil {
			chips := args("chip", "farm", "--line", string(l.Name))
			if l.farmReaders() {
				chips = args("chip", "farm", "--vpcd", strconv.Itoa(l.Heads), "--line", string(l.Name))
			}
			out = append(out, Process{s.farmName(l.Name), chips})
		}
	}
	for _, l := range s.Config.Lines {
		out = append(out, Process{string(l.Name), append(args("serve", ZoneLine), "--line", string(l.Name))})
	}
	return out
}

// Supervisor keeps the zones' processes running: whatever dies is started again, because recovery is the normal start.
type Supervisor struct {
	Program string // path of the program that serves the zones; empty is this one
	// Told hears of each zone that ended, in a goroutine of that zone; nil has it logged.
	Told func(Ended)

	site *Site
	log  *slog.Logger

	mu   sync.Mutex
	pids map[string]int
}

// NewSupervisor makes one for a site.
func NewSupervisor(s *Site, log *slog.Logger) *Supervisor {
	return &Supervisor{site: s, log: log, pids: map[string]int{}}
}

// Run keeps the processes running until the context ends, then stops them one by one, the last started first: each can
// still finish with the others what it has begun.
func (v *Supervisor) Run(ctx context.Context, all []Process) error {
	if err := os.MkdirAll(v.site.path("log"), 0o755); err != nil {
		return fmt.Errorf("making the log folder: %w", err)
	}
	program := v.Program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
	}
	stops := make([]func(), len(all))
	for i, p := range all {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			v.keep(own, program, p)
		}()
		stops[i] = func() {
			cancel()
			<-ended
		}
	}
	<-ctx.Done()
	for _, stop := range slices.Backward(stops) {
		stop()
	}
	return nil
}

// Pid is the running process of a zone, 0 when it is down.
func (v *Supervisor) Pid(name string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pids[name]
}

// Kill sends SIGKILL to a zone, as a power cut would end it. It reports whether the zone was running.
func (v *Supervisor) Kill(name string) bool {
	pid := v.Pid(name)
	return pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil
}

func (v *Supervisor) keep(ctx context.Context, program string, p Process) {
	// Pdeathsig fires when the thread that forked ends, so this goroutine keeps its thread for the child's life.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := restartPause
	for ctx.Err() == nil {
		started := time.Now()
		logFile := v.site.path("log", p.Name+".log")
		from := size(logFile)
		err := v.once(ctx, program, p, logFile)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > healthyAfter {
			pause = restartPause
		}
		v.tell(ctx, Ended{Zone: p.Name, How: howEnded(err), Words: lastWords(logFile, from), Log: logFile, Again: pause})
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, restartPauseMax)
	}
}

func (v *Supervisor) tell(ctx context.Context, e Ended) {
	if v.Told != nil {
		v.Told(e)
		return
	}
	v.log.LogAttrs(ctx, slog.LevelWarn, "zone ended", e.Attrs()...)
}

// size is where a zone's next output will begin.
func size(logFile string) int64 {
	info, err := os.Stat(logFile)
	if err != nil {
		return 0 // it has written nothing yet
	}
	return info.Size()
}

// once runs a zone until it ends. Its output goes to its log.
func (v *Supervisor) once(ctx context.Context, program string, p Process, logFile string) (err error) {
	out, err := os.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.Name, err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	cmd := exec.CommandContext(ctx, program, p.Args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	// A supervisor that is killed must not leave zones behind that nobody watches. In a group of its own a zone does not
	// hear Ctrl-C, which is for the supervisor: it stops them in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	v.set(p.Name, cmd.Process.Pid)
	defer v.set(p.Name, 0)
	return cmd.Wait()
}

func (v *Supervisor) set(name string, pid int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pids[name] = pid
}

// lineOf finds a line by name; "" is the first.
func (s *Site) lineOf(name perso.Name) (Line, error) {
	if name == "" {
		return s.Config.Lines[0], nil
	}
	for _, l := range s.Config.Lines {
		if l.Name == name {
			return l, nil
		}
	}
	return Line{}, fmt.Errorf("the site has no line %q", name)
}
