package script

import (
	"fmt"
	"strconv"

	"github.com/persoline/persoline/perso/apdu"
)

// Parameters of STORE DATA and LOAD (GlobalPlatform Card Specification 2.3.1 §11.11.2, §11.6.2).
const (
	blockLast = 0x80
	storeDGI  = 0x08
	storeBER  = 0x10
	storeRaw  = 0x00

	// tagLoadFile is the load file data block.
	tagLoadFile = 0xC4
	// maxBlocks is what the block number, one byte, can count.
	maxBlocks = 256
)

// blockPlan says how a content becomes commands.
type blockPlan struct {
	ins  byte
	p1   byte // of a block that is not the last
	max  int  // bytes of one block; 0: what the channel carries
	most int  // bytes in all
}

// expand reads a directive that stands for commands.
func (c *compiler) expand(cur *cursor, st Step) *Fault {
	switch t := cur.take(); t.text {
	case directivePower:
		return c.power(cur, st)
	case directiveSCP03t:
		return c.packageLine(cur, st)
	case directiveLoad:
		return c.blockLine(cur, st, blockPlan{ins: insLoad, most: MaxLoadBytes}, "write .LOAD [BLOCK=n] <content> (status)")
	default:
		return c.blockLine(cur, st, blockPlan{ins: insStoreData}, "write .STORE MODE=dgi|ber|raw [BLOCK=n] <content> (status)")
	}
}

// power reads ".POWER [answer to reset]".
func (c *compiler) power(cur *cursor, st Step) *Fault {
	st.Kind, st.Secure, st.SW = KindPower, false, apdu.ExactMask(apdu.SWOK)
	if _, found := cur.accept(kindLeft); found {
		pattern, fault := c.pattern(cur)
		if fault != nil {
			return fault
		}
		st.Data = &pattern
	}
	if t := cur.peek(); t.kind != kindEnd {
		return faultAt(t.pos, "write .POWER, and [answer to reset] behind it if it is to be compared", "unexpected %s after %s", t, directivePower)
	}
	c.add(st)
	return nil
}

// blockLine reads the settings, the content and the status of .STORE or .LOAD, and cuts the content into blocks.
func (c *compiler) blockLine(cur *cursor, st Step, plan blockPlan, hint string) *Fault {
	for cur.peek().kind == kindWord {
		if fault := plan.setting(cur, hint); fault != nil {
			return fault
		}
	}
	open, fault := cur.expect(kindOpen, hint)
	if fault != nil {
		return fault
	}
	if plan.most == 0 {
		return faultAt(open.pos, hint, "no MODE")
	}
	body, fault := c.contentOf(cur, open, plan.most)
	if fault != nil {
		return fault
	}
	if plan.ins == insLoad {
		head := append([]byte{tagLoadFile}, lengthBER(size(body))...)
		body = append([]Segment{{Bytes: head, pos: open.pos}}, body...)
	}
	if fault := status(cur, &st); fault != nil {
		return fault
	}
	if t := cur.peek(); t.kind != kindEnd {
		return faultAt(t.pos, hint, "unexpected %s after the command", t)
	}
	all := c.blocks(st, body, plan)
	if len(all) > maxBlocks {
		return faultAt(open.pos, "cut the content, or let the blocks be longer", "%d blocks, limit %d", len(all), maxBlocks).of(RuleLimit)
	}
	for _, block := range all {
		c.add(block)
	}
	return nil
}

func (p *blockPlan) setting(cur *cursor, hint string) *Fault {
	key, value, fault := setting(cur, hint)
	if fault != nil {
		return fault
	}
	n, err := strconv.Atoi(value.text)
	switch {
	case key.text == "BLOCK" && p.max == 0 && err == nil && n >= 1 && n <= apdu.MaxDataBytes:
		p.max = n
	case key.text == "MODE" && p.ins == insStoreData && p.most == 0:
		return p.mode(key, value, hint)
	default:
		return faultAt(key.pos, hint, "%s=%s", key.text, value.text)
	}
	return nil
}

// mode sets what STORE DATA carries. A chip keeps data groupings until it has all of them, and takes the others as they come.
func (p *blockPlan) mode(key, value token, hint string) *Fault {
	switch value.text {
	case "dgi":
		p.p1, p.most = storeDGI, MaxStoreBytes
	case "ber":
		p.p1, p.most = storeBER, MaxLoadBytes
	case "raw":
		p.p1, p.most = storeRaw, MaxLoadBytes
	default:
		return faultAt(key.pos, hint, "%s=%s", key.text, value.text)
	}
	return nil
}

// blocks numbers the blocks from 00 and marks the last. The second is labelled "label/2". Their length is what the
// channel that is open here can carry.
func (c *compiler) blocks(st Step, body []Segment, plan blockPlan) []Step {
	limit := apdu.MaxDataBytes
	if channel := c.out.Channel(len(c.out.Acts)); st.Secure && channel != nil {
		limit = channel.MaxData()
	}
	if plan.max != 0 {
		limit = min(limit, plan.max)
	}
	var all []Step
	for n := 0; len(body) > 0; n++ {
		block := st
		if n > 0 {
			block.Label = fmt.Sprintf("%s/%d", st.Label, n+1)
		}
		block.Body, body = cut(body, limit)
		block.Le = apdu.MaxLe
		block.Header = [4]byte{0x80, plan.ins, plan.p1, byte(n)}
		if len(body) == 0 {
			block.Header[2] |= blockLast
		}
		all = append(all, block)
	}
	return all
}
