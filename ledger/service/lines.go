package service

import (
	"context"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// This file holds what people say of lines against the lines of the site. The ledger's core knows no lines: they are configuration, and its
// log may tell of one that is gone.

// unknownLine refuses a line that the site does not have, and says which it has.
func (s *Service) unknownLine(line perso.Name) error {
	if slices.Contains(s.c.Lines, line) {
		return nil
	}
	var has []string
	for _, l := range s.c.Lines {
		has = append(has, string(l))
	}
	return bus.Refuse(bus.FaultNotFound, "this site has no line %q: it has %s", line, strings.Join(has, ", "))
}

// word takes a word in. A line that is cleared must be one of the site; one that is frozen is frozen anyway, and said to be unknown.
func (s *Service) word(ctx context.Context, q bus.SignedRequest) (bus.WordReply, error) {
	signed, err := statement.DecodeSigned(q.Signed)
	if err != nil {
		return s.c.Ledger.Word(ctx, q) // which says what is wrong with it
	}
	kind, err := record.Kind(signed.Body)
	if err == nil && kind == statement.KindClearance {
		if c, err := statement.ParseClearance(signed.Body); err == nil {
			if err := s.unknownLine(c.Line); err != nil {
				return bus.WordReply{}, err
			}
		}
	}
	r, err := s.c.Ledger.Word(ctx, q)
	if err != nil || r.Kind != statement.KindFreeze {
		return r, err
	}
	f, err := statement.ParseFreeze(signed.Body)
	if err == nil && f.What == statement.FrozenLine {
		r.Unknown = s.unknownLine(perso.Name(f.Name)) != nil
	}
	return r, err
}

// book moves chips. None go to a line that the site does not have; what lies at one that is gone may be given back.
func (s *Service) book(ctx context.Context, q bus.BookRequest) (bus.BookReply, error) {
	if line := q.To.Line(); line != "" {
		if err := s.unknownLine(line); err != nil {
			return bus.BookReply{}, err
		}
	}
	return s.c.Ledger.Book(ctx, q)
}

// standing tells who drafts a word how the site stands, and which lines it has.
func (s *Service) standing(ctx context.Context, q bus.Empty) (bus.StandingReply, error) {
	r, err := s.c.Ledger.Standing(ctx, q)
	r.Lines = s.c.Lines
	return r, err
}

// status tells how a lot stands, and what it waits for at the lines of the site.
func (s *Service) status(ctx context.Context, q bus.LotRequest) (bus.StatusReply, error) {
	r, err := s.c.Ledger.Status(ctx, q)
	if err != nil {
		return r, err
	}
	return r, s.c.Ledger.AtLines(ctx, &r, s.linesFor(r.Vault))
}

func (s *Service) lots(ctx context.Context, q bus.Empty) (bus.LotsReply, error) {
	r, err := s.c.Ledger.Lots(ctx, q)
	for i := 0; err == nil && i < len(r.Lots); i++ {
		err = s.c.Ledger.AtLines(ctx, &r.Lots[i], s.linesFor(r.Lots[i].Vault))
	}
	return r, err
}

// linesFor lists the lines that make lots of a vault.
func (s *Service) linesFor(vault perso.Name) (out []perso.Name) {
	for i, line := range s.c.Lines {
		if s.worksFor(i, vault) {
			out = append(out, line)
		}
	}
	return out
}
