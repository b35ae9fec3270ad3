package cardsim

import "github.com/persoline/persoline/perso/apdu"

// maxChainBytes bounds a command that comes in pieces.
const maxChainBytes = 2048

// chain is a command that comes in pieces (ISO/IEC 7816-4 §5.3.3), as far as it came.
type chain struct {
	header [4]byte // of the last piece, which ends it
	data   []byte
}

// chained keeps a piece of a command. Secure messaging goes over whole commands, so inside a secure channel there are no pieces,
// and none that are secured.
func (c *Chip) chained(cmd apdu.Command) apdu.SW {
	header := [4]byte{cmd.CLA &^ claChain, cmd.INS, cmd.P1, cmd.P2}
	was := c.v.chain
	c.v.chain = nil
	switch {
	case cmd.CLA&claSM != 0:
		c.endChannel()
		return apdu.SWChainingUnsupported
	case cmd.CLA&claNumber == 0 && c.v.channel != nil:
		c.endChannel() // a plain command ends the session
		return apdu.SWSecurity
	case was != nil && was.header != header:
		return apdu.SWLastOfChain
	case was == nil:
		was = &chain{header: header}
	}
	if len(was.data)+len(cmd.Data) > maxChainBytes {
		return apdu.SWWrongLength
	}
	was.data = append(was.data, cmd.Data...)
	c.v.chain = was
	return apdu.SWOK
}

// whole puts the pieces before the last one. Another command than the one in pieces drops them.
func (c *Chip) whole(cmd apdu.Command) apdu.Command {
	was := c.v.chain
	c.v.chain = nil
	if was != nil && was.header == [4]byte{cmd.CLA, cmd.INS, cmd.P1, cmd.P2} {
		cmd.Data = append(was.data, cmd.Data...)
	}
	return cmd
}
