package audit

import (
	"bytes"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/record"
)

// checkLog verifies the checkpoint, computes tiles and root again from the entries, and replays the entries.
func (a *auditor) checkLog() {
	note, err := a.files.read(layout.Checkpoint)
	if err != nil {
		a.find(layout.Checkpoint, "I5", "%v", err)
		return
	}
	c, err := checkpoint.Open(note, a.genesis.Origin, a.opt.LogKey)
	if err != nil {
		a.find(layout.Checkpoint, "I5", "%v", err)
		return
	}
	a.report.Size, a.report.Root = c.Size, c.Root
	a.readHeld(c)
	a.checkWitnesses(c)
	var tree merkle
	ok := a.eachTile(c.Size, func(t *entryTile) {
		tree.over = t.over
		for j := range t.entries {
			seq := t.name.N*tilepath.Width + int64(j)
			tree.add(t.leaves[j], a.compareTile)
			a.compareHeld(seq+1, tree.root)
			p := &t.parsed[j]
			switch {
			case !a.opt.Unjudged:
				a.replay(seq, *p)
				a.reached(seq+1, tree.root)
			case p.err != nil:
				a.find(logPlace(seq, p.kind), "I5", "%v", p.err)
			}
			if a.opt.Watch != nil && p.err == nil && p.entry != nil {
				a.opt.Watch(seq, p.at, p.entry)
			}
		}
	})
	if !ok {
		return
	}
	tree.rest(a.compareTile)
	if root := tree.root(); root != c.Root {
		a.find(layout.Checkpoint, "I5", "root of the entries is %x, signed is %x", root, c.Root)
	}
}

// eachTile gives every tile of entries in order, parsed as far as somebody wants it. It stops at one that can't be read, which is
// a finding.
func (a *auditor) eachTile(size int64, each func(*entryTile)) (whole bool) {
	parse := func(t *entryTile) { t.parse(func(body []byte) bool { return !a.opt.Unjudged || a.wants(body) }) }
	err := eachTiles(a.files.fsys, size, parse, func(tiles []entryTile) error {
		for i := range tiles {
			t := &tiles[i]
			path := layout.LogPrefix + t.name.Path()
			a.files.used[path] = true
			if t.err != nil {
				a.find(path, "I5", "%v", t.err)
				return t.err
			}
			each(t)
		}
		return nil
	})
	return err == nil
}

// wants asks whether somebody watches for an entry.
func (a *auditor) wants(body []byte) bool {
	if a.opt.Watch == nil {
		return false
	}
	kind, err := record.Kind(body)
	return err == nil && (a.opt.Wants == nil || a.opt.Wants(kind, body))
}

// compareTile holds a tile of hashes against its file.
func (a *auditor) compareTile(t tilepath.Tile, hashes []checkpoint.Hash) {
	path := layout.LogPrefix + t.Path()
	got, err := a.files.read(path)
	if err != nil {
		a.find(path, "I5", "%v", err)
	} else if !sameHashes(got, hashes) {
		a.find(path, "I5", "it does not follow from the entries")
	}
}

// sameHashes says whether a file holds hashes one behind the other, and nothing else.
func sameHashes(file []byte, hashes []checkpoint.Hash) bool {
	for _, h := range hashes {
		if !bytes.HasPrefix(file, h[:]) {
			return false
		}
		file = file[len(h):]
	}
	return len(file) == 0
}
