package bundle

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// named is what a log's entries point to outside the log.
type named struct {
	genesis  entry.Genesis
	register [][32]byte // statements of the officer register, in the order of the log
	openings [][32]byte // releases and closings
	exports  []entry.Export
	releases map[perso.Name]bool
	claimed  map[perso.Name]bool // lots that the vault has worked on
}

// read takes in one tile of entries: each after its length in two bytes.
func (n *named) read(tile []byte) error {
	if n.releases == nil {
		n.releases, n.claimed = map[perso.Name]bool{}, map[perso.Name]bool{}
	}
	for len(tile) > 0 {
		if len(tile) < 2 || len(tile)-2 < int(binary.BigEndian.Uint16(tile)) {
			return errors.New("an entry is cut off")
		}
		end := 2 + int(binary.BigEndian.Uint16(tile))
		if err := n.entry(tile[2:end]); err != nil {
			return err
		}
		tile = tile[end:]
	}
	return nil
}

func (n *named) entry(body []byte) error {
	kind, err := record.Kind(body)
	if err != nil {
		return err
	}
	switch kind {
	case entry.KindGenesis:
		n.genesis, err = entry.ParseGenesis(body)
		return err
	case entry.KindStatement:
		e, err := entry.ParseStatement(body)
		if err != nil {
			return err
		}
		n.statement(e)
	case entry.KindClaim:
		e, err := entry.ParseClaim(body)
		if err != nil {
			return err
		}
		n.claimed[e.Lot] = true
	case entry.KindExport:
		e, err := entry.ParseExport(body)
		if err != nil {
			return err
		}
		n.exports = append(n.exports, e)
	}
	return nil
}

func (n *named) statement(e entry.Statement) {
	switch e.What {
	case statement.KindGenesis, statement.KindAdd, statement.KindRevoke:
		n.register = append(n.register, e.Hash)
	case statement.KindRelease:
		n.releases[e.Lot] = true
		n.openings = append(n.openings, e.Hash)
	default:
		n.openings = append(n.openings, e.Hash)
	}
}

// lots are those with claims, sorted.
func (n *named) lots() []perso.Name { return slices.Sorted(maps.Keys(n.claimed)) }
