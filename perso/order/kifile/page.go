package kifile

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/perso"
)

// PageRows is how many rows are kept together: a row with its proof then costs one read of 1.3 KiB and a hundred hashes,
// and a page is a whole subtree of the file's tree.
const PageRows = 64

// pageHeight is the height of a full page's subtree.
const pageHeight = 6

// Page is a run of rows as it is kept, with the hashes that lead from its subtree to the root. Make it with Pages or
// ParsePage.
type Page struct {
	First perso.Unit // of its first row
	rows  []Row
	upper [][32]byte
}

// Pages cuts a file into pages, in the order of the units.
func (f *File) Pages(t *Tree) ([]Page, error) {
	var pages []Page
	for first := 0; first < len(f.rows); first += PageRows {
		p := Page{First: perso.Unit(first), rows: f.rows[first:min(first+PageRows, len(f.rows))]}
		whole, err := t.Prove(p.First)
		if err != nil {
			return nil, err
		}
		own, err := p.within(p.First)
		if err != nil {
			return nil, err
		}
		p.upper = whole[len(own):]
		pages = append(pages, p)
	}
	return pages, nil
}

// PageOf is the number of the page that holds a unit's row.
func PageOf(u perso.Unit) uint32 { return uint32(u) / PageRows }

// Rows is the page's rows in binary: the length of an EKI (1), then each row's Bytes.
func (p Page) Rows() []byte {
	b := []byte{byte(len(p.rows[0].EKI))}
	for _, r := range p.rows {
		b = append(b, r.Bytes()...)
	}
	return b
}

// Upper is the hashes above the page, lowest first, one after the other: empty, and not nil, for the only page.
func (p Page) Upper() []byte {
	b := []byte{}
	for _, h := range p.upper {
		b = append(b, h[:]...)
	}
	return b
}

// ParsePage reads what Rows and Upper gave of the page with this number.
func ParsePage(number uint32, rows, upper []byte) (Page, error) {
	p := Page{First: perso.Unit(number) * PageRows}
	if number >= 1<<(MaxProofHashes-pageHeight) || len(rows) < 2 || len(upper)%len(tlog.Hash{}) != 0 || len(upper)/len(tlog.Hash{}) > MaxProofHashes-pageHeight {
		return p, fmt.Errorf("reading page %d of %d and %d bytes: %w", number, len(rows), len(upper), ErrRow)
	}
	size := KCVBytes + int(rows[0])
	for rest := rows[1:]; len(rest) > 0; rest = rest[size:] {
		if len(rest) < size || len(p.rows) == PageRows {
			return p, fmt.Errorf("reading page %d of %d bytes: %w", number, len(rows), ErrRow)
		}
		row, err := ParseRow(rest[:size])
		if err != nil {
			return p, err
		}
		p.rows = append(p.rows, row)
	}
	for ; len(upper) > 0; upper = upper[len(tlog.Hash{}):] {
		p.upper = append(p.upper, [32]byte(upper))
	}
	return p, nil
}

// Prove is the row of a unit and its proof, which is the one that the whole file's Tree gives.
func (p Page) Prove(u perso.Unit) (Row, [][32]byte, error) {
	if u < p.First || int(u-p.First) >= len(p.rows) {
		return Row{}, nil, fmt.Errorf("proving row of unit %d: the page has %d from %d: %w", u, len(p.rows), p.First, ErrRow)
	}
	own, err := p.within(u)
	return p.rows[u-p.First], append(own, p.upper...), err
}

// within is the part of a proof that lies in the page's own subtree.
func (p Page) within(u perso.Unit) ([][32]byte, error) {
	t := new(Tree)
	for i, r := range p.rows {
		if err := t.add(p.First+perso.Unit(i), r); err != nil {
			return nil, err
		}
	}
	return t.Prove(u - p.First)
}
