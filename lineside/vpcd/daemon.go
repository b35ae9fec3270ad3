package vpcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// DaemonConfig is what a pcscd of one's own needs.
type DaemonConfig struct {
	// Dir is a folder for configuration, drivers and logs; it is made. What an earlier start left there is written anew.
	Dir string
	// Name begins the names of the readers.
	Name string
	// Ports are those of the slots on 127.0.0.1, in pairs of two that follow each other. All are listened on already.
	Ports []uint16
	// Log takes what pcscd says. Nil: Dir/pcscd.log.
	Log io.Writer
}

// Daemon is a running pcscd.
type Daemon struct {
	socket  string
	process *exec.Cmd
	log     io.Closer
	over    chan struct{} // closed when it has ended
	err     error         // with what, once it has
}

const (
	configFolder = "reader.conf.d"
	configFile   = "persoline"
	driverFolder = "driver"
	logFile      = "pcscd.log"
	socketFile   = "pcscd.comm"

	ownerFolder = 0o700
	ownerFile   = 0o600

	// maxSocketPath is what a socket's name may have (sockaddr_un holds 108 bytes with its end).
	maxSocketPath = 107
	// stopPatience is how long pcscd may take to end: it waits for its poll of each reader.
	stopPatience = 3 * time.Second
)

// Where Debian and others put what we start and load.
func programs() []string { return []string{"/usr/sbin/pcscd", "/usr/local/sbin/pcscd"} }
func drivers() []string {
	return []string{"/usr/lib/pcsc/drivers/serial/libifdvpcd.so", "/usr/lib/*/pcsc/drivers/serial/libifdvpcd.so",
		"/usr/lib/*/libifdvpcd.so", "/usr/local/lib/pcsc/drivers/serial/libifdvpcd.so"}
}

// ErrMissing says that something is not installed.
var ErrMissing = errors.New("not installed")

// ErrUser says that another user must start it.
var ErrUser = errors.New("pcscd writes /run/pcscd, and asks polkit about everybody but root")

// Startable says whether this user can start a pcscd with virtual readers here; if not, what to install.
func Startable() error {
	_, err := find("pcscd", "pcscd", programs())
	_, err2 := find("the virtual reader driver", "vsmartcard-vpcd", drivers())
	if os.Getuid() != 0 {
		return errors.Join(err, err2, ErrUser)
	}
	return errors.Join(err, err2)
}

func find(what, debian string, patterns []string) (string, error) {
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); len(found) > 0 { // an error would be of the pattern, which is ours
			return found[0], nil
		}
	}
	return "", fmt.Errorf("%s: %w (looked in %s; on Debian \"make setup\" installs %s, without the configuration that opens it to the network)",
		what, ErrMissing, strings.Join(patterns, ", "), debian)
}

// Socket is where a daemon in a folder listens: in the folder, or, when that lies too deep for a socket's name, in the
// folder for temporary files under a name made of it.
func Socket(dir string) string {
	path := filepath.Join(dir, socketFile)
	if len(path) > maxSocketPath {
		sum := sha256.Sum256([]byte(dir))
		path = filepath.Join(os.TempDir(), fmt.Sprintf("persoline-pcscd-%x.comm", sum[:8]))
	}
	return path
}

// ReaderName is how pcscd calls the reader of a slot: its entry, the number among readers of that name, and the slot.
func ReaderName(name string, slot int) string {
	return fmt.Sprintf("%s 00 %02X", entryName(name, slot/SlotsOfDriver), slot%SlotsOfDriver)
}

func entryName(name string, entry int) string {
	return fmt.Sprintf("%s %d-%d", name, entry*SlotsOfDriver, entry*SlotsOfDriver+SlotsOfDriver-1)
}

// Start starts pcscd on readers of its own. Clients can connect at once: whoever is early waits.
func Start(cfg DaemonConfig) (*Daemon, error) {
	program, err := find("pcscd", "pcscd", programs())
	if err != nil {
		return nil, fmt.Errorf("starting pcscd: %w", err)
	}
	if err := cfg.write(); err != nil {
		return nil, fmt.Errorf("configuring pcscd: %w", err)
	}
	d := &Daemon{socket: Socket(cfg.Dir), over: make(chan struct{})}
	out := cfg.Log
	if out == nil {
		f, err := os.OpenFile(filepath.Join(cfg.Dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, ownerFile)
		if err != nil {
			return nil, fmt.Errorf("starting pcscd: %w", err)
		}
		out, d.log = f, f
	}
	listening, err := listen(d.socket)
	if err != nil {
		return nil, fmt.Errorf("starting pcscd: %w", err)
	}
	defer func() { _ = listening.Close() }() // pcscd has its own
	// pcscd takes a socket that listens already from the one who starts it, as systemd hands it over: number 3, and the
	// number of the process it is for. Only the process itself knows that.
	d.process = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", program, "--foreground", "--error",
		"--config", filepath.Join(cfg.Dir, configFolder))
	d.process.Env = append(os.Environ(), "LISTEN_FDS=1")
	d.process.ExtraFiles = []*os.File{listening}
	d.process.Stdout, d.process.Stderr = out, out
	d.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := startOnOwnThread(d); err != nil {
		return nil, fmt.Errorf("starting pcscd: %w", err)
	}
	return d, nil
}

// Socket is where clients find it (PCSCLITE_CSOCK_NAME).
func (d *Daemon) Socket() string { return d.socket }

// Over is closed when pcscd has ended, asked or not.
func (d *Daemon) Over() <-chan struct{} { return d.over }

// Stop ends pcscd.
func (d *Daemon) Stop() error {
	_ = d.process.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-d.over:
	case <-time.After(stopPatience):
		_ = d.process.Process.Kill()
		<-d.over
	}
	err := os.Remove(d.socket)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if d.log != nil {
		err = errors.Join(err, d.log.Close())
	}
	return err
}

func listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	return f, errors.Join(err, os.Chmod(path, ownerFile), l.Close())
}

// write makes the folder: a driver of its own for each pair of slots, and the entries that name them.
func (cfg DaemonConfig) write() error {
	if n := len(cfg.Ports); n == 0 || n > MaxSlots || n%SlotsOfDriver != 0 {
		return fmt.Errorf("%d slots, expected an even number up to %d", n, MaxSlots)
	}
	if cfg.Name == "" || strings.ContainsAny(cfg.Name, "\"\n") || strings.ContainsAny(cfg.Dir, " \t\n\"") {
		return fmt.Errorf("the name %q or the folder %q cannot be written in pcscd's configuration: no blanks, no quotes", cfg.Name, cfg.Dir)
	}
	driver, err := find("the virtual reader driver", "vsmartcard-vpcd", drivers())
	if err != nil {
		return err
	}
	code, err := os.ReadFile(driver)
	if err != nil {
		return err
	}
	for _, folder := range []string{configFolder, driverFolder} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, folder), ownerFolder); err != nil {
			return err
		}
	}
	var entries bytes.Buffer
	for i := 0; i < len(cfg.Ports); i += SlotsOfDriver {
		if cfg.Ports[i+1] != cfg.Ports[i]+1 {
			return fmt.Errorf("ports %d and %d of one driver do not follow each other", cfg.Ports[i], cfg.Ports[i+1])
		}
		entry := i / SlotsOfDriver
		own := filepath.Join(cfg.Dir, driverFolder, fmt.Sprintf("vpcd-%d.so", entry))
		if err := os.WriteFile(own, code, ownerFolder); err != nil {
			return err
		}
		fmt.Fprintf(&entries, "FRIENDLYNAME \"%s\"\nDEVICENAME 127.0.0.1:%d\nLIBPATH %s\nCHANNELID %d\n\n", entryName(cfg.Name, entry), cfg.Ports[i], own, cfg.Ports[i])
	}
	return os.WriteFile(filepath.Join(cfg.Dir, configFolder, configFile), entries.Bytes(), ownerFile)
}

// startOnOwnThread starts the process from a thread that lives as long: the kernel takes the end of the thread for that of
// the parent.
func startOnOwnThread(d *Daemon) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.process.Start()
		started <- err
		if err != nil {
			return
		}
		d.err = d.process.Wait()
		close(d.over)
	}()
	return <-started
}

// Err says how pcscd ended, after Over.
func (d *Daemon) Err() error {
	select {
	case <-d.over:
		return fmt.Errorf("pcscd ended: %w", errors.Join(d.err))
	default:
		return nil
	}
}

// Listen opens the ports for slots on 127.0.0.1, rounded up to pairs: from a first one, or free ones when first is 0.
func Listen(ctx context.Context, first uint16, slots int) (listeners []*net.TCPListener, err error) {
	if slots < 1 || slots > MaxSlots {
		return nil, fmt.Errorf("listening for %d reader slots, expected 1 to %d", slots, MaxSlots)
	}
	defer func() {
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			listeners = nil
		}
	}()
	for len(listeners) < slots {
		if err := context.Cause(ctx); err != nil {
			return listeners, err
		}
		pair, err := listenPair(first)
		if err != nil {
			return listeners, fmt.Errorf("listening for reader slots: %w", err)
		}
		listeners = append(listeners, pair...)
		if first != 0 {
			first += SlotsOfDriver
		}
	}
	return listeners, nil
}

// pairTries is how often a free port is looked for whose neighbour is free too.
const pairTries = 100

func listenPair(first uint16) ([]*net.TCPListener, error) {
	for range pairTries {
		a, err := listenTCP(first)
		if err != nil {
			return nil, err
		}
		b, err := listenTCP(Port(a) + 1)
		if err == nil {
			return []*net.TCPListener{a, b}, nil
		}
		if err = errors.Join(err, a.Close()); first != 0 {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no two free ports beside each other in %d tries", pairTries)
}

func listenTCP(port uint16) (*net.TCPListener, error) {
	return net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
}

// Port is where a listener listens.
func Port(l *net.TCPListener) uint16 {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return uint16(a.Port)
	}
	return 0
}
