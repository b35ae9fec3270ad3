package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of the memory's records, which a person can read.
const (
	kindCheckpoint = "vault-checkpoint"
	kindLot        = "vault-lot"

	fileCheckpoint = "checkpoint"
	folderLots     = "lots"

	maxMemoryBytes = 1024 // of a lot's file: a dozen short fields
)

// Memory is a folder: the file checkpoint, written over in place, and the folders lots and assigned, one file for each lot,
// never replaced.
type Memory struct{ dir string }

// CreateMemory makes the folder of a vault that has signed nothing yet. It is a step of the ceremony; a folder that is
// there is refused.
func CreateMemory(dir string) (*Memory, error) {
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(filepath.Join(dir, folderLots), 0o700), os.Mkdir(filepath.Join(dir, folderAssigned), 0o700)); err != nil {
		return nil, fmt.Errorf("making vault memory %q: %w", dir, err)
	}
	m := &Memory{dir: dir}
	if err := errors.Join(createSlots(m.checkpoint()), SyncDir(dir), SyncDir(filepath.Dir(dir))); err != nil {
		return nil, fmt.Errorf("making vault memory %q: %w", dir, err)
	}
	return m, nil
}

// OpenMemory opens a folder that CreateMemory made, and mends what a crash left of a checkpoint.
func OpenMemory(dir string) (*Memory, error) {
	m := &Memory{dir: dir}
	if err := mendSlots(m.checkpoint()); err != nil {
		return nil, err
	}
	_, err := m.Recall()
	return m, err
}

func (m *Memory) checkpoint() string { return filepath.Join(m.dir, fileCheckpoint) }

// Recall reads everything.
func (m *Memory) Recall() (r keygen.Recollection, err error) {
	if r.Size, r.Root, err = readSlots(m.checkpoint()); err != nil {
		return r, err
	}
	r.Lots, err = readLots(m, folderLots, kindLot, readIssued)
	return r, err
}

// readLots reads a folder with a file for each lot.
func readLots[T any](m *Memory, folder, kind string, read func(*record.Reader) T) (map[perso.Name]T, error) {
	files, err := os.ReadDir(filepath.Join(m.dir, folder))
	if err != nil {
		return nil, fmt.Errorf("reading vault memory %q: %w", m.dir, err)
	}
	lots := map[perso.Name]T{}
	for _, f := range files {
		if filepath.Ext(f.Name()) == tempSuffix {
			continue // a crash came between its writing and its naming: nobody was told of it
		}
		rd, err := m.readLot(folder, kind, f.Name())
		if err != nil {
			return nil, err
		}
		name := rd.Name("lot")
		lots[name] = read(rd)
		if err := rd.Done(); err != nil || string(name) != f.Name() {
			return nil, fmt.Errorf("reading vault memory of lot %q: %w", f.Name(), errors.Join(ErrCorrupt, err))
		}
	}
	return lots, nil
}

func (m *Memory) readLot(folder, kind, name string) (*record.Reader, error) {
	b, err := os.ReadFile(filepath.Join(m.dir, folder, name))
	if err == nil && len(b) > maxMemoryBytes {
		err = ErrCorrupt
	}
	if err != nil {
		return nil, fmt.Errorf("reading vault memory: %w", err)
	}
	r, err := record.Parse(b, kind)
	if err != nil {
		return nil, fmt.Errorf("reading vault memory of lot %q: %w", name, err)
	}
	return r, nil
}

// RememberCheckpoint writes over the checkpoint.
func (m *Memory) RememberCheckpoint(size int64, root [32]byte) error {
	slot, err := makeSlot(size, root)
	if err != nil {
		return err
	}
	return writeSlots(m.checkpoint(), slot)
}

// RememberLot adds a lot.
func (m *Memory) RememberLot(lot perso.Name, i keygen.Issued) error {
	return m.put(filepath.Join(folderLots, string(lot)), issuedRecord(kindLot, lot, i))
}

func issuedRecord(kind string, lot perso.Name, i keygen.Issued) *record.Writer {
	eid, iccid, imsi := i.EIDs.First(), i.ICCIDs.First(), i.IMSIs.First()
	return record.New(kind).Str("lot", string(lot)).Hex("release", i.Release[:]).Hex("register", i.Register[:]).Uint("statements", i.Statements).
		Str("eid_first", eid.String()).Uint("eid_count", i.EIDs.Count()).Str("iccid_first", iccid.String()).Uint("iccid_count", i.ICCIDs.Count()).
		Str("imsi_first", imsi.String()).Uint("imsi_mnc_digits", uint64(imsi.MNCDigits())).Uint("imsi_count", i.IMSIs.Count()).Hex("ki_root", rootOf(i.Ki)).
		Str("operational_iccid_first", i.OperationalICCIDs.First().String()).Uint("operational_iccid_count", i.OperationalICCIDs.Count()).
		Str("operational_imsi_first", i.OperationalIMSIs.First().String()).Uint("operational_imsi_mnc_digits", uint64(i.OperationalIMSIs.First().MNCDigits())).
		Uint("operational_imsi_count", i.OperationalIMSIs.Count())
}

// rootOf is nothing where there is no file of Ki.
func rootOf(ki [32]byte) []byte {
	if ki == [32]byte{} {
		return nil
	}
	return ki[:]
}

func readIssued(r *record.Reader) (i keygen.Issued) {
	i.Release, i.Register, i.Statements = r.Hash("release"), r.Hash("register"), r.Uint("statements", 32)
	if i.Statements == 0 {
		r.Check(errors.New("no register has no statement"))
	}
	if first, count := r.Str("eid_first"), r.Uint("eid_count", 32); first != "" || count > 0 { // SIMs have none
		eid, err := id.ParseEID(first)
		r.Check(err)
		i.EIDs, err = id.NewEIDRange(eid, count)
		r.Check(err)
	}
	iccid, err := id.ParseICCID(r.Raw("iccid_first"))
	r.Check(err)
	i.ICCIDs, err = id.NewICCIDRange(iccid, r.Uint("iccid_count", 32))
	r.Check(err)
	digits := r.Raw("imsi_first")
	imsi, err := id.ParseIMSI(digits, int(r.Uint("imsi_mnc_digits", 8)))
	r.Check(err)
	i.IMSIs, err = id.NewIMSIRange(imsi, r.Uint("imsi_count", 32))
	r.Check(err)
	i.Ki = r.OptHash("ki_root")
	readOperational(r, &i)
	return i
}

// readOperational reads the numbers of an operational profile, which most lots don't have.
func readOperational(r *record.Reader, i *keygen.Issued) {
	if first, count := r.Str("operational_iccid_first"), r.Uint("operational_iccid_count", 32); first != "" || count > 0 {
		iccid, err := id.ParseICCID(first)
		r.Check(err)
		i.OperationalICCIDs, err = id.NewICCIDRange(iccid, count)
		r.Check(err)
	}
	first, mnc, count := r.Str("operational_imsi_first"), r.Uint("operational_imsi_mnc_digits", 8), r.Uint("operational_imsi_count", 32)
	if first != "" || count > 0 {
		imsi, err := id.ParseIMSI(first, int(mnc))
		r.Check(err)
		i.OperationalIMSIs, err = id.NewIMSIRange(imsi, count)
		r.Check(err)
	}
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
	if err := errors.Join(os.Rename(path+tempSuffix, path), SyncDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("writing vault memory %q: %w", name, err)
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
