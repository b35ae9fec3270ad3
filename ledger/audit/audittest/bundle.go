package audittest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"testing/fstest"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// Bundle is the audit bundle of a lot, made by other code than the product's writer: the tiles come from
// golang.org/x/mod/sumdb/tlog.
func (s *Site) Bundle(lot perso.Name) fstest.MapFS {
	out := fstest.MapFS{}
	s.BundleTo(lot, func(path string, data []byte) { out[path] = &fstest.MapFile{Data: data} })
	return out
}

// BundleTo gives the files of a bundle one by one, manifest and seal last: one of a million cards does not fit into memory twice.
func (s *Site) BundleTo(lot perso.Name, put func(path string, data []byte)) {
	var files []layout.File
	listed := func(path string, data []byte) {
		files = append(files, layout.File{Hash: sha256.Sum256(data), Size: int64(len(data)), Path: path})
		put(path, data)
	}
	s.log(listed)
	for i, r := range s.Register {
		listed(layout.Register(i), r.Encode())
	}
	for _, o := range s.Openings {
		listed(layout.Statement(o.Hash()), o.Encode())
	}
	for name, chain := range s.Chains {
		s.receipts(name, chain, listed)
	}
	for path, manifest := range s.Exports {
		listed(path, manifest)
	}
	listed(layout.EUMCert, s.EUMCert)
	listed(layout.EISCert, s.EISCert)
	slices.SortFunc(files, func(a, b layout.File) int { return strings.Compare(a.Path, b.Path) })
	s.seal(lot, files, put)
}

// seal writes manifest and seal over files, which are sorted.
func (s *Site) seal(lot perso.Name, files []layout.File, put func(path string, data []byte)) {
	manifest := Must(layout.EncodeManifest(files))
	seal := Must(layout.SealBody{Env: perso.EnvTest, Site: SiteName, Lot: lot, Files: uint64(len(files)), Manifest: sha256.Sum256(manifest)}.Encode())
	put(layout.Manifest, manifest)
	put(layout.Seal, seal)
	put(layout.SealSig, layout.EncodeSignature(ed25519.Sign(s.StmtKey, seal)))
}

func (s *Site) receipts(lot perso.Name, chain *Chain, put func(string, []byte)) {
	file := make([]byte, 0, total(chain.Receipts)+len(chain.Receipts))
	for _, r := range chain.Receipts {
		file = layout.AppendRecord(file, r)
	}
	vault := s.VaultOf(lot)
	head := Must(entry.ReceiptHead{Env: perso.EnvTest, Vault: vault, Lot: lot, Count: uint64(len(chain.Receipts)), Head: chain.Head, At: s.now}.Encode())
	put(layout.Receipts(vault, lot), file)
	put(layout.ReceiptHead(vault, lot), head)
	put(layout.ReceiptHeadSig(vault, lot), layout.EncodeSignature(ed25519.Sign(s.StmtKey, head)))
}

// Seal writes manifest and seal anew over whatever the bundle holds.
func (s *Site) Seal(bundle fstest.MapFS, lot perso.Name) {
	delete(bundle, layout.Manifest)
	delete(bundle, layout.Seal)
	delete(bundle, layout.SealSig)
	var files []layout.File
	for _, path := range slices.Sorted(maps.Keys(bundle)) {
		data := bundle[path].Data
		files = append(files, layout.File{Hash: sha256.Sum256(data), Size: int64(len(data)), Path: path})
	}
	s.seal(lot, files, func(path string, data []byte) { bundle[path] = &fstest.MapFile{Data: data} })
}

// stored serves tlog's algorithms from memory.
type stored []tlog.Hash

func (h *stored) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		out[i] = (*h)[n]
	}
	return out, nil
}

// Checkpoint signs the log as it is.
func (s *Site) Checkpoint() []byte {
	hashes := s.hashes()
	return s.sign(hashes)
}

func (s *Site) hashes() *stored {
	hashes := make(stored, 0, tlog.StoredHashCount(int64(len(s.Entries))))
	for i, e := range s.Entries {
		hashes = append(hashes, Must(tlog.StoredHashes(int64(i), e, &hashes))...)
	}
	return &hashes
}

func (s *Site) sign(hashes *stored) []byte {
	size := int64(len(s.Entries))
	c := checkpoint.Checkpoint{Origin: Origin, Size: size, Root: Must(tlog.TreeHash(size, hashes))}
	return Must(c.Seal(Public(s.LogKey), func(text []byte) ([]byte, error) { return ed25519.Sign(s.LogKey, text), nil }))
}

func (s *Site) log(put func(string, []byte)) {
	hashes := s.hashes()
	put(layout.Checkpoint, s.sign(hashes))
	for _, t := range tilepath.Cover(int64(len(s.Entries))) {
		var data []byte
		if t.Level == tilepath.Entries {
			entries := s.Entries[t.N*tilepath.Width:][:t.Width]
			data = make([]byte, 0, total(entries)+2*len(entries))
			for _, e := range entries {
				data = append(data, byte(len(e)>>8), byte(len(e)))
				data = append(data, e...)
			}
		} else {
			data = Must(tlog.ReadTileData(tlog.Tile{H: 8, L: t.Level, N: t.N, W: t.Width}, hashes))
		}
		put(layout.LogPrefix+t.Path(), data)
	}
}

func total(parts [][]byte) (n int) {
	for _, b := range parts {
		n += len(b)
	}
	return n
}
