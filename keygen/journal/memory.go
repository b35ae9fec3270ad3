package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of the memory's files, which are canonical records that a person can read.
const (
	kindCheckpoint = "vault-checkpoint"
	kindLot        = "vault-lot"

	fileCheckpoint = "checkpoint"
	folderLots     = "lots"

	maxMemoryBytes = 1024 // of one file: a dozen short fields
)

// Memory is a folder: the file checkpoint, replaced by rename, and lots, one file for each, never replaced.
type Memory struct{ dir string }

// CreateMemory makes the folder of a vault that has signed nothing yet. It is a step of the ceremony; a folder that is
// there is refused.
func CreateMemory(dir string) (*Memory, error) {
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(filepath.Join(dir, folderLots), 0o700)); err != nil {
		return nil, fmt.Errorf("making vault memory %q: %w", dir, err)
	}
	m := &Memory{dir: dir}
	if err := errors.Join(m.RememberCheckpoint(0, [32]byte{}), syncDir(filepath.Dir(dir))); err != nil {
		return nil, fmt.Errorf("making vault memory %q: %w", dir, err)
	}
	return m, nil
}

// OpenMemory opens a folder that CreateMemory made.
func OpenMemory(dir string) (*Memory, error) {
	m := &Memory{dir: dir}
	_, err := m.Recall()
	return m, err
}

// Recall reads everything.
func (m *Memory) Recall() (r keygen.Recollection, err error) {
	r.Lots = map[perso.Name]keygen.Issued{}
	rd, err := m.readRecord(fileCheckpoint, kindCheckpoint)
	if err != nil {
		return r, err
	}
	r.Size, r.Root = int64(rd.Uint("size", 63)), rd.OptHash("root")
	if err := rd.Done(); err != nil {
		return r, fmt.Errorf("reading vault memory %q: %w", m.dir, err)
	}
	lots, err := os.ReadDir(filepath.Join(m.dir, folderLots))
	if err != nil {
		return r, fmt.Errorf("reading vault memory %q: %w", m.dir, err)
	}
	for _, l := range lots {
		if filepath.Ext(l.Name()) == tempSuffix {
			continue // a crash came between its writing and its naming: the lot was never opened
		}
		rd, err := m.readRecord(filepath.Join(folderLots, l.Name()), kindLot)
		if err != nil {
			return r, err
		}
		name, err := perso.ParseName(rd.Raw("lot"))
		rd.Check(err)
		r.Lots[name] = readIssued(rd)
		if err := rd.Done(); err != nil || string(name) != l.Name() {
			return r, fmt.Errorf("reading vault memory of lot %q: %w", l.Name(), errors.Join(ErrCorrupt, err))
		}
	}
	return r, nil
}

func (m *Memory) readRecord(name, kind string) (*record.Reader, error) {
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err == nil && len(b) > maxMemoryBytes {
		err = ErrCorrupt
	}
	if err != nil {
		return nil, fmt.Errorf("reading vault memory: %w", err)
	}
	r, err := record.Parse(b, kind)
	if err != nil {
		return nil, fmt.Errorf("reading vault memory %q: %w", name, err)
	}
	return r, nil
}

// RememberCheckpoint replaces the checkpoint: written beside it, synced, named, the folder synced.
func (m *Memory) RememberCheckpoint(size int64, root [32]byte) error {
	w := record.New(kindCheckpoint).Uint("size", uint64(size))
	if root == [32]byte{} {
		return m.put(fileCheckpoint, w.Hex("root", nil))
	}
	return m.put(fileCheckpoint, w.Hex("root", root[:]))
}

// RememberLot adds a lot.
func (m *Memory) RememberLot(lot perso.Name, i keygen.Issued) error {
	eid, iccid, imsi := i.EIDs.First(), i.ICCIDs.First(), i.IMSIs.First()
	w := record.New(kindLot).Str("lot", string(lot)).Hex("release", i.Release[:]).Hex("register", i.Register[:]).Uint("statements", i.Statements).
		Str("eid_first", eid.String()).Uint("eid_count", i.EIDs.Count()).Str("iccid_first", iccid.String()).Uint("iccid_count", i.ICCIDs.Count()).
		Str("imsi_first", imsi.String()).Uint("imsi_mnc_digits", uint64(imsi.MNCDigits())).Uint("imsi_count", i.IMSIs.Count())
	return m.put(filepath.Join(folderLots, string(lot)), w)
}

func readIssued(r *record.Reader) (i keygen.Issued) {
	i.Release, i.Register, i.Statements = r.Hash("release"), r.Hash("register"), r.Uint("statements", 32)
	if i.Statements == 0 {
		r.Check(errors.New("no register has no statement"))
	}
	eid, err := id.ParseEID(r.Raw("eid_first"))
	r.Check(err)
	i.EIDs, err = id.NewEIDRange(eid, r.Uint("eid_count", 32))
	r.Check(err)
	iccid, err := id.ParseICCID(r.Raw("iccid_first"))
	r.Check(err)
	i.ICCIDs, err = id.NewICCIDRange(iccid, r.Uint("iccid_count", 32))
	r.Check(err)
	digits := r.Raw("imsi_first")
	imsi, err := id.ParseIMSI(digits, int(r.Uint("imsi_mnc_digits", 8)))
	r.Check(err)
	i.IMSIs, err = id.NewIMSIRange(imsi, r.Uint("imsi_count", 32))
	r.Check(err)
	return i
}

const tempSuffix = ".new" // no perso.Name has a dot

func (m *Memory) put(name string, w *record.Writer) error {
	b, err := w.Bytes()
	if err != nil {
		return err
	}
	path := filepath.Join(m.dir, name)
	if err := writeSynced(path+tempSuffix, os.O_TRUNC, b); err != nil {
		return fmt.Errorf("writing vault memory %q: %w", name, err)
	}
	if err := giveName(path+tempSuffix, path); err != nil {
		return fmt.Errorf("writing vault memory %q: %w", name, err)
	}
	return nil
}

// giveName gives a written file its name, durably. A file that has it already takes the other name, to be written over the
// next time: some hundred checkpoints a second, each in a new file, make ext4 search long for an inode that was not freed
// just now.
func giveName(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	if err != nil { // nothing to exchange with, or a file system that cannot
		err = os.Rename(from, to)
	}
	if err != nil {
		return err
	}
	if err = syncDir(filepath.Dir(to)); err != nil {
		// On the disk the names may be as they were: what has the name there must not be written over.
		return errors.Join(err, os.Remove(from))
	}
	return nil
}

// writeSynced writes a whole file and syncs it; flag is O_TRUNC or O_EXCL.
func writeSynced(path string, flag int, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
