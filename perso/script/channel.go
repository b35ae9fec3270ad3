package script

import (
	"strconv"

	"github.com/persoline/persoline/perso/apdu"
)

// Protocol is how the commands of a session are kept from others: a secure channel protocol of GlobalPlatform, or none.
type Protocol string

// The protocols.
const (
	SCP02 Protocol = "SCP02" // Card Specification 2.3.1 Annex E
	SCP03 Protocol = "SCP03" // Amendment D
	// ADM is no channel at all: the chip obeys whoever verified its administrative code (ETSI TS 102 221 §9.2). Commands go to
	// it as they are, so "secure" ends at whoever plays them; until then the act is sealed to that one.
	ADM Protocol = "ADM"
)

// Channel is one secure channel of a session. Who plays the script opens it; the script says how. The vault plays the
// first only, and not every kind of it: keygen says which.
type Channel struct {
	_ struct{} `cbor:",toarray"`
	// Act is the first act inside the channel. The channel lasts to the next one, or until a plain command ends it.
	Act      int
	Protocol Protocol
	// KVN is the key version number that INITIALIZE UPDATE asks for; 00 leaves the choice to the chip.
	KVN byte
	// Level is P1 of EXTERNAL AUTHENTICATE: 01, 03, 11 or 13, and for SCP03 also 33 (Amendment D §7.1.2).
	Level byte
	// S16 says that the channel has 16-byte MACs, cryptograms and challenges (SCP03 only).
	S16 bool
}

// maxKVN is the highest key version number of a card's own; FF is the usual one of the maker's initial keys
// (GlobalPlatform Card Specification 2.3.1 §11.8).
const maxKVN = 0x7F

func (c *Channel) valid() bool {
	if c.Protocol == ADM {
		return c.KVN == 0 && c.Level == 0 && !c.S16
	}
	if c.KVN > maxKVN && c.KVN != 0xFF {
		return false
	}
	switch c.Level {
	case 0x01, 0x03, 0x11, 0x13:
		return c.Protocol == SCP03 || c.Protocol == SCP02 && !c.S16
	case 0x33:
		return c.Protocol == SCP03
	}
	return false
}

// plain says that nothing protects the commands between their player and the chip.
func (c *Channel) plain() bool { return c.Protocol == ADM }

// hides says whether a secret may go through the channel as it is.
func (c *Channel) hides() bool { return c.plain() || c.Level == 0x33 }

// encrypts says whether the level encrypts commands, and so pads them.
func (c *Channel) encrypts() bool { return c.Level&0x02 != 0 }

func (c *Channel) macBytes() int {
	switch {
	case c.plain():
		return 0
	case c.S16:
		return 16
	}
	return 8
}

// blockBytes is that of the cipher: 3DES or AES.
func (c *Channel) blockBytes() int {
	if c.Protocol == SCP02 {
		return 8
	}
	return aesBlockBytes
}

// MaxData is the most data that a command can carry inside the channel: the MAC follows it within Lc ≤ 255, and a level
// that encrypts pads it by at least one byte to whole blocks.
func (c *Channel) MaxData() int {
	room := apdu.MaxDataBytes - c.macBytes()
	if c.encrypts() {
		room -= room%c.blockBytes() + 1
	}
	return room
}

// MaxAnswer is the most data that an answer can carry inside the channel.
func (c *Channel) MaxAnswer() int {
	room := apdu.MaxLe
	if c.Level&0x10 != 0 {
		room -= c.macBytes()
	}
	if c.Level&0x20 != 0 {
		room -= room%c.blockBytes() + 1
	}
	return room
}

// Channel is the secure channel that is open in an act, nil for identify (-1).
func (s *Script) Channel(act int) *Channel {
	for i := len(s.Channels) - 1; i >= 0; i-- {
		if s.Channels[i].Act <= act {
			return &s.Channels[i]
		}
	}
	return nil
}

// opensAt says whether a channel of its own opens before the act.
func (s *Script) opensAt(act int) bool {
	c := s.Channel(act)
	return c != nil && c.Act == act
}

const channelHint = "write .CHANNEL SCP03 LEVEL=33, with KVN=30 for one key set and MODE=S16 for 16-byte MACs, or .CHANNEL ADM"

// channelLine reads .CHANNEL. The first stands before the phases; a later one begins an act, for whoever opens the
// channel has to see what the chip answers.
func (c *compiler) channelLine(t token, cur *cursor) *Fault {
	first := len(c.out.Channels) == 0
	if first != (c.phase == "") || !first && c.phase.order() < PhaseWrite.order() {
		return faultAt(t.pos, "one .CHANNEL before the first .PHASE; another one from the phase write on", "misplaced .CHANNEL")
	}
	protocol, fault := cur.expect(kindWord, channelHint)
	if fault != nil {
		return fault
	}
	channel := Channel{Protocol: Protocol(protocol.text)}
	if channel.Protocol != SCP03 && channel.Protocol != SCP02 && channel.Protocol != ADM {
		return faultAt(protocol.pos, channelHint, "channel %s", protocol)
	}
	for cur.peek().kind != kindEnd {
		if fault := channel.setting(cur); fault != nil {
			return fault
		}
	}
	if channel.Level == 0 && channel.Protocol != ADM {
		return faultAt(cur.peek().pos, channelHint, "no LEVEL")
	}
	if !channel.valid() {
		return faultAt(t.pos, "SCP02 has the levels 01, 03, 11 and 13, and no MODE=S16; ADM has nothing", "%s at level %02X", channel.Protocol, channel.Level)
	}
	if !first {
		c.beginAct(t.pos)
		channel.Act, c.secure = len(c.out.Acts), true
		if c.out.opensAt(channel.Act) {
			return faultAt(t.pos, "write commands before it, or remove it", "a second .CHANNEL in one act")
		}
	}
	c.out.Channels = append(c.out.Channels, channel)
	return nil
}

func (c *Channel) setting(cur *cursor) *Fault {
	key, value, fault := setting(cur, channelHint)
	if fault != nil {
		return fault
	}
	n, err := strconv.ParseUint(value.text, 16, 8)
	hex := err == nil && len(value.text) == 2
	switch {
	case key.text == "LEVEL" && hex && c.Level == 0 && validLevel(byte(n)):
		c.Level = byte(n)
	case key.text == "KVN" && hex && c.KVN == 0 && n != 0 && (n <= maxKVN || n == 0xFF):
		c.KVN = byte(n)
	case key.text == "MODE" && (value.text == "S8" || value.text == "S16"):
		c.S16 = value.text == "S16"
	default:
		return faultAt(key.pos, channelHint, "%s=%s", key.text, value.text)
	}
	return nil
}

func validLevel(level byte) bool {
	switch level {
	case 0x01, 0x03, 0x11, 0x13, 0x33:
		return true
	}
	return false
}

// channels checks that the first opens before act 0 and that each later one begins an act of its own.
func (r *rules) channels() {
	s := r.script
	if len(s.Channels) == 0 {
		r.bad(RuleChannel, top(), "write .CHANNEL SCP03 LEVEL=33 before the first .PHASE", "no secure channel")
	}
	last := -1
	for i := range s.Channels {
		c := &s.Channels[i]
		if !c.valid() {
			r.bad(RuleChannel, top(), channelHint, "%s at level %02X under key version %02X", c.Protocol, c.Level, c.KVN)
		}
		if i == 0 && c.Act != 0 || c.Act <= last || c.Act >= max(1, len(s.Acts)) {
			r.bad(RuleChannel, top(), "a channel begins an act", "channel %d opens before act %d", i, c.Act)
		}
		last = c.Act
	}
}

// channelEnd finds the first secure command after a plain one that ended the channel. Only another channel, which whoever
// plays the script opens, allows one again.
func (r *rules) channelEnd() {
	ended, told, at := "", false, -1
	r.script.walk(func(act int, _ *Section, st *Step) {
		if act < 0 {
			return
		}
		if act > at && r.script.opensAt(act) {
			ended, told = "", false
		}
		at = act
		switch {
		case st.Kind == KindPower && act == 0: // is refused there by itself
		case !st.Secure && st.endsChannel() && ended == "" && (st.Kind == KindPower || !r.plain(act)): // codes stay verified whatever is selected
			ended = st.Label
		case st.Secure && ended != "" && !told:
			told = true
			r.bad(RuleChannelEnd, st.pos, "do it before, keep the plain command for the end, or open another .CHANNEL", "secure command after %q ended the channel", ended)
		}
	})
}

// endsChannel says whether a plain step leaves no secure channel behind.
func (st *Step) endsChannel() bool {
	return st.Kind == KindPower || st.Header[1] == insSelect || st.Header[1] == insInitUpdate
}
