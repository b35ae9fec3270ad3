package cardsim

import (
	"github.com/persoline/persoline/lineside/cardsim/filesys"
	"github.com/persoline/persoline/perso/apdu"
)

// seats are the logical channels of a chip, the basic one first. What the channel in work has selected is in volatile; the
// others wait here.
type seats [1 + maxChannels]seat

// seat is what one logical channel remembers.
type seat struct {
	open bool
	app  application
	sd   domain
	file fileID
	tele *telecom // whose file at is selected in; of another, nothing is
	at   filesys.Selection
}

// onChannel does a command that came on a logical channel beside the basic one: plain, and without touching the secure channel,
// which is the basic one's alone.
func (c *Chip) onChannel(n byte, cmd apdu.Command) ([]byte, apdu.SW) {
	if cmd.CLA&claSM != 0 {
		return nil, apdu.SWSMUnsupported
	}
	cmd.CLA &^= claNumber
	c.sit(n)
	defer c.sit(0)
	return c.run(cmd, 0, false)
}

// hasChannel says whether a logical channel is open.
func (c *Chip) hasChannel(n byte) bool {
	return n == 0 || c.v.seats != nil && c.v.seats[n].open
}

// sit makes another logical channel the one in work.
func (c *Chip) sit(n byte) {
	if n == c.v.here {
		return
	}
	old := seat{open: c.v.seats[c.v.here].open, app: c.v.app, sd: c.v.sd, file: c.v.file, tele: c.v.tele}
	if c.v.tele != nil {
		old.at = c.v.tele.at
	}
	c.v.seats[c.v.here] = old
	next := c.v.seats[n]
	c.v.here, c.v.app, c.v.sd, c.v.file = n, next.app, next.sd, next.file
	if c.v.tele != nil {
		c.v.tele.at = filesys.Selection{}
		if next.tele == c.v.tele {
			c.v.tele.at = next.at
		}
	}
}

// forgetFiles lets the channels that are not in work have the MF selected: a file that they had may be another now.
func (c *Chip) forgetFiles() {
	if c.v.seats == nil {
		return
	}
	for i := range c.v.seats {
		c.v.seats[i].tele = nil
	}
}

// manageChannel is MANAGE CHANNEL (ETSI TS 102 221 §11.1.17). A channel that is opened from the basic one has the MF selected,
// one from another what that has selected.
func (c *Chip) manageChannel(cmd apdu.Command) ([]byte, apdu.SW) {
	const open, closed = 0x00, 0x80
	switch {
	case c.p.Options.Channels == 0:
		return nil, apdu.SWUnknownINS
	case !c.alive(cmd):
		return nil, apdu.SWConditions
	case len(cmd.Data) != 0:
		return nil, apdu.SWWrongLength
	case cmd.P1 == open && cmd.P2 == 0 && cmd.Le != apdu.NoLe:
		return c.openChannel(cmd.Le)
	case cmd.P1 == closed && cmd.P2 >= 1 && cmd.P2 <= maxChannels && cmd.P2 != c.v.here && c.hasChannel(cmd.P2):
		c.v.seats[cmd.P2] = seat{}
		return nil, apdu.SWOK
	}
	return nil, apdu.SWWrongP1P2
}

func (c *Chip) openChannel(le int) ([]byte, apdu.SW) {
	if le != 1 && le != apdu.MaxLe {
		return nil, apdu.SWWrongLe | 1
	}
	if c.v.seats == nil {
		c.v.seats = &seats{{open: true}}
	}
	for n := 1; n <= c.p.Options.Channels; n++ {
		if c.v.seats[n].open {
			continue
		}
		fresh := seat{open: true, app: appNone, file: fileMF}
		if c.v.here != 0 {
			fresh.app, fresh.sd, fresh.file, fresh.tele = c.v.app, c.v.sd, c.v.file, c.v.tele
			if c.v.tele != nil {
				fresh.at = c.v.tele.at
			}
		}
		c.v.seats[n] = fresh
		return []byte{byte(n)}, apdu.SWOK
	}
	return nil, apdu.SWFuncUnsupported // none is free
}
