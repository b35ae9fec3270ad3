// Package site is one factory on one machine: its folder, its configuration, and how each zone is started from it.
//
// It exists so that "perso up", "perso serve", "perso demo" and the office commands wire the same zones the same way. It
// decides nothing about production. Only perso/cmd imports it.
package site

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/natsbus"
	"github.com/persoline/persoline/perso/order/form"
)

// configVersion is the form of site.json.
const configVersion = 1

// maxConfigBytes bounds site.json; a site with a hundred lines has 10 KiB.
const maxConfigBytes = 1 << 20

// MaxHeads bounds the heads of one line.
const MaxHeads = 256

// Line is one line of the site.
type Line struct {
	Name  perso.Name `json:"name"`
	Heads int        `json:"heads"`
	// Transport is how the heads reach chips; nothing is the chip farm's socket. Whatever it is, the handler speaks the farm's
	// protocol.
	Transport Transport `json:"transport,omitempty"`
	// Readers are those of the heads, from head 0 on: names of PC/SC readers (nothing: those that the farm makes), or the modems'
	// serial ports.
	Readers []string `json:"readers,omitempty"`
	// PCSCD is the socket of another pcscd than the system's.
	PCSCD string `json:"pcscd_socket,omitempty"`
	// ATRCommand is the modem's own command for the ATR, as in AT+ATR?: AT commands that all modems know do not show it.
	ATRCommand string `json:"atr_command,omitempty"`
	// Bins are those of its handler, and what goes where; nothing means one bin for each verdict, named like it (lineside/bins).
	Bins []bins.Bin `json:"bins,omitempty"`
}

// Config is site.json: what is configured once and never secret.
type Config struct {
	Version int        `json:"version"`
	Env     perso.Env  `json:"environment"`
	Site    perso.Name `json:"site"`
	Origin  string     `json:"log_origin"` // name of the log in its checkpoints
	Listen  string     `json:"bus_listen"` // host:port of the bus, loopback
	Lines   []Line     `json:"lines"`
	// Database is the ledger's, when it is on a server; nothing means a file in the site's folder.
	Database *Database `json:"database,omitempty"`
	// Vaults are the site's vaults. The first one is the log vault: it alone signs the log, and gives each lot to one of them.
	// Nothing means one, "vault-1".
	Vaults []perso.Name `json:"vaults,omitempty"`
	Module string       `json:"pkcs11_module"`
	Token  string       `json:"token_label"`
	// Sessions are the HSM operations that one vault has under way at once, 1 to 64; 0 or nothing means 8. A network HSM wants as
	// many as it takes for its distance ("perso hsm bench"), SoftHSM no more than the machine has cores to spare.
	Sessions uint8  `json:"hsm_sessions,omitempty"`
	Pin      string `json:"register_pin"` // hash of the officer register's genesis, as the ceremony printed it
	LogKey   string `json:"log_key"`      // verifier key of the log (C2SP vkey)
	CAID     string `json:"ca_identifier"`
	// Redo is the folder of the ledger's redo log; a relative path is within the site's folder, and nothing means "redo". It belongs on
	// another disk than the ledger: who loses one of them loses nothing (ledger/RESTORE.md). Of a database on a server nothing means that there
	// is none; one process can keep one, several rely on what the server keeps.
	Redo string `json:"ledger_redo,omitempty"`
	// Inventory is the folder of the key ceremonies' transcripts, and Head the hash of the last one, as it was printed. Without
	// them, which only a test site may be, the vault uses every key on its token.
	Inventory string `json:"key_inventory,omitempty"`
	Head      string `json:"key_inventory_head,omitempty"`
	// CertMargin is by how many days the EUM's certificates must outlive a release; 0 or nothing means the vault's own margin.
	CertMargin uint16 `json:"certificate_margin_days,omitempty"`
}

// Site is an open site folder.
type Site struct {
	Dir    string
	Config Config
}

// Open reads a site's configuration. A folder that was never made is an error that says how to make it.
func Open(dir string) (*Site, error) {
	f, err := os.Open(filepath.Join(dir, "site.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("opening site %q: there is no site.json; make a site with \"perso site init --site %s\"", dir, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening site %q: %w", dir, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfigBytes))
	if err != nil {
		return nil, fmt.Errorf("opening site %q: reading site.json: %w", dir, err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening site %q: %w", dir, err)
	}
	s := &Site{Dir: abs}
	err = s.Config.read(raw)
	if err == nil {
		err = s.Config.checkBins(raw)
	}
	if err == nil {
		err = s.Config.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("opening site %q: %w; 'perso site init' wrote it: people change of it no more than a database's password_file and ledger_processes, ledger_redo, hsm_sessions and a line's transport, readers, pcscd_socket, atr_command and bins; put the rest back from a copy", dir, err)
	}
	return s, nil
}

// read decodes the file, and says what is wrong with it in words.
func (c *Config) read(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(c)
	line := func(offset int64) int { return 1 + bytes.Count(raw[:min(offset, int64(len(raw)))], []byte("\n")) }
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("site.json is empty or cut off")
	case errors.As(err, &syntax):
		return fmt.Errorf("site.json, line %d, is no JSON: %s", line(syntax.Offset), syntax.Error())
	case errors.As(err, &kind):
		return fmt.Errorf("site.json, line %d: %q is a %s", line(kind.Offset), kind.Field, kind.Value)
	case err != nil:
		return fmt.Errorf("site.json: %s", strings.TrimPrefix(err.Error(), "json: "))
	case d.More():
		return errors.New("site.json goes on after its end")
	}
	return nil
}

// checkBins checks the bins of all lines, and says where in the file what is wrong.
func (c Config) checkBins(raw []byte) error {
	var doc *form.Doc
	for i, l := range c.Lines {
		_, err := l.binPlan()
		var faults bins.Faults
		if !errors.As(err, &faults) {
			continue
		}
		if doc == nil {
			if doc, err = form.Read(bytes.NewReader(raw), maxConfigBytes); err != nil {
				return fmt.Errorf("site.json: %w", err)
			}
		}
		for _, f := range faults {
			doc.Fault(fmt.Sprintf("lines[%d].bins%s", i, f.Field), f.Text, "what a bin takes: lineside/STATES.md")
		}
	}
	if doc == nil {
		return nil
	}
	return fmt.Errorf("site.json: %w", doc.Err())
}

func (c Config) validate() error {
	if c.Version != configVersion {
		return fmt.Errorf("site.json: version is %d, this program reads %d", c.Version, configVersion)
	}
	if _, err := perso.ParseEnv(string(c.Env)); err != nil {
		return fmt.Errorf("site.json: %w", err)
	}
	if _, err := perso.ParseName(string(c.Site)); err != nil {
		return fmt.Errorf("site.json: %w", err)
	}
	if c.Sessions > hsm.MaxSessions {
		return fmt.Errorf("site.json: hsm_sessions is %d; 1 to %d are possible", c.Sessions, hsm.MaxSessions)
	}
	if err := checkLines(c.Lines); err != nil {
		return fmt.Errorf("site.json: %w", err)
	}
	if err := checkVaults(c.Vaults, c.Lines); err != nil {
		return fmt.Errorf("site.json: %w", err)
	}
	if err := c.Database.validate(); err != nil {
		return fmt.Errorf("site.json: %w", err)
	}
	if c.Database != nil && c.Database.Processes > 1 && c.Redo != "" {
		return fmt.Errorf("site.json: ledger_redo is %q, and ledger_processes %d: only one process can keep a redo log; the others' transactions would not be in it", c.Redo, c.Database.Processes)
	}
	return nil
}

// MaxLines bounds the lines of one site.
const MaxLines = 100

// NumberedLines are a new site's lines: line-1, line-2 …, with so many heads each.
func NumberedLines(n, heads int, via Transport) (lines []Line) {
	for i := range n {
		lines = append(lines, Line{Name: perso.Name(fmt.Sprintf("line-%d", i+1)), Heads: heads, Transport: via})
	}
	return lines
}

func checkLines(lines []Line) error {
	if len(lines) == 0 {
		return errors.New("no line")
	}
	underReaders := 0
	for _, l := range lines {
		if _, err := perso.ParseName(string(l.Name)); err != nil || l.Heads < 1 || l.Heads > MaxHeads {
			return fmt.Errorf("line %q has %d heads; 1 to %d are possible", l.Name, l.Heads, MaxHeads)
		}
		if err := l.checkTransport(); err != nil {
			return err
		}
		if _, err := l.binPlan(); err != nil {
			return fmt.Errorf("line %q: %w", l.Name, err)
		}
		if l.farmReaders() {
			underReaders++
		}
	}
	if underReaders > 1 {
		return fmt.Errorf("%d lines want the farm's PC/SC readers, which are over its first heads; name readers for the others", underReaders)
	}
	return nil
}

// save writes site.json under a name; the site's own is "site.json".
func (s *Site) save(name string) error {
	raw, err := json.MarshalIndent(s.Config, "", "  ")
	if err != nil {
		return fmt.Errorf("writing site.json: %w", err)
	}
	return writeFile(s.path(name), append(raw, '\n'), 0o644)
}

// writeFile writes a new file and syncs it; an existing one is refused, since a second init must change nothing.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

func (s *Site) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// Folders of the zones.
func (s *Site) busDir() string     { return s.path("bus") }
func (s *Site) ledgerFile() string { return s.path("ledger", "ledger.db") }

// OutDir is where the ledger writes exports and bundles.
func (s *Site) OutDir() string { return s.path("out") }

// FarmDir is the first line's chip farm: its own folder, which no other zone reads.
func (s *Site) FarmDir() string { return s.FarmDirOf(s.Config.Lines[0].Name) }

// FarmDirOf is the folder of a line's chip farm: a line is a machine of its own, with reels and bins of its own.
func (s *Site) FarmDirOf(line perso.Name) string { return s.path(s.farmName(line)) }

// farmName names a line's farm, as a folder and as a process.
func (s *Site) farmName(line perso.Name) string {
	if line == s.Config.Lines[0].Name {
		return ZoneFarm
	}
	return ZoneFarm + "-" + string(line)
}

// maxSocketPath is what a Unix socket's name may have (sockaddr_un holds 108 bytes with its end).
const maxSocketPath = 107

// FarmAddress is where the first line's chip farm listens.
func (s *Site) FarmAddress() string { return s.FarmAddressOf(s.Config.Lines[0].Name) }

// FarmOf is where the chip farm of a line listens that somebody named; "" is the first line.
func (s *Site) FarmOf(line perso.Name) (address string, err error) {
	l, err := s.lineOf(line)
	if err != nil {
		return "", err
	}
	return s.FarmAddressOf(l.Name), nil
}

// FarmAddressOf is where a line's chip farm listens: in the site's folder, or, when that lies too deep for a socket's name,
// in the folder for temporary files under a name made of the site's.
func (s *Site) FarmAddressOf(line perso.Name) string {
	path := s.path(s.farmName(line) + ".sock")
	if len(path) > maxSocketPath {
		sum := sha256.Sum256([]byte(path))
		path = filepath.Join(os.TempDir(), fmt.Sprintf("persoline-farm-%x.sock", sum[:8]))
	}
	return "unix:" + path
}

func (s *Site) lineDir(name perso.Name) string { return s.path("line", string(name)) }

// Catalogue is the site's copy of products and partners.
func (s *Site) Catalogue(kind string) string { return s.path("catalogue", kind) }

// OfficerKey is where the demo keeps an officer's throw-away key; a real officer keeps his own.
func (s *Site) OfficerKey(name perso.Name) string {
	return filepath.Join(s.OfficersDir(), string(name)+".key")
}

// OfficersDir is the folder of those keys.
func (s *Site) OfficersDir() string { return s.path("officers") }

// Office is a connection of the order desk: requests to the ledger.
type Office interface {
	bus.Requester
	Close() error
}

// connectPatience is how long a command waits for the bus.
const connectPatience = 5 * time.Second

// Office connects as the order desk.
func (s *Site) Office(ctx context.Context) (Office, error) {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	c, err := natsbus.Connect(ctx, natsbus.Config{URL: s.url(), NKeySeedFile: natsbus.SeedFile(s.busDir(), natsbus.UserOffice), Name: natsbus.UserOffice})
	if err != nil {
		return nil, fmt.Errorf("reaching the site's bus at %s (is \"perso up --site %s\" running?): %w", s.Config.Listen, s.Dir, err)
	}
	return c, nil
}

func (s *Site) url() string { return "nats://" + s.Config.Listen }
